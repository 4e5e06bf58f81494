"""Evaluation: a head checkpoint and a split -> results, predictions and plots."""

import dataclasses
import pathlib
from typing import Any

import jax.numpy as jnp
import numpy as np
from absl import logging
from jaxtyping import Float

from avemo_jax import checkpoint, choice, figures, results
from avemo_jax.choice import NO_WINDOW, Selection
from avemo_jax.data.table import FrameTable
from avemo_jax.loading import Data, memory_budget
from avemo_jax.postprocess.gaps import FillPlan, fill
from avemo_jax.postprocess.smoothing import smooth
from avemo_jax.postprocess.sweep import (
    SETTINGS,
    choose,
    neutral_score,
    score_settings,
)
from avemo_jax.predictions import write_predictions
from avemo_jax.trained import Trained, check_features, load_trained, scores_of


def select(trained: Trained, data: Data, budget: int) -> Selection:
    """What was, or now is, chosen on dev; fixed values where nothing may be chosen."""
    card = trained.card
    if card.get("selection"):
        return Selection.from_dict(card["selection"])
    num_seeds = len(card["seeds"])
    if card["training_videos"] == "unknown":
        reason = "the videos that it was trained on are unknown"
        return choice.fixed_selection(trained.task, num_seeds, reason)
    dev = data.store.split_videos(card["task"], "dev", data.splits)
    if shared := sorted(set(dev) & set(card["training_videos"])):
        reason = f"{len(shared)} of {len(dev)} dev videos were trained on"
        return choice.fixed_selection(trained.task, num_seeds, reason)
    if not dev:
        reason = "the store has no dev videos"
        return choice.fixed_selection(trained.task, num_seeds, reason)
    table, scores = scores_of(trained, data, "dev", budget)
    return choice.select_on_dev(trained.task, table, scores, faithful=trained.faithful)


def evaluate(
    directory: pathlib.Path,
    data: Data,
    workdir: pathlib.Path,
    *,
    split: str = "validation",
    device_budget_gb: float | None = None,
    update_card: bool = False,
) -> dict[str, Any]:
    """Scores of a checkpoint on ``split``; writes results, predictions and plots.

    Args:
        directory: A head checkpoint.
        data: The store.
        workdir: Gets ``results.json``, ``predictions.csv`` and ``plots/``.
        split: A split without labels gets predictions and no scores.
        device_budget_gb: Memory for tables; None asks the device.
        update_card: Keep the selection and the scores in the checkpoint's card.

    Returns:
        What ``results.json`` says.

    Raises:
        CheckpointError: If the checkpoint is missing or damaged.
        ValueError: If it does not fit the data.
    """
    trained = load_trained(directory)
    check_features(trained, data)
    budget = memory_budget(device_budget_gb)
    selection = select(trained, data, budget)
    table, scores = scores_of(trained, data, split, budget)
    plan = choice.plan_of(table, faithful=trained.faithful)
    choice.warn_of_lost(table, plan)
    found = describe(trained, data, table, selection)
    if found["trained_on_this_split"]:
        logging.warning(
            "the head was trained on videos of %s: no score to report", split
        )
    sweep = None
    if table.task.valid(table.dense_labels).any():
        sweep = _sweep(trained, table, plan, scores, selection)
        found |= _scored(trained, table, plan, selection, sweep)
    _write(workdir, trained, table, plan, scores, selection, found, sweep)
    if update_card:
        trained.card["selection"] = selection.to_dict()
        trained.card["best_seed"] = trained.card["seeds"][
            choice.best_seed(selection, trained.card)
        ]
        trained.card["scores"] = found.get("metrics")
        checkpoint.write_json(directory / "head.json", trained.card)
    checkpoint.write_json(workdir / "results.json", found)
    return found


def _write(
    workdir: pathlib.Path,
    trained: Trained,
    table: FrameTable,
    plan: FillPlan,
    scores: Float[np.ndarray, "seeds rows outputs"],
    selection: Selection,
    found: dict[str, Any],
    sweep: "Sweep | None",
) -> None:
    """Predictions by the seed that is best on dev, and its plots where labels are."""
    best = choice.best_seed(selection, trained.card)
    dense = final_scores(trained, plan, scores, selection, best)
    limits = None if selection.thresholds is None else selection.thresholds[best]
    write_predictions(
        workdir / "predictions.csv",
        trained.task,
        table,
        plan,
        dense,
        thresholds=limits,
        labels=sweep is not None,
    )
    if sweep is not None:
        figures.draw(
            workdir / "plots",
            found,
            table,
            plan,
            dense,
            sweep=sweep.smoothed,
            selection=selection,
            seed=best,
        )


