"""What is predicted of an input, made up."""

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from avemo_jax.postprocess.class_sets import class_sets
from avemo_jax.prediction.predicted import Predicted, PredictedFace
from avemo_jax.tasks import AU, EXPR, VA, Task

TASKS = (EXPR, AU, VA)


def made_face(
    face_id: int,
    first: int,
    last: int,
    tasks: Sequence[Task] = TASKS,
    *,
    lost: Sequence[int] = (),
    filled: Sequence[int] = (),
    spread: Sequence[str] = (),
    sets: Sequence[str] = (),
    disagreement: Sequence[str] = (),
    seed: int = 0,
    **changes: Any,
) -> PredictedFace:
    """A face in the frames ``first`` to ``last`` that is not found in some of them.

    Args:
        face_id: Number of the face.
        first: Its first frame.
        last: Its last frame.
        tasks: Tasks of the scores.
        lost: Frames in which it was not found, and that have no scores.
        filled: Frames in which it was not found, but that have scores.
        spread: Names of the tasks that have a spread over seeds.
        sets: Names of the tasks of classes that have sets.
        disagreement: Names of the tasks of classes whose seeds disagree.
        seed: Seed of the scores.
        **changes: Fields that are otherwise.
    """
    rng = np.random.default_rng([seed, face_id])
    frame = np.arange(first, last + 1, dtype=np.int32)
    is_filled = np.isin(frame, filled)
    found = ~np.isin(frame, lost) & ~is_filled
    scores, raw = {}, {}
    for task in tasks:
        both = []
        for _ in range(2):
            values = rng.random((len(frame), task.num_outputs), np.float32)
            if task.kind == "multiclass":
                values /= values.sum(axis=1, keepdims=True)
            if task.kind == "regression":
                values = 2 * values - 1
            values[np.isin(frame, lost)] = np.nan
            both.append(values)
        raw[task.name], scores[task.name] = both
    boxes = rng.uniform(40, 90, (len(frame), 4))
    boxes[~found] = np.nan
    values = {
        "success": found,
        "confidence": np.where(found, rng.uniform(0.6, 1, len(frame)), np.nan),
        "boxes": boxes,
        "embedded": found,
        "filled": is_filled,
        "raw": raw,
        "scores": scores,
        "spread": {name: scores[name] / 10 for name in spread},
        "sets": {name: class_sets(scores[name], 0.15) for name in sets},
        "disagreement": {
            name: rng.integers(0, 5, len(frame)) / 4 for name in disagreement
        },
    }
    return PredictedFace(face_id, frame, **(values | changes))


def made_predicted(
    num_frames: int,
    faces: Sequence[PredictedFace] = (),
    tasks: Sequence[Task] = TASKS,
    **changes: Any,
) -> Predicted:
    """An input of 25 frames/s with these faces.

    Args:
        num_frames: Number of its frames.
        faces: The faces.
        tasks: Tasks of the scores.
        **changes: Fields that are otherwise.
    """
    units = {t.name: t.num_outputs for t in tasks if t.kind == "multilabel"}
    values = {
        "name": "interview",
        "path": pathlib.Path("interview.mp4"),
        "times_s": np.arange(num_frames) / 25,
        "fps": 25.0,
        "width": 640,
        "height": 360,
        "tasks": tuple(tasks),
        "thresholds": {name: np.full(count, 0.5) for name, count in units.items()},
        "faces": tuple(faces),
        "audio_used": False,
    }
    return Predicted(**(values | changes))
