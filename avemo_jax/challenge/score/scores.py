"""The scores of a file, and the difference of two files, ready for JSON."""

import dataclasses
import os
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from avemo_jax.challenge.score.hints import better_order
from avemo_jax.challenge.score.matching import Matched, match
from avemo_jax.challenge.score.truth import Split, Truth, read_truth
from avemo_jax.data.predictions.frames import FramePredictions
from avemo_jax.data.predictions.reading import read_frame_predictions
from avemo_jax.metrics.numpy_sums import (
    NumpyScores,
    Sums,
    interval,
    resampled,
    score_difference,
    scores_by_video,
    scores_of_sums,
    sums_by_video,
)
from avemo_jax.tasks import AU, TASKS, Task

SCORED_FRAMES = ("with_prediction", "all_labelled")


@dataclasses.dataclass(frozen=True)
class Resamples:
    """How confidence intervals are made: by drawing videos again.

    Attributes:
        count: How many sets of videos are drawn; 0: no intervals.
        seed: Seed of the draws.
    """

    count: int = 0
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class FileScore:
    """One file's scores.

    Attributes:
        found: The predictions.
        matched: The predictions side by side with the annotations.
        sums: Sums over the frames of each video, by set of frames (``SCORED_FRAMES``).
        block: The part of the report: scores by set of frames and by video, coverage,
            notes.
    """

    found: FramePredictions
    matched: Matched
    sums: dict[str, Sums]
    block: dict[str, Any]


def score(
    predictions: str | os.PathLike[str],
    annotations: str | os.PathLike[str],
    task: str,
    *,
    split: Split = "validation",
    num_resamples: int = 0,
) -> dict[str, Any]:
    """The scores of one file of predictions against the official annotations.

    Args:
        predictions: A file or folder in any form that ``read_frame_predictions`` reads.
        annotations: The folder of the tasks' folders, or the task's own.
        task: "EXPR", "AU" or "VA".
        split: Which of the official sets is scored.
        num_resamples: Draws of videos for 95 % intervals; 0 gives none.

    Returns:
        ``scores`` by set of frames ("with_prediction", "all_labelled"), ``coverage``,
        ``per_video`` and ``notes``, as ``avemo score --json`` writes them.

    Raises:
        FileNotFoundError: If there are no predictions.
        ValueError: If the task is unknown, a file is wrong, or no annotated video is
            predicted.
    """
    if task not in TASKS:
        raise ValueError(
            f"task {task!r}; expected one of {', '.join(TASKS)}: correct the name"
        )
    truth = read_truth(annotations, TASKS[task], split=split)
    found = read_frame_predictions(predictions, TASKS[task])
    return score_file(truth, found, resamples=Resamples(num_resamples)).block


def score_file(
    truth: Truth,
    found: FramePredictions,
    *,
    thresholds: Float[np.ndarray, " units"] | None = None,
    resamples: Resamples = Resamples(),
) -> FileScore:
    """The scores of one file over both sets of frames.

    Args:
        truth: The annotations.
        found: The predictions.
        thresholds: AU: the threshold of each unit's probability; None: the file's own
            decisions are taken, or those at 0.5 where it has none.
        resamples: How intervals are made.

    Raises:
        ValueError: If no annotated video is predicted.
    """
    matched = match(truth, found, thresholds)
    masks = {SCORED_FRAMES[0]: truth.valid & matched.own, SCORED_FRAMES[1]: truth.valid}
    sums = {name: _sums(truth, matched, mask) for name, mask in masks.items()}
    notes = list(found.notes)
    if order := better_order(truth, found, matched, masks[SCORED_FRAMES[0]]):
        notes.append(str(order))
    block: dict[str, Any] = {"predictions": str(found.path), "form": found.form}
    block["scores"] = {
        name: _block(truth.task, each, resamples) for name, each in sums.items()
    }
    if truth.task is AU:
        block["threshold"] = _threshold(found, thresholds)
        if found.scores is not None:
            half = dataclasses.replace(found, decided=None)
            at_half = match(truth, half)
            for name, mask in masks.items():
                value = scores_of_sums(_sums(truth, at_half, mask))["f1_mean"]
                block["scores"][name]["f1_mean_at_0.5"] = float(value)
    block["coverage"] = matched.coverage
    block["per_video"] = _per_video(truth, sums)
    block["notes"] = notes
    return FileScore(found, matched, sums, block)


