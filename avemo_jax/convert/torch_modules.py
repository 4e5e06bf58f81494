"""State dicts of whole pickled PyTorch modules and of training checkpoints."""

from typing import Any

import numpy as np

from avemo_jax.convert.torch_records import Record, TorchFileError

# Names under which training checkpoints keep the network.
WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "net")
_PARTS = ("_parameters", "_buffers", "_modules")
_MAX_LEVELS = 100  # modules within one another
# Letters that the names of all modules may have together. A file can name one module
# many times, as torch does for shared ones; each time counts.
_MAX_LETTERS = 1 << 22


def state_dict_of(value: Any) -> dict[str, np.ndarray]:
    """Tensors by dotted name, as ``Module.state_dict()`` names and orders them.

    Args:
        value: Result of ``read_torch``: a state dict; a module, whose parameters and
            persistent buffers are taken; or a dict with one of these under one of
            ``WRAPPERS``.

    Raises:
        TorchFileError: If ``value`` is none of these, holds several, or has tensors
            that were not read (quantised, sparse).
    """
    if isinstance(value, dict):
        inside = _networks(value)
        if inside:
            return state_dict_of(_only_one(value, inside))
        found = value
    elif _is_module(value):
        found = _of_module(value)
    else:
        raise TorchFileError(
            f"{_described(value)} where weights should be; expected a state dict or a "
            "pickled module; is this another kind of file?"
        )
    wrong = [
        (key, item)
        for key, item in found.items()
        if not isinstance(key, str) or not isinstance(item, np.ndarray)
    ]
    if wrong or not found:
        some = (f"{key!s:.80} ({_described(item)})" for key, item in wrong[:8])
        raise TorchFileError(
            f"{len(wrong)} of {len(found)} weights are no plain tensors: "
            f"{', '.join(some)}; expected dense tensors of plain types by name; "
            "save the state dict of the float32 network"
        )
    return dict(found)


def _is_module(value: Any) -> bool:
    """Whether ``value`` is a pickled ``torch.nn.Module``."""
    return (
        isinstance(value, Record)
        and isinstance(value.state, dict)
        and all(_is_named(value.state.get(part)) for part in _PARTS)
        and isinstance(value.state.get("_non_persistent_buffers_set", set()), set)
    )


def _is_named(value: Any) -> bool:
    """Whether ``value`` is a dict with names as keys."""
    return isinstance(value, dict) and all(isinstance(key, str) for key in value)


def _networks(value: dict[Any, Any]) -> list[Any]:
    """Keys of the entries that are networks of their own."""
    # One dict or module may be the value of many entries; it is looked at once.
    different = {id(item): item for item in value.values()}
    weights = {identity for identity, item in different.items() if _holds_weights(item)}
    return [
        key
        for key, item in value.items()
        if id(item) in weights or (key in WRAPPERS and isinstance(item, dict))
    ]


def _holds_weights(value: Any) -> bool:
    """Whether ``value`` is a module, or a dict with tensors."""
    if isinstance(value, dict):
        return any(isinstance(item, np.ndarray) for item in value.values())
    return _is_module(value)


def _only_one(value: dict[Any, Any], inside: list[Any]) -> Any:
    """The entry that is the network."""
    if len(inside) > 1 or inside[0] not in WRAPPERS:
        raise TorchFileError(
            f"weights under {', '.join(f'{key!r:.80}' for key in inside[:8])}; "
            f"expected them in one place, which may be {', '.join(WRAPPERS)}; save "
            "that part alone"
        )
    return value[inside[0]]


def _of_module(module: Record) -> dict[str, Any]:
    """Parameters, buffers, then those of children, in order, without any None."""
    found: dict[str, Any] = {}
    letters_left = _MAX_LETTERS
    waiting: list[tuple[str, int, Any]] = [("", 0, module)]
    while waiting:
        prefix, level, part = waiting.pop()
        if not _is_module(part):
            raise TorchFileError(
                f"module {prefix.rstrip('.')!r:.80} is {_described(part)}; expected "
                "parameters, buffers and modules; save the network's state dict"
            )
        parameters, buffers, modules = (part.state[name] for name in _PARTS)
        keys = (*parameters, *buffers, *modules)
        letters_left -= sum(len(prefix) + len(key) + 1 for key in keys)
        if level > _MAX_LEVELS or letters_left < 0:
            raise TorchFileError(
                f"modules below {prefix!r:.80} over {_MAX_LEVELS} levels deep, or too "
                "many; expected a network; do not trust this file"
            )
        hidden = part.state.get("_non_persistent_buffers_set", set())
        kept = {key: item for key, item in buffers.items() if key not in hidden}
        own = (*parameters.items(), *kept.items())
        new = {f"{prefix}{key}": item for key, item in own if item is not None}
        if new.keys() & found.keys() or parameters.keys() & buffers.keys():
            raise TorchFileError(
                f"two tensors of one name below {prefix!r:.80}; expected a network; do "
                "not trust this file"
            )
        found |= new
        waiting += [
            (f"{prefix}{key}.", level + 1, child)
            for key, child in reversed(modules.items())
            if child is not None
        ]
    return found


def _described(value: Any) -> str:
    return f"a {value.name if isinstance(value, Record) else type(value).__name__}"
