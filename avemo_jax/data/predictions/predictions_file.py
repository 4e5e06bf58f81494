"""predictions.csv, the scores of every frame of every video: its writer and reader.

Thresholds of action units are in ``predictions.json`` beside the file: a CSV has no
place for them, and they are needed to decide frames that are filled later.
"""

import json
import pathlib
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from jaxtyping import Float

from avemo_jax.data.store.table import FrameTable
from avemo_jax.postprocess.gaps import FillMap
from avemo_jax.postprocess.thresholds import decide, decide_class
from avemo_jax.runtime.atomic_files import whole_file, write_json
from avemo_jax.tasks import Task, known_tasks

# More rows than spreadsheets take: a Parquet file is written beside the CSV.
PARQUET_ROWS = 1_000_000
_CHUNK_ROWS = 1 << 16
_DECIMALS = 6
_FIRST_COLUMNS = ("video", "frame", "has_crop", "filled")


def column_types(task: Task, *, labels: bool) -> dict[str, pa.DataType]:
    """The file's columns for one task, in order, with their types.

    Args:
        task: The task whose scores the file holds.
        labels: Whether the file holds the labels too.
    """
    types: dict[str, pa.DataType] = {
        "video": pa.string(),
        "frame": pa.int32(),
        "has_crop": pa.int8(),
        "filled": pa.int8(),
    }
    if task.kind == "multiclass":
        types[task.decided] = pa.string()
    types |= dict.fromkeys(task.columns, pa.float64())
    if task.kind == "multilabel":
        types |= {f"{name}_c": pa.int8() for name in task.columns}
    if labels and task.kind == "multiclass":
        types[f"label_{task.decided}"] = pa.string()
    elif labels:
        kind = pa.int8() if task.kind == "multilabel" else pa.float64()
        types |= {f"label_{name}": kind for name in task.columns}
    return types


def write_predictions(
    path: str | pathlib.Path,
    task: Task,
    table: FrameTable,
    fill_map: FillMap,
    scores: Float[np.ndarray, "frames outputs"],
    *,
    thresholds: Float[np.ndarray, " outputs"] | None = None,
    labels: bool = True,
) -> None:
    """Write one line per frame of every video, in the order of the fill map.

    The file appears whole or not at all, and its bytes depend on the arguments alone.
    Scores have six decimals. Over ``PARQUET_ROWS`` lines a ``.parquet`` file with the
    same columns is written beside it; for units a ``.json`` file with the thresholds.

    Args:
        path: The file, usually ``WORKDIR/predictions.csv``.
        task: The task of the scores.
        table: Videos, frame numbers and labels.
        fill_map: How frames without a score of their own were filled; tells which.
        scores: Scores of all frames, filled and smoothed.
        thresholds: Threshold of each unit; None: 0.5. Unused for tasks without units.
        labels: Whether to write the labels; False where there are none.

    Raises:
        ValueError: If the scores do not have a row per frame and a column per output.
    """
    path = pathlib.Path(path)
    num_frames = int(table.num_frames.sum())
    if (
        scores.shape != (num_frames, task.num_outputs)
        or fill_map.num_frames != num_frames
    ):
        raise ValueError(
            f"scores of shape {scores.shape} and a fill map of {fill_map.num_frames} "
            f"frames; expected {num_frames} frames and {task.num_outputs} outputs; "
            "fill and smooth the scores of this table first"
        )
    schema = pa.schema(list(column_types(task, labels=labels).items()))
    limits = np.full(task.num_outputs, 0.5) if thresholds is None else thresholds
    quoted = any(set(name) & set(',"\r\n') for name in table.videos)
    style = "needed" if quoted else "none"

    path.parent.mkdir(parents=True, exist_ok=True)
    beside = thresholds_file(path)
    for other in (beside, path.with_suffix(".parquet")):
        other.unlink(missing_ok=True)  # never those of other predictions
    options = pyarrow.csv.WriteOptions(include_header=False, quoting_style=style)
    with whole_file(path) as temporary, temporary.open("wb") as file:
        file.write((",".join(schema.names) + "\n").encode())
        with pyarrow.csv.CSVWriter(file, schema, write_options=options) as writer:
            for batch in _chunks(schema, task, table, fill_map, scores, limits):
                writer.write_batch(batch)
    if num_frames > PARQUET_ROWS:
        with (
            whole_file(path.with_suffix(".parquet")) as temporary,
            pyarrow.parquet.ParquetWriter(temporary, schema) as writer,
        ):
            for batch in _chunks(schema, task, table, fill_map, scores, limits):
                writer.write_batch(batch)
    if task.kind == "multilabel":
        # The shortest digits that give the same float32 again.
        digits = [float(str(limit)) for limit in np.asarray(limits, np.float32)]
        by_unit = dict(zip(task.columns, digits, strict=True))
        write_json(beside, {"task": task.name, "thresholds": by_unit})


def thresholds_file(path: pathlib.Path) -> pathlib.Path:
    """The file of the thresholds that belong to a predictions file."""
    return path.with_suffix(".json")


