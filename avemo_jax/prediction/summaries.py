"""summary.csv, a line for each input and face, and the same in words for a person."""

import pathlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float

from avemo_jax.data.predictions.frames import decisions_of
from avemo_jax.data.predictions.predictions_file import in_units
from avemo_jax.faces.boxes import MIN_FACE_PX
from avemo_jax.prediction.predicted import Predicted, PredictedFace
from avemo_jax.prediction.tables import TaskColumns, task_columns
from avemo_jax.runtime.plain_text import in_csv
from avemo_jax.runtime.tables.writing import csv_lines

MEANING = (
    "These are what observers would call the faces, not what people feel, and a model "
    "agrees with observers only in part; what the columns mean: docs/predictions.md."
)
SummaryRow = dict[str, str | int | float | None]

_BEFORE = (
    *("input", "face_id", "duration_s", "fps", "n_frames"),
    *("face_found_pct", "filled_pct", "audio_used_pct"),
)
_AFTER = ("warnings",)
_TOLD_FACES = 5
_TOLD_LABELS = 4
_TOLD_PCT = 0.5  # what is there for less is not told in words


def summary_rows(
    predicted: Predicted, *, min_face_px: int = MIN_FACE_PX
) -> list[SummaryRow]:
    """What summary.csv has of an input: a row for each face, or one without a face.

    Shares are of time: a frame counts for as long as it is shown. ``face_found_pct`` is
    of the whole input, all other shares are of the time in which the face has scores.

    Args:
        predicted: What is predicted of the input.
        min_face_px: Shorter side of a face, at the median, under which a warning tells
            its size.
    """
    weights = predicted.durations_s()
    about: SummaryRow = {
        "input": predicted.name,
        "face_id": None,
        "duration_s": round(float(weights.sum()), 3),
        "fps": round(predicted.fps, 3),
        "n_frames": predicted.num_frames,
        "face_found_pct": 0.0,
        "filled_pct": None,
        "audio_used_pct": None,
    }
    if not weights.any():
        weights = np.ones(predicted.num_frames)  # an image
    columns = task_columns(predicted)
    said = [*predicted.notes, *predicted.losses]
    rows: list[SummaryRow] = []
    for face in predicted.faces:
        shown = weights[face.frame - predicted.first_frame]
        scored = np.zeros(len(shown), bool)
        statistics: SummaryRow = {}
        for part in columns:
            scores = face.scores[part.task.name]
            known = np.isfinite(scores).all(axis=1)
            limits = predicted.thresholds.get(part.task.name)
            values = _statistics(part, scores[known], shown[known], limits)
            statistics |= dict(zip(_names(part), values, strict=True))
            scored |= known
        heard = face.audio_used
        if heard is None:
            heard = np.full(len(shown), predicted.audio_used)
        shares: SummaryRow = {
            "face_id": face.face_id,
            "face_found_pct": _pct(face.success, shown, weights.sum()),
            "filled_pct": _pct(face.filled & scored, shown, shown[scored].sum()),
            "audio_used_pct": _pct(heard & scored, shown, shown[scored].sum()),
        }
        warnings = "; ".join([*face_warnings(face, min_face_px), *said])
        rows.append(about | shares | statistics | {"warnings": warnings})
    if not rows:
        statistics = {name: None for part in columns for name in _names(part)}
        warnings = "; ".join(["no face was found", *said])
        rows.append(about | statistics | {"warnings": warnings})
    return rows


def _names(part: TaskColumns) -> Iterator[str]:
    """Columns of the summary for one task."""
    for name in part.scores:
        if part.task.kind == "multiclass":
            yield f"pct_time_{name}"
        elif part.task.kind == "multilabel":
            yield f"rate_{name}_pct"
        else:
            yield f"mean_{name}"
            yield f"sd_{name}"


def _statistics(
    part: TaskColumns,
    scores: Float[np.ndarray, "rows outputs"],
    weights: Float[np.ndarray, " rows"],
    limits: Float[np.ndarray, " units"] | None,
) -> Sequence[float | None]:
    """What the columns of :func:`_names` hold.

    Args:
        part: The task.
        scores: The scores that there are.
        weights: How much each row counts.
        limits: Threshold of each unit.
    """
    if not len(scores):
        return [None for _ in _names(part)]
    decided = decisions_of(part.task, scores, limits)
    if decided is None:
        values = in_units(part.task, scores)
        mean = np.average(values, axis=0, weights=weights)
        sd = np.sqrt(np.average((values - mean) ** 2, axis=0, weights=weights))
        return [round(float(v), 4) for pair in zip(mean, sd, strict=True) for v in pair]
    if part.decided:
        decided = decided == np.arange(part.task.num_outputs)
    share = np.average(decided, axis=0, weights=weights)
    return [round(100 * float(one), 2) for one in share]


