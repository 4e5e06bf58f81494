"""Files of predictions that are tables: submissions, CSV, Parquet."""

import csv
import dataclasses
import pathlib
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from jaxtyping import Float, Int8, Shaped

from avemo_jax.data.listing import nfc
from avemo_jax.data.predictions.frames import FramePredictions
from avemo_jax.data.predictions.threshold_file import read_thresholds
from avemo_jax.tasks import AU, EXPR, TASKS, Task

IMAGE = r"^(?P<video>.+)[/\\](?P<frame>\d{1,9})\.(?:jpg|jpeg|png)$"
# Names of the videos, and the index of each row's video and its frame's number.
FramePlaces = tuple[tuple[str, ...], np.ndarray, np.ndarray]
_IMAGE_COLUMNS = ("image_location", "image", "filename", "path")


def read_text(path: pathlib.Path, task: Task) -> FramePredictions:
    """Predictions in a submission, ``predictions.csv``, or a CSV table.

    Raises:
        ValueError: If the header does not name the frames and the task's outputs, or a
            line does not fit the header.
    """
    with path.open("rb") as file:
        lines = [file.readline().decode("utf-8-sig", "replace") for _ in range(2)]
    names = [name.strip() for name in next(csv.reader(lines[:1]), [])]
    width = len(lines[1].split(",")) if lines[1].strip() else len(names)
    if len(names) > 2 and width == 2 and names[0] in _IMAGE_COLUMNS:
        _refuse_other(path, task, names)
        names = [names[0], "expression"]  # official: 8 names in the header, one value
    options = pyarrow.csv.ReadOptions(column_names=names, skip_rows=1)
    texts = (*_IMAGE_COLUMNS, "video", "expression", "label_expression")
    kinds = {name: pa.string() for name in names if name in texts}
    convert = pyarrow.csv.ConvertOptions(
        column_types=kinds, null_values=[""], strings_can_be_null=True
    )
    try:
        table = pyarrow.csv.read_csv(path, options, convert_options=convert)
    except pa.ArrowInvalid as error:
        raise ValueError(
            f"{path}: {error}; expected {len(names)} values a line, as under the "
            f"header {lines[0].strip()[:80]!r}: correct the file"
        ) from error
    return _of_table(path, task, table)


def read_parquet(path: pathlib.Path, task: Task) -> FramePredictions:
    """Predictions in a Parquet file, with the columns of ``predictions.csv`` or others.

    Raises:
        ValueError: If it is no Parquet file, the columns do not name the frames and the
            task's outputs, or a value is wrong.
    """
    try:
        table = pyarrow.parquet.read_table(path)
    except pa.ArrowInvalid as error:
        raise ValueError(
            f"{path}: {error}; expected a Parquet file: write it again"
        ) from error
    return _of_table(path, task, table)


def _of_table(path: pathlib.Path, task: Task, table: pa.Table) -> FramePredictions:
    """Predictions from a table, whose columns are found by their names."""
    names = table.column_names
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(
            f"{path}, line 1: the columns {', '.join(twice)} twice; expected each "
            "once: rename or remove one"
        )
    places = _keys(path, table)
    columns = {_plain(name): name for name in names}
    wanted = [columns.get(_plain(name)) for name in task.columns]
    decided = None
    if task is EXPR and "expression" in names:
        _check_there(path, table, ["expression"])
        decided = _classes(path, table["expression"])
    elif task is AU:
        decided = _decided_units(path, table, columns)
    if None not in wanted:
        values = _numbers(path, table, [name for name in wanted if name])
    elif decided is not None and not any(wanted):
        values, decided = decided.astype(np.float64), None
    else:
        _refuse_other(path, task, names)
        lacking = [n for n, w in zip(task.columns, wanted, strict=True) if w is None]
        raise ValueError(
            f"{path}, line 1: no column for {', '.join(lacking)}; expected "
            f"{', '.join(task.columns)}"
            f"{' or expression' if task is EXPR else ''}: name the columns so"
        )
    ours = "filled" in names
    form = "submission" if names[0] in _IMAGE_COLUMNS else "table"
    found = FramePredictions(
        path,
        task,
        "predictions of this package" if ours else form,
        *places,
        filled=np.zeros(len(values), bool),
        scores=values,
        decided=decided,
        named=True,
    )
    return _with_our_columns(found, table) if ours else found


