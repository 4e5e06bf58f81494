"""From which rows each frame of a video takes its scores, by numpy alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

if TYPE_CHECKING:
    from jaxtyping import Array  # loads JAX, which scoring of files does without


class FillMap(NamedTuple):
    """From which rows each dense frame takes its scores.

    The dense frames are the frames 1 .. num_frames of every video, one video after
    the other. A pytree: it goes through ``jax.jit`` as an argument.

    Attributes:
        prev_row: The used row at or before the frame; before the first, that one.
        next_row: The used row at or after the frame; after the last, that one.
        weight: Share of ``next_row``, in [0, 1]; 0 where the frame is held or has a
            used row of its own.
        filled: Frames that have no used row of their own.
        lo: Where the frame's sequence begins among the dense frames.
        hi: One past the end of the frame's sequence. Windows are cut at both.
        has_rows: False for all frames of a video without any used row; their scores
            are ``fill``'s ``neutral``, and the caller reports them.
    """

    prev_row: Int[Array | np.ndarray, " frames"]
    next_row: Int[Array | np.ndarray, " frames"]
    weight: Float[Array | np.ndarray, " frames"]
    filled: Bool[Array | np.ndarray, " frames"]
    lo: Int[Array | np.ndarray, " frames"]
    hi: Int[Array | np.ndarray, " frames"]
    has_rows: Bool[Array | np.ndarray, " frames"]

    @property
    def num_frames(self) -> int:
        """Dense frames of all videos together."""
        return self.filled.shape[0]


def make_fill_map(
    frame: Int[np.ndarray, " rows"],
    row_offsets: Int[np.ndarray, " offsets"],
    num_frames: Int[np.ndarray, " videos"],
    *,
    faithful: bool = False,
    used: Bool[np.ndarray, " rows"] | None = None,
) -> FillMap:
    """How the dense frames of all videos are filled from the rows at hand.

    Scores are held before a video's first used row and after its last one, and
    interpolated by frame number between two.

    Args:
        frame: 1-based frame numbers, ascending within a video.
        row_offsets: Video i has the rows ``row_offsets[i] : row_offsets[i + 1]``.
        num_frames: Length of each video, at least its last row's frame number.
        faithful: Fill like the original: the interpolation's weights are swapped, and
            windows are cut at the last used row. The frames after it, which the
            original does not score, hold its scores as a sequence of their own.
        used: True for rows to take scores from; the original takes those with a valid
            label. None: all rows.

    Raises:
        ValueError: If frame numbers do not ascend from 1 to ``num_frames``, or the
            offsets do not fit the rows, or there are over 2^31 - 1 frames.
    """
    _check(frame, row_offsets, num_frames)
    rows = np.arange(len(frame)) if used is None else np.flatnonzero(used)
    dense_offsets = np.concatenate([[0], np.cumsum(num_frames, dtype=np.int64)])
    video_of_row = np.repeat(np.arange(len(num_frames)), np.diff(row_offsets))
    # where the used rows lie among the dense frames, ascending
    position = dense_offsets[video_of_row[rows]] + frame[rows] - 1
    # the used rows of video i are rows[first[i] : first[i + 1]]
    first = np.searchsorted(rows, row_offsets)
    video = np.repeat(np.arange(len(num_frames)), num_frames)
    index = np.arange(dense_offsets[-1])
    lo, hi = dense_offsets[:-1][video], dense_offsets[1:][video]
    has_rows = (np.diff(first) > 0)[video]
    if len(rows) == 0:  # so that the look-ups below find something
        rows, position = np.zeros(1, np.int64), np.full(1, -1)
    # the last used row at or before the frame, the first at or after it, in its video
    begin, end = first[:-1][video], np.maximum(first[1:][video] - 1, 0)
    before = np.clip(np.searchsorted(position, index, side="right") - 1, begin, end)
    after = np.clip(np.searchsorted(position, index, side="left"), begin, end)
    before, after = np.where(has_rows, before, 0), np.where(has_rows, after, 0)
    gap = position[after] - position[before]
    weight = np.where(gap > 0, (index - position[before]) / np.maximum(gap, 1), 0.0)
    if faithful:
        weight = np.where(gap > 0, 1.0 - weight, 0.0)
        stop = np.where(has_rows, position[end] + 1, hi)
        lo, hi = np.where(index >= stop, stop, lo), np.where(index < stop, stop, hi)
    return FillMap(
        prev_row=rows[before].astype(np.int32),
        next_row=rows[after].astype(np.int32),
        weight=weight.astype(np.float32),
        filled=~np.isin(index, position),
        lo=lo.astype(np.int32),
        hi=hi.astype(np.int32),
        has_rows=has_rows,
    )


def _check(
    frame: Int[np.ndarray, " rows"],
    row_offsets: Int[np.ndarray, " offsets"],
    num_frames: Int[np.ndarray, " videos"],
) -> None:
    """Raise ValueError unless rows, offsets and lengths fit each other."""
    total = int(num_frames.sum(dtype=np.int64))
    if total > np.iinfo(np.int32).max:
        raise ValueError(
            f"{total} frames in one fill map; expected at most 2^31 - 1; split the "
            "videos"
        )
    counts = np.diff(row_offsets)
    if row_offsets[0] != 0 or row_offsets[-1] != len(frame) or (counts < 0).any():
        raise ValueError(
            f"row offsets from {row_offsets[0]} to {row_offsets[-1]} for {len(frame)} "
            "rows; expected ascending ones from 0 to the number of rows; take all "
            "three arguments from one frame table"
        )
    video = np.repeat(np.arange(len(counts)), counts)
    bad = (frame < 1) | (frame > num_frames[video])
    bad[1:] |= (video[1:] == video[:-1]) & (frame[1:] <= frame[:-1])
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(
            f"row {row} has frame number {frame[row]} in a video of "
            f"{num_frames[video[row]]} frames; expected numbers that ascend from 1 to "
            "the video's length; sort the rows by video and frame"
        )
