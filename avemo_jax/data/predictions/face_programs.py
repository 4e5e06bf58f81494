"""Predictions in tables of OpenFace and py-feat, which lack some of the outputs."""

import dataclasses
import pathlib
from typing import NoReturn

import numpy as np

from avemo_jax.data.face_tables import (
    OPENFACE,
    Face,
    FaceProgram,
    face_rows,
    read_face_table,
    tables_in,
)
from avemo_jax.data.predictions.frames import FramePredictions, joined
from avemo_jax.runtime.tables import Table
from avemo_jax.tasks import AU, EXPR, VA, Task

# py-feat's emotions, in the words of its versions; Contempt stands for Other.
EMOTIONS = {
    "neutral": "Neutral",
    **dict.fromkeys(("anger", "angry"), "Anger"),
    "disgust": "Disgust",
    "fear": "Fear",
    **dict.fromkeys(("happiness", "happy"), "Happiness"),
    **dict.fromkeys(("sadness", "sad"), "Sadness"),
    "surprise": "Surprise",
    "contempt": "Other",
}


def read_face_tables(
    path: pathlib.Path, task: Task, face: Face = None
) -> FramePredictions:
    """The predictions in a table of OpenFace or py-feat, or in a folder of them.

    Rows without a face have none. OpenFace's decisions are taken as they are, and its
    intensities not at all; of py-feat the values of units, emotions and affects.

    Args:
        path: The table or folder.
        task: The task of the predictions.
        face: Which face of each video, as :func:`face_rows` has it.

    Raises:
        ValueError: If a table is wrong, lacks the task's outputs altogether, or is of
            another program than the first, or a video is there twice.
    """
    tables, notes = tables_in(path)
    parts = [_read(one, task, face) for one in tables]
    for one in parts:
        first = parts[0]
        if (one.form, one.lacking) != (first.form, first.lacking):
            raise ValueError(
                f"{one.path} is a {one.form} without {', '.join(one.lacking) or '-'}, "
                f"{first.path} a {first.form} without "
                f"{', '.join(first.lacking) or '-'}; expected tables of one program "
                "with the same columns: put them into two folders"
            )
    form = parts[0].form
    if len(parts) > 1:
        form = f"{len(parts)} {form.replace('table', 'tables')}"
    found = joined(parts, path, form)
    return dataclasses.replace(found, notes=(*found.notes, *notes))


def _read(path: pathlib.Path, task: Task, face: Face) -> FramePredictions:
    """The predictions in one table."""
    table, program = read_face_table(path)
    columns, notes = _columns(table, program, task)
    rows = face_rows(table, program, face)
    values = np.full((table.num_rows, task.num_outputs), np.nan)
    for i, name in enumerate(task.columns):
        if name in columns:
            values[:, i] = table.numbers(columns[name])
    known = ~np.isnan(values).all(axis=1, keepdims=True)
    lacking = tuple(name for name in task.columns if name not in columns)
    is_lacking = np.isin(task.columns, lacking)
    values = np.where(known & is_lacking, 0.0, values)
    if program is OPENFACE:
        _check_decisions(table, columns)
    if rows.without:
        notes += (f"rows of {path.name} without a face, left out: {rows.without:,}",)
    return FramePredictions(
        path,
        task,
        f"table of {program.name}",
        rows.videos,
        rows.video,
        rows.frame,
        filled=np.zeros(len(rows.row), bool),
        scores=values[rows.row],
        named=True,
        first_frame=program.first_frame,
        lacking=lacking,
        notes=notes + table.notes,
    )


def _columns(
    table: Table, program: FaceProgram, task: Task
) -> tuple[dict[str, str], tuple[str, ...]]:
    """The table's column of each output that it has, and remarks on them.

    Raises:
        ValueError: If it has none of the task's.
    """
    there = set(table.columns)
    if task is AU:
        ending = "_c" if program is OPENFACE else ""
        columns = {n: f"{n}{ending}" for n in AU.columns if f"{n}{ending}" in there}
        if not columns:
            _lack(table, program, task, f"AU01{ending}, ...")
        if program is OPENFACE:
            return columns, ("OpenFace's own decisions, AU01_c and so on, are scored",)
        return columns, ()
    if program is OPENFACE:
        raise ValueError(
            f"{table.header}: a table of OpenFace, which has no "
            f"{'expressions' if task is EXPR else 'valence and arousal'}; expected its "
            "action units to be scored: pass --task au"
        )
    if task is VA:
        if not set(VA.columns) <= there:
            _lack(table, program, task, "valence and arousal, as of version 2")
        return {name: name for name in VA.columns}, ()
    columns, notes = {}, []
    for name in table.columns:
        emotion = EMOTIONS.get(name.casefold())
        if emotion is not None and emotion not in columns:
            columns[emotion] = name
            if emotion == "Other":
                notes.append(f"{name} counts as Other, which the file lacks")
    if not columns:
        _lack(table, program, task, "emotions: anger, ..., or Neutral, Happy, ...")
    return columns, tuple(notes)


def _lack(table: Table, program: FaceProgram, task: Task, wanted: str) -> NoReturn:
    raise ValueError(
        f"{table.header}: a table of {program.name} without outputs of {task.name}; "
        f"expected {wanted}: let {program.name} write them"
    )


def _check_decisions(table: Table, columns: dict[str, str]) -> None:
    """Raise ``ValueError`` on the first decision that is not 0 or 1."""
    for name in columns.values():
        values = table.numbers(name)
        wrong = ~np.isin(values, (0, 1)) & ~np.isnan(values)
        if wrong.any():
            row = int(np.argmax(wrong))
            raise ValueError(
                f"{table.where(row, name)}: {values[row]:g}; expected 0 or 1: correct "
                "the cell"
            )
