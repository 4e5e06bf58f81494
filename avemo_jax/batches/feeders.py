"""From a frame table to batches: how a step gets the frames that its order names.

The host draws the order (``orders.py``); the device gathers the frames of a step from a
table that it holds ("resident"), or is sent them where the table is over the memory
budget ("streamed"). Both see the same batches in the same order.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import grain.python as grain
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Int

from avemo_jax.batches import sharding
from avemo_jax.batches.head_inputs import inputs_of
from avemo_jax.data.store.table import FrameTable


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


def rows_at(arrays: TableArrays, index: Any, window: int, xp: Any = jnp) -> Any:
    """The rows that ``index`` names, -1 where there is none.

    Args:
        arrays: Of numpy or jax, as ``xp`` is.
        index: Rows (..., batch), -1 for padding; or with ``window`` > 0 the first dense
            frame of each window, and first and end of its video: (..., windows, 3).
        window: Frames per window, or 0.
        xp: ``numpy`` or ``jax.numpy``.
    """
    if not window:
        return index
    dense = index[..., :1] + xp.arange(window, dtype=np.int32)
    inside = (dense >= index[..., 1:2]) & (dense < index[..., 2:3])
    dense = xp.clip(dense, 0, len(arrays.row_of) - 1)
    return xp.where(inside, arrays.row_of[dense], -1)


def inputs_at(arrays: TableArrays, rows: Any, xp: Any = jnp) -> Any:
    """Inputs of the head at ``rows`` (those of the first row where one is -1)."""
    rows = xp.maximum(rows, 0)
    x = arrays.features[rows]
    if arrays.has_audio is not None:
        flag = arrays.has_audio[rows][..., None].astype(x.dtype)
        x = xp.concatenate([x, flag], axis=-1)
    return x


def targets_at(arrays: TableArrays, rows: Any, xp: Any = jnp) -> tuple[Any, Any, Any]:
    """Labels at ``rows``, which of them count, and which are there."""
    present = rows >= 0
    rows = xp.maximum(rows, 0)
    return arrays.labels[rows], present & arrays.valid[rows], present


class ResidentFeeder:
    """The table whole on every device; a step is sent indices only."""

    def __init__(self, arrays: TableArrays, mesh: Mesh, window: int):
        """Copies ``arrays`` to the devices of ``mesh``."""
        self._mesh = mesh
        self._arrays = sharding.replicate(
            jax.tree.map(np.ascontiguousarray, arrays), mesh
        )
        self.window = window

    def chunks(self, order: Any, length: int) -> Iterator[tuple[TableArrays, Any]]:
        """What ``length`` steps after another share, and what each has of its own.

        The last chunk may be shorter.
        """
        place = place_of(order, self._mesh)
        for start in range(0, len(order), length):
            yield self._arrays, sharding.put(order[start : start + length], place)

    def spread(self, shared: TableArrays, index: Any) -> tuple[Any, ...]:
        """What a scan over the steps of a chunk goes over: all but the inputs; traced.

        The small arrays of all steps are gathered at once, so that what is computed
        with them does not depend on whether they were gathered or sent.
        """
        rows = rows_at(shared, index, self.window)
        return rows, *targets_at(shared, rows)

    def batch(self, shared: TableArrays, step: tuple[Any, ...]) -> Batch:
        """The batch of one step of what :meth:`spread` gave; traced."""
        rows, *targets = step
        return Batch(inputs_at(shared, rows), *targets)


class StreamedFeeder:
    """The table on the host, memory-mapped; batches are read ahead and sent.

    Each process reads what its own devices need. One chunk is on its way to them while
    they compute with the one before.
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

    def chunks(self, order: Any, length: int) -> Iterator[tuple[Any, Batch]]:
        """As of :class:`ResidentFeeder`; steps share nothing."""
        place = place_of(order, self._mesh)
        options = grain.ReadOptions(
            num_threads=self._threads, prefetch_buffer_size=self._threads + 1
        )
        numbers = grain.MapDataset.range(-(-len(order) // length))
        read = numbers.map(
            lambda i: self._read(order[i * length : (i + 1) * length], place)
        )
        ahead = None
        for batches in read.to_iter_dataset(options):
            placed = _joined(batches, place)
            if ahead is not None:
                yield (), ahead
            ahead = placed
        if ahead is not None:
            yield (), ahead

    def spread(self, shared: Any, steps: Batch) -> Batch:
        """As of :class:`ResidentFeeder`; the steps themselves."""
        del shared
        return steps

    def batch(self, shared: Any, step: Batch) -> Batch:
        """As of :class:`ResidentFeeder`; the step itself."""
        del shared
        return step

    def _read(
        self, index: Int[np.ndarray, "steps batch ..."], place: NamedSharding
    ) -> dict[int, Batch]:
        """Batches (steps, part of the batch, ...) by where in the batch they begin."""
        read: dict[int, Batch] = {}
        places: Any = place.addressable_devices_indices_map(index.shape[:2])
        for _, part in places.values():
            start = part.start or 0
            if start in read:
                continue
            rows = rows_at(self._arrays, index[:, part], self.window, np)
            targets = targets_at(self._arrays, rows, np)
            read[start] = Batch(inputs_at(self._arrays, rows, np), *targets)
        return read


Feeder = ResidentFeeder | StreamedFeeder


def place_of(order: Any, mesh: Mesh) -> NamedSharding:
    """Where steps (steps, batch, ...) go: the batch divided if it can be."""
    even = order.shape[1] % mesh.size == 0
    return sharding.divided(mesh, 1) if even else sharding.replicated(mesh)


def _joined(parts: dict[int, Batch], place: NamedSharding) -> Batch:
    """The parts of this process's devices as a part of the whole batch, on them."""
    whole = place.is_fully_replicated

    def join(*leaves: np.ndarray) -> jax.Array:
        by_start = dict(zip(parts, leaves, strict=True))
        steps, length, *rest = leaves[0].shape
        length *= 1 if whole else place.mesh.size

        def part_at(at: Any) -> np.ndarray:
            return by_start[at[1].start or 0]

        return jax.make_array_from_callback((steps, length, *rest), place, part_at)

    return jax.tree.map(join, *parts.values())


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
