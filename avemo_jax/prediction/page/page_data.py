"""What the scripts of a page are given: an account of the input, and its columns."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from avemo_jax.data.predictions.frames import decisions_of
from avemo_jax.data.predictions.predictions_file import in_units
from avemo_jax.prediction.page.blocks import Blocks, Width, any_of, thinned
from avemo_jax.prediction.page.moments import Moment
from avemo_jax.prediction.page.source_link import SourceLink
from avemo_jax.prediction.page.stills import Still
from avemo_jax.prediction.predicted import Predicted, PredictedFace
from avemo_jax.tasks import EXPRESSIONS, Task
from avemo_jax.tasks.unit_names import unit_in_words

MAX_PACKED = 2_200_000  # letters of all columns on a page
MAX_BOXES = 60_000  # boxes of all faces; those between them lie on a line
_KINDS = (*EXPRESSIONS, "Contempt")  # in the order of the style sheet's colours
_NUM_KINDS = 12
_UNIT_S = 1e-5  # of times, unless the input is longer than half a day


@dataclasses.dataclass(frozen=True)
class PageColumns:
    """The columns of a page.

    Attributes:
        about: What each is, for the scripts.
        packed: The columns.
        step: How many frames are one row of them.
    """

    about: dict[str, Any]
    packed: str
    step: int


def page_columns(predicted: Predicted) -> PageColumns:
    """The columns of an input, of as many frames a row as let them fit on a page."""
    step = 1
    while True:
        made = _columns(predicted, step)
        if len(made.packed) <= MAX_PACKED:
            return made
        step = max(step + 1, math.ceil(step * len(made.packed) / MAX_PACKED))


def _columns(predicted: Predicted, step: int) -> PageColumns:
    blocks = Blocks()
    times_s = predicted.times_s
    first_s = float(times_s[0]) if len(times_s) else 0.0
    last_s = float(times_s[-1]) - first_s if len(times_s) else 0.0
    unit_s = max(_UNIT_S, last_s / 2**31)
    about: dict[str, Any] = {
        "times": {
            "first": first_s,
            "unit": unit_s,
            "block": blocks.add(np.round((times_s - first_s) / unit_s), 4),
        },
        "step": step,
    }
    total = sum(len(face.frame) for face in predicted.faces)
    apart = max(1, math.ceil(total / MAX_BOXES))
    scales = {task.name: _scale(task, predicted) for task in predicted.tasks}
    about["tasks"] = [
        _about_task(t, predicted, scales[t.name]) for t in predicted.tasks
    ]
    about["faces"] = [
        _face(blocks, predicted, face, scales, step, apart) for face in predicted.faces
    ]
    about["blocks"] = blocks.layout
    return PageColumns(about, blocks.packed(), step)


def _scale(task: Task, predicted: Predicted) -> tuple[float, float]:
    """Least and largest score of a task, in the user's unit."""
    if task.kind != "regression":
        return 0.0, 1.0
    if np.isfinite(task.score_range).all():
        return task.value_range
    values = [in_units(task, face.scores[task.name]) for face in predicted.faces]
    known = np.concatenate([one[np.isfinite(one)] for one in values] or [np.zeros(1)])
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _about_task(
    task: Task, predicted: Predicted, scale: tuple[float, float]
) -> dict[str, Any]:
    limits = predicted.thresholds.get(task.name)
    return {
        "name": task.name,
        "kind": task.kind,
        "title": task.title,
        "columns": list(task.columns),
        "words": [unit_in_words(column) or "" for column in task.columns],
        "colours": [kind_of(column, i) for i, column in enumerate(task.columns)],
        "low": scale[0],
        "high": scale[1],
        "bounded": bool(np.isfinite(task.score_range).all()),
        "thresholds": None if limits is None else [float(one) for one in limits],
        "spread": task.name in predicted.with_spread,
    }


def kind_of(column: str, place: int) -> int:
    """Number of the colour of a class: its own, or by its place."""
    if column in _KINDS:
        return _KINDS.index(column)
    return place % (_NUM_KINDS - 1) + 1


