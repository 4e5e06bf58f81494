"""Few frames instead of all: what each rule costs and scores, and which to take.

The rules are those of ``rules.py``; ``fitting.py`` fits and runs them.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from avemo_jax.metrics.scores import task_metrics
from avemo_jax.postprocess.clips import Clips, scored_units
from avemo_jax.postprocess.frame_rate.fitting import (
    RuleOutcome,
    fit_refined,
    fit_rules,
    fit_sequential,
    run_rules,
)
from avemo_jax.postprocess.frame_rate.rules import (
    FAMILIES,
    FIXED,
    Family,
    FrameRate,
    FrameRateRule,
)
from avemo_jax.postprocess.smoothing import Smoothing
from avemo_jax.tasks import Task

TOLERANCE = 0.002
ALL_FRAMES = FrameRateRule(FIXED, (1,))


class DenseSplit(NamedTuple):
    """One seed's scores of every frame of a split, before smoothing.

    Attributes:
        scores: Finite; one video after the other, gaps filled (``gaps.fill``).
        lo: Where the video of each frame begins (``FillMap.lo``).
        hi: One past the end of each frame's video.
        labels: Labels in the task's form.
        mask: True where a frame counts for the score.
    """

    scores: Float[np.ndarray, "frames outputs"]
    lo: Int[np.ndarray, " frames"]
    hi: Int[np.ndarray, " frames"]
    labels: Shaped[np.ndarray, "frames ..."]
    mask: Bool[np.ndarray, " frames"]


@dataclasses.dataclass(frozen=True)
class RatePoint:
    """What a rule costs on a split, and its score.

    Attributes:
        rule: The rule.
        share: Share of all frames that are embedded.
        window_share: Share of all entries of all windows that are of embedded frames
            and are looked at; the original's count.
        score: The task's headline score with the rule.
    """

    rule: FrameRateRule
    share: float
    window_share: float
    score: float


@dataclasses.dataclass(frozen=True)
class RateChoice:
    """The rule chosen on dev.

    Attributes:
        rule: The rule.
        share: Share of dev's frames that are embedded; None where a fixed stride was
            given and there is no dev to try it on.
        score: Headline score on dev with the rule; None where ``share`` is.
        full_score: Headline score on dev with all frames; None where ``share`` is.
    """

    rule: FrameRateRule
    share: float | None = None
    score: float | None = None
    full_score: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The choice in the form that JSON keeps."""
        return dataclasses.asdict(self) | {"rule": self.rule.to_dict()}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "RateChoice":
        """The inverse of :meth:`to_dict`."""
        return cls(**{**stored, "rule": FrameRateRule.from_dict(stored["rule"])})


def by_family(points: Sequence[RatePoint]) -> dict[Family, list[RatePoint]]:
    """The points of each family that has any."""
    found: dict[Family, list[RatePoint]] = {}
    for point in points:
        found.setdefault(point.rule.family, []).append(point)
    return found


def rules_of_dev(
    task: Task,
    dev: DenseSplit,
    *,
    smoothing: Smoothing,
    thresholds: Float[np.ndarray, " units"] | None = None,
) -> tuple[FrameRateRule, ...]:
    """``fit_rules`` on a ``DenseSplit``.

    Args:
        task: The task that is scored.
        dev: Scores on dev, where limits are fitted.
        smoothing: (mode, half width) of the smoothing.
        thresholds: Thresholds of the action units; None is 0.5.
    """
    return fit_rules(task, *dev, smoothing=smoothing, thresholds=thresholds)


