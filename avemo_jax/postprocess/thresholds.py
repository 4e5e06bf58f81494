"""From scores to decisions."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int


def decide(
    scores: Float[Array | np.ndarray, "*members frames outputs"],
    thresholds: Float[Array | np.ndarray, "*members outputs"] | float = 0.5,
) -> Bool[Array, "*members frames outputs"]:
    """Which action units are active: score >= threshold.

    Args:
        scores: Probabilities.
        thresholds: One per unit (and member), or one for all.
    """
    limits = jnp.asarray(thresholds, jnp.float32)
    if limits.ndim:
        limits = limits[..., None, :]
    return jnp.asarray(scores) >= limits


def decide_class(
    scores: Float[Array | np.ndarray, "*members frames classes"],
) -> Int[Array, "*members frames"]:
    """The class with the highest score; of equal ones the first."""
    return jnp.argmax(scores, axis=-1).astype(jnp.int32)
