"""What is fitted on dev to final probabilities, after all else is chosen."""

import dataclasses

import jax.numpy as jnp
import numpy as np
from absl import logging
from jaxtyping import Bool, Float, Int, Shaped

from avemo_jax.evaluation.finished import dense_at, final_dense
from avemo_jax.evaluation.results import median_fps
from avemo_jax.models.certainty import Certainty, Scored
from avemo_jax.models.frame_scores import (
    SplitScores,
    corrected_rows,
    smoothable,
)
from avemo_jax.models.options import Options
from avemo_jax.models.selection import Selection, mean_over
from avemo_jax.postprocess.class_sets import least_videos, set_limit
from avemo_jax.postprocess.clips import scored_units
from avemo_jax.postprocess.scaling import SLOPES, fit_classes, fit_units
from avemo_jax.postprocess.seconds import (
    SHORT_S,
    USUAL_FPS,
)
from avemo_jax.tasks import Task

SeedScores = Float[np.ndarray, "seeds frames outputs"]


@dataclasses.dataclass(frozen=True)
class _Labelled:
    """The frames, or whole videos, that something is fitted to.

    Attributes:
        task: A task of classes or units.
        labels: Labels in the task's form.
        mask: True where one counts.
        video: Index of each one's video.
        set_level: Classes: share of the frames whose set is to hold the right class;
            0 makes no sets.
    """

    task: Task
    labels: Shaped[np.ndarray, "frames ..."]
    mask: Bool[np.ndarray, " frames"]
    video: Int[np.ndarray, " frames"]
    set_level: float

    def fitted(self, scores: SeedScores) -> Certainty:
        """What is fitted to the scores of each seed."""
        counted, labels = scores[:, self.mask], self.labels[self.mask]
        video, intercepts, limits = self.video[self.mask], None, None
        if self.task.kind == "multilabel":
            pairs = [fit_units(own, labels) for own in counted]
            slopes, intercepts = np.stack(pairs, axis=1).astype(np.float32)
        else:
            found = [[fit_classes(own, labels)] for own in counted]
            slopes = np.array(found, np.float32)
            if self.set_level:
                at = labels[None, :, None].astype(np.int64)
                right = np.take_along_axis(counted, at, axis=2)[:, :, 0]
                each = [set_limit(own, video, self.set_level) for own in right]
                limits = np.array(each, np.float32)
        return Certainty(slopes, intercepts, len(np.unique(video)), limits)


def with_certainty(
    selection: Selection, predicted: SplitScores, options: Options
) -> Selection:
    """The selection with what is fitted to the probabilities that it leads to.

    Every frame with a crop and a label weighs the same, as in the errors of
    calibration; for the sets of classes every video does. Values have no probabilities.

    Args:
        selection: All that was chosen on dev.
        predicted: Scores on dev.
        options: How scores are smoothed; the level of sets of classes.
    """
    task, table = predicted.task, predicted.table
    if task.kind == "regression" or not predicted.with_crop.any():
        return selection
    level = options.set_level if task.kind == "multiclass" else 0.0
    video = table.video_of_dense
    frames = _Labelled(
        task, table.dense_labels, predicted.with_crop, video, set_level=level
    )
    rows = corrected_rows(predicted, selection)
    unsmoothed = smoothable(task, rows, selection.raw_thresholds, options)
    dense, _ = final_dense(options, predicted, selection, unsmoothed)
    final = np.asarray(dense)
    found: dict[Scored, Certainty] = {"frames": frames.fitted(final)}
    if (clips := predicted.clips) is not None:
        units = scored_units(
            clips, dense, jnp.asarray(table.dense_labels), jnp.asarray(frames.mask)
        )
        means, labels, mask = map(np.asarray, units)
        whole = _Labelled(task, labels, mask, np.arange(len(labels)), set_level=0.0)
        found["videos"] = whole.fitted(means)
    if len(final) > 1:
        found["mean"] = frames.fitted(final.mean(axis=0, keepdims=True))
    half_second = (mean_over(SHORT_S, median_fps(table) or USUAL_FPS),) * len(rows)
    short = dense_at(options, predicted, selection, rows, half_second)
    found["short"] = frames.fitted(np.asarray(short).mean(axis=0, keepdims=True))
    _warn(task, table.split, found, level)
    return dataclasses.replace(selection, certainty=found, set_level=level)


def _warn(
    task: Task, split: str, found: dict[Scored, Certainty], set_level: float
) -> None:
    """Tells of fits that say little, and of sets for which there are too few videos."""
    if at_bound := [name for name, one in found.items() if one.at_bound]:
        logging.warning(
            "%s: the slope of probabilities (%s) ends at %g or %g on %s, as where all "
            "of it is right, or nothing can be told from its scores: calibrated "
            "probabilities say little",
            task.name,
            ", ".join(at_bound),
            *SLOPES,
            split,
        )
    num_videos = found["frames"].num_videos
    if set_level and num_videos < (needed := least_videos(set_level)):
        logging.warning(
            "%s: sets of classes at level %g need %d labelled videos of %s, and there "
            "are %d: every set is all classes; config.postprocess.set_level of at most "
            "%.3f needs no more",
            task.name,
            set_level,
            needed,
            split,
            num_videos,
            num_videos / (num_videos + 1),
        )
