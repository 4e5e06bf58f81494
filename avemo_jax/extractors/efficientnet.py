"""EfficientNet-B0 and -B2 as timm's ``tf_efficientnet_*``: images to embeddings.

Tan and Le, EfficientNet: Rethinking Model Scaling, https://arxiv.org/abs/1905.11946.
"""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from avemo_jax.extractors.convolutions import Form, Pointwise, Stem
from avemo_jax.extractors.efficientnet_layers import Block, pooled, silu
from avemo_jax.extractors.efficientnet_spec import (
    NORM_LEAVES,
    NUM_STAGES,
    EfficientNetSpec,
    layers,
    num_params,
    places,
    state_shapes,
)
from avemo_jax.extractors.state_dicts import check_state

__all__ = ["EfficientNetSpec", "apply", "num_params", "prepare", "state_shapes"]

BATCH_NORM_EPSILON = 1e-3  # TensorFlow's; PyTorch's own default is 1e-5
MIN_SIZE_PX = 32

# On a CPU few images at a time go through the first stages, whose large activations
# then stay in its cache, and more through the others, whose large weights are then read
# once for more images. The limit is in pixels for the first stages, else in images.
_FIRST_STAGES = 3
_FIRST_PIXELS = 2 * 224 * 224
_MICRO_BATCH = 8


class EfficientNet(nnx.Module):
    """The whole network; its parts are called with batches of different sizes."""

    def __init__(self, spec: EfficientNetSpec):
        self.stem = Stem(3, spec.stem)
        for place, block in places(spec):
            setattr(self, place, Block(block))
        self.head = Pointwise(spec.stages[-1][-1].outputs, spec.dim)
        if spec.num_outputs:
            self.classifier = Pointwise(spec.dim, spec.num_outputs)
        self.spec = spec

    def first(
        self, images: Float[Array, "batch height width 3"], form: Form
    ) -> Float[Array, "batch _ _ channels"]:
        """The stem and the first stages, with large images and few channels."""
        x = silu(self.stem(images, form), form).astype(images.dtype)
        return self._blocks(x, range(_FIRST_STAGES), form)

    def rest(
        self, x: Float[Array, "batch height width channels"], form: Form
    ) -> Float[Array, "batch dim"]:
        """The other stages and the embedding, in float32 or better."""
        x = self._blocks(x, range(_FIRST_STAGES, NUM_STAGES), form)
        return pooled(silu(self.head(x), form))

    def classify(
        self, features: Float[Array, "batch dim"]
    ) -> Float[Array, "batch outputs"]:
        """The classifier's outputs; without a classifier they have no columns."""
        if not self.spec.num_outputs:
            return jnp.zeros((features.shape[0], 0), features.dtype)
        return self.classifier(features)

    def _blocks(self, x: Array, stages: range, form: Form) -> Array:
        for place, _ in places(self.spec, stages):
            x = getattr(self, place)(x, form)
        return x


def prepare(
    spec: EfficientNetSpec,
    state: Mapping[str, np.ndarray],
    *,
    dtype: str = "float32",
) -> dict[str, Any]:
    """Parameters for :func:`apply`: BatchNorm is folded into the layer before it.

    Args:
        spec: Sizes of the network.
        state: Tensors by the reference network's names, in its layout.
        dtype: Type of the result; folding is in float64. "float64" is for checks.

    Returns:
        Nested dicts of arrays; kernels have their outputs on the last axis.

    Raises:
        ValueError: If tensors are missing, unknown, or of other shapes; all are named.
    """
    network = f"EfficientNet {spec.variant} with {spec.num_outputs} outputs"
    check_state(network, state, state_shapes(spec))
    params: dict[str, Any] = {}
    for layer in layers(spec):
        weight = np.asarray(state[f"{layer.name}.weight"], np.float64)
        if layer.norm is None:
            bias = np.asarray(state[f"{layer.name}.bias"], np.float64)
        else:
            gain, shift, mean, variance = (
                np.asarray(state[f"{layer.norm}.{leaf}"], np.float64)
                for leaf in NORM_LEAVES
            )
            gain = gain / np.sqrt(variance + BATCH_NORM_EPSILON)
            weight = weight * gain.reshape(-1, *[1] * (weight.ndim - 1))
            bias = shift - mean * gain
        node = params
        for name in layer.place:
            node = node.setdefault(name, {})
        node["kernel"] = np.ascontiguousarray(layer.ours(weight).astype(dtype))
        node["bias"] = bias.astype(dtype)
    return params