def compare_predictions(
    truth: Truth, first: FileScore, second: FileScore, resamples: Resamples
) -> dict[str, Any]:
    """Scores of ``first`` less those of ``second``, by set of frames that both share.

    Args:
        truth: The annotations.
        first: One file's scores.
        second: The other file's scores.
        resamples: How intervals are made; both files are scored on the same draws.
    """
    both = truth.valid & first.matched.own & second.matched.own
    found: dict[str, Any] = {}
    for name, mask in zip(SCORED_FRAMES, (both, truth.valid), strict=True):
        sums = [_sums(truth, each.matched, mask) for each in (first, second)]
        value = score_difference(*map(scores_of_sums, sums))
        block = {"num_frames": int(mask.sum()), **_named(truth.task, value)}
        if resamples.count and _enough(sums[0]):
            how = {"seed": resamples.seed, "num_resamples": resamples.count}
            drawn = score_difference(*(resampled(each, **how) for each in sums))
            block |= _ends(truth.task, drawn)
            above = {k: np.asarray((v > 0).mean(axis=0)) for k, v in drawn.items()}
            named = _named(truth.task, above)
            block |= {f"{key}_share_above": value for key, value in named.items()}
        found[name] = block
    return found


def _sums(truth: Truth, matched: Matched, mask: Bool[np.ndarray, " frames"]) -> Sums:
    return sums_by_video(
        truth.task,
        matched.predicted,
        truth.labels,
        mask,
        truth.video,
        len(truth.videos),
    )


def _block(task: Task, sums: Sums, resamples: Resamples) -> dict[str, Any]:
    """Scores of one set of frames, with intervals where they are asked for."""
    block = {
        "num_frames": int(sums.num_frames.sum()),
        **_named(task, scores_of_sums(sums)),
    }
    if resamples.count and _enough(sums):
        how = {"seed": resamples.seed, "num_resamples": resamples.count}
        block |= _ends(task, resampled(sums, **how))
    return block


def _enough(sums: Sums) -> bool:
    """Whether there are videos to draw from: at least two with counted frames."""
    return int((sums.num_frames > 0).sum()) > 1


def _ends(task: Task, samples: NumpyScores) -> dict[str, Any]:
    """95 % intervals of scores, by ``NAME_ci95``."""
    named = _named(task, interval(samples), inner=1)
    return {f"{name}_ci95": ends for name, ends in named.items()}


def _named(task: Task, scores: NumpyScores, *, inner: int = 0) -> dict[str, Any]:
    """Scores as values for JSON, by output where a score has one for each.

    Args:
        task: The task that is scored.
        scores: Arrays by the score's name.
        inner: How many axes at the end belong to one number (1 for an interval).
    """
    return {
        name: dict(zip(task.columns, values.tolist(), strict=True))
        if np.ndim(values) > inner
        else np.asarray(values).tolist()
        for name, values in scores.items()
    }


def _per_video(truth: Truth, sums: dict[str, Sums]) -> list[dict[str, Any]]:
    """The scores of each annotated video, by set of frames."""
    rows: list[dict[str, Any]] = [{"video": video} for video in truth.videos]
    for name, each in sums.items():
        scores = scores_by_video(each)
        for i, row in enumerate(rows):
            own = {key: np.asarray(values[i]) for key, values in scores.items()}
            row[name] = {"num_frames": int(each.num_frames[i])}
            if row[name]["num_frames"]:
                row[name] |= _named(truth.task, own)
    return rows


def _threshold(
    found: FramePredictions, thresholds: Float[np.ndarray, " units"] | None
) -> Any:
    """The thresholds of the action units for the report, or that the file decided."""
    if found.scores is None or (thresholds is None and found.decided is not None):
        return "as decided in the file"
    if thresholds is None:
        return 0.5
    return dict(zip(AU.columns, thresholds.tolist(), strict=True))
