import base64
import inspect
import os
import re
import struct
import zlib
from io import BytesIO

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from avemo_jax.media import images, resizing
from avemo_jax.media.images import ImageError, image_of_array, read_image

pytestmark = pytest.mark.numeric

BILINEAR = Image.Resampling.BILINEAR
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# Grey, whole, by libjpeg-turbo's cjpeg.
ARITHMETIC_JPEG = base64.b85decode(
    "|JeWF01!$>Nk#wx0RR9200961|JwjV02>k%7Zed27Zw*D92+1gLMtdGB`8rkJupIGRb^yfRb5+Zc$t"
    "A}agcLcU4^xVke;Kft*d8%yve$z$C;?Br2okP3kU!R00aR65di<p00saM5C#9*00;pA002J#(bXrOP"
    "mD~EG|UswY&p@}aMY;j|Je"
)
_resize = jax.jit(resizing.resize, static_argnames="size_px")
_normalise = jax.jit(
    resizing.resize_and_normalise,
    static_argnames=("size_px", "mean", "std", "dtype"),
)


def noise(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    shape = (height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def smooth(height: int, width: int) -> np.ndarray:
    """A picture that JPEG keeps well, coloured and nowhere flat."""
    y, x = np.mgrid[:height, :width]
    channels = [x * 255 / width, y * 255 / height, (x + 2 * y) % 50 * 4]
    return np.stack(channels, -1).astype(np.uint8)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png_16(pixels: np.ndarray, colour_type: int) -> bytes:
    """A PNG of 16 bits, by hand: Pillow writes grey ones only."""
    height, width = pixels.shape[:2]
    rows = pixels.astype(">u2").reshape(height, -1)
    data = b"".join(b"\0" + row.tobytes() for row in rows)
    head = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(data)), (b"IEND", b"")]
    chunks = [
        struct.pack(">I", len(body))
        + name
        + body
        + struct.pack(">I", zlib.crc32(name + body))
        for name, body in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "WEBP"])
def test_lossless_files_come_as_written(kind, tmp_path):
    pixels = noise(13, 17)
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(Image.fromarray(pixels), kind, **options)
    path = tmp_path / "a.picture"
    path.write_bytes(data)
    for source in (data, path, os.fspath(path), pixels):
        result = read_image(source)
        assert result.dtype == np.uint8
        np.testing.assert_array_equal(result, pixels)


def test_jpeg():
    pixels = smooth(112, 112)
    result = read_image(
        encoded(Image.fromarray(pixels), "JPEG", quality=95, subsampling=0)
    )
    assert np.abs(result.astype(int) - pixels).mean() < 2


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK"])
def test_modes(mode):
    """Alpha is dropped, and the colours under it are kept."""
    pixels = noise(9, 7)
    if mode in ("1", "L", "LA"):
        pixels = np.repeat(
            pixels[..., :1] if mode != "1" else pixels[..., :1] // 128 * 255, 3, 2
        )
    image = Image.fromarray(pixels)
    options = {}
    if mode in ("P", "PA"):
        image = image.quantize(256)
        pixels = np.asarray(image.convert("RGB"))
        options = {"transparency": bytes(range(256))} if mode == "PA" else {}
    elif mode in ("LA", "RGBA"):
        image.putalpha(Image.fromarray(noise(9, 7, 1)[..., 0]))
        image = image.convert(mode)
    else:
        image = image.convert(mode)
    data = encoded(image, "TIFF" if mode == "CMYK" else "PNG", **options)
    np.testing.assert_array_equal(read_image(data), pixels)


def test_colours_multiplied_by_alpha_are_divided():
    """As TIFF may keep them."""
    pixels = np.full((4, 4, 4), 100, np.uint8)
    pixels[..., 3] = 200
    data = encoded(Image.fromarray(pixels), "TIFF")
    tag = struct.pack("<HHI", 338, 3, 1)  # what the fourth channel is
    assert tag + b"\2" in data
    data = data.replace(tag + b"\2", tag + b"\1")
    np.testing.assert_allclose(read_image(data), 100 * 255 / 200, atol=1)


def test_palette_with_one_transparent_colour_is_no_warning():
    image = Image.fromarray(noise(9, 7)).quantize(16)
    expected = np.asarray(image.convert("RGB"))
    for data in (encoded(image, "PNG", transparency=3), encoded(image, "GIF")):
        np.testing.assert_array_equal(read_image(data), expected)


