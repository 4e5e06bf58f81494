"""Histograms of oriented gradients against a plain definition, and as an extractor."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from PIL import Image, ImageDraw

from avemo_jax.convert.conversion import convert
from avemo_jax.convert.rules import ConversionError
from avemo_jax.embed import load_extractor
from avemo_jax.embed.weights import WeightsError
from avemo_jax.extractors import EXTRACTORS, hog
from avemo_jax.media import resizing


@pytest.fixture(scope="module")
def extractor():
    return load_extractor("face_hog", batch_size=4)


def faces(number, side=112, seed=0):
    """Blots of all sizes, some of them flat."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (number, side // 8, side // 8, 3), np.uint8)
    large = small.repeat(8, axis=1).repeat(8, axis=2)
    noise = rng.integers(-20, 21, large.shape) * (large[..., :1] > 100)
    return np.clip(large + noise, 0, 255).astype(np.uint8)


def plain(image):
    """The definition in float64, pixel by pixel and cell by cell."""
    size = len(image)
    grey = image.astype(float) @ [0.299, 0.587, 0.114] / 255
    cells = np.zeros((8, 8, 18))
    for row in range(1, size - 1):
        for column in range(1, size - 1):
            x = grey[row, column + 1] - grey[row, column - 1]
            y = grey[row + 1, column] - grey[row - 1, column]
            lower = int(np.arctan2(y, x) % (2 * np.pi) / (np.pi / 9)) % 18
            angles = np.array([lower, lower + 1]) * np.pi / 9
            both = np.linalg.solve([np.cos(angles), np.sin(angles)], [x, y])
            for r in range(8):
                down = max(0, 1 - abs((row + 0.5) * 8 / size - 0.5 - r))
                for c in range(8) if down else ():
                    right = max(0, 1 - abs((column + 0.5) * 8 / size - 0.5 - c))
                    cells[r, c, lower] += both[0] * down * right
                    cells[r, c, (lower + 1) % 18] += both[1] * down * right
    unsigned = cells[..., :9] + cells[..., 9:]

    def energy(r, c):
        return (unsigned[np.clip(r, 0, 7), np.clip(c, 0, 7)] ** 2).sum()

    found = np.zeros((8, 8, 31))
    for r in range(8):
        for c in range(8):
            for number, (up, left) in enumerate([(1, 1), (1, 0), (0, 1), (0, 0)]):
                block = [(r - up + i, c - left + j) for i in (0, 1) for j in (0, 1)]
                norm = np.sqrt(sum(energy(*place) for place in block) + 1e-4)
                votes = np.minimum(np.append(cells[r, c], unsigned[r, c]) / norm, 0.2)
                found[r, c, :27] += votes / 2
                found[r, c, 27 + number] = 0.2357 * votes[:18].sum()
    return found.ravel()


def test_equals_the_plain_definition(extractor):
    images = faces(2)
    found = extractor.extract(images)
    assert found.features.shape == (2, 1984)
    assert found.features.dtype == np.float32
    assert found.outputs is None
    expected = np.stack([plain(image) for image in images])
    assert expected.std() > 0.05
    np.testing.assert_allclose(found.features, expected, rtol=0, atol=2e-6)


def test_another_size_has_as_many_cells():
    pixels = faces(1, side=40)
    found = np.asarray(jax.jit(hog.apply)(pixels / np.float32(255)))
    np.testing.assert_allclose(found[0], plain(pixels[0]), rtol=0, atol=2e-6)


def test_flat_crops_and_edges(extractor):
    """Zeros where nothing is; an edge of light to the right votes for 0 degrees."""
    flat = np.full((3, 112, 112, 3), [[[[0]]], [[[255]]], [[[90]]]], np.uint8)
    step = np.zeros((112, 112, 3), np.uint8)
    step[:, 56:] = 255
    found = extractor.extract([*flat, step, step[:, ::-1], step.swapaxes(0, 1)])
    assert not found.features[:3].any()
    assert np.isfinite(found.features).all()
    cells = found.features[3:].reshape(3, 8, 8, 31)
    votes = cells.sum(axis=(1, 2))
    for row, own in zip(votes, (0, 9, (4, 5)), strict=True):
        signed = np.zeros(18, bool)
        signed[[own]] = True
        assert (row[:18][signed] > 1).all()
        assert (row[:18][~signed] < 1e-4).all()
    # Only cells at the edge have votes, those of the first and last row among them.
    assert (cells[0, :, 3:5].max(axis=-1) > 0.1).all()
    assert (cells[0][:, [0, 1, 2, 5, 6, 7]] < 1e-4).all()


