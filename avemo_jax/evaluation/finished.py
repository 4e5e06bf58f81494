"""A split's scores after all post-processing by what was chosen."""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Array, Float

from avemo_jax.models.blend import Model
from avemo_jax.models.embedded_frames import RuledScores, by_rules
from avemo_jax.models.frame_scores import (
    SplitScores,
    corrected_rows,
    dense_scores,
    smoothable,
    trusted_of,
)
from avemo_jax.models.options import Options
from avemo_jax.models.selection import NO_SMOOTHING, Selection
from avemo_jax.postprocess.clips import Clips
from avemo_jax.postprocess.smoothing import Smoothing
from avemo_jax.postprocess.smoothing_sweep import (
    SmoothingScores,
    score_frames,
    score_smoothings,
)


@dataclasses.dataclass(frozen=True)
class Finished:
    """A split's scores after all post-processing.

    Attributes:
        predicted: The split's scores before post-processing.
        selection: What was chosen, and is applied here.
        rows: Scores of rows by each seed, blended and corrected.
        unsmoothed: The rows that are smoothed: ``rows``, or 0/1 decisions for AU like
            the original.
        dense: Final scores of every frame by each seed.
        raw: The task's scores without smoothing; empty where the split has no labels.
        sweep: The task's scores at every smoothing; empty where the split has no
            labels.
        ruled: What the seeds' rules give and cost; None where all frames are embedded.
    """

    predicted: SplitScores
    selection: Selection
    rows: Float[np.ndarray, "seeds rows outputs"]
    unsmoothed: Float[np.ndarray, "seeds rows outputs"]
    dense: Float[Array, "seeds frames outputs"]
    raw: dict[Smoothing, SmoothingScores]
    sweep: dict[Smoothing, SmoothingScores]
    ruled: RuledScores | None = None


def finish(model: Model, predicted: SplitScores, selection: Selection) -> Finished:
    """Final scores by what was chosen, and the task's scores at every smoothing."""
    task, options = model.task, model.options
    rows = corrected_rows(predicted, selection)
    unsmoothed = smoothable(task, rows, selection.raw_thresholds, options)
    labels = predicted.table.dense_labels
    raw: dict[Smoothing, SmoothingScores] = {}
    sweep: dict[Smoothing, SmoothingScores] = {}
    if task.valid(labels).any():
        given: Any = None
        given_raw: Any = None
        smoothings = tuple(dict.fromkeys((*options.smoothings, *selection.smoothings)))
        if task.kind == "multilabel":
            given = dict.fromkeys(smoothings, selection.thresholds)
            given_raw = {NO_SMOOTHING: selection.raw_thresholds}
        raw = score_smoothings(
            task,
            rows,
            predicted.fill_map,
            labels,
            smoothings=(NO_SMOOTHING,),
            thresholds=given_raw,
            threshold_rule=options.threshold_rule,
        )
        sweep = score_smoothings(
            task,
            unsmoothed,
            predicted.fill_map,
            labels,
            smoothings=smoothings,
            thresholds=given,
            threshold_rule=options.threshold_rule,
            causal=options.causal,
            trusted=trusted_of(predicted, selection),
        )
    dense, ruled = final_dense(options, predicted, selection, unsmoothed)
    return Finished(predicted, selection, rows, unsmoothed, dense, raw, sweep, ruled)


def final_dense(
    options: Options,
    predicted: SplitScores,
    selection: Selection,
    unsmoothed: Float[np.ndarray, "seeds rows outputs"],
) -> tuple[Float[Array, "seeds frames outputs"], RuledScores | None]:
    """Final scores of every frame by each seed, and what the seeds' rules give.

    The second is None where all frames are embedded.
    """
    if selection.frame_rates is None:
        smoothings = selection.smoothings
        return dense_at(options, predicted, selection, unsmoothed, smoothings), None
    ruled = by_rules(predicted, selection, unsmoothed)
    return ruled.dense, ruled


def final_scores(
    model: Model, finished: Finished, clips: Clips | None = None
) -> dict[Smoothing, SmoothingScores]:
    """The task's scores of ``finished.dense``, by the smoothing of each seed.

    Args:
        model: The model.
        finished: The split's final scores.
        clips: The clips to score as wholes; None scores frames.
    """
    if finished.ruled is None and clips is None:
        return finished.sweep
    task, selection = model.task, finished.selection
    scores = score_frames(
        task,
        finished.dense,
        finished.predicted.fill_map,
        finished.predicted.table.dense_labels,
        thresholds=selection.thresholds if task.kind == "multilabel" else None,
        threshold_rule=model.options.threshold_rule,
        clips=clips,
    )
    return dict.fromkeys(selection.smoothings, scores)


def dense_at(
    options: Options,
    predicted: SplitScores,
    selection: Selection,
    unsmoothed: Float[np.ndarray, "seeds rows outputs"],
    smoothings: tuple[Smoothing, ...],
) -> Float[Array, "seeds frames outputs"]:
    """Final scores of every frame by each seed, at its smoothing of ``smoothings``."""
    return dense_scores(
        predicted,
        unsmoothed,
        smoothings,
        causal=options.causal,
        trusted=trusted_of(predicted, selection),
    )
