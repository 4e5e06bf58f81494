"""DINOv2 against timm and PyTorch, and its parts against their definitions."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from reference.torch_libraries import import_timm

from avemo_jax.extractors import EXTRACTORS, dinov2
from avemo_jax.extractors.dinov2 import DinoV2Spec

TINY = DinoV2Spec(32, num_layers=2, num_heads=2, grid=5)
run = jax.jit(dinov2.apply, static_argnums=0, static_argnames="dtype")


def random_state(spec: DinoV2Spec, seed: int) -> dict[str, np.ndarray]:
    """Weights that keep values near 1 through the network, and norms that matter."""
    rng = np.random.default_rng(seed)
    state = {}
    for name, shape in dinov2.state_shapes(spec).items():
        value = rng.standard_normal(shape)
        if name.endswith("gamma") or ("norm" in name and name.endswith("weight")):
            value = 1 + 0.2 * value
        elif name.endswith(("bias", "token", "embed")):
            value = 0.3 * value
        else:
            value = value * math.sqrt(1.5 / math.prod(shape[1:]))
        state[name] = value.astype(np.float32)
    return state


def images_of(side: int, count: int = 3, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((count, side, side, 3)).astype(np.float32)


def by_timm(spec, state, images, positions) -> np.ndarray:
    """timm's class token and mean of patches, with these positions."""
    torch = pytest.importorskip("torch")
    net = (
        import_timm()
        .models.vision_transformer.VisionTransformer(
            img_size=images.shape[1],
            patch_size=spec.patch_px,
            embed_dim=spec.hidden_size,
            depth=spec.num_layers,
            num_heads=spec.num_heads,
            init_values=1.0,
            num_classes=0,
        )
        .eval()
    )
    first = state["pos_embed"][0, :1]
    state = {**state, "pos_embed": np.concatenate([first, positions])[None]}
    del state["mask_token"]
    net.load_state_dict({name: torch.from_numpy(x) for name, x in state.items()})
    with torch.inference_mode():
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
        tokens = net.forward_features(pixels).numpy()
    return np.concatenate([tokens[:, 0], tokens[:, 1:].mean(axis=1)], axis=1)


@pytest.mark.parity
@pytest.mark.parametrize("side", [42, pytest.param(70, marks=pytest.mark.slow)])
def test_a_tiny_network_equals_timm(side):
    state, images = random_state(TINY, 1), images_of(side)
    params = dinov2.prepare(TINY, state, size_px=side)
    found = run(TINY, params, images)
    expected = by_timm(TINY, state, images, params["positions"])
    assert np.abs(found - expected).max() < 2e-5 * expected.std()


@pytest.mark.slow
@pytest.mark.parity
@pytest.mark.parametrize(
    "variant", ["vits14", pytest.param("vitb14", marks=pytest.mark.release)]
)
def test_the_published_sizes_equal_timm(variant):
    spec = dinov2.SPECS[variant]
    state, images = random_state(spec, 2), images_of(224, 2)
    params = dinov2.prepare(spec, state, size_px=224)
    found = run(spec, params, images)
    expected = by_timm(spec, state, images, params["positions"])
    assert found.shape == (2, spec.dim)
    assert np.abs(found - expected).max() < 2e-5 * expected.std()


@pytest.mark.parity
@pytest.mark.parametrize("side", [3, 16, 37, 40])
def test_positions_are_interpolated_as_the_published_code_does(side):
    torch = pytest.importorskip("torch")
    spec = DinoV2Spec(4, num_layers=0, num_heads=1)
    state = random_state(spec, 3)
    found = dinov2.prepare(spec, state, size_px=14 * side, dtype="float64")
    stored = torch.from_numpy(state["pos_embed"][:, 1:]).double()
    square = stored.reshape(1, 37, 37, 4).permute(0, 3, 1, 2)
    scale = (side + 0.1) / 37  # interpolate_offset of dinov2's hub
    if side != 37:
        square = torch.nn.functional.interpolate(
            square, scale_factor=(scale, scale), mode="bicubic"
        )
    expected = square.permute(0, 2, 3, 1).reshape(side**2, 4).numpy()
    assert np.allclose(found["positions"], expected, rtol=1e-9, atol=1e-9)


def test_an_image_does_not_depend_on_the_others():
    params = dinov2.prepare(TINY, random_state(TINY, 4), size_px=42)
    images = images_of(42)
    together = np.asarray(run(TINY, params, images))
    alone = [np.asarray(run(TINY, params, image[None]))[0] for image in images]
    assert np.allclose(together, alone, atol=1e-5)
    assert np.std(together, axis=0).min() > 0.01


@pytest.mark.slow
def test_bfloat16_is_near_float32():
    params = dinov2.prepare(TINY, random_state(TINY, 5), size_px=42)
    exact = np.asarray(run(TINY, params, images_of(42)))
    found = np.asarray(run(TINY, params, images_of(42), dtype="bfloat16"))
    assert found.dtype == np.float32
    cosine = (found * exact).sum(1) / np.linalg.norm(found, axis=1)
    assert (cosine / np.linalg.norm(exact, axis=1)).min() > 0.999


@pytest.mark.parametrize(
    ("variant", "count"), [("vits14", 22_056_576), ("vitb14", 86_580_480)]
)
def test_as_many_parameters_as_published(variant, count):
    shapes = dinov2.state_shapes(dinov2.SPECS[variant])
    assert sum(math.prod(shape) for shape in shapes.values()) == count
    extractor = EXTRACTORS[f"dinov2_{variant}"]
    assert extractor.dim == dinov2.dinov2_spec(extractor).dim


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_lowers_for_accelerators(platform):
    params = dinov2.prepare(TINY, random_state(TINY, 6), size_px=42)
    traced = jax.jit(lambda params, x: dinov2.apply(TINY, params, x))
    exported = export.export(traced, platforms=[platform])(params, images_of(42))
    assert "while" not in exported.mlir_module()  # all images at once


@pytest.mark.parametrize(
    ("shape", "said"),
    [((1, 56, 56, 3), "prepared for"), ((1, 42, 42, 4), "expected .batch, 42, 42, 3")],
)
def test_images_of_another_form(shape, said):
    params = dinov2.prepare(TINY, random_state(TINY, 7), size_px=42)
    with pytest.raises(ValueError, match=said):
        dinov2.apply(TINY, params, jnp.zeros(shape))


@pytest.mark.parametrize("size_px", [0, 13, 100])
def test_a_side_that_is_no_multiple(size_px):
    with pytest.raises(ValueError, match=f"{size_px} px; expected a multiple of 14"):
        TINY.patches(size_px)


def test_weights_of_another_network():
    state = random_state(TINY, 8)
    del state["norm.bias"]
    with pytest.raises(ValueError, match=r"norm\.bias is missing"):
        dinov2.prepare(TINY, state, size_px=42)
