"""The blocks of EfficientNet with BatchNorm folded in, each in two forms."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from avemo_jax.extractors.convolutions import Depthwise, Form, Pointwise
from avemo_jax.extractors.efficientnet_spec import BlockSpec


def silu(x: Float[Array, "*shape"], form: Form) -> Float[Array, "*shape"]:
    """``x * sigmoid(x)``, in float32 or better.

    A CPU computes it by the hyperbolic tangent, for which XLA has a shorter polynomial
    there than for the exponential function. The two differ in the last bits.
    """
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    if form == "whole":
        return jax.nn.silu(x)
    half = 0.5 * x
    return half + half * jnp.tanh(half)


class SqueezeExcite(nnx.Module):
    """Channels times weights in (0, 1) that depend on the means of all channels."""

    def __init__(self, channels: int, squeezed: int):
        self.reduce = Pointwise(channels, squeezed)
        self.expand = Pointwise(squeezed, channels)

    def __call__(
        self, x: Float[Array, "batch height width channels"], form: Form
    ) -> Float[Array, "batch height width channels"]:
        """The weighed channels, in the dtype of ``x``; the weights in float32."""
        means = pooled(x)
        weights = jax.nn.sigmoid(self.expand(silu(self.reduce(means), form)))
        return x * weights[:, None, None].astype(x.dtype)


class Block(nnx.Module):
    """Expand, convolve each channel, weigh the channels, project; plus the input."""

    def __init__(self, spec: BlockSpec):
        if spec.expands:
            self.expand = Pointwise(spec.inputs, spec.expanded)
        self.depthwise = Depthwise(spec.expanded, spec.kernel, spec.stride)
        self.excite = SqueezeExcite(spec.expanded, spec.squeezed)
        self.project = Pointwise(spec.expanded, spec.outputs)
        self.spec = spec

    def __call__(
        self, x: Float[Array, "batch height width inputs"], form: Form
    ) -> Float[Array, "batch _ _ outputs"]:
        """The block's output, in the dtype of ``x``."""
        y = x
        if self.spec.expands:
            y = silu(self.expand(y), form).astype(x.dtype)
        y = silu(self.depthwise(y, form), form).astype(x.dtype)
        y = self.project(self.excite(y, form))
        return (x + y if self.spec.adds_input else y).astype(x.dtype)


def pooled(
    x: Float[Array, "batch height width channels"],
) -> Float[Array, "batch channels"]:
    """Means over each image, in float32 or better."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32)).mean(axis=(1, 2))
