"""How far probabilities mean what they say: reliability, and its expected error (ECE).

Predictions are sorted by their probability into bins of equal width. In a bin of
calibrated ones the mean probability is the share that came true; the expected
calibration error is the mean distance of the two, weighted by the bins' frames (Naeini
et al., 2015). For classes it is that of the class with the highest probability (Guo et
al., 2017) and, beside it, that of each class for itself (Kull et al., 2019). Two proper
scores need no bins: the negative log-likelihood and the Brier score (Brier, 1950).
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from avemo_jax.metrics.states import merged
from avemo_jax.tasks import Task

NUM_BINS = 15  # Guo et al., 2017
_LEAST = 1e-7  # probability of what is so, below which its logarithm falls no more


class Reliability(NamedTuple):
    """Probabilities and what came true, by bin of the probability; it adds up.

    Attributes:
        counts: Number of predictions in each bin.
        probabilities: Sum of the predictions' probabilities in each bin.
        hits: Number of predictions in each bin that came true.
    """

    counts: Int[np.ndarray, "*sets bins columns"]
    probabilities: Float[np.ndarray, "*sets bins columns"]
    hits: Int[np.ndarray, "*sets bins columns"]


def reliability_of(
    probabilities: Float[np.ndarray, "frames columns"],
    came_true: Bool[np.ndarray, "frames columns"],
    video: Int[np.ndarray, " frames"] | None = None,
    num_videos: int = 1,
    *,
    num_bins: int = NUM_BINS,
) -> Reliability:
    """The state of each video; ``states.merged`` adds up those of several.

    Args:
        probabilities: Predicted probabilities in [0, 1]; bin b has those in
            [b / bins, (b + 1) / bins), the last one 1 too.
        came_true: Whether what was predicted is so.
        video: Index of each frame's video; None: all are of one.
        num_videos: Number of videos, those without a frame included.
        num_bins: Number of bins, of equal width.
    """
    if video is None:
        video = np.zeros(len(probabilities), np.int64)
    cells, kept = num_videos * num_bins, []
    for column, outcome in zip(probabilities.T, came_true.T, strict=True):
        wide = column.astype(np.float64)
        bins = np.clip((wide * num_bins).astype(np.int64), 0, num_bins - 1)
        at = video * num_bins + bins
        kept.append(
            [np.bincount(at, weights, cells) for weights in (None, wide, outcome)]
        )
    counts, sums, hits = (
        np.stack(each, axis=-1).reshape(num_videos, num_bins, -1)
        for each in zip(*kept, strict=True)
    )
    return Reliability(counts, sums, hits.astype(np.int64))


def calibration_error(state: Reliability) -> Float[np.ndarray, "*sets columns"]:
    """ECE of each column: how far probabilities are from the share that is true.

    The mean over predictions of the absolute difference between the share of their bin
    that is true and the bin's mean probability; 0 for a set without predictions.
    """
    counts, sums, hits = state
    return np.abs(hits - sums).sum(axis=-2) / np.maximum(counts.sum(axis=-2), 1)


def task_reliability(
    task: Task,
    scores: Float[np.ndarray, "frames outputs"],
    labels: Shaped[np.ndarray, "frames ..."],
    mask: Bool[np.ndarray, " frames"],
) -> dict[str, Reliability]:
    """Reliability over all frames of the mask, by its name in results.json.

    Args:
        task: A task of classes or units.
        scores: Probabilities.
        labels: Labels in the task's form.
        mask: True where a frame counts.

    Returns:
        ``ece``, of the class with the highest probability, and ``ece_per_class``; for
        units ``ece_per_unit``.

    Raises:
        ValueError: If the task has values, which are no probabilities.
    """
    if task.kind not in ("multiclass", "multilabel"):
        raise ValueError(
            f"the calibration of {task.name}, a task of the kind {task.kind}; expected "
            "classes or units, which have probabilities: leave it out"
        )
    scores, labels = scores[mask], labels[mask]
    if task.kind == "multilabel":
        return {"ece_per_unit": merged(reliability_of(scores, labels == 1))}
    top = scores.argmax(axis=-1)
    sure = np.take_along_axis(scores, top[:, None], axis=-1)
    each = labels[:, None] == np.arange(task.num_outputs)
    return {
        "ece": merged(reliability_of(sure, (top == labels)[:, None])),
        "ece_per_class": merged(reliability_of(scores, each)),
    }


def calibration_scores(
    task: Task,
    scores: Float[np.ndarray, "seeds frames outputs"],
    labels: Shaped[np.ndarray, "frames ..."],
    mask: Bool[np.ndarray, " frames"],
) -> dict[str, Any]:
    """Errors of calibration of each seed, under the names of results.json.

    Returns:
        Classes: ``ece``, of the class with the highest probability, ``ece_per_class``
        and ``ece_classwise``, their mean; ``nll`` and ``brier``. Units: ``ece_mean``
        and ``ece_per_unit``, ``nll_mean`` and ``brier_mean``. Values: nothing.
    """
    if task.kind not in ("multiclass", "multilabel"):
        return {}
    by_seed: list[dict[str, Any]] = []
    for own in scores:
        states = task_reliability(task, own, labels, mask)
        errors = {name: calibration_error(one) for name, one in states.items()}
        by_seed.append(errors | _proper_scores(task, own[mask], labels[mask]))
    found = {name: np.stack([one[name] for one in by_seed]) for name in by_seed[0]}
    if task.kind == "multilabel":
        return {"ece_mean": found["ece_per_unit"].mean(axis=-1), **found}
    per_class = found["ece_per_class"]
    return {
        "ece": found["ece"][:, 0],
        "ece_classwise": per_class.mean(axis=-1),
        "ece_per_class": per_class,
        "nll": found["nll"],
        "brier": found["brier"],
    }


def _proper_scores(
    task: Task,
    scores: Float[np.ndarray, "frames outputs"],
    labels: Shaped[np.ndarray, "frames ..."],
) -> dict[str, Any]:
    """Negative log-likelihood and Brier score; of units the means of each one's.

    Both are means over frames, 0 without any. The Brier score of classes is the sum of
    the squared distances of all classes, so that it lies between 0 and 2.
    """
    wide = scores.astype(np.float64)
    if task.kind == "multilabel":
        truth, ending = labels == 1, "_mean"
        said = np.where(truth, wide, 1 - wide)
        squares = (1 - said) ** 2
    else:
        truth, ending = labels[:, None] == np.arange(task.num_outputs), ""
        said = wide[truth]
        squares = ((wide - truth) ** 2).sum(axis=1)
    logs, count = np.log(np.maximum(said, _LEAST)), max(squares.size, 1)
    return {
        f"nll{ending}": -logs.sum() / count,
        f"brier{ending}": squares.sum() / count,
    }
