"""A user's own labels, ``labels.csv`` -> tasks of one's own and their dense labels."""

import dataclasses
import itertools
import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
from absl import logging
from jaxtyping import Shaped

from avemo_jax.data.corpus.label_words import (
    INTEGER,
    task_lines,
    warn_of_numbers,
    warn_of_spelling,
)
from avemo_jax.data.corpus.manifest import (
    CsvTable,
    Entry,
    fail,
    meant,
    number_of,
    say_unlabelled,
)
from avemo_jax.data.listing import first_of, nfc
from avemo_jax.data.records import MAX_FRAME, VideoAnnotations
from avemo_jax.tasks import Task, TaskKind, own_task

_PLACES = ("video", "frame", "start_s", "end_s")
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
    line: int
    video: str
    frames: range  # 1-based
    cells: Mapping[str, str]


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
        path: The CSV file of labels.
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
    table = CsvTable(path)
    table.need("video")
    place = _place_of(table)
    columns = tuple(name for name in table.columns if name not in _PLACES)
    if not columns:
        has = f"only {', '.join(table.columns)}"
        fail(f"{path}, line 1", has, "a column of labels", "add it")
    rates: dict[str, float] = {}
    rows = _rows(table, manifest, place, fps_of, frames_of, rates)
    length = _check_once(table, rows, whole=place == "video")
    none = not any(row.cells[name] for row in rows for name in columns)
    if none and all(entry.split == "test" for entry in manifest.values()):
        told(f"{path}: no labels, so a store to predict, with {len(manifest)} videos")
        return {}, unlabelled(manifest)
    tasks: dict[str, Task] = {}
    labels: dict[str, dict[str, np.ndarray]] = {video: {} for video in manifest}
    for wish in wishes:
        wanted = _wanted_columns(table, wish, columns, alone=len(wishes) == 1)
        task = _task_of(table, rows, wish, wanted)
        if task.name.lower() in {name.lower() for name in tasks}:
            fail(str(path), f"two tasks {task.name!r}", "different names", "rename one")
        tasks[task.name] = task
        dense = _dense(table, rows, task, wanted, length)
        for video, own in dense.items():
            labels[video][task.name] = own
        guessed = wish.kind is None
        for line in task_lines(task, wanted, dense.values(), guessed=guessed):
            told(line)
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
    table: CsvTable,
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
    rows, unknown = [], []
    for line, cells in table.rows():
        entry = _entry_of(table, line, cells, manifest)
        where = f"{table.path}, line {line}, column"
        if place == "frame":
            frames = _frame(where, cells["frame"])
        elif place == "video":
            frames = range(1, frames_of(entry) + 1)
            if not frames:
                unknown.append(entry.video)
                continue
        else:
            if entry.video not in rates:
                rates[entry.video] = fps_of(entry)
            frames = _shown(where, cells, entry, rates[entry.video])
        rows.append(_Row(line, entry.video, frames, cells))
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


def _place_of(table: CsvTable) -> Place:
    """What a line of the table labels, by its columns."""
    times = [name for name in ("start_s", "end_s") if name in table.columns]
    if ("frame" in table.columns and times) or len(times) == 1:
        has = ", ".join(table.columns)
        expected = "a column 'frame', or 'start_s' and 'end_s', or none of them"
        fail(f"{table.path}, line 1", f"columns {has}", expected, "correct the header")
    if times:
        return "time"
    return "frame" if "frame" in table.columns else "video"


def _entry_of(
    table: CsvTable, line: int, cells: Mapping[str, str], manifest: Mapping[str, Entry]
) -> Entry:
    video = nfc(cells["video"])
    if video not in manifest:
        where = f"{table.path}, line {line}, column 'video'"
        instead = meant(video, manifest, "add it there, or remove the line")
        fail(where, f"unknown video {video!r}", "one of the manifest", instead)
    return manifest[video]


def _frame(where: str, text: str) -> range:
    if not INTEGER.fullmatch(text) or not 1 <= int(text) <= MAX_FRAME:
        instead = "correct the cell"
        if text == "0":
            instead = "frames count from 1: add 1 to each"
        fail(f"{where} 'frame'", f"{text!r}", f"1 to {MAX_FRAME}", instead)
    return range(int(text), int(text) + 1)


def _shown(where: str, cells: Mapping[str, str], entry: Entry, fps: float) -> range:
    """The frames from ``start_s`` up to ``end_s``."""
    start = number_of(cells["start_s"], f"{where} 'start_s'")
    end = number_of(cells["end_s"], f"{where} 'end_s'")
    if not 0 <= start < end < math.inf:
        told = f"{cells['start_s']} to {cells['end_s']}"
        fail(f"{where} 'end_s'", told, "0 <= start_s < end_s", "correct the cells")
    if math.isnan(fps):
        told = f"times of {entry.video!r}, whose frames per second are unknown"
        instead = "add a column fps, or path, to the manifest"
        fail(f"{where} 'start_s'", told, "its rate", instead)
    # A frame's time still means that frame when it was rounded to microseconds.
    first = math.ceil(start * fps - 1e-4) + 1
    last = math.ceil(end * fps - 1e-4)
    if last > MAX_FRAME:
        fail(f"{where} 'end_s'", cells["end_s"], f"up to frame {MAX_FRAME}", "seconds?")
    return range(first, last + 1)


