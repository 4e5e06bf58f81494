"""Mean and deviation of a head's inputs, by which it standardises them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh
from jaxtyping import Float

from avemo_jax.batches import sharding
from avemo_jax.batches.feeders import Feeder
from avemo_jax.batches.order import video_windows
from avemo_jax.batches.row_scores import constrain, padded
from avemo_jax.data.store.table import FrameTable
from avemo_jax.heads import HeadSpec

_BLOCK = 8192  # frames at once


def input_statistics(
    table: FrameTable, feeder: Feeder, spec: HeadSpec, mesh: Mesh
) -> dict[str, Float[np.ndarray, " dim"]]:
    """Mean and deviation of each input over the frames with a valid label.

    The devices take one pass over the table in blocks, the same whether it is resident
    or streamed. Sums inside of a block are float32, of differences to the block's mean;
    blocks are joined in float64 (Chan, Golub and LeVeque, "Algorithms for Computing the
    Sample Variance", 1983).

    Args:
        table: The frames that a head is trained on.
        feeder: The feeder of ``table``.
        spec: The head.
        mesh: The devices.

    Returns:
        ``mean`` and ``deviation``, float32. An input that is the same in all frames has
        a deviation of 1, and so becomes 0; the audio flag stays as it is.
    """

    def moments(shared: Any, steps: Any) -> Any:
        steps = feeder.spread(shared, steps)
        step = jax.tree.map(lambda leaf: leaf[0], steps)
        batch = lax.optimization_barrier(constrain(feeder.batch(shared, step), mesh))
        x, counts = batch.x.astype(jnp.float32), batch.counts[..., None]
        frames = tuple(range(x.ndim - 1))
        count = counts.sum()
        # Less the largest, so that an input that does not vary gives exactly 0.
        largest = jnp.max(x, frames, initial=-jnp.inf, where=counts)
        x = jnp.where(counts, x - largest, 0.0)
        mean = x.sum(frames) / jnp.maximum(count, 1)
        squares = jnp.where(counts, jnp.square(x - mean), 0.0).sum(frames)
        return count, largest, mean, squares

    program = jax.jit(moments, out_shardings=sharding.replicated(mesh))
    total, mean, squares = 0, np.zeros(spec.input_dim), np.zeros(spec.input_dim)
    for shared, steps in feeder.chunks(_blocks(table, feeder.window, mesh), 1):
        count, largest, offset, more = map(np.asarray, program(shared, steps))
        if not count:
            continue
        difference = largest + offset.astype(np.float64) - mean
        joined = total + int(count)
        mean += difference * (count / joined)
        squares += more + np.square(difference) * (total * count / joined)
        total = joined
    deviation = np.sqrt(squares / total)
    deviation[deviation == 0] = 1
    features = sum(spec.dims)
    mean[features:], deviation[features:] = 0, 1
    return {
        "mean": mean.astype(np.float32),
        "deviation": deviation.astype(np.float32),
    }


def _blocks(table: FrameTable, window: int, mesh: Mesh) -> Any:
    """The index of each block: each row, or each frame in windows, once."""
    if not window:
        rows = np.flatnonzero(table.valid).astype(np.int32)
        return padded(rows, _BLOCK, mesh.size)
    phases = np.zeros(len(table.videos), np.int64)
    windows = video_windows(table, window, phases)
    return padded(windows, max(_BLOCK // window, 1), mesh.size)
