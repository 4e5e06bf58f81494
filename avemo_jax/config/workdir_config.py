"""A work directory belongs to one configuration, and to the data that it began with."""

import pathlib
from typing import Any

from ml_collections import ConfigDict

from avemo_jax.config.fields import changed_fields, default_config, flatten, to_plain
from avemo_jax.runtime.atomic_files import write_json
from avemo_jax.runtime.json_files import read_json


class WorkdirError(ValueError):
    """A work directory that belongs to another configuration, or to other data."""


def take_workdir(workdir: pathlib.Path, config: ConfigDict) -> None:
    """Makes ``workdir`` belong to ``config``: writes ``config.json``.

    Raises:
        WorkdirError: If it belongs to another configuration, and the error shows what
            differs; or if the file is damaged.
    """
    path = workdir / "config.json"
    plain = to_plain(config)
    if path.exists():
        old = _kept(path)
        if lines := changed_fields(old, plain):
            raise WorkdirError(
                f"{workdir} holds a run of another configuration:\n  "
                + "\n  ".join(lines)
                + "\nname another --workdir, or give the same configuration"
            )
    workdir.mkdir(parents=True, exist_ok=True)
    write_json(path, plain)


def kept_config(path: pathlib.Path) -> ConfigDict:
    """The configuration of a run, from its ``config.json``, without its workdir.

    Fields that the run's version did not have yet take their defaults.

    Raises:
        ValueError: If the file is damaged, or has a field or a value that this version
            does not take.
    """
    remedy = "name a config.json that a run of this version wrote"
    plain = read_json(path, dict, remedy=remedy)
    config = default_config().lock()
    values = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in flatten(plain).items()
        if name != "workdir"
    }
    try:
        config.update_from_flattened_dict(values)
    except (KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error.args[0]).split())
        raise ValueError(
            f"{path}: {reason}; expected the fields that avemo train --help lists: "
            f"{remedy}"
        ) from error
    return config


def check_data(workdir: pathlib.Path, fingerprint: str) -> None:
    """Refuses to go on in ``workdir`` with other annotations or features.

    Args:
        workdir: The work directory, with or without a run.
        fingerprint: Fingerprint of the data that the run would use now.

    Raises:
        WorkdirError: If the run began with data of another fingerprint, or
            ``environment.json`` is damaged.
    """
    path = workdir / "environment.json"
    if not path.exists():
        return
    old = _kept(path).get("data_fingerprint")
    if old != fingerprint:
        raise WorkdirError(
            f"{workdir} began with data of fingerprint {old}; the store's is now "
            f"{fingerprint}; name another --workdir, or bring the data back"
        )


def _kept(path: pathlib.Path) -> dict[str, Any]:
    """The content of a file that a run began its work directory with."""
    remedy = "the run's own record is damaged; name another --workdir"
    kept: dict[str, Any] = read_json(path, dict, remedy=remedy, error=WorkdirError)
    return kept
