"""VGGish against PyTorch, its PCA against numpy, and the way from sound to vectors.

All with a narrow network; that of the published size is in another file.
"""

import dataclasses
import functools
import math
import os
import pathlib
import subprocess
import sys
import wave
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import export
from made.vggish_outputs import RAW, apply_raw, changing_noise, check_parity
from made.weights import made_state, small_networks
from reference import log_mel as numpy_log_mel

from avemo_jax.embed.contract import checked_blocks
from avemo_jax.embed.spans import spans_of
from avemo_jax.embed.vggish import VggishExtractor
from avemo_jax.embed.weights import WeightsError
from avemo_jax.extractors import get_extractor, vggish
from avemo_jax.extractors.vggish import VggishSpec
from avemo_jax.media import log_mel

EXAMPLE, HOP = 15_600, 15_360  # samples


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    with small_networks():
        yield


def random_state() -> dict[str, np.ndarray]:
    """Weights under which activations keep their size, biases and a PCA."""
    return made_state({**vggish.state_shapes(), **vggish.PCA_SHAPES})


@pytest.fixture(scope="module")
def state(small) -> dict[str, np.ndarray]:
    return random_state()


@pytest.fixture(scope="module")
def examples() -> np.ndarray:
    return changing_noise()


@pytest.fixture(scope="module")
def raw_params(state) -> dict[str, Any]:
    return jax.device_put(vggish.prepare(RAW, state))


@pytest.fixture(scope="module")
def raw(raw_params, examples) -> np.ndarray:
    return np.asarray(apply_raw(raw_params, examples))


# The network.


@pytest.mark.parity
def test_parity_in_float32(state, examples, raw):
    check_parity(state, examples, raw)


@pytest.mark.parity
@pytest.mark.parametrize("by_tiles", [False, True], ids=["convolution", "tiles"])
@pytest.mark.parametrize(
    ("inputs", "outputs", "pooled"), [(1, 16, True), (16, 24, True), (24, 24, False)]
)
def test_convolutions_in_float64(inputs, outputs, pooled, by_tiles):
    torch = pytest.importorskip("torch", reason="needs the extra 'parity'")
    rng = np.random.default_rng(2)
    x = rng.standard_normal((2, 12, 8, inputs))
    kernel = rng.standard_normal((3, 3, inputs, outputs))
    bias = rng.standard_normal(outputs)
    theirs = torch.nn.functional.conv2d(
        torch.from_numpy(x.transpose(0, 3, 1, 2)),
        torch.from_numpy(kernel.transpose(3, 2, 0, 1)),
        torch.from_numpy(bias),
        padding=1,
    ).relu()
    if pooled:
        theirs = torch.nn.functional.max_pool2d(theirs, 2)
    with jax.enable_x64(True):
        module = vggish._Convolution(inputs, outputs, pooled=pooled)
        module.kernel[...] = jnp.asarray(kernel)
        module.bias[...] = jnp.asarray(bias)
        if inputs > 1:
            module.winograd[...] = jnp.asarray(vggish.winograd_kernel(kernel))
        convolve = jax.jit(functools.partial(module, by_tiles=by_tiles))
        ours = np.asarray(convolve(x))
    assert ours.dtype == np.float64
    np.testing.assert_allclose(
        ours, theirs.permute(0, 2, 3, 1).numpy(), rtol=1e-9, atol=1e-9
    )


@pytest.mark.parity
def test_linear_layers_in_float64():
    torch = pytest.importorskip("torch", reason="needs the extra 'parity'")
    rng = np.random.default_rng(3)
    x, weight = rng.standard_normal((5, 300)), rng.standard_normal((70, 300))
    bias = rng.standard_normal(70)
    theirs = torch.nn.functional.linear(*map(torch.from_numpy, (x, weight, bias)))
    with jax.enable_x64(True):
        module = vggish._Linear(300, 70)
        module.weight[...], module.bias[...] = jnp.asarray(weight.T), jnp.asarray(bias)
        ours = np.asarray(module(jnp.asarray(x)))
    np.testing.assert_allclose(ours, theirs.relu().numpy(), rtol=1e-9, atol=1e-9)


