"""Probabilities brought to how often they come true, without changing a decision.

Classes get one slope of their log-probabilities, which is 1 / temperature (Guo et al.,
2017): it makes all probabilities surer or more modest, and the order of the classes
stays. Units get a slope and an intercept of the logit each (Platt, 1999): losses that
weigh rare units up make their probabilities too high as a whole, which no temperature
takes back, and thresholds are mapped along, so that decisions stay all the same.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int

LEAST = 1e-7  # probabilities are taken to be at least this far from 0, and from 1
SLOPES = (0.05, 20.0)
INTERCEPTS = (-20.0, 20.0)
_MOST_STEPS = 100
_MOST_HALVINGS = 40
_FLAT = 1e-10  # largest gradient that counts as none
_RIDGE = 1e-12  # share of the curvature that keeps equations solvable
_LEAST_WRITTEN = 1e-30  # what float32 holds without loss of digits

# At one place: the value, the gradient, the matrix of second derivatives.
_Place = tuple[float, Float[np.ndarray, " n"], Float[np.ndarray, "n n"]]


def fit_classes(
    probs: Float[np.ndarray, "frames classes"], labels: Int[np.ndarray, " frames"]
) -> float:
    """The slope of log-probabilities with the least negative log-likelihood.

    The likelihood is convex in the slope, and every frame weighs the same. Where the
    labels have the highest probability in every frame there is no such slope, and the
    upper end of ``SLOPES`` comes out; the lower end where a flat guess is better.

    Args:
        probs: Probabilities of the classes, one frame or more.
        labels: Class of each frame.
    """
    logs = np.log(np.maximum(probs.astype(np.float64), LEAST))
    over = logs - np.take_along_axis(logs, labels[:, None].astype(np.int64), axis=1)

    def place(at: Float[np.ndarray, " 1"]) -> _Place:
        powers = at[0] * over
        most = powers.max(axis=1, keepdims=True)
        shares = np.exp(powers - most)
        sums = shares.sum(axis=1, keepdims=True)
        shares /= sums
        mean = (shares * over).sum(axis=1)
        spread = (shares * over**2).sum(axis=1) - mean**2
        value = float((most + np.log(sums)).mean())
        return value, np.array([mean.mean()]), np.array([[spread.mean()]])

    return float(_minimum(place, np.ones(1), (SLOPES,))[0])


def fit_units(
    scores: Float[np.ndarray, "frames units"], labels: Int[np.ndarray, "frames units"]
) -> tuple[Float[np.ndarray, " units"], Float[np.ndarray, " units"]]:
    """Slope and intercept of each unit's logit with the least negative log-likelihood.

    Every frame weighs the same. Where a unit's active frames all score above the
    others, the slope is the upper end of ``SLOPES``. A unit that is active, or
    inactive, in every frame keeps its scores: slope 1, intercept 0.

    Args:
        scores: Probabilities of the units.
        labels: 0 or 1; others count nowhere.

    Returns:
        The slopes, and the intercepts.
    """
    found = np.tile([1.0, 0.0], (labels.shape[1], 1))
    for i, (column, truth) in enumerate(zip(scores.T, labels.T, strict=True)):
        active = truth[truth >= 0] == 1
        if active.any() and not active.all():
            found[i] = _fit_unit(_logits(column[truth >= 0]), active)
    return found[:, 0], found[:, 1]


def _fit_unit(
    logits: Float[np.ndarray, " frames"], active: Bool[np.ndarray, " frames"]
) -> Float[np.ndarray, " 2"]:
    """Slope and intercept of one unit that has frames of both kinds."""

    def place(at: Float[np.ndarray, " 2"]) -> _Place:
        powers = at[0] * logits + at[1]
        small = np.exp(-np.abs(powers))
        value = np.maximum(powers, 0) + np.log1p(small) - active * powers
        share = np.where(powers >= 0, 1, small) / (1 + small)
        over, weight = share - active, share * (1 - share)
        gradient = np.array([(over * logits).mean(), over.mean()])
        mixed = (weight * logits).mean()
        curvature = [[(weight * logits**2).mean(), mixed], [mixed, weight.mean()]]
        return float(value.mean()), gradient, np.array(curvature)

    return _minimum(place, np.array([1.0, 0.0]), (SLOPES, INTERCEPTS))


def _minimum(
    place: Callable[[Float[np.ndarray, " n"]], _Place],
    start: Float[np.ndarray, " n"],
    bounds: tuple[tuple[float, float], ...],
) -> Float[np.ndarray, " n"]:
    """Where a convex function is least within bounds, by Newton's steps.

    A step is cut to the bounds, and halved until the function falls. A bound that the
    function falls towards is kept, and steps go along it.
    """
    low, high = np.array(bounds).T
    at, (value, gradient, curvature) = start, place(start)
    for _ in range(_MOST_STEPS):
        free = ~(((at <= low) & (gradient > 0)) | ((at >= high) & (gradient < 0)))
        if not free.any() or np.abs(gradient[free]).max() < _FLAT:
            break
        own = curvature[np.ix_(free, free)]
        ridge = _RIDGE * max(np.trace(own), 1.0) * np.eye(len(own))
        step = np.zeros_like(at)
        step[free] = np.linalg.solve(own + ridge, gradient[free])
        for halving in range(_MOST_HALVINGS):
            tried = np.clip(at - step / 2**halving, low, high)
            found = place(tried)
            if found[0] < value:
                break
        else:
            break
        at, (value, gradient, curvature) = tried, found
    return at


def scale_classes(
    probs: Float[np.ndarray, "*axes classes"], slope: float
) -> Float[np.ndarray, "*axes classes"]:
    """Probabilities with a slope of their logarithms; the class decided stays.

    Args:
        probs: Probabilities of the classes; NaN stays.
        slope: Above 0: over 1 makes them surer, below 1 more modest.

    Returns:
        Float32. Where rounding makes two classes alike, the decided one is the next
        larger number.
    """
    powers = slope * np.log(np.maximum(probs.astype(np.float64), LEAST))
    shares = np.exp(powers - powers.max(axis=-1, keepdims=True))
    found = (shares / shares.sum(axis=-1, keepdims=True)).astype(np.float32)
    decided = probs.argmax(axis=-1)[..., None]
    moved = found.argmax(axis=-1)[..., None] != decided
    most = found.max(axis=-1, keepdims=True)
    own = np.take_along_axis(found, decided, axis=-1)
    above = np.where(moved, np.nextafter(most, np.float32(2)), own)
    np.put_along_axis(found, decided, above, axis=-1)
    return found


def scale_units(
    scores: Float[np.ndarray, "*axes units"],
    slopes: Float[np.ndarray, " units"],
    intercepts: Float[np.ndarray, " units"],
    thresholds: Float[np.ndarray, " units"],
) -> tuple[Float[np.ndarray, "*axes units"], Float[np.ndarray, " units"]]:
    """Probabilities of units with a slope and an intercept of their logits.

    Args:
        scores: Probabilities of the units; NaN stays.
        slopes: Slope of each unit, above 0.
        intercepts: Intercept of each unit.
        thresholds: Threshold of each unit, at or over which it is active.

    Returns:
        The probabilities, and the thresholds that decide as ``thresholds`` do of
        ``scores``, both float32. Where rounding would make a score reach its threshold
        that did not, it is the next number below.
    """
    limits = _sigmoid(slopes * _logits(thresholds) + intercepts)
    found = _sigmoid(slopes * _logits(scores) + intercepts)
    below = (found >= limits) & (scores < thresholds)
    under = np.nextafter(limits, np.float32(0))
    return np.where(below, under, found), limits


def _logits(scores: Float[np.ndarray, "*axes"]) -> Float[np.ndarray, "*axes"]:
    wide = np.clip(scores.astype(np.float64), LEAST, 1 - LEAST)
    return np.log(wide) - np.log1p(-wide)


def _sigmoid(logits: Float[np.ndarray, "*axes"]) -> Float[np.ndarray, "*axes"]:
    small = np.exp(-np.abs(logits))
    share = np.where(logits >= 0, 1, small) / (1 + small)
    found: Float[np.ndarray, "*axes"] = np.maximum(share, _LEAST_WRITTEN)
    return found.astype(np.float32)
