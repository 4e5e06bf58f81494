"""Predictions side by side with annotations, frame by frame, and what does not fit."""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped

from avemo_jax.challenge.score.truth import Truth
from avemo_jax.data.predictions.frames import FramePredictions, decisions_of
from avemo_jax.media.file_endings import MEDIA_ENDINGS, ending_of, without_endings
from avemo_jax.postprocess.fill_map import FillMap, make_fill_map
from avemo_jax.tasks import AU, EXPR, VA


@dataclasses.dataclass(frozen=True)
class Matched:
    """What was predicted for every annotated frame.

    Attributes:
        predicted: EXPR: classes (frames,); AU: 0 or 1 (frames, 12); VA: values
            (frames, 2).
        own: Which frames have a prediction of their own; the others are filled: between
            two predictions by frame number, before the first and after the last with
            these.
        coverage: Counts and names of what is missing or surplus.
    """

    predicted: Shaped[np.ndarray, "frames ..."]
    own: Bool[np.ndarray, " frames"]
    coverage: dict[str, Any]


def match(
    truth: Truth,
    found: FramePredictions,
    thresholds: Float[np.ndarray, " units"] | None = None,
) -> Matched:
    """Predictions of every annotated frame, in the order of the annotations.

    Where a file has no probabilities, gaps are filled by the nearest decision; a video
    without any prediction is class 0, no unit active, or 0.

    Args:
        truth: The annotations.
        found: The predictions.
        thresholds: AU: the threshold of each unit's probability; None: the file's own
            decisions are taken, and between them its own thresholds, or 0.5.

    Raises:
        ValueError: If no annotated video is predicted.
    """
    index = {video: i for i, video in enumerate(truth.videos)}
    place = np.array([index.get(video, -1) for video in found.videos], np.int64)
    if (place < 0).all():
        _nothing_in_common(truth, found)
    rows = np.flatnonzero(found.own & (place[found.video] >= 0))
    # Names are sorted on both sides, so that rows stay in order.
    video, frame = place[found.video[rows]], found.frame[rows]
    labelled = np.diff(truth.offsets)
    length = labelled.copy()
    np.maximum.at(length, video, frame)
    counts = np.bincount(video, minlength=len(labelled))
    fill_map = make_fill_map(frame, np.concatenate([[0], np.cumsum(counts)]), length)
    begin = np.repeat(np.cumsum(length) - length - truth.offsets[:-1], labelled)
    dense = np.arange(truth.offsets[-1]) + begin
    fill_map = FillMap(*(np.asarray(each)[dense] for each in fill_map))
    own = ~np.asarray(fill_map.filled)
    return Matched(
        predicted=_decisions(found, rows, fill_map, thresholds),
        own=own,
        coverage=_coverage(truth, found, place, counts, video, frame, own),
    )


def _decisions(
    found: FramePredictions,
    rows: np.ndarray,
    fill_map: FillMap,
    thresholds: Float[np.ndarray, " units"] | None,
) -> Shaped[np.ndarray, "frames ..."]:
    """The decision (VA: the value) in every frame of the fill map.

    Args:
        found: The predictions.
        rows: Those of the predictions that the fill map was made for.
        fill_map: How frames without a prediction are filled.
        thresholds: AU: the threshold of each unit; None: the file's decisions, and
            between them its thresholds, or 0.5.
    """
    scores = None if found.scores is None else found.scores[rows]
    decided = None if found.decided is None else found.decided[rows]
    is_class = found.task is EXPR
    if thresholds is not None and scores is not None and found.task is AU:
        decided = decisions_of(AU, scores, thresholds)
    before, after = np.asarray(fill_map.prev_row), np.asarray(fill_map.next_row)
    near = np.where(np.asarray(fill_map.weight) <= 0.5, before, after)
    there = np.asarray(fill_map.has_rows)
    if scores is None:
        assert decided is not None
        nearest = np.where(there[:, None], decided[near] if len(rows) else 0, 0)
        return nearest[:, 0] if is_class else nearest
    dense = scores[before] + np.asarray(fill_map.weight, np.float64)[:, None] * (
        scores[after] - scores[before]
    )
    dense[~there] = 0
    if found.task is VA:
        return dense
    limits = found.thresholds if thresholds is None else thresholds
    value = decisions_of(found.task, dense, limits)
    assert value is not None
    if decided is not None:
        value = np.where((before == after)[:, None], decided[before], value)
        value = np.where(there[:, None], value, np.int8(0))
    return value[:, 0] if is_class else value


def _nothing_in_common(truth: Truth, found: FramePredictions) -> None:
    """Raise ``ValueError``: no annotated video is predicted; say what may be wrong."""
    instead = "correct the names, or give the annotations of these videos"
    if set(found.videos) & truth.others:
        instead = "they are of another set: pass --split all, or another --split-list"
    elif named := [v for v in found.videos if ending_of(v) in MEDIA_ENDINGS]:
        instead = f"write names without endings, as {without_endings(named[0])!r}"
    raise ValueError(
        f"{found.path}: none of its {len(found.videos)} videos "
        f"({', '.join(found.videos[:3])}, ...) is among the {len(truth.videos)} "
        f"annotated ones ({', '.join(truth.videos[:3])}, ...); expected predictions of "
        f"these: {instead}"
    )


def _coverage(
    truth: Truth,
    found: FramePredictions,
    place: np.ndarray,
    counts: np.ndarray,
    video: np.ndarray,
    frame: np.ndarray,
    own: np.ndarray,
) -> dict[str, Any]:
    """Counts and names of what fits, is missing or surplus, and differs in length."""
    labelled = np.diff(truth.offsets)
    last = np.zeros(len(labelled), np.int64)
    np.maximum.at(last, video, frame)
    more = np.where(counts > 0, last - labelled, 0)
    names = np.array(truth.videos, object)
    return {
        "videos": len(truth.videos),
        "videos_predicted": int((counts > 0).sum()),
        "videos_missing": names[counts == 0].tolist(),
        "videos_surplus": [
            name for name, at in zip(found.videos, place, strict=True) if at < 0
        ],
        "labelled_frames": int(truth.valid.sum()),
        "labelled_frames_predicted": int((truth.valid & own).sum()),
        "labelled_frames_missing": int((truth.valid & ~own).sum()),
        "frames_after_the_last_label": int((frame > labelled[video]).sum()),
        "filled_in_the_file": int((~found.own).sum()),
        "videos_one_frame_longer": names[more == 1].tolist(),
        "videos_one_frame_shorter": names[more == -1].tolist(),
        "videos_longer_by_more": names[more > 1].tolist(),
    }
