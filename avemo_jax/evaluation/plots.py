"""Plots of a run. Every title names the model, its features, the data and the split."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from avemo_jax.evaluation.plot_style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    new_figure,
    save_figure,
)
from avemo_jax.postprocess.smoothing import Smoothing

_MANY = 16  # outputs; with more of them a plot is larger, or shows the first


@dataclasses.dataclass(frozen=True)
class Timeline:
    """Values, such as valence and arousal, over one video.

    Attributes:
        video: Name of the video.
        fps: Frames per second; NaN where unknown, the axis then counts frames.
        scores: Predicted values of the frames 1, 2, ...
        labels: Annotated values of the same frames; NaN where invalid.
        filled: Frames without a face crop, or sound, whose scores were filled in.
    """

    video: str
    fps: float
    scores: Float[np.ndarray, "frames outputs"]
    labels: Float[np.ndarray, "frames outputs"]
    filled: Bool[np.ndarray, " frames"]


def plot_learning_curves(
    path: str | pathlib.Path,
    history: Sequence[Mapping[str, Any]],
    title: str,
    *,
    criterion: str,
    metric: str,
    best_epochs: Sequence[int] = (),
) -> None:
    """Training loss and the dev score by which the best epoch is taken, by epoch.

    Args:
        path: The PNG file to write.
        history: A record per epoch: ``epoch``, ``loss`` and ``criterion``; each value
            a number, or a list with one per seed; NaN where one has stopped.
        title: Names the model and the data.
        criterion: Name of the dev score in the records.
        metric: What the axis calls that score.
        best_epochs: The epoch that each seed keeps; marked.

    Raises:
        ValueError: If there is no epoch.
    """
    if not history:
        raise ValueError(
            "no epoch in the history; expected at least one record; plot after training"
        )
    epochs = [record["epoch"] for record in history]
    figure = new_figure(9.0, 3.8)
    panels = figure.subplots(1, 2)
    names = (("loss", "training loss"), (criterion, f"{metric} on dev"))
    for panel, (key, label), colour in zip(panels, names, (BLUE, ORANGE), strict=True):
        values = np.array([np.atleast_1d(record[key]) for record in history], float)
        several = values.shape[1] > 1
        if several:
            panel.plot(epochs, values, color=colour, alpha=0.3, linewidth=1)
        mean = f"mean of {values.shape[1]} seeds" if several else None
        panel.plot(
            epochs, np.nanmean(values, axis=1), "o-", color=colour, ms=4, label=mean
        )
        if key == criterion and best_epochs:
            best = np.array(best_epochs)
            at = [epochs.index(epoch) for epoch in best]
            height = values[at, np.arange(len(best)) % values.shape[1]]
            panel.plot(best, height, "k*", ms=10, label="kept")
        panel.set(xlabel="epoch", ylabel=label)
        panel.xaxis.get_major_locator().set_params(integer=True)
        if panel.get_legend_handles_labels()[0]:
            panel.legend()
    save_figure(figure, path, title)


def plot_confusion(
    path: str | pathlib.Path,
    counts: Int[np.ndarray, "classes classes"],
    names: Sequence[str],
    title: str,
) -> None:
    """Confusion matrix: shades are shares of a row, numbers are frames.

    With more than 16 classes the plot grows with them and has no numbers.

    Args:
        path: The PNG file to write.
        counts: Frames by label (rows) and prediction (columns).
        names: Names of the classes.
        title: Names the data and the split.
    """
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    many = len(names) > _MANY
    side = 0.2 * len(names) if many else 0.0
    figure = new_figure(max(7.2, side + 3), max(6.2, side + 2))
    panel = figure.subplots()
    image = panel.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    ticks = np.arange(len(names))
    turned: dict[str, Any] = {"ha": "right", "rotation_mode": "anchor", "rotation": 40}
    if many:
        turned = {"rotation": 90, "fontsize": 7}
    panel.set_xticks(ticks, names, **turned)
    panel.set_yticks(ticks, names, fontsize=7 if many else None)
    panel.set(xlabel="predicted", ylabel="label")
    panel.grid(visible=False)
    for row, column in [] if many else np.ndindex(*counts.shape):
        share = shares[row, column]
        panel.text(
            column,
            row,
            f"{share:.0%}\n{counts[row, column]:,}",
            ha="center",
            va="center",
            fontsize=7,
            color="white" if share > 0.55 else "black",
        )
    figure.colorbar(image, ax=panel, label="share of the label's frames", shrink=0.85)
    save_figure(figure, path, title)


def plot_au_f1(
    path: str | pathlib.Path,
    names: Sequence[str],
    f1: Float[np.ndarray, " units"],
    f1_fixed: Float[np.ndarray, " units"],
    title: str,
    *,
    thresholds: Float[np.ndarray, " units"] | None = None,
) -> None:
    """F1 of every unit as bars, at its own threshold and at 0.5; wider for many.

    Args:
        path: The PNG file to write.
        names: Names of the units.
        f1: F1 of each unit at its own threshold.
        f1_fixed: F1 of each unit at the threshold 0.5.
        title: Names the data and the split.
        thresholds: Thresholds to write beside the units' names; None writes none.
    """
    many = len(names) > _MANY
    figure = new_figure(max(9.0, 0.3 * len(names)), 4.8 if many else 4.0)
    panel = figure.subplots()
    at, width = np.arange(len(names)), 0.4
    pairs = (
        (f1, "own threshold", BLUE, -0.5, ""),
        (f1_fixed, "threshold 0.5", ORANGE, 0.5, "//"),
    )
    for values, label, colour, side, hatch in pairs:
        panel.bar(
            at + side * width,
            values,
            width,
            color=colour,
            hatch=hatch,
            edgecolor="white",
            label=f"{label}: mean {np.mean(values):.3f}",
        )
    ticks = list(names)
    if thresholds is not None:
        gap = " " if many else "\n"
        ticks = [
            f"{name}{gap}≥ {t:.1f}" for name, t in zip(names, thresholds, strict=True)
        ]
    panel.set_xticks(at, ticks, rotation=90 if many else 0)
    panel.grid(visible=False, axis="x")
    panel.set(ylabel="F1 of each unit", ylim=(0, 1), xlim=(-0.7, len(names) - 0.3))
    figure.legend(loc="outside lower center", ncols=2)
    save_figure(figure, path, title)


def plot_va_timeline(
    path: str | pathlib.Path,
    videos: Sequence[Timeline],
    title: str,
    *,
    names: Sequence[str] = ("valence", "arousal"),
    value_range: tuple[float, float] = (-1.0, 1.0),
    filled: str = "no face crop (filled)",
) -> None:
    """Values of a few videos over time, predictions against labels.

    Args:
        path: The PNG file to write.
        videos: Videos to show, usually two, each in a column of panels.
        title: Names the data and the split.
        names: Names of the values; the first 16 have a row of panels each.
        value_range: Least and largest value.
        filled: What the legend calls frames whose scores were filled in.

    Raises:
        ValueError: If there is no video.
    """
    if not videos:
        raise ValueError("no video to plot; expected one or more; pass Timelines")
    if len(names) > _MANY:
        title += f", the first {_MANY} of {len(names)} values"
        names = names[:_MANY]
    rows, (low, high) = len(names), value_range
    margin = 0.025 * (high - low)
    figure = new_figure(5.5 * len(videos), 2.5 * rows)
    panels = figure.subplots(
        rows, len(videos), squeeze=False, sharey=True, sharex="col"
    )
    for column, video in enumerate(videos):
        known = np.isfinite(video.fps)
        rate = video.fps if known else 1.0
        time, half = np.arange(1, len(video.scores) + 1) / rate, 0.5 / rate
        for row, name in enumerate(names):
            panel = panels[row, column]
            _shade(panel, time, video.filled, half, filled)
            panel.plot(time, video.labels[:, row], color="black", lw=1.6, label="label")
            panel.plot(
                time, video.scores[:, row], color=ORANGE, lw=1.2, label="predicted"
            )
            if low < 0 < high:
                panel.axhline(0, color=GREY, lw=0.6)
            panel.set(
                ylim=(low - margin, high + margin),
                xlim=(time[0] - half, time[-1] + half),
            )
            if column == 0:
                panel.set_ylabel(f"{name} ({low:g} to {high:g})")
            if row == 0:
                panel.set_title(video.video, fontsize=10)
        panels[-1, column].set_xlabel("time (s)" if known else "frame")
    handles = {
        label: handle
        for panel in panels.flat
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3)
    save_figure(figure, path, title)


def plot_smoothing(
    path: str | pathlib.Path,
    scores: Mapping[Smoothing, Float[np.ndarray, " seeds"]],
    title: str,
    *,
    metric: str,
    chosen: Smoothing | None = None,
) -> None:
    """A score against the half width, a line for each mode of smoothing.

    Args:
        path: The PNG file to write.
        scores: Scores at each smoothing, one per seed; lines are means, bands ± the
            standard deviation over seeds.
        title: Names the data and the split.
        metric: What the axis calls the score.
        chosen: The smoothing to mark, chosen on dev.
    """
    figure = new_figure(7.0, 4.0)
    panel = figure.subplots()
    none = [values for (mode, _), values in scores.items() if mode == "none"]
    widths = sorted({half for _, half in scores})
    styles = (
        ("mean", BLUE, "o-"),
        ("median", ORANGE, "s--"),
        ("gaussian", GREEN, "^:"),
    )
    modes = {mode for mode, _ in scores}
    for mode, colour, style in styles:
        if mode == "gaussian" and mode not in modes:
            continue
        points = [(0, values) for values in none]
        points += [(half, values) for (m, half), values in scores.items() if m == mode]
        points.sort(key=lambda point: point[0])
        x = [widths.index(half) for half, _ in points]
        mean = np.array([np.mean(values) for _, values in points])
        std = np.array([np.std(values) for _, values in points])
        panel.plot(x, mean, style, color=colour, ms=5, label=mode)
        if std.any():
            panel.fill_between(x, mean - std, mean + std, color=colour, alpha=0.15)
    if chosen is not None:
        panel.plot(
            widths.index(chosen[1]),
            np.mean(scores[chosen]),
            "k*",
            ms=13,
            label=f"chosen on dev: {_in_words(chosen)}",
        )
    ticks = [str(width) if width else "no\nsmoothing" for width in widths]
    panel.set_xticks(range(len(widths)), ticks)
    panel.set(xlabel="half width of the window (frames)", ylabel=metric)
    panel.legend()
    save_figure(figure, path, title)


def _in_words(smoothing: Smoothing) -> str:
    mode, half_width = smoothing
    return "no smoothing" if mode == "none" else f"{mode} over ±{half_width} frames"


def _shade(
    panel: Any,
    time: Float[np.ndarray, " frames"],
    where: Bool[np.ndarray, " frames"],
    half: float,
    label: str,
) -> None:
    """Grey where ``where`` holds; ``half`` is half the time from frame to frame."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], where.astype(np.int8), [0]])))
    for number, (start, stop) in enumerate(edges.reshape(-1, 2)):
        panel.axvspan(
            time[start] - half,
            time[stop - 1] + half,
            color=GREY,
            alpha=0.3,
            lw=0,
            label=None if number else label,
        )