def read_thresholds(
    path: str | pathlib.Path, task: Task
) -> Float[np.ndarray, " outputs"] | None:
    """The thresholds that ``write_predictions`` wrote beside a file.

    Args:
        path: The predictions, a ``.csv`` or ``.parquet`` file.
        task: The task of the predictions.

    Returns:
        The threshold of each unit; None where there is no file of thresholds.

    Raises:
        ValueError: If that file is damaged, or of another task.
    """
    beside = thresholds_file(pathlib.Path(path))
    if not beside.is_file():
        return None
    try:
        stored = json.loads(beside.read_text(encoding="utf-8"))
        if not isinstance(stored, dict) or "thresholds" not in stored:
            return None  # a file of another program
        by_unit = stored["thresholds"]
        limits = np.array([by_unit[name] for name in task.columns], np.float64)
        if set(by_unit) != set(task.columns) or not np.isfinite(limits).all():
            raise ValueError(f"thresholds of {', '.join(by_unit)}")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{beside}: {type(error).__name__}: {error}; expected a threshold for each "
            f"of {', '.join(task.columns)}, as avemo evaluate writes it beside "
            f"{path}: write both anew, or remove it"
        ) from error
    return limits


def read_predictions(path: str | pathlib.Path) -> pa.Table:
    """The table in a file of ``write_predictions``, its columns checked and typed.

    Args:
        path: A ``.csv`` or ``.parquet`` file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the columns are not those of one of the tasks, or a value is
            not of its column's type.
    """
    path = pathlib.Path(path)
    if path.suffix == ".parquet":
        found = pyarrow.parquet.read_schema(path).names
        _types_of(path, found)
        return pyarrow.parquet.read_table(path)
    with open(path, encoding="utf-8-sig") as file:
        found = file.readline().rstrip("\r\n").split(",")
    convert = pyarrow.csv.ConvertOptions(
        column_types=_types_of(path, found), null_values=[""], strings_can_be_null=True
    )
    try:
        return pyarrow.csv.read_csv(path, convert_options=convert)
    except pa.ArrowInvalid as error:
        raise ValueError(
            f"{path}: {error}; expected a predictions file as this package writes it; "
            "write it anew with avemo evaluate"
        ) from error


def _chunks(
    schema: pa.Schema,
    task: Task,
    table: FrameTable,
    fill_map: FillMap,
    scores: Float[np.ndarray, "frames outputs"],
    limits: Float[np.ndarray, " outputs"],
) -> Iterator[pa.RecordBatch]:
    """The file's lines, some at a time, with labels where the schema has them."""
    num_frames = len(scores)
    has_crop = np.zeros(num_frames, bool)
    has_crop[table.dense_index] = True
    begin = np.repeat(table.dense_offsets[:-1], table.num_frames)
    names = pa.array(table.videos, pa.string())
    video = np.repeat(np.arange(len(table.videos)), table.num_frames)
    filled = np.asarray(fill_map.filled)
    labels = any(name.startswith("label_") for name in schema.names)
    for start in range(0, num_frames, _CHUNK_ROWS):
        rows = slice(start, min(start + _CHUNK_ROWS, num_frames))
        number = np.arange(rows.start, rows.stop) - begin[rows] + 1
        columns: list[pa.Array] = [
            names.take(pa.array(video[rows])),
            pa.array(number.astype(np.int32)),
            pa.array(has_crop[rows].astype(np.int8)),
            pa.array(filled[rows].astype(np.int8)),
        ]
        columns += _score_columns(task, scores[rows], limits)
        if labels:
            columns += _label_columns(task, table.dense_labels[rows])
        yield pa.record_batch(columns, schema=schema)


def _types_of(path: pathlib.Path, found: list[str]) -> dict[str, pa.DataType]:
    """Types of the columns ``found``; ``ValueError`` unless they are one task's."""
    for task in known_tasks().values():
        for labels in (True, False):
            types = column_types(task, labels=labels)
            if list(types) == found:
                return types
    near = max(
        known_tasks().values(), key=lambda task: len(set(task.columns) & set(found))
    )
    expected = column_types(near, labels=any(n.startswith("label_") for n in found))
    missing = [name for name in expected if name not in found]
    unknown = [name for name in found if name not in expected]
    raise ValueError(
        f"{path}: line 1: columns missing: {', '.join(missing) or 'none'}; unknown: "
        f"{', '.join(unknown) or 'none'}; expected {','.join(expected)} in this order; "
        "write it anew with avemo evaluate"
    )


def _score_columns(
    task: Task,
    scores: Float[np.ndarray, "frames outputs"],
    limits: Float[np.ndarray, " outputs"],
) -> list[pa.Array]:
    """Columns of the scores and of what is decided from them."""
    values = np.round(_in_units(task, scores), _DECIMALS) + 0.0  # no -0
    columns = [pa.array(np.ascontiguousarray(each)) for each in values.T]
    if task.kind == "multiclass":
        classes = pa.array(task.columns, pa.string())
        return [classes.take(pa.array(np.asarray(decide_class(scores)))), *columns]
    if task.kind == "multilabel":
        active = np.asarray(decide(scores, limits)).astype(np.int8)
        return columns + [pa.array(np.ascontiguousarray(each)) for each in active.T]
    return columns


def _in_units(task: Task, values: np.ndarray) -> np.ndarray:
    """``values`` in float64, and for regression in the user's unit."""
    wide = values.astype(np.float64)
    return task.in_units(wide) if task.kind == "regression" else wide


def _label_columns(task: Task, labels: np.ndarray) -> list[pa.Array]:
    """Columns of the labels, empty where invalid."""
    if task.kind == "multiclass":
        classes = pa.array(task.columns, pa.string())
        index = pa.array(np.maximum(labels, 0), mask=labels < 0)
        return [classes.take(index)]
    if task.kind == "multilabel":
        return [
            pa.array(np.ascontiguousarray(each), mask=each < 0) for each in labels.T
        ]
    values = np.round(_in_units(task, labels), _DECIMALS) + 0.0
    return [
        pa.array(np.ascontiguousarray(each), mask=~np.isfinite(each))
        for each in values.T
    ]