@pytest.mark.parametrize(("colour_type", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_png_of_16_bits_keeps_the_upper_8(colour_type, channels):
    pixels = np.random.default_rng(0).integers(0, 2**16, (6, 5, channels))
    pixels[0, 0], pixels[0, 1] = 65_535, 256
    expected = (pixels >> 8).astype(np.uint8)
    expected = expected[..., :3] if channels > 2 else np.repeat(expected[..., :1], 3, 2)
    np.testing.assert_array_equal(read_image(png_16(pixels, colour_type)), expected)


def test_tiff_of_16_and_32_bits():
    pixels = np.array([[0, 255, 256, 65_535]], np.uint16)
    result = read_image(encoded(Image.fromarray(pixels), "TIFF"))
    assert result[0, :, 0].tolist() == [0, 0, 1, 255]
    for dtype in (np.int32, np.float32, np.int16):
        data = encoded(Image.fromarray(pixels.astype(dtype)), "TIFF")
        with pytest.raises(ImageError, match="32 bits a channel"):
            read_image(data)


@pytest.mark.parametrize(("bits", "white"), [(12, 1), (16, 0)])
def test_grey_tiff_that_pillow_takes_wrongly(bits, white):
    """It would be dark, or a negative."""
    data = encoded(Image.fromarray(np.full((4, 8), 40_000, np.uint16)), "TIFF")
    for tag, old, new in ((258, 16, bits), (262, 1, white)):
        entry = struct.pack("<HHIHH", tag, 3, 1, old, 0)
        assert data.count(entry) == 1
        data = data.replace(entry, struct.pack("<HHIHH", tag, 3, 1, new, 0))
    with pytest.raises(ImageError, match=rf"\({bits},\) bits, white as {white}"):
        read_image(data)


@pytest.mark.parametrize("highest", [340, 1020, 65_535])
def test_pgm_of_more_than_8_bits_is_scaled(highest):
    pixels = np.array([0, highest // 5, highest], ">u2")
    result = read_image(b"P5 3 1 %d\n" % highest + pixels.tobytes())
    assert result[0, :, 0].tolist() == [0, 51, 255]
    assert (result == result[..., :1]).all()


def test_cmyk_jpeg_is_inverted_as_adobe_has_it():
    pixels = smooth(32, 32)
    data = encoded(Image.fromarray(pixels).convert("CMYK"), "JPEG", quality=98)
    assert b"Adobe" in data
    assert Image.open(BytesIO(data)).mode == "CMYK"
    assert np.abs(read_image(data).astype(int) - pixels).mean() < 6


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_exif_rotation(kind, orientation):
    upright = smooth(24, 32)
    turns = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a.swapaxes(0, 1), 2),
        8: lambda a: np.rot90(a, -1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(turns[orientation](upright)))
    options = {"quality": 98, "subsampling": 0} if kind == "JPEG" else {}
    result = read_image(encoded(stored, kind, exif=exif, **options))
    assert result.shape == upright.shape
    assert np.abs(result.astype(int) - upright).mean() < 3


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"progressive": True},
        pytest.param({"subsampling": 0}, marks=pytest.mark.slow),
    ],
)
def test_a_jpeg_cut_anywhere_is_refused(options, tmp_path):
    data = encoded(Image.fromarray(smooth(40, 48)), "JPEG", **options)
    assert read_image(data).shape == (40, 48, 3)
    for size in range(1, len(data)):
        with pytest.raises(ImageError):
            read_image(data[:size])
    path = tmp_path / "half.jpg"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(
        ImageError, match=r"half\.jpg: damaged or cut short .*; expected"
    ):
        read_image(path)