def _decided_units(
    path: pathlib.Path, table: pa.Table, columns: Mapping[str, str]
) -> Int8[np.ndarray, "rows 12"] | None:
    """The decisions in the columns ``AU01_c`` ...; None where there are none.

    Raises:
        ValueError: If there are some only, or a value is not 0 or 1.
    """
    wanted = [f"{name}_c" for name in AU.columns]
    lacking = [name for name in wanted if _plain(name) not in columns]
    if len(lacking) == len(wanted):
        return None
    if lacking:
        raise ValueError(
            f"{path}, line 1: no column for {', '.join(lacking)}; expected decisions "
            "of all units, or of none: add the columns, or remove the others"
        )
    values = _numbers(path, table, [columns[_plain(name)] for name in wanted])
    wrong = ((values != 0) & (values != 1)).any(axis=1)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(
            f"{path}, line {row + 2}: decisions {values[row].tolist()}; expected 0 or "
            "1: correct the line"
        )
    return values.astype(np.int8)


def _with_our_columns(found: FramePredictions, table: pa.Table) -> FramePredictions:
    """``found`` with what files of this package say besides the predictions."""
    path, task, names = found.path, found.task, table.column_names
    crops = None
    if "has_crop" in names:
        crops = _numbers(path, table, ["has_crop"])[:, 0] == 1
    return dataclasses.replace(
        found,
        filled=_numbers(path, table, ["filled"])[:, 0] != 0,
        has_crop=crops,
        labels=_labels(path, table, task),
        thresholds=None if found.decided is None else read_thresholds(path, task),
    )


def _labels(
    path: pathlib.Path, table: pa.Table, task: Task
) -> Shaped[np.ndarray, "rows ..."] | None:
    """The labels in the columns ``label_...``; None where there are none.

    Raises:
        ValueError: If a label is no number.
    """
    if task is EXPR:
        if "label_expression" not in table.column_names:
            return None
        place = pc.index_in(table["label_expression"], pa.array(task.columns))
        return pc.fill_null(place, -1).to_numpy().astype(np.int8)
    names = [f"label_{name}" for name in task.columns]
    if not set(names) <= set(table.column_names):
        return None
    kind = pa.int8() if task is AU else pa.float32()
    try:
        columns = [pc.cast(table[name], kind) for name in names]
    except pa.ArrowInvalid as error:
        raise ValueError(
            f"{path}: {error}; expected numbers in {names[0]} ..., or nothing: correct "
            "or remove these columns"
        ) from error
    if task is AU:
        columns = [pc.fill_null(column, -1) for column in columns]
    return np.stack([column.to_numpy() for column in columns], axis=1)


def _keys(path: pathlib.Path, table: pa.Table) -> FramePlaces:
    """Names of the videos, and each row's index of a video and frame number."""
    image = next((n for n in _IMAGE_COLUMNS if n in table.column_names), None)
    if {"video", "frame"} <= set(table.column_names):
        names = table["video"]
        _check_there(path, table, ["video"])
        frame = _numbers(path, table, ["frame"])[:, 0]
        if (frame != np.round(frame)).any():
            row = int(np.argmax(frame != np.round(frame)))
            raise ValueError(
                f"{path}, line {row + 2}: frame {frame[row]}; expected an integer: "
                "correct it"
            )
    elif image is not None:
        _check_there(path, table, [image])
        parts = pc.extract_regex(table[image].combine_chunks(), IMAGE)
        if parts.null_count:
            row = int(np.argmax(parts.is_null().to_numpy(zero_copy_only=False)))
            raise ValueError(
                f"{path}, line {row + 2}: {image} is {table[image][row].as_py()!r}; "
                "expected VIDEO/00001.jpg: correct it"
            )
        names, frame = parts.field(0), pc.cast(parts.field(1), pa.int64()).to_numpy()
    else:
        raise ValueError(
            f"{path}, line 1: the columns {', '.join(table.column_names)[:120]}; "
            "expected video and frame, or image_location with VIDEO/00001.jpg: name "
            "the columns so"
        )
    encoded = pc.dictionary_encode(names)
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.unify_dictionaries().combine_chunks()
    videos, indices = encoded.dictionary.to_pylist(), encoded.indices.to_numpy()
    return joined_names(videos, indices, frame)


