"""Files in PyTorch's two forms, written without PyTorch, right ones and wrong ones."""

import dataclasses
import io
import struct
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Name:
    module: str
    name: str


@dataclasses.dataclass(frozen=True)
class Call:
    function: Any
    arguments: tuple[Any, ...]
    new: bool = False  # as an object of a class is made


@dataclasses.dataclass(frozen=True)
class Filled:
    target: Any
    state: Any


@dataclasses.dataclass(frozen=True)
class Outside:
    identity: Any


@dataclasses.dataclass(frozen=True)
class Raw:
    instructions: bytes


def written(value: Any) -> bytes:
    """Instructions that leave ``value`` on the stack, as protocol 2 has them."""
    match value:
        case Raw():
            return value.instructions
        case None:
            return b"N"
        case bool():
            return b"\x88" if value else b"\x89"
        case int() if 0 <= value < 256:
            return b"K" + bytes([value])
        case int():
            raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
            return b"\x8a" + bytes([len(raw)]) + raw
        case float():
            return b"G" + struct.pack(">d", value)
        case str():
            raw = value.encode()
            return b"X" + struct.pack("<I", len(raw)) + raw
        case bytes():
            return b"B" + struct.pack("<I", len(value)) + value
        case tuple():
            return b"(" + b"".join(map(written, value)) + b"t"
        case list():
            return b"](" + b"".join(map(written, value)) + b"e"
        case set():
            return b"\x8f(" + b"".join(map(written, sorted(value))) + b"\x90"
        case dict():
            items = b"".join(written(k) + written(v) for k, v in value.items())
            return b"}(" + items + b"u"
        case Name():
            return f"c{value.module}\n{value.name}\n".encode()
        case Call():
            what = written(value.function) + written(value.arguments)
            return what + (b"\x81" if value.new else b"R")
        case Filled():
            return written(value.target) + written(value.state) + b"b"
        case Outside():
            return written(value.identity) + b"Q"
    raise TypeError(type(value))


def pickled(value: Any) -> bytes:
    return b"\x80\x02" + written(value) + b"."


ORDERED = Call(Name("collections", "OrderedDict"), ())
_CLASSES = {
    "float64": "DoubleStorage",
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "complex64": "ComplexFloatStorage",
    "complex128": "ComplexDoubleStorage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "int16": "ShortStorage",
    "int8": "CharStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
}


def storage(
    key: str,
    count: Any,
    dtype: str = "float32",
    location: str = "cpu",
    view: tuple[Any, ...] = (),
) -> Outside:
    """A reference to a storage; ``view`` is (None,) or ((key, offset, size),)."""
    kind = Name("torch", _CLASSES[dtype])
    return Outside(("storage", kind, key, location, count, *view))


def tensor(stored: Any, offset: Any, size: Any, stride: Any, *more: Any) -> Call:
    function = Name("torch._utils", "_rebuild_tensor_v2")
    return Call(function, (stored, offset, size, stride, False, ORDERED, *more))


def parameter(data: Any) -> Call:
    return Call(Name("torch._utils", "_rebuild_parameter"), (data, True, ORDERED))


def ordered(items: Mapping[str, Any]) -> Raw:
    """An OrderedDict, as Python 3 pickles it."""
    inner = b"".join(written(k) + written(v) for k, v in items.items())
    return Raw(written(ORDERED) + b"(" + inner + b"u")


def module(
    name: str,
    parameters: Mapping[str, Any] = {},
    buffers: Mapping[str, Any] = {},
    modules: Mapping[str, Any] = {},
    **attributes: Any,
) -> Filled:
    state = {
        "training": False,
        **attributes,
        "_parameters": ordered(parameters),
        "_buffers": ordered(buffers),
        "_forward_hooks": ORDERED,
        "_modules": ordered(modules),
    }
    package, _, kind = name.rpartition(".")
    return Filled(Call(Name(package, kind), (), new=True), state)


def zip_form(
    pickle_bytes: bytes,
    storages: Mapping[str, bytes] = {},
    *,
    compression: int = zipfile.ZIP_STORED,
    **more: bytes,
) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickle_bytes)
        for name, content in more.items():
            archive.writestr(f"archive/{name}", content)
        for key, content in storages.items():
            archive.writestr(f"archive/data/{key}", content)
        archive.writestr("archive/version", b"3\n")
    return buffer.getvalue()


LEGACY_START = (
    pickled(0x1950A86A20F9469CFC6C)
    + pickled(1001)
    + pickled({"protocol_version": 1001, "little_endian": True})
)


def legacy_form(
    pickle_bytes: bytes, storages: Mapping[str, tuple[int, bytes]] = {}
) -> bytes:
    """``storages``: the number of elements that the file says, and the bytes."""
    contents = b"".join(struct.pack("<q", n) + raw for n, raw in storages.values())
    return LEGACY_START + pickle_bytes + pickled(list(storages)) + contents


def floats(count: int) -> bytes:
    return np.arange(count, dtype="<f4").tobytes()
