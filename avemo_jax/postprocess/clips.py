"""Clips: videos with one label for all of their frames, scored as wholes.

A clip's scores are the means of its frames' scores, and its label counts once, however
long the clip is.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped

from avemo_jax.metrics.traced_frames import VideoFrames
from avemo_jax.tasks import Task


class Clips(NamedTuple):
    """The clips of a split; a pytree.

    Attributes:
        video: Index of each frame's clip, never falling.
        labels: Label of each clip in the task's form; invalid where it has none.
    """

    video: Int[Array | np.ndarray, " frames"]
    labels: Shaped[Array | np.ndarray, "clips ..."]


def clips_of(
    task: Task,
    labels: Shaped[np.ndarray, "frames ..."],
    offsets: Int[np.ndarray, " bounds"],
) -> Clips:
    """Each video as a clip, with the label of its first frame that has a valid one.

    Args:
        task: The task that the labels are of.
        labels: Labels of the frames, one video after the other.
        offsets: Where each video begins, and the number of frames at the end.
    """
    count = len(offsets) - 1
    video = np.repeat(np.arange(count, dtype=np.int32), np.diff(offsets))
    valid = np.flatnonzero(task.valid(labels))
    labelled, first = np.unique(video[valid], return_index=True)
    of_clips = task.empty_labels(count)
    of_clips[labelled] = labels[valid[first]]
    return Clips(video, of_clips)


def scored_units(
    clips: Clips | None,
    scores: Float[Array, "*heads frames outputs"],
    labels: Shaped[Array, "frames ..."],
    mask: Bool[Array, " frames"],
) -> tuple[Any, Any, Any]:
    """Scores, labels and mask of what is scored: of clips, or of frames as they are.

    Args:
        clips: The clips; None: frames are scored.
        scores: Scores of the frames after the activation.
        labels: Labels of the frames.
        mask: True where a frame counts.

    Returns:
        For each clip the mean scores of its frames that count, its label, and True
        where it has such a frame.
    """
    if clips is None:
        return scores, labels, mask
    return _pooled(clips, scores, mask)


@jax.jit
def _pooled(
    clips: Clips, scores: Float[Array, "*heads frames outputs"], mask: Array
) -> tuple[Array, Array, Array]:
    frames = VideoFrames(jnp.asarray(clips.video), len(clips.labels))
    counts = frames.total(mask)
    counted = jnp.where(mask[:, None], scores, 0)
    sums = jnp.moveaxis(frames.total(jnp.moveaxis(counted, -2, 0)), 0, -2)
    return sums / jnp.maximum(counts, 1)[:, None], jnp.asarray(clips.labels), counts > 0
