"""What decisions are made by: thresholds of units, and corrections of classes."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from avemo_jax.metrics.scores import task_metrics

TEMPERATURES = (1.0, 0.5, 2.0)
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)


class Correction(NamedTuple):
    """What is done to the probabilities of classes; leading axes are candidates.

    Attributes:
        temperature: Divisor of the log-probabilities, over 0; 1 changes nothing.
        offsets: Numbers added to the log-probabilities of the classes after that.
    """

    temperature: Float[Array, "*candidates"]
    offsets: Float[Array, "*candidates classes"]


@jax.jit
def exact_thresholds(
    scores: Float[Array, "frames units"],
    labels: Int[Array, "frames units"],
    mask: Bool[Array, " frames"],
) -> Float[Array, " units"]:
    """The score of each unit that has the best F1 as its threshold; by one sort.

    No other threshold has a better F1 (in float32); of equally good scores the smallest
    is taken.

    Args:
        scores: Finite probabilities.
        labels: 0 or 1; others count nowhere.
        mask: True where a frame counts.

    Returns:
        One of the unit's scores, or 0.5 where no frame of the unit is positive.
    """
    counted = ((labels == 0) | (labels == 1)) & mask[:, None]
    positive = ((labels == 1) & counted).astype(jnp.int32)
    keys = jnp.where(counted, scores.astype(jnp.float32), jnp.inf)
    keys, hits = jax.lax.sort((keys, positive), dimension=0, num_keys=1)
    num_counted = counted.sum(axis=0, dtype=jnp.int32)
    num_positive = hits.sum(axis=0)
    below = jnp.arange(len(keys), dtype=jnp.int32)[:, None]
    caught = num_positive - (jnp.cumsum(hits, axis=0) - hits)  # at or over the key
    called = num_counted - below
    f1 = (2 * caught).astype(jnp.float32) / jnp.maximum(called + num_positive, 1)
    # Of a run of equal scores only its first stands for "at or over this score".
    changed = jnp.concatenate([jnp.ones_like(keys[:1], bool), keys[1:] != keys[:-1]])
    f1 = jnp.where(changed & (called > 0), f1, -1)
    best = jnp.argmax(f1, axis=0)
    chosen = jnp.take_along_axis(keys, best[None], axis=0)[0]
    return jnp.where(num_positive > 0, chosen, 0.5)


def correct(
    probs: Float[Array, "frames classes"], correction: Correction | None
) -> Float[Array, "frames classes"]:
    """Probabilities with a temperature and offsets of the log-odds.

    Args:
        probs: Probabilities of the classes; 0 stays (nearly) 0.
        correction: One candidate; None gives ``probs`` back as they are.
    """
    if correction is None:
        return probs
    tiny = jnp.finfo(jnp.float32).tiny
    logs = jnp.log(jnp.maximum(probs, tiny)) / correction.temperature
    changed = jax.nn.softmax(logs + correction.offsets, axis=-1)
    off = (correction.temperature == 1) & (correction.offsets == 0).all()
    return jnp.where(off, probs, changed)


def prior_corrections(
    priors: Float[np.ndarray, " classes"],
    *,
    temperatures: Sequence[float] = TEMPERATURES,
    strengths: Sequence[float] = STRENGTHS,
) -> Correction:
    """Candidates: offsets of ``-strength * log(prior)``, less their mean.

    Args:
        priors: Share of each class where the model was trained; over 0.
        temperatures: Numbers over 0. The first should be 1, and the first strength 0:
            then doing nothing is the first candidate, and wins where it is as good as
            any.
        strengths: 0 leaves the classes as they are, 1 takes the priors out.

    Returns:
        One candidate for each temperature and strength, strengths varying fastest.

    Raises:
        ValueError: If a prior or a temperature is not over 0.
    """
    if not (np.isfinite(priors) & (priors > 0)).all():
        raise ValueError(
            f"priors are {np.asarray(priors).tolist()}; expected numbers over 0; add 1 "
            "to the frames of each class before they are divided"
        )
    if not all(t > 0 for t in temperatures):
        raise ValueError(
            f"temperatures are {list(temperatures)}; expected numbers over 0; leave "
            "the others out"
        )
    logs = np.log(np.asarray(priors, np.float64))
    pairs = np.array([(t, s) for t in temperatures for s in strengths])
    offsets = -pairs[:, 1:] * (logs - logs.mean())
    return Correction(
        jnp.asarray(pairs[:, 0], jnp.float32), jnp.asarray(offsets, jnp.float32)
    )


@partial(jax.jit, static_argnames=("after",))
def score_corrections(
    probs: Float[Array, "frames classes"],
    labels: Int[Array, " frames"],
    mask: Bool[Array, " frames"],
    candidates: Correction,
    *,
    after: Callable[[Array], Array] | None = None,
) -> Float[Array, " candidates"]:
    """Macro F1 with every candidate, one after the other in one program.

    Args:
        probs: Probabilities of the classes.
        labels: Classes.
        mask: True where a frame counts.
        candidates: Corrections to try, e.g. of :func:`prior_corrections`.
        after: What is done to corrected probabilities before the decision, e.g.
            smoothing; None does nothing, and then a temperature has no effect of its
            own on decisions.
    """

    def score(candidate: Correction) -> Array:
        changed = correct(probs, candidate)
        changed = changed if after is None else after(changed)
        return task_metrics("EXPR", changed, labels, mask)["f1_macro"]

    return jax.lax.map(score, candidates)


def choose_correction(
    probs: Float[Array, "frames classes"],
    labels: Int[Array, " frames"],
    mask: Bool[Array, " frames"],
    candidates: Correction,
    *,
    after: Callable[[Array], Array] | None = None,
) -> Correction:
    """The candidate with the best macro F1; of equal ones the first.

    The arguments are those of :func:`score_corrections`.
    """
    f1 = score_corrections(probs, labels, mask, candidates, after=after)
    best = jnp.argmax(f1)
    return Correction(candidates.temperature[best], candidates.offsets[best])
