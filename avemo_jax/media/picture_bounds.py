"""Bounds on what the file of a picture may ask of its reader, apart from its size.

A small file may state more than a day's work: hundreds of scans over all pixels, a
million tags that each name the same megabyte, comments without end. Pillow bounds the
pixels and texts; what it does not bound is here. No picture that a camera or a program
of pictures writes comes near any of these.
"""

import re
from io import BytesIO

import numpy as np
from PIL import Image

_MOST_SCANS = 100  # in a JPEG; libjpeg's progressive ones have 10
_MOST_SCANNED = 320 * 2**20  # scans times pixels: 10 scans of the largest picture
_MOST_SEGMENTS = 10_000  # of a JPEG
_MOST_READS = 10_000  # parts that a file is read in, ...
_BYTES_A_READ = 1024  # ... and one more for each of so many bytes of a PNG or TIFF
_READ_OVER, _READ_MORE = 4, 2**20  # times its bytes, and bytes more, that are read
_MOST_PROFILES = 10  # colour profiles in a PNG, which may have one
_MOST_STRIPS = 2**17  # strips or tiles of a TIFF
_MOST_TEXT = 16 * 2**20  # bytes of a PPM written as text, which is read slowly
_MOST_OF_TAGS = 64 * 2**20  # bytes that all tags of an EXIF together name

# Size in bytes of one value of TIFF's types 0, 1, ...; of those beyond, 8 at most.
_SIZES = np.array([0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8, 8])
_STRIPS = (273, 279, 324, 325)  # the tags that list a TIFF's strips or tiles
_EXIF = b"Exif\0\0"
_WORDS = re.compile(b"^(?:Exif\0\0)+")
# A marker of a JPEG, not a byte of its data nor where a decoder may begin anew.
_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd8])")


class ImageError(ValueError):
    """A picture that is missing, damaged, too large, or of another kind."""


class Parts(BytesIO):
    """A picture's file in memory, which is read in a bounded number of parts."""

    def __init__(self, name: str, data: bytes):
        """The file, to be read from its start.

        Args:
            name: What errors call the file.
            data: Its bytes.
        """
        super().__init__(data)
        is_split = data.startswith((b"\x89PNG", b"II", b"MM"))
        more = len(data) // _BYTES_A_READ if is_split else 0
        self._name = name
        self._reads_left = _MOST_READS + more
        self._bytes_left = _READ_OVER * len(data) + _READ_MORE

    def read(self, size: int | None = -1, /) -> bytes:
        """The next bytes, as of any file.

        Raises:
            ImageError: If the file was read in too many parts, or too often.
        """
        found = super().read(size)
        self._reads_left -= 1
        self._bytes_left -= len(found)
        if self._reads_left < 0 or self._bytes_left < 0:
            raise ImageError(
                f"{self._name}: too many parts, as comments or tags, for one picture; "
                "expected a picture with little beside it; save it anew"
            )
        return found


def check_parts(name: str, data: bytes) -> None:
    """Check what is bounded before a file is opened.

    Args:
        name: What errors call the file.
        data: Its bytes.

    Raises:
        ImageError: If it is a TIFF with too many strips, tiles or bytes of tags, a PNG
            with many colour profiles, or a PPM written as a long text.
    """
    if data.startswith((b"II", b"MM")):
        tags = _tags(data)
        strips = int(tags["count"][np.isin(tags["tag"], _STRIPS)].max(initial=0))
        if strips > _MOST_STRIPS:
            raise ImageError(
                f"{name}: a TIFF of {strips} strips or tiles; expected at most "
                f"{_MOST_STRIPS}; save it anew"
            )
        if (named := _named(tags)) > _READ_OVER * len(data) + _READ_MORE:
            raise ImageError(
                f"{name}: a TIFF of {len(data)} bytes whose tags name {named:.0f}; "
                "expected each byte once; save it anew"
            )
    elif data.startswith(b"\x89PNG"):
        if (profiles := data.count(b"iCCP")) > _MOST_PROFILES:
            raise ImageError(
                f"{name}: a PNG of {profiles} colour profiles; expected one or none; "
                "save it anew"
            )
    elif data.startswith((b"P1", b"P2", b"P3")) and len(data) > _MOST_TEXT:
        raise ImageError(
            f"{name}: a picture written as {len(data)} bytes of text; expected at most "
            f"{_MOST_TEXT}; save it as PNG"
        )


