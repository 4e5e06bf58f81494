"""How many bytes of sound the headers of WAV, RF64, W64, CAF and AIFF files state.

A program that writes into a pipe, or dies while it records, cannot go back to the
header, and leaves a number there that stands for "not known": nothing, all ones, or
the most that a signed or unsigned number holds, less the header. Libav reads such WAV,
CAF and AIFF files to their end. Of RF64 it reads nothing then, and W64 it refuses, so
these are given to it with the length that they have.
"""

import io
import os
import pathlib
from collections.abc import Mapping
from typing import BinaryIO, Literal, NamedTuple

_NEAR = (
    2**16
)  # bytes by which a number that means "not known" differs from a power of 2
_MOST_CHUNKS = 1000  # before the sound
_UNKNOWN = (0x7F000000, 2**31, 2**32, 2**63, 2**64)  # the first is sox's, of AIFF


class StatedLength(NamedTuple):
    """What a header says of the sound in a file.

    Attributes:
        stated: Bytes of sound that the header states; None: it leaves them unknown.
        there: Bytes from the first of them to the end of the file.
        mended: Bytes of the header that libav needs instead, by their places; none
            where it reads the file as it is.
    """

    stated: int | None
    there: int
    mended: Mapping[int, bytes]


class _Form(NamedTuple):
    """The form of a file of chunks: each has a name, a size and its content.

    Attributes:
        starts: How such a file starts.
        first: Place of the first chunk.
        name_bytes: Length of a name.
        size_bytes: Length of a size.
        order: Order of the bytes of numbers.
        sound: How the name of the chunk with the sound starts.
        even: Chunks start at multiples of this.
        counts_head: Whether a size counts the name and itself.
    """

    starts: bytes
    first: int
    name_bytes: int
    size_bytes: int
    order: Literal["little", "big"]
    sound: bytes
    even: int
    counts_head: bool


_FORMS = (
    _Form(b"RIFF", 12, 4, 4, "little", b"data", 2, False),
    _Form(b"RIFX", 12, 4, 4, "big", b"data", 2, False),
    _Form(b"RF64", 12, 4, 4, "little", b"data", 2, False),
    _Form(b"BW64", 12, 4, 4, "little", b"data", 2, False),
    _Form(b"riff.\x91\xcf\x11", 40, 16, 8, "little", b"data\xf3\xac\xd3\x11", 8, True),
    _Form(b"FORM", 12, 4, 4, "big", b"SSND", 2, False),
    _Form(b"caff", 8, 4, 8, "big", b"data", 1, False),
)
_SIZES_OF_RF64 = 20  # place of its sizes of the file and of the sound, if it has them


def stated_length(path: str | os.PathLike[str]) -> StatedLength | None:
    """What the header of a file says of its sound; None: it is no such file, or broken.

    Raises:
        OSError: If the file cannot be read.
    """
    with open(path, "rb") as file:
        head = file.read(40)
        form = next((one for one in _FORMS if head.startswith(one.starts)), None)
        kinds = (b"WAVE", b"AIFF", b"AIFC")
        if form is None or (form.first == 12 and head[8:12] not in kinds):
            return None
        return _length(file, form, head)


def _length(file: BinaryIO, form: _Form, head: bytes) -> StatedLength | None:
    end = file.seek(0, os.SEEK_END)
    at = form.first
    for _ in range(_MOST_CHUNKS):
        file.seek(at)
        name, size = file.read(form.name_bytes), file.read(form.size_bytes)
        start = at + form.name_bytes + form.size_bytes
        if len(size) < form.size_bytes:
            return None
        stated = int.from_bytes(size, form.order)
        content = stated - (start - at) * form.counts_head
        if name.startswith(form.sound):
            break
        at = start + max(0, content)
        at += -at % form.even
    else:
        return None
    there = end - start
    mended: dict[int, bytes] = {}
    if form.starts in (b"RF64", b"BW64"):
        if head[12:16] != b"ds64":
            return None
        if stated == 2**32 - 1:
            content = int.from_bytes(head[28:36], "little")
        if _is_unknown(content):
            sizes = (end - 8, there)
            mended[_SIZES_OF_RF64] = b"".join(n.to_bytes(8, "little") for n in sizes)
    elif form.counts_head and _is_unknown(stated):
        mended[16] = end.to_bytes(8, "little")
        mended[at + 16] = (end - at).to_bytes(8, "little")
    is_unknown = _is_unknown(stated if form.counts_head else content)
    return StatedLength(None if is_unknown else content, there, mended)


def _is_unknown(size: int) -> bool:
    return size == 0 or any(abs(size - power) <= _NEAR for power in _UNKNOWN)


class MendedFile(io.RawIOBase):
    """A file with other bytes in some places, for libav to read."""

    def __init__(self, path: pathlib.Path, mended: Mapping[int, bytes]):
        """Opens the file.

        Args:
            path: Path of the file.
            mended: The other bytes, by their places in the file.

        Raises:
            OSError: If the file cannot be read.
        """
        self.name = os.fspath(path)
        self._mended = mended
        self._at = 0
        self._file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move to a place in the file, and return it."""
        self._at = os.lseek(self._file, offset, whence)
        return self._at

    def tell(self) -> int:
        """The place of the next byte."""
        return self._at

    def readinto(self, buffer: bytearray, /) -> int:  # type: ignore[override]
        """Fill the buffer with the next bytes; returns how many there were."""
        found = bytearray(os.read(self._file, len(buffer)))
        start, self._at = self._at, self._at + len(found)
        for place, other in self._mended.items():
            first, last = max(place, start), min(place + len(other), self._at)
            if first < last:
                found[first - start : last - start] = other[
                    first - place : last - place
                ]
        buffer[: len(found)] = found
        return len(found)

    def close(self) -> None:
        """Close the file; also done when nobody holds this any more."""
        if not self.closed:
            os.close(self._file)
        super().close()
