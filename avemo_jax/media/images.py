"""Pictures from files, bytes or arrays, as uint8 RGB."""

import os
import pathlib
import re
import reprlib
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageFile

from avemo_jax.media.picture_bounds import (
    ImageError,
    Parts,
    check_exif,
    check_jpeg,
    check_parts,
    check_scanned,
)
from avemo_jax.runtime.regular_files import fault_of

__all__ = ["FORMATS", "MAX_BYTES", "MAX_PIXELS", "ImageError", "read_image"]

# Side lengths multiply to no more than this, a frame of 8K video (7680 x 4320); a face
# crop has some ten thousand pixels.
MAX_PIXELS = 32 * 2**20
MAX_BYTES = 8 * MAX_PIXELS  # four channels of 16 bits, not compressed
_BAND = 2**20  # pixels that are converted at once
# Pillow's other readers are left out: some run programs, some guess.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP")

# The head of a JPEG's frame: its kind, its length for 1 to 4 channels, 8 bits.
_ARITHMETIC = rb"\xff[\xc9-\xcb\xcd-\xcf]\x00[\x0b\x0e\x11\x14]\x08"

Channels = Literal["RGB", "BGR"]


def read_image(
    source: str | os.PathLike[str] | bytes | np.ndarray, *, channels: Channels = "RGB"
) -> UInt8[np.ndarray, "height width 3"]:
    """The picture in ``source``, whole and upright.

    A file's picture is turned as its EXIF tag says. Grey becomes three equal channels.
    Alpha is dropped and the colours under it kept, as ``PIL.Image.convert("RGB")`` and
    ``cv2.imread`` do. An animation gives its first picture. Only the upper 8 of 16
    bits are kept, as libpng does. CMYK is read as Adobe writes it in JPEG files
    (inverted) and converted by Pillow's plain formula, without colour profiles.

    Args:
        source: A path, a file's bytes, or an array as :func:`image_of_array` takes it.
        channels: Order of the colours in an array; a file states its own.

    Raises:
        ImageError: If there is no such regular file, if it is empty, cut short,
            damaged, over ``MAX_PIXELS`` or ``MAX_BYTES``, beyond the bounds of
            ``picture_bounds.py``, no picture, or of a range that is not known (32 bits;
            TIFF of 12 bits, or with 16 bits and white as 0); if an array is not of the
            stated form; if ``channels`` is given for a file.
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
        check_parts(name, data)
        is_jpeg = data.startswith(b"\xff\xd8\xff")
        scans = check_jpeg(name, data) if is_jpeg else 1
        with Image.open(Parts(name, data), formats=FORMATS) as image:
            _check_size(name, *image.size)
            check_scanned(name, scans, image.width * image.height)
            pixels = _rgb(name, image)
            shows_its_end = is_jpeg and _shows_its_end(data, image, pixels)
        # The first picture is closed, so that there are never two beside the pixels.
        if is_jpeg and not shows_its_end and _ends_early(name, data, pixels):
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
    fault = fault_of(path)
    if not fault:
        try:
            with path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
        except OSError as error:
            fault = f"cannot be read ({error.strerror or error})"
    if fault:
        raise ImageError(
            f"{path}: {fault}; expected a picture's file; correct the path"
        )
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
    """The pixels of an opened file, upright; Pillow raises if some are missing."""
    image.load()
    check_exif(name, image)
    kind, mode, tags = image.format, image.mode, getattr(image, "tag_v2", {})
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
    width, height = image.size
    pixels = np.empty((height, width, 3), np.uint8)
    rows = max(1, _BAND // width)
    for top in range(0, height, rows):
        band = image.crop((0, top, width, min(top + rows, height)))
        pixels[top : top + rows] = _band_of(band)
    return _upright(pixels, image.getexif().get(0x0112, 1))


def _band_of(image: Image.Image) -> UInt8[np.ndarray, "rows width 3"]:
    """The rows of a picture in memory, 8 bits a channel."""
    mode = image.mode
    if mode.startswith("I"):
        # Pillow's own conversion clips at 255.
        high = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
        return np.repeat(high[..., None], 3, axis=2)
    if mode in ("RGBa", "La"):
        image = image.convert(mode.upper())
    if mode in ("P", "PA"):
        # Converted via alpha, since Pillow would warn of a palette's transparency.
        image = image.convert("RGBA")
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _upright(
    pixels: UInt8[np.ndarray, "height width 3"], orientation: object
) -> UInt8[np.ndarray, "upright_height upright_width 3"]:
    """The picture turned and mirrored as its EXIF says.

    Args:
        pixels: The picture as it is stored.
        orientation: The tag's value, 1 to 8; any other stands for 1, as it is.
    """
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _shows_its_end(
    data: bytes, image: Image.Image, pixels: UInt8[np.ndarray, "height width 3"]
) -> bool:
    """Whether it can be seen that a JPEG has the data of its last block.

    libjpeg leaves the last block of each channel flat where data are missing.
    Arithmetic coding cannot be checked, since its decoder reads past the end of whole
    pictures too.
    """
    if re.search(_ARITHMETIC, data):
        return True
    height, width = pixels.shape[:2]
    last = pixels[-1, -4:]
    inside_block = (height - 1) % 16 and (width - 1) % 16 >= 4
    plain = "progressive" not in image.info and image.getexif().get(0x0112, 1) == 1
    return bool(plain and inside_block and (last != last[0]).any())


def _ends_early(
    name: str, data: bytes, pixels: UInt8[np.ndarray, "height width 3"]
) -> bool:
    """Whether a JPEG has its end marker but not all data before it.

    It is decoded again with some bits put in before the marker: these change a picture
    that lacks data, and no other. Not detected are data that end at a border inside the
    file (between two scans of a progressive one, at a restart marker, in the very last
    block).
    """
    end = data.rfind(b"\xff\xd9")
    longer = Parts(name, data[:end] + b"\x55" * 64 + data[end:])
    with Image.open(longer, formats=FORMATS) as image:
        return not np.array_equal(_rgb(name, image), pixels)
