"""What rules that leave frames out cost and score, for one trained head.

All rules are fitted on dev and tried on validation, for the seed that is best on dev:
``compare_frame_rates.py RUN/best_model --out DIR`` writes ``frame_rates.png`` and
``frame_rates.json``. To take a rule into use: ``avemo evaluate --frame-rate``.
"""

import argparse
import dataclasses
import pathlib
from typing import Any

from frame_rate_plot import plot_frame_rates

from avemo_jax.batches.tables import memory_budget, open_data
from avemo_jax.evaluation.evaluate import select
from avemo_jax.evaluation.report import model_title
from avemo_jax.metrics.ceilings import metric_titles
from avemo_jax.models.blend import load_heads, scores_by_head
from avemo_jax.models.embedded_frames import dense_split
from avemo_jax.models.frame_scores import corrected_rows, smoothable
from avemo_jax.models.selection import best_seed
from avemo_jax.postprocess.frame_rate import comparison
from avemo_jax.postprocess.frame_rate.comparison import (
    ALL_FRAMES,
    TOLERANCE,
    RateChoice,
    RatePoint,
)
from avemo_jax.postprocess.frame_rate.rules import FIXED, REFINED, FrameRateRule
from avemo_jax.postprocess.smoothing import Smoothing
from avemo_jax.runtime import logs
from avemo_jax.runtime.atomic_files import write_json
from avemo_jax.tasks import Task

GOAL_SHARE = 0.05
# EfficientNet-B2 on 2 CPU cores, by benchmark_extractors.py.
_IMAGES_PER_S = 135.0


@dataclasses.dataclass(frozen=True)
class Rates:
    """All rules on both splits, for the seed that is best on dev.

    Attributes:
        title: What the data is called.
        model: The kind of head and its features.
        task: The task of the head.
        smoothing: Smoothing of the seed.
        dev: Points on dev.
        reported: Points on the reported split, in the same order.
        num_frames: Number of frames of the reported split.
    """

    title: str
    model: str
    task: Task
    smoothing: Smoothing
    dev: list[RatePoint]
    reported: list[RatePoint]
    num_frames: int

    def point(self, rule: FrameRateRule) -> RatePoint:
        """The rule's point on the reported split."""
        return next(p for p in self.reported if p.rule == rule)

    @property
    def choice(self) -> RateChoice:
        """The rule chosen on dev of those that really leave frames out."""
        few = [p for p in self.dev if p.rule.family in (FIXED, REFINED)]
        return comparison.choose_rule(few)


def measure_rates(
    checkpoint: pathlib.Path,
    data_dir: str | None,
    device_budget_gb: float | None = None,
) -> Rates:
    """All rules, fitted on dev, for the seed that is best on dev.

    Args:
        checkpoint: A head checkpoint, or a blend.
        data_dir: Folder of the store; None: the demo corpus.
        device_budget_gb: Memory for tables; None asks the device.
    """
    model, data = load_heads(checkpoint), open_data(data_dir)
    budget = memory_budget(device_budget_gb)
    selection, task = select(model, data, budget), model.task
    seed = best_seed(selection, model.card.dev_scores)
    smoothing = selection.smoothings[seed]
    if smoothing[0] == "none":
        smoothing = task.fixed_smoothing
    limits = selection.thresholds
    how: Any = {
        "smoothing": smoothing,
        "thresholds": None if limits is None else limits[seed],
    }
    splits = []
    for name in ("dev", "validation"):
        predicted = scores_by_head(model, data, name, budget)
        rows = corrected_rows(predicted, selection)
        rows = smoothable(task, rows, selection.raw_thresholds, model.options)
        splits.append(dense_split(predicted, rows[seed]))
    dev, reported = splits
    rules = comparison.rules_of_dev(task, dev, **how)
    return Rates(
        title=data.title,
        model=model_title(model.kind, model.features),
        task=task,
        smoothing=smoothing,
        dev=comparison.evaluate_rules(task, dev, rules, **how),
        reported=comparison.evaluate_rules(task, reported, rules, **how),
        num_frames=len(reported.scores),
    )


def summary(rates: Rates, images_per_s: float) -> dict[str, Any]:
    """Scores with few frames in numbers.

    Args:
        rates: All rules of one head.
        images_per_s: Rate of the extractor, for the time saved.
    """
    families = comparison.by_family(rates.reported)
    # An envelope chosen on the reported split flatters the family of more rules.
    honest = comparison.by_family(comparison.best_of_dev(rates.dev, rates.reported))
    full, point = rates.point(ALL_FRAMES), rates.point(rates.choice.rule)
    areas = {
        name: _area(points[REFINED], points[FIXED])
        for name, points in (("rules_of_dev", honest), ("own_envelope", families))
    }
    return {
        "smoothing": f"{rates.smoothing[0]} ±{rates.smoothing[1]}",
        "score_of_all_frames": full.score,
        "chosen_on_dev": rates.choice.to_dict(),
        "reported": {"share_embedded": point.share, "score": point.score},
        "goal_met": bool(
            point.score >= full.score - TOLERANCE and point.share <= GOAL_SHARE
        ),
        "at_5_percent": {
            family: _at_goal(rates, family) for family in (FIXED, REFINED)
        },
        "refinement_less_fixed": areas,
        "images_per_s": images_per_s,
        "seconds_of_all_frames": rates.num_frames / images_per_s,
        "seconds_saved": comparison.seconds_saved(
            point.share, rates.num_frames, images_per_s
        ),
    }


def _area(refined: list[RatePoint], fixed: list[RatePoint]) -> dict[str, float] | None:
    """How far one family is above the other; None without shares in common."""
    low, high = comparison.common_shares(refined, fixed)
    return comparison.area_between(refined, fixed)._asdict() if low < high else None


def _at_goal(rates: Rates, family: str) -> dict[str, Any] | None:
    """The family's best rule on dev that embeds at most 5 % of the frames."""
    near = [p for p in rates.dev if p.rule.family == family and p.share <= GOAL_SHARE]
    if not near:
        return None
    found = rates.point(max(near, key=lambda p: (p.score, -p.share)).rule)
    return {
        "rule": found.rule.to_dict(),
        "share_embedded": found.share,
        "score": found.score,
    }


def main() -> None:
    """Measures, draws and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=pathlib.Path, help="e.g. RUN/best_model")
    parser.add_argument("--data-dir", help="a store; the demo corpus by default")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--device-budget-gb", type=float, help="asks the device")
    parser.add_argument(
        "--images-per-s",
        type=float,
        default=_IMAGES_PER_S,
        help="of the visual extractor, for the time saved; %(default)s",
    )
    options = parser.parse_args()
    logs.speak_plainly()
    rates = measure_rates(
        options.checkpoint, options.data_dir, options.device_budget_gb
    )
    found = summary(rates, options.images_per_s)
    plot_frame_rates(
        options.out / "frame_rates.png",
        comparison.by_family(rates.reported),
        f"{rates.model}\n{rates.title}, {rates.task.name}, validation",
        metric=metric_titles(rates.task)[rates.task.headline],
        full_score=rates.point(ALL_FRAMES).score,
        chosen=rates.choice,
    )
    write_json(options.out / "frame_rates.json", found)
    for name, value in found.items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    main()
