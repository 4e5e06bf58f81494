"""Predictions for frames, checked, whatever file they come from."""

import dataclasses
import pathlib

import numpy as np
from jaxtyping import Bool, Float, Int, Int8

from avemo_jax.data.records import MAX_FRAME
from avemo_jax.tasks import AU, EXPR, TASKS, VA, Task


@dataclasses.dataclass(frozen=True)
class RawFrames:
    """What a reader found in a file, in the file's order.

    Attributes:
        form: What kind of file it is, in words.
        videos: Names of the videos, each once.
        video: Index of each row's video.
        frame: Number of each row's frame, as the file counts.
        values: The values of each frame; for EXPR one class, or probabilities.
        own: Which rows have a prediction of their own and are not filled; None: all.
        decided: EXPR: the class of each row, (rows, 1); AU: 0 or 1, (rows, 12); None
            where the file holds no decisions beside its values.
        named: Whether names in the file tell which column is which.
        numbered: Whether the file tells the frames' numbers; if not, row i of a video
            is frame i + 1.
        notes: Remarks for people, such as which files were ignored.
    """

    form: str
    videos: tuple[str, ...]
    video: Int[np.ndarray, " rows"]
    frame: Int[np.ndarray, " rows"]
    values: Float[np.ndarray, "rows columns"]
    own: Bool[np.ndarray, " rows"] | None = None
    decided: Int8[np.ndarray, "rows decisions"] | None = None
    named: bool = False
    numbered: bool = True
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class FramePredictions:
    """Checked predictions, sorted by video and frame; every frame at most once.

    Attributes:
        path: The file or folder.
        form: What kind of file it is, in words.
        videos: Names of the videos, sorted.
        video: Index of each row's video, ascending.
        frame: Official 1-based frame numbers, ascending within a video.
        own: Which rows have a prediction of their own, not filled from other frames.
        scores: Probabilities (EXPR, AU), or valence and arousal; None where the file
            holds decisions only.
        decided: EXPR: classes, (rows, 1); AU: 0 or 1, (rows, 12); None where the file
            holds scores only.
        named: Whether it is known by name which column is which.
        notes: Remarks for people.
    """

    path: pathlib.Path
    form: str
    videos: tuple[str, ...]
    video: Int[np.ndarray, " rows"]
    frame: Int[np.ndarray, " rows"]
    own: Bool[np.ndarray, " rows"]
    scores: Float[np.ndarray, "rows outputs"] | None
    decided: Int8[np.ndarray, "rows decisions"] | None
    named: bool
    notes: tuple[str, ...]


def checked_frames(
    path: pathlib.Path,
    task: Task,
    raw: RawFrames,
    *,
    first_frame: int = 1,
    columns: tuple[str, ...] | None = None,
) -> FramePredictions:
    """The rows of ``raw`` sorted by video and frame, their values checked.

    Args:
        path: The file or folder, for errors.
        task: The task of the predictions.
        raw: What was read from the file.
        first_frame: Number that the file gives to the first frame of a video.
        columns: Names of the values of a frame, for a file that does not tell them;
            values that are no output of the task are dropped. None: they are in the
            task's order.

    Raises:
        ValueError: If there are no rows, a frame is there twice or out of range, or
            values are not those of the task.
    """
    if not len(raw.frame):
        raise ValueError(
            f"{path} has no predictions; expected one for every frame: write it again"
        )
    if first_frame != 1 and not raw.numbered:
        raise ValueError(
            f"{path}: --first-frame {first_frame}, but its rows have no numbers (row 1 "
            "is the first frame); expected the flag with numbers only: leave it out"
        )
    values = raw.values if columns is None else _picked(path, task, raw, columns)
    frame = raw.frame.astype(np.int64) + (1 - first_frame)
    order_of = np.argsort(np.array(raw.videos, object))
    rank = np.empty(len(order_of), np.int64)
    rank[order_of] = np.arange(len(order_of))
    video = rank[raw.video]
    order = np.lexsort((frame, video))
    videos = tuple(raw.videos[i] for i in order_of)
    found = FramePredictions(
        path=path,
        form=raw.form,
        videos=videos,
        video=video[order],
        frame=frame[order],
        own=np.ones(len(frame), bool) if raw.own is None else raw.own[order],
        scores=values[order],
        decided=None if raw.decided is None else raw.decided[order],
        named=raw.named or columns is not None,
        notes=raw.notes,
    )
    _check_frames(found, first_frame)
    return _CHECKS[task.name](found, values[order])


def place(found: FramePredictions, row: int) -> str:
    """The place of a row, for errors: "PATH: frame 7 of 'video3'"."""
    video = found.videos[found.video[row]]
    return f"{found.path}: frame {found.frame[row]} of {video!r}"


def _picked(
    path: pathlib.Path, task: Task, raw: RawFrames, columns: tuple[str, ...]
) -> Float[np.ndarray, "rows outputs"]:
    """The task's outputs among the values, whose names the user gave in order."""
    if raw.named:
        raise ValueError(
            f"{path}: --columns {','.join(columns)}, but its columns have names; "
            "expected the flag for files without: leave it out"
        )
    lacking = [name for name in task.columns if columns.count(name) != 1]
    if lacking or len(columns) != raw.values.shape[1]:
        raise ValueError(
            f"{path}: {len(columns)} names in --columns for {raw.values.shape[1]} "
            f"values a frame, {', '.join(lacking) or 'none'} of the task's not in it "
            f"once; expected a name for every value, {', '.join(task.columns)} among "
            "them: correct the flag"
        )
    return raw.values[:, [columns.index(name) for name in task.columns]]