def joined_names(names: list[str], video: np.ndarray, frame: np.ndarray) -> FramePlaces:
    """Names, videos and frames with each name once, in NFC and without folders.

    Args:
        names: Names of videos, perhaps with folders.
        video: Index of each row's video among ``names``.
        frame: Frame number of each row.
    """
    plain = [nfc(name.replace("\\", "/").rpartition("/")[2]) for name in names]
    unique = sorted(set(plain))
    index = {name: i for i, name in enumerate(unique)}
    place = np.array([index[name] for name in plain], np.int64)
    return tuple(unique), place[video], frame.astype(np.int64)


def _plain(name: str) -> str:
    """A column's name in the form that is compared, in which "AU1" is "AU01"."""
    name = name.strip().lower()
    digits = name.removeprefix("au").removesuffix("_c")
    if name.startswith("au") and digits.isdigit():
        return f"au{int(digits):02d}{'_c' if name.endswith('_c') else ''}"
    return name


def _numbers(
    path: pathlib.Path, table: pa.Table, names: list[str]
) -> Float[np.ndarray, "rows columns"]:
    """Columns as numbers; ``ValueError`` if one is missing or no number."""
    _check_there(path, table, names)
    found = np.empty((table.num_rows, len(names)))
    for i, name in enumerate(names):
        try:
            found[:, i] = pc.cast(table[name], pa.float64()).to_numpy()
        except pa.ArrowInvalid as error:
            raise ValueError(
                f"{path}, column {name}: {error}; expected a number in every line: "
                "correct it"
            ) from error
    return found


def _check_there(path: pathlib.Path, table: pa.Table, names: list[str]) -> None:
    """Raise ``ValueError`` on the first line that lacks a value."""
    for name in names:
        if table[name].null_count:
            row = int(np.argmax(table[name].is_null().to_numpy()))
            raise ValueError(
                f"{path}, line {row + 2}: no value for {name}; expected one in every "
                "line: fill it in, or remove the line"
            )


def _classes(path: pathlib.Path, column: pa.ChunkedArray) -> Int8[np.ndarray, "rows 1"]:
    """Classes, from their names or their numbers from 0."""
    numbers = pa.array([str(i) for i in range(EXPR.num_outputs)])
    by_name = pc.index_in(column, value_set=pa.array(EXPR.columns))
    found = pc.coalesce(by_name, pc.index_in(column, value_set=numbers))
    if found.null_count:
        row = int(np.argmax(found.is_null().to_numpy()))
        raise ValueError(
            f"{path}, line {row + 2}: expression {column[row].as_py()!r}; expected one "
            f"of {', '.join(EXPR.columns)}, or its number from 0: correct it"
        )
    return found.to_numpy().astype(np.int8)[:, None]


def _refuse_other(path: pathlib.Path, task: Task, names: list[str]) -> None:
    """Raise ``ValueError`` if the columns are those of another task."""
    there = {_plain(name) for name in names}
    if {_plain(name) for name in task.columns} <= there:
        return
    for other in TASKS.values():
        if {_plain(name) for name in other.columns} <= there:
            raise ValueError(
                f"{path} has predictions of {other.name}; expected {task.name}: pass "
                f"--task {other.name.lower()}, or give another file"
            )
