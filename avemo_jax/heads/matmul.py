"""Products of a head and of its gradient: factors in its dtype, sums in float32.

Sums are in float64 for float64. A factor in bfloat16 is a float32 number rounded to 8
bits, which is harmless; a sum in bfloat16 would stop growing as soon as it is some
hundred times larger than its terms.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


def accumulator(dtype: jnp.dtype) -> jnp.dtype:
    """Type of sums and statistics: float32, or float64 for float64."""
    return jnp.promote_types(dtype, jnp.float32)


def einsum(
    subscripts: str, x: Float[Array, "..."], y: Float[Array, "..."], dtype: jnp.dtype
) -> Float[Array, "..."]:
    """``jnp.einsum`` of factors rounded to ``dtype``, summed in :func:`accumulator`.

    The products of the gradient round their factors to ``dtype`` too; JAX's own
    gradient would multiply in float32, the type of the result. The gradient of a factor
    has that factor's type: that of a float32 weight is the float32 sum, never rounded.

    Args:
        subscripts: Letters of ``jnp.einsum``; each letter of a factor must be in the
            other factor or in the result.
        x: First factor.
        y: Second factor.
        dtype: Type of the products.
    """
    if dtype == accumulator(dtype):
        return jnp.einsum(subscripts, x.astype(dtype), y.astype(dtype))
    return _low(subscripts, dtype, x, y)


def linear(x: Array, weight: Array, dtype: jnp.dtype) -> Array:
    """``x @ weight.T`` over the last axes, rounded and summed as in :func:`einsum`."""
    batch = "abcdefgh"[: x.ndim - 1]
    return einsum(f"{batch}i,oi->{batch}o", x, weight, dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _low(subscripts: str, dtype: jnp.dtype, x: Array, y: Array) -> Array:
    return _rounded(subscripts, x, y, dtype)


def _low_forward(
    subscripts: str, dtype: jnp.dtype, x: Array, y: Array
) -> tuple[Array, tuple[Array, Array]]:
    return _rounded(subscripts, x, y, dtype), (x, y)


def _low_backward(
    subscripts: str, dtype: jnp.dtype, factors: tuple[Array, Array], gradient: Any
) -> tuple[Array, Array]:
    x, y = factors
    inputs, of_result = subscripts.split("->")
    of_x, of_y = inputs.split(",")
    to_x = _rounded(f"{of_result},{of_y}->{of_x}", gradient, y, dtype)
    to_y = _rounded(f"{of_result},{of_x}->{of_y}", gradient, x, dtype)
    return to_x.astype(x.dtype), to_y.astype(y.dtype)


def _rounded(subscripts: str, x: Array, y: Array, dtype: jnp.dtype) -> Array:
    """The products of :func:`einsum`, without a gradient of their own."""
    wide = accumulator(dtype)
    bits = jnp.finfo(dtype)

    def direct(x: Array, y: Array) -> Array:
        x, y = x.astype(dtype), y.astype(dtype)
        return jnp.einsum(subscripts, x, y, preferred_element_type=wide)

    def on_cpu(x: Array, y: Array) -> Array:
        # On a CPU, XLA lacks some of these products: "Unsupported element type for
        # DotThunk::Execute: BF16 x BF16 = F32". So factors are rounded in float32, not
        # by a cast to dtype and back, which XLA may leave out.
        x, y = (
            lax.reduce_precision(one.astype(wide), bits.nexp, bits.nmant)
            for one in (x, y)
        )
        return jnp.einsum(subscripts, x, y)

    found: Array = lax.platform_dependent(x, y, cpu=on_cpu, default=direct)
    return found


_low.defvjp(_low_forward, _low_backward)
