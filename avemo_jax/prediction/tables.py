"""The table of an input: a row for each frame and face, with their scores.

Rows are made some thousands at a time, so that an hour with several faces takes no
more memory as a table than a minute does.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from avemo_jax.data.predictions.class_sets_file import set_names
from avemo_jax.data.predictions.frames import decisions_of
from avemo_jax.data.predictions.predictions_file import class_names, in_units, numbers
from avemo_jax.prediction.predicted import Predicted, PredictedFace
from avemo_jax.runtime.plain_text import in_csv
from avemo_jax.tasks import TASKS, Task

ROWS = 1 << 15  # of one record batch, more only where one frame has more faces
_BOX_DECIMALS = 2
BOXES = ("FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight")
_FRAME_TYPES = {
    "input": pa.string(),
    "frame": pa.int32(),
    "timestamp": pa.float64(),
    "face_id": pa.int32(),
    "success": pa.int8(),
    "confidence": pa.float64(),
    **dict.fromkeys(BOXES, pa.float64()),
    "filled": pa.int8(),
    "embedded": pa.int8(),
    "audio_used": pa.int8(),
}


@dataclasses.dataclass(frozen=True)
class TaskColumns:
    """Names of the columns that a task has in the tables.

    A name that the table has already, as a user's own task may have one, gets the
    task's in front: ``mood_Neutral``.

    Attributes:
        task: The task.
        decided: Column of the class that was decided; "" for tasks without classes.
        probability: Column of that class's probability; "" for tasks without classes.
        scores: Columns of the outputs.
        active: Columns of whether a unit is active; only for tasks of units.
        spread: Columns of the standard deviation over seeds; empty without seeds.
        class_set: Column of the set of classes; "" where the model gives none.
        disagreement: Column of the share of seeds that decide otherwise; "" without
            seeds, and for tasks without classes.
    """

    task: Task
    decided: str
    probability: str
    scores: tuple[str, ...]
    active: tuple[str, ...]
    spread: tuple[str, ...]
    class_set: str = ""
    disagreement: str = ""

    @property
    def types_beside(self) -> dict[str, pa.DataType]:
        """The columns of how sure the scores are, in order, with their types."""
        types = dict.fromkeys(self.spread, pa.float64())
        types |= {self.class_set: pa.string()} if self.class_set else {}
        return types | ({self.disagreement: pa.float64()} if self.disagreement else {})

    @property
    def types(self) -> dict[str, pa.DataType]:
        """The columns of decisions and scores, in order, with their types."""
        names = {self.decided: pa.string(), self.probability: pa.float64()}
        names = names if self.decided else {}
        scores = dict.fromkeys(self.scores, pa.float64())
        return names | scores | dict.fromkeys(self.active, pa.int8())


def task_columns(predicted: Predicted) -> tuple[TaskColumns, ...]:
    """The columns of each task of an input, those of the benchmark's tasks first."""
    taken = set(_FRAME_TYPES)

    def named(task: Task, wanted: list[str]) -> tuple[str, ...]:
        found = []
        for name in wanted:
            while name in taken:
                name = f"{task.name}_{name}"
            taken.add(name)
            found.append(name)
        return tuple(found)

    columns = []
    for task in sorted(predicted.tasks, key=lambda task: task.name not in TASKS):
        decided = probability = ""
        if task.kind == "multiclass":
            wanted = [task.decided, f"{task.decided}_prob"]
            decided, probability = named(task, wanted)
        scores = named(task, list(task.columns))
        units = scores if task.kind == "multilabel" else ()
        active = named(task, [f"{name}_c" for name in units])
        seeds = scores if task.name in predicted.with_spread else ()
        spread = named(task, [f"{name}_sd" for name in seeds])
        beside = {}
        if task.name in predicted.with_sets:
            (beside["class_set"],) = named(task, [f"{task.decided}_set"])
        if task.name in predicted.with_disagreement:
            wanted = [f"{task.decided}_disagreement"]
            (beside["disagreement"],) = named(task, wanted)
        columns.append(
            TaskColumns(task, decided, probability, scores, active, spread, **beside)
        )
    return tuple(columns)


def schema_of(predicted: Predicted, *, raw: bool = False) -> pa.Schema:
    """The table's columns, the same for a model whatever is found.

    Args:
        predicted: What is predicted of an input.
        raw: Whether the table has the scores before smoothing, which nothing
            tells how sure they are.
    """
    types = dict(_FRAME_TYPES)
    for of_benchmark in (True, False):
        parts = [
            part
            for part in task_columns(predicted)
            if (part.task.name in TASKS) is of_benchmark
        ]
        for part in parts:
            types |= part.types
        for part in parts:
            types |= {} if raw else part.types_beside
    return pa.schema(list(types.items()))


