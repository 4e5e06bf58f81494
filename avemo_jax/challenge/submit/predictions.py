"""Predictions of a file, with decisions and thresholds, for a submission."""

import dataclasses
import os
import pathlib

import numpy as np
from jaxtyping import Float

from avemo_jax.data.predictions.frames import FramePredictions, decisions_of
from avemo_jax.data.predictions.predicted_folders import first_table, is_predicted
from avemo_jax.data.predictions.reading import is_table, read_frame_predictions
from avemo_jax.data.predictions.threshold_file import thresholds_file
from avemo_jax.runtime.tables import header_of
from avemo_jax.tasks import AU, EXPR, TASKS, Task

# Scores were rounded to six decimals after they were compared with the thresholds.
_ROUNDING = 1e-6


def load_predictions(
    path: str | os.PathLike[str],
    task: Task | None = None,
    thresholds: Float[np.ndarray, " units"] | None = None,
) -> FramePredictions:
    """The predictions in a file of any form, decided for every row.

    Files that hold no decisions are decided by the highest probability (EXPR) or by
    thresholds (AU). A note says where the thresholds are not known.

    Args:
        path: The file.
        task: The task of a file that does not tell its own, or has several; None: every
            file tells it, and has one.
        thresholds: AU: the threshold of each unit, for files without decisions; None:
            0.5.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file does not tell its task, or tells several, is wrong, has
            only rows that are filled, or was not decided by the thresholds beside it.
    """
    path = pathlib.Path(path)
    tasks = tasks_of(path)
    own = task if task in tasks or not tasks else tasks[0]
    if len(tasks) > 1 and task not in tasks:
        raise ValueError(
            f"{path} has outputs of {', '.join(one.name for one in tasks)}; expected "
            "one task, or --task to say which: add the flag"
        )
    if own is None:
        raise ValueError(
            f"{path} does not tell its task; expected columns with the names of a "
            "task's outputs, or --submission with --task expr|au|va: add the flag"
        )
    found = read_frame_predictions(path, own)
    if not found.own.any():
        raise ValueError(
            f"{path}: every row is filled, none has a score of its own; expected "
            "scores of frames with features: predict them first (avemo evaluate)"
        )
    if own is AU and found.decided is None and thresholds is None:
        note = f"{path} has neither thresholds nor decisions: decided at 0.5"
        return decided(_with_note(found, note), np.full(AU.num_outputs, 0.5))
    if found.decided is None:
        return decided(found, thresholds)
    if own is EXPR or found.scores is None:
        return found
    if found.thresholds is not None:
        check_thresholds(found, found.thresholds)
        return found
    return _with_note(
        found,
        f"no thresholds in {thresholds_file(path)}: the decisions of {path.name} "
        "stand, and between two frames the nearer one's; give --thresholds if you "
        "know them",
    )


def decided(
    found: FramePredictions, thresholds: Float[np.ndarray, " units"] | None
) -> FramePredictions:
    """``found`` with decisions by its scores; VA has none.

    Args:
        found: Predictions with scores.
        thresholds: AU: the threshold of each unit; unused for other tasks.
    """
    assert found.scores is not None
    assert found.task is not AU or thresholds is not None
    limits = thresholds if found.task is AU else None
    rows = decisions_of(found.task, found.scores, limits)
    return dataclasses.replace(found, decided=rows, thresholds=limits)


def _with_note(found: FramePredictions, note: str) -> FramePredictions:
    return dataclasses.replace(found, notes=(*found.notes, note))


def tasks_of(path: pathlib.Path) -> tuple[Task, ...]:
    """The tasks whose outputs a file's columns name; else the one with most of them.

    Empty where none are named, and for files without names of columns.

    Raises:
        FileNotFoundError: If there is no such file.
    """
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}; expected predictions or a model")
    if path.is_dir() and is_predicted(path):
        path = first_table(path)
    if path.is_dir() or not is_table(path):
        return ()
    names = {name.casefold() for name in header_of(path)}

    def named(task: Task) -> tuple[bool, int]:
        own = (
            task.columns,
            task.header.split(","),
            [task.decided] if task.decided else [],
        )
        forms = [{name.casefold() for name in one} for one in own]
        return any(f <= names for f in forms if f), max(len(f & names) for f in forms)

    whole = tuple(task for task in TASKS.values() if named(task)[0])
    best = max(TASKS.values(), key=named)
    return whole or ((best,) if any(named(best)) else ())


def check_thresholds(
    predictions: FramePredictions, thresholds: Float[np.ndarray, " units"]
) -> None:
    """Check that a file of action units was decided by these thresholds.

    Raises:
        ValueError: If a unit was decided by another one.
    """
    active, scores = predictions.decided == 1, predictions.values
    # The highest inactive and the lowest active score of each unit.
    highest = np.where(active, -np.inf, scores).max(axis=0)
    lowest = np.where(active, scores, np.inf).min(axis=0)
    for name, below, above, limit in zip(
        predictions.task.columns, highest, lowest, thresholds, strict=True
    ):
        if not below - _ROUNDING <= limit <= above + _ROUNDING:
            raise ValueError(
                f"{predictions.path}: {name}_c is 0 up to {below:g} and 1 from "
                f"{above:g}, which the threshold {limit:g} does not decide; expected "
                "decisions by it: give the thresholds of the head that these are the "
                "predictions of (the .json file beside them, or --thresholds)"
            )
