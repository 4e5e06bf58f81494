"""Codings in tables, of frames, moments or intervals, by people or by programs."""

import dataclasses
import functools
import pathlib
import re
from collections.abc import Callable, Collection, Mapping

import numpy as np
from jaxtyping import Bool, Float, Int

from avemo_jax.agreement import elan
from avemo_jax.data.corpus.label_columns import LabelColumn, label_column
from avemo_jax.data.face_tables import (
    OPENFACE,
    PY_FEAT,
    TABLE_ENDINGS,
    FaceProgram,
    numbered_rows,
    program_of,
)
from avemo_jax.data.listing import entries, first_of, nfc
from avemo_jax.data.predictions.face_programs import EMOTIONS
from avemo_jax.data.predictions.predicted_folders import is_predicted, predicted_tables
from avemo_jax.data.records import MAX_FRAME
from avemo_jax.media.file_endings import MEDIA_ENDINGS, ending_of, without_endings
from avemo_jax.runtime.plain_text import is_number
from avemo_jax.runtime.tables import Table, read_table

# Names of columns in small letters, by what they tell; the first that is there counts.
_VIDEO = ("video", "input")
_FRAME = ("frame",)
_TIME = ("timestamp", "time_s", "time")
_ONSET = ("onset_s", "onset", "start_s", "start", "begin_s", "begin", "start (s)")
_OFFSET = ("offset_s", "offset", "end_s", "end", "stop_s", "stop", "stop (s)")
_FACE = ("face_id", "face")
_TIER = ("tier",)
_LABEL = ("label", "annotation", "behavior", "behaviour")
_OTHERS = frozenset(
    "mean_prob filled has_crop embedded audio_used success confidence expression_prob "
    "num_frames approx_time".split()
)
_ELSE = re.compile(r"(begin|end) time - .*|duration.*|unnamed \d+|facerect\w+|label_.*")
_BESIDE = re.compile(r"(.+)_(?:set|disagreement)")
_MACHINE = ({"filled", "embedded"}, {"filled", "has_crop"})
TIER_FACE = re.compile(r"^face(\d+)_")  # before the tiers of segments.csv
_UNIT = re.compile(r"au ?0*(\d+)(_\w+)?")


Labels = Callable[[], LabelColumn]  # of a column, read once they are asked for
_FEW = 127  # different labels; a column with more has values


@dataclasses.dataclass(frozen=True, eq=False)
class Coding:
    """The rows of one table.

    Attributes:
        table: The table, for the places of rows.
        machine: Whether a program made it, so that its labels are all that there are.
        named: Whether the table tells the videos; if not, it is called as the file is.
        videos: Names of the videos.
        row: Which rows of the table they are.
        video: Index of each row's video.
        face: Number of each row's face; 0: not told.
        frame: Number of each row's frame, from 1; None: not told.
        start_s: When each row begins, or the frame is shown; None: not told.
        end_s: When each row ends; None: rows are frames or moments.
        columns: What gives the labels of all rows of the table, by variable.
        units: Variables that are 0 or 1, in the form of ``plain``.
        classes: Variables whose labels are words, in that form.
        events: Variables of which rows tell only where they are present.
        long: Tier and label of each row, whose variables are not yet told apart; None:
            each variable has a column.
        known: Names that may occur as labels, in the form of ``plain``; empty: any.
        notes: Remarks for people.
    """

    table: Table
    machine: bool
    named: bool
    videos: tuple[str, ...]
    row: Int[np.ndarray, " rows"]
    video: Int[np.ndarray, " rows"]
    face: Int[np.ndarray, " rows"]
    frame: Int[np.ndarray, " rows"] | None
    start_s: Float[np.ndarray, " rows"] | None
    end_s: Float[np.ndarray, " rows"] | None
    columns: Mapping[str, Labels]
    units: frozenset[str] = frozenset()
    classes: frozenset[str] = frozenset()
    events: frozenset[str] = frozenset()
    long: tuple[LabelColumn | None, LabelColumn] | None = None
    known: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()


