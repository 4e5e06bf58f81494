"""Bias-corrected and accelerated intervals, for scores of few videos or speakers.

Percentiles of resamples do not see that the score of a few is biased, nor that its
spread changes with it. BCa moves both ends by the bias of the resamples, and by the
change of the spread, which is told by leaving out one video after another.

Efron, "Better Bootstrap Confidence Intervals", 1987; Efron and Tibshirani, "An
Introduction to the Bootstrap", 1993, section 14.3.
"""

import statistics

import numpy as np
from jaxtyping import Float

FEW = 40  # of fewer videos or speakers, percentiles alone are not enough
_NORMAL = statistics.NormalDist()
_ROUNDING = 16  # of the smallest steps of a float near 1: what sums of frames may lose


def bca_ends(
    value: float,
    samples: Float[np.ndarray, " resamples"],
    left_out: Float[np.ndarray, " videos"],
    level: float = 0.95,
) -> list[float] | None:
    """Ends of the bias-corrected and accelerated interval of one score.

    Resamples that equal the score count half. Numbers that differ by no more than their
    rounding are equal; where none of ``left_out`` differs, the acceleration is 0.

    Args:
        value: The score of all videos as they are.
        samples: The score of every resample.
        left_out: The score without each of the videos, in any order.
        level: Share of the resamples inside the interval, in (0, 1).

    Returns:
        Lower and upper end, equal where all resamples equal the score; None where there
        is no such interval: all resamples lie on one side of the score, so that the
        bias is infinite, or the acceleration carries an end past every quantile.
    """
    step = float(np.finfo(samples.dtype).eps)
    equal = _ROUNDING * step * max(1.0, abs(value))
    wide = np.asarray(samples, np.float64)
    apart = wide - value
    below = (apart < -equal).mean() + (np.abs(apart) <= equal).mean() / 2
    if not 0 < below < 1:
        return None
    bias = _NORMAL.inv_cdf(float(below))
    acceleration = acceleration_of(left_out, equal)
    shares = []
    for tail in ((1 - level) / 2, (1 + level) / 2):
        moved = bias + _NORMAL.inv_cdf(tail)
        divisor = 1 - acceleration * moved
        if divisor <= 0:
            return None
        shares.append(_NORMAL.cdf(bias + moved / divisor))
    ends: list[float] = np.quantile(wide, shares).tolist()
    return ends


def acceleration_of(
    left_out: Float[np.ndarray, " videos"], equal: float = 0.0
) -> float:
    """A sixth of the skewness of a score's jackknife, between -1/6 and 1/6.

    Args:
        left_out: The score without each of the videos.
        equal: Distance from their mean up to which numbers are equal to it.
    """
    values = np.asarray(left_out, np.float64)
    away = values.mean() - values
    away = np.where(np.abs(away) <= equal, 0, away)
    spread = float((away**2).sum())
    return float((away**3).sum()) / (6 * spread**1.5) if spread else 0.0
