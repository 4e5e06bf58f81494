"""Pictures that ask for more than any picture should: refused at once."""

import re
import struct
import time
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from avemo_jax.media import picture_bounds
from avemo_jax.media.images import ImageError, read_image

SIDE = 64
PICTURE = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)


def encoded(kind: str, **options) -> bytes:
    file = BytesIO()
    Image.fromarray(PICTURE).save(file, kind, **options)
    return file.getvalue()


def chunk(name: bytes, content: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(name + content))
    return struct.pack(">I", len(content)) + name + content + check


def png(*, before: bytes = b"", after: bytes = b"") -> bytes:
    """A PNG with more chunks before and after its pixels."""
    data = encoded("PNG")
    start, end = data.index(b"IDAT") - 4, len(data) - 12
    return data[:start] + before + data[start:end] + after + data[end:]


def tags(number: int, size: int, tail: int = 0, more: list | None = None) -> bytes:
    """A directory whose ``number`` tags each name the same ``size`` bytes."""
    listed = [(40_000 + i, 7, size, 10) for i in range(number)]
    listed = [*(more or []), *listed]
    body = b"".join(struct.pack("<HHII", *one) for one in listed)
    head = b"II*\0" + struct.pack("<IH", 8, len(listed))
    return head + body + bytes(4 + tail)


def tiff(strips: int) -> bytes:
    """A grey TIFF that lists its pixels in so many strips."""
    sizes = [(256, 4, 1, SIDE), (257, 4, 1, SIDE), (258, 3, 1, 8), (259, 3, 1, 1)]
    places = [(262, 3, 1, 1), (273, 4, strips, 200), (277, 3, 1, 1)]
    rows = [(278, 4, 1, 1), (279, 4, strips, 200)]
    return tags(0, 0, 9 * strips + 5000, [*sizes, *places, *rows])


def jpeg_of_scans(count: int) -> bytes:
    """A progressive JPEG whose last scan comes again and again."""
    data = encoded("JPEG", progressive=True)
    scans = [found.start() for found in re.finditer(b"\xff\xda", data)]
    end = data.rindex(b"\xff\xd9")
    return data[:end] + data[scans[-1] : end] * (count - len(scans)) + data[end:]


def jpeg_with(segments: bytes) -> bytes:
    data = encoded("JPEG")
    return data[:2] + segments + data[2:]


def exif_segments(exif: bytes) -> bytes:
    parts = [exif[i : i + 65_000] for i in range(0, len(exif), 65_000)]
    heads = [b"\xff\xe1" + struct.pack(">H", len(one) + 8) for one in parts]
    return b"".join(h + b"Exif\0\0" + one for h, one in zip(heads, parts, strict=True))


def gif_with(extensions: bytes) -> bytes:
    data = encoded("GIF")
    start = 13 + 3 * (2 << (data[10] & 7))
    return data[:start] + extensions + data[start:]


def ppm_with(comment: bytes) -> bytes:
    data = encoded("PPM")
    return data[:3] + comment + b"\n" + data[3:]


def text_profile(exif: bytes) -> bytes:
    text = b"\nexif\n 1\n" + exif.hex().encode()
    return b"Raw profile type exif\0\0" + zlib.compress(text)


