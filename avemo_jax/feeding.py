"""From a frame table to batches: which frames each step sees, and how it gets them.

The host draws a plan (indices of every step); the device gathers the frames of a step
from a table that it holds ("resident"), or is sent them where the table is over the
memory budget ("streamed"). Both see the same batches in the same order.
"""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import grain.python as grain
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Int

from avemo_jax import sharding
from avemo_jax.data.table import FrameTable
from avemo_jax.inputs import inputs_of


class Batch(NamedTuple):
    """Frames (batch,), or windows of them (windows, T), of one step.

    Attributes:
        x: Inputs (..., dim): features, float16, or outputs, float32.
        labels: Of each frame, as the task has them.
        counts: Frames that count in the loss.
        present: Frames that are there (padding and missing crops are not).
    """

    x: Any
    labels: Any
    counts: Any
    present: Any


class TableArrays(NamedTuple):
    """What a step gathers from; arrays of numpy or of jax.

    Attributes:
        features: (rows, dim), float16; or the extractors' outputs, float32.
        has_audio: (rows,), or None where heads do not see it.
        labels: (rows, ...).
        valid: (rows,).
        row_of: (frames,) row of each dense frame, -1 where there is none; None where
            no windows are asked for.
    """

    features: Any
    has_audio: Any
    labels: Any
    valid: Any
    row_of: Any


def table_arrays(
    table: FrameTable, *, windows: bool, audio_flag: bool, inputs: str = "features"
) -> TableArrays:
    """The arrays of ``table`` that batches are made of."""
    x = inputs_of(table, inputs)
    row_of = None
    if windows:
        row_of = np.full(int(table.num_frames.sum()), -1, np.int32)
        row_of[table.dense_index] = np.arange(table.num_rows, dtype=np.int32)
    has_audio = table.has_audio if audio_flag else None
    return TableArrays(x, has_audio, table.labels, table.valid, row_of)


def rows_of(arrays: TableArrays, index: Any, window: int, xp: Any = jnp) -> Any:
    """The rows that ``index`` names, -1 where there is none.

    Args:
        arrays: Of numpy or jax, as ``xp`` is.
        index: Rows (batch,), -1 for padding; or with ``window`` > 0 the first dense
            frame of each window, and first and end of its video: (windows, 3).
        window: Frames per window, or 0.
        xp: ``numpy`` or ``jax.numpy``.
    """
    if not window:
        return index
    dense = index[:, :1] + xp.arange(window, dtype=np.int32)
    inside = (dense >= index[:, 1:2]) & (dense < index[:, 2:3])
    dense = xp.clip(dense, 0, len(arrays.row_of) - 1)
    return xp.where(inside, arrays.row_of[dense], -1)


def gather(arrays: TableArrays, index: Any, window: int) -> Batch:
    """The batch that ``index`` names, see :func:`rows_of`; traced."""
    rows = rows_of(arrays, index, window)
    present = rows >= 0
    rows = jnp.maximum(rows, 0)
    x = arrays.features[rows]
    if arrays.has_audio is not None:
        flag = arrays.has_audio[rows][..., None].astype(x.dtype)
        x = jnp.concatenate([x, flag], axis=-1)
    return Batch(x, arrays.labels[rows], present & arrays.valid[rows], present)


# --- Plans: the indices of every step -------------------------------------------------


def epoch_rng(order_seed: int, epoch: int) -> np.random.Generator:
    """The generator of one epoch's order, the same wherever a run is resumed."""
    return np.random.Generator(np.random.Philox(key=[order_seed, epoch]))


@dataclasses.dataclass(frozen=True)
class FramePlan:
    """Batches of single frames, in a fresh order each epoch.

    Attributes:
        table: Whose valid rows are the examples.
        batch_size: Frames per step.
        order_seed: Of the order.
        frames_per_video: Drawn per video and epoch; 0 takes all.
    """

    table: FrameTable
    batch_size: int
    order_seed: int
    frames_per_video: int = 0

    @property
    def num_examples(self) -> int:
        """Frames in an epoch, before the last incomplete batch is left out."""
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
        return self.num_examples // self.batch_size

    def epoch(self, epoch: int) -> Int[np.ndarray, "steps batch"]:
        """Rows of each step of ``epoch`` (from 0)."""
        rng = epoch_rng(self.order_seed, epoch)
        order = rng.permutation(np.flatnonzero(self.table.valid).astype(np.int32))
        if self.frames_per_video:
            video = self.table.video_of_row[order]
            by_video = np.argsort(video, kind="stable")
            starts = np.searchsorted(video[by_video], np.arange(len(self.table.videos)))
            rank = np.empty(len(order), np.int64)
            rank[by_video] = np.arange(len(order)) - starts[video[by_video]]
            order = order[rank < self.frames_per_video]
        order = order[: self.num_steps * self.batch_size]
        return order.reshape(self.num_steps, self.batch_size)


