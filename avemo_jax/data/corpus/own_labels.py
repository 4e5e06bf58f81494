"""A user's own labels, ``labels.csv`` -> tasks of one's own and their dense labels."""

import dataclasses
import itertools
import math
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Literal

import numpy as np
from absl import logging
from jaxtyping import Int, Shaped

from avemo_jax.data.corpus.label_columns import LabelColumn, label_column
from avemo_jax.data.corpus.label_words import (
    column_lines,
    task_lines,
    warn_of_numbers,
    warn_of_spelling,
)
from avemo_jax.data.corpus.manifest import Entry, fail, meant, say_unlabelled
from avemo_jax.data.listing import first_of, nfc
from avemo_jax.data.records import MAX_FRAME, VideoAnnotations
from avemo_jax.runtime.tables import Table, read_table
from avemo_jax.runtime.tables.words import INTEGER, is_number, with_point
from avemo_jax.tasks import Task, TaskKind, own_task

_PLACES = ("video", "frame", "start_s", "end_s")
_MAX_REASON = 400  # characters of an error that quotes the file
Place = Literal["frame", "time", "video"]


@dataclasses.dataclass(frozen=True)
class Wish:
    """What a user says about a task; the rest is taken from the labels.

    Attributes:
        name: Name of the task; empty: the column's name for "multiclass", else "labels"
            or "values".
        kind: Kind of the task; None: the one that the labels look like.
        columns: Columns of the file; empty: all that hold labels.
        classes: Names of the classes in order; empty: those that occur, sorted.
        value_range: Least and largest value; None: -1 and 1.
    """

    name: str = ""
    kind: TaskKind | None = None
    columns: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    value_range: tuple[float, float] | None = None


@dataclasses.dataclass(frozen=True)
class _Row:
    row: int  # of the table, from 0
    video: str
    frames: range  # 1-based


def read_labels(
    path: str | os.PathLike[str],
    manifest: Mapping[str, Entry],
    wishes: Sequence[Wish] = (Wish(),),
    *,
    fps_of: Callable[[Entry], float] = lambda entry: entry.fps,
    frames_of: Callable[[Entry], int] = lambda entry: 0,
    told: Callable[[str], object] = lambda line: None,
) -> tuple[dict[str, Task], list[VideoAnnotations]]:
    """Tasks by name, and a record of each video of the manifest.

    Columns: video; frame (from 1), or start_s and end_s (the frames shown from start_s
    on and before end_s; frame k is shown at (k - 1) / fps), or neither: then a line
    labels a whole video; then labels. A single
    column of texts or whole numbers is multiclass, and the task has the column's name;
    several columns of 0 and 1 are multilabel ("labels"); others are values ("values").
    An empty cell is an invalid label, and so is that of a frame that has no line. Where
    there is no label at all and all videos are test videos, there are no tasks.

    Args:
        path: The table of labels.
        manifest: Entries of the manifest, by video.
        wishes: What the user says about each task; with several, each names its
            columns.
        fps_of: Gives a video's frames per second, where times are given; NaN: unknown.
        frames_of: Gives a video's number of frames, where labels are of whole videos;
            0: unknown.
        told: Called with each line on what the tasks were taken for.

    Raises:
        ValueError: If the file is wrong; the error names file, line and column.
    """
    table = read_table(path, known=_PLACES)
    table.need("video")
    place = _place_of(table)
    columns = tuple(name for name in table.columns if name not in _PLACES)
    if not columns:
        has = f"only {', '.join(table.columns)}"
        fail(table.header, has, "a column of labels", "add it")
    rates: dict[str, float] = {}
    rows = _rows(table, manifest, place, fps_of, frames_of, rates)
    length = _check_once(table, rows, whole=place == "video")
    used = np.zeros(table.num_rows, bool)
    used[[row.row for row in rows]] = True
    if all(entry.split == "test" for entry in manifest.values()) and not any(
        label_column(table, name, used).texts for name in columns
    ):
        told(f"{path}: no labels, so a store to predict, with {len(manifest)} videos")
        return {}, unlabelled(manifest)
    tasks: dict[str, Task] = {}
    labels: dict[str, dict[str, np.ndarray]] = {video: {} for video in manifest}
    for wish in wishes:
        wanted = _wanted_columns(table, wish, columns, alone=len(wishes) == 1)
        seen = [label_column(table, name, used, wish.classes) for name in wanted]
        task, found = _task_of(table, seen, wish)
        if task.name.lower() in {name.lower() for name in tasks}:
            fail(str(path), f"two tasks {task.name!r}", "different names", "rename one")
        tasks[task.name] = task
        dense = _dense(table, rows, task, found, length)
        for video, own in dense.items():
            labels[video][task.name] = own
        guessed = wish.kind is None
        for line in task_lines(task, wanted, dense.values(), guessed=guessed):
            told(line)
        for line in column_lines(found, classes=task.kind == "multiclass"):
            told(line)
    for note in table.notes:
        told(f"{path}: {note}")
    say_unlabelled(manifest, labels)
    records = [
        VideoAnnotations(
            video,
            labels[video],
            dict.fromkeys(tasks, entry.split),
            fps=rates.get(video, entry.fps),
            source=entry.group,
        )
        for video, entry in manifest.items()
    ]
    return tasks, records