def _check_once(
    table: CsvTable, rows: Sequence[_Row], *, whole: bool
) -> dict[str, int]:
    """Labelled length of each video; an error where a frame has two rows."""
    by_video: dict[str, list[_Row]] = {}
    for row in rows:
        by_video.setdefault(row.video, []).append(row)
    for video, own in by_video.items():
        own.sort(key=lambda row: (row.frames.start, row.line))
        for before, row in itertools.pairwise(own):
            if row.frames.start < before.frames.stop:
                told = f"frame {row.frames.start} of {video!r} again"
                expected = f"each frame once (line {before.line})"
                line = max(row.line, before.line)
                where, instead = f"{table.path}, line {line}", "correct the times"
                if whole:
                    told, instead = f"{video!r} again", "add a column frame, or times"
                    expected = f"each whole video once (line {before.line})"
                fail(where, told, expected, f"remove one, or {instead}")
    return {video: own[-1].frames.stop - 1 for video, own in by_video.items()}


def _wanted_columns(
    table: CsvTable, wish: Wish, columns: tuple[str, ...], *, alone: bool
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
    table: CsvTable, rows: Sequence[_Row], wish: Wish, columns: tuple[str, ...]
) -> Task:
    """The task whose labels the columns hold, as the user says or as they look."""
    seen = {name: {row.cells[name] for row in rows} - {""} for name in columns}
    for name in [name for name, texts in seen.items() if not texts]:
        where = f"{table.path}, column {name!r}"
        fail(where, "no label in it", "some", "fill it, or remove the column")
    kind = wish.kind or _kind_of(table, seen)
    if kind == "multiclass" and len(columns) > 1:
        told = f"{len(columns)} columns for one task of classes: {', '.join(columns)}"
        instead = "choose it, --task NAME=multiclass:COLUMN"
        fail(str(table.path), told, "one column", instead)
    where = f"{table.path}: "
    try:
        if kind == "multiclass":
            name, (column,) = wish.name or columns[0], columns
            classes = wish.classes or _sorted_classes(seen[column])
            if not wish.classes:
                cells = [(row.line, row.cells[column]) for row in rows]
                warn_of_spelling(table.path, column, [c for c in cells if c[1]])
                if wish.kind is None:
                    warn_of_numbers(table.path, name, column, seen[column])
            return own_task(name, kind, classes)
        if wish.classes:
            told = f"classes for {kind} labels"
            fail(str(table.path), told, "multiclass ones", "remove --classes")
        if kind == "multilabel":
            return own_task(wish.name or "labels", kind, columns)
        bounds = wish.value_range or (-1.0, 1.0)
        return own_task(wish.name or "values", kind, columns, bounds)
    except ValueError as error:
        text = str(error)
        raise ValueError(text if text.startswith(where) else where + text) from error


def _kind_of(table: CsvTable, seen: Mapping[str, set[str]]) -> TaskKind:
    if len(seen) > 1 and all(texts <= {"0", "1"} for texts in seen.values()):
        return "multilabel"
    texts = set().union(*seen.values())
    whole = all(INTEGER.fullmatch(text) for text in texts)
    numbers = all(_is_number(text) for text in texts)
    if len(seen) == 1:
        return "regression" if numbers and not whole else "multiclass"
    if numbers and not whole:
        return "regression"
    told = f"columns {', '.join(seen)} of several kinds of labels"
    instead = "say it, --task NAME=multiclass|multilabel|regression[:COLUMN,...]"
    fail(str(table.path), told, "one kind", instead)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _sorted_classes(texts: set[str]) -> tuple[str, ...]:
    """Names of classes in order: whole numbers by size, other texts by letters."""
    if all(INTEGER.fullmatch(text) for text in texts):
        return tuple(sorted(texts, key=int))
    return tuple(sorted(texts))


def _dense(
    table: CsvTable,
    rows: Sequence[_Row],
    task: Task,
    columns: tuple[str, ...],
    length: Mapping[str, int],
) -> dict[str, Shaped[np.ndarray, "frames ..."]]:
    """Labels of the frames 1 to the last labelled one, by video."""
    dense = {video: task.empty_labels(count) for video, count in length.items()}
    numbers = {name: i for i, name in enumerate(task.columns)}
    for row in rows:
        part = slice(row.frames.start - 1, row.frames.stop - 1)
        for i, column in enumerate(columns):
            text = row.cells[column]
            if not text:
                continue
            where = f"{table.path}, line {row.line}, column {column!r}"
            if task.kind == "multiclass":
                dense[row.video][part] = _class(where, text, numbers)
            else:
                dense[row.video][part, i] = _value(where, text, task)
    return dense


def _class(where: str, text: str, numbers: Mapping[str, int]) -> int:
    if text not in numbers:
        instead = meant(text, numbers, "correct the cell, or --classes")
        expected = f"one of {', '.join(numbers)}"
        fail(where, f"unknown class {text!r}", expected, instead)
    return numbers[text]


def _value(where: str, text: str, task: Task) -> float:
    """The label in a cell: a unit's 0 or 1, or a value brought to [-1, 1]."""
    if task.kind == "multilabel":
        if text not in ("0", "1"):
            fail(where, f"{text!r}", "0, 1 or an empty cell", "correct the cell")
        return float(text)
    low, high = task.value_range
    value = number_of(text, where)
    if not low <= value <= high:
        instead = "correct the cell, or state the range: --range LOW,HIGH"
        fail(where, f"{text!r}", f"{low:g} to {high:g} or an empty cell", instead)
    if (low, high) == (-1.0, 1.0):
        return value
    return min(max(2 * (value - low) / (high - low) - 1, -1.0), 1.0)
