"""The small parts of Transformers: exact GELU, norms, products."""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

NORM_EPSILON = 1e-5  # that of PyTorch's GroupNorm and LayerNorm


def sum_dtype(dtype: jnp.dtype) -> jnp.dtype:
    """The type of sums and statistics: float32, or float64 for float64."""
    return jnp.promote_types(dtype, jnp.float32)


def gelu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """The exact GELU, by erf; ``jax.nn.gelu`` takes the slower erfc."""
    half = jnp.asarray(0.5, x.dtype) * x
    return half + half * jax.lax.erf(x * jnp.asarray(math.sqrt(0.5), x.dtype))


def product(
    x: Float[Array, "*batch inputs"],
    weight: Float[Array, "inputs outputs"],
    dtype: jnp.dtype,
) -> Float[Array, "*batch outputs"]:
    """``x @ weight`` with factors in ``dtype``, summed in float32 or better."""
    return jax.lax.dot_general(
        x.astype(dtype),
        weight.astype(dtype),
        (((x.ndim - 1,), (0,)), ((), ())),
        precision="highest",
        preferred_element_type=sum_dtype(dtype),
    )


class Linear(nnx.Module):
    """``x @ weight + bias``, the weight (inputs, outputs)."""

    def __init__(self, inputs: int, outputs: int, dtype: jnp.dtype):
        self.weight = nnx.Param(jnp.zeros((inputs, outputs)))
        self.bias = nnx.Param(jnp.zeros(outputs))
        self.dtype = dtype

    def __call__(
        self, x: Float[Array, "*batch inputs"]
    ) -> Float[Array, "*batch outputs"]:
        """The outputs, in float32 or better."""
        y = product(x, self.weight[...], self.dtype)
        return y + self.bias[...].astype(y.dtype)


class LayerNorm(nnx.Module):
    """Vectors minus their mean, over their biased deviation; then weight and bias."""

    def __init__(self, dim: int, dtype: jnp.dtype, epsilon: float = NORM_EPSILON):
        self.weight = nnx.Param(jnp.ones(dim))
        self.bias = nnx.Param(jnp.zeros(dim))
        self.dtype = dtype
        self.epsilon = epsilon

    def __call__(self, x: Float[Array, "*batch dim"]) -> Float[Array, "*batch dim"]:
        """The normalised vectors, in float32 or better."""
        x = x.astype(sum_dtype(self.dtype))
        x = x - x.mean(axis=-1, keepdims=True)
        variance = jnp.square(x).mean(axis=-1, keepdims=True)
        x = x * jax.lax.rsqrt(variance + self.epsilon)
        return x * self.weight[...] + self.bias[...]
