"""Sets of classes that hold the right one as often as was asked for.

A set has every class whose probability is at least a limit, and the decided class. The
limit is found on videos with labels: frames of one video resemble each other, so videos
are what is exchangeable, and each weighs the same however long it is (Dunn, Wasserman
and Ramdas, 2022; Lee, Barber and Willett, 2023). For a random frame of a new video from
the same source the set then holds the right class with the probability asked for, if
nothing else was chosen on these videos.

The score is 1 - the probability of the right class: no other gives smaller sets on
average for the same coverage (Sadinle, Lei and Wasserman, 2019). Sums of sorted
probabilities (Romano, Sesia and Candes, 2020) without their random part give larger
sets, above all of smoothed probabilities, which are modest. A set that would be empty
has the decided class instead, which only raises coverage.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

_ROUNDING = 1e-7  # videos: of sums of shares that should be whole


class SetScores(NamedTuple):
    """What the sets of a split are like, by video; NaN where it has no such frame.

    Attributes:
        coverage: Share of the frames whose set holds the right class.
        size: Mean number of classes in a set.
        added: Share of the frames whose set would be empty but for the decided class.
        coverage_per_class: ``coverage`` of the frames of each class.
    """

    coverage: Float[np.ndarray, " videos"]
    size: Float[np.ndarray, " videos"]
    added: Float[np.ndarray, " videos"]
    coverage_per_class: Float[np.ndarray, "videos classes"]


def least_videos(level: float) -> int:
    """How many videos a level needs; with fewer of them sets have all classes.

    Args:
        level: Share of the frames whose set is to hold the right class, below 1.
    """
    return max(int(np.ceil(level / (1 - level) - _ROUNDING)), 1)


def set_limit(
    right: Float[np.ndarray, " frames"], video: Int[np.ndarray, " frames"], level: float
) -> float:
    """The largest limit with which sets hold the right class of ``level`` of frames.

    A new video is counted with the others as one in which no set holds the right class:
    of n videos, shares of their frames must add up to ``level * (n + 1)``.

    Args:
        right: Probability of the right class in each frame.
        video: Index of each frame's video; only those with frames count.
        level: Share of the frames of a new video, in (0, 1).

    Returns:
        One of ``right``; 0, which makes every set all classes, where there are fewer
        videos than ``least_videos``.
    """
    _, index, counts = np.unique(video, return_inverse=True, return_counts=True)
    order = np.argsort(-right, kind="stable")
    reached = np.cumsum(1 / counts[index[order]])
    needed = level * (len(counts) + 1) - _ROUNDING
    if len(counts) < least_videos(level):
        return 0.0
    last = min(int(np.searchsorted(reached, needed)), len(order) - 1)
    return float(right[order[last]])


def class_sets(
    probs: Float[np.ndarray, "frames classes"], limit: float
) -> Bool[np.ndarray, "frames classes"]:
    """Which classes are in each frame's set.

    Args:
        probs: Probabilities of the classes; of NaN only the first class is in.
        limit: Least probability of a class of a set, but for the decided one.
    """
    found: Bool[np.ndarray, "frames classes"] = probs >= np.float32(limit)
    np.put_along_axis(found, probs.argmax(axis=1)[:, None], True, axis=1)
    return found


def set_scores(
    probs: Float[np.ndarray, "frames classes"],
    limit: float,
    labels: Int[np.ndarray, " frames"],
    video: Int[np.ndarray, " frames"],
    num_videos: int,
) -> SetScores:
    """How often sets hold the right class, and how large they are.

    Args:
        probs: Probabilities of the classes.
        limit: What :func:`class_sets` takes.
        labels: Class of each frame.
        video: Index of each frame's video.
        num_videos: Number of videos, those without a frame included.
    """
    sets = class_sets(probs, limit)
    held = np.take_along_axis(sets, labels[:, None].astype(np.int64), axis=1)[:, 0]
    empty = probs.max(axis=1) < np.float32(limit)

    def means(values: np.ndarray, own: np.ndarray | None = None) -> np.ndarray:
        counts = np.bincount(video, own, num_videos)
        weights = values if own is None else values * own
        with np.errstate(invalid="ignore"):
            return np.asarray(np.bincount(video, weights, num_videos) / counts)

    classes = range(probs.shape[1])
    return SetScores(
        means(held),
        means(sets.sum(axis=1)),
        means(empty),
        np.stack([means(held, labels == each) for each in classes], axis=1),
    )