def evaluate_rules(
    task: Task,
    split: DenseSplit,
    rules: Sequence[FrameRateRule],
    *,
    smoothing: Smoothing,
    thresholds: Float[np.ndarray, " units"] | None = None,
    clips: Clips | None = None,
) -> list[RatePoint]:
    """The point of each rule, in the order of the rules.

    Args:
        task: The task that is scored.
        split: Scores of the split on which the rules are tried.
        rules: The rules, e.g. from ``fit_rules``.
        smoothing: (mode, half width) of the smoothing; sliding windows take medians.
        thresholds: Thresholds of the action units; None is 0.5.
        clips: The clips to score as wholes; None scores frames.

    Raises:
        ValueError: If no frame counts, or a sequential rule is not for EXPR.
    """
    if not split.mask.any():
        raise ValueError(
            f"none of {len(split.mask)} frames counts; expected labelled ones; "
            "evaluate on a split with labels"
        )
    labels, mask = jnp.asarray(split.labels), jnp.asarray(split.mask)
    units = None if thresholds is None else jnp.asarray(thresholds, jnp.float32)
    found = {}
    where = (split.scores, split.lo, split.hi)
    outcomes = run_rules(
        task, *where, rules, smoothing=smoothing, thresholds=thresholds
    )
    for rule, (refined, window_share) in outcomes:
        what = scored_units(clips, refined.scores, labels, mask)
        scored = task_metrics(task.name, *what, units)
        share = float(np.asarray(refined.embedded).mean())
        score = float(scored[task.headline])
        found[rule] = RatePoint(rule, share, window_share, score)
    return [found[rule] for rule in rules]


def apply_rule(
    task: Task,
    rule: FrameRateRule,
    scores: Float[np.ndarray, "frames outputs"],
    lo: Int[np.ndarray, " frames"],
    hi: Int[np.ndarray, " frames"],
    *,
    smoothing: Smoothing,
    thresholds: Float[np.ndarray, " units"] | None = None,
) -> RuleOutcome:
    """The smoothed scores that a rule gives, and which frames it embeds.

    Args:
        task: The task that is scored.
        rule: The rule, e.g. of a ``RateChoice``.
        scores: Finite scores of every frame, gaps filled and not smoothed.
        lo: Where the video of each frame begins.
        hi: One past the end of each frame's video.
        smoothing: (mode, half width) of the smoothing.
        thresholds: Thresholds of the action units; None is 0.5.

    Raises:
        ValueError: If a sequential rule is not for EXPR.
    """
    ((_, outcome),) = run_rules(
        task, scores, lo, hi, (rule,), smoothing=smoothing, thresholds=thresholds
    )
    return outcome


def choose_rule(
    points: Sequence[RatePoint], tolerance: float = TOLERANCE
) -> RateChoice:
    """The rule that embeds the fewest frames and is nearly as good as all frames.

    Of rules that embed as many, a fixed stride comes first, then the better score.

    Args:
        points: Points of dev; one has the fixed stride 1.
        tolerance: How far below the score of all frames a rule may lie.

    Raises:
        ValueError: If there is no point of all frames.
    """
    full = [p.score for p in points if p.rule == ALL_FRAMES]
    if not full:
        raise ValueError(
            f"{len(points)} points without the fixed stride 1; expected it, as others "
            "are compared with all frames; evaluate it too"
        )
    near = [p for p in points if p.score >= full[0] - tolerance]
    best = min(near, key=lambda p: (p.share, p.rule.family != FIXED, -p.score))
    return RateChoice(best.rule, best.share, best.score, full[0])


def choose_in_family(points: Sequence[RatePoint], family: Family) -> RateChoice:
    """The rule of one family with the fewest frames that is nearly as good as all.

    Where none of the family is nearly as good as all frames, its best rule is taken.

    Args:
        points: Points of dev; the family's, and that of the fixed stride 1.
        family: The family to choose from.

    Raises:
        ValueError: If there is no point of all frames, or none of the family.
    """
    of_family = [p for p in points if p.rule.family == family]
    if not of_family:
        raise ValueError(
            f"{len(points)} points and none of {family!r}; expected some of it; "
            "evaluate its rules too"
        )
    all_frames = [p for p in points if p.rule == ALL_FRAMES]
    choice = choose_rule([*of_family, *all_frames])
    if choice.rule.family == family:
        return choice
    best = max(of_family, key=lambda p: (p.score, -p.share))
    return RateChoice(best.rule, best.share, best.score, choice.full_score)


