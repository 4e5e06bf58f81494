"""EfficientNet against timm's, with random weights and random running statistics.

``python tests/test_efficientnet.py`` writes ``tests/golden/efficientnet.npz`` anew,
from which one test checks the network where there is no PyTorch.
"""

import dataclasses
import functools
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.efficientnet import expected_of, random_network
from reference.torch_libraries import state_of

from avemo_jax.embed.devices import on_all_devices
from avemo_jax.extractors import EXTRACTORS, efficientnet
from avemo_jax.extractors.convolutions import Depthwise, Stem, same_padding
from avemo_jax.extractors.efficientnet import EfficientNetSpec
from avemo_jax.extractors.efficientnet_layers import Block

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "efficientnet.npz"
TINY = EfficientNetSpec("tiny", 3)
FORMS = ("local", "whole")


run = jax.jit(efficientnet.apply, static_argnums=0, static_argnames="dtype")


def run_form(form, spec, params, images):
    """Embeddings as one of the two kinds of platform computes them."""
    function = {"local": efficientnet._in_parts, "whole": efficientnet._whole}[form]
    return jax.jit(functools.partial(function, spec))(params, images)


def pictures(num, height, width, seed=0):
    """Smooth and unlike each other: a network's last layers see nothing in noise."""
    torch = pytest.importorskip("torch", reason="needs the extra 'parity'")
    generator = torch.Generator().manual_seed(seed)
    x = torch.zeros(num, 3, height, width)
    for side in (2, 4, 8, 16, 32):
        coarse = torch.randn(num, 3, side, side, generator=generator)
        fine = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
        x += fine / 2
    return x


def channels_last(images):
    return np.ascontiguousarray(images.permute(0, 2, 3, 1).numpy())


def cosines(a, b):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    norms = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return (a * b).sum(axis=-1) / norms


@functools.cache
def golden():
    """The small network's spec, params, images, and what timm gives for them."""
    with np.load(GOLDEN) as file:
        state = {
            name.removeprefix("state/"): file[name].astype(np.float32)
            for name in file.files
            if name.startswith("state/")
        }
        kept = {name: file[name] for name in ("images", "features", "outputs")}
    kept["images"] = kept["images"].astype(np.float32)
    return efficientnet.prepare(TINY, state), kept


@pytest.mark.numeric
def test_golden_network():
    params, kept = golden()
    features, outputs = run(TINY, params, kept["images"])
    assert features.dtype == outputs.dtype == np.float32
    for got, name in ((features, "features"), (outputs, "outputs")):
        limit = 2e-5 * kept[name].std()
        np.testing.assert_allclose(got, kept[name], rtol=0, atol=limit)


@pytest.mark.numeric
@pytest.mark.parametrize(
    "form",
    # of the local one, the test above
    ["whole", pytest.param("local", marks=pytest.mark.slow)],
)
def test_each_form_gives_the_golden_embeddings(form):
    params, kept = golden()
    got = run_form(form, TINY, params, kept["images"])
    limit = 2e-5 * kept["features"].std()
    np.testing.assert_allclose(got, kept["features"], rtol=0, atol=limit)


@pytest.mark.slow
def test_bfloat16_keeps_the_direction():
    """As accelerators compute it, which are those that round."""
    params, kept = golden()
    got = run_form("whole", TINY, params, jnp.asarray(kept["images"], jnp.bfloat16))
    assert got.dtype == np.float32
    assert cosines(got, kept["features"]).min() > 0.999


@pytest.mark.parametrize(
    ("variant", "params", "dim"), [("b0", 4_007_548, 1280), ("b2", 7_700_994, 1408)]
)
def test_parameter_counts(variant, params, dim):
    spec = EfficientNetSpec(variant, 0)
    assert efficientnet.num_params(spec) == params
    assert spec.dim == dim
    with_head = EfficientNetSpec(variant, 8)
    assert efficientnet.num_params(with_head) == params + 8 * dim + 8


def test_dims_are_those_of_the_table():
    entries = [e for e in EXTRACTORS.values() if e.network.startswith("efficientnet")]
    assert len(entries) == 4
    for entry in entries:
        variant = entry.network.removeprefix("efficientnet_")
        assert EfficientNetSpec(variant, entry.output_dim).dim == entry.dim