def _face(
    blocks: Blocks,
    predicted: Predicted,
    face: PredictedFace,
    scales: dict[str, tuple[float, float]],
    step: int,
    apart: int,
) -> dict[str, Any]:
    """The columns of a face."""
    scored = np.zeros(len(face.frame), bool)
    tasks = {}
    for task in predicted.tasks:
        scores = face.scores[task.name]
        scored |= np.isfinite(scores).all(axis=1)
        tasks[task.name] = _scores(blocks, predicted, face, task, scales, step)
    heard = face.audio_used
    if heard is None:
        heard = np.full(len(face.frame), predicted.audio_used)
    flags = [face.success, face.filled & scored, face.embedded, heard & scored, scored]
    bits = sum(any_of(one, step).astype(int) << i for i, one in enumerate(flags))
    size = np.array([predicted.width, predicted.height] * 2, float)
    # The last too, so that all between can be told.
    at = np.unique([*range(0, len(face.frame), apart), len(face.frame) - 1])
    return {
        "id": face.face_id,
        "first": int(face.frame[0]) - predicted.first_frame,
        "rows": len(face.frame),
        "merged": face.is_merged,
        "flags": blocks.add(np.asarray(bits), 1),
        "found": blocks.add(face.success, 1),
        "boxes": {
            "apart": apart,
            "blocks": blocks.add_scaled(face.boxes[at] / size, -0.5, 1.5, 2),
        },
        "tasks": tasks,
    }


def _scores(
    blocks: Blocks,
    predicted: Predicted,
    face: PredictedFace,
    task: Task,
    scales: dict[str, tuple[float, float]],
    step: int,
) -> dict[str, Any]:
    """The columns of a face's scores of one task."""
    scores = thinned(face.scores[task.name], step)
    low, high = scales[task.name]
    width: Width = 2 if task.kind == "regression" else 1
    values = in_units(task, scores) if task.kind == "regression" else scores
    made: dict[str, Any] = {"scores": blocks.add_scaled(values, low, high, width)}
    if task.kind == "multiclass":
        decided = decisions_of(task, np.nan_to_num(scores), None)
        assert decided is not None
        known = np.isfinite(scores).all(axis=1)
        made["decided"] = blocks.add(np.where(known, decided[:, 0], 255), 1)
    if task.name in face.spread and task.kind == "regression":
        units = task.in_units(np.array([0.0, 1.0]))
        spread = thinned(face.spread[task.name], step) * float(units[1] - units[0])
        made["spread"] = blocks.add_scaled(spread, 0.0, (high - low) / 2, 1)
    return made


def page_account(
    predicted: Predicted,
    columns: PageColumns,
    link: SourceLink | None,
    moments: Sequence[Moment],
    stills: dict[Moment, str],
    strip: Sequence[Still],
    problems: Sequence[str],
) -> dict[str, Any]:
    """All that the scripts of a page are given, but the packed columns.

    Args:
        predicted: What is predicted of the input.
        columns: Its columns.
        link: The video; None: the input is no video.
        moments: The strongest moments of all faces.
        stills: Stills of moments that have one.
        strip: Pictures over the whole length.
        problems: Why there are no pictures, in words; empty where there are.
    """
    durations = predicted.durations_s()
    is_image = predicted.num_frames == 1 and bool(predicted.files)
    return {
        **columns.about,
        "name": predicted.name,
        "kind": "image" if is_image else ("pictures" if predicted.files else "video"),
        "width": predicted.width,
        "height": predicted.height,
        "fps": predicted.fps,
        "first_frame": predicted.first_frame,
        "last": float(durations[-1]) if len(durations) else 0.0,
        "video": None if link is None else link._asdict(),
        "moments": [
            {**one._asdict(), "score": round(one.score, 4), "still": stills.get(one)}
            for one in moments
        ],
        "strip": [{"time": still.time_s, "jpeg": still.jpeg} for still in strip],
        "problems": list(problems),
    }
