"""WavLM's gated biases of distances, against transformers."""

import dataclasses
import math

import jax
import numpy as np
import pytest
from reference.torch_libraries import import_transformers
from reference.wav2vec2 import outputs_of, random_state, reference

from avemo_jax.extractors import EXTRACTORS, wav2vec2
from avemo_jax.extractors.transformer_encoder import CPU_QUERIES
from avemo_jax.extractors.wav2vec2_spec import SPECS, Wav2Vec2Spec
from avemo_jax.extractors.wav2vec2_transformer import by_distance

TINY = Wav2Vec2Spec(
    conv_dims=(8, 8, 8, 8, 8, 8, 12),
    hidden_size=16,
    num_layers=2,
    num_heads=2,
    ffn_dim=24,
    pos_kernel=20,
    pos_groups=4,
    position_buckets=32,
    max_distance=60,
)
TINY_LAYER = dataclasses.replace(
    TINY, feat_extract_norm="layer", do_stable_layer_norm=True
)
run = jax.jit(wav2vec2.apply, static_argnums=0, static_argnames=("layers", "dtype"))


def sound(*shape: int) -> np.ndarray:
    return np.random.default_rng(9).uniform(-1, 1, shape).astype(np.float32)


@pytest.mark.parity
@pytest.mark.parametrize(
    "spec",
    [
        pytest.param(TINY, id="group"),
        pytest.param(TINY_LAYER, marks=pytest.mark.slow, id="layer"),
    ],
)
def test_a_tiny_network_equals_transformers(spec):
    state, waveform = random_state(spec, 1), sound(2, 30_000)
    layers = (*range(spec.num_layers + 1), "last")
    found = run(spec, wav2vec2.prepare(spec, state), waveform, layers=layers)
    expected = outputs_of(reference(spec, state), waveform)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape
        assert np.abs(ours - theirs).max() < 2e-5 * theirs.std()


@pytest.mark.release
@pytest.mark.parity
@pytest.mark.parametrize("network", ["wavlm_base", "wavlm_large"])
def test_the_published_sizes_equal_transformers(network):
    spec = SPECS[network]
    state, waveform = random_state(spec, 2), sound(1, 16_000)
    params = wav2vec2.prepare(spec, state)
    (found,) = run(spec, params, waveform)
    expected = outputs_of(reference(spec, state), waveform)[-1]
    assert np.abs(found - expected).max() < 2e-5 * expected.std()


@pytest.mark.slow
@pytest.mark.parity
def test_queries_in_several_blocks_equal_transformers():
    """A track of more frames than a CPU takes at a time, which are not even."""
    state = random_state(TINY, 3)
    waveform = sound(1, TINY.samples_for(CPU_QUERIES + 20 + 1))
    (found,) = run(TINY, wav2vec2.prepare(TINY, state), waveform)
    expected = outputs_of(reference(TINY, state), waveform)[-1]
    assert np.abs(found - expected).max() < 2e-5 * expected.std()


@pytest.mark.parity
def test_buckets_are_the_references():
    torch = pytest.importorskip("torch")
    made = import_transformers().models.wavlm.modeling_wavlm.WavLMAttention(16, 2)
    distances = np.arange(-2000, 2001)
    expected = made._relative_positions_bucket(torch.from_numpy(distances)).numpy()
    found = SPECS["wavlm_base"].buckets_of(distances)
    assert np.array_equal(found, expected)
    assert (found.min(), found.max()) == (0, 319)


def test_values_by_distance():
    frames = 5
    values = np.random.default_rng(0).normal(size=(2 * frames - 1, 3))
    found = by_distance(jax.numpy.asarray(values), frames)
    for query in range(frames):
        for key in range(frames):
            expected = values[key - query + frames - 1]
            assert np.allclose(found[:, query, key], expected)


@pytest.mark.slow
def test_a_padded_track_comes_out_as_alone():
    params = wav2vec2.prepare(TINY, random_state(TINY, 4))
    waveform = sound(2, 9_000)
    samples = np.array([9_000, 5_000])
    (both,) = run(TINY, params, waveform, samples=samples)
    (alone,) = run(TINY, params, waveform[1:, :5_000])
    assert np.allclose(both[1, : alone.shape[1]], alone[0], atol=2e-5)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("wavlm_base_plus", 94_381_936),
        ("wavlm_large", 315_453_120),
        ("wav2vec2_xls_r_300m", 315_438_720),
    ],
)
def test_as_many_parameters_as_published(name, count):
    extractor = EXTRACTORS[name]
    spec = SPECS[extractor.network]
    assert extractor.dim == spec.hidden_size
    shapes = wav2vec2.state_shapes(spec)
    assert sum(math.prod(shape) for shape in shapes.values()) == count