@pytest.mark.slow
def test_a_network_without_classifier():
    params, kept = golden()
    spec = dataclasses.replace(TINY, num_outputs=0)
    bare = {name: value for name, value in params.items() if name != "classifier"}
    features, outputs = run(spec, bare, kept["images"])
    assert outputs.shape == (len(features), 0)
    np.testing.assert_array_equal(features, run(TINY, params, kept["images"])[0])


@pytest.mark.slow
@pytest.mark.parametrize("num", [0, 5])
def test_rows_do_not_depend_on_the_batch(num, monkeypatch):
    """With small parts of two images, as at 224 pixels."""
    params, kept = golden()
    monkeypatch.setattr(efficientnet, "_FIRST_PIXELS", 2 * 40 * 40)
    base = kept["images"][:, :40, :40]
    images = np.concatenate([base * (1 + 0.1 * i) for i in range(5)])[:num]
    got = run_form("local", TINY, params, images)
    expected = run_form("whole", TINY, params, images)
    assert got.shape == (num, TINY.dim)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


@given(num=st.integers(0, 3000), side=st.integers(32, 1200))
@settings(deadline=None, max_examples=300)
def test_parts_hold_all_images_and_little_more(num, side):
    small, smalls, larges = efficientnet._parts(num, side * side)
    assert small * smalls * larges >= num
    assert small * smalls <= 2 * efficientnet._MICRO_BATCH - 1
    assert small * smalls * larges - num < small * (larges + 1)
    assert small * side * side < 2 * 224 * 224 + side * side


def test_runs_divided_over_devices():
    params, kept = golden()
    images = kept["images"]
    divided = on_all_devices(functools.partial(efficientnet.apply, TINY))
    for got, expected in zip(
        divided(params, images), run(TINY, params, images), strict=True
    ):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "platform", ["tpu", pytest.param("cuda", marks=pytest.mark.slow), "cpu"]
)
def test_each_platform_gets_its_form(platform):
    """One convolution by channel for each block; on a CPU no convolution at all."""
    params, _ = golden()
    function = jax.jit(functools.partial(efficientnet.apply, TINY))
    images = jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.float32)
    exported = jax.export.export(function, platforms=[platform])(params, images)
    assert exported.platforms == (platform,)
    text = exported.mlir_module()
    groups = [int(g) for g in re.findall(r"feature_group_count = (\d+)", text)]
    channels = [block.expanded for stage in TINY.stages for block in stage]
    assert groups == ([] if platform == "cpu" else [1, *channels])
    assert text.count("stablehlo.convolution") == len(groups)


@pytest.mark.release
@pytest.mark.parametrize(
    ("platform", "dtype"), [("tpu", "bfloat16"), ("cuda", "float32")]
)
def test_the_large_network_exports(platform, dtype):
    spec = EfficientNetSpec("b2", 8)
    shapes = efficientnet.state_shapes(spec)
    state = {name: np.ones(shape, np.float32) for name, shape in shapes.items()}
    params = efficientnet.prepare(spec, state)
    function = jax.jit(functools.partial(efficientnet.apply, spec, dtype=dtype))
    images = jax.ShapeDtypeStruct((2, 224, 224, 3), jnp.float32)
    exported = jax.export.export(function, platforms=[platform])(params, images)
    assert [aval.shape for aval in exported.out_avals] == [(2, 1408), (2, 8)]
    assert exported.mlir_module().count("feature_group_count = 288 ") == 3


def test_wrong_states_are_refused_with_every_fault():
    shapes = efficientnet.state_shapes(TINY)
    state = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    del state["bn1.weight"], state["blocks.0.0.bn1.running_var"]
    state["bn1.num_batches_tracked"] = np.zeros((), np.int64)
    state["classifier.weight"] = np.zeros((8, TINY.dim), np.float32)
    with pytest.raises(
        ValueError, match=r"missing; .*bn1\.weight is missing"
    ) as caught:
        efficientnet.prepare(TINY, state)
    assert "bn1.num_batches_tracked is not a tensor" in str(caught.value)
    assert f"is (8, {TINY.dim}), expected (3, {TINY.dim})" in str(caught.value)


