"""WavLM's gated biases of distances, against transformers."""

import dataclasses
import math

import jax
import numpy as np
import pytest
from reference.torch_libraries import import_transformers

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
STATIC = {"static_argnums": 0, "static_argnames": ("layers", "dtype")}
# Of the small networks, whose time is compilation, machine code need not be good.
QUICKLY = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
}
run = jax.jit(wav2vec2.apply, compiler_options=QUICKLY, **STATIC)


def random_state(spec: Wav2Vec2Spec, seed: int) -> dict[str, np.ndarray]:
    """Weights that keep values near 1 through the network, and biases that matter."""
    rng = np.random.default_rng(seed)
    state = {}
    for name, shape in wav2vec2.state_shapes(spec).items():
        value = rng.standard_normal(shape)
        if name.endswith(("weight_g", "norm.weight", "pos_const")):
            value = 1 + 0.2 * value
        elif name.endswith("bias"):
            value = 0.2 * value
        elif len(shape) > 1 and "rel_attn_embed" not in name:
            value = value * math.sqrt(1.5 / math.prod(shape[1:]))
        state[name] = value.astype(np.float32)
    return state


def by_transformers(spec, state, waveform) -> list[np.ndarray]:
    """Hidden states 0 to the last, then the network's output."""
    torch = pytest.importorskip("torch")
    transformers = import_transformers()
    config = transformers.WavLMConfig(
        hidden_size=spec.hidden_size,
        num_hidden_layers=spec.num_layers,
        num_attention_heads=spec.num_heads,
        intermediate_size=spec.ffn_dim,
        conv_dim=spec.conv_dims,
        conv_kernel=spec.conv_kernels,
        conv_stride=spec.conv_strides,
        conv_bias=spec.conv_bias,
        feat_extract_norm=spec.feat_extract_norm,
        do_stable_layer_norm=spec.do_stable_layer_norm,
        num_conv_pos_embeddings=spec.pos_kernel,
        num_conv_pos_embedding_groups=spec.pos_groups,
        num_buckets=spec.position_buckets,
        max_bucket_distance=spec.max_distance,
    )
    net = transformers.WavLMModel(config).eval()
    renamed = {
        name.replace("weight_g", "parametrizations.weight.original0").replace(
            "weight_v", "parametrizations.weight.original1"
        ): torch.from_numpy(x)
        for name, x in state.items()
    }
    net.load_state_dict(renamed, strict=True)
    with torch.inference_mode():
        found = net(torch.from_numpy(waveform), output_hidden_states=True)
    return [x.numpy() for x in (*found.hidden_states, found.last_hidden_state)]


def sound(*shape: int) -> np.ndarray:
    return np.random.default_rng(9).uniform(-1, 1, shape).astype(np.float32)


@pytest.mark.parity
@pytest.mark.parametrize("spec", [TINY, TINY_LAYER], ids=["group", "layer"])
def test_a_tiny_network_equals_transformers(spec):
    state, waveform = random_state(spec, 1), sound(2, 30_000)
    layers = (*range(spec.num_layers + 1), "last")
    found = run(spec, wav2vec2.prepare(spec, state), waveform, layers=layers)
    expected = by_transformers(spec, state, waveform)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape
        assert np.abs(ours - theirs).max() < 2e-5 * theirs.std()


@pytest.mark.slow
@pytest.mark.parity
@pytest.mark.parametrize("network", ["wavlm_base", "wavlm_large"])
def test_the_published_sizes_equal_transformers(network):
    spec = SPECS[network]
    state, waveform = random_state(spec, 2), sound(1, 16_000)
    params = wav2vec2.prepare(spec, state)
    (found,) = jax.jit(wav2vec2.apply, **STATIC)(spec, params, waveform)
    expected = by_transformers(spec, state, waveform)[-1]
    assert np.abs(found - expected).max() < 2e-5 * expected.std()


@pytest.mark.parity
def test_queries_in_several_blocks_equal_transformers():
    """A track of more frames than a CPU takes at a time, which are not even."""
    state = random_state(TINY, 3)
    waveform = sound(1, TINY.samples_for(CPU_QUERIES + 20 + 1))
    (found,) = run(TINY, wav2vec2.prepare(TINY, state), waveform)
    expected = by_transformers(TINY, state, waveform)[-1]
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
