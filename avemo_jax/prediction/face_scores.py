"""Scores of every frame of every face: of rows, filled over gaps, and smoothed."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Float64

from avemo_jax.metrics.disagreement import disagreement
from avemo_jax.models.blend import Model
from avemo_jax.models.certainty import Certainty
from avemo_jax.models.embedded_frames import by_rules
from avemo_jax.models.frame_scores import (
    SplitScores,
    corrected_rows,
    smoothable,
    trusted_of,
)
from avemo_jax.models.selection import NO_SMOOTHING, Selection, mean_over
from avemo_jax.postprocess.class_sets import class_sets
from avemo_jax.postprocess.seconds import SHORT_S
from avemo_jax.postprocess.smoothed_frames import smoothed_frames
from avemo_jax.postprocess.smoothing import Smoothing
from avemo_jax.prediction.embedded_face import EmbeddedFace
from avemo_jax.prediction.face_runs import MAX_GAP_S, FaceRuns, runs_of
from avemo_jax.prediction.head_rows import has_sound, head_rows
from avemo_jax.prediction.models import OwnOutputs, PredictionModel
from avemo_jax.prediction.own_outputs import OutputTask
from avemo_jax.prediction.predicted import PredictedFace
from avemo_jax.prediction.run_scores import ScoredRows, by_face, run_scores
from avemo_jax.prediction.smoothing_choice import Smooth
from avemo_jax.prediction.task_heads import TaskHeads

FaceArrays = list[Float[np.ndarray, "_ _"]]


@dataclasses.dataclass(frozen=True, eq=False)
class _TaskFrames:
    """Scores of every frame of each face, of one task.

    Attributes:
        raw: Before smoothing.
        scores: After smoothing.
        spread: Deviation over seeds; None where there is one.
        sets: Which classes are in the set of each frame; None: the model gives none.
        disagreement: Share of the seeds that decide otherwise; None where there is
            one, and for tasks without classes.
    """

    raw: FaceArrays
    scores: FaceArrays
    spread: FaceArrays | None = None
    sets: list[Bool[np.ndarray, "_ _"]] | None = None
    disagreement: list[Float[np.ndarray, " _"]] | None = None


@dataclasses.dataclass(frozen=True)
class _Way:
    """How rows become scores of frames.

    Attributes:
        spans: Span and runs of each face.
        fps: Frames per second.
        smooth: How scores are smoothed.
        adaptive: Whether the model's rule chose the frames that are embedded.
        calibrated: Whether probabilities are brought to how often they come true.
    """

    spans: Sequence[FaceRuns]
    fps: float
    smooth: Smooth
    adaptive: bool
    calibrated: bool


def predicted_faces(
    model: PredictionModel,
    faces: Sequence[EmbeddedFace],
    times_s: Float64[np.ndarray, " frames"],
    *,
    fps: float,
    first_frame: int = 1,
    smooth: Smooth = SHORT_S,
    adaptive: bool = False,
    calibrated: bool = False,
    max_gap_s: float = MAX_GAP_S,
) -> tuple[PredictedFace, ...]:
    """Each face over its whole span, with scores before and after smoothing.

    Frames that were not embedded, and gaps up to ``max_gap_s``, are filled by
    interpolation; longer gaps have no scores, and what lies on their two sides is
    smoothed apart. Where a model has several seeds or folds, scores are means over
    them, each seed's filled, corrected and smoothed as it was chosen to be.

    Args:
        model: The model.
        faces: The faces.
        times_s: When each frame is shown, in seconds, from ``first_frame`` on.
        fps: Frames per second, by which seconds of smoothing become frames; where the
            rate varies, the usual one. 0 for an image.
        first_frame: Number of the frame that the first time is of.
        smooth: Seconds of the window that means are taken over; "as-trained" for each
            model's own smoothing; "none".
        adaptive: Whether the rule in the model's card chose the frames to embed: with
            "as-trained" it also makes the scores, as in evaluation.
        calibrated: Whether probabilities, those before smoothing too, are brought to
            how often they come true, where the models' cards say how.
        max_gap_s: Seconds that a filled gap may last.

    Raises:
        ValueError: If smoothing is to be as trained and an extractor's own outputs are
            among the models, or features are missing.
    """
    spans = [
        runs_of(face.track.frame, times_s, first_frame=first_frame, max_gap_s=max_gap_s)
        for face in faces
    ]
    way = _Way(spans, fps, smooth, adaptive, calibrated)
    if smooth == "as-trained" and model.own:
        raise ValueError(
            f"--smooth as-trained with {model.own[0].name}, for which no smoothing was "
            "chosen; expected a trained head: give seconds, or none"
        )
    if not faces:
        return ()
    by_task: dict[str, _TaskFrames] = {}
    for own in model.own:
        for part in own.tasks:
            by_task[part.task.name] = _own_frames(own, part, faces, way)
    hearing = False
    for heads in model.heads:
        used = heads
        if heads.silent is not None and not has_sound(heads.models, faces):
            used = heads.silent
        hearing |= has_sound(used.models, faces)
        by_task[heads.task.name] = _head_frames(used, faces, way, model)
    order = [task.name for task in model.tasks]
    return tuple(
        _predicted(
            face,
            spans[i],
            {name: by_task[name].raw[i] for name in order},
            {name: by_task[name].scores[i] for name in order},
            {
                beside: {
                    name: found[i]
                    for name in order
                    if (found := getattr(by_task[name], beside)) is not None
                }
                for beside in ("spread", "sets", "disagreement")
            },
            hearing=hearing,
        )
        for i, face in enumerate(faces)
    )


def _own_frames(
    own: OwnOutputs, part: OutputTask, faces: Sequence[EmbeddedFace], way: _Way
) -> _TaskFrames:
    """Scores of one task by an extractor's own outputs."""
    for face in faces:
        if own.set_name not in face.outputs:
            raise ValueError(
                f"face {face.face_id} has no outputs of {own.set_name}; expected those "
                f"of its frames: embed them by {own.name}"
            )
    scores = [part.scores(face.outputs[own.set_name]) for face in faces]
    rows = ScoredRows(
        part.task,
        np.repeat(np.arange(len(faces)), [len(face.frame) for face in faces]),
        np.concatenate(
            [
                face.frame - span.first
                for face, span in zip(faces, way.spans, strict=True)
            ]
        ),
        np.concatenate(scores)[None, None],
    )
    split = run_scores(rows, way.spans, fps=way.fps)
    (raw,), (smoothed,) = _dense(split, split.scores[0], (_smoothing(way),))
    has_rows = np.asarray(split.fill_map.has_rows)
    return _TaskFrames(
        by_face(raw, has_rows, way.spans), by_face(smoothed, has_rows, way.spans)
    )