@pytest.mark.parametrize("shape", [(2, 64, 64, 1), (2, 31, 64, 3)])
def test_wrong_images_are_refused(shape):
    params, _ = golden()
    with pytest.raises(ValueError, match=r"images of shape .* expected \(batch"):
        efficientnet.apply(TINY, params, jnp.zeros(shape))


def test_wrong_specs_are_refused():
    with pytest.raises(ValueError, match="unknown EfficientNet 'b9'; expected one of"):
        EfficientNetSpec("b9", 8)
    with pytest.raises(ValueError, match="-1 outputs; expected 0"):
        EfficientNetSpec("b0", -1)


@given(
    size=st.integers(1, 300), kernel=st.sampled_from([3, 5]), stride=st.integers(1, 2)
)
@settings(deadline=None)
def test_padding_is_that_of_lax(size, kernel, stride):
    expected = jax.lax.padtype_to_pads((size,), (kernel,), (stride,), "SAME")
    assert same_padding(size, kernel, stride) == expected[0]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "size",
    [
        *((13, 10), (1, 2)),
        *(pytest.param(size, marks=pytest.mark.slow) for size in ((12, 12), (5, 4))),
    ],
)
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2)])
def test_depthwise_equals_its_definition(form, size, kernel, stride):
    random = np.random.default_rng(0)
    x, weights = random.normal(size=(2, *size, 3)), random.normal(size=(kernel,) * 2)
    weights = weights[..., None] * random.normal(size=3)
    pads = [same_padding(side, kernel, stride) for side in size]
    padded = np.pad(x, ((0, 0), *pads, (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel,) * 2, (1, 2))
    expected = np.einsum("nhwcij,ijc->nhwc", windows, weights)[:, ::stride, ::stride]
    with jax.enable_x64(True):
        layer = Depthwise(3, kernel, stride)
        layer.kernel.set_value(jnp.asarray(weights))
        layer.bias.set_value(jnp.full(3, 0.5))
        got = jax.jit(lambda x: layer(x, form))(x)
    np.testing.assert_allclose(got, expected + 0.5, rtol=1e-12, atol=1e-12)


def in_float64(make, tree):
    """The module of one part of a params tree."""
    graphdef, state = nnx.split(nnx.eval_shape(make), nnx.Param)
    assert jax.tree.structure(nnx.to_pure_dict(state)) == jax.tree.structure(tree)
    return nnx.merge(graphdef, jax.tree.map(jnp.asarray, tree))


@functools.cache
def b0_in_float64():
    """A random network of timm's in float64."""
    return random_network(EfficientNetSpec("b0", 8), pictures(4, 64, 64)).double()


@pytest.mark.slow
@pytest.mark.parity
@pytest.mark.parametrize("form", FORMS)
def test_blocks_equal_timms_in_float64(form):
    """The stem and one block of each kind, on sides that are even, odd and unequal."""
    torch = pytest.importorskip("torch", reason="needs the extra 'parity'")
    spec = EfficientNetSpec("b0", 8)
    network = b0_in_float64()
    state = state_of(network)
    with jax.enable_x64(True), torch.inference_mode():
        params = efficientnet.prepare(spec, state, dtype="float64")
        x = torch.randn(2, 3, 45, 38, dtype=torch.float64)
        stem = in_float64(lambda: Stem(3, spec.stem), params["stem"])
        conv = network.conv_stem(x)
        norm = torch.nn.functional.batch_norm(
            conv,
            network.bn1.running_mean,
            network.bn1.running_var,
            network.bn1.weight,
            network.bn1.bias,
            eps=1e-3,
        )
        got = jax.jit(lambda x: stem(x, form))(channels_last(x))
        np.testing.assert_allclose(got, channels_last(norm), rtol=1e-9, atol=1e-12)
        # The forms differ in the depthwise convolution: of the second, two suffice.
        places = ("0_0", "1_0", "1_1", "2_0", "2_1", "6_0")
        for place in places if form == FORMS[0] else ("1_0", "2_1"):
            stage, number = map(int, place.split("_"))
            block = spec.stages[stage][number]
            x = torch.randn(2, block.inputs, 13, 10, dtype=torch.float64)
            expected = channels_last(network.blocks[stage][number](x))
            ours = in_float64(lambda b=block: Block(b), params[f"block_{place}"])
            got = jax.jit(lambda x, ours=ours: ours(x, form))(channels_last(x))
            np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parity
@pytest.mark.parametrize(
    ("variant", "outputs"),
    [
        ("tiny", 3),
        pytest.param("b0", 0, marks=pytest.mark.slow),
        pytest.param("b2", 8, marks=pytest.mark.slow),
    ],
)
def test_names_and_shapes_are_timms(variant, outputs):
    spec = EfficientNetSpec(variant, outputs)
    state = state_of(random_network(spec, pictures(2, 32, 32)))
    shapes = {name: value.shape for name, value in state.items()}
    assert list(shapes.items()) == list(efficientnet.state_shapes(spec).items())


@pytest.mark.parity
@pytest.mark.parametrize(
    ("variant", "outputs", "size"),
    [
        # of the tiny one, the file of golden numbers is all of it
        pytest.param("b0", 10, (67, 52), marks=pytest.mark.slow),
        pytest.param("b2", 8, (224, 224), marks=pytest.mark.release),
    ],
)
def test_networks_equal_timms(variant, outputs, size):
    spec = EfficientNetSpec(variant, outputs)
    images = pictures(6, *size)
    network = random_network(spec, images)
    params = efficientnet.prepare(spec, state_of(network))
    images = images[:3]
    expected = expected_of(network, images)
    got = run(spec, params, channels_last(images))
    for ours, theirs in zip(got, expected, strict=True):
        assert 0.01 < theirs.std() < 10
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-5 * theirs.std())
    if size == (224, 224):
        got = run(spec, params, channels_last(images), dtype="bfloat16")
        for ours, theirs in zip(got, expected, strict=True):
            assert ours.dtype == np.float32
            assert cosines(ours, theirs).min() > 0.999


