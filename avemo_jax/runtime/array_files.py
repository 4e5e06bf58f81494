"""Arrays in ``.npy`` and ``.npz`` files from anywhere, read in bounded memory.

A header of a few bytes can declare terabytes, and a few bytes can inflate to as many.
What a file declares is compared with the bytes that it has before memory is taken. No
pickle is read. This is the one place that opens such files.
"""

import contextlib
import io
import math
import os
import pathlib
import struct
import sys
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
import safetensors

from avemo_jax.runtime.regular_files import is_special

# What is inflated may have this many times the bytes of its file, or so many at least.
# Without compression no file is ever refused for its size.
MAX_GROWTH = 64
SPARE_BYTES = 1 << 28
_HEADER_BYTES = 1 << 16  # numpy's own limit of a header is 10,000
_PIECE = 1 << 20
_MAX_REASON = 300  # characters
_KINDS = "biufUS"
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# What zipfile and numpy raise on damaged files: RuntimeError for encryption, TypeError,
# SyntaxError and TokenError for odd headers, and RecursionError for deep ones.
_DAMAGES = (
    ValueError,
    TypeError,
    AttributeError,  # by safetensors, for a type that numpy lacks
    KeyError,
    IndexError,
    SyntaxError,
    tokenize.TokenError,
    OverflowError,
    RuntimeError,
    MemoryError,
    EOFError,
    OSError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
    safetensors.SafetensorError,
)


def check_growth(declared: int, stored: int) -> None:
    """Check that what is declared may come of what is stored, before it is read.

    Args:
        declared: Bytes that reading will take.
        stored: Bytes that the file, or the part of it, has.

    Raises:
        ValueError: If they are more than :data:`MAX_GROWTH` times as many, and more
            than :data:`SPARE_BYTES`.
    """
    if declared > max(SPARE_BYTES, MAX_GROWTH * stored):
        raise ValueError(
            f"{declared:,} bytes declared in {stored:,}; at most {MAX_GROWTH} times as "
            "many are read: if that is right, save it without compression"
        )


def read_npy(
    path: str | os.PathLike[str], *, expected: str, mapped: bool = False
) -> np.ndarray:
    """The array in a ``.npy`` file; of several in a row, the first.

    Args:
        path: The file.
        expected: What it should be and what to do about another one, for the error:
            "expected ...: ...".
        mapped: Map the file into memory, read-only, instead of reading it.

    Raises:
        ValueError: If the file is damaged, holds objects, or declares more than it has.
    """
    path = pathlib.Path(path)
    with damage_told(path, expected), opened_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        dtype, shape, order, start = _header(file.read(_HEADER_BYTES))
        declared = _num_bytes(dtype, shape)
        if declared > size - start:
            raise ValueError(
                f"{dtype} of shape {shape} declared, and {size - start:,} bytes there"
            )
        if mapped and declared:
            return np.memmap(file, dtype, "r", start, shape, order)
        file.seek(start)
        return _filled(file, dtype, shape, order)


def read_npz(path: str | os.PathLike[str], *, expected: str) -> dict[str, np.ndarray]:
    """The arrays in a ``.npz`` file, by name.

    Args:
        path: The file.
        expected: What it should be and what to do about another one, for the error.

    Raises:
        ValueError: If the file is damaged, holds objects, or declares or inflates to
            more than its bytes allow.
    """
    with opened_npz(path, expected=expected) as archive:
        names = archive.namelist()
        return {name.removesuffix(".npy"): read_entry(archive, name) for name in names}


@contextlib.contextmanager
def opened_npz(
    path: str | os.PathLike[str], *, expected: str
) -> Iterator[zipfile.ZipFile]:
    """A ``.npz`` file whose entries are checked, for reading some or in pieces.

    Args:
        path: The file.
        expected: What it should be and what to do about another one, for errors, also
            for those that are raised while it is open.

    Raises:
        ValueError: If the file is damaged, or inflates to more than its bytes allow.
    """
    path = pathlib.Path(path)
    with (
        damage_told(path, expected),
        opened_file(path) as file,
        zipfile.ZipFile(file) as archive,
    ):
        entries = archive.infolist()
        size = os.fstat(file.fileno()).st_size
        if len({entry.filename for entry in entries}) < len(entries):
            raise ValueError("two entries of one name")
        if any(e.compress_type not in _METHODS or e.flag_bits & 1 for e in entries):
            raise ValueError("entries compressed as numpy does not, or encrypted")
        if sum(entry.compress_size for entry in entries) > size:
            raise ValueError("entries over one another")
        # zipfile never gives more of an entry than it declares.
        check_growth(sum(entry.file_size for entry in entries), size)
        yield archive


