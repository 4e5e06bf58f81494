"""Extractors of faces, and what is common to all: names, files, options, batches."""

import json
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest
import safetensors.numpy
from jax import export
from made.weights import made_state, made_weights, network_shapes, small_networks
from PIL import Image

from avemo_jax.embed import images, load_extractor
from avemo_jax.embed.contract import check_count
from avemo_jax.embed.devices import in_flight
from avemo_jax.embed.weights import (
    WeightsError,
    read_weights,
    tensors_digest,
    write_weights,
)
from avemo_jax.extractors import EXTRACTORS, get_extractor
from avemo_jax.extractors.efficientnet import EfficientNetSpec, apply, prepare
from avemo_jax.media import resizing

NAME = "enet_b0_8_va_mtl"
SIZE = 48  # small: the networks are the same at any size


@pytest.fixture(scope="module", autouse=True)
def small():
    """The network is narrow; its own tests are those of ``extractors``."""
    with small_networks():
        yield


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return made_weights(tmp_path_factory.mktemp("weights"), NAME)


@pytest.fixture(scope="module")
def extractor(weights):
    return load_extractor(NAME, weights=weights, size_px=SIZE, batch_size=4)


def faces(number, height=40, width=40, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (number, height, width, 3), np.uint8)


def test_equals_the_network_on_pillow_s_pixels(extractor, weights):
    images = faces(3, 40, 30)
    found = extractor.extract(images)
    takes = get_extractor(NAME).image
    pixels = [
        np.asarray(Image.fromarray(i).resize((SIZE, SIZE), Image.Resampling.BILINEAR))
        for i in images
    ]
    x = ((np.stack(pixels) / 255 - takes.mean) / takes.std).astype(np.float32)
    spec = EfficientNetSpec("b0", 10)
    params = prepare(spec, read_weights(weights)[0])
    run = jax.jit(apply, static_argnums=0)
    features, outputs = jax.device_get(run(spec, params, x))
    assert found.features.shape == (3, 1280)
    assert found.outputs.shape == (3, 10)
    assert found.features.dtype == found.outputs.dtype == np.float32
    assert np.abs(found.features - features).max() < 2e-5 * np.std(features)
    assert np.abs(found.outputs - outputs).max() < 2e-5 * np.std(outputs)


def test_batches_do_not_matter_and_nothing_is_compiled_again(extractor):
    images = faces(9)
    whole = extractor.extract(images)
    programs = extractor._embed._cache_size(), extractor._resize._cache_size()
    for number in (1, 3, 4, 5):
        part = extractor.extract(images[:number])
        np.testing.assert_array_equal(part.features, whole.features[:number])
        np.testing.assert_array_equal(part.outputs, whole.outputs[:number])
    now = extractor._embed._cache_size(), extractor._resize._cache_size()
    assert now == programs
    assert programs[0] == 1


def test_images_of_many_sizes_in_one_batch(extractor):
    images = [faces(1, h, w, seed=h)[0] for h, w in [(40, 40), (33, 70), (112, 90)]]
    together = extractor.extract(images)
    for row, image in enumerate(images):
        alone = extractor.extract([image])
        np.testing.assert_allclose(
            alone.features[0], together.features[row], rtol=0, atol=1e-5
        )


def test_rows_come_in_the_order_of_the_images(extractor):
    """Of unlike sizes, in three batches, each given as soon as two more are full."""
    sides = [33, 70, 40, 112, 48, 90, 35, 64, 41, 100, 57, 38, 80, 44]
    images = [faces(1, side, side, seed=side)[0] for side in sides]
    alone = np.concatenate([extractor.extract([i]).features for i in images])
    read = []

    def pictures():
        for number, image in enumerate(images):
            read.append(number)
            yield image

    stream = extractor.stream(pictures())
    assert read == []
    pieces, taken = [], []
    for piece in stream:
        pieces.append(piece)
        taken.append(len(read))
    assert [len(piece.features) for piece in pieces] == [4, 4, 4, 2]
    assert taken == [12, 14, 14, 14]
    found = np.concatenate([piece.features for piece in pieces])
    np.testing.assert_allclose(found, alone, rtol=0, atol=1e-5)
    # Any two differ by more than that, so that none were exchanged.
    apart = np.abs(alone[:, None] - alone).max(axis=-1)
    assert apart[~np.eye(len(alone), dtype=bool)].min() > 1e-4


