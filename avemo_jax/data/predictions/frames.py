"""Predictions for frames in memory, checked, whatever file they come from."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Int8, Shaped

from avemo_jax.data.listing import first_of
from avemo_jax.data.records import MAX_FRAME
from avemo_jax.metrics.states import decide
from avemo_jax.tasks import AU, EXPR, TASKS, VA, Task

# What else than video and frame ``FramePredictions`` has a row of, or None.
_OF_ROWS = ("filled", "scores", "decided", "has_crop", "labels")


@dataclasses.dataclass(frozen=True)
class FramePredictions:
    """Predictions of one task for frames, a row for each.

    Checked ones (``checked``) are sorted by video and frame, and no frame is there
    twice.

    Attributes:
        path: The file or folder that they are from, or are to be written to.
        task: The task that they are of.
        form: What kind of file it is, in words.
        videos: Names of the videos, each once.
        video: Index of each row's video.
        frame: Official 1-based number of each row's frame.
        filled: Which rows have no prediction of their own, but that of other frames.
        scores: Probabilities (EXPR, AU), or valence and arousal; None where there are
            decisions only. Not yet checked, these may be classes.
        decided: EXPR: the class of each row, (rows, 1); AU: 0 or 1, (rows, 12); None
            where there are scores only.
        thresholds: AU: the thresholds that were decided by; None: unknown.
        has_crop: Which rows have a face crop; None: unknown.
        labels: Labels in the task's shape and type; None: unknown.
        named: Whether it is known by name which column is which.
        numbered: Whether the file tells the frames' numbers; if not, row i of a video
            is frame i + 1.
        first_frame: Number that the file's program is known to give the first frame,
            which ``frame`` heeds already; None: it is the user who knows.
        lacking: Outputs of the task that the file's program has not; nothing is
            predicted of them, and their scores and decisions are 0.
        notes: Remarks for people, such as which files were ignored.
    """

    path: pathlib.Path
    task: Task
    form: str
    videos: tuple[str, ...]
    video: Int[np.ndarray, " rows"]
    frame: Int[np.ndarray, " rows"]
    filled: Bool[np.ndarray, " rows"]
    scores: Float[np.ndarray, "rows outputs"] | None
    decided: Int8[np.ndarray, "rows decisions"] | None = None
    thresholds: Float[np.ndarray, " units"] | None = None
    has_crop: Bool[np.ndarray, " rows"] | None = None
    labels: Shaped[np.ndarray, "rows ..."] | None = None
    named: bool = False
    numbered: bool = True
    first_frame: int | None = None
    lacking: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def own(self) -> Bool[np.ndarray, " rows"]:
        """Which rows have a prediction of their own."""
        return ~self.filled

    @property
    def values(self) -> Float[np.ndarray, "rows outputs"]:
        """The scores; of decisions only these, as 0 and 1."""
        if self.scores is not None:
            return self.scores
        assert self.decided is not None
        if self.task is EXPR:
            return np.eye(self.task.num_outputs)[self.decided[:, 0]]
        return self.decided.astype(np.float64)

    def place(self, row: int) -> str:
        """The place of a row, for errors: "PATH: frame 7 of 'video3'"."""
        video = self.videos[self.video[row]]
        return f"{self.path}: frame {self.frame[row]} of {video!r}"


def decisions_of(
    task: Task,
    scores: Float[np.ndarray, "rows outputs"],
    thresholds: Float[np.ndarray, " units"] | None = None,
) -> Int8[np.ndarray, "rows decisions"] | None:
    """What ``FramePredictions.decided`` holds for these scores; None for values.

    Args:
        task: The task of the predictions.
        scores: Probabilities; the first of the highest is the class.
        thresholds: The threshold of each unit; None: 0.5.
    """
    if task.kind == "regression":
        return None
    decided = decide(task, scores, thresholds).astype(np.int8)
    return decided[:, None] if task.kind == "multiclass" else decided


def checked(
    raw: FramePredictions,
    *,
    first_frame: int = 1,
    columns: tuple[str, ...] | None = None,
) -> FramePredictions:
    """The rows of ``raw`` sorted by video and frame, their values checked.

    Args:
        raw: What was read from a file, in its order.
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
            f"{raw.path} has no predictions; expected one for every frame: write it "
            "again"
        )
    if first_frame != 1 and not raw.numbered:
        raise ValueError(
            f"{raw.path}: --first-frame {first_frame}, but its rows have no numbers "
            "(row 1 is the first frame); expected the flag with numbers only: leave it "
            "out"
        )
    if first_frame != 1 and raw.first_frame not in (None, first_frame):
        raise ValueError(
            f"{raw.path}: --first-frame {first_frame} and a {raw.form}, which counts "
            f"from {raw.first_frame}; expected no flag for what is known: leave it out"
        )
    first_frame = first_frame if raw.first_frame is None else 1
    if columns is not None:
        raw = dataclasses.replace(raw, scores=_picked(raw, columns), named=True)
    raw = _without_missing(raw)
    found = _sorted(dataclasses.replace(raw, frame=raw.frame + (1 - first_frame)))
    _check_frames(found, first_frame)
    assert found.scores is not None
    return _CHECKS[found.task.name](found, found.scores)