def _pct(
    there: Bool[np.ndarray, " rows"], weights: Float[np.ndarray, " rows"], total: float
) -> float | None:
    """The share of ``total`` that the rows have, in percent; None without any."""
    return round(100 * float(weights[there].sum() / total), 2) if total else None


def face_warnings(face: PredictedFace, min_face_px: int) -> Iterator[str]:
    """What makes a face's scores doubtful, in words.

    Args:
        face: The face.
        min_face_px: Shorter side, at the median, under which its size is told.
    """
    side_px = _side_px(face)
    if side_px < min_face_px:
        yield f"small face: {side_px:.0f} px, under {min_face_px} px"
    if face.is_merged:
        yield "joined from scenes by likeness, which is uncertain"


def _side_px(face: PredictedFace) -> float:
    """The shorter side of a face in pixels, at the median; infinite if never found."""
    sides = face.boxes[face.success, 2:].min(axis=1)
    sides = sides[np.isfinite(sides)]
    return float(np.median(sides)) if len(sides) else np.inf


def write_summary(rows: Iterable[SummaryRow], path: pathlib.Path) -> None:
    """Write a line for each row, with the columns of all rows, whole or not at all.

    Args:
        rows: Rows of :func:`summary_rows`, of inputs that may have different tasks.
        path: The file, usually ``OUT/summary.csv``.

    Raises:
        OSError: If the file cannot be written.
    """
    rows = list(rows)
    between = dict.fromkeys(name for row in rows for name in row)
    names = [n for n in between if n not in (*_BEFORE, *_AFTER)]
    with csv_lines(path, (*_BEFORE, *names, *_AFTER)) as writer:
        for row in rows:
            writer.writerow(
                {n: in_csv(v) if isinstance(v, str) else v for n, v in row.items()}
            )


def summary_text(predicted: Predicted, *, min_face_px: int = MIN_FACE_PX) -> str:
    """What a person reads of an input: its faces and their shares, in some lines.

    Args:
        predicted: What is predicted of the input.
        min_face_px: Shorter side of a face under which its size is a warning.
    """
    duration_s = float(predicted.durations_s().sum())
    size = f"{predicted.width} x {predicted.height} px"
    about = f"image of {size}"
    if duration_s:
        about = (
            f"{duration_s:,.1f} s, {predicted.num_frames:,} frames of {size} at "
            f"{predicted.fps:.4g} frames/s"
        )
    count = len(predicted.faces)
    found = "no face was found" if not count else f"{count} face{'s' * (count > 1)}"
    lines = [f"{predicted.name}: {about}; {found}"]
    columns = task_columns(predicted)
    rows = summary_rows(predicted, min_face_px=min_face_px)
    for face, row in zip(predicted.faces[:_TOLD_FACES], rows, strict=False):
        lines += _face_lines(face, row, columns, min_face_px)
    if count > _TOLD_FACES:
        lines.append(f"  {count - _TOLD_FACES} more faces: see summary.csv")
    lines += [f"  note: {note}" for note in predicted.notes]
    lines += [f"  lost: {loss}" for loss in predicted.losses]
    return "\n".join(lines)


def _face_lines(
    face: PredictedFace,
    row: SummaryRow,
    columns: Sequence[TaskColumns],
    min_face_px: int,
) -> Iterator[str]:
    """Lines about one face."""
    side_px = _side_px(face)
    wide = f", {side_px:.0f} px wide at the median" if np.isfinite(side_px) else ""
    yield f"  face {face.face_id}: seen {row['face_found_pct']:.4g} % of the time{wide}"
    for part in columns:
        told = [(name, row[name]) for name in _names(part)]
        numbers = [value for _, value in told if isinstance(value, float)]
        if len(numbers) < len(told):
            yield f"    {part.task.title}: no scores"
        elif part.task.kind == "regression":
            low, high = part.task.value_range
            pairs = zip(part.scores, numbers[::2], numbers[1::2], strict=True)
            values = ", ".join(f"{n} {m:.2f} (sd {sd:.2f})" for n, m, sd in pairs)
            yield f"    {values}; each from {low:g} to {high:g}"
        else:
            order = np.argsort(numbers)[::-1][:_TOLD_LABELS]
            shares = ", ".join(
                f"{part.scores[i]} {numbers[i]:.0f} %"
                for i in order
                if numbers[i] >= _TOLD_PCT
            )
            yield f"    {part.task.title}: {shares or 'none'} of the time"
    for warning in face_warnings(face, min_face_px):
        yield f"    {warning}"