def _head_frames(
    heads: TaskHeads,
    faces: Sequence[EmbeddedFace],
    way: _Way,
    model: PredictionModel,
) -> _TaskFrames:
    """Scores of one task by trained models: means over all of their seeds."""
    raw, smoothed = [], []
    for one, selection in zip(heads.models, heads.selections, strict=True):
        rows = head_rows(one, faces, way.spans, fps=way.fps, programs=model.programs)
        before, after, has_rows = _finished(one, selection, rows, way)
        for seed in range(len(before)):
            raw.append(by_face(before[seed], has_rows, way.spans))
            smoothed.append(by_face(after[seed], has_rows, way.spans))
    each = range(len(faces))
    unsmoothed = [np.mean([s[i] for s in raw], axis=0) for i in each]
    scores = [np.mean([s[i] for s in smoothed], axis=0) for i in each]
    fitted, sets, shares = heads.certainty(way.smooth), None, None
    if fitted is not None and fitted.set_limits is not None:
        sets = [class_sets(own, float(fitted.set_limits[0])) for own in scores]
    if heads.task.kind == "multiclass" and len(smoothed) > 1:
        shares = [_disagreement([s[i] for s in smoothed], scores[i]) for i in each]
    if way.calibrated and fitted is not None:
        unsmoothed = _scaled(unsmoothed, fitted)
        scores = _scaled(scores, fitted)
        smoothed = [_scaled(of_seed, fitted) for of_seed in smoothed]
    spread = None
    if len(smoothed) > 1:
        spread = [np.std([s[i] for s in smoothed], axis=0, ddof=1) for i in each]
    return _TaskFrames(unsmoothed, scores, spread, sets, shares)


def _scaled(faces: FaceArrays, fitted: Certainty) -> FaceArrays:
    """Calibrated probabilities of each face."""
    return [fitted.scaled(own, 0)[0] for own in faces]


def _disagreement(
    seeds: Sequence[Float[np.ndarray, "rows classes"]],
    mean: Float[np.ndarray, "rows classes"],
) -> Float[np.ndarray, " rows"]:
    """Share of the seeds that decide otherwise than their mean; NaN without scores."""
    by_seed = np.stack([own.argmax(axis=1) for own in seeds])
    known = np.isfinite(mean).all(axis=1)
    return np.where(known, disagreement(by_seed, mean.argmax(axis=1)), np.nan)


