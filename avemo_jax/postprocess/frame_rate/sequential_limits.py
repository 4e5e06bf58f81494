"""Thresholds of the sequential rule, fitted on dev."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from avemo_jax.postprocess.frame_rate.sequential import Strides, all_strides

FALSE_ACCEPTANCE = 0.05
BENJAMINI_HOCHBERG = 0.1


def false_acceptance_levels(
    lists: Sequence[Strides], level: float = FALSE_ACCEPTANCE
) -> Float[np.ndarray, "lists strides"]:
    """The same share of false acceptances for every stride."""
    return np.full((len(lists), len(all_strides(lists))), level, np.float32)


def benjamini_hochberg_levels(
    lists: Sequence[Strides], level: float = BENJAMINI_HOCHBERG
) -> Float[np.ndarray, "lists strides"]:
    """``level * k / K`` for the k-th (from 1) of a list's K strides, else 0."""
    strides = all_strides(lists)
    out = np.zeros((len(lists), len(strides)), np.float32)
    for row, each in zip(out, lists, strict=True):
        for k, stride in enumerate(each, 1):
            row[strides.index(stride)] = level * k / len(each)
    return out


@jax.jit
def fit_threshold(
    scores: Float[Array, "frames classes"],
    labels: Int[Array, " frames"],
    mask: Bool[Array, " frames"],
    levels: Float[Array, " levels"],
) -> Float[Array, " levels"]:
    """The lowest score of a right decision that few enough wrong ones are above.

    Args:
        scores: Scores with one stride, e.g. its medians.
        labels: Classes.
        mask: True where a frame counts.
        levels: Largest share of all counted frames that may be wrong with a higher
            score.

    Returns:
        For each level a winning score of a right decision: the lowest allowed, or the
        highest of all where even that one is not. Infinity if none is right.
    """
    right = (jnp.argmax(scores, axis=-1) == labels) & mask
    wrong = ~right & mask
    descending, wrongs, rights = jax.lax.sort(
        (-scores.max(axis=-1), wrong.astype(jnp.int32), right), num_keys=1
    )
    before = jnp.cumsum(wrongs) - wrongs
    # of a run of equal scores only the wrong ones before the run are higher
    first = jnp.searchsorted(descending, descending, side="left")
    # counts, not shares: 3 of 30 are allowed by a level of 0.1 however it is rounded
    most = jnp.floor(levels * mask.sum() * (1 + 4 * jnp.finfo(jnp.float32).eps))
    allowed = rights & (before[first] <= most[:, None])
    lowest = jnp.where(allowed, -descending, jnp.inf).min(axis=-1)
    highest = jnp.where(rights, -descending, -jnp.inf).max()
    fallback = jnp.where(rights.any(), highest, jnp.inf)
    return jnp.where(allowed.any(axis=-1), lowest, fallback)


def fit_thresholds(
    medians: Float[Array | np.ndarray, "strides frames classes"],
    labels: Int[Array | np.ndarray, " frames"],
    mask: Bool[Array | np.ndarray, " frames"],
    levels: Float[Array | np.ndarray, "lists strides"],
    strides: Strides,
) -> Float[Array, "lists strides"]:
    """Thresholds of every list and stride; stride 1 has 0, as in the original.

    Args:
        medians: ``all_medians`` of dev.
        labels: Classes of dev.
        mask: True where a frame counts.
        levels: Levels from ``false_acceptance_levels`` or
            ``benjamini_hochberg_levels``.
        strides: ``all_strides`` of the lists.
    """
    levels = jnp.asarray(levels, jnp.float32)
    fitted = jax.lax.map(
        lambda pair: fit_threshold(pair[0], labels, mask, pair[1]),
        (jnp.asarray(medians), levels.T),
    ).T
    return jnp.where(jnp.asarray(strides) == 1, 0.0, fitted)
