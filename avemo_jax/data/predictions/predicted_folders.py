"""The folders that ``avemo predict`` writes: one for each input, with a run.json."""

import dataclasses
import pathlib

import numpy as np

from avemo_jax.data.face_tables import Face
from avemo_jax.data.listing import first_of, subfolders
from avemo_jax.data.predictions.frames import FramePredictions, joined
from avemo_jax.data.predictions.tables import read_columns
from avemo_jax.data.predictions.threshold_file import RUN
from avemo_jax.tasks import Task

_TABLES = ("predictions.parquet", "predictions.csv")


def is_predicted(path: pathlib.Path) -> bool:
    """Whether a folder is one of an input, or has some, at any depth."""
    return bool(_folders(path)[0])


def _folders(path: pathlib.Path) -> tuple[list[pathlib.Path], list[pathlib.Path]]:
    """Folders of inputs that are complete, and those that are not."""
    complete, unfinished = [], []
    waiting = [path]
    while waiting:
        folder = waiting.pop(0)
        if (folder / RUN).is_file():
            complete.append(folder)
        elif any((folder / name).is_file() for name in _TABLES):
            unfinished.append(folder)
        else:
            waiting += subfolders(folder)
    return complete, unfinished


def first_table(path: pathlib.Path) -> pathlib.Path:
    """The table of one input, whose columns are those of the others.

    Args:
        path: A folder of which :func:`is_predicted` says so.

    Raises:
        ValueError: If that input's folder has none.
    """
    return _table(_folders(path)[0][0])


def predicted_tables(path: pathlib.Path) -> list[pathlib.Path]:
    """The tables of all complete inputs in a folder.

    Args:
        path: A folder of which :func:`is_predicted` says so.

    Raises:
        ValueError: If an input's folder has none.
    """
    return [_table(folder) for folder in _folders(path)[0]]


def _table(folder: pathlib.Path) -> pathlib.Path:
    """The table in the folder of an input.

    Raises:
        ValueError: If there is none.
    """
    tables = [folder / name for name in _TABLES if (folder / name).is_file()]
    if not tables:
        raise ValueError(
            f"{folder} has {RUN} and none of {', '.join(_TABLES)}; expected one: "
            "predict the input again"
        )
    return tables[0]


def read_predicted(
    path: pathlib.Path, task: Task, face: Face = None
) -> FramePredictions:
    """The predictions of all inputs in a folder, unchecked.

    Args:
        path: The folder of an input, or one that has such folders.
        task: The task of the predictions.
        face: Which face of each input, as for a table.

    Raises:
        ValueError: If a table is missing or wrong, an input is there twice, or inputs
            were decided by different thresholds.
    """
    folders, unfinished = _folders(path)
    found: list[FramePredictions] = []
    for folder in folders:
        one = read_columns(_table(folder), task, face)
        if found and not _same(found[0].thresholds, one.thresholds):
            raise ValueError(
                f"{folder} and {folders[0]} were decided by different thresholds of "
                f"{task.name}; expected those of one model: give one folder, or "
                "predict all inputs with one model"
            )
        found.append(one)
    form = found[0].form
    if len(found) > 1:
        form = f"{len(found)} folders of this package"
    together = joined(found, path, form)
    if not unfinished:
        return together
    told = first_of([folder.name for folder in unfinished], 5)
    note = f"folders without {RUN}, so unfinished and left out: {told}"
    return dataclasses.replace(together, notes=(*together.notes, note))


def _same(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    if one is None or other is None:
        return one is other
    return np.array_equal(one, other)
