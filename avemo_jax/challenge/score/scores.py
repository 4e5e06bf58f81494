"""The scores of a file, and the difference of two files, ready for JSON."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from avemo_jax.challenge.score.hints import better_order
from avemo_jax.challenge.score.matching import Matched, match
from avemo_jax.challenge.score.truth import Split, Truth, read_truth
from avemo_jax.data.face_tables import Face
from avemo_jax.data.predictions.frames import FramePredictions
from avemo_jax.data.predictions.reading import read_frame_predictions
from avemo_jax.metrics.ceilings import ceiling_notes, ceiling_of
from avemo_jax.metrics.intervals import interval_of, named, named_ends
from avemo_jax.metrics.numpy_states import VideoStates, video_states
from avemo_jax.metrics.states import Scores
from avemo_jax.tasks import AU, TASKS, Task

TITLES = {"with_prediction": "frames predicted", "all_labelled": "all labelled"}
SCORED_FRAMES = tuple(TITLES)


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
        states: States of the videos, by set of frames (``SCORED_FRAMES``).
        block: The part of the report: scores by set of frames and by video, coverage,
            notes.
    """

    found: FramePredictions
    matched: Matched
    states: dict[str, VideoStates]
    block: dict[str, Any]


def score(
    predictions: str | os.PathLike[str],
    annotations: str | os.PathLike[str],
    task: str,
    *,
    split: Split = "validation",
    num_resamples: int = 0,
    face: Face = None,
) -> dict[str, Any]:
    """The scores of one file of predictions against the official annotations.

    Args:
        predictions: A file or folder in any form that ``read_frame_predictions`` reads.
        annotations: The folder of the tasks' folders, or the task's own.
        task: "EXPR", "AU" or "VA".
        split: Which of the official sets is scored.
        num_resamples: Draws of videos for 95 % intervals; 0 gives none.
        face: Which face of each input of ``avemo predict``, by its number; "all": each
            as a video ``INPUT--face1``; None: each input must have one.

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
    found = read_frame_predictions(predictions, TASKS[task], face=face, partial=True)
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
    scored = scored_outputs(truth.task, found)
    states = {n: _states(truth, matched, mask, scored) for n, mask in masks.items()}
    notes = list(found.notes)
    if order := better_order(truth, found, matched, masks[SCORED_FRAMES[0]]):
        notes.append(str(order))
    block: dict[str, Any] = {"predictions": str(found.path), "form": found.form}
    block["scores"] = {n: _block([each], resamples) for n, each in states.items()}
    if truth.task is AU:
        block["threshold"] = _threshold(found, thresholds)
        if found.scores is not None:
            half = dataclasses.replace(found, decided=None, thresholds=None)
            at_half = match(truth, half)
            for name, mask in masks.items():
                value = _states(truth, at_half, mask, scored).together()["f1_mean"]
                block["scores"][name]["f1_mean_at_0.5"] = float(value)
    ceilings = {
        name: ceiling_of(truth.task, truth.labels, mask, scored)
        for name, mask in masks.items()
    }
    block["ceiling"] = {name: one for name, one in ceilings.items() if one}
    notes += ceiling_notes(truth.task, block["ceiling"], TITLES)
    if scored is not None:
        block["lacking"] = list(found.lacking)
        block["num_outputs"] = len(scored)
    block["coverage"] = matched.coverage
    block["per_video"] = _per_video(truth, states)
    block["notes"] = notes
    return FileScore(found, matched, states, block)


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
    pair = (first.matched, second.matched)
    scored = scored_outputs(truth.task, first.found, second.found)
    return {
        name: _block([_states(truth, each, mask, scored) for each in pair], resamples)
        for name, mask in zip(SCORED_FRAMES, (both, truth.valid), strict=True)
    }


def scored_outputs(task: Task, *found: FramePredictions) -> tuple[int, ...] | None:
    """Indices of the outputs that no file lacks; None: none lacks any.

    Raises:
        ValueError: If the files have no output in common.
    """
    lacking = {name for one in found for name in one.lacking}
    if not lacking:
        return None
    scored = tuple(i for i, n in enumerate(task.columns) if n not in lacking)
    if not scored:
        both = " and ".join(str(one.path) for one in found)
        raise ValueError(
            f"{both} have no output of {task.name} in common; expected some: score "
            "each alone"
        )
    return scored


def _states(
    truth: Truth,
    matched: Matched,
    mask: Bool[np.ndarray, " frames"],
    outputs: tuple[int, ...] | None = None,
) -> VideoStates:
    found = video_states(
        truth.task,
        matched.predicted,
        truth.labels,
        mask,
        truth.video,
        len(truth.videos),
    )
    return dataclasses.replace(found, outputs=outputs)


def _block(states: Sequence[VideoStates], resamples: Resamples) -> dict[str, Any]:
    """Scores of one set of frames, with intervals where they are asked for.

    Args:
        states: Those of one file, or of two, of which the first's scores less the
            second's are given, and the share of the resamples in which they are over 0.
        resamples: How intervals are made; there is none of fewer than two videos.
    """
    task, num_frames = states[0].scored_task, states[0].num_frames
    value = _less(*(each.together() for each in states))
    block = {"num_frames": int(num_frames.sum())}
    block |= {name: named(task, each) for name, each in value.items()}
    if resamples.count and (num_frames > 0).sum() > 1:
        how = (resamples.seed, resamples.count)
        drawn = _less(*(each.resampled(*how) for each in states))
        left_out = _less(*(each.left_out() for each in states))
        interval = interval_of(value, drawn, left_out)
        block |= named_ends(task, interval, int((num_frames > 0).sum()))
        if len(states) > 1:
            above = interval.share_above.items()
            block |= {f"{name}_share_above": named(task, each) for name, each in above}
    return block


def _less(first: Scores, second: Scores | None = None) -> Scores:
    """``first`` less ``second``, score by score; ``first`` where there is no other."""
    return first if second is None else {k: first[k] - second[k] for k in first}


def _per_video(truth: Truth, states: dict[str, VideoStates]) -> list[dict[str, Any]]:
    """The scores of each annotated video, by set of frames."""
    rows: list[dict[str, Any]] = [{"video": video} for video in truth.videos]
    for name, each in states.items():
        scores = each.by_video().items()
        for i, row in enumerate(rows):
            row[name] = {"num_frames": int(each.num_frames[i])}
            if row[name]["num_frames"]:
                task = each.scored_task
                row[name] |= {key: named(task, v[i]) for key, v in scores}
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
