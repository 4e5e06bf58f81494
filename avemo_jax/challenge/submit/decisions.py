"""The value of every row of a submission; frames without a prediction are filled.

Scores are filled by the gap rule: before a video's first prediction and after its last
one they are theirs, between two predictions they are interpolated by frame number. Then
they are decided: EXPR by the highest of the interpolated probabilities, AU by the
interpolated probability and the unit's threshold, or, where no threshold is known, by
the nearer prediction. A frame that takes its score from one prediction alone takes its
decision too. If two neighbouring predictions agree on an action unit, so do the frames
between them, since their scores are on the same side of the threshold.
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from avemo_jax.challenge.submit.predictions import check_thresholds
from avemo_jax.challenge.submit.rows import SubmissionRows, listed
from avemo_jax.data.listing import nfc
from avemo_jax.data.predictions.frames import FramePredictions
from avemo_jax.postprocess.gaps import FillMap, fill, make_fill_map
from avemo_jax.postprocess.smoothed_frames import neutral_score
from avemo_jax.tasks import EXPR, VA

# Equal to those of predictions.csv, so that writing loses nothing.
DECIMALS = 6


@dataclasses.dataclass(frozen=True)
class Decisions:
    """The values of a submission's rows, and what had to be filled or clipped.

    Attributes:
        values: EXPR: int8 classes 0-7, (rows, 1); AU: int8 0 or 1, (rows, 12); VA:
            float64 in [-1, 1] rounded to ``DECIMALS``, (rows, 2).
        filled: Which rows have no prediction of their own.
        without: Listed videos without any prediction; their rows are neutral.
        unseen: Listed videos whose predictions are all filled, as in a video without
            features.
        surplus_videos: Videos that have predictions and are not listed.
        surplus_frames: How many predictions of listed videos are for frames that have
            no row.
        clipped: How many values of VA were outside of [-1, 1].
        crossing: How many values of AU are between two predictions that are decided
            differently.
        thresholds: AU: the thresholds that these values were decided by; None: they
            were decided like the nearer prediction.
    """

    values: Shaped[np.ndarray, "rows columns"]
    filled: Bool[np.ndarray, " rows"]
    without: tuple[str, ...]
    unseen: tuple[str, ...]
    surplus_videos: tuple[str, ...]
    surplus_frames: int
    clipped: int = 0
    crossing: int = 0
    thresholds: Float[np.ndarray, " units"] | None = None


def decide_rows(
    predictions: FramePredictions,
    rows: SubmissionRows,
    *,
    thresholds: Float[np.ndarray, " units"] | None = None,
    fill_missing_videos: bool = False,
) -> Decisions:
    """The value of every row.

    Args:
        predictions: Scores and decisions, from ``load_predictions`` or a mean.
        rows: The rows of the submission.
        thresholds: AU: the threshold of each unit; None: the predictions' own.
        fill_missing_videos: Rows of a video without any prediction get the neutral
            value (class 0, inactive, 0.0) instead of an error.

    Raises:
        ValueError: If a listed video has no prediction, or the thresholds do not fit
            the decisions.
    """
    places = {nfc(video): i for i, video in enumerate(rows.videos)}
    place = np.array([places.get(v, -1) for v in predictions.videos], np.int64)
    position = place[predictions.video]
    taken = np.argsort(position, kind="stable")  # frames ascend within a video
    taken = taken[position[taken] >= 0]
    position = position[taken]
    counts = np.bincount(position, minlength=len(rows.videos))
    without = tuple(v for v, n in zip(rows.videos, counts, strict=True) if not n)
    if without and not (fill_missing_videos and len(taken)):
        raise ValueError(
            f"{predictions.path} has no prediction of {listed(without)} of "
            f"{len(rows.videos)} listed; expected every listed video: predict them "
            "first (avemo evaluate --split=test), or correct the names in the list"
        )
    frame = predictions.frame[taken]
    num_frames = np.zeros(len(rows.videos), np.int64)
    np.maximum.at(num_frames, rows.video, rows.frame)
    np.maximum.at(num_frames, position, frame)
    fill_map = make_fill_map(
        frame, np.concatenate([[0], np.cumsum(counts)]), num_frames
    )
    wanted = (np.cumsum(num_frames) - num_frames)[rows.video] + rows.frame - 1
    used = np.zeros(fill_map.num_frames, bool)
    used[wanted] = True
    owned = np.bincount(position, predictions.own[taken], len(rows.videos))
    found = Decisions(
        values=np.zeros((len(wanted), 0)),
        filled=np.asarray(fill_map.filled)[wanted],
        without=without,
        unseen=tuple(
            video
            for video, n, own in zip(rows.videos, counts, owned, strict=True)
            if n and not own
        ),
        surplus_videos=tuple(v for v in predictions.videos if v not in places),
        surplus_frames=int((~np.asarray(fill_map.filled) & ~used).sum()),
    )
    return _with_values(found, predictions, taken, fill_map, wanted, thresholds)


def _with_values(
    found: Decisions,
    predictions: FramePredictions,
    taken: Int[np.ndarray, " taken"],
    fill_map: FillMap,
    wanted: Int[np.ndarray, " rows"],
    thresholds: Float[np.ndarray, " units"] | None,
) -> Decisions:
    """``found`` with the values of the submission's rows.

    Args:
        found: The decisions without their values.
        predictions: Scores and decisions.
        taken: Indices of the predictions that the fill map was made for.
        fill_map: How frames without a prediction are filled.
        wanted: The place of each row among the frames of the fill map.
        thresholds: AU: the threshold of each unit; None: the predictions' own.

    Raises:
        ValueError: If the thresholds given are not those of the decisions.
    """
    task = predictions.task
    scores = predictions.values[taken]
    neutral = neutral_score(task)
    dense = np.asarray(fill(scores.astype(np.float32), fill_map, neutral=neutral))[
        wanted
    ]
    before, after = (
        np.asarray(fill_map.prev_row)[wanted],
        np.asarray(fill_map.next_row)[wanted],
    )
    alone = (before == after) & np.asarray(fill_map.has_rows)[wanted]
    if predictions.decided is None:
        exact = dense.astype(np.float64)
        exact[alone] = scores[before[alone]]
        low, high = VA.score_range
        clipped = int(((exact < low) | (exact > high)).sum())
        exact = np.round(np.clip(exact, low, high), DECIMALS)
        return dataclasses.replace(found, values=exact, clipped=clipped)
    decided = predictions.decided[taken]
    if task is EXPR:
        values = dense.argmax(axis=1).astype(np.int8)[:, None]
        values[alone] = decided[before[alone]]
        return dataclasses.replace(found, values=values)
    has_rows = np.asarray(fill_map.has_rows)[wanted][:, None]
    values = np.where(has_rows, decided[before], np.int8(0))
    crossing = has_rows & (decided[before] != decided[after])
    limits = thresholds
    if limits is None:
        limits = predictions.thresholds
    else:
        check_thresholds(predictions, limits)
    if limits is None:
        nearer_after = np.asarray(fill_map.weight)[wanted][:, None] > 0.5
        active = np.where(nearer_after, decided[after], decided[before])
    else:
        active = dense >= limits.astype(np.float32)
    values = np.where(crossing, active, values).astype(np.int8)
    return dataclasses.replace(
        found, values=values, crossing=int(crossing.sum()), thresholds=limits
    )
