"""wav2vec 2.0 over whole tracks: pieces, statistics, windows, seams."""

import dataclasses
import functools
import itertools
import math
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl import logging
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import export

from avemo_jax.embed import wav2vec2 as embed
from avemo_jax.embed.wav2vec2 import Wav2Vec2Extractor
from avemo_jax.embed.wav2vec2_sound import Moments, Track, survey
from avemo_jax.embed.wav2vec2_windows import (
    Seams,
    padded_size,
    sizes_of,
    windows_of,
)
from avemo_jax.embed.weights import WeightsError
from avemo_jax.extractors import get_extractor
from avemo_jax.extractors import wav2vec2 as network
from avemo_jax.extractors.wav2vec2 import Wav2Vec2Spec

SPEC = Wav2Vec2Spec(
    conv_dims=(16,) * 7,
    hidden_size=32,
    num_layers=2,
    num_heads=4,
    ffn_dim=48,
    pos_kernel=16,
    pos_groups=4,
)
LAYERED = dataclasses.replace(
    SPEC, feat_extract_norm="layer", do_stable_layer_norm=True, conv_bias=True
)
WAVLM = dataclasses.replace(SPEC, position_buckets=32, max_distance=60)
RATE = 16_000
WINDOW = 3 * RATE + 123  # samples of one window


@dataclasses.dataclass
class Sound:
    """A waveform in memory, in blocks of any size; counts how often it is read."""

    waveform: np.ndarray
    block: int = 10_007
    readings: int = 0

    @property
    def num_channels(self) -> int:
        return self.waveform.shape[1]

    def blocks(self, sample_rate_hz: int) -> Iterator[np.ndarray]:
        assert sample_rate_hz == RATE
        self.readings += 1
        for start in range(0, len(self.waveform), self.block):
            yield self.waveform[start : start + self.block]