def unlabelled(manifest: Mapping[str, Entry]) -> list[VideoAnnotations]:
    """A record of each video of the manifest, without labels and task."""
    return [
        VideoAnnotations(video, {}, {}, fps=entry.fps, source=entry.group)
        for video, entry in manifest.items()
    ]


def _rows(
    table: Table,
    manifest: Mapping[str, Entry],
    place: Place,
    fps_of: Callable[[Entry], float],
    frames_of: Callable[[Entry], int],
    rates: dict[str, float],
) -> list[_Row]:
    """All lines of the table with the frames that they label.

    A whole video without features has no frames to label; such videos are logged.

    Args:
        table: The file of labels.
        manifest: Entries of the manifest, by video.
        place: What a line labels.
        fps_of: Gives a video's frames per second.
        frames_of: Gives a video's number of frames; 0: unknown.
        rates: Filled with the frames per second used for times, by video.
    """
    rows: list[_Row] = []
    unknown: list[str] = []
    entries = _entries_of(table, manifest)
    if place == "frame":
        numbers = table.frames("frame")
        _check_frames(table, numbers)
    elif place == "time":
        starts, ends = table.numbers("start_s"), table.numbers("end_s")
    for row, entry in enumerate(entries):
        if place == "frame":
            frames = range(numbers[row], numbers[row] + 1)
        elif place == "video":
            frames = range(1, frames_of(entry) + 1)
            if not frames:
                unknown.append(entry.video)
                continue
        else:
            if entry.video not in rates:
                rates[entry.video] = fps_of(entry)
            span = (float(starts[row]), float(ends[row]))
            frames = _shown(table, row, span, entry, rates[entry.video])
        rows.append(_Row(row, entry.video, frames))
    if unknown and not rows:
        told = "labels of whole videos, none of which has features"
        fail(str(table.path), told, "features of them", "extract them first")
    if unknown:
        logging.warning(
            "%s: %d labelled videos have no features and are in no training and no "
            "score: %s",
            table.path,
            len(unknown),
            first_of(unknown, 5),
        )
    return rows


def _place_of(table: Table) -> Place:
    """What a line of the table labels, by its columns."""
    times = [name for name in ("start_s", "end_s") if name in table.columns]
    if ("frame" in table.columns and times) or len(times) == 1:
        has = ", ".join(table.columns)
        expected = "a column 'frame', or 'start_s' and 'end_s', or none of them"
        fail(table.header, f"columns {has}", expected, "correct the header")
    if times:
        return "time"
    return "frame" if "frame" in table.columns else "video"


def _entries_of(table: Table, manifest: Mapping[str, Entry]) -> list[Entry]:
    """The manifest's entry of each row's video."""
    table.check_there("video")
    names, index = table.encoded("video")
    entries: list[Entry] = []
    for i, name in enumerate(names):
        video = nfc(name)
        if video not in manifest:
            where = table.where(int(np.argmax(index == i)), "video")
            instead = meant(video, manifest, "add it there, or remove the line")
            fail(where, f"unknown video {video!r}", "one of the manifest", instead)
        entries.append(manifest[video])
    return [entries[i] for i in index.tolist()]


