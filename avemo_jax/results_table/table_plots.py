"""Plots of a results table: scores with their intervals, and times."""

import pathlib
from collections.abc import Sequence
from typing import Any

from avemo_jax.evaluation.plot_style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    new_figure,
    save_figure,
)
from avemo_jax.results_table.layout import (
    chosen_on,
    metric_title,
    rows_with_cells,
    tasks_with_cells,
)
from avemo_jax.results_table.markdown import networks
from avemo_jax.results_table.rows import Cell, ResultsTable, RowSpec
from avemo_jax.runtime.atomic_files import whole_file
from avemo_jax.tasks import TASKS

# Offsets as shares of a row's height, so that markers do not hide each other.
_SEEDS_BELOW, _ABOVE = 0.26, 0.2
_TIMES = (
    ("train_s", "training", BLUE, ""),
    ("inference_s", "inference", ORANGE, "//"),
    ("postprocess_s", "post-processing", GREEN, ".."),
)


def write_plots(directory: pathlib.Path, table: ResultsTable) -> list[pathlib.Path]:
    """Writes ``scores_TASK.png`` of every task and ``times.png``; gives their paths.

    Args:
        directory: Folder of the plots; made where it is missing.
        table: The table to draw.
    """
    directory.mkdir(parents=True, exist_ok=True)
    found = []
    for task in tasks_with_cells(table):
        found.append(directory / f"scores_{task}.png")
        plot_scores(found[-1], table, task)
    found.append(directory / "times.png")
    plot_times(found[-1], table)
    return found


def plot_scores(path: pathlib.Path, table: ResultsTable, task: str) -> None:
    """One task's scores, a line for each row: mean, 95 % interval, seeds.

    Args:
        path: The PNG file to write.
        table: The table to draw, with the original's figures only for Aff-Wild2.
        task: "EXPR", "AU" or "VA".
    """
    pairs = rows_with_cells(table, task)
    figure = new_figure(9.5, 1.8 + 0.36 * len(pairs))
    panel = figure.subplots()
    series: dict[str, list[tuple[float, float]]] = {
        name: [] for name in ("seeds", "mean", "tuned", "reported")
    }
    for at, (row, cell) in enumerate(pairs):
        if cell.score is None:
            _say_missing(panel, at)
        else:
            if cell.ci95 is not None:
                panel.hlines(at, *cell.ci95, color=BLUE, lw=2, zorder=2)
            series["mean"].append((cell.score, at))
            series["seeds"] += [(score, at + _SEEDS_BELOW) for score in cell.per_seed]
        if cell.tuned_on_reported is not None:
            series["tuned"].append((cell.tuned_on_reported, at))
        if table.is_affwild2 and task in row.reported:
            series["reported"].append((row.reported[task].score, at - _ABOVE))
    _markers(panel, table, series)
    _rows_axis(panel, [row for row, _ in pairs])
    panel.set_xlabel(metric_title(table, task))
    if panel.get_legend_handles_labels()[0]:
        figure.legend(loc="outside lower center", ncols=2)
    _save(figure, path, f"{TASKS[task].title}: {table.title}, {table.split}")


def plot_times(path: pathlib.Path, table: ResultsTable) -> None:
    """Seconds of every row: training above; inference and post-processing below.

    Training takes so much longer that it has panels of its own; all are linear, for
    the parts of a bar add up.

    Args:
        path: The PNG file to write.
        table: The table to draw.
    """
    columns = len(tasks_with_cells(table))
    figure = new_figure(4.2 + 3.2 * columns, 2.0 + 0.5 * len(table.rows))
    panels = figure.subplots(2, columns, squeeze=False, sharey=True, sharex="row")
    for column, task in enumerate(tasks_with_cells(table)):
        pairs = rows_with_cells(table, task)
        cells = [cell for _, cell in pairs]
        for row, parts in enumerate((_TIMES[:1], _TIMES[1:])):
            panel = panels[row, column]
            _bars(panel, cells, parts)
            _rows_axis(panel, [r for r, _ in pairs], labels=column == 0)
            panel.set_xlabel("s, " + " and ".join(name for _, name, _, _ in parts))
        panels[0, column].set_title(TASKS[task].title, fontsize=10)
    handles = {
        label: handle
        for panel in panels.flat
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3)
    _save(figure, path, f"Times: {table.title}, {table.split}; {table.device}")


