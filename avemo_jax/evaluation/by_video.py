"""predictions_by_video.csv: a prediction for each video whose label is of the whole."""

import pathlib
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from avemo_jax.data.predictions.predictions_file import write_predictions_by_video
from avemo_jax.models.frame_scores import SplitScores
from avemo_jax.postprocess.clips import Clips, scored_units

PREDICTIONS_BY_VIDEO = "predictions_by_video.csv"


def write_by_video(
    folder: pathlib.Path,
    predicted: SplitScores,
    dense: Float[np.ndarray, "frames outputs"],
    *,
    thresholds: Float[np.ndarray, " outputs"] | None,
    embedded: Bool[np.ndarray, " frames"] | None,
    labels: bool,
    scaled: Callable[..., tuple[Any, Any]] | None = None,
) -> None:
    """Write the mean scores of each video; where labels are of frames, no file is left.

    Args:
        folder: Folder of ``predictions.csv``.
        predicted: The split.
        dense: Final scores of every frame.
        thresholds: Threshold of each unit; None for other tasks.
        embedded: Frames that a rule embeds; None: all that have a row.
        labels: Whether there are labels.
        scaled: Gives the probabilities to write, and their thresholds, of the videos'
            mean scores and ``thresholds``; None writes the mean scores.
    """
    path, table, clips = folder / PREDICTIONS_BY_VIDEO, predicted.table, predicted.clips
    if clips is None:
        path.unlink(missing_ok=True)
        return
    own = ~np.asarray(predicted.fill_map.filled)
    scores, of_clips, _ = scored_units(
        clips,
        jnp.asarray(dense),
        jnp.asarray(table.dense_labels),
        jnp.asarray(_counted(predicted, clips, own)),
    )

    def share(frames: Bool[np.ndarray, " frames"]) -> Float[np.ndarray, " videos"]:
        counts = np.bincount(clips.video, frames, len(table.videos))
        return counts / np.maximum(table.num_frames, 1)

    means = np.asarray(scores)
    if scaled is not None:
        means, thresholds = scaled(means, thresholds=thresholds)
    write_predictions_by_video(
        path,
        table.task,
        table.videos,
        {
            "num_frames": table.num_frames,
            "share_embedded": share(own if embedded is None else embedded),
            "share_filled": share(~own),
        },
        means,
        thresholds=thresholds,
        labels=np.asarray(of_clips) if labels else None,
    )


def _counted(
    predicted: SplitScores, clips: Clips, own: Bool[np.ndarray, " frames"]
) -> Bool[np.ndarray, " frames"]:
    """The frames whose scores are averaged: those with a row, as in ``with_crop``.

    In a video with a label these are the labelled ones. Where a video has none, all of
    its frames are taken.
    """
    count = len(clips.labels)
    valid = predicted.task.valid(predicted.table.dense_labels)
    labelled = np.bincount(clips.video, valid, count) > 0
    frames = own & (valid | ~labelled[clips.video])
    some = np.bincount(clips.video, frames, count) > 0
    return frames | ~some[clips.video]