def plain(name: str) -> str:
    """A name in the form that is compared: small letters, one space, AU12 as au12."""
    text = " ".join(nfc(name).casefold().split())
    unit = _UNIT.fullmatch(text)
    return f"au{int(unit[1]):02d}{unit[2] or ''}" if unit else text


def read_codings(path: pathlib.Path, mapped: Mapping[str, str]) -> list[Coding]:
    """The codings in a table, or in a folder of tables.

    Args:
        path: A table of frames (``frame`` or ``timestamp``) or intervals (``onset_s``
            and ``offset_s``), with a column for each variable, or ``label`` and perhaps
            ``tier``; of ``avemo predict`` or its folder, OpenFace, py-feat or ELAN; or
            a folder with a table for each video.
        mapped: Other names for columns, tiers and labels, by theirs in the form of
            ``plain``; empty ones are left out.

    Raises:
        ValueError: If a table is wrong, or there is none; names the place.
    """
    if not path.is_dir():
        return [_read(path, mapped)]
    if is_predicted(path):
        return [_read(one, mapped) for one in predicted_tables(path)]
    files = [one for one in entries(path) if one.is_file()]
    endings = (*TABLE_ENDINGS, ".txt")
    tables = [one for one in files if one.name.lower().endswith(endings)]
    tables = [one for one in tables if not one.stem.endswith("_of_details")]
    if not tables:
        raise ValueError(
            f"{path} has {first_of([one.name for one in files], 5) or 'no files'}; "
            "expected a table for each video: give the folder of these"
        )
    return [_read(one, mapped) for one in tables]


def _read(path: pathlib.Path, mapped: Mapping[str, str]) -> Coding:
    """The coding in one table."""
    table = read_table(path, unnamed=elan.names_without_header)
    if not table.num_rows:
        raise ValueError(f"{path}: no rows; expected a coding: write it again")
    program = program_of(table.columns)
    if program in (OPENFACE, PY_FEAT):
        return _of_program(table, program, mapped)
    by_case = {name.casefold(): name for name in reversed(table.columns)}

    def column(names: tuple[str, ...]) -> str | None:
        return next((by_case[name] for name in names if name in by_case), None)

    places = [column(n) for n in (_VIDEO, _FRAME, _TIME, _FACE, _TIER)]
    video_column, frame_column, time_column, face_column, tier_column = places
    label = column(_LABEL)
    times = elan.time_columns(table) or (column(_ONSET), column(_OFFSET))
    edges = (times[0], times[1]) if times[0] and times[1] else None
    machine = any(own <= set(table.columns) for own in _MACHINE)
    rows = np.arange(table.num_rows)
    face = np.zeros(table.num_rows)
    if face_column:
        face = table.numbers(face_column)
        if machine:
            rows = np.flatnonzero(~np.isnan(face))
        face = np.nan_to_num(face)
    elif tier_column:
        texts, index = table.encoded(tier_column)
        found = [TIER_FACE.match(text) for text in texts]
        numbers = [0 if match is None else int(match[1]) for match in found]
        face = np.array([*numbers, 0], float)[index]
    names, video = _videos(table, video_column)
    when = _when(table, edges, frame_column, time_column)
    frame, start_s, end_s = (None if one is None else one[rows] for one in when)
    used = np.zeros(table.num_rows, bool)
    used[rows] = True
    taken = {*places, *times, label, *_OTHERS}
    long = None
    notes = list(table.notes)
    if label:
        tier = label_column(table, tier_column, used) if tier_column else None
        long = (tier, label_column(table, label, used))
        notes += missing_notes(table, long[1])
    others = [name for name in table.columns if name not in taken]
    wide = [name for name in others if not _ELSE.fullmatch(name.casefold())]
    kept = [name for name in wide if f"{name}_c" not in wide]
    if machine:
        kept = [name for name in kept if not _tells_how_sure(name, wide)]
    columns, units, classes = _variables(table, kept, used, mapped)
    if not columns and long is None:
        raise ValueError(
            f"{table.header}: no column of labels among "
            f"{', '.join(table.columns):.200}; expected label, or one for each "
            "variable: add it"
        )
    return Coding(
        table=table,
        machine=machine,
        named=video_column is not None,
        videos=names,
        row=rows,
        video=video[rows],
        face=face[rows].astype(np.int64),
        frame=frame,
        start_s=start_s,
        end_s=end_s,
        columns=columns,
        units=units,
        classes=classes,
        long=long,
        known=frozenset(map(plain, kept)) - units if machine else frozenset(),
        notes=tuple(notes),
    )