def test_in_flight_begins_two_more_and_keeps_the_order():
    begun = []

    def batches():
        for number in range(6):
            begun.append(number)
            yield number

    flying = in_flight(batches())
    assert begun == []
    given = [(batch, len(begun)) for batch in flying]
    assert given == [(0, 3), (1, 4), (2, 5), (3, 6), (4, 6), (5, 6)]
    assert list(in_flight(iter([7]))) == [7]
    assert list(in_flight([])) == []


def test_no_images(extractor):
    found = extractor.extract([])
    assert found.features.shape == (0, 1280)
    assert found.outputs.shape == (0, 10)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_other_images_are_refused(extractor, image):
    with pytest.raises(ValueError, match=r"expected uint8 \(height, width, 3\)"):
        extractor.extract([image])


@pytest.mark.parametrize(
    "dtype", [pytest.param("float32", marks=pytest.mark.slow), "bfloat16"]
)
def test_the_whole_way_lowers_for_accelerators(weights, dtype):
    """From pixels as they are transferred to embeddings, as it runs here."""
    made = load_extractor(NAME, weights=weights, size_px=SIZE, dtype=dtype)
    batch = resizing.pack_images(list(faces(2)), rows=made.batch_size, size_px=SIZE)
    resize = export.export(made._resize, platforms=("tpu", "cuda"))(None, batch)
    (pixels,) = resize.out_avals
    assert pixels.shape == (made.batch_size, SIZE, SIZE, 3)
    assert pixels.dtype == dtype
    pixels = jax.ShapeDtypeStruct(pixels.shape, pixels.dtype)
    embed = export.export(made._embed, platforms=("tpu", "cuda"))(made._params, pixels)
    assert [a.shape[1] for a in embed.out_avals] == [1280, 10]
    assert {a.dtype.name for a in embed.out_avals} == {"float32"}
    for exported in (resize, embed):
        assert exported.platforms == ("tpu", "cuda")
        assert "callback" not in exported.mlir_module()


@pytest.mark.slow
def test_bfloat16_is_near(extractor, weights):
    images = faces(4)
    low = load_extractor(
        NAME, weights=weights, size_px=SIZE, batch_size=4, dtype="bfloat16"
    )
    a, b = extractor.extract(images).features, low.extract(images).features
    assert b.dtype == np.float32
    cosines = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert cosines.min() > 0.999


def test_fingerprints_tell_weights_and_settings_apart(weights, tmp_path):
    def fingerprint(path, **options):
        options = {"size_px": SIZE, **options}
        return load_extractor(NAME, weights=path, **options).fingerprint

    other = made_weights(tmp_path, NAME, seed=1)
    found = {
        fingerprint(weights),
        fingerprint(other),
        fingerprint(weights, size_px=64),
        fingerprint(weights, dtype="bfloat16"),
    }
    assert len(found) == 4
    # How many run at once decides nothing.
    assert fingerprint(weights, batch_size=2) in found
    assert all(len(text) == 64 for text in found)


def test_the_digest_of_the_weights_is_kept(extractor, weights):
    tensors, metadata = read_weights(weights)
    assert extractor.weights_sha256 == tensors_digest(tensors)
    assert extractor.weights_sha256 == metadata["tensors_sha256"]


def test_unknown_names_and_options(weights):
    with pytest.raises(ValueError, match=r"unknown extractor 'enet'; expected one of"):
        load_extractor("enet", weights=weights)
    with pytest.raises(ValueError, match=r"unknown options \['size'\].*size_px"):
        load_extractor(NAME, weights=weights, size=224)
    with pytest.raises(ValueError, match=r"dtype 'float16'.*bfloat16"):
        load_extractor(NAME, weights=weights, dtype="float16")
    for option in ("size_px", "batch_size"):
        with pytest.raises(ValueError, match=f"{option} 0 .* whole number, at least"):
            load_extractor(NAME, weights=weights, **{option: 0})
    for value in (48.5, "48", True, None):
        with pytest.raises(ValueError, match=r"size_px .* whole number, at least 1"):
            check_count(get_extractor(NAME), "size_px", value, 1)


def test_a_batch_that_memory_cannot_hold_is_refused(monkeypatch):
    """Told before its arrays are made."""
    monkeypatch.setattr(images, "memory_bytes", lambda: 10**6)
    message = (
        r"batch_size 100 on a device for face_hog takes at least 6,144,000 bytes of "
        r"memory for its pixels, and there are 1,000,000; expected less: lower"
    )
    with pytest.raises(ValueError, match=message):
        load_extractor("face_hog", batch_size=100, size_px=64)
    assert load_extractor("face_hog", batch_size=10, size_px=64).batch_size == 10


