"""predictions.csv, scores of every frame, and of every video: their writers."""

import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Int, Int8, Shaped

from avemo_jax.data.predictions.frames import FramePredictions, decisions_of
from avemo_jax.data.predictions.threshold_file import thresholds_file, write_thresholds
from avemo_jax.data.store.table import FrameTable
from avemo_jax.postprocess.gaps import FillMap
from avemo_jax.runtime.atomic_files import whole_file
from avemo_jax.runtime.tables.words import neutral
from avemo_jax.runtime.tables.writing import csv_writer, needs_quotes, parquet_writer
from avemo_jax.tasks import Task

# More rows than spreadsheets take: a Parquet file is written beside the CSV.
PARQUET_ROWS = 1_000_000
_CHUNK_ROWS = 1 << 16
_DECIMALS = 6
_FRAME_TYPES = {
    "video": pa.string(),
    "frame": pa.int32(),
    "has_crop": pa.int8(),
    "filled": pa.int8(),
}
_VIDEO_TYPES = {
    "video": pa.string(),
    "num_frames": pa.int32(),
    "share_embedded": pa.float64(),
    "share_filled": pa.float64(),
}


def column_types(
    task: Task, *, labels: bool, by_video: bool = False
) -> dict[str, pa.DataType]:
    """The file's columns for one task, in order, with their types.

    Args:
        task: The task whose scores the file holds.
        labels: Whether the file holds the labels too.
        by_video: Whether its lines are of videos, not of frames.
    """
    types = dict(_VIDEO_TYPES if by_video else _FRAME_TYPES)
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


def predictions_of(
    path: str | pathlib.Path,
    table: FrameTable,
    fill_map: FillMap,
    scores: Float[np.ndarray, "frames outputs"],
    *,
    thresholds: Float[np.ndarray, " outputs"] | None = None,
    labels: bool = True,
) -> FramePredictions:
    """Predictions of every frame of every video, in the order of the fill map.

    Args:
        path: The file to write them to, usually ``WORKDIR/predictions.csv``.
        table: The task, videos, frame numbers and labels.
        fill_map: How frames without a score of their own were filled; tells which.
        scores: Scores of all frames, filled and smoothed.
        thresholds: Threshold of each unit; None: 0.5. Unused for tasks without units.
        labels: Whether there are labels.

    Raises:
        ValueError: If the scores do not have a row per frame and a column per output.
    """
    task, num_frames = table.task, int(table.num_frames.sum())
    if (
        scores.shape != (num_frames, task.num_outputs)
        or fill_map.num_frames != num_frames
    ):
        raise ValueError(
            f"scores of shape {scores.shape} and a fill map of {fill_map.num_frames} "
            f"frames; expected {num_frames} frames and {task.num_outputs} outputs; "
            "fill and smooth the scores of this table first"
        )
    has_crop = np.zeros(num_frames, bool)
    has_crop[table.dense_index] = True
    limits = None
    if task.kind == "multilabel":
        limits = np.full(task.num_outputs, 0.5) if thresholds is None else thresholds
    return FramePredictions(
        pathlib.Path(path),
        task,
        "predictions of this package",
        table.videos,
        table.video_of_dense,
        table.number_of_dense,
        np.asarray(fill_map.filled),
        scores,
        decisions_of(task, scores, limits),
        limits,
        has_crop,
        table.dense_labels if labels else None,
        named=True,
    )


def write_predictions(found: FramePredictions) -> None:
    """Write one line per frame to ``found.path``, in the order of the rows.

    The file appears whole or not at all, and its bytes depend on the argument alone.
    Scores have six decimals. Over ``PARQUET_ROWS`` lines a ``.parquet`` file with the
    same columns is written beside it; for units a ``.json`` file with the thresholds.
    """
    path, task = found.path, found.task
    labels = found.labels is not None
    schema = pa.schema(list(column_types(task, labels=labels).items()))
    path.parent.mkdir(parents=True, exist_ok=True)
    for other in (thresholds_file(path), path.with_suffix(".parquet")):
        other.unlink(missing_ok=True)  # never those of other predictions
    _write_csv(path, schema, found.videos, _chunks(schema, found))
    if len(found.frame) > PARQUET_ROWS:
        with (
            whole_file(path.with_suffix(".parquet")) as temporary,
            parquet_writer(temporary, schema) as writer,
        ):
            for batch in _chunks(schema, found):
                writer.write_batch(batch)
    if found.thresholds is not None:
        write_thresholds(path, task, found.thresholds)