def final_scores(
    trained: Trained,
    plan: FillPlan,
    scores: Float[np.ndarray, "seeds rows outputs"],
    selection: Selection,
    seed: int,
) -> Float[np.ndarray, "frames outputs"]:
    """Scores of every frame by one seed, gaps filled and smoothed as selected."""
    task, faithful = trained.task, trained.faithful
    rows = choice.smoothable(task, scores, selection.raw_thresholds, faithful)[seed]
    dense = fill(jnp.asarray(rows), plan, neutral=neutral_score(task))
    mode, half_width = selection.settings[seed]
    if mode != "none":
        dense = smooth(dense, plan.lo, plan.hi, half_width=half_width, mode=mode)
    return np.asarray(dense)


def describe(
    trained: Trained, data: Data, table: FrameTable, selection: Selection
) -> dict[str, Any]:
    """What results.json says beside the scores."""
    card = trained.card
    return {
        "schema_version": results.SCHEMA_VERSION,
        "task": card["task"],
        "data": "demo"
        if data.name == "demo"
        else {"path": data.name, "fingerprint": table.fingerprint},
        "synthetic": bool(data.store.synthetic),
        "features": trained.features,
        "head": card["head"]["kind"],
        "split": table.split,
        "num_seeds": len(card["seeds"]),
        "seed": card["seeds"][0],
        "chosen_on": selection.on,
        "chosen_on_reason": selection.reason,
        "protocol": card["protocol"],
        "trained_on_this_split": bool(
            card["training_videos"] != "unknown"
            and set(card["training_videos"]) & set(table.videos)
        ),
        "counts": {**card.get("counts", {}), table.split: results.counts_of(table)},
        "joined": table.report,
    }


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Scores of all settings: of the plain scores, and of what was smoothed."""

    raw: dict[Any, Any]
    smoothed: dict[Any, Any]


def _sweep(
    trained: Trained,
    table: FrameTable,
    plan: FillPlan,
    scores: Float[np.ndarray, "seeds rows outputs"],
    selection: Selection,
) -> Sweep:
    task, labels = trained.task, table.dense_labels
    given: Any = None
    given_raw: Any = None
    if task.name == "AU":
        given = {setting: selection.thresholds for setting in SETTINGS}
        given_raw = {NO_WINDOW: selection.raw_thresholds}
    raw = score_settings(
        task, scores, plan, labels, settings=(NO_WINDOW,), thresholds=given_raw
    )
    rows = choice.smoothable(task, scores, selection.raw_thresholds, trained.faithful)
    return Sweep(raw, score_settings(task, rows, plan, labels, thresholds=given))


def _scored(
    trained: Trained,
    table: FrameTable,
    plan: FillPlan,
    selection: Selection,
    sweep: Sweep,
) -> dict[str, Any]:
    """The blocks ``metrics`` and ``per_seed``."""
    task, card = trained.task, trained.card
    valid = task.valid(table.dense_labels)
    frames = {
        "with_crop": int((valid & ~np.asarray(plan.filled)).sum()),
        "all_labelled": int(valid.sum()),
    }
    fps, count = results.frame_rate(table), len(card["seeds"])
    given = "_given" if task.name == "AU" else ""
    tuned = [c.setting for c in choose(sweep.smoothed, task.headline)]
    blocks = {
        "raw": results.block_of(
            task,
            sweep.raw,
            [NO_WINDOW] * count,
            frames,
            ending=given,
            sets=("with_crop",),
        ),
        "smoothed": results.block_of(
            task, sweep.smoothed, selection.settings, frames, ending=given, fps=fps
        ),
        "tuned_on_reported": results.block_of(
            task, sweep.smoothed, tuned, frames, fps=fps
        ),
    }
    per_seed: list[dict[str, Any]] = []
    for i, seed in enumerate(card["seeds"]):
        one: dict[str, Any] = {"seed": seed, "best_epoch": card["best_epochs"][i]}
        if card.get("dev_scores"):
            one["dev"] = {task.criterion: card["dev_scores"][i]}
            if selection.dev_scores:
                one["dev"][f"smoothed_{task.headline}"] = selection.dev_scores[i]
        one |= {name: by_seed[i] for name, (_, by_seed) in blocks.items()}
        per_seed.append(one)
    return {
        "metrics": {name: block for name, (block, _) in blocks.items()},
        "per_seed": per_seed,
    }
