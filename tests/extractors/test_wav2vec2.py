"""wav2vec 2.0 against transformers, and its parts against their definitions."""

import dataclasses
import math
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from reference.wav2vec2 import outputs_of, random_state, reference

from avemo_jax.extractors import wav2vec2
from avemo_jax.extractors.transformer_layers import gelu
from avemo_jax.extractors.wav2vec2 import BASE, Wav2Vec2Spec

TINY = Wav2Vec2Spec(
    conv_dims=(16, 24, 16, 16, 16, 16, 20),
    hidden_size=32,
    num_layers=2,
    num_heads=4,
    ffn_dim=48,
    pos_kernel=20,
    pos_groups=4,
)
TINY_LAYER = dataclasses.replace(
    TINY, feat_extract_norm="layer", do_stable_layer_norm=True, conv_bias=True
)
TINY_BIASED = dataclasses.replace(TINY, conv_bias=True)
BASE_LAYER = dataclasses.replace(
    BASE, feat_extract_norm="layer", do_stable_layer_norm=True, conv_bias=True
)
SPECS = {"group": TINY, "layer": TINY_LAYER, "group_biased": TINY_BIASED}
GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "wav2vec2.npz"


def all_layers(spec: Wav2Vec2Spec) -> tuple[wav2vec2.Wav2Vec2LayerIndex, ...]:
    return (*range(spec.num_layers + 1), "last")


# One program for equal options and shapes, which tests therefore share.
run = jax.jit(wav2vec2.apply, static_argnums=0, static_argnames=("layers", "dtype"))


def applied(spec: Wav2Vec2Spec, params: Any, waveform: Any, **options: Any) -> list:
    """By default all layers, the network's output last."""
    options = {"layers": all_layers(spec), **options}
    found = run(spec, params, waveform, **options)
    return [np.asarray(x) for x in found]


