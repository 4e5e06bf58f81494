"""wav2vec 2.0 against transformers, and its parts against their definitions."""

import dataclasses
import math
import pathlib
from typing import Any

import jax
import numpy as np
import pytest
from reference.torch_libraries import import_transformers

from avemo_jax.extractors import wav2vec2
from avemo_jax.extractors.wav2vec2 import BASE, Wav2Vec2Spec

TINY = Wav2Vec2Spec(
    conv_dims=(16, 24, 16, 16, 16, 16, 20),
    hidden_size=32,
    num_layers=3,
    num_heads=4,
    ffn_dim=48,
    pos_kernel=20,
    pos_groups=4,
)
TINY_LAYER = dataclasses.replace(
    TINY, feat_extract_norm="layer", do_stable_layer_norm=True, conv_bias=True
)
TINY_BIASED = dataclasses.replace(TINY, conv_bias=True)
SPECS = {"group": TINY, "layer": TINY_LAYER, "group_biased": TINY_BIASED}
GOLDEN = pathlib.Path(__file__).parent / "golden" / "wav2vec2.npz"


def random_state(spec: Wav2Vec2Spec, seed: int) -> dict[str, np.ndarray]:
    """Weights that keep values near 1 through the network, and norms that matter."""
    rng = np.random.default_rng(seed)
    state = {}
    for name, shape in wav2vec2.state_shapes(spec).items():
        value = rng.standard_normal(shape).astype(np.float32)
        if name.endswith(("weight_g", "norm.weight")):
            value = 1 + 0.2 * value
        elif name.endswith("bias"):
            value = 0.2 * value
        elif len(shape) > 1:
            value = value * math.sqrt(1.5 / math.prod(shape[1:]))
        state[name] = value.astype(np.float32)
    return state


def reference(spec: Wav2Vec2Spec, state: dict[str, np.ndarray]) -> Any:
    """transformers' network with these weights."""
    transformers, torch = import_transformers(), pytest.importorskip("torch")
    config = transformers.Wav2Vec2Config(
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
    )
    model = transformers.Wav2Vec2Model(config).eval()
    renamed = {
        name.replace("weight_g", "parametrizations.weight.original0").replace(
            "weight_v", "parametrizations.weight.original1"
        ): torch.from_numpy(x)
        for name, x in state.items()
    }
    model.load_state_dict(renamed, strict=True)
    return model


def outputs_of(model: Any, waveform: np.ndarray) -> tuple[np.ndarray, ...]:
    """Hidden states 0 to the last, then the network's output."""
    torch = pytest.importorskip("torch")
    with torch.inference_mode():
        found = model(torch.from_numpy(waveform), output_hidden_states=True)
    return tuple(x.numpy() for x in (*found.hidden_states, found.last_hidden_state))


def all_layers(spec: Wav2Vec2Spec) -> tuple[wav2vec2.Layer, ...]:
    return (*range(spec.num_layers + 1), "last")


def applied(spec: Wav2Vec2Spec, params: Any, waveform: Any, **options: Any) -> list:
    run = jax.jit(lambda p, x: wav2vec2.apply(spec, p, x, **options))
    return [np.asarray(x) for x in run(params, waveform)]


def sound(seed: int, *shape: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal(shape).astype(np.float32)
    return (0.1 * np.cumsum(noise, axis=-1) % 1 - 0.4 + 0.1 * noise).astype(np.float32)


def assert_near(found: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < tolerance * expected.std()


@pytest.mark.parity
@pytest.mark.parametrize("name", SPECS)
def test_tiny_networks_equal_transformers(name):
    spec = SPECS[name]
    state, waveform = random_state(spec, 1), sound(2, 2, 9_000)
    expected = outputs_of(reference(spec, state), waveform)
    params = wav2vec2.prepare(spec, state)
    found = applied(spec, params, waveform, layers=all_layers(spec))
    assert len(found) == len(expected) == spec.num_layers + 2
    for ours, theirs in zip(found, expected, strict=True):
        assert_near(ours, theirs, 2e-5)


@pytest.mark.parity
@pytest.mark.parametrize("name", ["group", "layer"])
def test_base_equals_transformers(name):
    spec = BASE
    if name == "layer":
        spec = dataclasses.replace(
            BASE, feat_extract_norm="layer", do_stable_layer_norm=True, conv_bias=True
        )
    state, waveform = random_state(spec, 3), sound(4, 1, 16_000)
    model = reference(spec, state)
    expected = outputs_of(model, waveform)
    count = sum(p.numel() for p in model.parameters())
    assert count == sum(x.size for x in state.values())
    params = wav2vec2.prepare(spec, state)
    layers = (0, 6, "last")
    found = applied(spec, params, waveform, layers=layers)
    for i, ours in zip((0, 6, -1), found, strict=True):
        assert_near(ours, expected[i], 2e-5)
    (rough,) = applied(spec, params, waveform, dtype="bfloat16")
    dots = (rough * expected[-1]).sum(-1)
    norms = np.linalg.norm(rough, axis=-1) * np.linalg.norm(expected[-1], axis=-1)
    assert (dots / norms).min() > 0.999
    assert rough.dtype == np.float32


def test_base_has_as_many_parameters_as_published():
    shapes = wav2vec2.state_shapes(BASE)
    assert sum(math.prod(shape) for shape in shapes.values()) == 94_371_712
    assert (BASE.hop, BASE.receptive_field) == (320, 400)
    assert [BASE.frames_in(n) for n in (399, 400, 719, 720)] == [0, 1, 1, 2]
    assert BASE.frames_in(320_000) == 999
    assert BASE.samples_for(999) == 319_760
