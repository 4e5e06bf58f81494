"""Pictures from files, bytes or arrays, as uint8 RGB."""

import os
import pathlib
import re
import reprlib
from io import BytesIO
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageFile, ImageOps

# Side lengths multiply to no more than this; a face crop has some ten thousand pixels.
MAX_PIXELS = 64 * 2**20
MAX_BYTES = 8 * MAX_PIXELS  # four channels of 16 bits, not compressed
# Pillow's other readers are left out: some run programs, some guess.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP")

# The head of a JPEG's frame: its kind, its length for 1 to 4 channels, 8 bits.
_ARITHMETIC = rb"\xff[\xc9-\xcb\xcd-\xcf]\x00[\x0b\x0e\x11\x14]\x08"

Channels = Literal["RGB", "BGR"]


class ImageError(ValueError):
    """A picture that is missing, damaged, too large, or of another kind."""


def read_image(
    source: str | os.PathLike[str] | bytes | np.ndarray, *, channels: Channels = "RGB"
) -> UInt8[np.ndarray, "height width 3"]:
    """The picture in ``source``, whole and upright.

    A file's picture is turned as its EXIF tag says. Grey becomes three equal channels.
    Alpha is dropped and the colours under it kept, as ``PIL.Image.convert("RGB")`` and
    ``cv2.imread`` do. Only the upper 8 of 16 bits are kept, as libpng does. CMYK is
    read as Adobe writes it in JPEG files (inverted) and converted by Pillow's plain
    formula, without colour profiles. An animation gives its first picture.

    Args:
        source: A path, a file's bytes, or an array as :func:`image_of_array` takes it.
        channels: Order of the colours in an array; a file states its own.

    Raises:
        ImageError: If there is no such file, if it is empty, cut short, damaged, over
            ``MAX_PIXELS`` or ``MAX_BYTES``, no picture, or of a range that is not
            known (32 bits; TIFF of 12 bits, or with 16 bits and white as 0); if an
            array is not of the stated form; if ``channels`` is given for a file.
    """
    if isinstance(source, np.ndarray):
        return image_of_array(source, channels=channels)
    name = "the bytes" if isinstance(source, bytes) else os.fspath(source)
    if channels != "RGB":
        raise ImageError(
            f"channels={channels!r} for {name}; expected 'RGB', since a file states "
            "the order of its channels; leave channels out"
        )
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise ImageError(
            f"{name} cannot be read safely: PIL.ImageFile.LOAD_TRUNCATED_IMAGES is "
            "True, so that half a picture would pass for a whole one; set it to False"
        )
    data = source if isinstance(source, bytes) else _bytes_of(pathlib.Path(source))
    if not data:
        raise ImageError(
            f"{name}: empty, 0 bytes; expected a JPEG or PNG; write the file again"
        )
    return _decoded(name, data)


def image_of_array(
    array: np.ndarray, *, channels: Channels = "RGB"
) -> UInt8[np.ndarray, "height width 3"]:
    """``array`` as RGB.

    Args:
        array: uint8; grey (height, width), or (height, width, n) with n = 1 grey,
            2 grey and alpha, 3 colour, 4 colour and alpha. Alpha is dropped.
        channels: Order of the colours; "BGR" as OpenCV has them.

    Raises:
        ImageError: If dtype, shape, size or ``channels`` is another.
    """
    if channels not in ("RGB", "BGR"):
        raise ImageError(f"channels={channels!r}; expected 'RGB' or 'BGR'; correct it")
    if array.dtype != np.uint8:
        raise ImageError(
            f"a picture of dtype {array.dtype}; expected uint8, 0 to 255; scale it, as "
            "by np.round(255 * x).astype(np.uint8) for values in [0, 1]"
        )
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 2, 3, 4) or 0 in array.shape:
        raise ImageError(
            f"a picture of shape {array.shape}; expected (height, width) or (height, "
            "width, 1 to 4), one picture, channels last, not empty; reorder its axes"
        )
    _check_size("an array", array.shape[1], array.shape[0])
    if array.shape[2] < 3:
        return np.repeat(array[..., :1], 3, axis=2)
    return np.ascontiguousarray(
        array[..., 2::-1] if channels == "BGR" else array[..., :3]
    )


