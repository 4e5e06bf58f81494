"""Which frames are embedded: the rule chosen on dev, and a split's scores by it.

A rule of ``postprocess/frame_rate/`` takes the place of smoothing over all frames: it
uses only the scores of the frames that it embeds, and smooths them by the smoothing
that was chosen for the seed.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from avemo_jax.models.frame_scores import SplitScores, dense_scores
from avemo_jax.models.selection import NO_SMOOTHING, Selection
from avemo_jax.postprocess.clips import Clips
from avemo_jax.postprocess.frame_rate import comparison
from avemo_jax.postprocess.frame_rate.comparison import DenseSplit, RateChoice
from avemo_jax.postprocess.frame_rate.rules import (
    FAMILIES,
    REFINED,
    FrameRate,
    FrameRateRule,
)
from avemo_jax.postprocess.smoothing import Smoothing


class RuledScores(NamedTuple):
    """Scores by the rules of several seeds.

    Attributes:
        dense: Final scores of every frame.
        embedded: Frames that each seed's rule embeds.
        window_shares: How many entries of windows are looked at, as a share of all
            entries of all windows; the original's count, over 1 where a sequential rule
            looks at many of them again.
    """

    dense: Float[Array, "seeds frames outputs"]
    embedded: Bool[np.ndarray, "seeds frames"]
    window_shares: Float[np.ndarray, " seeds"]


def dense_split(
    predicted: SplitScores, rows: Float[np.ndarray, "rows outputs"]
) -> DenseSplit:
    """One seed's scores of every frame, gaps filled and not smoothed, with labels.

    Args:
        predicted: Scores of the split.
        rows: The seed's scores of its rows, from ``frame_scores.smoothable``.
    """
    (scores,) = dense_scores(predicted, rows[None], (NO_SMOOTHING,))
    return DenseSplit(
        np.asarray(scores),
        np.asarray(predicted.fill_map.lo),
        np.asarray(predicted.fill_map.hi),
        predicted.table.dense_labels,
        predicted.with_crop,
    )


def choose_rates(
    predicted: SplitScores,
    wanted: FrameRate,
    rows: Float[np.ndarray, "seeds rows outputs"],
    smoothings: Sequence[Smoothing],
    thresholds: Float[np.ndarray, "seeds units"] | None,
    clips: Clips | None = None,
) -> tuple[RateChoice, ...]:
    """Each seed's rule, chosen on dev by the frames with a crop.

    Args:
        predicted: Scores on dev.
        wanted: The kind of rule, other than "all".
        rows: Scores of dev's rows, blended and corrected.
        smoothings: Smoothing chosen for each seed.
        thresholds: Thresholds of the action units chosen for each seed; None for other
            tasks.
        clips: The clips that rules are scored by; None: by frames.
    """
    chosen = []
    for seed, smoothing in enumerate(smoothings):
        choice = comparison.choose_on_dev(
            predicted.task,
            dense_split(predicted, rows[seed]),
            wanted,
            smoothing=smoothing,
            thresholds=None if thresholds is None else thresholds[seed],
            clips=clips,
        )
        chosen.append(_with_reach(choice, smoothing))
    return tuple(chosen)


def fixed_rates(
    wanted: FrameRate, num_seeds: int, reason: str
) -> tuple[RateChoice, ...] | None:
    """The fixed stride for each seed where nothing may be chosen; None with "all".

    Args:
        wanted: The rule of the configuration.
        num_seeds: How many seeds there are.
        reason: Why nothing may be chosen, for the error.

    Raises:
        ValueError: If the rule would have to be chosen.
    """
    if wanted.is_chosen:
        raise ValueError(
            f"config.postprocess.frame_rate.rule is {wanted.rule!r} with stride "
            f"{wanted.stride}, and nothing may be chosen on dev: {reason}; expected a "
            "rule without a choice; take 'stride' with a stride of 1 or more, or 'all'"
        )
    if wanted.rule == "all":
        return None
    (strides,) = wanted.lists
    return (RateChoice(FrameRateRule(FAMILIES[wanted.rule], strides)),) * num_seeds


def ruled_scores(
    predicted: SplitScores,
    rows: Float[np.ndarray, "seeds rows outputs"],
    rules: Sequence[FrameRateRule],
    smoothings: Sequence[Smoothing],
    thresholds: Float[np.ndarray, "seeds units"] | None,
) -> RuledScores:
    """Final scores of every frame by each seed, and what they cost.

    Args:
        predicted: Scores of the split.
        rows: Scores of its rows, blended and corrected.
        rules: The rule of each seed.
        smoothings: Smoothing of each seed.
        thresholds: Thresholds of the action units by each seed; None for other tasks.
    """
    found = []
    for seed, (rule, smoothing) in enumerate(zip(rules, smoothings, strict=True)):
        outcome = comparison.apply_rule(
            predicted.task,
            rule,
            *dense_split(predicted, rows[seed])[:3],
            smoothing=smoothing,
            thresholds=None if thresholds is None else thresholds[seed],
        )
        found.append(outcome)
    return RuledScores(
        jnp.stack([outcome.refined.scores for outcome in found]),
        np.stack([np.asarray(outcome.refined.embedded) for outcome in found]),
        np.array([outcome.window_share for outcome in found]),
    )


def _with_reach(choice: RateChoice, smoothing: Smoothing) -> RateChoice:
    """The choice with its reach in frames, so that the card alone tells the rule."""
    rule = choice.rule
    if rule.family != REFINED or rule.reach is not None:
        return choice
    return dataclasses.replace(
        choice, rule=dataclasses.replace(rule, reach=smoothing[1])
    )


def by_rules(
    predicted: SplitScores,
    selection: Selection,
    unsmoothed: Float[np.ndarray, "seeds rows outputs"],
) -> RuledScores:
    """What the seeds' rules for the frames to embed give; there is one for each."""
    assert selection.frame_rates is not None
    rules = [choice.rule for choice in selection.frame_rates]
    return ruled_scores(
        predicted, unsmoothed, rules, selection.smoothings, selection.thresholds
    )