def _tells_how_sure(name: str, names: Collection[str]) -> bool:
    """Whether a program's column tells how sure another one of its columns is."""
    match = _BESIDE.fullmatch(name)
    return match is not None and match[1] in names


def _when(
    table: Table,
    edges: tuple[str, str] | None,
    frame_column: str | None,
    time_column: str | None,
) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:
    """Each row's frame, begin and end, as far as the table tells them.

    Raises:
        ValueError: If it tells none of them, or a value is wrong.
    """
    if edges is not None:
        return None, *_intervals(table, *edges)
    if not frame_column and not time_column:
        raise ValueError(
            f"{table.header}: the columns {', '.join(table.columns):.200}; expected "
            "onset_s and offset_s, or frame, or timestamp: name the columns so"
        )
    frame = _frames(table, frame_column) if frame_column else None
    return frame, table.numbers(time_column) if time_column else None, None


def missing_notes(table: Table, column: LabelColumn) -> list[str]:
    """Remarks on the words that are taken as no label in a column."""
    if not column.missing:
        return []
    told = first_of([f"{n:,} {word!r}" for word, n in column.missing.items()], 5)
    return [f"{table.path}, column {column.name!r}: taken as no label: {told}"]


def _of_program(
    table: Table, program: FaceProgram, mapped: Mapping[str, str]
) -> Coding:
    """The coding in a table of OpenFace or py-feat.

    OpenFace's decisions have the units' names, its intensities end with ``_r``. The
    likeliest of py-feat's emotions is the expression.
    """
    rows = numbered_rows(table, program)
    used = np.zeros(table.num_rows, bool)
    used[rows.row] = True
    emotions = {name.casefold() for name in table.columns} & set(EMOTIONS)
    measured = re.compile(r"AU\d+\w*|gaze_\w+|pose_\w+|Pitch|Roll|Yaw|valence|arousal")
    kept = [name for name in table.columns if measured.fullmatch(name)]
    columns, units, classes = _variables(table, kept, used, mapped)
    if emotions and (variable := renamed("expression", mapped)):
        columns[variable] = functools.partial(_likeliest, table, used, mapped)
        classes |= {plain(variable)}
    time = None
    if "timestamp" in table.columns:
        time = table.numbers("timestamp")[rows.row]
    return Coding(
        table=table,
        machine=True,
        named="input" in table.columns,
        videos=rows.videos,
        row=rows.row,
        video=rows.video,
        face=rows.face,
        frame=rows.frame,
        start_s=time,
        end_s=None,
        columns=columns,
        units=units,
        classes=classes,
        known=frozenset(plain(EMOTIONS[name]) for name in emotions),
        notes=table.notes,
    )


def _variables(
    table: Table,
    names: list[str],
    used: Bool[np.ndarray, " rows"],
    mapped: Mapping[str, str],
) -> tuple[dict[str, Labels], frozenset[str], frozenset[str]]:
    """The labels of columns by variable; which are 0 or 1, and which are words."""
    columns: dict[str, Labels] = {}
    units, classes = set(), set()
    for name in names:
        variable = renamed(name.removesuffix("_c"), mapped)
        if not variable:
            continue
        few = table.num_different(name) <= _FEW
        read = _labels if few else _numbers
        columns[variable] = functools.cache(
            functools.partial(read, table, name, used, mapped)
        )
        if not few:
            continue
        texts = columns[variable]().texts
        if texts and set(texts) <= {"0", "1"}:
            units.add(plain(variable))
        elif not all(map(is_number, texts)):
            classes.add(plain(variable))
    return columns, frozenset(units), frozenset(classes)


def _labels(
    table: Table, name: str, used: Bool[np.ndarray, " rows"], mapped: Mapping[str, str]
) -> LabelColumn:
    """A column's labels, as they are meant and mapped."""
    return mapped_labels(label_column(table, name, used), mapped)