def _check_frames(table: Table, numbers: Int[np.ndarray, " rows"]) -> None:
    wrong = (numbers < 1) | (numbers > MAX_FRAME)
    if wrong.any():
        row = int(np.argmax(wrong))
        instead = "correct the cell"
        if numbers[row] == 0:
            instead = "frames count from 1: add 1 to each"
        told = f"'{numbers[row]}'"
        fail(table.where(row, "frame"), told, f"1 to {MAX_FRAME}", instead)


def _shown(
    table: Table, row: int, span: tuple[float, float], entry: Entry, fps: float
) -> range:
    """The frames from ``start_s`` up to ``end_s``."""
    start, end = span
    if not 0 <= start < end < math.inf:
        told = f"{start:g} to {end:g}"
        where = table.where(row, "end_s")
        fail(where, told, "0 <= start_s < end_s", "correct the cells")
    if math.isnan(fps):
        told = f"times of {entry.video!r}, whose frames per second are unknown"
        instead = "add a column fps, or path, to the manifest"
        fail(table.where(row, "start_s"), told, "its rate", instead)
    # A frame's time still means that frame when it was rounded to microseconds.
    first = math.ceil(start * fps - 1e-4) + 1
    last = math.ceil(end * fps - 1e-4)
    if last > MAX_FRAME:
        where = table.where(row, "end_s")
        fail(where, f"{end:g}", f"up to frame {MAX_FRAME}", "seconds?")
    return range(first, last + 1)


def _check_once(table: Table, rows: Sequence[_Row], *, whole: bool) -> dict[str, int]:
    """Labelled length of each video; an error where a frame has two rows."""
    by_video: dict[str, list[_Row]] = {}
    for row in rows:
        by_video.setdefault(row.video, []).append(row)
    for video, own in by_video.items():
        own.sort(key=lambda row: (row.frames.start, row.row))
        for before, row in itertools.pairwise(own):
            if row.frames.start < before.frames.stop:
                told = f"frame {row.frames.start} of {video!r} again"
                first = table.place(min(row.row, before.row))
                expected = f"each frame once ({first})"
                where = table.where(max(row.row, before.row))
                instead = "correct the times"
                if whole:
                    told, instead = f"{video!r} again", "add a column frame, or times"
                    expected = f"each whole video once ({first})"
                fail(where, told, expected, f"remove one, or {instead}")
    return {video: own[-1].frames.stop - 1 for video, own in by_video.items()}


def _wanted_columns(
    table: Table, wish: Wish, columns: tuple[str, ...], *, alone: bool
) -> tuple[str, ...]:
    for name in wish.columns:
        if name not in columns:
            instead = meant(name, columns, "correct --task")
            expected = f"one of {', '.join(columns)}"
            fail(str(table.path), f"no label column {name!r}", expected, instead)
    if wish.columns:
        return wish.columns
    if not alone:
        told = f"task {wish.name!r} without columns, beside another"
        instead = f"--task {wish.name}=KIND:COLUMN,COLUMN"
        fail(str(table.path), told, "the columns of each", instead)
    return columns


def _task_of(
    table: Table, found: Sequence[LabelColumn], wish: Wish
) -> tuple[Task, Sequence[LabelColumn]]:
    """The task whose labels the columns hold, as the user says or as they look.

    Returns:
        The task; and the columns, in which -1 is no label of classes and units.
    """
    from_0 = [column.without_minus_one(wish.classes) for column in found]
    for column in from_0:
        if not column.texts:
            where = f"{table.path}, column {column.name!r}"
            fail(where, "no label in it", "some", "fill it, or remove the column")
    kind = wish.kind or _kind_of(table, from_0)
    if kind != "regression":
        found = from_0
    if kind == "multiclass" and len(found) > 1:
        named = ", ".join(column.name for column in found)
        told = f"{len(found)} columns for one task of classes: {named}"
        instead = "choose it, --task NAME=multiclass:COLUMN"
        fail(str(table.path), told, "one column", instead)
    where = f"{table.path}: "
    try:
        return _own_task(table, found, wish, kind), found
    except ValueError as error:
        text = " ".join(str(error).split())[:_MAX_REASON]  # names may have many lines
        raise ValueError(text if text.startswith(where) else where + text) from error


