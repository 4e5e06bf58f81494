"""DINOv2's Vision Transformers: images to class tokens and means of patches.

Oquab et al., DINOv2: Learning Robust Visual Features without Supervision,
https://arxiv.org/abs/2304.07193. Names and layouts of tensors in files are those of the
files that the authors publish, which have no registers.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float
from numpy.typing import DTypeLike

from avemo_jax.extractors.contract import Extractor
from avemo_jax.extractors.state_dicts import affine, affine_shapes, check_state
from avemo_jax.extractors.transformer_encoder import EncoderLayer
from avemo_jax.extractors.transformer_layers import LayerNorm, Linear

DINOV2_NORM_EPSILON = 1e-6
# Images that a CPU takes at once: their products are large enough, and what is between
# them stays in its cache.
_CPU_IMAGES = 2
# The published code adds it to the number of patches a side before it divides by that
# of the stored positions, and published features have been made so.
_OFFSET = 0.1
_CUBIC = -0.75  # the cubic's free parameter in PyTorch's interpolation


@dataclasses.dataclass(frozen=True)
class DinoV2Spec:
    """Sizes of a network.

    Attributes:
        hidden_size: Width of the Transformer.
        num_layers: Layers of the Transformer.
        num_heads: Heads of its attention.
        patch_px: Side of a patch.
        grid: Patches a side that the stored positions are for.
    """

    hidden_size: int
    num_layers: int = 12
    num_heads: int = 6
    patch_px: int = 14
    grid: int = 37

    @property
    def dim(self) -> int:
        """Length of the embedding."""
        return 2 * self.hidden_size

    @property
    def wide(self) -> int:
        """Width between the two products of the feed-forward part."""
        return 4 * self.hidden_size

    def patches(self, size_px: int) -> int:
        """Patches a side of an image.

        Raises:
            ValueError: If its side is no multiple of a patch's.
        """
        if size_px < self.patch_px or size_px % self.patch_px:
            raise ValueError(
                f"images of {size_px} px; expected a multiple of {self.patch_px} px, "
                f"as {16 * self.patch_px}: choose another size"
            )
        return size_px // self.patch_px


SPECS = {"vits14": DinoV2Spec(384), "vitb14": DinoV2Spec(768, num_heads=12)}


def dinov2_spec(extractor: Extractor) -> DinoV2Spec:
    """The sizes of an extractor's network."""
    return SPECS[extractor.network.removeprefix("dinov2_")]


class VisionTransformer(nnx.Module):
    """The whole network, for images of one size."""

    def __init__(self, spec: DinoV2Spec, dtype: jnp.dtype):
        hidden, patch = spec.hidden_size, spec.patch_px
        self.patches = Linear(3 * patch**2, hidden, dtype)
        # Its number of patches is that of the images, which its arrays tell.
        self.positions = nnx.Param(jnp.zeros((1, hidden)))
        self.class_token = nnx.Param(jnp.zeros((1, hidden)))
        self.layers = nnx.Dict(
            {
                str(i): EncoderLayer(
                    hidden,
                    spec.wide,
                    spec.num_heads,
                    norm_first=True,
                    dtype=dtype,
                    epsilon=DINOV2_NORM_EPSILON,
                )
                for i in range(spec.num_layers)
            }
        )
        self.norm = LayerNorm(hidden, dtype, DINOV2_NORM_EPSILON)
        self.patch_px = patch

    def __call__(
        self, images: Float[Array, "batch height width 3"]
    ) -> Float[Array, "batch dim"]:
        """Embeddings, in float32 or better."""
        batch, side = images.shape[0], self.patch_px
        down, across = images.shape[1] // side, images.shape[2] // side
        x = images.reshape(batch, down, side, across, side, 3)
        x = x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, down * across, -1)
        x = self.patches(x) + self.positions[...]
        first = jnp.broadcast_to(self.class_token[...], (batch, 1, x.shape[2]))
        x = jnp.concatenate([first.astype(x.dtype), x], axis=1)
        for i in range(len(self.layers)):
            layer = self.layers[str(i)]
            x = jax.vmap(lambda x, layer=layer: layer(x, None))(x)
        x = self.norm(x)
        return jnp.concatenate([x[:, 0], x[:, 1:].mean(axis=1)], axis=1)


