"""From the scores of rows to those of every frame: filled, smoothed, and trusted.

The sweep on dev scores what this gives at every smoothing; predictions are what it
gives at the smoothing that was chosen.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from avemo_jax.postprocess.blending import trust_confident
from avemo_jax.postprocess.gaps import FillMap, fill
from avemo_jax.postprocess.smoothing import Smoothing, smooth_all
from avemo_jax.tasks import Task


class Trusted(NamedTuple):
    """An extractor's own probabilities, which stand where they are confident.

    Attributes:
        probs: Probabilities of the fill map's rows, in the order of the task's classes.
        confidences: Confidence of each seed over which they stand.
    """

    probs: Float[Array | np.ndarray, "rows classes"]
    confidences: Float[np.ndarray, " seeds"]


def neutral_score(task: Task) -> float:
    """Every score of a video without any row: 1 / classes, 0 for units and values."""
    return 1 / task.num_outputs if task.kind == "multiclass" else 0.0


def smoothed_frames(
    task: Task,
    rows: Float[Array | np.ndarray, "seeds rows outputs"],
    fill_map: FillMap,
    smoothings: Sequence[Sequence[Smoothing]],
    *,
    causal: bool = False,
    trusted: Trusted | None = None,
) -> Iterator[tuple[Float[Array, "frames outputs"], ...]]:
    """For each seed in turn, the scores of every frame at each of its smoothings.

    One seed's scores are in memory at a time: 4 bytes x frames x outputs x smoothings.

    Args:
        task: The task that is scored.
        rows: Scores of the rows after the activation.
        fill_map: From which rows each frame takes its scores.
        smoothings: For each seed pairs (mode, half width in frames).
        causal: Windows end with their own frame.
        trusted: EXPR only: the extractor's probabilities, smoothed like the scores and
            put in their place where confident; None leaves them out.

    Raises:
        ValueError: If ``smooth`` would refuse a smoothing or the scores.
    """
    on_device = jax.tree.map(jnp.asarray, fill_map)

    def smoothed(
        one: Float[Array | np.ndarray, "rows outputs"], chosen: tuple[Smoothing, ...]
    ) -> tuple[Float[Array, "frames outputs"], ...]:
        dense = _fill(jnp.asarray(one), on_device, neutral_score(task))
        return smooth_all(dense, fill_map.lo, fill_map.hi, chosen, causal=causal)

    @functools.cache
    def extractor(
        chosen: tuple[Smoothing, ...],
    ) -> tuple[Float[Array, "frames outputs"], ...]:
        assert trusted is not None
        return smoothed(trusted.probs, chosen)

    for i, (one, chosen) in enumerate(zip(rows, map(tuple, smoothings), strict=True)):
        dense = smoothed(one, chosen)
        if trusted is not None:
            level = float(trusted.confidences[i])
            pairs = zip(dense, extractor(chosen), strict=True)
            dense = tuple(trust_confident(own, other, level) for own, other in pairs)
        yield dense


@jax.jit
def _fill(
    rows: Float[Array, "rows outputs"], fill_map: FillMap, neutral: Float[Array, ""]
) -> Float[Array, "frames outputs"]:
    """``fill``, compiled."""
    return fill(rows, fill_map, neutral=neutral)
