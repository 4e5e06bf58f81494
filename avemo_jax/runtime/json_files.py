"""Files of JSON from anywhere, read as the types that they should hold.

Every file of JSON that a person can exchange is read here: its size and depth are
bounded, and an error names the file and the key.
"""

import dataclasses
import json
import os
import pathlib
import types
import typing
from collections.abc import Mapping, Sequence, Set
from typing import Any

from avemo_jax.runtime.plain_text import one_line
from avemo_jax.runtime.regular_files import is_special

MAX_BYTES = 2**26  # the metadata of a million videos; parsed they take ten times that
_WORDS = {str: "a text", int: "an integer", float: "a number", bool: "true or false"}


def read_json(
    path: str | os.PathLike[str],
    kind: Any,
    *,
    remedy: str,
    error: type[ValueError] = ValueError,
) -> Any:
    """The content of a file of JSON, if it fits a type.

    Args:
        path: The file.
        kind: What it should hold, as :func:`fitted` takes it; ``dict`` for an object
            with anything in it.
        remedy: What a person should do about a file that does not fit, for the error.
        error: The class of the error.

    Raises:
        ValueError: If the file is over :data:`MAX_BYTES`, is no JSON, or does not fit;
            of the class ``error``.
        OSError: If it cannot be read.
    """
    path = pathlib.Path(path)
    try:
        _refuse_special(path)
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        return fitted(kind, parsed(data))
    except ValueError as fault:
        raise error(f"{path}: {fault}: {remedy}") from fault


def read_json_lines(
    path: str | os.PathLike[str], kind: Any, *, remedy: str
) -> list[Any]:
    """The values in a file with one value of JSON a line, each fitting a type.

    A last line without an end, which a killed writer leaves, is left out.

    Args:
        path: The file.
        kind: What every line should hold, as :func:`fitted` takes it.
        remedy: What a person should do about a line that does not fit, for the error.

    Raises:
        ValueError: If a line does not fit; names the file and the line.
        OSError: If the file cannot be read.
    """
    path, found = pathlib.Path(path), []
    try:
        _refuse_special(path)
    except ValueError as fault:
        raise ValueError(f"{path}: {fault}: {remedy}") from fault
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(MAX_BYTES), b""), 1):
            if not line.endswith(b"\n") and len(line) < MAX_BYTES:
                break
            try:
                found.append(fitted(kind, parsed(line)))
            except ValueError as fault:
                raise ValueError(f"{path}, line {number}: {fault}: {remedy}") from fault
    return found


def _refuse_special(path: pathlib.Path) -> None:
    if is_special(path):
        raise ValueError("no regular file; expected one of JSON")


def parsed(data: bytes | str) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: If it is over :data:`MAX_BYTES`, no JSON in UTF-8, or nested deeper
            than Python follows.
    """
    if len(data) > MAX_BYTES:
        raise ValueError(f"over {MAX_BYTES} bytes; expected a smaller file of JSON")
    try:
        return json.loads(data)
    except UnicodeDecodeError as fault:
        raise ValueError(f"{fault.reason}; expected JSON in UTF-8") from fault
    except json.JSONDecodeError as fault:
        raise ValueError(f"line {fault.lineno}: {fault.msg}; expected JSON") from fault
    except RecursionError as fault:
        raise ValueError("values in values without end; expected JSON") from fault
    except ValueError as fault:  # Python's limit of digits
        raise ValueError("a number of thousands of digits; expected JSON") from fault


def fitted(kind: Any, value: Any, key: str = "") -> Any:
    """A value of JSON as a type, which it must fit.

    Args:
        kind: A dataclass, whose fields the object must have and no others; a
            ``TypedDict``, beside whose names others may stand; or a plain type, tuple,
            Mapping, Literal, union of these. A class with ``from_dict`` is made by it.
        value: What JSON gave.
        key: Where it stands in the file, for errors: "data.fingerprint".

    Raises:
        ValueError: If it does not fit; names the key.
    """
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        if value is None and types.NoneType in inner:
            return None
        kind, *others = (one for one in inner if one is not types.NoneType)
        if any(value in typing.get_args(other) for other in others):
            return value
        return fitted(kind, value, key)
    if origin is typing.Literal:
        if value in inner:
            return value
        named = ", ".join(map(repr, inner))
        raise ValueError(f"{key} is {value!r:.60}; expected {named}")
    if kind is Any or type(value) is kind or (kind is float and type(value) is int):
        return value
    if origin is tuple and isinstance(value, list):
        kinds = inner[:1] * len(value) if inner[-1] is Ellipsis else inner
        if len(kinds) == len(value):
            pairs = enumerate(zip(kinds, value, strict=True))
            return tuple(fitted(k, one, f"{key}[{i}]") for i, (k, one) in pairs)
    if isinstance(value, dict):
        inside = f"{key}." if key else ""
        if hasattr(kind, "from_dict"):
            try:
                return kind.from_dict(value)
            except (TypeError, KeyError) as fault:
                raise ValueError(
                    f"{key}: {fault!r}; expected {kind.__name__}"
                ) from fault
        if typing.is_typeddict(kind):
            return value | _members(kind, kind.__required_keys__, value, inside)
        if dataclasses.is_dataclass(kind):
            return _object(kind, value, inside)
        if origin is Mapping:
            pair = inner[1]
            return {name: fitted(pair, v, inside + name) for name, v in value.items()}
    fixed = inner and inner[-1] is not Ellipsis
    lists = f"a list of {len(inner)}" if fixed else "a list"
    expected = _WORDS.get(kind, lists if origin is tuple else "an object")
    what = f"{key} is {value!r:.60}" if key else f"the file holds {value!r:.60}"
    raise ValueError(f"{what}; expected {expected}")


def _object(kind: Any, stored: Mapping[str, Any], inside: str) -> Any:
    """The dataclass ``kind`` with the checked values of an object.

    Raises:
        ValueError: If a key is missing or unknown, or a value does not fit.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}
    needed = {n for n, f in fields.items() if f.default is dataclasses.MISSING}
    unknown = [inside + name for name in stored if name not in fields]
    return kind(**_members(kind, needed, stored, inside, unknown))


def _members(
    kind: Any,
    needed: Set[str],
    stored: Mapping[str, Any],
    inside: str,
    unknown: Sequence[str] = (),
) -> dict[str, Any]:
    """The checked values of an object, by the names that ``kind`` gives types to."""
    kinds = typing.get_type_hints(kind)
    lacking = [inside + name for name in kinds if name in needed - stored.keys()]
    if lacking or unknown:
        raise ValueError(
            f"missing {', '.join(lacking) or 'nothing'}, unknown "
            f"{one_line(', '.join(unknown)) or 'nothing':.300}; expected what this "
            "version writes"
        )
    return {
        name: fitted(one, stored[name], inside + name)
        for name, one in kinds.items()
        if name in stored
    }
