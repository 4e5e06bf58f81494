"""The blocks of EfficientNet with BatchNorm folded in, each in two forms."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from avemo_jax.extractors.convolutions import Depthwise, Form, Pointwise
from avemo_jax.extractors.efficientnet_spec import BlockSpec

# sigmoid(x) - 1/2 up to +-_FLAT as x P(x^2) / Q(x^2), lowest powers first, fitted so
# that x times the largest error is least, 4e-8; beyond, sigmoid is 0 or 1 to 5e-8.
_FLAT = 17.0
_P = (0.249999908, 0.008358233, 5.44906891e-05, 8.01490374e-08, 1.29990189e-11)
_Q = (1.0, 0.116766038, 0.00161518385, 5.11585718e-06, 3.02390555e-09)


def silu(x: Float[Array, "*shape"], form: Form) -> Float[Array, "*shape"]:
    """``x * sigmoid(x)``, in float32 or better.

    A CPU computes it in float32 by a fraction of two polynomials, shorter than XLA's
    own for the exponential function or the hyperbolic tangent, as exact but for the
    last bits: EfficientNet-B0 takes a sixth less time with AVX2.
    """
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    if form == "whole" or x.dtype != jnp.float32:
        return jax.nn.silu(x)
    near = jnp.clip(x, -_FLAT, _FLAT)
    square = near * near
    return x * (0.5 + near * _polynomial(_P, square) / _polynomial(_Q, square))


def _polynomial(coefficients: tuple[float, ...], x: Array) -> Array:
    """Its values by Horner's rule; the lowest power comes first."""
    total = jnp.full_like(x, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        total = total * x + coefficient
    return total


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
