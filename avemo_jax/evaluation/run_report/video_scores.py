"""How well each video of a split is predicted, by itself."""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from avemo_jax.evaluation.run_report.frames import ReportFrames
from avemo_jax.metrics.numpy_states import video_states
from avemo_jax.metrics.states import Hits

_LEAST_FRAMES = 30  # of a video whose time line is shown, if there are such


@dataclasses.dataclass(frozen=True)
class VideoScores:
    """Scores of the videos that have a frame that counts, in the order of the file.

    Attributes:
        title: What the score by which videos are sorted is called.
        better: Whether larger is better.
        video: Index of each video.
        num_frames: Frames that count.
        without: Share of all frames without features of their own.
        score: Score of each video; NaN where it has none.
        beside: More columns, by their titles.
    """

    title: str
    better: bool
    video: Int[np.ndarray, " videos"]
    num_frames: Int[np.ndarray, " videos"]
    without: Float[np.ndarray, " videos"]
    score: Float[np.ndarray, " videos"]
    beside: dict[str, list[Any]]

    def worst_first(self) -> Int[np.ndarray, " videos"]:
        """Places in the other arrays, from the worst score to the best.

        Videos without a score come last.
        """
        good = self.score if self.better else -self.score
        return np.lexsort((self.video, good))

    def worst_and_best(self) -> list[int]:
        """Places of the two videos whose time lines are shown; one where there is one.

        Videos of a few frames are left out where there are longer ones.
        """
        known = np.isfinite(self.score)
        long = known & (self.num_frames >= _LEAST_FRAMES)
        wanted = long if long.any() else known
        order = [int(i) for i in self.worst_first() if wanted[i]]
        return order if len(order) < 2 else [order[0], order[-1]]


def scores_by_video(frames: ReportFrames) -> VideoScores:
    """The score of each video over the frames that count.

    Classes: the share of right frames, and what is taken for what most often, since
    most videos lack most classes and a mean of F1 over all says little. Units: F1 of
    all units together. Values: the mean error, and the CCC, which is 0 where a label
    never changes.

    Args:
        frames: A split with labels.
    """
    task, mask = frames.task, frames.counted
    counts = np.bincount(frames.video[mask], minlength=len(frames.videos))
    video = np.flatnonzero(counts)
    lengths = np.diff(frames.offsets)
    lacking = np.bincount(frames.video[~frames.has_crop], minlength=len(frames.videos))
    score, beside, title = _SCORERS[task.kind](frames, mask)
    return VideoScores(
        title=title,
        better=task.kind != "regression",
        video=video,
        num_frames=counts[video],
        without=(lacking / np.maximum(lengths, 1))[video],
        score=np.asarray(score, np.float64)[video],
        beside={name: [values[i] for i in video] for name, values in beside.items()},
    )


_Scored = tuple[Float[np.ndarray, " videos"], dict[str, Any], str]


def _of_classes(frames: ReportFrames, mask: Bool[np.ndarray, " frames"]) -> _Scored:
    assert frames.labels is not None
    task, count = frames.task, len(frames.videos)
    video, labels = frames.video[mask], frames.labels[mask].astype(np.int64)
    decided = frames.decided[mask]
    right = np.bincount(video, decided == labels, count)
    number = np.bincount(video, minlength=count)
    outputs = task.num_outputs
    wrong = decided != labels
    pairs, times = np.unique(
        (video[wrong] * outputs + labels[wrong]) * outputs + decided[wrong],
        return_counts=True,
    )
    words = [""] * count
    # From rare to frequent: the last one written is the most frequent.
    for i in np.argsort(times, kind="stable"):
        rest, taken = divmod(int(pairs[i]), outputs)
        of, label = divmod(rest, outputs)
        share = times[i] / number[of]
        words[of] = f"{task.columns[label]} as {task.columns[taken]}, {share:.0%}"
    share_right = right / np.maximum(number, 1)
    return share_right, {"most frequent error, of all frames": words}, "share right"


def _of_units(frames: ReportFrames, mask: Bool[np.ndarray, " frames"]) -> _Scored:
    assert frames.labels is not None
    count = len(frames.videos)
    found = video_states(
        frames.task, frames.decided, frames.labels, mask, frames.video, count
    )
    assert isinstance(found.state, Hits)
    hits, alarms, misses = (one.sum(axis=-1) for one in found.state)
    below = 2 * hits + alarms + misses
    f1 = np.where(below > 0, 2 * hits / np.maximum(below, 1), np.nan)
    columns = {
        "active, label": (hits + misses).tolist(),
        "active, predicted": (hits + alarms).tolist(),
    }
    return f1, columns, "F1 of all units together"


def _of_values(frames: ReportFrames, mask: Bool[np.ndarray, " frames"]) -> _Scored:
    assert frames.labels is not None
    task, count = frames.task, len(frames.videos)
    decided, video = frames.decided, frames.video
    states = video_states(task, decided, frames.labels, mask, video, count).by_video()
    low, high = task.value_range
    away = (decided[mask] - frames.labels[mask]) * ((high - low) / 2)
    number = np.maximum(np.bincount(video[mask], minlength=count), 1)
    columns: dict[str, Any] = {}
    total = np.zeros(count)
    for i, name in enumerate(task.columns):
        total += np.bincount(video[mask], np.abs(away[:, i]), count) / number
        bias = np.bincount(video[mask], away[:, i], count) / number
        columns[f"CCC {name}"] = states[f"ccc_{name}"].tolist()
        columns[f"mean error with sign, {name}"] = bias.tolist()
    return total / task.num_outputs, columns, "mean absolute error"


_SCORERS = {
    "multiclass": _of_classes,
    "multilabel": _of_units,
    "regression": _of_values,
}
