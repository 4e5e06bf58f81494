"""The rows with fewer frames, and how scores fall with the frames embedded."""

import dataclasses
import pathlib
from typing import Any

import numpy as np
from jaxtyping import Array, Bool, Float

from avemo_jax.models.embedded_frames import dense_split, ruled_scores
from avemo_jax.models.selection import best_seed
from avemo_jax.postprocess.frame_rate import comparison
from avemo_jax.postprocess.frame_rate import rules as rate_rules
from avemo_jax.postprocess.frame_rate.comparison import (
    ALL_FRAMES,
    RateChoice,
    RatePoint,
)
from avemo_jax.postprocess.frame_rate.refinement import Refined
from avemo_jax.postprocess.frame_rate.rules import Family, FrameRateRule
from avemo_jax.postprocess.smoothing import Smoothing
from avemo_jax.results_table import rate_plots
from avemo_jax.results_table.evaluation import RowResult, unsmoothed
from avemo_jax.tasks import Task

GOAL_SHARE = 0.05


@dataclasses.dataclass(frozen=True)
class Rates:
    """All rules on both splits, for the seed that is best on dev.

    Attributes:
        row: The smoothed row whose frames they leave out.
        seed: Index of the seed.
        smoothing: Its window.
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
        """Of the row."""
        return self.row.judged.task

    def thresholds(self, seed: int) -> Float[np.ndarray, " units"] | None:
        """AU: of one seed."""
        limits = self.row.selection.thresholds
        return None if limits is None else limits[seed]

    def apply(
        self, rule: FrameRateRule, scores: Float[Array, "frames outputs"], seed: int
    ) -> Refined:
        """What a rule makes of one seed's scores of the reported split."""
        fill_map = self.row.judged.reported.fill_map
        return comparison.apply_rule(
            *(self.task, rule, np.asarray(scores)),
            *(np.asarray(fill_map.lo), np.asarray(fill_map.hi)),
            smoothing=self.smoothing,
            thresholds=self.thresholds(seed),
        )

    def point(self, rule: FrameRateRule) -> RatePoint:
        """On the reported split."""
        return next(p for p in self.reported if p.rule == rule)


def measure_rates(row: RowResult) -> Rates:
    """All rules, fitted on dev, of the seed that is best on dev."""
    judged = row.judged
    seed = best_seed(row.selection, judged.model.card)
    smoothing = row.selection.smoothings[seed]
    if smoothing[0] == "none":
        smoothing = judged.task.fixed_smoothing
    limits = row.selection.thresholds
    own: Any = {
        "smoothing": smoothing,
        "thresholds": None if limits is None else limits[seed],
    }
    dev, reported = (
        dense_split(predicted, unsmoothed(predicted, row)[seed])
        for predicted in (judged.dev, judged.reported)
    )
    rules = comparison.rules_of_dev(judged.task, dev, **own)
    return Rates(
        row=row,
        seed=seed,
        smoothing=smoothing,
        dev=comparison.evaluate_rules(judged.task, dev, rules, **own),
        reported=comparison.evaluate_rules(judged.task, reported, rules, **own),
    )


def chosen_rule(rates: Rates, family: Family) -> RateChoice:
    """The rule of one family that is chosen on dev."""
    return comparison.choose_in_family(rates.dev, family)


def with_rule(
    rates: Rates, rule: FrameRateRule
) -> tuple[Float[Array, "seeds frames outputs"], Bool[np.ndarray, "seeds frames"]]:
    """Final scores of every reported frame by each seed, and which are embedded."""
    windowed = rates.row.finished.windowed
    return ruled_scores(
        *(rates.row.judged.reported, windowed),
        [rule] * len(windowed),
        [rates.smoothing] * len(windowed),
        rates.row.selection.thresholds,
    )


def summary(rates: Rates, images_per_s: float) -> dict[str, Any]:
    """What the curves say, for results.json and results.md.

    Args:
        rates: Of one task.
        images_per_s: Of the extractor, for the time saved.
    """
    families = {
        family: [p for p in rates.reported if p.rule.family == family]
        for family in (rate_rules.FIXED, rate_rules.REFINED)
    }
    refined, fixed = (families[f] for f in (rate_rules.REFINED, rate_rules.FIXED))
    honest = comparison.by_family(comparison.best_of_dev(rates.dev, rates.reported))
    choice = comparison.choose_rule(_few(rates))
    full = rates.point(ALL_FRAMES)
    mine = rates.point(choice.rule)
    frames = len(rates.row.judged.reported.table.dense_labels)
    return {
        "smoothing": f"{rates.smoothing[0]} ±{rates.smoothing[1]}",
        "score_of_all_frames": full.score,
        "chosen_on_dev": choice.to_dict(),
        "reported": {"share_embedded": mine.share, "score": mine.score},
        "goal_met": bool(mine.score >= full.score - 0.002 and mine.share <= 0.05),
        "at_5_percent": {family: _at_goal(rates, family) for family in families},
        # An envelope chosen on the reported split flatters the family of more rules.
        "refinement_less_fixed": {
            "rules_of_dev": comparison.area_between(
                honest[rate_rules.REFINED], honest[rate_rules.FIXED]
            )._asdict(),
            "own_envelope": comparison.area_between(refined, fixed)._asdict(),
        },
        "images_per_s": images_per_s,
        "seconds_of_all_frames": frames / images_per_s,
        "seconds_saved": comparison.seconds_saved(mine.share, frames, images_per_s),
    }


def _few(rates: Rates) -> list[RatePoint]:
    """Points on dev of the rules that really leave frames out."""
    kept = (rate_rules.FIXED, rate_rules.REFINED)
    return [p for p in rates.dev if p.rule.family in kept]


def _at_goal(rates: Rates, family: str) -> dict[str, Any] | None:
    """The rule of a family that is best on dev with 5 % of the frames."""
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
    """The plot of the reported split's points."""
    full = rates.point(ALL_FRAMES)
    rate_plots.plot_frame_rates(
        path,
        comparison.by_family(rates.reported),
        title,
        metric=rates.task.headline,
        full_score=full.score,
        chosen=comparison.choose_rule(_few(rates)),
    )
