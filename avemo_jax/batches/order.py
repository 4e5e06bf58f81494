"""The order of an epoch: which rows, or windows of frames, each step sees.

An epoch is one pass over the training frames, or several where they are few.

The host draws it from the table and a seed alone, so that all processes of a run, and a
run that is resumed, draw the same order.

A dense frame is a frame counted over all frames of all videos, with a row or without.
"""

import dataclasses
import functools
from typing import Any

import numpy as np
from jaxtyping import Int

from avemo_jax.data.store.table import FrameTable


def pass_rng(order_seed: int, number: int) -> np.random.Generator:
    """The random generator of one pass' order, the same when a run is resumed."""
    return np.random.Generator(np.random.Philox(key=[order_seed, number]))


@dataclasses.dataclass(frozen=True)
class FrameOrder:
    """Batches of single frames, in a fresh order each epoch.

    Attributes:
        table: Table whose valid rows are drawn.
        batch_size: Frames per step.
        order_seed: Seed that the order is drawn from.
        frames_per_video: Most frames that a pass draws from a video; 0: all.
        passes: Passes over the frames in an epoch.
    """

    table: FrameTable
    batch_size: int
    order_seed: int
    frames_per_video: int = 0
    passes: int = 1

    @property
    def num_rows(self) -> int:
        """Frames in a pass."""
        counts = np.bincount(
            self.table.video_of_row[self.table.valid],
            minlength=len(self.table.videos),
        )
        if self.frames_per_video:
            counts = np.minimum(counts, self.frames_per_video)
        return int(counts.sum())

    @property
    def num_steps(self) -> int:
        """Steps of an epoch."""
        return self.num_rows * self.passes // self.batch_size

    def epoch(self, epoch: int) -> Int[np.ndarray, "steps batch"]:
        """Rows of each step of ``epoch`` (from 0), in whole batches."""
        passes = range(epoch * self.passes, (epoch + 1) * self.passes)
        order = np.concatenate([self._rows(one) for one in passes])
        order = order[: self.num_steps * self.batch_size]
        return order.reshape(self.num_steps, self.batch_size)

    def _rows(self, number: int) -> Int[np.ndarray, " rows"]:
        """The rows of one pass, counted from 0 over all epochs."""
        rng = pass_rng(self.order_seed, number)
        order = rng.permutation(np.flatnonzero(self.table.valid).astype(np.int32))
        if self.frames_per_video:
            video = self.table.video_of_row[order]
            by_video = np.argsort(video, kind="stable")
            starts = np.searchsorted(video[by_video], np.arange(len(self.table.videos)))
            rank = np.empty(len(order), np.int64)
            rank[by_video] = np.arange(len(order)) - starts[video[by_video]]
            order = order[rank < self.frames_per_video]
        return order


@dataclasses.dataclass(frozen=True)
class WindowOrder:
    """Batches of windows of consecutive frames, in a fresh order and phase each epoch.

    Attributes:
        table: Table whose videos are cut into windows.
        batch_size: Frames per step, a multiple of ``window``.
        order_seed: Seed that order and phase are drawn from.
        window: Frames per window.
        stride: Frames from the start of one window to the start of the next.
        passes: Passes over the videos in an epoch.
    """

    table: FrameTable
    batch_size: int
    order_seed: int
    window: int
    stride: int
    passes: int = 1

    @property
    def windows_per_step(self) -> int:
        """Windows in a batch."""
        return max(self.batch_size // self.window, 1)

    @functools.cached_property
    def num_windows(self) -> int:
        """Windows with a label in them, at phase 0."""
        windows = video_windows(
            self.table, self.stride, np.zeros(len(self.table.videos), np.int64)
        )
        useful = _windows_with_labels(self.table, windows, self.window)
        return int(useful.sum())

    @property
    def num_steps(self) -> int:
        """Steps of an epoch; a phase changes the number of windows, never this."""
        return self.num_windows * self.passes // self.windows_per_step

    def epoch(self, epoch: int) -> Int[np.ndarray, "steps windows 3"]:
        """Windows of each step of ``epoch`` (from 0).

        The last axis is the window's first dense frame, the first dense frame of its
        video and the end of the video.
        """
        passes = range(epoch * self.passes, (epoch + 1) * self.passes)
        windows = np.concatenate([self._windows(one) for one in passes])
        needed = self.num_steps * self.windows_per_step
        windows = np.resize(windows, (needed, 3))  # begins again where too few
        return windows.reshape(self.num_steps, self.windows_per_step, 3)

    def _windows(self, number: int) -> Int[np.ndarray, "windows 3"]:
        """The windows of one pass, counted from 0 over all epochs."""
        rng = pass_rng(self.order_seed, number)
        lengths = self.table.num_frames
        phases = rng.integers(0, min(self.stride, self.window), len(lengths))
        windows = video_windows(self.table, self.stride, phases)
        useful = _windows_with_labels(self.table, windows, self.window)
        found: np.ndarray = rng.permutation(windows[useful])
        return found


def video_windows(
    table: FrameTable, stride: int, phases: Int[np.ndarray, " videos"]
) -> Int[np.ndarray, "windows 3"]:
    """Windows over all videos, one every ``stride`` frames.

    Args:
        table: Table whose videos are cut.
        stride: Frames from the start of one window to the start of the next.
        phases: Frames before each video at which its first window begins.

    Returns:
        For each window its first dense frame, which may lie before the video, the first
        dense frame of the video and the end of the video.
    """
    offsets = table.dense_offsets
    counts = (table.num_frames - 1 + phases) // stride + 1
    video = np.repeat(np.arange(len(table.videos)), counts)
    nth = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    first = offsets[video] - phases[video] + nth * stride
    return np.stack([first, offsets[video], offsets[video + 1]], 1).astype(np.int32)


def _windows_with_labels(
    table: FrameTable, windows: Int[np.ndarray, "windows 3"], window: int
) -> Any:
    total = int(table.num_frames.sum())
    has_label = np.zeros(total, np.int64)
    has_label[table.dense_index[table.valid]] = 1
    before = np.concatenate([[0], np.cumsum(has_label)])
    low = np.maximum(windows[:, 0], windows[:, 1])
    high = np.minimum(windows[:, 0] + window, windows[:, 2])
    return before[high] > before[np.minimum(low, high)]


def group_size(count: int, most: int, multiple: int, *, few: bool = False) -> int:
    """How many are computed at once, so that devices can share them.

    Args:
        count: How many there are.
        most: How many at once, the most, but for rounding up.
        multiple: Number of devices; the result is rounded up to a multiple of it.
        few: The size is ``most``, or a quarter of it, or a quarter of that, and so on,
            so that groups have few sizes.
    """
    if few:
        while most // 4 >= max(count, 1):
            most //= 4
    size = most if few else min(most, count)
    return -(-size // multiple) * multiple
