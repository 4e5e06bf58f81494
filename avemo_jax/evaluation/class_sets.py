"""Sets of classes on the reported split: results.json's block, and a file of frames."""

import pathlib
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from avemo_jax.data.predictions.class_sets_file import write_class_sets
from avemo_jax.evaluation.finished import Finished
from avemo_jax.metrics.intervals import named
from avemo_jax.postprocess.bootstrap import resample_counts
from avemo_jax.postprocess.class_sets import (
    SetScores,
    class_sets,
    least_videos,
    set_scores,
)

CLASS_SETS = "class_sets.csv"
_NAMES = {"coverage": "coverage", "size": "size", "added": "share_added"}


def sets_block(
    finished: Finished, masks: Mapping[str, np.ndarray], num_resamples: int
) -> dict[str, Any]:
    """The block ``class_sets`` of results.json; empty where no sets were asked for.

    Args:
        finished: The split's final scores; what sets are made of is never calibrated.
        masks: Sets of frames by name.
        num_resamples: Number of resamples of videos, for intervals; 0 gives none.
    """
    limits, level = _limits(finished), finished.selection.set_level
    if limits is None:
        return {}
    num_videos = finished.selection.certainty["frames"].num_videos
    found: dict[str, Any] = {
        "level": level,
        "num_videos_chosen_on": num_videos,
        "least_videos": least_videos(level),
        "all_classes": num_videos < least_videos(level),
        "limits": limits.tolist(),
    }
    task, table = finished.predicted.task, finished.predicted.table
    video = table.video_of_dense
    labels, dense = table.dense_labels, np.asarray(finished.dense)
    for name, mask in masks.items():
        by_seed = [
            set_scores(own[mask], limit, labels[mask], video[mask], len(table.videos))
            for own, limit in zip(dense, limits.tolist(), strict=True)
        ]
        found[name] = _means(by_seed, num_resamples)
        per_class = _over_videos(np.stack([one.coverage_per_class for one in by_seed]))
        found[name]["coverage_per_class"] = {
            column: None if np.isnan(value) else value
            for column, value in named(task, per_class.mean(axis=0)).items()
        }
    return found


def _means(by_seed: list[SetScores], num_resamples: int) -> dict[str, Any]:
    """Means over videos and seeds, with deviations over seeds and intervals."""
    has_frames = np.isfinite(by_seed[0].coverage)
    block: dict[str, Any] = {"num_videos": int(has_frames.sum())}
    if not has_frames.any():
        return block
    draws = None
    if num_resamples and has_frames.sum() > 1:
        counts = resample_counts(jnp.asarray(has_frames), num_resamples=num_resamples)
        draws = np.asarray(counts)[:, has_frames] / has_frames.sum()
    for name, written in _NAMES.items():
        values = np.stack([getattr(one, name)[has_frames] for one in by_seed])
        of_seeds = values.mean(axis=1)
        block[written] = float(of_seeds.mean())
        if len(of_seeds) > 1:
            block[f"{written}_std"] = float(of_seeds.std(ddof=1))
        if draws is not None:
            samples = draws @ values.mean(axis=0)
            block[f"{written}_ci95"] = np.quantile(samples, [0.025, 0.975]).tolist()
    return block


def _over_videos(
    values: Float[np.ndarray, "seeds videos classes"],
) -> Float[np.ndarray, "seeds classes"]:
    """Means over the videos that have a value; NaN where none has."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        means = np.where(known, values, 0).sum(axis=1) / known.sum(axis=1)
    return np.asarray(means)


def write_sets(folder: pathlib.Path, finished: Finished, seed: int) -> None:
    """Write ``class_sets.csv``; where no sets were asked for, no file is left.

    Args:
        folder: Folder of ``predictions.csv``.
        finished: The split's final scores.
        seed: Index of the seed that is written.
    """
    path, limits = folder / CLASS_SETS, _limits(finished)
    if limits is None:
        path.unlink(missing_ok=True)
        return
    table, probs = finished.predicted.table, np.asarray(finished.dense[seed])
    sets: Bool[np.ndarray, "frames classes"] = class_sets(probs, float(limits[seed]))
    write_class_sets(path, table, probs.argmax(axis=1), sets)


def _limits(finished: Finished) -> Float[np.ndarray, " seeds"] | None:
    fitted = finished.selection.certainty.get("frames")
    return None if fitted is None else fitted.set_limits
