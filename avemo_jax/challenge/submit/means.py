"""The mean of several predictions, frame by frame."""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from avemo_jax.challenge.submit.predictions import decided
from avemo_jax.data.predictions.frames import FramePredictions
from avemo_jax.data.records import MAX_FRAME
from avemo_jax.tasks import AU


@dataclasses.dataclass(frozen=True)
class MeanPart:
    """Predictions and their weight in a mean."""

    predictions: FramePredictions
    weight: float


def mean_of(
    name: str,
    parts: Sequence[MeanPart],
    thresholds: Float[np.ndarray, " units"] | None = None,
) -> FramePredictions:
    """The weighted mean of probabilities (or values) of one task's predictions.

    A frame that some predictions lack is the mean of the others. EXPR is decided by the
    highest mean; AU by the mean of the thresholds that the parts were decided by, where
    unknown thresholds count as 0.5, which the note says.

    Args:
        name: Name of the submission, for errors.
        parts: Predictions of one task; a single part is returned unchanged.
        thresholds: Threshold of each action unit, in place of that mean; None: it.

    Raises:
        ValueError: If one of several parts has decisions only.
    """
    if len(parts) == 1:
        return parts[0].predictions
    for part in parts:
        if part.predictions.scores is None:
            raise ValueError(
                f"submission {name}: {part.predictions.path} has decisions only; "
                "expected probabilities, for what is averaged: write the model's "
                "probabilities, or submit the file alone"
            )
    all_ = [part.predictions for part in parts]
    task = all_[0].task
    videos = tuple(sorted({video for one in all_ for video in one.videos}))
    keys = [_keys(one, videos) for one in all_]
    every = np.unique(np.concatenate(keys))
    sums = np.zeros((len(every), task.num_outputs))
    weights = np.zeros((len(every), 1))
    own = np.zeros(len(every), bool)
    for part, key in zip(parts, keys, strict=True):
        at = np.searchsorted(every, key)
        sums[at] += part.weight * part.predictions.values
        weights[at] += part.weight
        own[at] |= part.predictions.own
    scores = sums / weights
    video, frame = np.divmod(every, MAX_FRAME + 1)
    notes: tuple[str, ...] = ()
    if task is AU and thresholds is None:
        thresholds, notes = _thresholds(parts)
    path = pathlib.Path(f"the mean {name}")
    rows = (videos, video, frame, ~own, scores)
    found = FramePredictions(path, task, "mean", *rows, named=True, notes=notes)
    return decided(found, thresholds)


def _keys(one: FramePredictions, videos: tuple[str, ...]) -> np.ndarray:
    """A number for each row that sorts rows by video, then by frame."""
    place = np.searchsorted(np.array(videos), np.array(one.videos))
    return place[one.video].astype(np.int64) * (MAX_FRAME + 1) + one.frame


def _thresholds(
    parts: Sequence[MeanPart],
) -> tuple[Float[np.ndarray, " units"], tuple[str, ...]]:
    """The mean of the parts' thresholds, and notes on those with unknown ones."""
    half = np.full(AU.num_outputs, 0.5)
    all_ = [part.predictions for part in parts]
    told = [half if one.thresholds is None else one.thresholds for one in all_]
    bare = [str(one.path) for one in all_ if one.thresholds is None]
    notes = (
        f"no thresholds of {', '.join(bare)}: 0.5 in the mean; give --thresholds if "
        "you know them",
    )
    mean = np.average(told, axis=0, weights=[part.weight for part in parts])
    return mean, notes if bare else ()
