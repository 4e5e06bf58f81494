"""How far two codings of the same frames agree: of classes, of units, of values.

Both codings have the same standing here, unlike predictions and labels. What is not
defined is NaN: kappa where both coders use one and the same class, so that chance alone
would agree fully, and ICC and CCC of values without any spread.

Cohen, "A Coefficient of Agreement for Nominal Scales", 1960. Shrout and Fleiss,
"Intraclass Correlations: Uses in Assessing Rater Reliability", 1979. Lin, "A
Concordance Correlation Coefficient to Evaluate Reproducibility", 1989. Cicchetti and
Feinstein, "High Agreement but Low Kappa: II. Resolving the Paradoxes", 1990.
"""

from typing import Any

from avemo_jax.metrics.states import Confusion, Moments, Scores, State


def agreement_of(state: State) -> Scores:
    """The agreement of two codings in each set of frames.

    Args:
        state: States of sets, ``Confusion`` or ``Moments``. Rows of a confusion are one
            coding's classes, columns the other's. Of ``Moments``, the predictions are
            the first coding.

    Returns:
        Classes: ``agreement``, the share of frames with the same class; ``kappa``;
        for each class against all others ``kappa_per_class`` and
        ``agreement_per_class``, the share of both codings' frames of the class that
        both give it (specific agreement, which is F1). Values: ``icc``, ICC(2,1), of
        absolute agreement of single ratings; ``ccc``; ``difference``, the mean of the
        first less that of the second. With one output or several, all have an axis of
        outputs.

    Raises:
        TypeError: If the state is ``Hits``, which lack the frames that neither has.
    """
    if isinstance(state, Confusion):
        return _of_classes(state.counts)
    if isinstance(state, Moments):
        return _of_values(state)
    raise TypeError(
        f"a state {type(state).__name__}; expected Confusion or Moments: make it with "
        "a task of classes or values"
    )


def _of_classes(counts: Any) -> Scores:
    xp = counts.__array_namespace__()
    both = xp.diagonal(counts, axis1=-2, axis2=-1)
    first, second = counts.sum(axis=-1), counts.sum(axis=-2)
    total = counts.sum(axis=(-2, -1))
    one = total[..., None]
    # Each class against all others is a table of two classes.
    same = one - first - second + 2 * both
    chance = first * second + (one - first) * (one - second)
    return {
        "agreement": _ratio(both.sum(axis=-1), total),
        "kappa": _kappa(both.sum(axis=-1), (first * second).sum(axis=-1), total),
        "kappa_per_class": _kappa(same, chance, one),
        "agreement_per_class": _ratio(2 * both, first + second),
    }


def _kappa(same: Any, chance: Any, total: Any) -> Any:
    """Cohen's kappa.

    Args:
        same: Number of frames with the same class.
        chance: Number expected by chance, times the number of frames.
        total: Number of frames.
    """
    return _ratio(same * total - chance, total * total - chance)


def _of_values(state: Moments) -> Scores:
    """Scores of values, from sums alone.

    For two raters the mean squares of Shrout and Fleiss are, with n frames, D the
    difference of the means, C the comoment and S the sum of squared differences:
    between frames less residual 2 C / (n - 1), their sum (S - n D^2 + 2 C) / (n - 1),
    residual (S - n D^2) / (2 (n - 1)), between raters n D^2 / 2.
    """
    xp = state.mean.__array_namespace__()
    frames = state.num_frames[..., None]
    mean = state.mean + state.shift
    difference = mean[..., 0, :] - mean[..., 1, :]
    twice = 2 * state.comoment
    apart = xp.maximum(state.squares - frames * difference**2, 0)
    free = xp.maximum(frames - 1, 1)
    between_raters = difference**2 - apart / (free * xp.maximum(frames, 1))
    # Equal constants have no spread; rounding may leave another number than 0.
    flat = (state.least >= state.greatest).all(axis=-2) & (difference == 0)
    icc = _ratio(twice / free, (apart + twice) / free + between_raters)
    ccc = _ratio(twice, state.squares + twice)
    return {
        "icc": xp.where(flat | (frames < 2), xp.nan, icc),
        "ccc": xp.where(flat, xp.nan, ccc),
        "difference": xp.where(frames > 0, difference, xp.nan),
    }


def _ratio(above: Any, below: Any) -> Any:
    """A quotient, NaN where the divisor is 0."""
    xp = below.__array_namespace__()
    return xp.where(below == 0, xp.nan, above / xp.where(below == 0, 1, below))
