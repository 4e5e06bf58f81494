"""A work directory belongs to one configuration, and to the data that it began with."""

import json
import pathlib

from ml_collections import ConfigDict

from avemo_jax.config.fields import changed_fields, to_plain
from avemo_jax.runtime.atomic_files import write_json


class WorkdirError(ValueError):
    """A work directory that belongs to another configuration, or to other data."""


def take_workdir(workdir: pathlib.Path, config: ConfigDict) -> None:
    """Makes ``workdir`` belong to ``config``: writes ``config.json``.

    Raises:
        WorkdirError: If it belongs to another configuration; the error shows what
            differs.
    """
    path = workdir / "config.json"
    plain = to_plain(config)
    if path.exists():
        old = json.loads(path.read_text(encoding="utf-8"))
        if lines := changed_fields(old, plain):
            raise WorkdirError(
                f"{workdir} holds a run of another configuration:\n  "
                + "\n  ".join(lines)
                + "\nname another --workdir, or give the same configuration"
            )
    workdir.mkdir(parents=True, exist_ok=True)
    write_json(path, plain)


def check_data(workdir: pathlib.Path, fingerprint: str) -> None:
    """Refuses to go on in ``workdir`` with other annotations or features.

    Args:
        workdir: The work directory, with or without a run.
        fingerprint: Fingerprint of the data that the run would use now.

    Raises:
        WorkdirError: If the run began with data of another fingerprint.
    """
    path = workdir / "environment.json"
    if not path.exists():
        return
    old = json.loads(path.read_text(encoding="utf-8")).get("data_fingerprint")
    if old != fingerprint:
        raise WorkdirError(
            f"{workdir} began with data of fingerprint {old}; the store's is now "
            f"{fingerprint}; name another --workdir, or bring the data back"
        )