def test_an_example_does_not_depend_on_the_others(raw_params, examples, raw):
    order = np.random.default_rng(6).permutation(len(examples))
    found = apply_raw(raw_params, examples[order])
    np.testing.assert_allclose(found, raw[order], rtol=0, atol=2e-5 * raw.std())


def test_other_shapes_are_refused(raw_params):
    with pytest.raises(ValueError, match=r"\(64, 96\); expected \(96, 64\)"):
        vggish.apply(RAW, raw_params, jnp.zeros((2, 64, 96)))


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_lowers_for_accelerators(platform, state):
    prepared = vggish.prepare(vggish.SPEC, state)
    params = jax.eval_shape(lambda: jax.tree.map(jnp.asarray, prepared))
    examples = jax.ShapeDtypeStruct((4, 96, 64), jnp.float32)
    apply = jax.jit(functools.partial(vggish.apply, vggish.SPEC))
    text = export.export(apply, platforms=[platform])(params, examples).mlir_module()
    assert text.count("stablehlo.convolution") == 6
    assert "while" not in text, "micro-batches are for CPUs"


# PCA and quantisation.


def postprocessed(
    raw: np.ndarray, vectors: np.ndarray, means: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The definition, in float64: whitened, and quantised."""
    whitened = (vectors @ (raw.astype(np.float64) - means).T).T
    levels = np.round((np.clip(whitened, -2, 2) + 2) * (255 / 4))
    return whitened, levels / 255


postprocess = jax.jit(vggish.postprocess, static_argnames="quantise")


def check_postprocessing(raw: np.ndarray, vectors: np.ndarray, means: np.ndarray):
    float32 = [np.asarray(array, np.float32) for array in (raw, vectors, means)]
    whitened, quantised = postprocessed(raw, vectors, means)
    ours = np.asarray(postprocess(*float32, quantise=False))
    np.testing.assert_allclose(ours, whitened, rtol=0, atol=1e-5 * whitened.std())
    ours = np.asarray(postprocess(*float32, quantise=True))
    # Rounding may differ where float64 is nearly between two levels.
    levels = (np.clip(whitened, -2, 2) + 2) * (255 / 4)
    sure = np.abs(levels - np.floor(levels) - 0.5) > 2e-3 * whitened.std()
    assert sure.mean() > 0.9
    np.testing.assert_allclose(ours[sure], quantised[sure], rtol=0, atol=1e-6)
    np.testing.assert_allclose(ours, quantised, rtol=0, atol=1 / 255 + 1e-6)
    assert ours.min() >= 0
    assert ours.max() <= 1


def test_random_pca(state, raw):
    check_postprocessing(raw, state["pca.eigen_vectors"], state["pca.means"])


def test_published_pca(shared_data: pathlib.Path):
    with np.load(shared_data / "weights" / "vggish_pca_params.npz") as file:
        vectors, means = file["pca_eigen_vectors"], file["pca_means"]
    rng = np.random.default_rng(4)
    # Near the means, where the whitened values lie on both sides of the clipping.
    raw = np.maximum(0, means + rng.standard_normal((50, 128)) * 0.1)
    check_postprocessing(raw.astype(np.float32), vectors, means)


def test_quantisation_by_hand():
    values = np.array([[-3.0, -2.0, 0.0, 2.0, 3.0, 1.0]], np.float32)
    identity, zeros = np.eye(6, dtype=np.float32), np.zeros(6, np.float32)
    levels = np.asarray(postprocess(values, identity, zeros, quantise=True)) * 255
    # 127.5 goes to the even level; 1 is 191.25.
    np.testing.assert_allclose(levels[0], [0, 0, 128, 255, 255, 191], atol=1e-4)


def test_pca_that_is_missing(state):
    body = {k: v for k, v in state.items() if not k.startswith("pca.")}
    with pytest.raises(ValueError, match="avemo fetch vggish"):
        vggish.prepare(vggish.SPEC, body)
    assert "pca" not in vggish.prepare(RAW, state)


def test_weights_of_another_network(state):
    other = {k: v for k, v in state.items() if k != "features.0.bias"}
    other |= {"more": np.zeros(2), "embeddings.4.bias": np.zeros(64)}
    with pytest.raises(ValueError, match="expected VGGish; pass") as caught:
        vggish.prepare(vggish.SPEC, other)
    assert (
        "embeddings.4.bias is (64,), expected (128,); features.0.bias is missing; "
        "more is not a tensor of this network"
    ) in str(caught.value)


def test_unknown_output():
    with pytest.raises(ValueError, match="'whitened' of vggish; expected raw, pca"):
        VggishSpec("whitened")


# From sound to vectors.


@dataclasses.dataclass
class Track:
    """A sound track in blocks of given sizes, then of the last size."""

    samples: np.ndarray
    sizes: tuple[int, ...] = (16_000,)

    @property
    def num_channels(self) -> int:
        return self.samples.shape[1]

    def blocks(self, sample_rate_hz: int) -> Iterator[np.ndarray]:
        assert sample_rate_hz == 16_000
        start, number = 0, 0
        while start < len(self.samples):
            size = self.sizes[min(number, len(self.sizes) - 1)]
            yield self.samples[start : start + size]
            start, number = start + size, number + 1


def track(samples: int, channels: int = 1, seed: int = 5, **kwargs: Any) -> Track:
    rng = np.random.default_rng(seed)
    sound = rng.standard_normal((samples, channels), np.float32) / 4
    sound *= np.abs(np.sin(np.arange(samples) / 9000))[:, None].astype(np.float32)
    return Track(sound, **kwargs)


def extractor_of(state, output: str = "raw", hop_s: float = 0.96) -> VggishExtractor:
    return VggishExtractor(
        get_extractor("vggish"),
        state,
        output=output,
        hop_s=hop_s,
        batch_size=2,
        tensors_sha256="5a",
    )


@functools.cache
def make(output: str = "raw", hop_s: float = 0.96) -> VggishExtractor:
    """One extractor of equal settings for all tests."""
    return extractor_of(random_state(), output, hop_s)


def test_whole_way_against_its_definition(raw_params):
    sound = track(100_000, channels=2)
    found = make().extract(sound)
    spectra = numpy_log_mel.log_mel(sound.samples.mean(axis=1))
    assert (len(spectra) - 96) // 96 + 1 == 6
    examples = np.zeros((11, 96, 64), np.float32)  # as many as the program takes
    examples[:6] = spectra[: 6 * 96].reshape(6, 96, 64)
    expected = apply_raw(raw_params, examples)[:6]
    assert found.features.shape == (6, 128)
    assert found.features.dtype == np.float32
    assert found.outputs is None
    atol = 1e-4 * np.std(expected)
    np.testing.assert_allclose(found.features, expected, rtol=0, atol=atol)
    np.testing.assert_allclose(found.times_s, np.arange(6) * 0.96 + 0.4875, rtol=1e-12)


@pytest.mark.parametrize(
    "hop_s",
    [
        pytest.param(0.04, marks=pytest.mark.slow),
        pytest.param(2.5, marks=pytest.mark.release),
    ],
)
def test_hops(hop_s):
    sound = track(90_000)
    found = make(hop_s=hop_s).extract(sound)
    step = round(hop_s * 16_000)
    assert len(found.features) == (90_000 - EXAMPLE) // step + 1
    assert found.times_s is not None
    np.testing.assert_allclose(np.diff(found.times_s), hop_s, rtol=1e-9)
    last = len(found.features) - 1
    alone = Track(sound.samples[last * step : last * step + EXAMPLE])
    expected = make(hop_s=hop_s).extract(alone).features
    atol = 2e-5 * np.std(expected)
    np.testing.assert_allclose(found.features[last:], expected, rtol=0, atol=atol)


@settings(
    max_examples=6,
    deadline=None,
)
@given(st.lists(st.integers(1, 40_000), min_size=1, max_size=6))
def test_sizes_of_blocks_do_not_matter(sizes):
    whole = track(70_000)
    expected = make().extract(whole)
    found = make().extract(dataclasses.replace(whole, sizes=tuple(sizes)))
    np.testing.assert_array_equal(found.features, expected.features)
    np.testing.assert_array_equal(found.times_s, expected.times_s)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(0, 30), max_size=12),
    st.integers(1, 25),
    st.integers(1, 25),
)
def test_spans(sizes, step, length):
    samples = np.arange(sum(sizes))
    blocks = np.split(samples, np.cumsum(sizes)[:-1]) if sizes else []
    spans = list(spans_of((b.astype(np.float32) for b in blocks), step, length))
    for number, span in enumerate(spans):
        start = number * step
        np.testing.assert_array_equal(span, samples[start : start + length])
    assert all(len(span) == length for span in spans[:-1])
    assert (len(spans) - 1) * step + length >= len(samples)


@pytest.mark.parametrize(
    ("samples", "rows"),
    [
        (0, 0),
        (1, 1),
        (EXAMPLE - 1, 1),
        (EXAMPLE, 1),
        (EXAMPLE + HOP - 1, 1),
        (EXAMPLE + HOP, 2),
        (EXAMPLE + 2 * HOP - 1, 2),
        (EXAMPLE + 2 * HOP, 3),
        (EXAMPLE + 3 * HOP + 1, 4),
    ],
)
def test_rows_of_a_track(samples, rows):
    found = make().extract(track(samples))
    assert found.features.shape == (rows, 128)
    assert found.times_s is not None
    assert found.times_s.shape == (rows,)


def test_a_short_track_is_followed_by_silence():
    short = track(8000)
    padded = Track(np.pad(short.samples, ((0, EXAMPLE - 8000), (0, 0))))
    np.testing.assert_array_equal(
        make().extract(short).features, make().extract(padded).features
    )


@pytest.mark.parametrize(
    "output", ["quantised", pytest.param("pca", marks=pytest.mark.slow)]
)
def test_outputs(output, state):
    sound = track(60_000)
    raw = make().extract(sound).features
    found = make(output=output).extract(sound).features
    whitened, quantised = postprocessed(
        raw, state["pca.eigen_vectors"], state["pca.means"]
    )
    if output == "pca":
        np.testing.assert_allclose(found, whitened, rtol=0, atol=1e-4 * whitened.std())
    else:
        assert (np.abs(found - quantised) < 1e-6).mean() > 0.98
        np.testing.assert_allclose(found, quantised, rtol=0, atol=1 / 255 + 1e-6)


def test_the_digest_of_the_weights_is_kept():
    assert make().weights_sha256 == "5a"


def test_streams_by_the_batch():
    pieces = list(make().stream(track(100_000)))
    assert [len(piece.features) for piece in pieces] == [2, 2, 2]
    whole = make().extract(track(100_000))
    joined = np.concatenate([piece.features for piece in pieces])
    np.testing.assert_array_equal(joined, whole.features)


def test_reads_no_more_than_it_needs():
    taken = []

    class Endless:
        num_channels = 1

        def blocks(self, sample_rate_hz: int) -> Iterator[np.ndarray]:
            for number in range(10_000):
                taken.append(number)
                yield np.full((4000, 1), 0.1, np.float32)

    stream = make().stream(Endless())
    for _ in range(3):
        next(stream)
    # Three batches, and those on the devices, of 31,200 samples at most.
    assert len(taken) < 6 * 8 + 2


def test_a_program_for_each_power_of_two():
    """A last batch takes the least power of two that holds it; here 1 or 2."""
    extractor = make(output="quantised")
    for samples, channels in ((20_000, 1), (30_000, 1), (90_000, 2), (500, 3)):
        features = extractor.extract(track(samples, channels)).features
        assert features.min() >= 0
        assert features.max() <= 1
    assert extractor._embed._cache_size() == 2


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_whole_way_lowers_for_accelerators(platform):
    extractor = make()
    arguments = (extractor._params, np.zeros((1, extractor._num_samples(2)), "f"))
    shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), arguments)
    exported = export.export(extractor._embed, platforms=[platform])(*shapes)
    assert exported.platforms == (platform,)
    assert "callback" not in exported.mlir_module()


_ON_DEVICES = """
import sys
import numpy as np
from test_vggish import (
    VggishExtractor, get_extractor, random_state, small_networks, track
)
narrow = small_networks()
narrow.__enter__()
extractor = VggishExtractor(
    get_extractor("vggish"), random_state(), output="raw", hop_s=0.5, batch_size=4
)
assert extractor.batch_size == 6
np.save(sys.argv[1], extractor.extract(track(100_000)).features)
"""


@pytest.mark.release
def test_several_devices_give_the_same(state, tmp_path):
    found = tmp_path / "found.npy"
    done = subprocess.run(
        [sys.executable, "-c", _ON_DEVICES, str(found)],
        capture_output=True,
        text=True,
        cwd=pathlib.Path(__file__).parent,
        env={
            **os.environ,
            "XLA_FLAGS": "--xla_force_host_platform_device_count=3",
            "JAX_PLATFORMS": "cpu",
            "PYTHONPATH": str(pathlib.Path(__file__).parents[1]),
        },
    )
    assert done.returncode == 0, done.stderr
    one = VggishExtractor(
        get_extractor("vggish"), state, output="raw", hop_s=0.5, batch_size=4
    )
    expected = one.extract(track(100_000)).features
    assert expected.shape == (11, 128)
    atol = 2e-5 * expected.std()
    np.testing.assert_allclose(np.load(found), expected, rtol=0, atol=atol)


def test_spectra_within_the_batches_are_those_of_the_whole():
    sound = track(100_000).samples[:, 0]
    whole = log_mel.log_mel(sound)
    length = log_mel.num_samples(2 * 96)
    spectra_of = jax.jit(log_mel.spectra_of)
    for first in (0, 192, 384):
        part = sound[first * 160 : first * 160 + length]
        spectra = spectra_of(part)
        np.testing.assert_allclose(
            spectra, whole[first : first + 192], rtol=0, atol=1e-6
        )


@pytest.mark.parametrize("hop_s", [0.0, -0.96, 0.005, 0.965, math.nan, math.inf])
def test_hops_that_are_refused(hop_s, state):
    with pytest.raises(ValueError, match=r"expected a multiple of 0\.01"):
        VggishExtractor(get_extractor("vggish"), state, hop_s=hop_s)


def test_options_and_weights_that_are_refused(state):
    extractor = get_extractor("vggish")
    with pytest.raises(ValueError, match="batch_size 0 for vggish; expected a w"):
        VggishExtractor(extractor, state, batch_size=0)
    body = {k: v for k, v in state.items() if not k.startswith("pca.")}
    with pytest.raises(ValueError, match="avemo fetch vggish"):
        VggishExtractor(extractor, body)
    without = {k: v for k, v in state.items() if k != "features.0.bias"}
    with pytest.raises(WeightsError, match=r"features\.0\.bias is missing"):
        VggishExtractor(extractor, without)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (np.full((20_000, 1), np.nan, np.float32), "not finite, about 16000 samples"),
        (
            np.zeros((20_000, 2), np.float32),
            r"shape \(16000, 2\); expected \(samples, 1",
        ),
        (np.zeros((20_000, 1), np.int16), "dtype int16; expected floating point"),
    ],
)
def test_bad_sound_is_an_error(block, message):
    class Bad(Track):
        num_channels = 1

    sound = Bad(block)
    if np.isnan(block).any():
        block[:16_000] = 0
    with pytest.raises(ValueError, match=message):
        make().extract(sound)


def test_what_is_no_source_of_sound_is_an_error():
    with pytest.raises(ValueError, match=r"type ndarray.*media\.audio\.Sound"):
        next(checked_blocks(np.zeros(9_000), 16_000))


def test_settings_decide_the_fingerprint():
    assert make().settings == {"output": "raw", "hop_s": 0.96, "dtype": "float32"}
    prints = {make().fingerprint, make(output="quantised").fingerprint}
    prints |= {make(hop_s=0.04).fingerprint}
    assert len(prints) == 3


def test_speech(shared_data: pathlib.Path):
    with wave.open(str(shared_data / "media" / "speech.wav")) as file:
        pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    sound = Track((pcm / 32_768).astype(np.float32)[:, None])
    found = make(output="quantised").extract(sound)
    assert len(found.features) == (len(pcm) - EXAMPLE) // 15_360 + 1
    assert np.isfinite(found.features).all()
    assert found.features.std() > 0.01