@dataclasses.dataclass(frozen=True)
class WindowPlan:
    """Batches of windows of consecutive frames, in a fresh order and phase each epoch.

    Attributes:
        table: Whose videos are cut into windows.
        batch_size: Frames per step, a multiple of ``window``.
        order_seed: Of order and phase.
        window: Frames per window.
        stride: Frames from one window to the next.
    """

    table: FrameTable
    batch_size: int
    order_seed: int
    window: int
    stride: int

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
        return self.num_windows // self.windows_per_step

    def epoch(self, epoch: int) -> Int[np.ndarray, "steps windows 3"]:
        """First dense frame, and first and end of its video, of each window."""
        rng = epoch_rng(self.order_seed, epoch)
        lengths = self.table.num_frames
        phases = rng.integers(0, min(self.stride, self.window), len(lengths))
        windows = video_windows(self.table, self.stride, phases)
        useful = _windows_with_labels(self.table, windows, self.window)
        windows = rng.permutation(windows[useful])
        needed = self.num_steps * self.windows_per_step
        windows = np.resize(windows, (needed, 3))  # begins again where too few
        return windows.reshape(self.num_steps, self.windows_per_step, 3)


def video_windows(
    table: FrameTable, stride: int, phases: Int[np.ndarray, " videos"]
) -> Int[np.ndarray, "windows 3"]:
    """Windows that begin ``phase`` frames before each video, then every ``stride``.

    Each row is the first dense frame (may lie before the video), and the first and
    the end of the video among the dense frames.
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


# --- Feeders: how a step gets its batch -----------------------------------------------


class ResidentFeeder:
    """The table whole on every device; a step is sent indices only."""

    def __init__(self, arrays: TableArrays, mesh: Mesh, window: int):
        """Copies ``arrays`` to the devices of ``mesh``."""
        self._mesh = mesh
        self._arrays = sharding.replicate(
            jax.tree.map(np.ascontiguousarray, arrays), mesh
        )
        self.window = window

    def chunks(self, plan: Any, length: int) -> Iterator[tuple[TableArrays, Any]]:
        """What ``length`` steps after another gather from, and their indices.

        The last chunk may be shorter.
        """
        for start in range(0, len(plan), length):
            index = plan[start : start + length]
            yield self._arrays, _put_steps(index, self._mesh)


class StreamedFeeder:
    """The table on the host, memory-mapped; what chunks need of it is read ahead.

    A chunk is sent as a small table of its own with indices into it, so that the same
    program runs as on a resident table.
    """

    def __init__(self, arrays: TableArrays, mesh: Mesh, window: int, threads: int = 2):
        """Keeps ``arrays`` where they are.

        Args:
            arrays: Features may be a memory map.
            mesh: Where the batches go.
            window: Frames per window, or 0.
            threads: That read ahead.
        """
        self._arrays = arrays
        self._mesh = mesh
        self._threads = threads
        self.window = window

    def chunks(self, plan: Any, length: int) -> Iterator[tuple[TableArrays, Any]]:
        """As of :class:`ResidentFeeder`."""
        options = grain.ReadOptions(
            num_threads=self._threads, prefetch_buffer_size=self._threads + 1
        )
        numbers = grain.MapDataset.range(-(-len(plan) // length))
        read = numbers.map(lambda i: self._read(plan[i * length : (i + 1) * length]))
        for arrays, index in read.to_iter_dataset(options):
            yield sharding.replicate(arrays, self._mesh), _put_steps(index, self._mesh)

    def _read(self, index: Int[np.ndarray, "steps batch ..."]) -> Any:
        """The part of the table that ``index`` names, and indices into that part."""
        flat = index.reshape(-1, *index.shape[2:])
        rows = rows_of(self._arrays, flat, self.window, np)
        order = np.arange(rows.size, dtype=np.int32)
        local = np.where(rows.ravel() >= 0, order, -1).astype(np.int32)
        picked = np.maximum(rows.ravel(), 0)
        features, has_audio, labels, valid, _ = self._arrays
        arrays = TableArrays(
            features[picked],
            None if has_audio is None else has_audio[picked],
            labels[picked],
            valid[picked],
            local if self.window else None,
        )
        if not self.window:
            return arrays, local.reshape(index.shape)
        starts = np.arange(len(flat), dtype=np.int32) * self.window
        windows = np.stack([starts, starts, starts + self.window], axis=1)
        return arrays, windows.reshape(index.shape)


Feeder = ResidentFeeder | StreamedFeeder


def _put_steps(index: Any, mesh: Mesh) -> Any:
    """Indices (steps, batch, ...) to the devices, the batch divided if it can be."""
    even = index.shape[1] % mesh.size == 0
    place = sharding.divided(mesh, 1) if even else sharding.replicated(mesh)
    return jax.device_put(index, place)


def make_feeder(
    table: FrameTable,
    mesh: Mesh,
    *,
    window: int,
    audio_flag: bool,
    resident: bool,
    inputs: str = "features",
) -> Feeder:
    """The feeder of ``table``: ``resident`` on the devices, or streamed to them."""
    arrays = table_arrays(
        table, windows=bool(window), audio_flag=audio_flag, inputs=inputs
    )
    kind = ResidentFeeder if resident else StreamedFeeder
    return kind(arrays, mesh, window)