def check_exif(name: str, image: Image.Image) -> None:
    """Check the tags of a picture before they are read.

    Args:
        name: What errors call the file.
        image: The picture, loaded, as some formats have its tags behind the pixels.

    Raises:
        ImageError: If the tags together name far more bytes than any camera writes.
    """
    exif = image.info.get("exif")
    if exif is None and (text := image.info.get("Raw profile type exif")):
        exif = bytes.fromhex("".join(text.split("\n")[3:]))
    _check_tags(name, exif or b"")


def check_jpeg(name: str, data: bytes) -> int:
    """Check the segments of a JPEG before it is opened.

    Args:
        name: What errors call the file.
        data: Its bytes.

    Returns:
        The number of its scans, each of which goes over all pixels.

    Raises:
        ImageError: If it has too many scans or segments, or EXIF that names too much.
    """
    scans = segments = 0
    exif = []
    at = 2
    while (found := _MARKER.search(data, at)) and found[1] != b"\xd9":
        at = found.end()
        size = max(2, int.from_bytes(data[at : at + 2], "big"))
        segments += 1
        scans += found[1] == b"\xda"
        if scans > _MOST_SCANS or segments > _MOST_SEGMENTS:
            what = (
                f"over {_MOST_SCANS} scans"
                if scans > _MOST_SCANS
                else f"over {_MOST_SEGMENTS} segments"
            )
            raise ImageError(
                f"{name}: a JPEG of {what}; expected at most {_MOST_SCANS} scans and "
                f"{_MOST_SEGMENTS} segments; save it anew"
            )
        if found[1] == b"\xe1" and data.startswith(_EXIF, at + 2):
            exif.append(data[at + 2 : at + size])
        at += size
    # Pillow joins the parts of one that is too long for a segment.
    _check_tags(
        name, b"".join(part[len(_EXIF) * bool(i) :] for i, part in enumerate(exif))
    )
    return scans


def check_scanned(name: str, scans: int, num_pixels: int) -> None:
    """Check how much a JPEG of this size and number of scans takes.

    Raises:
        ImageError: If it is more than the largest picture takes in 10 scans.
    """
    if scans * num_pixels > _MOST_SCANNED:
        raise ImageError(
            f"{name}: a JPEG of {scans} scans over {num_pixels} pixels; expected at "
            f"most {_MOST_SCANNED // num_pixels} for its size; save it anew"
        )


def _check_tags(name: str, exif: bytes) -> None:
    tags = _tags(_WORDS.sub(b"", exif))
    if (named := _named(tags)) > _MOST_OF_TAGS:
        raise ImageError(
            f"{name}: EXIF of {named:.0f} bytes in {len(tags)} tags; expected at most "
            f"{_MOST_OF_TAGS}; remove it, or save the picture anew"
        )


def _named(tags: np.ndarray) -> float:
    """How many bytes tags name together."""
    kinds = np.minimum(tags["type"], len(_SIZES) - 1)
    return float((_SIZES[kinds] * tags["count"].astype(float)).sum())


def _tags(data: bytes) -> np.ndarray:
    """The tags of the first directory of a TIFF or an EXIF, without what they name."""
    order = "<" if data.startswith(b"II") else ">"
    is_big = data[2:3] == b"+"  # BigTIFF, as Pillow tells it
    word, short = ("u8", "u8") if is_big else ("u4", "u2")
    kind = np.dtype(
        [(name, order + form) for name, form in (("tag", "u2"), ("type", "u2"))]
        + [("count", order + word), ("value", order + word)]
    )
    start = 8 if is_big else 4
    none = np.zeros(0, kind)
    if len(data) < start + kind["value"].itemsize:
        return none
    at = int(np.frombuffer(data, order + word, 1, start)[0])
    size = np.dtype(short).itemsize
    if at + size > len(data):
        return none
    stated = int(np.frombuffer(data, order + short, 1, at)[0])
    whole = (len(data) - at - size) // kind.itemsize
    return np.frombuffer(data, kind, min(stated, whole), at + size)
