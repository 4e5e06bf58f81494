"""Scores of every frame of a video from the scores of the frames that have any.

The fill map is made once, by numpy, from frame numbers alone; filling is two gathers
and a blend on the device, for any number of seeds at once.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from avemo_jax.postprocess.fill_map import FillMap, make_fill_map

__all__ = ["FillMap", "fill", "make_fill_map"]


def fill(
    scores: Float[Array | np.ndarray, "*seeds rows outputs"],
    fill_map: FillMap,
    *,
    neutral: float | Float[Array, ""] = 0.0,
) -> Float[Array, "*seeds frames outputs"]:
    """Scores of every frame of every video, gaps filled as the fill map says.

    Args:
        scores: Scores after the activation, one for each row that the fill map is of.
        fill_map: From which rows each frame takes its scores.
        neutral: Every score of a video without any row: 1 / 8 for EXPR, 0 for AU
            (inactive) and VA.
    """
    shape = (*scores.shape[:-2], fill_map.num_frames, scores.shape[-1])
    if scores.shape[-2] == 0:
        return jnp.full(shape, neutral, jnp.float32)
    scores = jnp.asarray(scores, jnp.float32)
    prev = jnp.take(scores, jnp.asarray(fill_map.prev_row), axis=-2)
    # as a step from prev, so that equal neighbours stay exactly equal
    step = jnp.take(scores, jnp.asarray(fill_map.next_row), axis=-2) - prev
    dense = prev + jnp.asarray(fill_map.weight)[:, None] * step
    return jnp.where(jnp.asarray(fill_map.has_rows)[:, None], dense, neutral)