def choose_on_dev(
    task: Task,
    dev: DenseSplit,
    wanted: FrameRate,
    *,
    smoothing: Smoothing,
    thresholds: Float[np.ndarray, " units"] | None = None,
    clips: Clips | None = None,
) -> RateChoice:
    """The rule of the wanted kind, its limits fitted and the rule chosen on dev.

    One fixed stride leaves no choice: its share and score on dev are measured.

    Args:
        task: The task that is scored.
        dev: Scores on dev, where limits are fitted and the rule is chosen.
        wanted: The kind of rule, other than "all".
        smoothing: (mode, half width) of the smoothing.
        thresholds: Thresholds of the action units; None is 0.5.
        clips: The clips that rules are scored by, once fitted; None: by frames.

    Raises:
        ValueError: If no frame counts, or "sequential" is wanted for other than EXPR.
    """
    family = FAMILIES[wanted.rule]
    how: Any = {"smoothing": smoothing, "thresholds": thresholds}
    if wanted.rule == "refine":
        rules = fit_refined(task, *dev[:3], lists=wanted.lists, **how)
    elif wanted.rule == "sequential":
        rules = fit_sequential(*dev, smoothing[1], wanted.lists)
    else:
        rules = [FrameRateRule(family, strides) for strides in wanted.lists]
    tried = tuple(dict.fromkeys((ALL_FRAMES, *rules)))
    points = evaluate_rules(task, dev, tried, **how, clips=clips)
    if wanted.is_chosen:
        return choose_in_family(points, family)
    full, only = points[0], points[-1]
    return RateChoice(only.rule, only.share, only.score, full.score)


class Area(NamedTuple):
    """How far one family's upper envelope lies above another's.

    Attributes:
        area: Integral of the difference over the natural logarithm of the share;
            negative where the first lies below.
        mean: The area divided by the length of the range: a difference of scores.
        low: Least share that both families reach.
        high: Greatest share that both reach.
    """

    area: float
    mean: float
    low: float
    high: float


def upper_envelope(points: Sequence[RatePoint]) -> list[RatePoint]:
    """The points with a better score than all that embed no more frames, by share."""
    out: list[RatePoint] = []
    for point in sorted(points, key=lambda p: (p.share, -p.score)):
        if not out or point.score > out[-1].score:
            out.append(point)
    return out


def best_of_dev(
    dev: Sequence[RatePoint], points: Sequence[RatePoint]
) -> list[RatePoint]:
    """The points whose rules are on their family's upper envelope of dev.

    An envelope of the reported split is picked on that split, and flatters a family the
    more, the more rules it has. An area between these points does so far less.

    Args:
        dev: Points of dev.
        points: Points of the same rules on another split.
    """
    families = by_family(dev).values()
    best = {point.rule for family in families for point in upper_envelope(family)}
    return [point for point in points if point.rule in best]


def common_shares(*families: Sequence[RatePoint]) -> tuple[float, float]:
    """The least and the greatest share that all families span; none if not rising."""
    low = max(min(p.share for p in points) for points in families)
    high = min(max(p.share for p in points) for points in families)
    return low, high


def area_between(first: Sequence[RatePoint], second: Sequence[RatePoint]) -> Area:
    """Area from the second family's upper envelope up to the first's.

    Envelopes are straight between their points over the logarithm of the share, which
    does justice to a family of few points, and level from the last one to the greatest
    share of the family. The range is what both families span.

    Raises:
        ValueError: If the families have no range in common.
    """
    families = (first, second)
    if not first or not second:
        raise ValueError(
            f"{len(first)} and {len(second)} points; expected some of both families; "
            "evaluate both"
        )
    low, high = common_shares(*families)
    if low >= high:
        raise ValueError(
            f"the families have no shares in common: {low:.4g} to {high:.4g}; expected "
            "curves over one range; evaluate both with coarse and with fine strides"
        )
    envelopes = [upper_envelope(points) for points in families]
    shares = {p.share for curve in envelopes for p in curve if low < p.share < high}
    at = np.log(np.array(sorted({low, high} | shares)))
    heights = [
        np.interp(at, np.log([p.share for p in curve]), [p.score for p in curve])
        for curve in envelopes
    ]
    area = float(np.trapezoid(heights[0] - heights[1], at))
    return Area(area, area / float(at[-1] - at[0]), low, high)


def seconds_saved(share: float, num_frames: int, images_per_s: float) -> float:
    """Time of an extractor that embeds ``share`` of the frames instead of all.

    Raises:
        ValueError: If a number is out of range.
    """
    if not 0 <= share <= 1 or num_frames < 0 or images_per_s <= 0:
        raise ValueError(
            f"share {share} of {num_frames} frames at {images_per_s} images/s; "
            "expected a share in [0, 1], 0 frames or more and a rate above 0; "
            "measure the rate"
        )
    return (1 - share) * num_frames / images_per_s