def table_of(predicted: Predicted, raw: bool = False) -> pa.Table:
    """The table of an input, sorted by frame, then ``face_id``.

    Every decoded frame has a row for each face over whose span it lies, and one with an
    empty ``face_id`` where there is no such face. What is missing is null.

    Args:
        predicted: What is predicted of the input.
        raw: Whether to take the scores before smoothing, and decide by them.
    """
    batches = record_batches(predicted, raw=raw)
    return pa.Table.from_batches(batches, schema_of(predicted, raw=raw))


def record_batches(
    predicted: Predicted, *, raw: bool = False, rows: int = ROWS
) -> Iterator[pa.RecordBatch]:
    """The rows of :func:`table_of`, some at a time.

    Args:
        predicted: What is predicted of the input.
        raw: Whether to take the scores before smoothing, and decide by them.
        rows: Rows of a batch; more only where one frame has more faces.

    Raises:
        ValueError: If a face's frames have gaps, or are none of the input's.
    """
    _check_frames(predicted)
    schema = schema_of(predicted, raw=raw)
    change = np.zeros(predicted.num_frames + 1, np.int64)
    for face in predicted.faces:
        change[face.frame[0] - predicted.first_frame] += 1
        change[face.frame[-1] + 1 - predicted.first_frame] -= 1
    ends = np.cumsum(np.maximum(np.cumsum(change[:-1]), 1))
    begin = done = 0
    while begin < predicted.num_frames:
        end = int(np.searchsorted(ends, done + rows, side="right"))
        end = max(end, begin + 1)
        frames = np.arange(begin, end) + predicted.first_frame
        yield _batch(predicted, schema, raw, frames)
        begin, done = end, int(ends[end - 1])


def _check_frames(predicted: Predicted) -> None:
    """Raise ``ValueError`` if a face's frames have gaps, or are none of the input's."""
    first = predicted.first_frame
    last = first + predicted.num_frames - 1
    for face in predicted.faces:
        frame = face.frame
        good = len(frame) and frame[0] >= first and frame[-1] <= last
        if not good or not np.array_equal(frame, np.arange(len(frame)) + frame[0]):
            raise ValueError(
                f"{predicted.path}: face {face.face_id} has {len(frame)} frames, from "
                f"{frame[:1]} to {frame[-1:]}; expected all from its first to its "
                f"last, within {first} to {last}: fill the gaps"
            )


@dataclasses.dataclass(frozen=True)
class _Rows:
    """Some rows of the table: those of faces, and of frames without one.

    Attributes:
        parts: Faces with the rows of theirs that are among these.
        num_alone: Number of the frames without a face, which come after the faces'.
        order: Places of these in the order of the table.
    """

    parts: list[tuple[PredictedFace, slice]]
    num_alone: int
    order: np.ndarray

    def of(
        self, get: Callable[[PredictedFace], np.ndarray], missing: np.ndarray
    ) -> np.ndarray:
        """What faces hold, in the order of the table.

        Args:
            get: Gives what a face holds, a row for each of its frames.
            missing: The row of a frame without a face.
        """
        found = [get(face)[rows] for face, rows in self.parts]
        found.append(np.broadcast_to(missing, (self.num_alone, *missing.shape)))
        return np.concatenate(found)[self.order]


def _batch(
    predicted: Predicted, schema: pa.Schema, raw: bool, frames: np.ndarray
) -> pa.RecordBatch:
    """The rows of the frames with these numbers, which follow each other."""
    parts = []
    for face in predicted.faces:
        begin = max(int(frames[0] - face.frame[0]), 0)
        end = min(int(frames[-1] + 1 - face.frame[0]), len(face.frame))
        if begin < end:
            parts.append((face, slice(begin, end)))
    shown = [face.frame[rows].astype(np.int64) for face, rows in parts]
    ids = [
        np.full(len(one), face.face_id)
        for one, (face, _) in zip(shown, parts, strict=True)
    ]
    alone = np.setdiff1d(frames, np.concatenate([*shown, frames[:0]]))
    frame = np.concatenate([*shown, alone])
    face_id = np.concatenate([*ids, np.zeros(len(alone), np.int64)])
    order = np.lexsort((face_id, frame))
    rows = _Rows(parts, len(alone), order)
    frame, face_id = frame[order], face_id[order]
    columns = _frame_columns(predicted, rows, frame, face_id)
    scored = np.zeros(len(frame), bool)
    for part in task_columns(predicted):
        added, known = _score_columns(part, predicted, rows, raw)
        columns |= added
        scored |= known
    columns["audio_used"] = _flags(_audio_used(predicted, rows, scored))
    names = schema.names
    return pa.record_batch([columns[name] for name in names], schema=schema)


