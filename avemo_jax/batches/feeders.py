"""From a frame table to batches: how a step gets the frames that its order names.

The host draws the order (``order.py``). The device gathers the frames of a step from a
table that it holds ("resident"), or is sent them where the table is over the memory
budget ("streamed"). Both ways give the same batches in the same order.
"""

from collections.abc import Iterator
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Int

from avemo_jax.batches import sharding
from avemo_jax.batches.head_inputs import inputs_of
from avemo_jax.data.store.table import FrameTable


@chex.dataclass(frozen=True, mappable_dataclass=False)
class Batch:
    """One step's frames; leading axes are (batch,) or, for windows, (windows, frames).

    Attributes:
        x: Inputs of the head (..., dim): features in float16 or outputs in float32.
        labels: Labels of each frame, in the shape and type of the task.
        counts: True where a frame counts in the loss.
        present: True where there is a row; False for padding and frames without crop.
    """

    x: Any
    labels: Any
    counts: Any
    present: Any


@chex.dataclass(frozen=True, mappable_dataclass=False)
class Step:
    """A batch whose inputs still lie in the table.

    Attributes:
        rows: Row of each frame, -1 where there is none.
        labels: Labels of each frame, in the shape and type of the task.
        counts: True where a frame counts in the loss.
        present: True where there is a row.
    """

    rows: Any
    labels: Any
    counts: Any
    present: Any


@chex.dataclass(frozen=True, mappable_dataclass=False)
class TableArrays:
    """The arrays of a table, of numpy or jax, from which a step gathers its batch.

    Attributes:
        features: Inputs (rows, dim): features in float16, or the extractors' outputs
            in float32.
        has_audio: True where a row has sound (rows,); None where heads have no audio
            flag.
        labels: Labels (rows, ...).
        valid: True where a row's label counts (rows,).
        row_of: Row of each frame of all videos (frames,), -1 where it has none; None
            where heads take no windows.
    """

    features: Any
    has_audio: Any
    labels: Any
    valid: Any
    row_of: Any


def table_arrays(
    table: FrameTable, *, windows: bool, audio_flag: bool, inputs: str = "features"
) -> TableArrays:
    """The arrays of ``table`` that batches are made of.

    Args:
        table: Rows and labels of a split.
        windows: Whether batches are windows of frames.
        audio_flag: Whether heads see which frames have sound.
        inputs: "features", or "outputs" of the extractors.

    Raises:
        ValueError: If the table does not have these inputs.
    """
    x = inputs_of(table, inputs)
    row_of = None
    if windows:
        row_of = np.full(int(table.num_frames.sum()), -1, np.int32)
        row_of[table.dense_index] = np.arange(table.num_rows, dtype=np.int32)
    has_audio = table.has_audio if audio_flag else None
    return TableArrays(
        features=x,
        has_audio=has_audio,
        labels=table.labels,
        valid=table.valid,
        row_of=row_of,
    )


def step_at(arrays: TableArrays, index: Any, window: int, xp: Any = jnp) -> Step:
    """The rows that ``index`` names, with what is known of their frames.

    Args:
        arrays: Arrays of numpy or jax, whichever ``xp`` is.
        index: Rows (..., batch), -1 for padding. For windows (..., windows, 3): the
            window's first frame, its video's first frame and the end of the video,
            counted over the frames of all videos.
        window: Frames per window; 0 where ``index`` names rows.
        xp: ``numpy`` or ``jax.numpy``.
    """
    rows = index
    if window:
        # Rows in the place of windows would give batches of another size.
        chex.assert_axis_dimension(index, -1, 3)
        dense = index[..., :1] + xp.arange(window, dtype=np.int32)
        inside = (dense >= index[..., 1:2]) & (dense < index[..., 2:3])
        dense = xp.clip(dense, 0, len(arrays.row_of) - 1)
        rows = xp.where(inside, arrays.row_of[dense], -1)
    present, known = rows >= 0, xp.maximum(rows, 0)
    return Step(
        rows=rows,
        labels=arrays.labels[known],
        counts=present & arrays.valid[known],
        present=present,
    )


def batch_at(arrays: TableArrays, step: Step, xp: Any = jnp) -> Batch:
    """The batch of ``step``; where a frame has no row, with the inputs of row 0."""
    rows = xp.maximum(step.rows, 0)
    x = arrays.features[rows]
    if arrays.has_audio is not None:
        flag = arrays.has_audio[rows][..., None].astype(x.dtype)
        x = xp.concatenate([x, flag], axis=-1)
    return Batch(x=x, labels=step.labels, counts=step.counts, present=step.present)


