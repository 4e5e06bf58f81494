"""What is shown of each face in a frame: numbers of its scores, chosen to be drawn."""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int

from avemo_jax.data.predictions.frames import decisions_of
from avemo_jax.data.predictions.predictions_file import in_units
from avemo_jax.prediction.predicted import Predicted, PredictedFace
from avemo_jax.prediction.tables import TaskColumns, task_columns
from avemo_jax.tasks import VA
from avemo_jax.tasks.unit_names import unit_in_words

MOST_BARS = 4  # units of a task
_BLOCK_S = 1.0  # the same units are shown for so long, for rows that jump are not read

Box = tuple[float, float, float, float]  # left, top, width, height in pixels


@dataclasses.dataclass(frozen=True)
class Bar:
    """One unit or value.

    Attributes:
        number: Number of the action unit, as "AU12"; "" for others.
        name: Its name in words.
        part: Where its value lies between the least and the largest one, 0 to 1.
        start: Where its bar starts on the same scale.
        limit: The unit's threshold on the same scale; None for values.
        is_active: Whether the unit reaches its threshold.
        text: The value in figures; "" for units.
    """

    number: str
    name: str
    part: float
    start: float
    limit: float | None
    is_active: bool
    text: str


@dataclasses.dataclass(frozen=True)
class FaceMark:
    """One face in one frame.

    Attributes:
        face_id: The face.
        box: Where it is; where it was not found, between where it was before and after.
        is_found: Whether it was found in this frame.
        is_seen: Whether the network saw this frame; else its scores are taken from
            frames around, if it has any.
        title: The first task's class with its probability; "" without scores.
        lines: Those of other tasks, with the names of these.
        bars: Units and values, some of each task.
        point: Valence and arousal, -1 to 1; None: there are none.
    """

    face_id: int
    box: Box
    is_found: bool
    is_seen: bool
    title: str
    lines: tuple[str, ...]
    bars: tuple[Bar, ...]
    point: tuple[float, float] | None


class FaceMarks:
    """The marks of an input's faces, frame by frame."""

    def __init__(self, predicted: Predicted):
        """Decides nothing of any frame yet.

        Args:
            predicted: What is predicted of the input.
        """
        self._first = predicted.first_frame
        columns = task_columns(predicted)
        blocks = np.floor(predicted.times_s / _BLOCK_S).astype(np.int64)
        self._faces = [
            _MarkedFace(face, columns, predicted, blocks) for face in predicted.faces
        ]
        self.bar_names = tuple(
            (_number(name), _words(name))
            for part in columns
            for name in part.scores
            if part.task.kind != "multiclass" and not _is_point(part)
        )

    def of(self, index: int) -> list[FaceMark]:
        """The marks of a frame, by face.

        Args:
            index: Its place among the input's frames, from 0.
        """
        frame = index + self._first
        found = (face.mark(frame) for face in self._faces)
        return [mark for mark in found if mark is not None]


class _MarkedFace:
    """One face and what is decided of all its rows."""

    def __init__(
        self,
        face: PredictedFace,
        columns: tuple[TaskColumns, ...],
        predicted: Predicted,
        blocks: Int[np.ndarray, " frames"],
    ):
        self._face = face
        self._boxes = _without_gaps(face.boxes)
        self._tasks = [
            _MarkedTask(
                part,
                face.scores[part.task.name],
                predicted.thresholds.get(part.task.name),
                blocks[face.frame - predicted.first_frame],
            )
            for part in columns
        ]

    def mark(self, frame: int) -> FaceMark | None:
        """The mark in a frame; None where the face has no row or was never found."""
        face = self._face
        row = frame - int(face.frame[0])
        if not 0 <= row < len(face.frame) or self._boxes is None:
            return None
        left, top, width, height = self._boxes[row].tolist()
        told = [task for task in self._tasks if task.known[row]]
        classes = [(task.name, task.said(row)) for task in told if task.is_classes]
        return FaceMark(
            face_id=face.face_id,
            box=(left, top, width, height),
            is_found=bool(np.isfinite(face.boxes[row]).all()),
            is_seen=bool(face.embedded[row]),
            title=classes[0][1] if classes else "",
            lines=tuple(f"{name}: {said}" for name, said in classes[1:]),
            bars=tuple(bar for task in told for bar in task.bars(row)),
            point=next((task.point(row) for task in told if task.is_point), None),
        )


