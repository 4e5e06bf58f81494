"""The configuration: what is made of the table of its fields.

A file in ``configs/`` calls :func:`base_config` and changes what differs. The command
line can set every field: ``--config.learning_rate=3e-4``.
"""

import hashlib
import json
from typing import Any

from ml_collections import ConfigDict, config_dict

from avemo_jax.config.field_table import DEFAULT_FEATURES, FIELDS, OWN
from avemo_jax.config.recipes import ORIGINAL, OURS, recipe_values
from avemo_jax.tasks import TASKS, get_task

_UNCOUNTED = {field.name for field in FIELDS if not field.counts}
_LATER = {field.name: field.default for field in FIELDS if field.later}


def base_config(task: str, head: str, features: str | None = None) -> ConfigDict:
    """A locked configuration with the defaults of ``head`` for ``task``.

    Args:
        task: "EXPR", "AU" or "VA", the name of one's own task that is known already,
            several names joined by "+", or "own": the store's only task.
        head: A kind of head, as "mlp" or "transformer": a name of ``HEAD_KINDS``.
        features: Feature sets joined by "+". None: :data:`DEFAULT_FEATURES`.

    Raises:
        ValueError: If the task is unknown.
    """
    if task != OWN:
        get_task(task)
    config = default_config()
    own = {"task": task, "head.kind": head}
    own["data.features"] = features or DEFAULT_FEATURES
    official = set(task.split("+")) <= set(TASKS)
    kind = task if official else OWN
    config.update_from_flattened_dict(own | recipe_values(OURS, kind, head))
    return config.lock()


def default_config() -> ConfigDict:
    """A configuration, not locked, in which every field has its default."""
    config = ConfigDict()
    for field in FIELDS:
        *groups, name = field.name.split(".")
        part = config
        for group in groups:
            if group not in part:
                part[group] = ConfigDict()
            part = part[group]
        none = config_dict.placeholder(field.value_type)
        part[name] = none if field.default is None else field.default
    return config


def original_config(task: str, head: str, features: str | None = None) -> ConfigDict:
    """The original system's recipe, with those of its faults that have a switch.

    Args:
        task: "EXPR", "AU" or "VA".
        head: "mlp" or "transformer".
        features: Feature sets joined by "+". None: :data:`DEFAULT_FEATURES`.

    Raises:
        ValueError: If the original had no such task or head.
    """
    if (task, head) not in ORIGINAL:
        had = ", ".join(f"{t} {h}" for t, h in ORIGINAL if t and h)
        raise ValueError(
            f"no recipe of the original for {task} {head}; expected one of {had}; take "
            "base_config for others"
        )
    config = base_config(task, head, features)
    config.update_from_flattened_dict(recipe_values(ORIGINAL, task, head))
    return config


def flatten(config: ConfigDict | dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted names of all leaf fields to their values."""
    leaves: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, ConfigDict | dict):
            leaves |= flatten(value, f"{prefix}{name}.")
        else:
            leaves[prefix + name] = value
    return leaves


def to_plain(config: ConfigDict) -> dict[str, Any]:
    """The configuration as values that JSON takes: nested dicts, lists for tuples."""
    plain: dict[str, Any] = json.loads(json.dumps(config.to_dict()))
    return plain


def _identity_fields(plain: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in flatten(plain).items()
        if name not in _UNCOUNTED and not (name in _LATER and value == _LATER[name])
    }


def identity(config: ConfigDict) -> str:
    """8 hex digits, the same for configurations that compute the same result."""
    text = json.dumps(_identity_fields(to_plain(config)), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def changed_fields(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Lines ``name: old -> new`` for the fields that differ and change the result.

    Args:
        old: A configuration from :func:`to_plain`.
        new: The configuration that it is compared with.
    """
    before, after = _identity_fields(old), _identity_fields(new)
    names = sorted(before.keys() | after.keys())
    return [
        f"{name}: {before.get(name, 'absent')!r} -> {after.get(name, 'absent')!r}"
        for name in names
        if before.get(name, "absent") != after.get(name, "absent")
    ]