def sound(seed: int, *shape: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal(shape).astype(np.float32)
    return (0.1 * np.cumsum(noise, axis=-1) % 1 - 0.4 + 0.1 * noise).astype(np.float32)


def assert_near(found: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < tolerance * expected.std()


@pytest.mark.parity
@pytest.mark.parametrize(
    "name", ["group", pytest.param("layer", marks=pytest.mark.slow)]
)
def test_tiny_networks_equal_transformers(name):
    spec = SPECS[name]
    state, waveform = random_state(spec, 1), sound(2, 2, 9_000)
    expected = outputs_of(reference(spec, state), waveform)
    params = wav2vec2.prepare(spec, state)
    found = applied(spec, params, waveform)
    assert len(found) == len(expected) == spec.num_layers + 2
    for ours, theirs in zip(found, expected, strict=True):
        assert_near(ours, theirs, 2e-5)


@dataclasses.dataclass
class Base:
    """A base network, a sound, and layers 0, 6 and the output in float32."""

    spec: Wav2Vec2Spec
    state: dict[str, np.ndarray]
    params: Any
    waveform: np.ndarray
    found: list[np.ndarray]


@pytest.fixture(
    scope="module",
    params=["group", pytest.param("layer", marks=pytest.mark.release)],
)
def base(request):
    spec = BASE if request.param == "group" else BASE_LAYER
    state, waveform = random_state(spec, 3), sound(4, 1, 16_000)
    params = jax.device_put(wav2vec2.prepare(spec, state))
    found = applied(spec, params, waveform, layers=(0, 6, "last"))
    return Base(spec, state, params, waveform, found)


@pytest.mark.slow
@pytest.mark.parity
def test_base_equals_transformers(base):
    model = reference(base.spec, base.state)
    expected = outputs_of(model, base.waveform)
    count = sum(p.numel() for p in model.parameters())
    assert count == sum(x.size for x in base.state.values())
    for i, ours in zip((0, 6, -1), base.found, strict=True):
        assert_near(ours, expected[i], 2e-5)


@pytest.mark.release
def test_base_in_bfloat16_is_near_float32(base):
    own = {"layers": ("last",), "dtype": "bfloat16"}
    (found,) = applied(base.spec, base.params, base.waveform, **own)
    assert least_cosine(found, base.found[-1]) > 0.999


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["group", pytest.param("layer", marks=pytest.mark.release)]
)
def test_bfloat16_is_near_float32(name):
    spec, waveform = SPECS[name], sound(18, 2, 9_000)
    params = wav2vec2.prepare(spec, random_state(spec, 17))
    exact = applied(spec, params, waveform)[-1]
    (found,) = applied(spec, params, waveform, layers=("last",), dtype="bfloat16")
    assert least_cosine(found, exact) > 0.999


def least_cosine(found: np.ndarray, exact: np.ndarray) -> float:
    """Of a vector in bfloat16 and the same in float32."""
    assert found.dtype == np.float32
    norms = np.linalg.norm(found, axis=-1) * np.linalg.norm(exact, axis=-1)
    return float(((found * exact).sum(-1) / norms).min())


def test_base_has_as_many_parameters_as_published():
    shapes = wav2vec2.state_shapes(BASE)
    assert sum(math.prod(shape) for shape in shapes.values()) == 94_371_712
    assert (BASE.hop, BASE.receptive_field) == (320, 400)
    assert [BASE.frames_in(n) for n in (399, 400, 719, 720)] == [0, 1, 1, 2]
    assert BASE.frames_in(320_000) == 999
    assert BASE.samples_for(999) == 319_760


@pytest.mark.parity
@pytest.mark.parametrize(
    "name",
    [
        *("group", "layer"),
        pytest.param("group_biased", marks=pytest.mark.release),
    ],
)
@pytest.mark.slow
def test_blocks_equal_transformers_in_float64(name):
    spec = SPECS[name]
    state = random_state(spec, 5)
    waveform = sound(6, 1, 5_000).astype(np.float64)
    model = reference(spec, state).double()
    expected = outputs_of(model, waveform)
    torch = pytest.importorskip("torch")
    with torch.inference_mode():
        local = model.feature_extractor(torch.from_numpy(waveform)).numpy()
        first = model.feature_extractor.conv_layers[0].conv(
            torch.from_numpy(waveform)[:, None]
        )
    with jax.enable_x64(True):
        params = wav2vec2.prepare(spec, state, dtype="float64")
        wide = jnp.asarray(waveform)
        options = {"layers": all_layers(spec), "dtype": "float64"}

        def parts(params, wide):
            raw = wav2vec2.first_convolution(spec, params, wide, dtype="float64")
            statistics = None
            if spec.feat_extract_norm == "group":
                statistics = raw.mean(axis=1), raw.var(axis=1)
            ours = wav2vec2.convolve(spec, params, wide, statistics, dtype="float64")
            found = wav2vec2.transform(spec, params, ours, **options)
            return raw, ours, found, wav2vec2.apply(spec, params, wide, **options)

        run_parts = jax.jit(parts)
        raw, ours, found, whole = run_parts(params, wide)
    close = {"rtol": 1e-9, "atol": 1e-11}
    np.testing.assert_allclose(raw, first.numpy().transpose(0, 2, 1), **close)
    np.testing.assert_allclose(ours, local.transpose(0, 2, 1), **close)
    for mine, again, theirs in zip(found, whole, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, **close)
        np.testing.assert_allclose(again, theirs, **close)


@pytest.mark.numeric
def test_a_golden_file_of_transformers_outputs():
    """Made by ``write_golden`` below."""
    with np.load(GOLDEN) as file:
        kept = dict(file)
    state = {k[6:]: v.astype(np.float32) for k, v in kept.items() if k[:6] == "state/"}
    waveform = kept["waveform"].astype(np.float32)
    params = wav2vec2.prepare(TINY, state)
    first, second, _, last = applied(TINY, params, waveform)
    for ours, theirs in zip((first, second, last), kept["outputs"], strict=True):
        assert_near(ours, theirs, 2e-5)


def write_golden() -> None:
    """Needs the extra 'parity'; weights and sound rounded to float16."""
    state = {k: v.astype(np.float16) for k, v in random_state(TINY, 7).items()}
    waveform = sound(8, 1, 3_000).astype(np.float16)
    rounded = {name: x.astype(np.float32) for name, x in state.items()}
    found = outputs_of(reference(TINY, rounded), waveform.astype(np.float32))
    kept = {f"state/{name}": x for name, x in state.items()}
    outputs = np.stack([found[0], found[1], found[-1]])
    np.savez_compressed(GOLDEN, waveform=waveform, outputs=outputs, **kept)


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("group", (9_000, 3_000)),
        pytest.param("group", (9_000, 3_000, 400), marks=pytest.mark.slow),
        pytest.param("layer", (9_000, 3_000), marks=pytest.mark.slow),
    ],
)
def test_padded_tracks_come_out_as_alone(name, counts):
    spec = SPECS[name]
    params = wav2vec2.prepare(spec, random_state(spec, 9))
    waveform = sound(10, len(counts), 9_000)
    found = applied(spec, params, waveform, samples=np.array(counts, np.int32))[-1]
    for row, own, count in zip(found[1:], waveform[1:], counts[1:], strict=True):
        alone = applied(spec, params, own[None, :count])[-1]
        assert_near(row[: alone.shape[1]], alone[0], 2e-5)
    assert np.isfinite(found).all()