def apply(
    spec: EfficientNetSpec,
    params: dict[str, Any],
    images: Float[Array, "batch height width channels"],
    *,
    dtype: str = "float32",
) -> tuple[Float[Array, "batch dim"], Float[Array, "batch outputs"]]:
    """Embedding and outputs of each image, in float32 unless ``dtype`` is wider.

    The function is pure, to be jitted by the caller. A CPU takes the batch in small
    parts, one after another; an accelerator takes it whole. The choice is made when the
    program is lowered for a platform.

    Args:
        spec: Sizes of the network.
        params: Parameters from :func:`prepare`.
        images: RGB, normalised, sides of at least 32 pixels.
        dtype: Type of the activations and of the products' operands. "bfloat16" keeps
            means, activation functions and the classifier in float32.

    Raises:
        ValueError: If the images have other axes or channels, or are too small.
    """
    shape = images.shape
    if len(shape) != 4 or shape[3] != 3 or min(shape[1:3]) < MIN_SIZE_PX:
        raise ValueError(
            f"images of shape {shape}; expected (batch, height, width, 3) with sides "
            f"of at least {MIN_SIZE_PX}; pass RGB images, channels last"
        )
    params = jax.tree.map(jnp.asarray, params)
    features = jax.lax.platform_dependent(
        params,
        images.astype(dtype),
        cpu=functools.partial(_in_parts, spec),
        default=functools.partial(_whole, spec),
    )
    return features, nnx.merge(_graphdef(spec), params).classify(features)


def _whole(spec: EfficientNetSpec, params: dict[str, Any], images: Array) -> Array:
    network = nnx.merge(_graphdef(spec), params)
    return network.rest(network.first(images, "whole"), "whole")


def _in_parts(spec: EfficientNetSpec, params: dict[str, Any], images: Array) -> Array:
    """The embeddings, from small batches one after another within larger ones."""
    network = nnx.merge(_graphdef(spec), params)
    num, height, width = images.shape[:3]
    small, smalls, larges = _parts(num, height * width)
    missing = small * smalls * larges - num
    x = jnp.pad(images, ((0, missing), (0, 0), (0, 0), (0, 0)))
    x = x.reshape(larges, smalls, small, *images.shape[1:])

    def large(x: Array) -> Array:
        x = _mapped(lambda part: network.first(part, "local"), x)
        return network.rest(x.reshape(-1, *x.shape[2:]), "local")

    return _mapped(large, x).reshape(-1, spec.dim)[:num]


def _parts(num: int, pixels: int) -> tuple[int, int, int]:
    """Images in a small batch, small batches in a large one, number of large ones.

    Their product is ``num`` or a little more.
    """
    small = min(max(num, 1), math.ceil(_FIRST_PIXELS / pixels), _MICRO_BATCH)
    needed = math.ceil(max(num, 1) / small)
    larges = math.ceil(needed * small / _MICRO_BATCH)
    return small, math.ceil(needed / larges), larges


def _mapped(function: Callable[[Array], Array], x: Array) -> Array:
    """``lax.map``, without a loop for a single element."""
    return function(x[0])[None] if x.shape[0] == 1 else jax.lax.map(function, x)


@functools.cache
def _graphdef(spec: EfficientNetSpec) -> Any:
    """The modules without their arrays, for ``nnx.merge``."""
    network = nnx.eval_shape(lambda: EfficientNet(spec))
    return nnx.split(network, nnx.Param)[0]
