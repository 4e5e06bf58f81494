"""The moments at which a face shows an expression most strongly."""

from typing import NamedTuple

import numpy as np

from avemo_jax.prediction.predicted import Predicted, PredictedFace

COUNT = 3  # moments of each expression
_LEAST = 0.25  # a lower probability is no moment
_APART_S, _APART = 1.0, 0.02  # seconds, or share of the whole, between two moments


class Moment(NamedTuple):
    """One of the strongest moments.

    Attributes:
        face_id: The face.
        task: Name of the task.
        column: Number of the output.
        frame: The frame's number.
        score: Its probability there.
    """

    face_id: int
    task: str
    column: int
    frame: int
    score: float


def moments_of(predicted: Predicted, face: PredictedFace) -> list[Moment]:
    """The strongest moments of each class, by task and class, strongest first.

    Only frames in which the network saw the face count, and two moments of a class lie
    a second apart, or the fiftieth part of the input where that is longer.

    Args:
        predicted: What is predicted of the input.
        face: One of its faces.
    """
    times_s = predicted.times_s[face.frame - predicted.first_frame]
    apart_s = max(_APART_S, _APART * float(predicted.durations_s().sum()))
    found = []
    for task in predicted.tasks:
        if task.kind != "multiclass":
            continue
        scores = face.scores[task.name]
        seen = face.embedded & face.success & np.isfinite(scores).all(axis=1)
        for column in range(task.num_outputs):
            own = np.where(seen, scores[:, column], -np.inf)
            for _ in range(COUNT):
                best = int(own.argmax())
                if own[best] < _LEAST:
                    break
                found.append(
                    Moment(
                        face.face_id,
                        task.name,
                        column,
                        int(face.frame[best]),
                        float(own[best]),
                    )
                )
                own[np.abs(times_s - times_s[best]) < apart_s] = -np.inf
    return found