def write_predictions_by_video(
    path: pathlib.Path,
    task: Task,
    videos: Sequence[str],
    about: Mapping[str, Any],
    scores: Float[np.ndarray, "videos outputs"],
    *,
    thresholds: Float[np.ndarray, " outputs"] | None = None,
    labels: Shaped[np.ndarray, "videos ..."] | None = None,
) -> None:
    """Write one line per video, like the lines of frames that are in predictions.csv.

    Args:
        path: The file, usually ``WORKDIR/predictions_by_video.csv``.
        task: The task of the scores.
        videos: Names of the videos.
        about: ``num_frames``, ``share_embedded`` and ``share_filled`` by video.
        scores: Scores of whole videos.
        thresholds: Threshold of each unit; None: 0.5.
        labels: Labels of the videos; None: there are none.
    """
    types = column_types(task, labels=labels is not None, by_video=True)
    counts = np.asarray(about["num_frames"], np.int32)
    shares = [
        np.round(about[f"share_{of}"], _DECIMALS) for of in ("embedded", "filled")
    ]
    columns: list[pa.Array] = [neutral(pa.array(videos, pa.string()))]
    columns += map(pa.array, (counts, *shares))
    columns += _score_columns(task, scores, decisions_of(task, scores, thresholds))
    if labels is not None:
        columns += _label_columns(task, labels)
    schema = pa.schema(list(types.items()))
    _write_csv(path, schema, videos, [pa.record_batch(columns, schema=schema)])


def _write_csv(
    path: pathlib.Path,
    schema: pa.Schema,
    videos: Sequence[str],
    batches: Iterable[pa.RecordBatch],
) -> None:
    """Write a header, and lines in which names are quoted only where one needs it."""
    quoted = any(map(needs_quotes, videos))
    with (
        whole_file(path) as temporary,
        csv_writer(temporary, schema, quoted=quoted) as writer,
    ):
        for batch in batches:
            writer.write_batch(batch)


def _chunks(schema: pa.Schema, found: FramePredictions) -> Iterator[pa.RecordBatch]:
    """The file's lines, some at a time."""
    assert found.has_crop is not None
    assert found.scores is not None
    names = neutral(pa.array(found.videos, pa.string()))
    for start in range(0, len(found.frame), _CHUNK_ROWS):
        rows = slice(start, start + _CHUNK_ROWS)
        columns: list[pa.Array] = [
            names.take(pa.array(found.video[rows])),
            pa.array(found.frame[rows].astype(np.int32)),
            pa.array(found.has_crop[rows].astype(np.int8)),
            pa.array(found.filled[rows].astype(np.int8)),
            *_score_columns(
                found.task,
                found.scores[rows],
                None if found.decided is None else found.decided[rows],
            ),
        ]
        if found.labels is not None:
            columns += _label_columns(found.task, found.labels[rows])
        yield pa.record_batch(columns, schema=schema)


def numbers(
    values: Shaped[np.ndarray, " rows"],
    known: Bool[np.ndarray, " rows"] | None = None,
    decimals: int = _DECIMALS,
) -> pa.Array:
    """Numbers as a column, rounded as in every table of predictions.

    Args:
        values: The numbers.
        known: Which rows have one; the others are missing. None: all have.
        decimals: Digits behind the point.
    """
    plain = np.round(values.astype(np.float64), decimals) + 0.0  # no -0
    return pa.array(plain, mask=None if known is None else ~known)


def class_names(
    task: Task,
    decided: Int[np.ndarray, " rows"] | Int8[np.ndarray, " rows"],
    known: Bool[np.ndarray, " rows"] | None = None,
) -> pa.Array:
    """Names of classes as a column.

    Args:
        task: A task of classes.
        decided: Number of each row's class.
        known: Which rows have one; the others are missing. None: all have.
    """
    classes = pa.array(task.columns, pa.string())
    if known is None:
        return classes.take(pa.array(decided))
    return classes.take(pa.array(np.where(known, decided, 0), mask=~known))


def in_units(
    task: Task, values: Shaped[np.ndarray, "*axes"]
) -> Shaped[np.ndarray, "*axes"]:
    """``values`` in float64, and for regression in the user's unit."""
    wide = values.astype(np.float64)
    return task.in_units(wide) if task.kind == "regression" else wide


def _score_columns(
    task: Task,
    scores: Float[np.ndarray, "rows outputs"],
    decided: Int8[np.ndarray, "rows decisions"] | None,
) -> list[pa.Array]:
    """Columns of the scores and of what is decided from them."""
    columns = [numbers(each) for each in in_units(task, scores).T]
    if decided is None:
        return columns
    if task.kind == "multiclass":
        return [class_names(task, decided[:, 0]), *columns]
    return columns + [pa.array(np.ascontiguousarray(one)) for one in decided.T]


def _label_columns(task: Task, labels: np.ndarray) -> list[pa.Array]:
    """Columns of the labels, empty where invalid."""
    if task.kind == "multiclass":
        return [class_names(task, labels, labels >= 0)]
    if task.kind == "multilabel":
        return [
            pa.array(np.ascontiguousarray(each), mask=each < 0) for each in labels.T
        ]
    return [numbers(each, np.isfinite(each)) for each in in_units(task, labels).T]
