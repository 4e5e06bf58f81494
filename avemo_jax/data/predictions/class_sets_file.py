"""class_sets.csv: the set of classes of every frame, and how sets are written."""

import pathlib

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Int

from avemo_jax.data.predictions.predictions_file import class_names
from avemo_jax.data.store.table import FrameTable
from avemo_jax.runtime.atomic_files import whole_file
from avemo_jax.runtime.tables.words import neutral
from avemo_jax.runtime.tables.writing import csv_writer, needs_quotes
from avemo_jax.tasks import Task

JOINER = "+"


def set_names(
    task: Task,
    sets: Bool[np.ndarray, "rows classes"],
    known: Bool[np.ndarray, " rows"] | None = None,
) -> pa.Array:
    """Sets of classes as a column: names joined by "+", in the task's order.

    Args:
        task: A task of classes.
        sets: Which classes are in each row's set.
        known: Which rows have one; the others are missing. None: all have.
    """
    different, index = np.unique(sets, axis=0, return_inverse=True)
    words = [
        JOINER.join(np.array(task.columns, object)[one].tolist()) for one in different
    ]
    mask = None if known is None else ~known
    return pa.array(words, pa.string()).take(pa.array(index.reshape(-1), mask=mask))


def sets_of(
    task: Task, column: pa.Array | pa.ChunkedArray
) -> Bool[np.ndarray, "rows classes"]:
    """The inverse of :func:`set_names`; no class where a cell is empty.

    Args:
        task: The task of the classes.
        column: The sets as texts.

    Raises:
        KeyError: If a text is no set of the task's classes.
    """
    texts = column.to_pylist()
    known: dict[str | None, np.ndarray] = {None: np.zeros(task.num_outputs, bool)}
    for text in set(texts) - {None}:
        known[text] = _set_of(task, text)
    return np.array([known[text] for text in texts], bool).reshape(
        len(texts), task.num_outputs
    )


def _set_of(task: Task, text: str) -> Bool[np.ndarray, " classes"]:
    """The classes of one set; a name may itself have a "+"."""
    found = np.zeros(task.num_outputs, bool)
    rest = text
    for i, name in enumerate(task.columns):
        if rest == name or rest.startswith(name + JOINER):
            found[i], rest = True, rest[len(name) + len(JOINER) :]
    if rest or not found.any():
        raise KeyError(f"{text!r} is no set of {', '.join(task.columns)}")
    return found


def write_class_sets(
    path: pathlib.Path,
    table: FrameTable,
    decided: Int[np.ndarray, " frames"],
    sets: Bool[np.ndarray, "frames classes"],
) -> None:
    """Write one line per frame: ``video``, ``frame``, the decided class, and its set.

    Args:
        path: The file, which appears whole or not at all.
        table: The task, videos and frame numbers.
        decided: The class of each frame.
        sets: Which classes are in each frame's set.
    """
    task = table.task
    schema = pa.schema(
        [
            ("video", pa.string()),
            ("frame", pa.int32()),
            (task.decided, pa.string()),
            (f"{task.decided}_set", pa.string()),
        ]
    )
    columns = [
        neutral(pa.array(table.videos, pa.string())).take(
            pa.array(table.video_of_dense)
        ),
        pa.array(table.number_of_dense.astype(np.int32)),
        class_names(task, decided),
        set_names(task, sets),
    ]
    quoted = any(map(needs_quotes, (*table.videos, *task.columns)))
    with (
        whole_file(path) as temporary,
        csv_writer(temporary, schema, quoted=quoted) as writer,
    ):
        writer.write_batch(pa.record_batch(columns, schema=schema))