def _markers(
    panel: Any, table: ResultsTable, series: dict[str, list[tuple[float, float]]]
) -> None:
    """Seeds, means, tuned and reported scores as markers of their own."""
    on, seeds = chosen_on(table), table.num_seeds
    mean = "ours" + (f", chosen on {on}" if on else "")
    mean += f": mean of {seeds} seeds" if seeds > 1 else ""
    styles: dict[str, dict[str, Any]] = {
        "seeds": {"color": BLUE, "marker": "o", "s": 14, "alpha": 0.35, "lw": 0},
        "mean": {"color": BLUE, "marker": "o", "s": 46, "label": mean},
        "tuned": {
            "facecolors": "none",
            "edgecolors": ORANGE,
            "marker": "D",
            "s": 64,
            "linewidths": 1.4,
            "label": f"tuned on {table.split} (too good to report)",
        },
        "reported": {
            "color": "black",
            "marker": "x",
            "s": 44,
            "label": "reported by the original",
        },
    }
    for order, (name, points) in enumerate(series.items()):
        if points:
            x, y = zip(*points, strict=True)
            panel.scatter(x, y, zorder=3 + order, **styles[name])
    if series["seeds"]:
        style = styles["seeds"]
        panel.scatter([], [], label="each seed", **style)
    if any(cell.ci95 for cell in table.cells):
        panel.plot([], [], color=BLUE, lw=2, label="95 % interval over videos")


def _bars(
    panel: Any, cells: Sequence[Cell], parts: Sequence[tuple[str, str, str, str]]
) -> None:
    """Stacked bars of times, one for each cell."""
    left = [0.0] * len(cells)
    for field, name, colour, hatch in parts:
        widths = [getattr(cell, field) or 0.0 for cell in cells]
        panel.barh(
            range(len(cells)),
            widths,
            left=left,
            color=colour,
            hatch=hatch,
            edgecolor="white",
            height=0.7,
            label=name,
        )
        left = [a + b for a, b in zip(left, widths, strict=True)]
    for at, cell in enumerate(cells):
        if all(getattr(cell, field) is None for field, *_ in parts):
            _say_missing(panel, at)


def _say_missing(panel: Any, at: int) -> None:
    """Writes "no value" where a row has none."""
    panel.text(
        0.01,
        at,
        "no value",
        transform=panel.get_yaxis_transform(),
        va="center",
        fontsize=8,
        color=GREY,
    )


def _rows_axis(panel: Any, rows: Sequence[RowSpec], labels: bool = True) -> None:
    """Puts the rows on the vertical axis, from top to bottom."""
    panel.set_ylim(len(rows) - 0.5, -0.5)
    panel.set_yticks(range(len(rows)), [_label(row) for row in rows], fontsize=8)
    if not labels:
        panel.tick_params(axis="y", labelleft=False)
    panel.grid(visible=True, axis="x", color=GREY, alpha=0.25, lw=0.6)


def _label(row: RowSpec) -> str:
    """The label of a row beside the axis."""
    model = row.model.replace(
        " (across the batch, as the original)", " across the batch"
    )
    model = model.replace(" (the original's row)", "")
    return f"{networks((*row.visual, *row.sound))}: {model}"


def _save(figure: Any, path: pathlib.Path, title: str) -> None:
    """Writes the figure whole or not at all."""
    with whole_file(path) as temporary:
        save_figure(figure, temporary, title)