def _check_frames(found: FramePredictions, first_frame: int) -> None:
    """Raise ``ValueError`` if a frame is out of range or there twice."""
    low, high = found.frame.min(), found.frame.max()
    if low < 1 or high > MAX_FRAME:
        row = int(np.argmin(found.frame) if low < 1 else np.argmax(found.frame))
        instead = "correct the numbers"
        if low == 0 and first_frame == 1:
            instead = "if the file counts from 0, pass --first-frame 0"
        raise ValueError(
            f"{place(found, row)}; expected frames from 1, the first, to {MAX_FRAME}: "
            f"{instead}"
        )
    same = (np.diff(found.video) == 0) & (np.diff(found.frame) == 0)
    if same.any():
        raise ValueError(
            f"{place(found, int(np.argmax(same)))} is there twice ({int(same.sum()):,} "
            "frames are); expected one prediction a frame: remove one of the two"
        )


def _expressions(
    found: FramePredictions, values: Float[np.ndarray, "rows columns"]
) -> FramePredictions:
    """``found`` with one class a frame, or eight probabilities, checked."""
    _check_finite(found, values)
    if values.shape[1] == 1:
        classes = values[:, 0]
        wrong = (classes != np.round(classes)) | (classes < 0)
        wrong |= classes >= EXPR.num_outputs
        if wrong.any():
            row = int(np.argmax(wrong))
            raise ValueError(
                f"{place(found, row)} has the class {classes[row]:g}; expected an "
                f"integer from 0 to {EXPR.num_outputs - 1} ({EXPR.header}): predict a "
                "class for every frame, or leave frames without one out"
            )
        return dataclasses.replace(found, scores=None, decided=values.astype(np.int8))
    _check_width(found, EXPR, values, "a class, or 8 probabilities")
    notes = found.notes
    if values.min() < 0 or values.max() > 1:
        notes += ("values outside of [0, 1], so no probabilities; the largest counts",)
    return dataclasses.replace(found, scores=values, notes=notes)


def _units(
    found: FramePredictions, values: Float[np.ndarray, "rows columns"]
) -> FramePredictions:
    """``found`` with 12 decisions a frame, or 12 probabilities, checked."""
    _check_finite(found, values)
    _check_width(found, AU, values, "12 probabilities or decisions")
    wrong = ((values < 0) | (values > 1)).any(axis=1)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(
            f"{place(found, row)} has the values {values[row].round(3).tolist()}; "
            "expected probabilities from 0 to 1, or 0 and 1: put logits through a "
            "sigmoid first"
        )
    if ((values == 0) | (values == 1)).all():
        decided = values.astype(np.int8)
        return dataclasses.replace(found, scores=None, decided=decided)
    return dataclasses.replace(found, scores=values)


def _affects(
    found: FramePredictions, values: Float[np.ndarray, "rows columns"]
) -> FramePredictions:
    """``found`` with valence and arousal, checked."""
    _check_finite(found, values)
    _check_width(found, VA, values, "valence and arousal")
    outside = (np.abs(values) > 1).any(axis=1)
    if (values <= -5).any():
        row = int(np.argmax((values <= -5).any(axis=1)))
        raise ValueError(
            f"{place(found, row)} has the values {values[row].tolist()}; expected "
            "values in [-1, 1], for -5 marks a label that is none: leave such frames "
            "out"
        )
    notes = found.notes
    if outside.any():
        text = f"{int(outside.sum()):,} frames with a value outside of [-1, 1]"
        notes += (f"{text}, scored as they are",)
    return dataclasses.replace(found, scores=values, decided=None, notes=notes)


def _check_finite(
    found: FramePredictions, values: Float[np.ndarray, "rows columns"]
) -> None:
    """Raise ``ValueError`` on the first row with a value that is not finite."""
    finite = np.isfinite(values).all(axis=1)
    if not finite.all():
        row = int(np.argmin(finite))
        raise ValueError(
            f"{place(found, row)} has the values {values[row].tolist()}; expected "
            "finite numbers: leave frames without a prediction out"
        )


def _check_width(
    found: FramePredictions,
    task: Task,
    values: Float[np.ndarray, "rows columns"],
    expected: str,
) -> None:
    """Raise ``ValueError`` unless there is one value for every output."""
    width = values.shape[1]
    if width == task.num_outputs:
        return
    fits = [t.name for t in TASKS.values() if t.num_outputs == width]
    instead = f"if these are predictions of {fits[0]}, pass --task {fits[0].lower()}"
    if not fits:
        instead = "name all values with --columns, or write those of the task alone"
    raise ValueError(
        f"{found.path}: {width} values a frame; expected {expected} for {task.name}: "
        f"{instead}"
    )


_CHECKS = {"EXPR": _expressions, "AU": _units, "VA": _affects}