def test_statistics_of_a_long_track_are_exact():
    """Several blocks, of which the last is short, of a sound with an offset."""
    params = wav2vec2.prepare(TINY_BIASED, random_state(TINY_BIASED, 11))
    waveform = 0.5 + 0.05 * sound(12, 1, 120_000)
    steps = np.array([(100_000 - 10) // 5 + 1], np.int32)
    module = wav2vec2._merged(TINY_BIASED, params, "convolutions", "float32")
    mean, variance = jax.jit(module.statistics)(waveform, steps)
    layer = params["convolutions"]["layers"]["0"]
    views = np.lib.stride_tricks.sliding_window_view(waveform[0, :100_000], 10)[::5]
    raw = views.astype(np.float64) @ layer["weight"][:, 0] + layer["bias"]
    np.testing.assert_allclose(mean[0], raw.mean(axis=0), rtol=2e-6, atol=2e-6)
    np.testing.assert_allclose(variance[0], raw.var(axis=0), rtol=2e-5)


@pytest.mark.slow
def test_what_accelerators_run_is_what_a_cpu_runs(monkeypatch):
    """Both ways of every part, here on a CPU."""
    params = wav2vec2.prepare(TINY, random_state(TINY, 13))
    waveform = sound(14, 3, 9_000)
    counts = np.array([9_000, 5_000, 400], np.int32)
    expected = applied(TINY, params, waveform, samples=counts)[-1]
    monkeypatch.setattr(
        jax.lax, "platform_dependent", lambda *x, cpu, default: default(*x)
    )
    # A new function: jit would know the old one.
    other = jax.jit(
        lambda p, x, n: wav2vec2.apply(TINY, p, x, samples=n)[0],
    )
    found = np.asarray(other(params, waveform, counts))
    there = [27, 15, 1]
    for ours, theirs, count in zip(found, expected, there, strict=True):
        assert_near(ours[:count], theirs[:count], 2e-5)
    # The way of a CPU has other sums, so that equal bits would be the same way twice.
    assert not np.array_equal(found[0], expected[0])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_export_for_accelerators_without_one(dtype):
    params = wav2vec2.prepare(TINY, random_state(TINY, 15))
    run = jax.jit(lambda p, x: wav2vec2.apply(TINY, p, x, dtype=dtype))
    waveform = sound(16, 2, 9_000)
    exported = export.export(run, platforms=("tpu", "cuda"))(params, waveform)
    assert exported.platforms == ("tpu", "cuda")
    assert exported.mlir_module().count("stablehlo.convolution") >= 8
    here = export.export(run, platforms=("cpu",))(params, waveform)
    assert "stablehlo.convolution" not in here.mlir_module()


def test_gelu_is_the_exact_one():
    x = np.linspace(-12, 12, 4_801)
    expected = np.array([0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in x])
    found = np.asarray(jax.jit(gelu)(x.astype(np.float32)))
    assert np.abs(found - expected).max() < 1e-6
    with jax.enable_x64(True):
        np.testing.assert_allclose(gelu(jnp.asarray(x)), expected, atol=1e-14)


def test_wrong_weights_are_named():
    state = random_state(TINY, 19)
    del state["encoder.layers.1.layer_norm.bias"]
    state["more"] = np.zeros(3, np.float32)
    state["encoder.layer_norm.weight"] = np.zeros(5, np.float32)
    with pytest.raises(ValueError, match="weights of another network") as caught:
        wav2vec2.prepare(TINY, state)
    for part in (
        "encoder.layer_norm.weight is (5,), expected (32,)",
        "encoder.layers.1.layer_norm.bias is missing",
        "more is not a tensor of this network",
        "expected a wav2vec 2.0",
        "pass the weights",
    ):
        assert part in str(caught.value)


def test_the_mask_embedding_may_be_missing():
    state = random_state(TINY, 20)
    del state["masked_spec_embed"]
    assert set(wav2vec2.prepare(TINY, state)) == {"convolutions", "transformer"}


@pytest.mark.parametrize("layers", [(3,), (-1,), ()])
def test_layers_that_are_not_there_are_errors(layers):
    params = wav2vec2.prepare(TINY, random_state(TINY, 21))
    with pytest.raises(ValueError, match=r"expected some of 0 to 2, or 'last'"):
        wav2vec2.apply(TINY, params, jnp.zeros((1, 400)), layers=layers)
