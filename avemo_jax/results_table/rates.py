"""The rows with fewer frames, and how scores fall with the frames embedded."""

import dataclasses
import pathlib
from typing import Any

import numpy as np
from jaxtyping import Array, Bool, Float

from avemo_jax.models.embedded_frames import dense_split, ruled_scores
from avemo_jax.models.selection import best_seed
from avemo_jax.postprocess.frame_rate import comparison
from avemo_jax.postprocess.frame_rate.comparison import (
    ALL_FRAMES,
    TOLERANCE,
    RateChoice,
    RatePoint,
)
from avemo_jax.postprocess.frame_rate.refinement import Refined
from avemo_jax.postprocess.frame_rate.rules import (
    FIXED,
    REFINED,
    Family,
    FrameRateRule,
)
from avemo_jax.postprocess.smoothing import Smoothing
from avemo_jax.results_table import rate_plots
from avemo_jax.results_table.evaluation import RowResult, unsmoothed
from avemo_jax.tasks import Task

GOAL_SHARE = 0.05


@dataclasses.dataclass(frozen=True)
class Rates:
    """All rules on both splits, for the seed that is best on dev.

    Attributes:
        row: The smoothed row whose frames the rules leave out.
        seed: Index of the seed.
        smoothing: Smoothing of the seed.
        dev: Points on dev.
        reported: Points on the reported split, in the same order.
    """

    row: RowResult
    seed: int
    smoothing: Smoothing
    dev: list[RatePoint]
    reported: list[RatePoint]

    @property
    def task(self) -> Task:
        """The task of the row."""
        return self.row.evaluated.task

    def thresholds(self, seed: int) -> Float[np.ndarray, " units"] | None:
        """AU: thresholds of one seed; None for other tasks."""
        limits = self.row.selection.thresholds
        return None if limits is None else limits[seed]

    def apply(
        self, rule: FrameRateRule, scores: Float[Array, "frames outputs"], seed: int
    ) -> Refined:
        """A rule applied to one seed's scores of the reported split's frames."""
        fill_map = self.row.evaluated.reported.fill_map
        return comparison.apply_rule(
            self.task,
            rule,
            np.asarray(scores),
            np.asarray(fill_map.lo),
            np.asarray(fill_map.hi),
            smoothing=self.smoothing,
            thresholds=self.thresholds(seed),
        )

    def point(self, rule: FrameRateRule) -> RatePoint:
        """The rule's point on the reported split."""
        return next(p for p in self.reported if p.rule == rule)


def measure_rates(row: RowResult) -> Rates:
    """All rules, fitted on dev, for the seed that is best on dev."""
    evaluated = row.evaluated
    seed = best_seed(row.selection, evaluated.model.card.dev_scores)
    smoothing = row.selection.smoothings[seed]
    if smoothing[0] == "none":
        smoothing = evaluated.task.fixed_smoothing
    limits = row.selection.thresholds
    own: Any = {
        "smoothing": smoothing,
        "thresholds": None if limits is None else limits[seed],
    }
    dev, reported = (
        dense_split(predicted, unsmoothed(predicted, row)[seed])
        for predicted in (evaluated.dev, evaluated.reported)
    )
    rules = comparison.rules_of_dev(evaluated.task, dev, **own)
    return Rates(
        row=row,
        seed=seed,
        smoothing=smoothing,
        dev=comparison.evaluate_rules(evaluated.task, dev, rules, **own),
        reported=comparison.evaluate_rules(evaluated.task, reported, rules, **own),
    )


def chosen_rule(rates: Rates, family: Family) -> RateChoice:
    """The rule of one family that is chosen on dev."""
    return comparison.choose_in_family(rates.dev, family)


def with_rule(
    rates: Rates, rule: FrameRateRule
) -> tuple[Float[Array, "seeds frames outputs"], Bool[np.ndarray, "seeds frames"]]:
    """Final scores of every reported frame by each seed, and which are embedded."""
    rows = rates.row.finished.unsmoothed
    return ruled_scores(
        rates.row.evaluated.reported,
        rows,
        [rule] * len(rows),
        [rates.smoothing] * len(rows),
        rates.row.selection.thresholds,
    )


def summary(rates: Rates, images_per_s: float) -> dict[str, Any]:
    """Scores with few frames in numbers, for results.json and results.md.

    Args:
        rates: All rules of one task.
        images_per_s: Rate of the extractor, for the time saved.
    """
    families = {
        family: [p for p in rates.reported if p.rule.family == family]
        for family in (FIXED, REFINED)
    }
    refined, fixed = families[REFINED], families[FIXED]
    honest = comparison.by_family(comparison.best_of_dev(rates.dev, rates.reported))
    choice = comparison.choose_rule(_few(rates))
    full = rates.point(ALL_FRAMES)
    point = rates.point(choice.rule)
    frames = len(rates.row.evaluated.reported.table.dense_labels)
    return {
        "smoothing": f"{rates.smoothing[0]} ±{rates.smoothing[1]}",
        "score_of_all_frames": full.score,
        "chosen_on_dev": choice.to_dict(),
        "reported": {"share_embedded": point.share, "score": point.score},
        "goal_met": bool(
            point.score >= full.score - TOLERANCE and point.share <= GOAL_SHARE
        ),
        "at_5_percent": {family: _at_goal(rates, family) for family in families},
        # An envelope chosen on the reported split flatters the family of more rules.
        "refinement_less_fixed": {
            "rules_of_dev": comparison.area_between(
                honest[REFINED], honest[FIXED]
            )._asdict(),
            "own_envelope": comparison.area_between(refined, fixed)._asdict(),
        },
        "images_per_s": images_per_s,
        "seconds_of_all_frames": frames / images_per_s,
        "seconds_saved": comparison.seconds_saved(point.share, frames, images_per_s),
    }


def _few(rates: Rates) -> list[RatePoint]:
    """Points on dev of the rules that really leave frames out."""
    return [p for p in rates.dev if p.rule.family in (FIXED, REFINED)]


def _at_goal(rates: Rates, family: str) -> dict[str, Any] | None:
    """The family's best rule on dev that embeds at most 5 % of the frames."""
    near = [p for p in rates.dev if p.rule.family == family and p.share <= GOAL_SHARE]
    if not near:
        return None
    best = max(near, key=lambda p: (p.score, -p.share))
    found = rates.point(best.rule)
    return {
        "rule": best.rule.to_dict(),
        "share_embedded": found.share,
        "score": found.score,
    }


def draw_rates(rates: Rates, path: pathlib.Path, title: str) -> None:
    """Draws the reported split's points into ``path``."""
    full = rates.point(ALL_FRAMES)
    rate_plots.plot_frame_rates(
        path,
        comparison.by_family(rates.reported),
        title,
        metric=rates.task.headline,
        full_score=full.score,
        chosen=comparison.choose_rule(_few(rates)),
    )
