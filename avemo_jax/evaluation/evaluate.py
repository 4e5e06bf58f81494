"""Evaluation: a model and a split -> results, predictions and plots."""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from absl import logging

from avemo_jax.batches.tables import Data, memory_budget
from avemo_jax.config.checks import check_frame_rate
from avemo_jax.data.predictions.predictions_file import (
    predictions_of,
    write_predictions,
)
from avemo_jax.data.store.table import FrameTable
from avemo_jax.evaluation import figures, results
from avemo_jax.evaluation.blocks import scored
from avemo_jax.evaluation.by_video import write_by_video
from avemo_jax.evaluation.certainty import with_certainty
from avemo_jax.evaluation.class_sets import write_sets
from avemo_jax.evaluation.dev_selection import select_on_dev
from avemo_jax.evaluation.finished import Finished, finish
from avemo_jax.evaluation.intervals import write_resamples
from avemo_jax.models.blend import Model
from avemo_jax.models.card import UNKNOWN, Evaluated
from avemo_jax.models.certainty import Certainty, Scored
from avemo_jax.models.embedded_frames import fixed_rates
from avemo_jax.models.ensembles import OUT_OF_FOLD, Ensemble, out_of_fold, split_scores
from avemo_jax.models.frame_scores import SplitScores, warn_of_lost
from avemo_jax.models.head import TrainedHead, check_feature_sets
from avemo_jax.models.options import Options
from avemo_jax.models.selection import Selection, best_seed, fixed_selection
from avemo_jax.postprocess.frame_rate.rules import FrameRate
from avemo_jax.postprocess.smoothing_sweep import pick
from avemo_jax.runtime import distributed
from avemo_jax.runtime.atomic_files import write_json
from avemo_jax.runtime.progress import Stages

_STAGES = 5


def select(model: Model, data: Data, budget: int, *, anew: bool = False) -> Selection:
    """What was, or now is, chosen on dev; fixed values where nothing may be chosen.

    Args:
        model: The model, with options that say what may be chosen.
        data: The store.
        budget: Bytes for tables.
        anew: Choose again although the card has a selection. Where nothing may be
            chosen here, the card's still holds, but for the frames to embed.

    Raises:
        ValueError: If the frames to embed are to be chosen, and nothing may be.
    """
    card, wanted = model.card, model.options.frame_rate
    stored = card.selection
    if stored is not None and not anew:
        return stored

    def fixed(reason: str) -> Selection:
        count = len(card.seeds)
        rates = fixed_rates(wanted, count, reason)
        kept = stored or fixed_selection(model.task, count, reason, len(model.heads))
        return dataclasses.replace(kept, frame_rates=rates)

    if isinstance(model, Ensemble) and model.over_folds:
        predicted = out_of_fold(model, data, budget)
        chosen = _selected(model, predicted)
        return dataclasses.replace(chosen, on=OUT_OF_FOLD)
    if model.training_videos == UNKNOWN:
        return fixed("the videos that it was trained on are unknown")
    dev = data.store.split_videos(card.task, "dev", data.splits)
    if shared := sorted(set(dev) & set(model.training_videos)):
        return fixed(f"{len(shared)} of {len(dev)} dev videos were trained on")
    if not dev:
        return fixed("the store has no dev videos")
    return _selected(model, split_scores(model, data, "dev", budget))


def _selected(model: Model, predicted: SplitScores) -> Selection:
    """All that is chosen on dev, and then what is fitted there to probabilities."""
    chosen = select_on_dev(predicted, model.options, model.priors)
    return with_certainty(chosen, predicted, model.options)


def evaluate(
    model: Model,
    data: Data,
    workdir: pathlib.Path,
    *,
    split: str = "validation",
    device_budget_gb: float | None = None,
    update_card: bool = False,
    frame_rate: FrameRate | None = None,
) -> dict[str, Any]:
    """Scores of a model on ``split``; writes results, predictions and plots.

    Args:
        model: A head checkpoint, a blend, or an ensemble, loaded.
        data: The store.
        workdir: Gets ``results.json``, ``resamples.npz``, ``predictions.csv`` and
            ``plots/``; where labels are of whole videos ``predictions_by_video.csv``,
            where sets of classes are asked for ``class_sets.csv``.
        split: A split without labels gets predictions and no scores.
        device_budget_gb: Memory for tables; None asks the device.
        update_card: Keep the selection and the scores in the model's card.
        frame_rate: The kind of rule for the frames to embed, with which all is chosen
            anew; None takes the one of the model's configuration.

    Returns:
        Content of ``results.json``.

    Raises:
        ValueError: If the model does not fit the data, or the rule for the frames to
            embed does not fit the model.
    """
    if frame_rate is not None:
        options = Options.of_config(model.card.config, frame_rate)
        model = dataclasses.replace(model, options=options)
    check_frame_rate(
        model.options.frame_rate,
        [model.task],
        [head.kind for head in model.heads],
        causal=model.options.causal,
        trust_extractor=model.options.trust_extractor,
    )
    for head in model.heads:
        if isinstance(head, TrainedHead):
            check_feature_sets(head, data)
    budget = memory_budget(device_budget_gb)
    stages = Stages(f"evaluating {model.task.name}", _STAGES)
    stages.begin("choosing on dev")
    selection = select(model, data, budget, anew=frame_rate is not None)
    stages.begin(f"scores of {split}")
    predicted = split_scores(model, data, split, budget)
    warn_of_lost(predicted.table, predicted.fill_map)
    found = describe(model, data, predicted.table, selection)
    if found["trained_on_this_split"]:
        logging.warning(
            "the head was trained on videos of %s: no score to report", split
        )
    if shared := found.get("shared_groups"):
        logging.warning(
            "%d persons or recordings are in several splits, which was allowed when "
            "the store was built: scores are partly on persons that the head knows",
            len(shared),
        )
    stages.begin("smoothings")
    finished = finish(model, predicted, selection)
    resamples: dict[str, Any] = {}
    if finished.sweep:
        stages.begin("intervals")
        scores, resamples = scored(model, finished)
        found |= scores
    if finished.ruled is not None:
        found["frame_rate"] = _frame_rate(model, finished)

    def write() -> None:
        _write(workdir, model, finished, found)
        write_resamples(workdir, resamples)
        if update_card:
            best = best_seed(selection, model.card.dev_scores)
            model.keep(
                Evaluated(
                    selection=selection,
                    best_seed=model.card.seeds[best],
                    scores=found.get("metrics"),
                )
            )
        write_json(workdir / "results.json", found)

    stages.begin("predictions and plots")
    distributed.on_first(write)
    stages.end()
    return found


