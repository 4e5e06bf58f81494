"""Percentile intervals of scores over resampled videos; both as JSON has them."""

from typing import Any, NamedTuple

import numpy as np

from avemo_jax.metrics.states import Scores
from avemo_jax.tasks import Task

NUM_RESAMPLES = 1000
MOST_RESAMPLES = 100_000  # more make an interval's ends no surer


class Interval(NamedTuple):
    """Scores, or differences of scores, with intervals, by the scores' names.

    Attributes:
        value: The score on the videos as they are.
        low: Lower end of the interval.
        high: Upper end of the interval.
        share_above: Share of the resamples in which the score is over 0.
        samples: The score on every resample, which is the first axis.
    """

    value: Scores
    low: Scores
    high: Scores
    share_above: Scores
    samples: Scores


def resample_bytes(num_resamples: int, num_videos: int) -> int:
    """Bytes of the draws of videos, and of how often each is drawn, in 32 bits."""
    return num_resamples * num_videos * 2 * 4


def interval_of(value: Scores, samples: Scores, level: Any = 0.95) -> Interval:
    """The interval that holds ``level`` of the resamples of each score.

    Args:
        value: Scores on the videos as they are.
        samples: Scores on every resample, which is the first axis.
        level: Share of the resamples inside the interval, in (0, 1).
    """
    below = (1 - level) / 2

    def quantile(share: Any) -> Scores:
        return {
            name: each.__array_namespace__().quantile(each, share, axis=0)
            for name, each in samples.items()
        }

    above = {name: (each > 0).mean(axis=0) for name, each in samples.items()}
    return Interval(value, quantile(below), quantile(1 - below), above, samples)


def named(task: Task, values: Any, *, inner: int = 0) -> Any:
    """A score in the form for JSON: a number, or numbers by the outputs' names.

    Args:
        task: The task that is scored.
        values: The score.
        inner: How many axes at the end belong to one number (1 for an interval).
    """
    array = np.asarray(values)
    if array.ndim == inner:
        return array.tolist()
    return dict(zip(task.columns, array.tolist(), strict=True))


def named_ends(task: Task, interval: Interval) -> dict[str, Any]:
    """Each score's interval in the form for JSON: ``NAME_ci95``, [low, high]."""
    found = {}
    for name, low in interval.low.items():
        both = np.stack([low, interval.high[name]], axis=-1)
        found[f"{name}_ci95"] = named(task, both, inner=1)
    return found
