"""Scores from sums by video, in float64: one pass, and any resampling of videos.

F1 is 2 tp / (2 tp + fp + fn), 0 where that is 0 / 0; the CCC (Lin, 1989) has the biased
variances, as the challenge has it, and is 0 where predictions or labels are constant.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from avemo_jax.tasks import EXPR, VA, Task

NumpyScores = dict[str, np.ndarray]
NUM_RESAMPLES = 1000


@dataclasses.dataclass(frozen=True)
class Sums:
    """Sums by video, from which the scores of any set of videos are computed.

    Attributes:
        task: The task that is scored.
        num_frames: Number of frames that count in each video.
        parts: EXPR: a confusion matrix (8 labels, 8 predictions); AU: true positives,
            false positives, false negatives of 12 units (3, 12); VA: sums of
            predictions, labels, their squares and their product, all less ``center``
            (5, 2).
        center: VA: means of predictions and of labels over all frames; else 0.
    """

    task: Task
    num_frames: Int[np.ndarray, " videos"]
    parts: Float[np.ndarray, "videos ..."]
    center: Float[np.ndarray, "2 2"]


def sums_by_video(
    task: Task,
    predicted: Shaped[np.ndarray, "frames ..."],
    labels: Shaped[np.ndarray, "frames ..."],
    mask: Bool[np.ndarray, " frames"],
    video: Int[np.ndarray, " frames"],
    num_videos: int,
) -> Sums:
    """Sums by video, over the frames of the mask.

    Args:
        task: The task that predictions and labels belong to.
        predicted: Classes (EXPR), 0 or 1 of each unit (AU), or values (VA).
        labels: Labels in the same form.
        mask: True where a frame counts.
        video: Index of each frame's video.
        num_videos: Number of videos, those without a frame included.
    """
    predicted, labels, video = predicted[mask], labels[mask], video[mask]
    num_frames = np.bincount(video, minlength=num_videos)
    center = np.zeros((2, 2))
    if task is EXPR:
        n = task.num_outputs
        cell = (video * n + labels) * n + predicted
        counts = np.bincount(cell, minlength=num_videos * n * n)
        matrices = counts.reshape(num_videos, n, n).astype(np.float64)
        return Sums(task, num_frames, matrices, center)
    if task is VA:
        x, y = predicted.astype(np.float64), labels.astype(np.float64)
        if len(x):
            center = np.stack([x.mean(axis=0), y.mean(axis=0)])
        x, y = x - center[0], y - center[1]
        terms = np.stack([x, y, x * x, y * y, x * y], axis=1)
    else:
        p, t = predicted == 1, labels == 1
        terms = np.stack([p & t, p & ~t, ~p & t], axis=1)
    flat = terms.reshape(len(terms), int(np.prod(terms.shape[1:])))
    parts = np.stack(
        [np.bincount(video, column, num_videos) for column in flat.T], axis=1
    ).reshape(num_videos, *terms.shape[1:])
    return Sums(task, num_frames, parts, center)


def scores_of_sums(sums: Sums) -> NumpyScores:
    """The scores of all videos together, under the names of results.json."""
    count = np.asarray(float(sums.num_frames.sum()))
    return _scores(sums.task, sums.parts.sum(axis=0), count, sums.center)


def scores_by_video(sums: Sums) -> NumpyScores:
    """The scores of each video alone."""
    counts = sums.num_frames.astype(np.float64)
    return _scores(sums.task, sums.parts, counts, sums.center)


def resampled(
    sums: Sums, *, seed: int = 0, num_resamples: int = NUM_RESAMPLES
) -> NumpyScores:
    """The scores of sets of videos drawn with replacement (Efron, 1979).

    Each set has as many videos as have frames that count. For equal videos, equal
    seeds draw the same sets.

    Args:
        sums: Sums of all videos.
        seed: Seed of the draws.
        num_resamples: Number of sets.
    """
    counted = np.flatnonzero(sums.num_frames)
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(counted), (num_resamples, len(counted)))
    weights = np.zeros((num_resamples, len(counted)))
    np.add.at(weights, (np.arange(num_resamples)[:, None], drawn), 1)
    flat = sums.parts[counted].reshape(len(counted), int(np.prod(sums.parts.shape[1:])))
    parts = (weights @ flat).reshape(num_resamples, *sums.parts.shape[1:])
    counts = weights @ sums.num_frames[counted]
    return _scores(sums.task, parts, counts, sums.center)


def interval(samples: NumpyScores, level: float = 0.95) -> dict[str, np.ndarray]:
    """Lower and upper end of each score's percentile interval, in the last axis."""
    ends = [(1 - level) / 2, (1 + level) / 2]
    return {
        name: np.moveaxis(np.quantile(values, ends, axis=0), 0, -1)
        for name, values in samples.items()
    }


def score_difference(
    first: Mapping[str, np.ndarray], second: NumpyScores
) -> NumpyScores:
    """``first`` less ``second``, score by score."""
    return {name: np.asarray(first[name] - second[name]) for name in second}


def _scores(
    task: Task,
    parts: Float[np.ndarray, "..."],
    counts: Float[np.ndarray, "..."],
    center: Float[np.ndarray, "2 2"],
) -> NumpyScores:
    """Scores from sums with any leading axes, every one as an array."""
    found = _values(task, parts, counts, center)
    return {name: np.asarray(value) for name, value in found.items()}


def _values(
    task: Task, parts: np.ndarray, counts: np.ndarray, center: np.ndarray
) -> dict[str, Any]:
    """Scores from sums; NumPy's scalars where the sums have no leading axes."""
    if task is VA:
        ccc = _ccc(parts, counts[..., None], center)
        each = {f"ccc_{name}": ccc[..., i] for i, name in enumerate(task.columns)}
        return {"ccc_mean": ccc.mean(axis=-1), **each}
    if task is EXPR:
        hit = np.diagonal(parts, axis1=-2, axis2=-1)
        f1 = _f1(hit, parts.sum(axis=-2) - hit, parts.sum(axis=-1) - hit)
        accuracy = hit.sum(axis=-1) / np.maximum(counts, 1)
        return {"f1_macro": f1.mean(axis=-1), "accuracy": accuracy, "f1_per_class": f1}
    f1 = _f1(parts[..., 0, :], parts[..., 1, :], parts[..., 2, :])
    return {"f1_mean": f1.mean(axis=-1), "f1_per_unit": f1}


def _f1(tp: np.ndarray, fp: np.ndarray, fn: np.ndarray) -> np.ndarray:
    below = 2 * tp + fp + fn
    return np.where(below > 0, 2 * tp / np.where(below > 0, below, 1), 0.0)


def _ccc(
    parts: Float[np.ndarray, "... 5 2"],
    counts: Float[np.ndarray, "... 1"],
    center: Float[np.ndarray, "2 2"],
) -> Float[np.ndarray, "... 2"]:
    n = np.maximum(counts, 1)
    x, y, xx, yy, xy = np.moveaxis(parts / n[..., None, :], -2, 0)
    shift = (x + center[0]) - (y + center[1])
    var_x, var_y = xx - x * x, yy - y * y
    below = var_x + var_y + shift * shift
    # A variance below what rounding leaves of the squares counts as 0.
    tiny = 1e-14
    flat = (var_x <= tiny * (xx + center[0] ** 2)) | (
        var_y <= tiny * (yy + center[1] ** 2)
    )
    flat |= below <= 0
    return np.where(flat, 0.0, 2 * (xy - x * y) / np.where(flat, 1.0, below))
