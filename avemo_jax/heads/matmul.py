"""Products of a head: factors in its dtype, sums in float32 or better, forth and back.

A factor in bfloat16 is a number of float32 rounded to 8 bits; a sum in bfloat16 would
stand still as soon as it is some hundred times larger than its terms.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


def accumulator(dtype: jnp.dtype) -> jnp.dtype:
    """Of sums and statistics: float32, or float64 for float64."""
    return jnp.promote_types(dtype, jnp.float32)


def einsum(
    subscripts: str, x: Float[Array, "..."], y: Float[Array, "..."], dtype: jnp.dtype
) -> Float[Array, "..."]:
    """``jnp.einsum`` of two factors, taken in ``dtype``, in :func:`accumulator`'s type.

    The products of the gradient take their factors in ``dtype`` too. JAX's own would
    meet the gradient of what comes out, which is float32, and be products in float32.
    The gradient of a factor comes in the type that the factor has here: of a float32
    weight it is the float32 sum, never rounded.

    Args:
        subscripts: Each letter of a factor is in the other one or in the result.
        x: First factor.
        y: Second factor.
        dtype: Of the products.
    """
    if dtype == accumulator(dtype):
        return jnp.einsum(subscripts, x.astype(dtype), y.astype(dtype))
    return _low(subscripts, dtype, x, y)


def linear(x: Array, weight: Array, dtype: jnp.dtype) -> Array:
    """``x @ weight.T`` over the last axes, see :func:`einsum`."""
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
    """The products themselves, on each platform with the same numbers."""
    wide = accumulator(dtype)
    bits = jnp.finfo(dtype)

    def direct(x: Array, y: Array) -> Array:
        x, y = x.astype(dtype), y.astype(dtype)
        return jnp.einsum(subscripts, x, y, preferred_element_type=wide)

    def on_cpu(x: Array, y: Array) -> Array:
        # XLA has not all of these products for a CPU: "Unsupported element type for
        # DotThunk::Execute: BF16 x BF16 = F32". A cast there and back it may leave out.
        x, y = (
            lax.reduce_precision(one.astype(wide), bits.nexp, bits.nmant)
            for one in (x, y)
        )
        return jnp.einsum(subscripts, x, y)

    found: Array = lax.platform_dependent(x, y, cpu=on_cpu, default=direct)
    return found


_low.defvjp(_low_forward, _low_backward)