class ResidentFeeder:
    """Feeds from a table that lies whole on every device; only indices are sent."""

    def __init__(self, arrays: TableArrays, mesh: Mesh, window: int):
        """Copies ``arrays`` to the devices of ``mesh``."""
        self._mesh = mesh
        self._arrays = sharding.replicate(
            jax.tree.map(np.ascontiguousarray, arrays), mesh
        )
        self.window = window

    def chunks(self, order: Any, length: int) -> Iterator[tuple[TableArrays, Any]]:
        """Yields each chunk of steps as ``(shared, steps)``, on the devices.

        ``shared`` is one value for all steps, ``steps`` has a leading axis of steps.

        Args:
            order: Index of each step: (steps, batch) or (steps, windows, 3).
            length: Steps in a chunk; the last chunk may be shorter.
        """
        place = place_of(order, self._mesh)
        for start in range(0, len(order), length):
            yield self._arrays, sharding.put(order[start : start + length], place)

    def spread(self, shared: TableArrays, index: Any) -> Step:
        """Each step's rows, labels and masks, for a scan over a chunk; traced.

        These small arrays are gathered for all steps at once, so that what is computed
        with them does not depend on whether they were gathered or sent.
        """
        return step_at(shared, index, self.window)

    def batch(self, shared: TableArrays, step: Step) -> Batch:
        """The batch of one ``step``, a slice of what :meth:`spread` returns; traced."""
        return batch_at(shared, step)


class StreamedFeeder:
    """Feeds from a memory-mapped table on the host; batches are read ahead and sent.

    Each process reads what its own devices need. One chunk is sent to them while they
    compute with the one before.
    """

    def __init__(self, arrays: TableArrays, mesh: Mesh, window: int, threads: int = 2):
        """Keeps ``arrays`` where they are.

        Args:
            arrays: Arrays of the table; its features may be a memory map.
            mesh: The devices.
            window: Frames per window; 0 for single frames.
            threads: Number of threads that read ahead; 0: nothing is read ahead.
        """
        self._arrays = arrays
        self._mesh = mesh
        self._threads = threads
        self.window = window

    def chunks(self, order: Any, length: int) -> Iterator[tuple[Any, Batch]]:
        """Yields each chunk of steps as ``((), batches)``, on the devices.

        Args:
            order: Index of each step: (steps, batch) or (steps, windows, 3).
            length: Steps in a chunk; the last chunk may be shorter.
        """
        place = place_of(order, self._mesh)
        ahead = None
        for batches in self._all_read(order, length, place):
            placed = _joined(batches, place)
            if ahead is not None:
                yield (), ahead
            ahead = placed
        if ahead is not None:
            yield (), ahead

    @staticmethod
    def spread(shared: Any, steps: Batch) -> Batch:
        """The batches that were sent, which a scan takes as they are."""
        del shared
        return steps

    @staticmethod
    def batch(shared: Any, step: Batch) -> Batch:
        """The batch of one step, which was sent whole."""
        del shared
        return step

    def _all_read(
        self, order: Any, length: int, place: NamedSharding
    ) -> Iterator[dict[int, Batch]]:
        """The parts of each chunk, read ahead by threads if there are some."""

        def read(number: int) -> dict[int, Batch]:
            return self._read(order[number * length : (number + 1) * length], place)

        count = -(-len(order) // length)
        if not self._threads:
            yield from map(read, range(count))
            return
        import grain.python as grain  # 0.4 s, for what is read ahead alone

        options = grain.ReadOptions(
            num_threads=self._threads, prefetch_buffer_size=self._threads + 1
        )
        yield from grain.MapDataset.range(count).map(read).to_iter_dataset(options)

    def _read(
        self, index: Int[np.ndarray, "steps batch ..."], place: NamedSharding
    ) -> dict[int, Batch]:
        """The parts of the batches that this process's devices hold.

        Returns:
            Arrays (steps, part of the batch, ...) by where in the batch a part begins.
        """
        read: dict[int, Batch] = {}
        places: Any = place.addressable_devices_indices_map(index.shape[:2])
        for _, part in places.values():
            start = part.start or 0
            if start in read:
                continue
            step = step_at(self._arrays, index[:, part], self.window, np)
            read[start] = batch_at(self._arrays, step, np)
        return read


Feeder = ResidentFeeder | StreamedFeeder


def place_of(order: Any, mesh: Mesh) -> NamedSharding:
    """Sharding of steps (steps, batch, ...), whose batch is divided if it can be."""
    even = order.shape[1] % mesh.size == 0
    return sharding.divided(mesh, 1) if even else sharding.replicated(mesh)


def _joined(parts: dict[int, Batch], place: NamedSharding) -> Batch:
    """Whole batches, sharded as ``place``, from the parts that this process read."""
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
    read_ahead: bool = True,
    inputs: str = "features",
) -> Feeder:
    """The feeder of ``table``.

    Args:
        table: Rows and labels of a split.
        mesh: The devices.
        window: Frames per window; 0 for single frames.
        audio_flag: Whether heads see which frames have sound.
        resident: Whether the table lies on the devices, or else is streamed to them.
        read_ahead: Whether threads read ahead of what is streamed.
        inputs: "features", or "outputs" of the extractors.

    Raises:
        ValueError: If the table does not have these inputs.
    """
    arrays = table_arrays(
        table, windows=bool(window), audio_flag=audio_flag, inputs=inputs
    )
    if resident:
        return ResidentFeeder(arrays, mesh, window)
    return StreamedFeeder(arrays, mesh, window, threads=2 if read_ahead else 0)