def test_light_and_contrast_hardly_matter(extractor):
    image = faces(1, seed=3)[0]
    darker = (image * 0.5 + 20).astype(np.uint8)
    a, b = extractor.extract([image, darker]).features
    assert np.abs(a - b).mean() < 0.02 * a.mean()


def drawn(mouth, rng):
    """A face in colours and on a ground of its own; nothing is quite in its place."""
    light, ground = rng.integers(110, 250, 3), rng.integers(0, 100, 3)
    picture = Image.new("RGB", (112, 112), tuple(map(int, ground)))
    draw = ImageDraw.Draw(picture)
    x, y = rng.uniform(-3, 3, 2)
    draw.ellipse([12 + x, 6 + y, 100 + x, 108 + y], tuple(map(int, light)))
    for eye in (38 + x, 74 + x):
        draw.ellipse([eye - 6, 44 + y, eye + 6, 52 + y], "black")
    place = [38 + x, 72 + y, 74 + x, 92 + y]
    if mouth == "open":
        draw.ellipse([48 + x, 72 + y, 64 + x, 92 + y], "black")
    else:
        draw.arc(place, *((20, 160) if mouth == "up" else (200, 340)), "black", 3)
    noise = rng.normal(0, 8, (112, 112, 1))
    return np.clip(np.asarray(picture) + noise, 0, 255).astype(np.uint8)


def test_mouths_are_told_apart_in_faces_that_were_not_seen(extractor):
    """By the nearest mean alone, which knows no place, light or colour."""
    rng = np.random.default_rng(0)
    mouths = ["up", "down", "open"]
    images = np.stack([[drawn(mouth, rng) for mouth in mouths] for _ in range(24)])
    found = extractor.extract(images.reshape(-1, 112, 112, 3)).features

    rows = found.reshape(24, 3, -1)
    away = np.linalg.norm(rows[12:, :, None] - rows[:12].mean(axis=0), axis=-1)
    assert (away.argmin(axis=-1) == np.arange(3)).mean() > 0.9


def test_vectors_do_not_depend_on_their_place_in_a_batch(extractor):
    """To the bit: what was interrupted goes on with other batches."""
    images = faces(9, seed=5)
    found = extractor.extract(images).features
    for first in (1, 2, 5):
        later = extractor.extract(images[first:]).features
        np.testing.assert_array_equal(later, found[first:])


def test_crops_of_other_sizes_are_resized(extractor):
    image = faces(1, side=160)[0]
    small = np.asarray(resizing.resize(*resizing.pack_images([image]), size_px=112))
    found = extractor.extract([image, small[0]]).features
    np.testing.assert_allclose(found[0], found[1], rtol=0, atol=1e-6)


def test_the_whole_way_lowers_for_accelerators(extractor):
    batch = resizing.pack_images(list(faces(2)), rows=4, size_px=112)
    resize = export.export(extractor._resize, platforms=("tpu", "cuda"))(None, batch)
    (pixels,) = resize.out_avals
    pixels = jax.ShapeDtypeStruct(pixels.shape, pixels.dtype)
    embed = export.export(extractor._embed, platforms=("tpu", "cuda"))({}, pixels)
    assert [a.shape for a in embed.out_avals] == [(4, 1984), (4, 0)]
    assert "callback" not in embed.mlir_module()


def test_what_does_not_fit_is_refused(extractor, tmp_path):
    assert extractor.weights_sha256 == ""
    file = tmp_path / "face_hog.safetensors"
    load_extractor("face_hog", weights=file)  # not there, as with --weights DIR
    file.write_bytes(b"")
    with pytest.raises(WeightsError, match="face_hog, which has none; expected none"):
        load_extractor("face_hog", weights=file)
    with pytest.raises(ConversionError, match="face_hog has no weights; expected"):
        convert("face_hog", file, tmp_path / "out.safetensors")
    with pytest.raises(ValueError, match="bfloat16 for face_hog; expected float32"):
        load_extractor("face_hog", dtype="bfloat16")
    with pytest.raises(ValueError, match=r"size_px 15 for face_hog; .* at least 16"):
        load_extractor("face_hog", size_px=15)
    with pytest.raises(ValueError, match=r"\(15, 15, 3\); expected .* at least 16"):
        hog.apply(jnp.zeros((1, 15, 15, 3)))
    other = load_extractor("face_hog", size_px=96).fingerprint
    assert other != extractor.fingerprint
    assert EXTRACTORS["face_hog"].dim == hog.DIM == 8 * 8 * 31
