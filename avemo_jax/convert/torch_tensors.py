"""PyTorch's storages and tensors as numpy arrays, in memory bounded by the file's size.

A storage is a run of bytes; a tensor is a view of one, by offset, size and stride. A
stride of 0 makes a huge tensor of few bytes, so copied bytes are counted.
"""

import dataclasses
import math
import reprlib
from typing import Any

import numpy as np

# A file's tensors together may have this many times its bytes, plus this many: each
# view of a storage is copied, and bfloat16 grows to float32.
MAX_GROWTH = 8
SPARE_BYTES = 1 << 20
_MAX_AXES = 32  # torch allows 64, numpy 64; networks have 6 at most


@dataclasses.dataclass(frozen=True)
class Element:
    """The type of a storage's elements.

    Attributes:
        size: Size in bytes.
        dtype: Type of numpy; None: it has none (quantised, float8), bytes are skipped.
        widened: Whether it is bfloat16, the upper half of a float32.
    """

    size: int
    dtype: np.dtype | None
    widened: bool = False


def _plain(code: str) -> Element:
    dtype = np.dtype(code)
    return Element(dtype.itemsize, dtype)


_BFLOAT16 = Element(2, np.dtype("<u2"), widened=True)
_BY_DTYPE = {
    "float64": _plain("<f8"),
    "float32": _plain("<f4"),
    "float16": _plain("<f2"),
    "bfloat16": _BFLOAT16,
    "complex64": _plain("<c8"),
    "complex128": _plain("<c16"),
    "int64": _plain("<i8"),
    "int32": _plain("<i4"),
    "int16": _plain("<i2"),
    "int8": _plain("i1"),
    "uint64": _plain("<u8"),
    "uint32": _plain("<u4"),
    "uint16": _plain("<u2"),
    "uint8": _plain("u1"),
    "bool": _plain("?"),
}
_BY_CLASS = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}
_WITHOUT_DTYPE = {
    "QInt8Storage": 1,
    "QUInt8Storage": 1,
    "QInt32Storage": 4,
    "QUInt4x2Storage": 1,
    "QUInt2x4Storage": 1,
}
# Types of elements by the name of a storage's class, and by that of a tensor's dtype.
STORAGES = {
    f"{package}.{name}": element
    for package in ("torch", "torch.cuda")
    for name, element in {
        **{name: _BY_DTYPE[dtype] for name, dtype in _BY_CLASS.items()},
        **{name: Element(size, None) for name, size in _WITHOUT_DTYPE.items()},
    }.items()
} | dict.fromkeys(
    ("torch.UntypedStorage", "torch.storage.UntypedStorage"), _BY_DTYPE["uint8"]
)
TORCH_DTYPES = {f"torch.{name}": element for name, element in _BY_DTYPE.items()}


@dataclasses.dataclass(frozen=True)
class Storage:
    """Bytes of a file.

    Attributes:
        data: One axis of uint8, a view of the file; None: the bytes are not looked at
            yet, and every tensor is empty.
        element: Type of its elements.
        big_endian: The order of bytes within an element.
    """

    data: np.ndarray | None
    element: Element
    big_endian: bool = False

    def part(self, offset: Any, count: Any) -> "Storage":
        """A view of ``count`` elements from ``offset`` on.

        Raises:
            ValueError: If the storage has fewer, or these are no numbers.
        """
        if not _are_counts((offset, count)):
            raise ValueError(
                f"{reprlib.repr(count)} elements of a storage from "
                f"{reprlib.repr(offset)}"
            )
        if self.data is None:
            return self
        start, stop = offset * self.element.size, (offset + count) * self.element.size
        if stop > len(self.data):
            raise ValueError(
                f"a storage of {len(self.data)} bytes in the file, where {stop} are "
                "announced"
            )
        return dataclasses.replace(self, data=self.data[start:stop])


class Allowance:
    """Counts how many bytes may still be made of a file."""

    def __init__(self, file_bytes: int) -> None:
        self.left = MAX_GROWTH * file_bytes + SPARE_BYTES

    def spend(self, count: int) -> None:
        """Count ``count`` bytes.

        Raises:
            ValueError: If too many bytes were made of the file.
        """
        self.left -= count
        if self.left < 0:
            raise ValueError(
                f"values of over {MAX_GROWTH} times the bytes that the file has"
            )


def tensor_array(
    storage: Storage,
    element: Element,
    view: tuple[Any, Any, Any],
    allowance: Allowance,
) -> np.ndarray:
    """The tensor that is a view of ``storage``: a contiguous copy in native byte order.

    Args:
        storage: Storage of its bytes.
        element: Type of the tensor's elements; ``storage`` may be of plain bytes.
        view: Offset, size and stride, in elements, as the file says.
        allowance: Counter of the bytes that are made.

    Raises:
        ValueError: If the view is not within the storage, or is too large.
    """
    offset, size, stride = view
    if type(size) is not tuple or type(stride) is not tuple:
        raise ValueError(
            f"a tensor of a {type(size).__name__} and a {type(stride).__name__}"
        )
    if len(size) != len(stride) or len(size) > _MAX_AXES:
        raise ValueError(f"a tensor of {len(size)} axes and {len(stride)} strides")
    what = f"a tensor of size {reprlib.repr(size)}, stride {reprlib.repr(stride)}"
    if not _are_counts((offset, *size, *stride)):
        raise ValueError(f"{what} from {reprlib.repr(offset)}")
    if storage.data is None or element.dtype is None:
        return np.zeros(0)
    dtype = element.dtype.newbyteorder(">" if storage.big_endian else "<")
    count = math.prod(size)
    if count == 0:
        return np.empty(size, np.float32 if element.widened else element.dtype)
    last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
    if (last + 1) * element.size > len(storage.data):
        raise ValueError(
            f"{what} from {offset} of a storage that has "
            f"{len(storage.data) // element.size} elements"
        )
    allowance.spend(count * (4 if element.widened else element.size))
    steps = tuple(
        s * element.size if n > 1 else 0 for n, s in zip(size, stride, strict=True)
    )
    start = offset * element.size
    if element.dtype == np.bool_:
        dtype = np.dtype(np.uint8)
    shown = np.ndarray(size, dtype, storage.data, start, steps)
    if element.widened:
        return (shown.astype(np.uint32) << 16).view(np.float32)
    if element.dtype == np.bool_:
        return shown != 0
    return np.array(shown, element.dtype, order="C")


def _are_counts(values: tuple[Any, ...]) -> bool:
    """Whether all are integers from 0 to the most that a file can have."""
    return all(type(value) is int and 0 <= value < 1 << 62 for value in values)
