"""95 % intervals of scores over videos, as results.json has them."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from avemo_jax.data.store.table import FrameTable
from avemo_jax.evaluation.results import named
from avemo_jax.postprocess.bootstrap import bootstrap_mean
from avemo_jax.tasks import Task


def intervals_of(
    table: FrameTable,
    dense: Float[Array, "seeds frames outputs"],
    masks: Mapping[str, np.ndarray],
    thresholds: Float[np.ndarray, "seeds units"] | None,
    num_resamples: int,
) -> dict[str, dict[str, Any]]:
    """By set of frames: ``NAME_ci95``, [low, high] of the mean over seeds.

    Args:
        table: The split.
        dense: Final scores of every frame by each seed.
        masks: Sets of frames by name; those in which fewer than two videos have a
            frame have no interval.
        thresholds: AU: thresholds of each seed; None for other tasks.
        num_resamples: Number of resamples of videos; 0 gives no intervals.
    """
    found: dict[str, dict[str, Any]] = {}
    labels, task = jnp.asarray(table.dense_labels), table.task
    offsets = table.dense_offsets
    for name, mask in masks.items():
        found[name] = {}
        videos = np.searchsorted(offsets[1:], np.flatnonzero(mask), side="right")
        if not num_resamples or len(np.unique(videos)) < 2:
            continue
        arguments = (dense, labels, jnp.asarray(mask), jnp.asarray(offsets, jnp.int32))
        limits = None if thresholds is None else jnp.asarray(thresholds)
        block = _intervals(task, arguments, limits, num_resamples)
        if task.kind == "multilabel":
            at_half = _intervals(task, arguments, None, num_resamples)
            block["f1_mean_at_0.5_ci95"] = at_half["f1_mean_ci95"]
        found[name] = block
    return found


def _intervals(
    task: Task, arguments: tuple[Any, ...], limits: Any, num_resamples: int
) -> dict[str, Any]:
    """Intervals of all scores, by names of outputs where a score has several values."""
    interval = bootstrap_mean(
        task.name, *arguments, limits, num_resamples=num_resamples
    )
    block: dict[str, Any] = {}
    for key in interval.low:
        low, high = (named(task, key, end[key]) for end in interval[1:3])
        if isinstance(low, dict):
            block[f"{key}_ci95"] = {name: [low[name], high[name]] for name in low}
        else:
            block[f"{key}_ci95"] = [low, high]
    return block