def _decoded(name: str, data: bytes) -> UInt8[np.ndarray, "height width 3"]:
    Image.init()
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            _check_size(name, *image.size)
            pixels = _rgb(name, image)
            if image.format in ("JPEG", "MPO") and _ends_early(data, image, pixels):
                raise OSError("its compressed data end before the picture does")
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(_too_large(name, str(error))) from error
    except Image.UnidentifiedImageError as error:
        raise ImageError(
            f"{name}: no picture, it starts with {reprlib.repr(data[:16])}; expected "
            f"one of {', '.join(FORMATS)}; convert it or leave it out"
        ) from error
    # Pillow raises exceptions of many types on damaged files.
    except Exception as error:
        raise ImageError(
            f"{name}: damaged or cut short ({error}); expected a whole picture; get "
            "the file again or leave it out"
        ) from error
    return pixels


def _bytes_of(path: pathlib.Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    # ValueError is raised for a path with a NUL.
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or error
        raise ImageError(
            f"{path}: cannot be read ({cause}); expected a picture's file; "
            "correct the path"
        ) from error
    if len(data) > MAX_BYTES:
        raise ImageError(
            f"{path}: too large, over {MAX_BYTES} bytes; expected a picture; correct "
            "the path"
        )
    return data


def _check_size(name: str, width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ImageError(_too_large(name, f"{width} x {height} pixels"))


def _too_large(name: str, found: str) -> str:
    return (
        f"{name}: too large, {found}; expected at most {MAX_PIXELS} pixels; reduce it "
        "before"
    )


def _rgb(name: str, image: Image.Image) -> UInt8[np.ndarray, "height width 3"]:
    """The pixels of an opened file; Pillow raises if some are missing."""
    image.load()
    # Taken from the file, since the turned picture has neither.
    kind, tags = image.format, getattr(image, "tag_v2", {})
    image = ImageOps.exif_transpose(image)
    mode = image.mode
    # Pillow scales the values of PGM files to 16 bits, but those of no other format.
    if mode == "F" or (mode == "I" and kind not in ("PNG", "PPM")):
        raise ImageError(
            f"{name}: 32 bits a channel or signed ones, whose range the file does not "
            "state; expected 8 or 16 bits; convert it"
        )
    bits, white_is_0 = tags.get(258), tags.get(262) == 0
    if mode.startswith("I") and tags and (bits != (16,) or white_is_0):
        raise ImageError(
            f"{name}: grey TIFF of {bits} bits, white as {'0' if white_is_0 else '1'}; "
            "expected 16 bits with white as 1, or 8 bits; convert it"
        )
    if mode.startswith("I"):
        # Pillow's own conversion clips at 255.
        high = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
        return np.repeat(high[..., None], 3, axis=2)
    if mode in ("RGBa", "La"):
        image = image.convert(mode.upper())
    if mode in ("P", "PA"):
        # Converted via alpha, since Pillow would warn of a palette's transparency.
        image = image.convert("RGBA")
    return np.array(image.convert("RGB"))


def _ends_early(
    data: bytes, image: Image.Image, pixels: UInt8[np.ndarray, "height width 3"]
) -> bool:
    """Whether a JPEG has its end marker but not all data before it.

    libjpeg then leaves the last block of each channel flat and goes on. If the picture
    ends flat, or its last block cannot be seen, it is decoded again with some bits put
    in before the marker: these change a picture that lacks data, and no other. Not
    detected are data that end at a border inside the file (between two scans of a
    progressive one, at a restart marker, in the very last block), nor data missing from
    arithmetic coding, whose decoder reads past the end of whole pictures too.
    """
    if re.search(_ARITHMETIC, data):
        return False
    height, width = pixels.shape[:2]
    last = pixels[-1, -4:]
    inside_block = (height - 1) % 16 and (width - 1) % 16 >= 4
    plain = "progressive" not in image.info and image.getexif().get(0x0112, 1) == 1
    if plain and inside_block and (last != last[0]).any():
        return False
    end = data.rfind(b"\xff\xd9")
    with Image.open(BytesIO(data[:end] + b"\x55" * 64 + data[end:])) as longer:
        return not np.array_equal(_rgb("", longer), pixels)
