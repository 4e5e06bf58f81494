"""95 % intervals of scores over videos, as results.json has them."""

import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from avemo_jax.data.store.table import FrameTable
from avemo_jax.metrics.bca import FEW
from avemo_jax.metrics.intervals import ENDS, named_ends
from avemo_jax.postprocess.bootstrap import bootstrap
from avemo_jax.postprocess.clips import Clips, scored_units
from avemo_jax.runtime.atomic_files import whole_file

RESAMPLES = "resamples.npz"
LEFT_OUT = "_left_out"  # behind a block's name, its scores without each video


class Intervals(NamedTuple):
    """How sure the scores of several sets of frames are, by the sets' names.

    Attributes:
        ends: ``NAME_ci95``, [low, high] of the mean over seeds, of each score;
            ``NAME_bca95`` too, where the videos are few; and ``intervals``.
        resamples: The headline score, as mean over seeds, of every resample of videos;
            sets without an interval are left out.
        left_out: The headline score without each of the videos, where they are few.
    """

    ends: dict[str, dict[str, Any]]
    resamples: dict[str, Float[np.ndarray, " resamples"]]
    left_out: dict[str, Float[np.ndarray, " videos"]]


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
    found, resamples, left_out = Intervals({}, {}, {})
    labels, task = jnp.asarray(table.dense_labels), table.task
    offsets = table.dense_offsets
    if clips is not None:
        offsets = np.arange(len(offsets))
    bounds = jnp.asarray(offsets, jnp.int32)
    for name, mask in masks.items():
        found[name] = {}
        num = len(videos_with(table, mask))
        if not num_resamples or num < 2:
            continue
        units = scored_units(clips, dense, labels, jnp.asarray(mask))
        arguments = (*units, bounds)
        limits = None if thresholds is None else jnp.asarray(thresholds)
        interval = bootstrap(task.name, *arguments, limits, num_resamples=num_resamples)
        resamples[name] = np.asarray(interval.samples[task.headline])
        if num < FEW:
            left_out[name] = np.asarray(interval.left_out[task.headline])[:num]
        found[name] = named_ends(task, interval, num)
        if task.kind == "multilabel":
            at_half = bootstrap(task.name, *arguments, num_resamples=num_resamples)
            ends = named_ends(task, at_half, num)
            for ending in ENDS:
                if f"f1_mean{ending}" in ends:
                    found[name][f"f1_mean_at_0.5{ending}"] = ends[f"f1_mean{ending}"]
    return Intervals(found, resamples, left_out)


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
