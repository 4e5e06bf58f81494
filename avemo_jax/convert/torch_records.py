"""Inert records of the objects that a PyTorch file names, which are never made."""

import dataclasses
from typing import Any

_MAX_DEPTH = 300  # containers and records within one another


class TorchFileError(ValueError):
    """A file that is damaged, asks to run code, or holds what is not expected."""


@dataclasses.dataclass(eq=False, slots=True, repr=False)
class Record:
    """A record of something that a file names, which is never made.

    Attributes:
        name: Module and name, such as ``timm.models.efficientnet.EfficientNet``.
        args: Arguments of the call, named ones as a dict at the end; None: it was only
            named (a class, a function, ``torch.float32``).
        state: State that the object was to get, mostly its attributes by name.
        items: Items that were put into the object: values, or (key, value).
    """

    name: str
    args: tuple[Any, ...] | None = None
    state: Any = None
    items: list[Any] | tuple[()] = ()

    def __repr__(self) -> str:
        return f"Record({self.name})"


def check_depth(value: Any) -> None:
    """Check that ``value`` is not too deep, and no plain container contains itself.

    An object may contain itself: its attributes often name its parent.

    Raises:
        ValueError: If it is too deep, or a plain container contains itself.
    """
    depths: dict[int, int] = {}
    # The index in ``way`` of each part that is being looked at.
    open_at: dict[int, int] = {}
    # Each value on the way, its parts not looked at yet, the greatest depth of others.
    way: list[tuple[Any, list[Any], list[int]]] = [(None, [value], [0])]
    while way:
        of, parts, deepest = way[-1]
        if not parts:
            way.pop()
            depths[id(of)] = deepest[0] + 1
            open_at.pop(id(of), None)
            if way:
                way[-1][2][0] = max(way[-1][2][0], deepest[0] + 1)
            continue
        part = parts.pop()
        if id(part) in open_at:
            round_trip = way[open_at[id(part)] :]
            if not any(type(one[0]) is Record for one in round_trip):
                raise ValueError(f"a {type(part).__name__} that contains itself")
            continue
        # Checked before its parts are listed, since a list may be named many times.
        known = depths.get(id(part), 0)
        if len(way) + known > _MAX_DEPTH:
            raise ValueError(f"over {_MAX_DEPTH} values within one another")
        if known:
            deepest[0] = max(deepest[0], known)
        elif (inner := _parts(part)) is not None:
            open_at[id(part)] = len(way)
            way.append((part, inner, [0]))


def _parts(value: Any) -> list[Any] | None:
    """The parts that ``value`` contains; None: it is no container, or empty."""
    match value:
        case dict():
            parts = [*value, *value.values()]
        case list() | tuple() | set() | frozenset():
            parts = list(value)
        case Record():
            parts = [value.args, value.state, value.items]
        case _:
            return None
    return parts or None