@pytest.mark.parametrize(
    ("shape", "orientation"),
    [
        *(((33, 49), 1), ((64, 64), 1), ((57, 70), 3)),
        *(
            pytest.param(*case, marks=pytest.mark.release)
            for case in (((33, 49), 3), ((64, 64), 3), ((57, 70), 1))
        ),
        pytest.param((112, 112), 1, marks=pytest.mark.slow),
        pytest.param((112, 112), 3, marks=pytest.mark.release),
    ],
)
def test_a_jpeg_cut_and_closed_is_refused(shape, orientation):
    """With its end marker put back libjpeg would fill the rest with grey."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(smooth(*shape)), "JPEG", exif=exif)
    start = data.rindex(b"\xff\xda") + 14
    for size in range(start, len(data) - 80, 3):
        with pytest.raises(ImageError, match="damaged or cut short"):
            read_image(data[:size] + b"\xff\xd9")


@pytest.mark.parametrize("colour", [0, 128, 255])
@pytest.mark.parametrize("progressive", [False, True])
def test_whole_flat_jpegs_are_taken(colour, progressive):
    pixels = smooth(48, 48)
    pixels[20:] = colour
    for height, width in ((48, 48), (33, 40), (40, 33)):
        image = Image.fromarray(pixels[:height, :width])
        read_image(encoded(image, "JPEG", progressive=progressive))


def test_arithmetic_coding_is_not_taken_for_cut():
    """Bits behind its last ones change whole pictures too."""
    assert re.search(images._ARITHMETIC, ARITHMETIC_JPEG)
    with Image.open(BytesIO(ARITHMETIC_JPEG)) as image:
        expected = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(read_image(ARITHMETIC_JPEG), expected)


@pytest.mark.parametrize(
    "kind", ["PNG", "BMP", "GIF", pytest.param("TIFF", marks=pytest.mark.slow)]
)
def test_other_files_cut_are_refused_or_whole(kind):
    data = encoded(Image.fromarray(noise(20, 24)), kind)
    whole = read_image(data)
    refused = 0
    for size in range(len(data)):
        try:
            result = read_image(data[:size])
        except ImageError:
            refused += 1
        else:
            np.testing.assert_array_equal(result, whole)
    assert refused > 0.9 * len(data)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damaged_files_raise_their_own_error_only(data):
    kind = data.draw(st.sampled_from(["PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP"]))
    content = bytearray(encoded(Image.fromarray(smooth(20, 24)), kind))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    try:
        result = read_image(bytes(content))
    except ImageError:
        return
    assert result.shape[2] == 3


def test_truncated_pictures_cannot_be_allowed(monkeypatch):
    data = encoded(Image.fromarray(smooth(20, 24)), "JPEG")
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(ImageError, match="half a picture would pass for a whole one"):
        read_image(data)


def test_what_is_no_picture(tmp_path):
    path = tmp_path / "a.jpg"
    with pytest.raises(ImageError, match=r"a\.jpg: no such file; expected a pic"):
        read_image(path)
    with pytest.raises(ImageError, match="has a NUL in its name"):
        read_image("a\0b")
    path.write_bytes(b"")
    with pytest.raises(ImageError, match=r"a\.jpg: empty, 0 bytes; expected"):
        read_image(path)
    path.write_bytes(b"some text, no picture")
    with pytest.raises(ImageError, match=r"a\.jpg: no picture, it starts with b'some"):
        read_image(path)
    # Readers that would start programs are closed.
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    with pytest.raises(ImageError, match="no picture"):
        read_image(path)


@pytest.mark.parametrize("side", [6_000, 12_000, 60_000])
def test_absurd_sizes_are_refused_before_decoding(side):
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    small = bytearray(png_16(np.zeros((1, 1, 3), np.uint16), 2))
    small[16:29] = head
    small[29:33] = struct.pack(">I", zlib.crc32(b"IHDR" + head))
    with pytest.raises(ImageError, match=r"too large, .*; expected at most 33554432"):
        read_image(bytes(small))


def test_a_file_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "MAX_BYTES", 5000)
    path = tmp_path / "a.bmp"
    path.write_bytes(encoded(Image.fromarray(noise(50, 50)), "BMP"))
    with pytest.raises(ImageError, match=r"too large, over 5000 bytes"):
        read_image(path)


def test_arrays():
    pixels = noise(5, 4, 4)
    colour, grey = pixels[..., :3], np.repeat(pixels[..., :1], 3, 2)
    same = np.testing.assert_array_equal
    same(read_image(colour), colour)
    same(read_image(pixels), colour)
    same(read_image(colour, channels="BGR"), colour[..., ::-1])
    same(read_image(pixels, channels="BGR"), colour[..., ::-1])
    for array in (pixels[..., 0], pixels[..., :1], pixels[..., :2]):
        same(image_of_array(array), grey)
    assert image_of_array(colour, channels="BGR").flags.c_contiguous


@pytest.mark.parametrize(
    ("array", "match"),
    [
        (np.zeros((5, 4, 3)), r"dtype float64; expected uint8.*np\.round"),
        (np.zeros((5, 4, 3), np.uint16), "dtype uint16"),
        (np.zeros((5, 4, 3), bool), "dtype bool"),
        (np.zeros((3, 50, 40), np.uint8), r"shape \(3, 50, 40\).*channels last"),
        (np.zeros((2, 5, 4, 3), np.uint8), "one picture"),
        (np.zeros((0, 4, 3), np.uint8), "not empty"),
        (np.zeros(5, np.uint8), r"shape \(5,\)"),
    ],
)
def test_arrays_that_are_refused(array, match):
    with pytest.raises(ImageError, match=match):
        read_image(array)


def test_channels_are_of_arrays(monkeypatch):
    with pytest.raises(ImageError, match="a file states the order"):
        read_image(b"x", channels="BGR")
    monkeypatch.setattr(images, "MAX_PIXELS", 10)
    with pytest.raises(ImageError, match="an array: too large, 4 x 5 pixels"):
        read_image(noise(5, 4))


def by_pillow(image: np.ndarray, size: int) -> np.ndarray:
    """Columns first in every version of Pillow."""
    narrow = Image.fromarray(image).resize((size, image.shape[0]), BILINEAR)
    return np.asarray(narrow.resize((size, size), BILINEAR))


@pytest.mark.parametrize("size", [224, pytest.param(260, marks=pytest.mark.slow)])
def test_the_usual_crop_is_resized_as_pillow_does(size):
    crops = [noise(112, 112, seed=seed) for seed in range(3)]
    result = _resize(*resizing.pack_images(crops), size_px=size)
    for ours, crop in zip(np.asarray(result), crops, strict=True):
        np.testing.assert_array_equal(
            ours, np.asarray(Image.fromarray(crop).resize((size, size), BILINEAR))
        )


@pytest.mark.parametrize(
    ("size", "most"), [(48, 224), pytest.param(224, 300, marks=pytest.mark.slow)]
)
@settings(max_examples=20, deadline=None)
@given(st.data())
def test_any_sizes_in_one_batch_are_resized_as_pillow_does(size, most, data):
    sides = st.tuples(st.integers(1, most), st.integers(1, most))
    sizes = data.draw(st.lists(sides, min_size=4, max_size=4))
    originals = [noise(*hw, seed=i) for i, hw in enumerate(sizes)]
    result = np.asarray(_resize(*resizing.pack_images(originals), size_px=size))
    for ours, original in zip(result, originals, strict=True):
        np.testing.assert_array_equal(ours, by_pillow(original, size))
        # In one call Pillow 13 may take rows first.
        whole = Image.fromarray(original).resize((size, size), BILINEAR)
        assert np.abs(ours.astype(int) - np.asarray(whole)).max() <= 1


def test_extremes_stay_in_range():
    for value in (0, 255):
        flat = [np.full((h, w, 3), value, np.uint8) for h, w in ((1, 97), (300, 7))]
        assert (
            np.asarray(_resize(*resizing.pack_images(flat), size_px=100)) == value
        ).all()


def test_sizes_on_one_canvas_compile_once():
    traces = []

    def resize(*batch):
        traces.append(1)
        return resizing.resize(*batch, size_px=64)

    jitted = jax.jit(resize)
    for seed in range(4):
        sizes = np.random.default_rng(seed).integers(113, 225, (3, 2))
        jitted(*resizing.pack_images([noise(h, w) for h, w in sizes]))
    assert len(traces) == 1


@pytest.mark.parametrize("side", [224, pytest.param(250, marks=pytest.mark.slow)])
def test_crops_of_the_target_size_stay(side):
    crops = [noise(224, 224, seed=seed) for seed in range(2)]
    if side != 224:
        crops.append(noise(side, 224))
    result = np.asarray(_resize(*resizing.pack_images(crops), size_px=224))
    np.testing.assert_array_equal(result[:2], np.stack(crops[:2]))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_normalised(dtype):
    crops = [noise(112, 100), noise(80, 90)]
    result = _normalise(
        *resizing.pack_images(crops, rows=4),
        size_px=128,
        mean=MEAN,
        std=STD,
        dtype=dtype,
    )
    assert (result.shape, result.dtype) == ((4, 128, 128, 3), dtype)
    result = np.asarray(result)
    expected = np.stack([by_pillow(crop, 128) for crop in crops])
    expected = (expected / 255 - np.array(MEAN)) / STD
    tolerance = 1e-6 if dtype == "float32" else 1e-2
    np.testing.assert_allclose(
        result[:2].astype(np.float32), expected, rtol=tolerance, atol=tolerance
    )
    # Rows without a picture are finite too.
    assert np.isfinite(result.astype(np.float32)).all()


def test_pack():
    canvas, heights, widths = resizing.pack_images([noise(3, 5), noise(200, 7)], rows=3)
    assert (canvas.shape, canvas.dtype) == ((3, 224, 224, 3), np.uint8)
    assert (heights.tolist(), widths.tolist()) == ([3, 200, 1], [5, 7, 1])
    np.testing.assert_array_equal(canvas[0, :3, :5], noise(3, 5))
    assert not canvas[0, 3:].any()
    assert not canvas[2].any()
    sides = [resizing.canvas_size(*hw) for hw in ((1, 1), (112, 3), (3, 113), (897, 1))]
    assert sides == [112, 112, 224, 1792]


def test_large_pictures_are_reduced_before():
    large = noise(1000, 300)
    canvas, heights, widths = resizing.pack_images([large, noise(50, 50)], size_px=112)
    assert canvas.shape == (2, 112, 112, 3)
    assert (heights.tolist(), widths.tolist()) == ([112, 50], [112, 50])
    whole = np.asarray(_resize(*resizing.pack_images([large]), size_px=112))
    np.testing.assert_array_equal(canvas[0], whole[0])


def test_batches_that_are_refused():
    with pytest.raises(ValueError, match="0 pictures for a batch of 0"):
        resizing.pack_images([])
    with pytest.raises(
        ValueError, match="2 pictures for a batch of 1; expected 1 to 1"
    ):
        resizing.pack_images([noise(2, 2)] * 2, rows=1)
    for wrong in (noise(0, 2), noise(2, 2) / 255, noise(2, 2, 4), noise(2, 3)[..., 0]):
        with pytest.raises(
            ValueError, match=r"shape .*; expected uint8, \(height, wid"
        ):
            inspect.unwrap(resizing.pack_images)([wrong])
    shape = jax.ShapeDtypeStruct((1, 7168, 7168, 3), np.uint8)
    sizes = jax.ShapeDtypeStruct((1,), np.int32)
    with pytest.raises(ValueError, match=r"a canvas of 7168 x 7168 to 32 px"):
        jax.eval_shape(lambda *a: resizing.resize(*a, size_px=32), shape, sizes, sizes)


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_resizing_lowers_for_accelerators(platform):
    batch = resizing.pack_images([noise(112, 112)] * 2)
    exported = jax.export.export(
        jax.jit(
            lambda *a: resizing.resize_and_normalise(
                *a, size_px=224, mean=MEAN, std=STD
            )
        ),
        platforms=[platform],
    )(*batch)
    assert exported.platforms == (platform,)


def test_real_crops(shared_data):
    paths = sorted((shared_data / "affwild2_mini").glob("cropped_aligned*/*/*.jpg"))
    assert len(paths) == 1040
    crops = [read_image(path) for path in paths[::40]]
    result = np.asarray(_resize(*resizing.pack_images(crops), size_px=224))
    for ours, path in zip(result, paths[::40], strict=True):
        with Image.open(path) as image:
            expected = image.convert("RGB").resize((224, 224), BILINEAR)
        np.testing.assert_array_equal(ours, np.asarray(expected))


@pytest.mark.parametrize(
    "size",
    [
        32,
        pytest.param(112, marks=pytest.mark.slow),
        pytest.param(224, marks=pytest.mark.slow),
    ],
)
def test_pictures_resized_here_are_those_of_the_device(size):
    pictures = [noise(*s) for s in [(224, 224), (112, 90), (300, 40), (21, 260)]]
    found = resizing.pack_resized(pictures, rows=5, size_px=size)
    expected = _resize(*resizing.pack_images(pictures), size_px=size)
    np.testing.assert_array_equal(found[0][:4], expected)
    assert not found[0][4].any()
    np.testing.assert_array_equal(_resize(*found, size_px=size), found[0])