def _frame_rate(model: Model, finished: Finished) -> dict[str, Any]:
    """The block ``frame_rate`` of results.json."""
    choices, ruled = finished.selection.frame_rates, finished.ruled
    assert choices is not None
    assert ruled is not None
    all_frames = None
    if finished.sweep:
        ending = "_given" if model.task.kind == "multilabel" else ""
        smoothings = finished.selection.smoothings
        scores = pick(finished.sweep, smoothings, f"with_crop{ending}")
        all_frames = scores[model.task.headline].tolist()
    rule = model.options.frame_rate.rule
    return results.frame_rate_block(rule, choices, ruled, all_frames)


def _write(
    workdir: pathlib.Path, model: Model, finished: Finished, found: dict[str, Any]
) -> None:
    """Writes predictions by the seed best on dev, and plots where there are labels."""
    predicted, selection = finished.predicted, finished.selection
    best = best_seed(selection, model.card.dev_scores)
    dense = np.asarray(finished.dense[best])
    limits = None if selection.thresholds is None else selection.thresholds[best]
    fitted = _written_with(model, selection)
    scores, mapped = dense, limits
    if "frames" in fitted:
        scores, mapped = fitted["frames"].scaled(dense, best, limits)
    write_predictions(
        predictions_of(
            workdir / "predictions.csv",
            predicted.table,
            predicted.fill_map,
            scores,
            thresholds=mapped,
            labels=bool(finished.sweep),
        )
    )
    write_sets(workdir, finished, best)
    ruled, whole = finished.ruled, fitted.get("videos")
    write_by_video(
        workdir,
        predicted,
        dense,
        thresholds=limits,
        embedded=None if ruled is None else ruled.embedded[best],
        labels=bool(finished.sweep),
        scaled=None if whole is None else functools.partial(whole.scaled, seed=best),
    )
    if finished.sweep:
        figures.draw_figures(
            workdir / "plots",
            found,
            predicted.table,
            predicted.fill_map,
            dense,
            sweep=finished.sweep,
            selection=selection,
            seed=best,
        )


def _written_with(model: Model, selection: Selection) -> Mapping[Scored, Certainty]:
    """What is fitted to the probabilities that are written; empty: nothing is done."""
    if model.options.calibration == "none" or model.task.kind == "regression":
        return {}
    if not selection.certainty:
        logging.warning(
            "%s: config.postprocess.calibration is %r, and nothing was fitted on dev%s:"
            " probabilities are written as they are",
            model.task.name,
            model.options.calibration,
            f", as {selection.reason}" if selection.reason else "",
        )
    return selection.certainty


def describe(
    model: Model, data: Data, table: FrameTable, selection: Selection
) -> dict[str, Any]:
    """The content of results.json beside the scores."""
    card = model.card
    found = {
        "schema_version": results.SCHEMA_VERSION,
        "task": card.task,
        "data": "demo"
        if data.name == "demo"
        else {"path": data.name, "fingerprint": table.fingerprint},
        "synthetic": bool(data.store.synthetic),
        "features": model.features,
        "head": model.kind,
        "split": table.split,
        "checkpoint": model.fingerprint,
        "faces": any(one.kind == "visual" for one in table.feature_sets),
        "num_seeds": len(card.seeds),
        "seed": card.seeds[0],
        "chosen_on": selection.on,
        "chosen_by": selection.by if selection.on else None,
        "chosen_on_reason": selection.reason,
        "protocol": card.protocol,
        "trained_on_this_split": bool(
            model.training_videos != UNKNOWN
            and set(model.training_videos) & set(table.videos)
        ),
        "counts": {**card.counts, table.split: table.counts()},
        "joined": table.report,
    }
    trained = card.config.get("train", {})
    if model.blend is None and trained.get("passes_per_epoch"):
        found["training"] = {
            "batch_size": card.config["batch_size"],
            "num_epochs": card.config["num_epochs"],
            "passes_per_epoch": trained["passes_per_epoch"],
            "early_stop_epochs": trained["early_stop_epochs"],
        }
    if model.blend is not None:
        found["heads"] = [
            {"features": head.features, "head": head.kind} for head in model.heads
        ]
    if isinstance(model, Ensemble):
        found["ensemble"] = model.averaged
    if shared := data.store.shared_groups(card.task, data.splits):
        found["shared_groups"] = shared
    chosen = {k: v for k, v in selection.to_dict().items() if v is not None}
    wanted = ("weights", "temperatures", "offsets", "confidences")
    return found | {name: chosen[name] for name in wanted if name in chosen}
