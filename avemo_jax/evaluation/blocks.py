"""The scores of results.json: its blocks, with intervals, means and each seed's own."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from avemo_jax.evaluation import results
from avemo_jax.evaluation.class_sets import sets_block
from avemo_jax.evaluation.finished import Finished, dense_at, final_scores
from avemo_jax.evaluation.intervals import LEFT_OUT, intervals_of, videos_with
from avemo_jax.metrics.calibration import NUM_BINS, calibration_scores
from avemo_jax.metrics.ceilings import ceiling_of
from avemo_jax.metrics.disagreement import disagreement, told_errors
from avemo_jax.metrics.intervals import named
from avemo_jax.models.blend import Model
from avemo_jax.models.certainty import Scored
from avemo_jax.models.frame_scores import dense_scores
from avemo_jax.models.selection import NO_SMOOTHING, Selection
from avemo_jax.postprocess.clips import Clips, scored_units
from avemo_jax.postprocess.smoothing import Smoothing
from avemo_jax.postprocess.smoothing_sweep import choose_smoothing


def scored(
    model: Model, finished: Finished
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """``metrics``, ``per_seed``, ``calibration`` and more; and the resamples.

    Returns:
        The blocks of results.json by their names; and by the names of the metrics'
        blocks the headline score over ``with_crop`` on every resample, of few videos
        also without each of them, with ``videos``, the names of the videos that are
        drawn. The second is empty where there are no intervals.
    """
    task, card = model.task, model.card
    predicted, selection = finished.predicted, finished.selection
    valid = task.valid(predicted.table.dense_labels)
    masks = {"with_crop": predicted.with_crop, "all_labelled": valid}
    given = "_given" if task.kind == "multilabel" else ""
    best = choose_smoothing(finished.sweep, task.headline)
    tuned = tuple(choice.smoothing for choice in best)
    none = (NO_SMOOTHING,) * len(card.seeds)
    tuned_limits = None
    if task.kind == "multilabel":
        tuned_limits = np.stack([np.asarray(c.thresholds) for c in best])
    num = model.options.num_resamples
    raw_dense = dense_scores(predicted, finished.rows, none)
    table = predicted.table

    def block(
        scores: Any,
        smoothings: tuple[Smoothing, ...],
        dense: Any,
        limits: Any,
        clips: Clips | None = None,
        **how: Any,
    ) -> Any:
        within = {name: masks[name] for name in how.get("sets", masks)}
        counts = {
            name: {"num_frames": int(mask.sum())} for name, mask in within.items()
        }
        if clips is not None:
            for name, mask in within.items():
                counts[name]["num_videos"] = len(videos_with(table, mask))
        beside = intervals_of(table, dense, within, limits, num, clips)
        means, by_seed = results.block_of(
            task,
            scores,
            smoothings,
            counts,
            fps=results.median_fps(table),
            causal=model.options.causal,
            intervals=beside.ends,
            **how,
        )
        return means, by_seed, beside

    chosen, sweep = selection.smoothings, finished.sweep
    best_dense = dense_at(
        model.options, predicted, selection, finished.unsmoothed, tuned
    )
    blocks = {
        "raw": block(
            finished.raw,
            none,
            raw_dense,
            selection.raw_thresholds,
            ending=given,
            sets=("with_crop",),
        ),
        "smoothed": block(
            final_scores(model, finished),
            chosen,
            finished.dense,
            selection.thresholds,
            ending=given,
            embedded=None if finished.ruled is None else finished.ruled.embedded,
        ),
        "tuned_on_reported": block(sweep, tuned, best_dense, tuned_limits),
    }
    if (clips := predicted.clips) is not None:
        blocks["per_video"] = block(
            final_scores(model, finished, clips),
            chosen,
            finished.dense,
            selection.thresholds,
            clips,
            ending=given,
        )
    metrics = {name: means for name, (means, _, _) in blocks.items()}
    if task.kind == "multilabel":
        at_best = finished.raw[NO_SMOOTHING]["with_crop"]
        metrics["raw"]["tuned_on_reported"] = results.mean_scores(task, at_best)
    by_seed = {name: each for name, (_, each, _) in blocks.items()}
    found = {"metrics": metrics, "per_seed": _by_seed(model, selection, by_seed)}
    ceilings = {n: ceiling_of(task, table.dense_labels, m) for n, m in masks.items()}
    if probable := _calibration(finished, raw_dense, masks, model.options.calibration):
        found["calibration"] = probable
    if sets := sets_block(finished, masks, num):
        found["class_sets"] = sets
    if told := _disagreement(finished, predicted.with_crop):
        found["disagreement"] = {"with_crop": told}
    if any(ceilings.values()):
        found["ceiling"] = {name: one for name, one in ceilings.items() if one}
    drawn: dict[str, np.ndarray] = {}
    for name, (_, _, beside) in blocks.items():
        if "with_crop" in beside.resamples:
            drawn[name] = beside.resamples["with_crop"]
        if "with_crop" in beside.left_out:
            drawn[name + LEFT_OUT] = beside.left_out["with_crop"]
    if drawn:
        drawn["videos"] = np.array(table.videos)[videos_with(table, masks["with_crop"])]
    return found, drawn


def _calibration(
    finished: Finished, raw: Any, masks: dict[str, np.ndarray], calibration: str
) -> dict[str, Any]:
    """The block ``calibration`` of results.json; empty for values.

    Args:
        finished: The split's final scores.
        raw: Scores of every frame by each seed that are not smoothed.
        masks: Sets of frames by name.
        calibration: "none" where probabilities are written as they are.
    """
    table, clips = finished.predicted.table, finished.predicted.clips
    if table.task.kind == "regression":
        return {}
    labels = jnp.asarray(table.dense_labels)
    blocks: dict[str, tuple[Any, tuple[str, ...], Clips | None]] = {
        "raw": (raw, ("with_crop",), None),
        "smoothed": (finished.dense, tuple(masks), None),
    }
    if clips is not None:
        blocks["per_video"] = (finished.dense, tuple(masks), clips)
    of_block: dict[str, Scored] = {"smoothed": "frames", "per_video": "videos"}
    found: dict[str, Any] = {"num_bins": NUM_BINS}
    per_seed: list[dict[str, Any]] = [{} for _ in finished.rows]

    def add(name: str, frames: str, *units: np.ndarray) -> None:
        errors = calibration_scores(table.task, *units)
        means = results.mean_scores(table.task, errors)
        found.setdefault(name, {})[frames] = means
        for i, one in enumerate(per_seed):
            own = {key: named(table.task, v[i]) for key, v in errors.items()}
            one.setdefault(name, {})[frames] = own

    for name, (dense, sets, of) in blocks.items():
        fitted = None
        if name in of_block:
            fitted = finished.selection.certainty.get(of_block[name])
        for frames in sets:
            units = scored_units(of, dense, labels, jnp.asarray(masks[frames]))
            scores, truth, mask = map(np.asarray, units)
            add(name, frames, scores, truth, mask)
            if fitted is not None:
                each = [fitted.scaled(own, i)[0] for i, own in enumerate(scores)]
                add(f"{name}_scaled", frames, np.stack(each), truth, mask)
    fits = {n: one.to_dict() for n, one in finished.selection.certainty.items()}
    if fits:
        written = "" if calibration == "none" else "_scaled"
        found |= {"written": f"smoothed{written}", "fitted": fits}
    return found | {"per_seed": per_seed}


def _disagreement(finished: Finished, mask: np.ndarray) -> dict[str, Any]:
    """Whether seeds disagree on errors; empty for one seed, and without classes.

    Decided is the class of the mean over seeds, as in predictions of videos.
    """
    table = finished.predicted.table
    if table.task.kind != "multiclass" or len(finished.rows) < 2:
        return {}
    dense = np.asarray(finished.dense)[:, mask]
    decided = dense.mean(axis=0).argmax(axis=-1)
    shares = disagreement(dense.argmax(axis=-1), decided)
    return told_errors(shares, decided == table.dense_labels[mask])


def _by_seed(
    model: Model, selection: Selection, blocks: dict[str, list[dict[str, Any]]]
) -> list[dict[str, Any]]:
    """The block ``per_seed`` of results.json."""
    task, card = model.task, model.card
    best_epochs = model.best_epochs
    per_seed: list[dict[str, Any]] = []
    for i, seed in enumerate(card.seeds):
        one: dict[str, Any] = {"seed": seed, "best_epoch": best_epochs[i]}
        dev: dict[str, float] = {}
        if card.dev_scores:
            dev[task.criterion] = card.dev_scores[i]
        if selection.dev_scores:
            dev[f"smoothed_{task.headline}"] = selection.dev_scores[i]
        if dev:
            one["dev"] = dev
        one |= {name: by_seed[i] for name, by_seed in blocks.items()}
        per_seed.append(one)
    return per_seed