def _own_task(
    table: Table, found: Sequence[LabelColumn], wish: Wish, kind: TaskKind
) -> Task:
    """The task of a kind that the columns hold.

    Raises:
        ValueError: If a name, or the number of classes, is wrong.
    """
    names = tuple(column.name for column in found)
    if kind == "multiclass":
        (column,) = found
        name = wish.name or column.name
        if not wish.classes:
            warn_of_spelling(table, column.name, column.counts(), column.first)
            if wish.kind is None:
                warn_of_numbers(table.path, name, column.name, column.texts)
        return own_task(name, kind, wish.classes or _sorted_classes(column.texts))
    if wish.classes:
        told = f"classes for {kind} labels"
        fail(str(table.path), told, "multiclass ones", "remove --classes")
    if kind == "multilabel":
        return own_task(wish.name or "labels", kind, names)
    bounds = wish.value_range or (-1.0, 1.0)
    return own_task(wish.name or "values", kind, names, bounds)


def _kind_of(table: Table, found: Sequence[LabelColumn]) -> TaskKind:
    if len(found) > 1 and all(set(one.texts) <= {"0", "1"} for one in found):
        return "multilabel"
    texts = {text for column in found for text in column.texts}
    whole = all(INTEGER.fullmatch(text) for text in texts)
    numbers = all(map(is_number, texts))
    if len(found) == 1:
        return "regression" if numbers and not whole else "multiclass"
    if numbers and not whole:
        return "regression"
    told = f"columns {', '.join(one.name for one in found)} of several kinds of labels"
    instead = "say it, --task NAME=multiclass|multilabel|regression[:COLUMN,...]"
    fail(str(table.path), told, "one kind", instead)


def _sorted_classes(texts: Collection[str]) -> tuple[str, ...]:
    """Names of classes in order: whole numbers by size, other texts by letters."""
    if all(INTEGER.fullmatch(text) for text in texts):
        return tuple(sorted(texts, key=int))
    return tuple(sorted(texts))


def _dense(
    table: Table,
    rows: Sequence[_Row],
    task: Task,
    found: Sequence[LabelColumn],
    length: Mapping[str, int],
) -> dict[str, Shaped[np.ndarray, "frames ..."]]:
    """Labels of the frames 1 to the last labelled one, by video."""
    dense = {video: task.empty_labels(count) for video, count in length.items()}
    for i, column in enumerate(found):
        value = _class if task.kind == "multiclass" else _value
        values = [value(table, column, text, task) for text in column.texts]
        for row in rows:
            label = column.index[row.row]
            if label < 0:
                continue
            part = slice(row.frames.start - 1, row.frames.stop - 1)
            if task.kind == "multiclass":
                dense[row.video][part] = values[label]
            else:
                dense[row.video][part, i] = values[label]
    return dense


def _class(table: Table, column: LabelColumn, text: str, task: Task) -> int:
    """The number of a class.

    Args:
        table: The table of labels.
        column: The column that the label stands in.
        text: The label.
        task: The task, of classes.

    Raises:
        ValueError: If there is no such class.
    """
    if text not in task.columns:
        where = table.where(column.first(text), column.name)
        instead = meant(text, task.columns, "correct the cell, or --classes")
        expected = f"one of {', '.join(task.columns)}"
        fail(where, f"unknown class {text!r}", expected, instead)
    return task.columns.index(text)


def _value(table: Table, column: LabelColumn, text: str, task: Task) -> float:
    """The label in a cell: a unit's 0 or 1, or a value brought to [-1, 1].

    Args:
        table: The table of labels.
        column: The column that the label stands in.
        text: The label.
        task: The task, of units or values.

    Raises:
        ValueError: If the label is none of the task's.
    """
    if task.kind == "multilabel":
        if text not in ("0", "1"):
            where = table.where(column.first(text), column.name)
            fail(where, f"{text!r}", "0, 1 or an empty cell", "correct the cell")
        return float(text)
    low, high = task.value_range
    if not is_number(text):
        where = table.where(column.first(text), column.name)
        instead = "correct the cell"
        if with_point(text) != text:
            instead = "write a point for the decimals"
        fail(where, f"{text!r}", "a number", instead)
    value = float(text)
    if not low <= value <= high:
        where = table.where(column.first(text), column.name)
        instead = "correct the cell, or state the range: --range LOW,HIGH"
        fail(where, f"{text!r}", f"{low:g} to {high:g} or an empty cell", instead)
    if (low, high) == (-1.0, 1.0):
        return value
    return min(max(2 * (value - low) / (high - low) - 1, -1.0), 1.0)