def test_a_missing_file_says_where_weights_come_from(tmp_path, monkeypatch):
    with pytest.raises(WeightsError, match=r"nowhere.*avemo fetch enet_b0_8_va_mtl"):
        load_extractor(NAME, weights=tmp_path / "nowhere.safetensors")
    monkeypatch.setenv("AVEMO_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match=r"enet_b2_8\.safetensors.*avemo convert"):
        load_extractor("enet_b2_8")
    # A path that is empty is not "none given".
    with pytest.raises(WeightsError, match=r"\.: no such file"):
        load_extractor("enet_b2_8", weights="")


def test_fetched_weights_are_found(tmp_path, monkeypatch, weights):
    monkeypatch.setenv("AVEMO_CACHE", str(tmp_path))
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / f"{NAME}.safetensors").write_bytes(weights.read_bytes())
    assert load_extractor(NAME, size_px=SIZE).extractor.name == NAME


def test_wrong_files_are_refused(tmp_path, weights):
    with pytest.raises(WeightsError, match=r"holds weights of 'enet_b0_8_va_mtl'"):
        load_extractor("enet_b0_8_best_vgaf", weights=weights)
    # The right name, the wrong number of outputs.
    eight = made_state(network_shapes(get_extractor("enet_b0_8_best_vgaf")))
    path = tmp_path / "eight.safetensors"
    write_weights(path, eight, {"extractor": NAME})
    with pytest.raises(WeightsError, match=r"classifier.weight is \(8, 1280\), exp"):
        load_extractor(NAME, weights=path)
    # A byte of a tensor changed.
    data = bytearray(weights.read_bytes())
    data[-100] ^= 1
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(data)
    with pytest.raises(WeightsError, match="sha256 differs"):
        load_extractor(NAME, weights=damaged)
    # Not ours, and nothing at all.
    foreign = tmp_path / "foreign.safetensors"
    safetensors.numpy.save_file({"x": np.zeros(1)}, foreign, {"format": "pt"})
    with pytest.raises(WeightsError, match="schema None"):
        load_extractor(NAME, weights=foreign)
    foreign.write_bytes(b"PK\x03\x04")
    with pytest.raises(WeightsError, match=r"cannot be read .*\.safetensors"):
        load_extractor(NAME, weights=foreign)


def test_the_table_is_whole():
    for name, entry in EXTRACTORS.items():
        assert entry.name == name
        assert entry.needs_weights == bool(entry.sources) == bool(entry.licence)
        assert all(s.url.startswith("https://") for s in entry.sources)
        if entry.kind == "visual":
            assert entry.image.size_px in entry.image.sizes_px
            has_outputs = entry.network.startswith("efficientnet")
            assert entry.output_dim in ((8, 10) if has_outputs else (0,))
            with pytest.raises(TypeError, match="visual extractor"):
                _ = entry.sound
        else:
            assert entry.sound.hops_per_s == pytest.approx(1 / entry.sound.hop_s)
            with pytest.raises(TypeError, match="audio extractor"):
                _ = entry.image


_ON_EIGHT = """
import json, sys
import jax, numpy as np
from avemo_jax.embed import images, load_extractor
from made.weights import small_networks
images = np.random.default_rng(0).integers(0, 256, (11, 40, 40, 3), np.uint8)
with small_networks():
    made = load_extractor(sys.argv[1], weights=sys.argv[2], size_px=48, batch_size=10)
    found = made.extract(images)
print(json.dumps([jax.local_device_count(), made.batch_size, found.features.tolist()]))
"""


TESTS = str(pathlib.Path(__file__).parents[1])


@pytest.mark.slow
def test_eight_devices_give_the_same(extractor, weights):
    flags = "--xla_force_host_platform_device_count=8"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", _ON_EIGHT, NAME, str(weights)],
        env={**os.environ, "XLA_FLAGS": flags, "PYTHONPATH": TESTS},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    devices, batch_size, features = json.loads(done.stdout)
    assert (devices, batch_size) == (8, 16)
    alone = extractor.extract(faces(11)).features
    np.testing.assert_allclose(features, alone, rtol=0, atol=1e-5 * np.std(alone))