class _MarkedTask:
    """The scores of a face by one task."""

    def __init__(
        self,
        part: TaskColumns,
        scores: Float[np.ndarray, "rows outputs"],
        limits: Float[np.ndarray, " units"] | None,
        blocks: Int[np.ndarray, " rows"],
    ):
        task = part.task
        self.name, self._part = task.name, part
        self.known: Bool[np.ndarray, " rows"] = np.isfinite(scores).all(axis=1)
        self.is_classes = task.kind == "multiclass"
        self.is_point = _is_point(part)
        self._scores = scores
        self._decided = decisions_of(task, np.nan_to_num(scores), limits)
        self._limits = np.full(task.num_outputs, 0.5) if limits is None else limits
        self._blocks = blocks
        self._shown: dict[int, Int[np.ndarray, " bars"]] = {}

    def said(self, row: int) -> str:
        """The class of a row and its probability."""
        assert self._decided is not None
        best = int(self._decided[row, 0])
        return f"{self._part.task.columns[best]} {self._scores[row, best]:.0%}"

    def point(self, row: int) -> tuple[float, float]:
        """Valence and arousal of a row."""
        valence, arousal = self._scores[row].tolist()
        return valence, arousal

    def bars(self, row: int) -> list[Bar]:
        """The bars of a row; none of classes, nor of what is drawn as a point."""
        if self.is_classes or self.is_point:
            return []
        if self._part.task.kind == "multilabel":
            return [self._unit(row, at) for at in self._strongest(row).tolist()]
        return [self._value(row, at) for at in range(len(self._part.scores))][
            :MOST_BARS
        ]

    def _unit(self, row: int, at: int) -> Bar:
        assert self._decided is not None
        name, part = self._part.scores[at], float(self._scores[row, at])
        is_active = bool(self._decided[row, at])
        limit = float(np.clip(self._limits[at], 0, 1))
        return Bar(_number(name), _words(name), part, 0.0, limit, is_active, "")

    def _value(self, row: int, at: int) -> Bar:
        task, score = self._part.task, self._scores[row, at]
        value = float(in_units(task, self._scores[row : row + 1])[0, at])
        bounded = bool(np.isfinite(task.score_range).all())
        low, high = task.value_range
        part = float(np.clip((score + 1) / 2, 0, 1)) if bounded else 0.0
        start = float(np.clip(-low / (high - low), 0, 1)) if bounded else 0.0
        name = self._part.scores[at]
        return Bar("", name, part, start, None, True, f"{value:.3g}")

    def _strongest(self, row: int) -> Int[np.ndarray, " bars"]:
        """The units whose probability goes highest over its threshold in the block."""
        block = int(self._blocks[row])
        if block not in self._shown:
            rows = slice(*np.searchsorted(self._blocks, [block, block + 1]))
            over = np.where(np.isfinite(self._scores[rows]), self._scores[rows], -1)
            highest = (over - self._limits).max(axis=0)
            self._shown = {block: np.sort(np.argsort(-highest)[:MOST_BARS])}
        return self._shown[block]


def _without_gaps(
    boxes: Float[np.ndarray, "rows 4"],
) -> Float[np.ndarray, "rows 4"] | None:
    """The boxes with those between them where there are none; None: none at all."""
    at = np.flatnonzero(np.isfinite(boxes).all(axis=1))
    if not len(at):
        return None
    rows = np.arange(len(boxes))
    return np.stack([np.interp(rows, at, side[at]) for side in boxes.T], axis=1)


def _is_point(part: TaskColumns) -> bool:
    """Whether a task's values are drawn as a point of valence and arousal."""
    return part.task.name == VA.name and part.task.columns == VA.columns


def _number(column: str) -> str:
    """Number of an action unit; "" for other columns."""
    return "" if unit_in_words(column) is None else column


def _words(column: str) -> str:
    return unit_in_words(column) or column