def state_shapes(spec: DinoV2Spec) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors in files."""
    hidden, patch, wide = spec.hidden_size, spec.patch_px, spec.wide
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, hidden),
        "pos_embed": (1, 1 + spec.grid**2, hidden),
        "mask_token": (1, hidden),
        **affine_shapes("patch_embed.proj", hidden, 3, patch, patch),
    }
    for i in range(spec.num_layers):
        name = f"blocks.{i}"
        shapes |= affine_shapes(f"{name}.norm1", hidden)
        shapes |= affine_shapes(f"{name}.attn.qkv", 3 * hidden, hidden)
        shapes |= affine_shapes(f"{name}.attn.proj", hidden, hidden)
        shapes[f"{name}.ls1.gamma"] = (hidden,)
        shapes |= affine_shapes(f"{name}.norm2", hidden)
        shapes |= affine_shapes(f"{name}.mlp.fc1", wide, hidden)
        shapes |= affine_shapes(f"{name}.mlp.fc2", hidden, wide)
        shapes[f"{name}.ls2.gamma"] = (hidden,)
    return shapes | affine_shapes("norm", hidden)


def prepare(
    spec: DinoV2Spec,
    state: Mapping[str, np.ndarray],
    *,
    size_px: int,
    dtype: DTypeLike = "float32",
) -> dict[str, Any]:
    """Parameters for :func:`apply`.

    Positions are interpolated to the size of the images, the queries' scale and
    LayerScale folded into weights, in float64; weights are (inputs, outputs).

    Args:
        spec: Sizes of the network.
        state: Tensors by name, with the names and shapes of :func:`state_shapes`. Only
            ``mask_token``, which serves training, may be missing.
        size_px: Side of the images, a multiple of a patch's.
        dtype: Type of the result; "float64" for checks.

    Raises:
        ValueError: If a tensor is missing, of another shape, or not known; if the side
            is no multiple of a patch's.
    """
    shapes = state_shapes(spec)
    optional = {"mask_token": shapes.pop("mask_token")}
    check_state("a DINOv2 of this spec", state, shapes, optional)
    stored = np.asarray(state["pos_embed"], np.float64)[0]
    patches = np.asarray(state["patch_embed.proj.weight"]).transpose(2, 3, 1, 0)
    params = {
        "patches": {
            "weight": patches.reshape(-1, spec.hidden_size),
            "bias": state["patch_embed.proj.bias"],
        },
        "positions": _positions(stored[1:], spec.grid, spec.patches(size_px)),
        "class_token": state["cls_token"][0] + stored[:1],
        "layers": {
            str(i): _layer(spec, state, f"blocks.{i}") for i in range(spec.num_layers)
        },
        "norm": affine(state, "norm"),
    }
    return jax.tree.map(lambda x: np.ascontiguousarray(x, np.dtype(dtype)), params)


def _linear(
    state: Mapping[str, np.ndarray], name: str, scale: np.ndarray | float = 1.0
) -> dict[str, np.ndarray]:
    """A layer (inputs, outputs) whose outputs are scaled."""
    weight = np.asarray(state[f"{name}.weight"], np.float64).T
    return {"weight": weight * scale, "bias": state[f"{name}.bias"] * scale}


def _layer(
    spec: DinoV2Spec, state: Mapping[str, np.ndarray], name: str
) -> dict[str, Any]:
    scale = np.ones(3 * spec.hidden_size)
    scale[: spec.hidden_size] = (spec.hidden_size // spec.num_heads) ** -0.5
    first, second = (
        np.asarray(state[f"{name}.{part}.gamma"], np.float64) for part in ("ls1", "ls2")
    )
    return {
        "mixed": _linear(state, f"{name}.attn.qkv", scale),
        "out": _linear(state, f"{name}.attn.proj", first),
        "norm": affine(state, f"{name}.norm1"),
        "wide": _linear(state, f"{name}.mlp.fc1"),
        "narrow": _linear(state, f"{name}.mlp.fc2", second),
        "final_norm": affine(state, f"{name}.norm2"),
    }


def _positions(
    stored: Float[np.ndarray, "patches hidden"], grid: int, side: int
) -> Float[np.ndarray, "_ hidden"]:
    """The positions of ``side`` patches a side, interpolated from the stored ones."""
    if side == grid:
        return stored
    along = _cubic_weights(grid, side, (side + _OFFSET) / grid)
    square = stored.reshape(grid, grid, -1)
    found = np.einsum("ia,jb,abc->ijc", along, along, square, optimize=True)
    return found.reshape(side**2, -1)


def _cubic_weights(
    before: int, after: int, scale: float
) -> Float[np.ndarray, "after before"]:
    """What each of ``after`` positions takes from ``before``, as PyTorch has it.

    Args:
        before: Number of positions that are there.
        after: Number of positions that are wanted.
        scale: How many of the wanted ones there are for one that is there.
    """
    at = (np.arange(after) + 0.5) / scale - 0.5
    first = np.floor(at).astype(int)
    weights = np.zeros((after, before))
    for tap in range(-1, 3):
        x = np.abs(at - first - tap)
        near = ((_CUBIC + 2) * x - (_CUBIC + 3)) * x**2 + 1
        far = _CUBIC * (((x - 5) * x + 8) * x - 4)
        place = np.clip(first + tap, 0, before - 1)
        np.add.at(weights, (np.arange(after), place), np.where(x <= 1, near, far))
    return weights


def apply(
    spec: DinoV2Spec,
    params: dict[str, Any],
    images: Float[Array, "batch height width channels"],
    *,
    dtype: str = "float32",
) -> Float[Array, "batch dim"]:
    """Embeddings: the class token, then the mean of the patches, normed by the network.

    The function is pure, to be jitted by the caller. A CPU takes few images at a time,
    an accelerator all; the choice is made when the program is lowered for a platform.

    Args:
        spec: Sizes of the network.
        params: Parameters from :func:`prepare`.
        images: RGB, normalised, of the side that the parameters were prepared for.
        dtype: Type of the products' factors.

    Raises:
        ValueError: If the images are of another size or have other axes.
    """
    side = round(params["positions"].shape[0] ** 0.5) * spec.patch_px
    if images.ndim != 4 or images.shape[1:] != (side, side, 3):
        raise ValueError(
            f"images of shape {images.shape}; expected (batch, {side}, {side}, 3), "
            "which the parameters were prepared for: pass such, or prepare again"
        )
    params = jax.tree.map(jnp.asarray, params)

    def whole(params: dict[str, Any], images: Array) -> Array:
        return nnx.merge(_graphdef(spec, dtype), params)(images)

    def in_parts(params: dict[str, Any], images: Array) -> Array:
        return jax.lax.map(
            lambda image: whole(params, image[None])[0], images, batch_size=_CPU_IMAGES
        )

    return jax.lax.platform_dependent(params, images, cpu=in_parts, default=whole)


@functools.cache
def _graphdef(spec: DinoV2Spec, dtype: str) -> Any:
    """The modules without their arrays, for ``nnx.merge``."""
    network = nnx.eval_shape(lambda: VisionTransformer(spec, jnp.dtype(dtype)))
    return nnx.split(network, nnx.Param)[0]
