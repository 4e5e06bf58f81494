"""The plots of a results table: scores with their intervals."""

import pathlib
from collections.abc import Sequence
from typing import Any

from avemo_jax.evaluation.plot_style import (
    BLUE,
    GREY,
    ORANGE,
    new_figure,
    save_figure,
)
from avemo_jax.results_table.contents import ResultsTable, metric_title
from avemo_jax.results_table.markdown import networks
from avemo_jax.results_table.rows import RowSpec
from avemo_jax.runtime.atomic_files import whole_file
from avemo_jax.tasks import TASKS

# Offsets as shares of a row's height, so that markers do not hide each other.
_SEEDS_BELOW, _ABOVE = 0.26, 0.2


def write_plots(directory: pathlib.Path, table: ResultsTable) -> list[pathlib.Path]:
    """Writes ``scores_TASK.png`` of every task; gives their paths.

    Args:
        directory: Folder of the plots; made where it is missing.
        table: The table to draw.
    """
    directory.mkdir(parents=True, exist_ok=True)
    found = {task: directory / f"scores_{task}.png" for task in table.cells}
    for task, path in found.items():
        plot_scores(path, table, task)
    return list(found.values())


def plot_scores(path: pathlib.Path, table: ResultsTable, task: str) -> None:
    """One task's scores, a line for each row: mean, 95 % interval, seeds.

    Args:
        path: The PNG file to write.
        table: The table to draw, with the original's figures only for Aff-Wild2.
        task: "EXPR", "AU" or "VA".
    """
    figure = new_figure(9.5, 1.8 + 0.36 * len(table.rows))
    panel = figure.subplots()
    series: dict[str, list[tuple[float, float]]] = {
        name: [] for name in ("seeds", "mean", "tuned", "reported")
    }
    for at, (row, cell) in enumerate(table.pairs(task)):
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
    _rows_axis(panel, table.rows)
    panel.set_xlabel(metric_title(task))
    if panel.get_legend_handles_labels()[0]:
        figure.legend(loc="outside lower center", ncols=2)
    with whole_file(path) as temporary:
        title = f"{TASKS[task].full_title}: {table.title}, {table.split}"
        save_figure(figure, temporary, title)


def _markers(
    panel: Any, table: ResultsTable, series: dict[str, list[tuple[float, float]]]
) -> None:
    """Seeds, means, tuned and reported scores as markers of their own."""
    on, seeds = table.chosen_on, table.num_seeds
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
    if any(cell.ci95 for cell in table.all_cells):
        panel.plot([], [], color=BLUE, lw=2, label="95 % interval over videos")


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


def _rows_axis(panel: Any, rows: Sequence[RowSpec]) -> None:
    """Puts the rows on the vertical axis, from top to bottom."""
    panel.set_ylim(len(rows) - 0.5, -0.5)
    panel.set_yticks(range(len(rows)), [_label(row) for row in rows], fontsize=8)
    panel.grid(visible=True, axis="x", color=GREY, alpha=0.25, lw=0.6)


def _label(row: RowSpec) -> str:
    """The label of a row beside the axis."""
    model = row.model.replace(
        " (across the batch, as the original)", " across the batch"
    )
    model = model.replace(" (the original's row)", "")
    return f"{networks((*row.visual, *row.sound))}: {model}"
