"""Whether a container asks that its pictures be cropped, which libav leaves to players.

MP4 and QuickTime state a clean aperture (``clap``), Matroska how many pixels to crop on
each side (``PixelCrop...``). What a codec crops is libav's own, and not meant here.
"""

import pathlib
import struct
from collections.abc import Iterator

_MOST_BOXES = 1000  # at the top of a file; a fragmented one has its header before
_MOST_BYTES = 2**26  # of an MP4's header that are searched
_FIRST_BYTES = 2**20  # of a Matroska file that are searched
# A whole box: its size, its name, and width, height and two offsets as fractions.
_CLAP, _CLAP_FORM = b"\0\0\0\x28clap", ">IIIIiIiI"
_SEGMENT, _TRACKS, _ENTRY, _VIDEO = 0x18538067, 0x1654AE6B, 0xAE, 0xE0
_CLUSTER = 0x1F43B675  # the tracks stand before the first one
_CROPS = {0x54AA, 0x54BB, 0x54CC, 0x54DD}  # bottom, top, left, right


def is_cropped(path: pathlib.Path, form: str, size: tuple[int, int]) -> bool:
    """Whether the container states that less than the whole pictures is shown.

    Args:
        path: The file.
        form: libav's names of its format.
        size: Width and height of the decoded pictures.

    Raises:
        OSError: If the file cannot be read.
    """
    if "mp4" in form:
        return any(aperture != size for aperture in _clean_apertures(path))
    if "matroska" in form:
        with path.open("rb") as file:
            return _has_crops(file.read(_FIRST_BYTES))
    return False


def _clean_apertures(path: pathlib.Path) -> Iterator[tuple[int, int]]:
    """Width and height of each clean aperture of an MP4's header."""
    header = _moov(path)
    at = header.find(_CLAP)
    while 0 <= at <= len(header) - 40:
        wide, of_wide, high, of_high, *_ = struct.unpack_from(
            _CLAP_FORM, header, at + 8
        )
        if of_wide and of_high:
            yield round(wide / of_wide), round(high / of_high)
        at = header.find(_CLAP, at + 8)


def _moov(path: pathlib.Path) -> bytes:
    """The header of an MP4; empty if it has none, or one beyond all reason."""
    with path.open("rb") as file:
        for _ in range(_MOST_BOXES):
            head = file.read(16)
            if len(head) < 8:
                return b""
            length, name, start = int.from_bytes(head[:4]), head[4:8], 8
            if length == 1:
                length, start = int.from_bytes(head[8:16]), 16
            if name == b"moov":
                file.seek(start - len(head), 1)
                return file.read(min(length - start, _MOST_BYTES)) if length else b""
            if length < start:
                return b""
            file.seek(length - len(head), 1)
    return b""


def _has_crops(data: bytes) -> bool:
    """Whether the tracks at the start of a Matroska file crop any pixel."""
    found = [data]
    for number in (_SEGMENT, _TRACKS, _ENTRY, _VIDEO):
        found = [inner for one in found for inner in _elements(one, {number})]
    return any(any(value) for video in found for value in _elements(video, _CROPS))


def _elements(data: bytes, wanted: set[int]) -> Iterator[bytes]:
    """The contents of those elements of EBML that are wanted."""
    at = 0
    while at < len(data):
        number_size = _vint_size(data[at])
        number = int.from_bytes(data[at : at + number_size])
        at += number_size
        if number == _CLUSTER or at >= len(data):
            return
        length_size = _vint_size(data[at])
        length = int.from_bytes(data[at : at + length_size])
        length &= (1 << (7 * length_size)) - 1
        at += length_size
        # All ones: until the end of what contains it.
        is_open = length == (1 << (7 * length_size)) - 1
        end = len(data) if is_open else at + length
        if number in wanted:
            yield data[at:end]
        at = end


def _vint_size(first: int) -> int:
    """Bytes of a number of EBML, told by the zeros before its first bit."""
    return 9 - first.bit_length() if first else 8