PROFILE = b"k\0\0" + zlib.compress(bytes(10**6), 9)
ATTACKS = {
    "jpeg of scans": (lambda: jpeg_of_scans(300), "a JPEG of over 100 scans"),
    "jpeg of comments": (
        lambda: jpeg_with(b"\xff\xfe\0\2" * 300_000),
        "a JPEG of over 10000 segments",
    ),
    "jpeg of exif": (
        lambda: jpeg_with(exif_segments(tags(9000, 100_000))),
        "EXIF of 900000000 bytes in 9000 tags",
    ),
    "png of chunks": (lambda: png(before=chunk(b"prVt", b"") * 99_000), "too many par"),
    "png of chunks after": (
        lambda: png(after=chunk(b"prVt", b"") * 99_000),
        "too many parts",
    ),
    "png of profiles": (
        lambda: png(before=chunk(b"iCCP", PROFILE) * 500),
        "a PNG of 500 colour profiles",
    ),
    "png of texts": (
        lambda: png(before=chunk(b"zTXt", PROFILE) * 500),
        "Too much memory used in text chunks",
    ),
    "png of exif": (
        lambda: png(before=chunk(b"eXIf", tags(9000, 100_000))),
        "EXIF of 900000000 bytes in 9000 tags",
    ),
    "png of exif as text": (
        lambda: png(before=chunk(b"zTXt", text_profile(tags(9000, 100_000)))),
        "EXIF of 900000000 bytes in 9000 tags",
    ),
    "webp of exif": (
        lambda: encoded("WEBP", exif=tags(9000, 100_000)),
        "EXIF of 900000000 bytes in 9000 tags",
    ),
    "tiff of tags": (
        lambda: tags_tiff(),
        "a TIFF of 208122 bytes whose tags name 9000",
    ),
    "tiff of strips": (lambda: tiff(300_000), "a TIFF of 300000 strips or tiles"),
    "gif of comments": (lambda: gif_with(b"\x21\xfe\1x\0" * 300_000), "too many pa"),
    "gif of a comment": (
        lambda: gif_with(b"\x21\xfe" + (b"\xff" + bytes(255)) * 20_000 + b"\0"),
        "too many parts",
    ),
    "ppm of a comment": (lambda: ppm_with(b"#" + b"x" * 10**6), "too many parts"),
    "ppm as text": (
        lambda: b"P3\n2000 2000\n255\n" + b"1 " * (2000 * 2000 * 3),
        "written as 24000017 bytes of text",
    ),
}


def tags_tiff() -> bytes:
    """A TIFF that is whole but for the many tags that each name the same bytes."""
    sizes = [(256, 4, 1, SIDE), (257, 4, 1, SIDE), (258, 3, 1, 8), (259, 3, 1, 1)]
    places = [(262, 3, 1, 1), (273, 4, 1, 8), (277, 3, 1, 1), (278, 4, 1, SIDE)]
    return tags(9000, 100_000, 100_000, [*sizes, *places, (279, 4, 1, SIDE * SIDE)])


@pytest.mark.parametrize("attack", ATTACKS)
def test_more_than_a_picture_asks_for_is_refused(attack):
    made, said = ATTACKS[attack]
    data = made()
    began = time.process_time()
    with pytest.raises(ImageError, match=f"the bytes: .*{said}.*; expected ") as caught:
        read_image(data)
    assert time.process_time() - began < 5
    assert "\n" not in str(caught.value)


def test_the_bound_of_scans_falls_with_the_size(monkeypatch):
    data = jpeg_of_scans(50)
    assert read_image(data).shape == PICTURE.shape
    monkeypatch.setattr(picture_bounds, "_MOST_SCANNED", 20 * SIDE * SIDE)
    with pytest.raises(ImageError, match=r"50 scans over 4096 pixels; .* most 20 "):
        read_image(data)


def test_what_lies_beside_a_picture_is_no_fault():
    """A thumbnail in the EXIF, a film behind the end, many small parts of pixels."""
    exif = Image.Exif()
    exif[0x010F] = "maker"
    thumbnail = jpeg_of_scans(10)
    exif[0x927C] = thumbnail * 3
    data = encoded("JPEG", exif=exif)
    np.testing.assert_array_equal(read_image(data), read_image(encoded("JPEG")))
    film = data + thumbnail * 30 + b"\xff\xda\0\0" * 20_000
    np.testing.assert_array_equal(read_image(film), read_image(data))
    whole = encoded("PNG")
    start, end = whole.index(b"IDAT") - 4, len(whole) - 12
    pixels = whole[start + 8 : end - 4]
    parts = [chunk(b"IDAT", pixels[i : i + 9]) for i in range(0, len(pixels), 9)]
    split = whole[:start] + b"".join(parts) + whole[end:]
    np.testing.assert_array_equal(read_image(split), PICTURE)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_animations_give_their_first_picture(kind):
    first = Image.fromarray(PICTURE).quantize(16).convert("RGB")
    others = [Image.new("RGB", (SIDE, SIDE), (i, 0, 0)) for i in range(200)]
    file = BytesIO()
    lossless = {"lossless": True} if kind == "WEBP" else {}
    first.save(file, kind, save_all=True, append_images=others, **lossless)
    np.testing.assert_array_equal(read_image(file.getvalue()), np.asarray(first))
