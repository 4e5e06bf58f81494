"""95 % intervals of scores over videos, as results.json has them."""

import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from avemo_jax.data.store.table import FrameTable
from avemo_jax.metrics.intervals import named_ends
from avemo_jax.postprocess.bootstrap import bootstrap
from avemo_jax.postprocess.clips import Clips, scored_units
from avemo_jax.runtime.atomic_files import whole_file

RESAMPLES = "resamples.npz"


class Intervals(NamedTuple):
    """How sure the scores of several sets of frames are, by the sets' names.

    Attributes:
        ends: ``NAME_ci95``, [low, high] of the mean over seeds, of each score.
        resamples: The headline score, as mean over seeds, of every resample of videos;
            sets without an interval are left out.
    """

    ends: dict[str, dict[str, Any]]
    resamples: dict[str, Float[np.ndarray, " resamples"]]


def intervals_of(
    table: FrameTable,
    dense: Float[Array, "seeds frames outputs"],
    masks: Mapping[str, np.ndarray],
    thresholds: Float[np.ndarray, "seeds units"] | None,
    num_resamples: int,
    clips: Clips | None = None,
) -> Intervals:
    """Intervals of the mean over seeds, over resampled videos.

    Equal splits and sets of frames get equal resamples, whatever the model: differences
    of two models' resamples are paired.

    Args:
        table: The split.
        dense: Final scores of every frame by each seed.
        masks: Sets of frames by name; those in which fewer than two videos have a
            frame have no interval.
        thresholds: AU: thresholds of each seed; None for other tasks.
        num_resamples: Number of resamples of videos; 0 gives no intervals.
        clips: The clips to score as wholes; None scores frames.
    """
    found, resamples = Intervals({}, {})
    labels, task = jnp.asarray(table.dense_labels), table.task
    offsets = table.dense_offsets
    if clips is not None:
        offsets = np.arange(len(offsets))
    bounds = jnp.asarray(offsets, jnp.int32)
    for name, mask in masks.items():
        found[name] = {}
        if not num_resamples or len(videos_with(table, mask)) < 2:
            continue
        units = scored_units(clips, dense, labels, jnp.asarray(mask))
        arguments = (*units, bounds)
        limits = None if thresholds is None else jnp.asarray(thresholds)
        interval = bootstrap(task.name, *arguments, limits, num_resamples=num_resamples)
        resamples[name] = np.asarray(interval.samples[task.headline])
        found[name] = named_ends(task, interval)
        if task.kind == "multilabel":
            at_half = bootstrap(task.name, *arguments, num_resamples=num_resamples)
            ends = named_ends(task, at_half)["f1_mean_ci95"]
            found[name]["f1_mean_at_0.5_ci95"] = ends
    return Intervals(found, resamples)


def videos_with(
    table: FrameTable, mask: Bool[np.ndarray, " frames"]
) -> Int[np.ndarray, " videos"]:
    """Indices of the videos that have a frame in ``mask``: those that are drawn."""
    offsets = table.dense_offsets
    return np.unique(np.searchsorted(offsets[1:], np.flatnonzero(mask), side="right"))


def write_resamples(folder: pathlib.Path, resamples: Mapping[str, Any]) -> None:
    """Writes ``resamples.npz``, by which differences of runs get intervals.

    Args:
        folder: Folder of ``results.json``.
        resamples: Arrays by name; without any, no file is left.
    """
    path = folder / RESAMPLES
    if not resamples:
        path.unlink(missing_ok=True)
        return
    with whole_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **resamples)
