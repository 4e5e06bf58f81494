"""segments.csv: spans of time in which a face looks alike, for annotation programs.

ELAN (https://archive.mpi.nl/tla/elan) imports it as it is: its import of delimited
text wants columns of begin, end, tier and annotation, takes a time with a point as
seconds and one without as milliseconds, and lets no annotations of a tier overlap. So
times have three decimals always, and a tier is of one face.
"""

import csv
import pathlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from avemo_jax.data.predictions.frames import decisions_of
from avemo_jax.prediction.predicted import Predicted, PredictedFace
from avemo_jax.prediction.tables import TaskColumns, task_columns

COLUMNS = ("onset_s", "offset_s", "face_id", "tier", "label", "mean_prob")


class Segment(NamedTuple):
    """Frames of a face that follow each other, in which one thing is seen.

    Attributes:
        onset_s: When the first of them is shown.
        offset_s: When the last of them is shown no more.
        face_id: The face.
        tier: What the segment is of, and of which face: "face1_expression".
        label: Name of the class, or of the unit that is active.
        mean_prob: Its probability, averaged over the time.
    """

    onset_s: float
    offset_s: float
    face_id: int
    tier: str
    label: str
    mean_prob: float


def segments(predicted: Predicted) -> Iterator[Segment]:
    """The segments of an input: by face, then tier, then time.

    A tier of classes has a segment for each run of frames of one class, and ends where
    there are no scores; a tier of a unit has one for each run in which it is active.
    Values have none, nor has an image, which lasts no time.
    """
    lasts_s = predicted.durations_s()
    if not lasts_s.any():
        return
    for face in predicted.faces:
        shown = face.frame - predicted.first_frame
        begin_s, face_lasts_s = predicted.times_s[shown], lasts_s[shown]
        for part in task_columns(predicted):
            limits = predicted.thresholds.get(part.task.name)
            for tier, codes, probs, labels in _tiers(face, part, limits):
                first, end = _runs(codes)
                if not len(first):
                    continue
                # Sums of all rows between the starts, those of no label are 0.
                weights = np.where(codes >= 0, face_lasts_s, 0.0)
                sums = np.add.reduceat(np.where(codes >= 0, probs, 0) * weights, first)
                means = sums / np.add.reduceat(weights, first)
                onsets = begin_s[first].tolist()
                offsets = (begin_s[end - 1] + face_lasts_s[end - 1]).tolist()
                names = [labels[code] for code in codes[first]]
                where = (face.face_id, f"face{face.face_id}_{tier}")
                for onset, offset, name, mean in zip(
                    onsets, offsets, names, means.tolist(), strict=True
                ):
                    yield Segment(onset, offset, *where, name, mean)


def _tiers(
    face: PredictedFace, part: TaskColumns, limits: np.ndarray | None
) -> Iterator[
    tuple[
        str,
        Int[np.ndarray, " rows"],
        Float[np.ndarray, " rows"],
        tuple[str, ...],
    ]
]:
    """Each tier of a task: name, number of the label or -1, its probability, labels."""
    task, scores = part.task, face.scores[part.task.name]
    known = np.isfinite(scores).all(axis=1)
    decided = decisions_of(task, np.nan_to_num(scores), limits)
    if decided is None:
        return
    if part.decided:
        best = np.take_along_axis(scores, decided.astype(np.int64), axis=1)[:, 0]
        codes = np.where(known, decided[:, 0], -1).astype(np.int64)
        yield part.decided, codes, best, task.columns
        return
    for name, active, probs in zip(part.scores, decided.T, scores.T, strict=True):
        codes = np.where(known & (active == 1), 0, -1).astype(np.int64)
        yield name, codes, probs, (name,)


def _runs(
    codes: Int[np.ndarray, " rows"],
) -> tuple[Int[np.ndarray, " runs"], Int[np.ndarray, " runs"]]:
    """First row and end of each run of one number; runs of -1 are left out."""
    changed: Bool[np.ndarray, " edges"] = np.diff(codes) != 0
    first = np.concatenate([[0], np.flatnonzero(changed) + 1])
    end = np.append(first[1:], len(codes))
    there = codes[first] >= 0
    return first[there], end[there]


def write_segments(path: pathlib.Path, predicted: Predicted) -> None:
    """Write a line for each segment of an input, after a line of names.

    Raises:
        OSError: If the file cannot be written.
    """
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for one in segments(predicted):
            onset, offset = f"{one.onset_s:.3f}", f"{one.offset_s:.3f}"
            chance = f"{one.mean_prob:.6f}"
            writer.writerow((onset, offset, one.face_id, one.tier, one.label, chance))