def _finished(
    model: Model, selection: Selection, rows: ScoredRows, way: _Way
) -> tuple[
    Float[np.ndarray, "seeds frames outputs"],
    Float[np.ndarray, "seeds frames outputs"],
    Bool[np.ndarray, " frames"],
]:
    """Scores of the runs' frames before and after smoothing; which runs have rows."""
    options, trained = model.options, way.smooth == "as-trained"
    split = run_scores(
        rows,
        way.spans,
        fps=way.fps,
        faithful=trained and options.faithful,
        causal=options.causal,
    )
    corrected = corrected_rows(split, selection)
    chosen = selection.smoothings
    if not trained:
        chosen = (_smoothing(way),) * len(corrected)
    raw, smoothed = _dense(split, corrected, chosen, model, selection)
    has_rows = np.asarray(split.fill_map.has_rows)
    if not trained:
        return raw, smoothed, has_rows
    unsmoothed = smoothable(model.task, corrected, selection.raw_thresholds, options)
    if way.adaptive:
        return raw, _ruled(split, unsmoothed, selection), has_rows
    if unsmoothed is not corrected:
        _, smoothed = _dense(split, unsmoothed, chosen, model, selection)
    return raw, smoothed, has_rows


def _dense(
    split: SplitScores,
    rows: Float[np.ndarray, "seeds rows outputs"],
    smoothings: Sequence[Smoothing],
    model: Model | None = None,
    selection: Selection | None = None,
) -> tuple[
    Float[np.ndarray, "seeds frames outputs"], Float[np.ndarray, "seeds frames outputs"]
]:
    """Scores of every frame by each seed: not smoothed, and smoothed.

    Args:
        split: The rows as a split.
        rows: Scores of its rows.
        smoothings: Smoothing of each seed.
        model: The model, by which windows may end with their own frame; None: they
            have two sides.
        selection: What was chosen for the model, by which the extractor may be
            trusted; None: it is not.
    """
    found = smoothed_frames(
        split.task,
        rows,
        split.fill_map,
        [(NO_SMOOTHING, smoothing) for smoothing in smoothings],
        causal=model is not None and model.options.causal,
        trusted=None if selection is None else trusted_of(split, selection),
    )
    raw, smoothed = zip(*(map(np.asarray, pair) for pair in found), strict=True)
    return np.stack(raw), np.stack(smoothed)


def _ruled(
    split: SplitScores,
    unsmoothed: Float[np.ndarray, "seeds rows outputs"],
    selection: Selection,
) -> Float[np.ndarray, "seeds frames outputs"]:
    """Scores by the rule of each seed, which the frames were embedded by."""
    return np.asarray(by_rules(split, selection, unsmoothed).dense)


def _smoothing(way: _Way) -> Smoothing:
    """The smoothing in frames, of what is given in seconds or not at all."""
    if way.smooth == "none":
        return NO_SMOOTHING
    assert not isinstance(way.smooth, str)
    return mean_over(way.smooth, way.fps)


def _predicted(
    face: EmbeddedFace,
    span: FaceRuns,
    raw: dict[str, Float[np.ndarray, "rows _"]],
    scores: dict[str, Float[np.ndarray, "rows _"]],
    beside: dict[str, dict[str, np.ndarray]],
    *,
    hearing: bool,
) -> PredictedFace:
    """One face over its span.

    Args:
        face: The face.
        span: Its span and runs.
        raw: Scores before smoothing, by task.
        scores: Scores after smoothing, by task.
        beside: What tells how sure they are: by name of a field, by task.
        hearing: Whether sound went into any score.
    """
    seen_at = face.track.frame - span.first
    confidence = np.full(span.length, np.nan, np.float32)
    boxes = np.full((span.length, 4), np.nan, np.float32)
    confidence[seen_at], boxes[seen_at] = face.track.scores, face.track.boxes
    embedded = np.zeros(span.length, bool)
    embedded[face.frame - span.first] = True
    scored = np.zeros(span.length, bool)
    for values in raw.values():
        scored |= np.isfinite(values[:, 0])
    audio_used = None
    if hearing:
        audio_used = scored & _near_sound(face, span)
    return PredictedFace(
        face_id=face.face_id,
        frame=span.frame,
        success=span.seen,
        confidence=confidence,
        boxes=boxes,
        embedded=embedded,
        filled=scored & ~embedded,
        raw=raw,
        scores=scores,
        **beside,
        audio_used=audio_used,
        is_merged=face.is_merged,
    )


def _near_sound(face: EmbeddedFace, span: FaceRuns) -> Bool[np.ndarray, " frames"]:
    """Frames for which an embedded frame with sound is the last or the next one."""
    if not len(face.frame):
        return np.zeros(span.length, bool)
    after = np.searchsorted(face.frame, span.frame)
    before = np.searchsorted(face.frame, span.frame, side="right") - 1
    last = len(face.frame) - 1
    has = np.asarray(face.has_audio)
    return has[np.clip(after, 0, last)] | has[np.clip(before, 0, last)]
