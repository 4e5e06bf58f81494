"""The scores and decisions of a predictions file, checked, for a submission."""

import dataclasses
import os
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet
from jaxtyping import Bool, Float, Int, Int8

from avemo_jax.data.predictions.predictions_file import (
    column_types,
    read_predictions,
    read_thresholds,
    thresholds_file,
)
from avemo_jax.data.records import MAX_FRAME
from avemo_jax.tasks import AU, EXPR, TASKS, Task


@dataclasses.dataclass(frozen=True)
class Predictions:
    """The rows of one predictions file, in its order.

    Attributes:
        path: The file, for messages.
        task: The task that the predictions are of.
        videos: Names of the videos.
        video: Index of each row's video.
        frame: 1-based frame number of each row.
        own: Which rows have a score of their own, not filled from other frames.
        scores: Probabilities (EXPR, AU), or valence and arousal.
        decided: EXPR: the class of each row, (rows, 1); AU: 0 or 1, (rows, 12); VA:
            (rows, 0).
        has_scores: Whether the file holds scores; if not, ``scores`` are the decisions.
        thresholds: AU: the thresholds of the decisions; None: they are unknown.
        note: Remark on how rows were decided, for people; empty: there is none.
    """

    path: pathlib.Path
    task: Task
    videos: tuple[str, ...]
    video: Int[np.ndarray, " rows"]
    frame: Int[np.ndarray, " rows"]
    own: Bool[np.ndarray, " rows"]
    scores: Float[np.ndarray, "rows outputs"]
    decided: Int8[np.ndarray, "rows decisions"]
    has_scores: bool = True
    thresholds: Float[np.ndarray, " units"] | None = None
    note: str = ""


def load_predictions(path: str | os.PathLike[str]) -> Predictions:
    """The predictions in a file of any official task.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no predictions file, has no rows, or only filled ones, a
            value is missing, not finite, or out of its range, or the thresholds beside
            it are damaged or do not fit the decisions.
    """
    path = pathlib.Path(path)
    table = read_predictions(path)
    names = set(table.schema.names)
    tasks = [task for task in TASKS.values() if set(task.columns) <= names]
    if not tasks:
        raise _wrong(path, f"no columns of {', '.join(TASKS)}", "those of one of them")
    task = tasks[0]
    types = column_types(task, labels=False)
    try:
        table = table.select(list(types)).cast(pa.schema(list(types.items())))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ValueError(
            f"{path}: {error}; expected a predictions file as this package writes it; "
            "write it anew with avemo evaluate"
        ) from error
    if not table.num_rows:
        raise _wrong(path, "no rows", "one for every frame")
    for name in types:
        if table[name].null_count:
            row = int(np.argmax(table[name].is_null().to_numpy()))
            raise _wrong(_line(path, row), f"no value for {name}", "one in every row")
    encoded = table["video"].combine_chunks().dictionary_encode()
    frame = table["frame"].to_numpy()
    _check(path, "frame", frame, (frame < 1) | (frame > MAX_FRAME), f"1 to {MAX_FRAME}")
    own = table["filled"].to_numpy() == 0
    if not own.any():
        what = "every row is filled, none has a score of its own"
        raise _wrong(path, what, "scores of frames with features")
    scores = np.stack([table[name].to_numpy() for name in task.columns], axis=1)
    for name, column in zip(task.columns, scores.T, strict=True):
        _check(path, name, column, ~np.isfinite(column), "a finite number")
    found = Predictions(
        path,
        task,
        tuple(encoded.dictionary.to_pylist()),
        encoded.indices.to_numpy(),
        frame,
        own,
        scores,
        _decided(path, table, task),
    )
    return with_thresholds(found)


def with_thresholds(predictions: Predictions) -> Predictions:
    """``predictions`` with the thresholds in the file beside theirs.

    Without such a file the predictions keep their decisions, and a note says so. Tasks
    other than AU, and files of decisions only, have no thresholds.

    Raises:
        ValueError: If the thresholds are damaged or do not fit the decisions.
    """
    if predictions.task is not AU or not predictions.has_scores:
        return predictions
    found = read_thresholds(predictions.path, AU)
    if found is None:
        note = (
            f"no thresholds in {thresholds_file(predictions.path)}: the decisions of "
            f"{predictions.path.name} stand, and between two frames the nearer one's; "
            "give --thresholds if you know them"
        )
        return dataclasses.replace(predictions, note=note)
    check_thresholds(predictions, found)
    return dataclasses.replace(predictions, thresholds=found)


def task_of(path: pathlib.Path) -> Task | None:
    """The task that a file's column names tell; None where they tell none.

    Raises:
        FileNotFoundError: If there is no such file.
    """
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}; expected predictions or a model")
    suffix = path.suffix.lower()
    if path.is_dir() or suffix not in (".csv", ".txt", ".parquet"):
        return None
    if suffix == ".parquet":
        names = set(pyarrow.parquet.read_schema(path).names)
    else:
        with path.open("rb") as file:
            first = file.readline().decode("utf-8-sig", "replace")
        names = {name.strip() for name in first.split(",")}
    for task in TASKS.values():
        if set(task.columns) <= names or set(task.header.split(",")) <= names:
            return task
    return None


def _decided(
    path: pathlib.Path, table: pa.Table, task: Task
) -> Int8[np.ndarray, "rows decisions"]:
    """The decisions that the file holds; no columns for VA."""
    if task is EXPR:
        found = pc.index_in(table["expression"], value_set=pa.array(task.columns))
        if found.null_count:
            row = int(np.argmax(found.is_null().to_numpy()))
            value = table["expression"][row].as_py()
            raise _wrong(
                _line(path, row), f"expression {value!r}", f"one of {task.header}"
            )
        return found.to_numpy().astype(np.int8)[:, None]
    columns = [f"{name}_c" for name in task.columns] if task is AU else []
    for name in columns:
        values = table[name].to_numpy()
        _check(path, name, values, (values != 0) & (values != 1), "0 or 1")
    decided = np.zeros((table.num_rows, len(columns)), np.int8)
    for i, name in enumerate(columns):
        decided[:, i] = table[name].to_numpy()
    return decided


def _check(
    path: pathlib.Path, name: str, values: np.ndarray, wrong: np.ndarray, expected: str
) -> None:
    """Raise ``ValueError`` on the first row whose value is wrong."""
    if wrong.any():
        row = int(np.argmax(wrong))
        raise _wrong(_line(path, row), f"{name} is {values[row]}", expected)


def _line(path: pathlib.Path, row: int) -> str:
    if path.suffix == ".parquet":
        return f"{path}, row {row + 1}"
    return f"{path}, line {row + 2}"


def _wrong(where: object, found: str, expected: str) -> ValueError:
    return ValueError(
        f"{where}: {found}; expected {expected}; write the predictions anew with "
        "avemo evaluate"
    )


# Scores were rounded to six decimals after they were compared with the thresholds.
_ROUNDING = 1e-6


def check_thresholds(
    predictions: Predictions, thresholds: Float[np.ndarray, " units"]
) -> None:
    """Check that a file of action units was decided by these thresholds.

    Raises:
        ValueError: If a unit was decided by another one.
    """
    active = predictions.decided == 1
    # The highest inactive and the lowest active score of each unit.
    highest = np.where(active, -np.inf, predictions.scores).max(axis=0)
    lowest = np.where(active, predictions.scores, np.inf).min(axis=0)
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
