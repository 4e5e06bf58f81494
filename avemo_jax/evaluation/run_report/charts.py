"""The report's charts: curves of training, calibration, values, scores by video."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from avemo_jax.evaluation.run_report.elements import Html
from avemo_jax.evaluation.run_report.svg import (
    Axes,
    Range,
    box,
    chart,
    dot,
    line,
    ticks,
    whole_ticks,
)
from avemo_jax.evaluation.run_report.video_scores import VideoScores
from avemo_jax.metrics.calibration import Reliability

_LETTERS = 26  # of a score's title beside a chart
_CELLS = 40  # of a chart of predictions and labels, in each direction
_MOST_BARS = 300  # of videos; with more, evenly chosen ones are shown


def training_curves(
    records: Sequence[Mapping[str, Any]],
    *,
    criterion: str,
    metric: str,
    seeds: Sequence[int],
    best_epochs: Sequence[int | None],
) -> list[Html]:
    """Training loss and dev score by epoch: a line for each seed, and their mean.

    Args:
        records: A record per epoch: ``epoch``, ``loss`` and ``criterion``, the latter
            two lists with one value per seed; NaN where one has stopped.
        criterion: Name of the dev score in the records.
        metric: What the axis calls that score.
        seeds: The seeds in the order of the values.
        best_epochs: The epoch that each seed keeps; None: unknown.
    """
    epochs = [int(record["epoch"]) for record in records]
    short = metric if len(metric) <= _LETTERS else metric.split(",")[0]
    names = (("loss", "training loss", 0), (criterion, f"{short} on dev", 1))
    return [
        _curve(
            epochs,
            np.array([record[key] for record in records], float),
            label,
            seeds,
            best_epochs if key == criterion else (),
            colour,
        )
        for key, label, colour in names
    ]


def _curve(
    epochs: Sequence[int],
    values: Float[np.ndarray, "epochs seeds"],
    label: str,
    seeds: Sequence[int],
    best_epochs: Sequence[int | None],
    colour: int,
) -> Html:
    last, several = epochs[-1], len(seeds) > 1
    axes = Axes((min(epochs[0], last - 1), last), _around(values))
    marks = []
    for i, seed in enumerate(seeds):
        words = f"seed {seed}: {label}"
        kind = f"curve c{colour}" + (" faint" if several else "")
        marks.append(line(axes, epochs, values[:, i], kind, words))
    if several:
        there = np.isfinite(values)
        total = np.where(there, values, 0).sum(axis=1)
        mean = np.where(
            there.any(axis=1), total / np.maximum(there.sum(axis=1), 1), np.nan
        )
        words = f"mean of {len(seeds)} seeds: {label}"
        marks.append(line(axes, epochs, mean, f"curve c{colour} strong", words))
    for i, epoch in enumerate(best_epochs):
        if epoch is None or epoch not in epochs:
            continue
        if np.isfinite(kept := values[epochs.index(epoch), i]):
            words = f"seed {seeds[i]} keeps epoch {epoch}: {kept:.3f}"
            marks.append(dot(axes, epoch, float(kept), "kept", words, 4.5))
    return chart(
        axes,
        marks,
        name=f"{label} by epoch",
        x="epoch",
        y=label,
        x_ticks=whole_ticks(last),
    )


def _around(values: Float[np.ndarray, "..."]) -> Range:
    """The range of finite values with some room."""
    known = values[np.isfinite(values)]
    if not known.size:
        return (0.0, 1.0)
    low, high = float(known.min()), float(known.max())
    room = 0.06 * (high - low) or 0.05
    return (max(0.0, low - room) if low >= 0 else low - room, high + room)


def reliability_chart(
    state: Reliability, column: int, *, title: str, small: bool = False
) -> Html:
    """Share that came true by predicted probability, over the shares of frames.

    Args:
        state: Reliability of all frames.
        column: Which column of the state.
        title: What the probability is of.
        small: Whether it is one of many.
    """
    counts, sums, hits = (one[:, column] for one in state)
    number = len(counts)
    whole = max(int(counts.sum()), 1)
    size = {"width": 200, "height": 190, "left": 30} if small else {"height": 300}
    axes = Axes((0, 1), (0, 1), **size)
    marks = [line(axes, (0, 1), (0, 1), "ideal", "calibrated: as often as said")]
    points = []
    for b in np.flatnonzero(counts):
        count, said = int(counts[b]), float(sums[b] / counts[b])
        true = float(hits[b] / counts[b])
        share = count / whole
        words = (
            f"probability {b / number:.2f} to {(b + 1) / number:.2f}, mean {said:.3f}: "
            f"true in {true:.3f} of {count:,} frames"
        )
        bounds = (b / number + 0.004, (b + 1) / number - 0.004)
        marks.append(box(axes, bounds, (0, 0.3 * share), "share", words))
        points.append((said, true, share, words))
    path = [list(each) for each in zip(*points, strict=True)] or [[], [], [], []]
    marks.append(line(axes, path[0], path[1], "curve c0"))
    for said, true, share, words in points:
        marks.append(dot(axes, said, true, "point", words, 2 + 4 * share**0.5))
    steps = [0.0, 0.5, 1.0] if small else [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    return chart(
        axes,
        marks,
        name=f"{title}: share that came true by predicted probability",
        x=title if small else "predicted probability",
        y="" if small else "share that came true",
        x_ticks=steps,
        y_ticks=steps,
    )


def values_chart(
    predicted: Float[np.ndarray, " frames"],
    label: Float[np.ndarray, " frames"],
    *,
    name: str,
    bounds: Range,
) -> Html:
    """Frames by predicted value and label, with the mean label of each prediction.

    Args:
        predicted: Predicted values of the frames that count.
        label: Their labels.
        name: What the value is.
        bounds: Least and greatest value.
    """
    axes = Axes(bounds, bounds, height=340)
    low, high = bounds
    clipped = predicted.clip(low, high)
    grid, xs, ys = np.histogram2d(clipped, label.clip(low, high), _CELLS, (bounds,) * 2)
    marks = []
    top = grid.max() or 1.0
    for i, j in zip(*np.nonzero(grid), strict=True):
        words = (
            f"{int(grid[i, j]):,} frames: predicted {xs[i]:.2f} to {xs[i + 1]:.2f}, "
            f"label {ys[j]:.2f} to {ys[j + 1]:.2f}"
        )
        shade = 0.12 + 0.88 * float(grid[i, j] / top) ** 0.5
        ends = (float(xs[i]), float(xs[i + 1])), (float(ys[j]), float(ys[j + 1]))
        marks.append(box(axes, *ends, "heat", words, shade))
    marks.append(line(axes, bounds, bounds, "ideal", "prediction equals label"))
    wide = np.linspace(low, high, _CELLS // 2 + 1)
    where = np.clip(np.digitize(clipped, wide) - 1, 0, len(wide) - 2)
    counts = np.bincount(where, minlength=len(wide) - 1)
    sums = np.bincount(where, label, len(wide) - 1)
    some = np.flatnonzero(counts >= max(5, 0.001 * len(label)))
    middle, mean = (wide[some] + wide[some + 1]) / 2, sums[some] / counts[some]
    marks.append(line(axes, middle, mean, "curve c1 strong"))
    for x, y, count in zip(middle, mean, counts[some], strict=True):
        words = f"predicted about {x:.2f}: mean label {y:.2f} of {count:,} frames"
        marks.append(dot(axes, float(x), float(y), "mean", words))
    return chart(
        axes,
        marks,
        name=f"{name}: labels by predicted value",
        x=f"predicted {name}",
        y=f"label of {name}",
        x_ticks=ticks(bounds, 5),
        y_ticks=ticks(bounds, 5),
    )


def videos_chart(scores: VideoScores, names: Sequence[str]) -> Html:
    """Scores of videos as bars, from the worst at the left.

    Args:
        scores: Scores of the videos.
        names: Names of all videos.
    """
    order = [i for i in scores.worst_first() if np.isfinite(scores.score[i])]
    if len(order) > _MOST_BARS:
        at = np.linspace(0, len(order) - 1, _MOST_BARS).round().astype(int)
        order = [order[i] for i in at]
    values = scores.score[order]
    top = 1.0 if scores.better else _around(values)[1]
    axes = Axes((0, max(len(order), 1)), (0, top), width=480, height=200)
    marks = []
    for place, i in enumerate(order):
        video, value = names[scores.video[i]], float(scores.score[i])
        words = f"{video}: {scores.title} {value:.3f}, {scores.num_frames[i]:,} frames"
        bounds = (place + 0.1, place + 0.9)
        marks.append(box(axes, bounds, (0, value), "bar", words))
    return chart(
        axes,
        marks,
        name=f"{scores.title} of each video, from the worst to the best",
        x="videos, the worst first",
        y=scores.title,
        x_ticks=(),
    )


def score_bar(value: float, ends: Sequence[float] | None = None) -> Html:
    """A score from 0 to 1 as a bar in a table, with its interval as a line.

    Args:
        value: The score.
        ends: Lower and upper end of the interval; None: there is none.
    """
    whisker = ""
    if ends is not None:
        low, high = (100 * min(max(end, 0.0), 1.0) for end in ends)
        whisker = f'<path class="whisker" d="M{low:.1f} 5H{high:.1f}"/>'
    width = 100 * min(max(value, 0.0), 1.0)
    return Html(
        '<svg class="score" viewBox="0 0 100 10" preserveAspectRatio="none" '
        'aria-hidden="true"><rect class="track" width="100" height="10"/>'
        f'<rect class="bar" width="{width:.1f}" height="10"/>{whisker}</svg>'
    )
