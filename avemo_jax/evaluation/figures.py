"""The plots of a task's evaluation, drawn from its results."""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from avemo_jax.data.store.table import FrameTable
from avemo_jax.evaluation import plots
from avemo_jax.evaluation.report import ceilings_of, data_title, model_title
from avemo_jax.metrics.ceilings import metric_titles
from avemo_jax.metrics.numpy_states import video_states
from avemo_jax.metrics.states import Confusion, decide
from avemo_jax.models.card import Card
from avemo_jax.models.selection import Selection
from avemo_jax.postprocess.gaps import FillMap
from avemo_jax.postprocess.smoothing import Smoothing
from avemo_jax.postprocess.smoothing_sweep import SmoothingScores
from avemo_jax.tasks import get_task


def draw_figures(
    directory: pathlib.Path,
    found: dict[str, Any],
    table: FrameTable,
    fill_map: FillMap,
    dense: Float[np.ndarray, "frames outputs"],
    *,
    sweep: Mapping[Smoothing, SmoothingScores],
    selection: Selection,
    seed: int,
) -> None:
    """Plots of one evaluation.

    Args:
        directory: Gets the PNG files.
        found: Content of results.json.
        table: The split.
        fill_map: How the split's frames were filled.
        dense: Final scores of every frame, by the seed that is best on dev.
        sweep: The task's scores at every smoothing.
        selection: What was chosen.
        seed: Index of the seed that is best on dev.
    """
    task = table.task
    data = f"{data_title(found, whole=False)}, {task.name}, {table.split}"
    model = model_title(found["head"], found["features"])
    title = "\n".join([model, data, *ceilings_of(found)])
    valid = task.valid(table.dense_labels)
    if task.kind == "multiclass":
        predicted = decide(task, dense)
        state = video_states(task, predicted, table.dense_labels, valid).state
        assert isinstance(state, Confusion)
        (counts,) = state.counts
        plots.plot_confusion(directory / "confusion.png", counts, task.columns, title)
    elif task.kind == "multilabel":
        _draw_units(directory, table, dense, selection, seed, title)
    else:
        plots.plot_va_timeline(
            directory / "timeline.png",
            _timelines(table, fill_map, dense),
            title,
            names=task.columns,
            value_range=task.value_range,
            filled="no face crop (filled)" if found["faces"] else "no sound (filled)",
        )
    plots.plot_smoothing(
        directory / "smoothing.png",
        {
            smoothing: by_frames["with_crop"][task.headline]
            for smoothing, by_frames in sweep.items()
        },
        title,
        metric=metric_titles(task)[task.headline],
        chosen=selection.smoothings[seed] if selection.on else None,
    )


def learning_records(history: list[dict[str, Any]], card: Card) -> list[dict[str, Any]]:
    """The epochs of the seeds that ``card`` keeps; empty without scores on dev.

    Args:
        history: Lines of metrics.jsonl.
        card: Card of the head checkpoint.

    Returns:
        A record per epoch with ``epoch`` and, each with a value for every seed,
        ``loss``, NaN where one has stopped, and the criterion on dev.
    """
    criterion = get_task(card.task).criterion
    kept = slice(*card.candidates)
    if not history or f"dev_{criterion}" not in history[0]:
        return []
    return [
        {
            "epoch": line["epoch"],
            # None where a candidate has stopped
            "loss": [
                np.nan if v is None else v for v in line["loss_per_candidate"][kept]
            ],
            criterion: line[f"dev_{criterion}_per_candidate"][kept],
        }
        for line in history
        if any(value is not None for value in line["loss_per_candidate"][kept])
    ]


def draw_learning_curves(
    directory: pathlib.Path,
    history: list[dict[str, Any]],
    card: Card,
    title: str,
) -> None:
    """Loss and dev score by epoch of the seeds that ``card`` keeps.

    Args:
        directory: Gets the PNG file.
        history: Lines of metrics.jsonl.
        card: Card of the head checkpoint.
        title: Names the data.
    """
    task = get_task(card.task)
    criterion = task.criterion
    model = model_title(card.head["kind"], [one.name for one in card.features])
    records = learning_records(history, card)
    if not records:
        return  # trained without dev: there is no dev score to draw
    plots.plot_learning_curves(
        directory / "learning_curves.png",
        records,
        f"{model}\n{title}, {card.task}",
        criterion=criterion,
        metric=metric_titles(task)[criterion],
        best_epochs=[epoch for epoch in card.best_epochs if epoch is not None],
    )


def _draw_units(
    directory: pathlib.Path,
    table: FrameTable,
    dense: Float[np.ndarray, "frames units"],
    selection: Selection,
    seed: int,
    title: str,
) -> None:
    task = table.task
    valid, limits = task.valid(table.dense_labels), selection.thresholds
    half = np.full(task.num_outputs, 0.5, np.float32)
    own = half if limits is None else limits[seed]

    def f1(thresholds: Float[np.ndarray, " units"]) -> Float[np.ndarray, " units"]:
        predicted = decide(task, dense, thresholds)
        states = video_states(task, predicted, table.dense_labels, valid)
        return states.together()["f1_per_unit"]

    plots.plot_au_f1(
        directory / ("au_f1.png" if task.name == "AU" else "f1_per_unit.png"),
        task.columns,
        f1(own),
        f1(half),
        title,
        thresholds=own,
    )


def _timelines(
    table: FrameTable, fill_map: FillMap, dense: Float[np.ndarray, "frames outputs"]
) -> list[plots.Timeline]:
    """The two videos with the most labelled frames."""
    offsets = table.dense_offsets
    valid = table.task.valid(table.dense_labels)
    labelled = np.add.reduceat(valid.astype(int), offsets[:-1])
    chosen = np.sort(np.argsort(-labelled, kind="stable")[:2])
    lines = []
    for i in chosen:
        part = slice(offsets[i], offsets[i + 1])
        lines.append(
            plots.Timeline(
                video=table.videos[i],
                fps=float(table.fps[i]),
                scores=table.task.in_units(dense[part]),
                labels=table.task.in_units(table.dense_labels[part]),
                filled=np.asarray(fill_map.filled)[part],
            )
        )
    return lines