def _numbers(
    table: Table, name: str, used: Bool[np.ndarray, " rows"], mapped: Mapping[str, str]
) -> LabelColumn:
    """A column of many different numbers."""
    values = np.where(used, table.numbers(name), np.nan)
    known = ~np.isnan(values)
    unique, place = np.unique(values[known], return_inverse=True)
    index = np.full(len(values), -1)
    index[known] = place.reshape(-1)
    texts = tuple(map(str, unique.tolist()))
    return mapped_labels(LabelColumn(name, texts, index, {}), mapped)


def _likeliest(
    table: Table, used: Bool[np.ndarray, " rows"], mapped: Mapping[str, str]
) -> LabelColumn:
    """The likeliest of py-feat's emotions in each row."""
    emotions = [name for name in table.columns if name.casefold() in EMOTIONS]
    probs = np.stack([table.numbers(name) for name in emotions], axis=1)
    likeliest = np.nan_to_num(probs, nan=-np.inf).argmax(axis=1)
    index = np.where(used & ~np.isnan(probs).all(axis=1), likeliest, -1)
    texts = tuple(EMOTIONS[name.casefold()] for name in emotions)
    return mapped_labels(LabelColumn("expression", texts, index, {}), mapped)


def renamed(name: str, mapped: Mapping[str, str]) -> str:
    """A name as ``--map`` has it; "": it is left out."""
    return mapped.get(plain(name), name)


def mapped_labels(column: LabelColumn, mapped: Mapping[str, str]) -> LabelColumn:
    """A column with its labels as ``--map`` has them; those left out are none."""
    if not mapped or not {plain(text) for text in column.texts} & set(mapped):
        return column
    meant = [renamed(text, mapped) for text in column.texts]
    texts = tuple(dict.fromkeys(text for text in meant if text))
    place = [texts.index(text) if text else -1 for text in meant]
    index = np.array([*place, -1])[column.index]
    return dataclasses.replace(column, texts=texts, index=index)


def _videos(
    table: Table, column: str | None
) -> tuple[tuple[str, ...], Int[np.ndarray, " rows"]]:
    """Names of the videos, without folders and endings, and each row's index."""
    if column is None:
        # The folder of a video has the name where the file is called as all are.
        path = table.path
        name = path.parent.name if path.stem == "predictions" else path.name
        for ending in (*TABLE_ENDINGS, ".txt"):
            name = name.removesuffix(ending)
        return (nfc(name),), np.zeros(table.num_rows, np.int64)
    table.check_there(column)
    texts, index = table.encoded(column)
    names = [nfc(text.replace("\\", "/").rpartition("/")[2]) for text in texts]
    names = [without_endings(n) if ending_of(n) in MEDIA_ENDINGS else n for n in names]
    unique = tuple(sorted(set(names)))
    return unique, np.array([unique.index(name) for name in names], np.int64)[index]


def _frames(table: Table, column: str) -> Int[np.ndarray, " rows"]:
    """Numbers of frames.

    Raises:
        ValueError: If one is out of range.
    """
    found = table.frames(column)
    wrong = (found < 1) | (found > MAX_FRAME)
    if wrong.any():
        row = int(np.argmax(wrong))
        instead = "correct the number"
        if found[row] == 0:
            instead = "frames count from 1: add 1 to each"
        raise ValueError(
            f"{table.where(row, column)}: {found[row]}; expected 1 to {MAX_FRAME}: "
            f"{instead}"
        )
    return found


def _intervals(
    table: Table, onset: str, offset: str
) -> tuple[Float[np.ndarray, " rows"], Float[np.ndarray, " rows"]]:
    """Begin and end of each row in seconds.

    Raises:
        ValueError: If a row does not end after it begins, or has no time.
    """
    start_s, end_s = elan.seconds(table, onset), elan.seconds(table, offset)
    wrong = ~((start_s >= 0) & (start_s < end_s) & (end_s < np.inf))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(
            f"{table.where(row, offset)}: {start_s[row]:g} to {end_s[row]:g} s; "
            f"expected 0 <= {onset} < {offset}: correct the cells"
        )
    return start_s, end_s