def _without_missing(raw: FramePredictions) -> FramePredictions:
    """``raw`` without the rows that hold no prediction, as if they were left out.

    These are NaN in all outputs, or -1 as a class or in all units.

    Raises:
        ValueError: If no row holds a prediction, or one holds a part of it.
    """
    assert raw.scores is not None
    missing = np.isnan(raw.scores)
    if raw.task is AU or (raw.task is EXPR and raw.scores.shape[1] == 1):
        missing |= raw.scores == -1
    lacking = missing.all(axis=1)
    if raw.decided is not None:
        undecided = raw.decided < 0
        half = undecided.any(axis=1) & ~(undecided.all(axis=1) & lacking)
        half |= lacking & ~undecided.all(axis=1)
        if half.any():
            raise ValueError(
                f"{raw.place(int(np.argmax(half)))} has scores or a decision alone; "
                "expected both: write it again, or leave the frame out"
            )
    if not lacking.any():
        return raw
    if lacking.all():
        raise ValueError(
            f"{raw.path} has no predictions, as all values are missing (empty, NA, NaN "
            "or -1); expected one for every frame: write it again"
        )
    note = (
        "rows without a prediction (empty, NA, NaN or -1), taken as frames that were "
        f"left out: {int(lacking.sum()):,}"
    )
    return dataclasses.replace(kept_rows(raw, ~lacking), notes=(*raw.notes, note))


def kept_rows(
    raw: FramePredictions, keep: Bool[np.ndarray, " rows"]
) -> FramePredictions:
    """``raw`` with some of its rows only."""
    rows: dict[str, Any] = {"video": raw.video, "frame": raw.frame}
    rows |= {name: getattr(raw, name) for name in _OF_ROWS}
    kept: dict[str, Any] = {n: None if v is None else v[keep] for n, v in rows.items()}
    return dataclasses.replace(raw, **kept)


def joined(
    parts: Sequence[FramePredictions], path: pathlib.Path, form: str
) -> FramePredictions:
    """Predictions of one kind one after the other; all else is that of the first.

    Args:
        parts: Predictions of different videos, not yet checked.
        path: The folder that they are from.
        form: What kind of folder it is, in words.

    Raises:
        ValueError: If two parts have the same video.
    """
    names = [name for one in parts for name in one.videos]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(
            f"{path} has several tables of {first_of(twice, 5)}; expected each input "
            "once: remove one"
        )
    before = np.cumsum([0, *(len(one.videos) for one in parts)])[:-1]
    video = [one.video + at for one, at in zip(parts, before, strict=True)]
    rows: dict[str, Any] = {"video": np.concatenate(video)}
    for name in ("frame", *_OF_ROWS):
        values = [getattr(one, name) for one in parts]
        there = all(each is not None for each in values)
        rows[name] = np.concatenate(values) if there else None
    notes = dict.fromkeys(note for one in parts for note in one.notes)
    return dataclasses.replace(
        parts[0], path=path, form=form, videos=tuple(names), notes=tuple(notes), **rows
    )