def read_entry(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """The array in an entry of :func:`opened_npz`, which tells the errors.

    Args:
        archive: The open file.
        name: Name of the entry, with ``.npy``.

    Raises:
        ValueError: If the entry does not have the bytes that its header declares.
    """
    with archive.open(name) as stream:
        dtype, shape, order, start = _header(stream.read(_HEADER_BYTES))
    size = archive.getinfo(name).file_size - start
    if _num_bytes(dtype, shape) != size:
        raise ValueError(
            f"{name}: {dtype} of shape {shape} declared, and {size:,} bytes there"
        )
    with archive.open(name) as stream:
        stream.read(start)
        array = _filled(stream, dtype, shape, order)
        stream.read(1)  # at the end the checksum is compared
    return array


@contextlib.contextmanager
def damage_told(
    path: str | os.PathLike[str],
    expected: str,
    *,
    error: type[ValueError] = ValueError,
) -> Iterator[None]:
    """Raise whatever a damaged file leads to as one error that names it.

    Args:
        path: The file.
        expected: What it should be and what to do about another one.
        error: The class of the error.
    """
    try:
        yield
    except _DAMAGES as fault:
        if isinstance(fault, MemoryError):
            reason = "it needs more memory than there is"
        elif isinstance(fault, OSError) and fault.strerror:
            reason = fault.strerror
        else:
            text = " ".join(str(fault).split())  # libraries write several lines
            reason = text[:_MAX_REASON] or type(fault).__name__
        raise error(f"{path} cannot be read ({reason}); {expected}") from fault


@contextlib.contextmanager
def opened_file(path: pathlib.Path) -> Iterator[IO[bytes]]:
    """A regular file, open for reading: a pipe would be waited for.

    Raises:
        ValueError: If it is no regular file.
        OSError: If it cannot be read.
    """
    if is_special(path):
        raise ValueError("no regular file")
    with path.open("rb") as file:
        yield file


def _header(begin: bytes) -> tuple[np.dtype, tuple[int, ...], Any, int]:
    """Type, shape and order of an array, and the byte at which its values begin."""
    stream = io.BytesIO(begin)
    version = np.lib.format.read_magic(stream)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise ValueError(f"a .npy of version {version}")
    with warnings.catch_warnings():
        # Those of Python 2 are as good.
        warnings.filterwarnings("ignore", "Reading `.npy`", UserWarning)
        shape, fortran, dtype = readers[version](stream)
    if dtype.hasobject:
        raise ValueError("objects in place of numbers")
    if dtype.kind not in _KINDS or dtype.subdtype:
        raise ValueError(f"values of type {dtype!s:.80}")
    return dtype, shape, "F" if fortran else "C", stream.tell()


def _num_bytes(dtype: np.dtype, shape: tuple[int, ...]) -> int:
    """Bytes of an array's values.

    Raises:
        ValueError: If a length is negative, or there are rows that have no values.
    """
    size = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or (not size and shape[:1] != (0,)):
        raise ValueError(f"{dtype} of shape {shape}, which has no values")
    return size


def _filled(
    stream: IO[bytes], dtype: np.dtype, shape: tuple[int, ...], order: Any
) -> np.ndarray:
    """The array whose values come next in a stream."""
    flat = np.empty(math.prod(shape), dtype)
    if flat.size:
        view = flat.view(np.uint8).data
        done = 0
        while done < len(view):
            piece = stream.read(min(_PIECE, len(view) - done))
            if not piece:
                raise ValueError(f"it ends after {done:,} of {len(view):,} bytes")
            view[done : done + len(piece)] = piece
            done += len(piece)
    if dtype.kind == "U" and flat.size:
        points = flat.view(np.dtype(np.uint32).newbyteorder(dtype.byteorder))
        if points.max() > sys.maxunicode:
            raise ValueError("texts with characters that there are not")
    return flat.reshape(shape, order=order)