def sound_of(samples: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    """Noise under a slow envelope, with an offset."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((samples, channels))
    swell = 0.15 + 0.1 * np.sin(np.arange(samples) / 9_000)[:, None]
    return (0.05 + swell * noise).astype(np.float32)


def state_of(spec: Wav2Vec2Spec) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    state = {}
    for name, shape in network.state_shapes(spec).items():
        value = rng.standard_normal(shape)
        if name.endswith(("weight_g", "norm.weight")):
            value = 1 + 0.2 * value
        elif name.endswith("bias"):
            value = 0.2 * value
        elif len(shape) > 1:
            value = value * math.sqrt(1.5 / math.prod(shape[1:]))
        state[name] = value.astype(np.float32)
    return state


@functools.cache
def made(
    spec: Wav2Vec2Spec = SPEC, *, normalise: bool = False, **options: Any
) -> Wav2Vec2Extractor:
    """With windows of 150 frames, 30 of them on either side not kept; made once."""
    name = "wav2vec2_base_960h" if normalise else "wav2vec2_base"
    extractor = dataclasses.replace(get_extractor(name), dim=spec.hidden_size)
    options = {"window_s": 3.0, "overlap_s": 0.6, **options}
    return Wav2Vec2Extractor(extractor, state_of(spec), spec=spec, **options)


# One program for equal options and lengths, which tests therefore share.
run = jax.jit(network.apply, static_argnums=0, static_argnames="layers")


def whole(
    spec: Wav2Vec2Spec, waveform: np.ndarray, layer: network.Wav2Vec2LayerIndex = "last"
) -> list[np.ndarray]:
    """The network over (samples, voices) at once: one (frames, dim) for each voice."""
    params = network.prepare(spec, state_of(spec))
    layers = (*range(spec.num_layers + 1), "last")
    found = [run(spec, params, voice[None], layers=layers) for voice in waveform.T]
    return [np.asarray(outputs[layers.index(layer)][0]) for outputs in found]


def local(waveform: np.ndarray, dtype: str) -> tuple[Any, jax.Array]:
    """Parameters, and the local vectors of the whole track by their definition."""
    params = network.prepare(SPEC, state_of(SPEC), dtype=dtype)

    def convolved(params, x):
        raw = network.first_convolution(SPEC, params, x, dtype=dtype)
        statistics = raw.mean(axis=1), raw.var(axis=1)
        return network.convolve(SPEC, params, x, statistics, dtype=dtype)

    run = jax.jit(convolved)
    return params, run(params, jnp.asarray(waveform.T))


def near(found: np.ndarray, expected: np.ndarray, tolerance: float = 1e-5) -> bool:
    assert found.shape == expected.shape
    return np.abs(found - expected).max() < tolerance * expected.std()


# A whole window of SPEC is in the tests below.
@pytest.mark.slow
@pytest.mark.parametrize(("spec", "samples"), [(SPEC, 400), (LAYERED, WINDOW)])
def test_a_track_of_one_window_equals_the_network(spec, samples):
    waveform = sound_of(samples)
    sound = Sound(waveform)
    found = made(spec).extract(sound)
    (expected,) = whole(spec, waveform)
    assert near(found.features, expected, 2e-5)
    times = np.arange(len(expected)) * 0.02 + 0.0125
    np.testing.assert_allclose(found.times_s, times, rtol=1e-12)
    assert found.features.dtype == np.float32
    assert sound.readings == 2


@pytest.mark.parametrize(
    "normalise", [pytest.param(False, marks=pytest.mark.slow), True]
)
def test_the_convolutional_part_is_that_of_the_whole_track(normalise, monkeypatch):
    """Of a track of several windows and chunks, with normalisation."""
    extractor = made(normalise=normalise)
    waveform = sound_of(RATE * 13 + 77)
    seen = []

    def keep(features, all_windows, meter):
        seen.append(np.concatenate(list(features), axis=1))
        return iter(())

    monkeypatch.setattr(extractor, "_windowed", keep)
    extractor.extract(Sound(waveform))
    wide = waveform.astype(np.float64)
    if normalise:
        wide = (wide - wide.mean()) / np.sqrt(wide.var() + 1e-7)
    with jax.enable_x64(True):
        _, expected = local(wide, "float64")
    assert near(seen[0], np.asarray(expected), 1e-5)


def test_windows_are_the_transformer_on_their_frames():
    extractor = made()
    waveform = sound_of(RATE * 8 + 500)
    found = extractor.extract(Sound(waveform))
    params, features = local(waveform, "float32")
    frames = features.shape[1]
    kept = {0: (0, 120), 90: (120, 210), 180: (210, 300), 251: (300, 401)}
    assert frames == 401

    def transform(x):
        return network.transform(SPEC, params, x)[0][0]

    run = jax.jit(transform)
    outputs = {i: np.asarray(run(features[:, i : i + 150])) for i in kept}
    for start, (first, last) in kept.items():
        expected = outputs[start][first - start : last - start]
        assert near(found.features[first:last], expected, 2e-5)
    differences = []
    for one, two in itertools.pairwise(kept):
        seam = kept[one][1]
        parts = [outputs[i][seam - 15 - i : seam + 15 - i] for i in (one, two)]
        differences.append(parts[0] - parts[1])
    deviation = found.features.std()
    seams = extractor.seams
    assert seams.count == 3
    rms = np.sqrt(np.mean(np.square(differences))) / deviation
    np.testing.assert_allclose(seams.rms, rms, rtol=1e-3)
    worst = np.abs(differences).max() / deviation
    np.testing.assert_allclose(seams.worst, worst, rtol=1e-3)
    extractor.extract(Sound(waveform[:9_000]))
    assert extractor.seams == Seams()


def test_the_seams_are_logged(caplog):
    with caplog.at_level("INFO"):
        logging.set_verbosity(logging.INFO)
        made().extract(Sound(sound_of(RATE * 8)))
    assert "disagree at their 3 seams" in caplog.text


def test_streams_are_bounded_and_equal_the_whole():
    waveform = sound_of(RATE * 14, 2)
    expected = made().extract(Sound(waveform))
    for block in (311, 16_000, 10**9):
        parts = list(made().stream(Sound(waveform, block)))
        assert max(len(part.features) for part in parts) <= 150
        features = np.concatenate([part.features for part in parts])
        np.testing.assert_array_equal(features, expected.features)
        times = np.concatenate([part.times_s for part in parts])
        np.testing.assert_array_equal(times, expected.times_s)


def test_no_more_than_some_seconds_are_read_ahead():
    """What comes out first does not wait for the end of the second reading."""
    read = []

    class Counted(Sound):
        def blocks(self, sample_rate_hz):
            read.append(0)
            for block in super().blocks(sample_rate_hz):
                read[-1] += len(block)
                yield block

    stream = made().stream(Counted(sound_of(RATE * 60)))
    next(stream)
    assert read[0] == RATE * 60
    assert read[1] < RATE * 12
    stream.close()


def test_stereo_before_and_after():
    waveform = sound_of(WINDOW, 2)
    mixed = made().extract(Sound(waveform))
    (expected,) = whole(SPEC, waveform.mean(axis=1, keepdims=True))
    assert near(mixed.features, expected, 2e-5)
    apart = made(stereo="after").extract(Sound(waveform))
    expected = np.mean(whole(SPEC, waveform), axis=0)
    assert near(apart.features, expected, 2e-5)
    assert np.abs(apart.features - mixed.features).max() > 0.01


def test_layers_and_their_mean():
    waveform = sound_of(WINDOW)
    first, second = (whole(SPEC, waveform, i)[0] for i in (0, 2))
    assert near(made(layers=0).extract(Sound(waveform)).features, first, 2e-5)
    both = made.__wrapped__(layers=[0, 2]).extract(Sound(waveform)).features
    assert near(both, (first + second) / 2, 2e-5)


def test_the_original_chunks(monkeypatch):
    monkeypatch.setattr(embed, "ORIGINAL_CHUNK", WINDOW)
    waveform = sound_of(2 * WINDOW + 400, 2)
    extractor = made(chunking="original", stereo="after")
    found = extractor.extract(Sound(waveform))
    parts, times = [], []
    for start in range(0, len(waveform), WINDOW):
        part = np.mean(whole(SPEC, waveform[start : start + WINDOW]), axis=0)
        parts.append(part)
        times.append(start / RATE + np.arange(len(part)) * 0.02 + 0.0125)
    assert [len(part) for part in parts] == [150, 150, 1]
    assert near(found.features, np.concatenate(parts), 2e-5)
    np.testing.assert_allclose(found.times_s, np.concatenate(times))
    tail = extractor.extract(Sound(waveform[: WINDOW + 300]))
    assert len(tail.features) == 150


@pytest.mark.parametrize("normalise", [False, True])
def test_short_silent_and_empty_tracks(normalise):
    extractor = made(normalise=normalise)
    short = extractor.extract(Sound(sound_of(150)))
    padded = extractor.extract(Sound(np.pad(sound_of(150), ((0, 250), (0, 0)))))
    np.testing.assert_array_equal(short.features, padded.features)
    assert short.times_s.tolist() == [0.0125]
    for constant in (0.0, 0.7):
        silent = extractor.extract(Sound(np.full((9_000, 1), constant, np.float32)))
        assert silent.features.shape == (27, 32)
        assert np.isfinite(silent.features).all()
    empty = extractor.extract(Sound(np.zeros((0, 1), np.float32)))
    assert empty.features.shape == (0, 32)
    assert empty.times_s.shape == (0,)


def test_bad_sound_is_an_error():
    extractor = made()
    waveform = sound_of(9_000)
    waveform[5_000] = np.nan
    with pytest.raises(ValueError, match=r"not finite.*expected.*decode"):
        extractor.extract(Sound(waveform))

    class Shrinking(Sound):
        def blocks(self, sample_rate_hz):
            blocks = list(super().blocks(sample_rate_hz))
            return iter(blocks if self.readings == 1 else blocks[:1])

    with pytest.raises(RuntimeError, match=r"ends before.*expected.*decode"):
        extractor.extract(Shrinking(sound_of(50_000)))


def test_options_that_do_not_fit_are_errors():
    for layers in (7, (0, -1), ()):
        with pytest.raises(ValueError, match=r"layers \(.*\); expected.*correct"):
            made(layers=layers)
    with pytest.raises(ValueError, match=r"windows of 2.0 s.*expected.*correct"):
        made(window_s=2.0, overlap_s=1.0)
    for wrong in ({"window_s": math.inf}, {"overlap_s": math.nan}):
        with pytest.raises(ValueError, match=r"windows of .* s.*expected.*take"):
            made(**wrong)
    with pytest.raises(ValueError, match=r"vectors of 768.*expected.*give"):
        Wav2Vec2Extractor(get_extractor("wav2vec2_base"), state_of(SPEC), spec=SPEC)


def test_the_digest_of_the_weights_is_kept():
    assert made(tensors_sha256="5a").weights_sha256 == "5a"


def test_weights_of_another_network_are_an_error():
    tensors = state_of(LAYERED)
    extractor = made().extractor
    with pytest.raises(WeightsError, match=r"conv_layers.0.conv.bias is not a tensor"):
        Wav2Vec2Extractor(extractor, tensors, spec=SPEC)


def test_the_fingerprint_knows_what_decides_the_numbers():
    options = [{}, {"stereo": "after"}, {"layers": 1}, {"window_s": 4.0}]
    options += [{"chunking": "original"}, {"tensors_sha256": "ab"}]
    assert len({made(**own).fingerprint for own in options}) == len(options)


@pytest.mark.slow
def test_nothing_compiles_again_for_another_track():
    """A program for each of few lengths: of the last piece, and of windows."""
    extractor = made.__wrapped__()
    for seconds in (3.1, 7.77, 12.0, 2.9, 2.93, 20.5):
        extractor.extract(Sound(sound_of(int(RATE * seconds))))
    assert extractor._network.convolve_program._cache_size() == 4
    assert extractor._network.transform_program._cache_size() == 1
    for seconds in (1.7, 1.9, 0.3, 1.8, 0.45, 0.41):
        extractor.extract(Sound(sound_of(int(RATE * seconds))))
    assert extractor._network.convolve_program._cache_size() == 6
    assert extractor._network.transform_program._cache_size() == 3
    assert sizes_of(250, 250) == [6, 11, 21, 42, 84, 126, 168, 210, 250]
    assert sizes_of(150, 150) == [4, 7, 13, 25, 50, 75, 100, 125, 150]


@pytest.mark.parametrize(
    ("spec", "dtype"),
    [
        pytest.param(SPEC, "float32", id="group"),
        pytest.param(WAVLM, "bfloat16", id="wavlm"),
        pytest.param(LAYERED, "float32", marks=pytest.mark.slow, id="layer"),
        pytest.param(SPEC, "bfloat16", marks=pytest.mark.slow, id="group, bfloat16"),
        pytest.param(WAVLM, "float32", marks=pytest.mark.release, id="wavlm, float32"),
        pytest.param(
            LAYERED, "bfloat16", marks=pytest.mark.release, id="layer, bfloat16"
        ),
    ],
)
def test_both_programs_lower_for_accelerators(spec, dtype):
    parts = made(spec, dtype=dtype)._network
    waveform = np.zeros((1, RATE), np.float32)
    statistics = parts.statistics(np.zeros((1, 10)), np.zeros((1, 10, 10)))
    features, frames = np.zeros((1, 49, 16), np.float32), np.full(1, 40, np.int32)
    for program, batch, shape in (
        (parts.convolve_program, (waveform, *statistics), (1, 49, 16)),
        (parts.transform_program, (features, frames), (1, 49, 32)),
    ):
        lower = export.export(program, platforms=("tpu", "cuda"))
        exported = lower(parts._params, batch)
        assert exported.platforms == ("tpu", "cuda")
        assert [(a.shape, a.dtype) for a in exported.out_avals] == [(shape, "float32")]
        assert "callback" not in exported.mlir_module()


_ON_FOUR_DEVICES = """
import sys, jax, numpy as np
import test_embed_wav2vec2 as tests
assert jax.local_device_count() == 4
extractor = tests.made(stereo="after")
sound = tests.Sound(tests.sound_of(tests.RATE * 8 + 500, 2))
np.save(sys.argv[1], extractor.extract(sound).features)
"""


@pytest.mark.slow
def test_windows_are_divided_over_all_devices(tmp_path):
    """Two voices of three windows and two chunks, on four devices and on one."""
    flags = "--xla_force_host_platform_device_count=4"
    here = pathlib.Path(__file__).parent
    path = os.pathsep.join((str(here), str(here.parent)))
    environment = {**os.environ, "XLA_FLAGS": flags, "PYTHONPATH": path}
    command = [sys.executable, "-W", "error", "-c", _ON_FOUR_DEVICES]
    path = tmp_path / "features.npy"
    subprocess.run([*command, str(path)], check=True, env=environment, timeout=300)
    sound = Sound(sound_of(RATE * 8 + 500, 2))
    expected = made(stereo="after").extract(sound).features
    assert near(np.load(path), expected, 2e-5)


@given(
    st.integers(0, 3_000), st.integers(1, 300), st.integers(0, 200), st.integers(1, 400)
)
def test_windows_keep_each_frame_once(frames, window, overlap, longest):
    overlap = min(overlap, (window - 1) // 2)
    all_windows = windows_of(frames, window=window, overlap=overlap)
    kept = [i for w in all_windows for i in range(w.keep_from, w.keep_to)]
    assert kept == list(range(frames))
    for w in all_windows:
        assert w.stop - w.start == min(window, frames)
        assert 0 <= w.start <= w.keep_from < w.keep_to <= w.stop <= frames
        assert w.start == 0 or w.keep_from - w.start >= overlap
        assert w.stop == frames or w.stop - w.keep_to >= overlap
    longest = max(longest, window)
    sizes = sizes_of(window, longest)
    assert all(padded_size(n, sizes) >= n for n in range(1, longest + 1))
    assert sizes[-1] == longest
    assert len(sizes) <= 9 + math.ceil(math.log2(longest / window) + 1)


@settings(deadline=None)
@given(
    st.integers(0, 5_000), st.integers(1, 999), st.integers(1, 40), st.integers(0, 9)
)
def test_pieces_are_the_track(samples, block, size, overlap):
    waveform = sound_of(samples, 2)
    track = Track(Sound(waveform, block), RATE, "after", 0)
    size *= 50
    pieces = list(track.pieces(size, overlap))
    for i, piece in enumerate(pieces):
        expected = waveform[i * size :][: size + overlap].T
        np.testing.assert_array_equal(piece, expected)
    assert len(pieces) == -(-samples // size)


def test_statistics_are_those_of_the_first_convolution():
    """In float64, of a loud offset and little else, as their definition has them."""
    waveform = 0.6 + 1e-3 * sound_of(700_000)
    found = survey(Track(Sound(waveform), RATE, "before", 400), SPEC)
    params = network.prepare(SPEC, state_of(SPEC))
    mean, variance = network.first_statistics(
        params, found.patches.mean, found.patches.covariance
    )
    weight = params["convolutions"]["layers"]["0"]["weight"][:, 0].astype(np.float64)
    views = np.lib.stride_tricks.sliding_window_view(waveform[:, 0], 10)[::5]
    raw = views.astype(np.float64) @ weight
    assert found.samples == 700_000
    assert found.patches.count == len(raw) == (700_000 - 10) // 5 + 1
    np.testing.assert_allclose(mean[0], raw.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(variance[0], raw.var(axis=0), rtol=1e-8)


def test_moments_in_parts_are_those_of_all():
    rng = np.random.default_rng(0)
    vectors = 100 + rng.standard_normal((2, 5_000, 3))
    moments = Moments(2, 3)
    for part in np.split(vectors, [0, 1, 7, 4_500], axis=1):
        moments.add(part)
    np.testing.assert_allclose(moments.mean, vectors.mean(axis=1), rtol=1e-13)
    for own, covariance in zip(vectors, moments.covariance, strict=True):
        expected = np.cov(own.T, bias=True)
        np.testing.assert_allclose(covariance, expected, rtol=1e-10)
