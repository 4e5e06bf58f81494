"""Intervals of scores over resampled videos; both as JSON has them, and in words.

They are percentiles of the resamples. Beside them stand bias-corrected and accelerated
ones where fewer than ``FEW`` videos, or speakers, are drawn.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np

from avemo_jax.metrics.bca import FEW, bca_ends
from avemo_jax.metrics.states import Scores
from avemo_jax.tasks import Task

NUM_RESAMPLES = 1000
MOST_RESAMPLES = 100_000  # more make an interval's ends no surer
ENDS = ("_ci95", "_bca95")  # behind a score's name
SAID = "intervals"  # what a block says of its intervals
Drawn = Literal["videos", "speakers"]


class Interval(NamedTuple):
    """Scores, or differences of scores, with intervals, by the scores' names.

    Attributes:
        value: The score on the videos as they are.
        low: Lower end of the interval.
        high: Upper end of the interval.
        share_above: Share of the resamples in which the score is over 0.
        samples: The score on every resample, which is the first axis.
        left_out: The score without each of the videos that are drawn, along the first
            axis, which may go on behind them; needed where they are fewer than ``FEW``.
    """

    value: Scores
    low: Scores
    high: Scores
    share_above: Scores
    samples: Scores
    left_out: Scores


def resample_bytes(num_resamples: int, num_videos: int) -> int:
    """Bytes of the draws of videos, and of how often each is drawn, in 32 bits."""
    return num_resamples * num_videos * 2 * 4


def interval_of(
    value: Scores, samples: Scores, left_out: Scores, level: Any = 0.95
) -> Interval:
    """The interval that holds ``level`` of the resamples of each score.

    Args:
        value: Scores on the videos as they are.
        samples: Scores on every resample, which is the first axis.
        left_out: Scores without each of the videos, as ``Interval`` has them.
        level: Share of the resamples inside the interval, in (0, 1).
    """
    below = (1 - level) / 2

    def quantile(share: Any) -> Scores:
        return {
            name: each.__array_namespace__().quantile(each, share, axis=0)
            for name, each in samples.items()
        }

    above = {name: (each > 0).mean(axis=0) for name, each in samples.items()}
    return Interval(
        value, quantile(below), quantile(1 - below), above, samples, left_out
    )


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


def named_ends(
    task: Task, interval: Interval, num: int, drawn: Drawn = "videos"
) -> dict[str, Any]:
    """Each score's intervals in the form for JSON, [low, high], and which they are.

    Args:
        task: The task that is scored.
        interval: Percentile intervals, with what others are made of.
        num: How many videos or speakers have a frame that counts, and are drawn.
        drawn: What they are.

    Returns:
        ``NAME_ci95`` of each score, of fewer than ``FEW`` also ``NAME_bca95``, in which
        null stands for an interval that there is not, and ``intervals``.
    """
    found: dict[str, Any] = {}
    for name, low in interval.low.items():
        both = np.stack([low, interval.high[name]], axis=-1)
        found[f"{name}_ci95"] = named(task, both, inner=1)
        if num < FEW:
            found[f"{name}_bca95"] = _bca(task, interval, name, num)
    return found | {SAID: said_of(num, drawn)}


def _bca(task: Task, interval: Interval, name: str, num: int) -> Any:
    """The BCa interval of a score, or those of the outputs by their names."""
    value = np.asarray(interval.value[name])
    samples = np.asarray(interval.samples[name])
    left_out = np.asarray(interval.left_out[name])[:num]
    if value.ndim == 0:
        return bca_ends(float(value), samples, left_out)
    return {
        column: bca_ends(float(value[i]), samples[:, i], left_out[:, i])
        for i, column in enumerate(task.columns)
    }


def said_of(num: int, drawn: Drawn = "videos") -> dict[str, Any]:
    """What a block says of its intervals: by which methods they are, and over how many.

    Args:
        num: How many videos or speakers are drawn.
        drawn: What they are.
    """
    methods = {"ci95": "percentile"} | ({"bca95": "BCa"} if num < FEW else {})
    return {f"num_{drawn}": num, "methods": methods}


def ends_in_csv(*intervals: Any) -> dict[str, str]:
    """The ends of a score's intervals in columns ``ci95_low``, ``ci95_high`` and on.

    Args:
        intervals: The interval by each method, [low, high], in the order of ``ENDS``;
            None leaves its columns out.
    """
    found = {}
    for ending, ends in zip(ENDS, intervals, strict=True):
        for side, value in zip(("low", "high"), ends or (), strict=False):
            found[f"{ending.removeprefix('_')}_{side}"] = repr(value)
    return found


def few_words(scores: Mapping[str, tuple[Mapping[str, Any], str]]) -> str:
    """What the BCa intervals of scores are, as a sentence without its full stop.

    Args:
        scores: By their titles a block, as JSON has it, and the score's name in it; the
            blocks are of the same videos or speakers.

    Returns:
        Empty where none has a BCa interval.
    """
    parts, over = [], ""
    for title, (block, name) in scores.items():
        if f"{name}_bca95" not in block:
            continue
        ends = block[f"{name}_bca95"]
        shown = "none" if ends is None else f"[{ends[0]:.3f}, {ends[1]:.3f}]"
        parts.append(f"{title} {shown}")
        (key,) = (each for each in block[SAID] if each.startswith("num_"))
        over = f"{block[SAID][key]} {key.removeprefix('num_')}"
    if not parts:
        return ""
    told = ", ".join(parts)
    return f"over {over}, fewer than {FEW}, 95 % intervals by BCa are: {told}"