@pytest.mark.slow
@pytest.mark.parity
def test_whole_network_equals_timms_in_float64():
    images = pictures(8, 70, 53)
    network = random_network(TINY, images).double()
    expected = expected_of(network, images)
    with jax.enable_x64(True):
        params = efficientnet.prepare(TINY, state_of(network), dtype="float64")
        x = channels_last(images.double())
        for ours, theirs in zip(
            run(TINY, params, x, dtype="float64"), expected, strict=True
        ):
            atol = 1e-10 * theirs.std()
            np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=atol)


def write_golden(path):
    """A small network's state, images, and timm's embeddings and outputs of them.

    All that goes in is rounded to float16, so that the file is small.
    """
    torch = pytest.importorskip("torch", reason="needs the extra 'parity'")
    images = pictures(6, 56, 44, seed=4)
    network = random_network(TINY, images, seed=3)
    images = images[:2].half().float()
    with torch.no_grad():
        for value in network.state_dict().values():
            if value.is_floating_point():
                value.copy_(value.half().float())
    half = {f"state/{k}": v.astype(np.float16) for k, v in state_of(network).items()}
    features, outputs = expected_of(network, images)
    np.savez_compressed(
        path,
        images=channels_last(images).astype(np.float16),
        features=features,
        outputs=outputs,
        **half,
    )


@pytest.mark.parity
def test_golden_file_is_what_timm_gives(tmp_path):
    write_golden(tmp_path / "new.npz")
    with np.load(tmp_path / "new.npz") as new, np.load(GOLDEN) as kept:
        assert set(new.files) == set(kept.files)
        for name in new.files:
            tolerance = 2e-3 if new[name].dtype == np.float16 else 1e-2
            np.testing.assert_allclose(
                new[name], kept[name], rtol=tolerance, atol=tolerance
            )
    assert GOLDEN.stat().st_size < 200_000


if __name__ == "__main__":
    GOLDEN.parent.mkdir(exist_ok=True)
    write_golden(GOLDEN)