def _frame_columns(
    predicted: Predicted, rows: _Rows, frame: np.ndarray, face_id: np.ndarray
) -> dict[str, pa.Array]:
    """What is told of each row but its scores."""
    no, nothing = np.array(False), np.array(np.nan)
    boxes = rows.of(lambda face: face.boxes, np.full(4, np.nan))
    confidence = rows.of(lambda face: face.confidence, nothing)
    count = len(frame)
    columns: dict[str, pa.Array] = {
        "input": pa.repeat(pa.scalar(in_csv(predicted.name), pa.string()), count),
        "frame": pa.array(frame.astype(np.int32)),
        "timestamp": numbers(predicted.times_s[frame - predicted.first_frame]),
        "face_id": pa.array(face_id.astype(np.int32), mask=face_id == 0),
        "success": _flags(rows.of(lambda face: face.success, no)),
        "confidence": numbers(confidence, np.isfinite(confidence)),
    }
    for name, values in zip(BOXES, boxes.T, strict=True):
        columns[name] = numbers(values, np.isfinite(values), _BOX_DECIMALS)
    columns["filled"] = _flags(rows.of(lambda face: face.filled, no))
    columns["embedded"] = _flags(rows.of(lambda face: face.embedded, no))
    return columns


def _audio_used(predicted: Predicted, rows: _Rows, scored: np.ndarray) -> np.ndarray:
    """In which rows sound went into the scores."""

    def used(face: PredictedFace) -> np.ndarray:
        if face.audio_used is None:
            return np.full(len(face.frame), predicted.audio_used)
        return face.audio_used

    return rows.of(used, np.array(False)) & scored


def _score_columns(
    part: TaskColumns, predicted: Predicted, rows: _Rows, raw: bool
) -> tuple[dict[str, pa.Array], np.ndarray]:
    """The columns of a task, and which rows have scores of it."""
    task = part.task
    missing = np.full(task.num_outputs, np.nan, np.float32)
    scores = rows.of(lambda face: scores_of(face, raw)[task.name], missing)
    known = np.isfinite(scores).all(axis=1)
    columns = {
        name: numbers(values, known)
        for name, values in zip(part.scores, in_units(task, scores).T, strict=True)
    }
    decided = decisions_of(
        task, np.nan_to_num(scores), predicted.thresholds.get(task.name)
    )
    if part.decided:
        assert decided is not None
        columns[part.decided] = class_names(task, decided[:, 0], known)
        best = np.take_along_axis(scores, decided.astype(np.int64), axis=1)[:, 0]
        columns[part.probability] = numbers(best, known)
    elif decided is not None:
        for name, active in zip(part.active, decided.T, strict=True):
            columns[name] = pa.array(np.ascontiguousarray(active), mask=~known)
    if part.spread and not raw:
        spread = rows.of(lambda face: face.spread[task.name], missing)
        scale = task.in_units(np.array([0.0, 1.0]))
        wide = spread.astype(np.float64) * (scale[1] - scale[0])
        for name, values in zip(part.spread, wide.T, strict=True):
            columns[name] = numbers(values, known & np.isfinite(values))
    if part.class_set and not raw:
        nothing = np.zeros(task.num_outputs, bool)
        sets = rows.of(lambda face: face.sets[task.name], nothing)
        columns[part.class_set] = set_names(task, sets, known)
    if part.disagreement and not raw:
        shares = rows.of(lambda face: face.disagreement[task.name], np.array(np.nan))
        columns[part.disagreement] = numbers(shares, known & np.isfinite(shares))
    return columns, known


def scores_of(
    face: PredictedFace, raw: bool = False
) -> Mapping[str, Float[np.ndarray, "rows outputs"]]:
    """Scores of a face, by task.

    Args:
        face: The face.
        raw: Whether those before smoothing are wanted.
    """
    return face.raw if raw else face.scores


def _flags(values: np.ndarray) -> pa.Array:
    """True and false as 1 and 0."""
    return pa.array(values.astype(np.int8))