def _sorted(raw: FramePredictions) -> FramePredictions:
    """``raw`` with the videos sorted by name, the rows by video and frame."""
    order_of = np.argsort(np.array(raw.videos, object))
    rank = np.empty(len(order_of), np.int64)
    rank[order_of] = np.arange(len(order_of))
    video = rank[raw.video]
    order = np.lexsort((raw.frame, video))
    rows: dict[str, Any] = {}
    for name in ("frame", *_OF_ROWS):
        values = getattr(raw, name)
        rows[name] = None if values is None else values[order]
    videos = tuple(raw.videos[i] for i in order_of)
    return dataclasses.replace(raw, videos=videos, video=video[order], **rows)


def _picked(
    raw: FramePredictions, columns: tuple[str, ...]
) -> Float[np.ndarray, "rows outputs"]:
    """The task's outputs among the values, whose names the user gave in order."""
    assert raw.scores is not None
    if raw.named:
        raise ValueError(
            f"{raw.path}: --columns {','.join(columns)}, but its columns have names; "
            "expected the flag for files without: leave it out"
        )
    lacking = [name for name in raw.task.columns if columns.count(name) != 1]
    if lacking or len(columns) != raw.scores.shape[1]:
        raise ValueError(
            f"{raw.path}: {len(columns)} names in --columns for {raw.scores.shape[1]} "
            f"values a frame, {', '.join(lacking) or 'none'} of the task's not in it "
            "once; expected a name for every value, "
            f"{', '.join(raw.task.columns)} among them: correct the flag"
        )
    return raw.scores[:, [columns.index(name) for name in raw.task.columns]]


def _check_frames(found: FramePredictions, first_frame: int) -> None:
    """Raise ``ValueError`` if a frame is out of range or there twice."""
    low, high = found.frame.min(), found.frame.max()
    if low < 1 or high > MAX_FRAME:
        row = int(np.argmin(found.frame) if low < 1 else np.argmax(found.frame))
        instead = "correct the numbers"
        if low == 0 and first_frame == 1:
            instead = "if the file counts from 0, pass --first-frame 0"
        raise ValueError(
            f"{found.place(row)}; expected frames from 1, the first, to {MAX_FRAME}: "
            f"{instead}"
        )
    same = (np.diff(found.video) == 0) & (np.diff(found.frame) == 0)
    if same.any():
        raise ValueError(
            f"{found.place(int(np.argmax(same)))} is there twice ({int(same.sum()):,} "
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
                f"{found.place(row)} has the class {classes[row]:g}; expected an "
                f"integer from 0 to {EXPR.num_outputs - 1} ({EXPR.header}): predict a "
                "class for every frame, or leave frames without one out"
            )
        return dataclasses.replace(found, scores=None, decided=values.astype(np.int8))
    _check_width(found, EXPR, values, "a class, or 8 probabilities")
    notes = found.notes
    if values.min() < 0 or values.max() > 1:
        notes += ("values outside of [0, 1], so no probabilities; the largest counts",)
    return dataclasses.replace(found, notes=notes)


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
            f"{found.place(row)} has the values {values[row].round(3).tolist()}; "
            "expected probabilities from 0 to 1, or 0 and 1: put logits through a "
            "sigmoid first"
        )
    if found.decided is None and ((values == 0) | (values == 1)).all():
        decided = values.astype(np.int8)
        return dataclasses.replace(found, scores=None, decided=decided)
    return found


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
            f"{found.place(row)} has the values {values[row].tolist()}; expected "
            "values in [-1, 1], for -5 marks a label that is none: leave such frames "
            "out"
        )
    notes = found.notes
    if outside.any():
        text = f"{int(outside.sum()):,} frames with a value outside of [-1, 1]"
        notes += (f"{text}, taken as they are",)
    return dataclasses.replace(found, notes=notes)


def _check_finite(
    found: FramePredictions, values: Float[np.ndarray, "rows columns"]
) -> None:
    """Raise ``ValueError`` on the first row with a value that is not finite."""
    finite = np.isfinite(values).all(axis=1)
    if not finite.all():
        row = int(np.argmin(finite))
        raise ValueError(
            f"{found.place(row)} has the values {values[row].tolist()}; expected "
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
