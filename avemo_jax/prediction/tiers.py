"""Tiers of an input for programs of annotation: spans of time with a label, by face.

A tier holds what segments.csv has of one face: its classes, or one of its units. Of
values, which have no segments, it holds the means of each second. Times are whole
milliseconds, as ELAN has them, and spans of a tier do not overlap.
"""

import dataclasses
import itertools
from typing import NamedTuple

import numpy as np

from avemo_jax.data.predictions.predictions_file import in_units
from avemo_jax.prediction.predicted import Predicted, PredictedFace
from avemo_jax.prediction.segments import segments
from avemo_jax.prediction.tables import TaskColumns, task_columns

NO_FACE = "no_face"  # the tier of an input without a face, which is empty
_MEAN_MS = 1000  # that values are averaged over


class Span(NamedTuple):
    """A label over some time.

    Attributes:
        begin_ms: When it begins, in milliseconds from the input's first picture.
        end_ms: When it ends, later than it begins.
        label: The label.
    """

    begin_ms: int
    end_ms: int
    label: str


@dataclasses.dataclass(frozen=True)
class Tier:
    """Spans of one kind, of one face.

    Attributes:
        name: Its name, as in segments.csv: "face1_expression".
        face_id: The face; 0: of none.
        kind: What it holds, for tiers of all faces: "expression", "AU12", "valence".
        labels: All labels that spans may have; empty: any, as values have.
        spans: The spans, in the order of time.
    """

    name: str
    face_id: int
    kind: str
    labels: tuple[str, ...]
    spans: tuple[Span, ...]


def tiers(predicted: Predicted) -> list[Tier]:
    """The tiers of an input, those without a span too; one that is empty without faces.

    Args:
        predicted: What is predicted of the input.
    """
    of_tier = {
        name: tuple(
            Span(round(1000 * one.onset_s), round(1000 * one.offset_s), one.label)
            for one in found
        )
        for name, found in itertools.groupby(segments(predicted), lambda one: one.tier)
    }
    made = []
    for face in predicted.faces:
        for part in task_columns(predicted):
            for kind, labels in _kinds(part):
                name = f"face{face.face_id}_{kind}"
                spans = of_tier.get(name, ())
                if part.task.kind == "regression":
                    spans = _means(predicted, face, part, part.scores.index(kind))
                shown = tuple(span for span in spans if span.end_ms > span.begin_ms)
                made.append(Tier(name, face.face_id, kind, labels, shown))
    return made or [Tier(NO_FACE, 0, NO_FACE, (), ())]


def end_ms(predicted: Predicted) -> int:
    """When the last frame of an input is gone, in milliseconds."""
    return round(1000 * float(predicted.times_s[-1] + predicted.durations_s()[-1]))


def _kinds(part: TaskColumns) -> list[tuple[str, tuple[str, ...]]]:
    """What the tiers of a task hold, and their labels."""
    if part.task.kind == "multiclass":
        return [(part.decided, part.task.columns)]
    is_unit = part.task.kind == "multilabel"
    return [(name, (name,) if is_unit else ()) for name in part.scores]


def _means(
    predicted: Predicted, face: PredictedFace, part: TaskColumns, at: int
) -> tuple[Span, ...]:
    """One value of a face, averaged over each second in which it is known."""
    values = in_units(part.task, face.scores[part.task.name])[:, at]
    rows = face.frame - predicted.first_frame
    begin_s, lasts_s = predicted.times_s[rows], predicted.durations_s()[rows]
    known = np.isfinite(values)
    begin_s, lasts_s, values = begin_s[known], lasts_s[known], values[known]
    ends_s = begin_s + lasts_s
    second = np.floor(begin_s / (_MEAN_MS / 1000)).astype(np.int64)
    # A run ends with its second, and where values are missing.
    gap = begin_s[1:] - ends_s[:-1] > 1e-3
    first = np.flatnonzero(np.concatenate([[True], (np.diff(second) != 0) | gap]))
    spans = []
    for start, stop in zip(first, [*first[1:], len(values)], strict=True):
        if stop == start:
            continue
        weights = lasts_s[start:stop]
        mean = float(np.average(values[start:stop], weights=weights))
        times = round(1000 * begin_s[start]), round(1000 * ends_s[stop - 1])
        spans.append(Span(*times, f"{mean:.2f}"))
    return tuple(spans)
