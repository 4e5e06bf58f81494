"""How a frame's offset in its window enters a head."""

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from avemo_jax.heads.layers import Start
from avemo_jax.heads.matmul import accumulator
from avemo_jax.heads.spec import HeadSpec

# Amplitude of the positions at the start, near that of the features beside them.
POSITION_SCALE = 0.1


def learned_positions(spec: HeadSpec, start: Start) -> nnx.Param | None:
    """A vector for each offset in the window, where ``spec`` has them learned."""
    if spec.positions != "learned":
        return None
    return nnx.Param(start.uniform((spec.window, spec.model_dim), POSITION_SCALE))


def with_positions(
    x: Float[Array, "sequences frames dim"],
    kind: str,
    learned: Float[Array, "window dim"] | None,
    dtype: jnp.dtype,
) -> Float[Array, "sequences frames dim"]:
    """``x`` moved by the vector of each frame's offset, added in float32 or better.

    Args:
        x: Frames of windows.
        kind: "learned", "sinusoidal" or "none", which returns ``x``.
        learned: The vectors of kind "learned".
        dtype: Type of the result.
    """
    if kind == "learned":
        assert learned is not None
        table = learned[: x.shape[1]]
    elif kind == "sinusoidal":
        values = POSITION_SCALE * sinusoids(x.shape[1], x.shape[2])
        table = jnp.asarray(values, accumulator(dtype))
    else:
        return x
    return (x.astype(accumulator(dtype)) + table).astype(dtype)


def sinusoids(frames: int, dim: int) -> Float[np.ndarray, "frames dim"]:
    """Sines, then cosines, of each frame's offset at ``dim / 2`` wavelengths.

    The wavelengths rise geometrically from 2 pi to 20,000 pi frames (Vaswani et al.,
    2017, section 3.5; there sines and cosines alternate).
    """
    rates = 10_000.0 ** (-np.arange(dim // 2) / (dim // 2))
    angles = np.arange(frames)[:, None] * rates
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
