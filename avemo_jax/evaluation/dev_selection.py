"""What is chosen on dev after training, for each seed: a ``Selection``."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from jaxtyping import Float

from avemo_jax.evaluation.results import median_fps
from avemo_jax.models.embedded_frames import choose_rates
from avemo_jax.models.frame_scores import SplitScores, blended, dense_scores, smoothable
from avemo_jax.models.options import Options
from avemo_jax.models.selection import NO_SMOOTHING, Selection, mean_over
from avemo_jax.postprocess.blending import (
    choose_blend,
    score_confidences,
    simplex_grid,
)
from avemo_jax.postprocess.clips import Clips, scored_units
from avemo_jax.postprocess.seconds import (
    SHORT_S,
    USUAL_FPS,
)
from avemo_jax.postprocess.smoothing import Smoothing
from avemo_jax.postprocess.smoothing_sweep import (
    ChosenSmoothing,
    SmoothingScores,
    choose_smoothing,
    score_smoothings,
    sweep_thresholds,
)
from avemo_jax.postprocess.thresholds import correct, prior_corrections

# Confidences to choose from; 1 never trusts the extractor, and wins if as good.
_CONFIDENCES = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.5)

SeedRows = Float[np.ndarray, "seeds rows outputs"]


def select_on_dev(
    predicted: SplitScores,
    options: Options,
    priors: Float[np.ndarray, " classes"] | None = None,
) -> Selection:
    """For each seed what is best on dev, by the headline score of frames with a crop.

    Where labels are of whole videos it is the score of these, unless the options say
    otherwise. In this order: weights of a blend, the smoothing with its thresholds, a
    correction of the classes and the smoothing with it, the confidence over which the
    extractor is trusted, the rule for the frames that are embedded.

    Args:
        predicted: Scores on dev.
        options: What may be chosen.
        priors: Share of each class in training, for ``options.correction``; None:
            unknown.

    Raises:
        ValueError: If a correction is asked for and the priors are unknown, or videos
            are to be scored as wholes and have several labels.
    """
    task, clips = predicted.task, chosen_clips(predicted, options)
    if clips is not None:
        logging.info(
            "%s: labels are of whole videos, by which all is chosen on %s; "
            "config.evaluate.unit='frame' chooses by frames",
            task.name,
            predicted.table.split,
        )
    weights = best_weights(predicted, options)
    rows = blended(predicted.scores, weights)
    raw = short = None
    if task.kind == "multilabel":
        raw, short = _plain_thresholds(predicted, options, rows)
    unsmoothed = smoothable(task, rows, raw, options)
    choices = choose_smoothing(_scores(predicted, options, unsmoothed), task.headline)
    temperatures = offsets = confidences = None
    if task.kind == "multiclass" and options.correction == "prior":
        temperatures, offsets, rows = _corrections(
            predicted, options, rows, choices, priors
        )
        choices = choose_smoothing(_scores(predicted, options, rows), task.headline)
    scores = tuple(choice.score for choice in choices)
    smoothings = tuple(choice.smoothing for choice in choices)
    if predicted.extractor is not None and options.trust_extractor:
        confidences, scores = _confidences(predicted, options, rows, smoothings)
    thresholds = None
    if task.kind == "multilabel":
        thresholds = np.stack([np.asarray(c.thresholds) for c in choices])
    rates = None
    if options.frame_rate.rule != "all":
        unsmoothed = smoothable(task, rows, raw, options)
        rates = choose_rates(
            predicted, options.frame_rate, unsmoothed, smoothings, thresholds, clips
        )
        scores = tuple(choice.score for choice in rates if choice.score is not None)
    return Selection(
        on="dev",
        reason="",
        smoothings=smoothings,
        thresholds=thresholds,
        raw_thresholds=raw,
        dev_scores=scores,
        weights=weights,
        temperatures=temperatures,
        offsets=offsets,
        confidences=confidences,
        frame_rates=rates,
        by="frame" if clips is None else "video",
        short_thresholds=short,
    )


def _plain_thresholds(
    predicted: SplitScores, options: Options, rows: SeedRows
) -> tuple[Float[np.ndarray, "seeds units"], Float[np.ndarray, "seeds units"]]:
    """Thresholds of scores that are not smoothed, and of means over half a second."""
    fps = median_fps(predicted.table) or USUAL_FPS
    short = mean_over(SHORT_S, fps)
    scores = _scores(predicted, options, rows, (NO_SMOOTHING, short))
    limits = sweep_thresholds(scores)
    assert limits is not None
    raw, of_short = (
        np.asarray(limits[one], np.float32) for one in (NO_SMOOTHING, short)
    )
    return raw, of_short


def chosen_clips(predicted: SplitScores, options: Options) -> Clips | None:
    """The clips that are scored as wholes for the choice; None: frames are scored.

    Raises:
        ValueError: If the options want clips, and labels are not of whole videos.
    """
    if options.unit == "frame":
        return None
    if options.unit == "video" and predicted.clips is None:
        raise ValueError(
            f"config.evaluate.unit is 'video' and labels of {predicted.task.name} are "
            "of frames; expected one label for each video, on all of its labelled "
            "frames; set 'auto' or 'frame'"
        )
    return predicted.clips


def best_weights(
    predicted: SplitScores, options: Options
) -> Float[np.ndarray, "seeds heads"] | None:
    """Weights best for each seed, from a grid in steps of .1; None for one head.

    For this the heads are smoothed by the task's fixed smoothing, no wider than the
    widest that may be chosen, since the blend will be smoothed: what is best for single
    frames is not best after smoothing. Of equally good weights those win that give the
    first head more.
    """
    num_heads, num_seeds = predicted.scores.shape[:2]
    if num_heads == 1:
        return None
    task, labels = predicted.task, predicted.table.dense_labels
    mode, half = task.fixed_smoothing
    widest = max(half_width for _, half_width in options.smoothings)
    smoothings = ((mode, min(half, widest)),) * num_seeds
    dense = jnp.stack(
        [
            dense_scores(predicted, head, smoothings, causal=options.causal)
            for head in predicted.scores
        ]
    )
    grid = jnp.asarray(simplex_grid(num_heads)[::-1])
    mask = jnp.asarray(predicted.with_crop)
    scores, truth, counted = scored_units(
        chosen_clips(predicted, options), dense, jnp.asarray(labels), mask
    )
    chosen = [
        choose_blend(task.name, scores[:, seed], truth, counted, grid)
        for seed in range(num_seeds)
    ]
    return np.stack([np.asarray(one.weights) for one in chosen])


def _scores(
    predicted: SplitScores,
    options: Options,
    rows: SeedRows,
    smoothings: tuple[Smoothing, ...] | None = None,
) -> Mapping[Smoothing, SmoothingScores]:
    """Scores at all smoothings of the options, or at ``smoothings``."""
    return score_smoothings(
        predicted.task,
        rows,
        predicted.fill_map,
        predicted.table.dense_labels,
        smoothings=options.smoothings if smoothings is None else smoothings,
        threshold_rule=options.threshold_rule,
        causal=options.causal,
        clips=chosen_clips(predicted, options),
    )


def _corrections(
    predicted: SplitScores,
    options: Options,
    rows: SeedRows,
    choices: list[ChosenSmoothing],
    priors: Float[np.ndarray, " classes"] | None,
) -> tuple[Any, Any, SeedRows]:
    """Best temperature and offsets with each seed's smoothing; and corrected rows."""
    if priors is None:
        raise ValueError(
            "the classes' shares in training are unknown; config.postprocess.correction"
            " 'prior' needs a head that says them; train it anew, or set 'none'"
        )
    candidates = prior_corrections(priors)
    temperatures, offsets, corrected = [], [], []
    for one, choice in zip(rows, choices, strict=True):
        changed = np.asarray(jax.vmap(correct, (None, 0))(jnp.asarray(one), candidates))
        found = _scores(predicted, options, changed, (choice.smoothing,))
        f1 = found[choice.smoothing]["with_crop"][predicted.task.headline]
        best = int(np.argmax(f1))
        temperatures.append(float(candidates.temperature[best]))
        offsets.append(np.asarray(candidates.offsets[best]))
        corrected.append(changed[best])
    return np.asarray(temperatures, np.float32), np.stack(offsets), np.stack(corrected)


def _confidences(
    predicted: SplitScores,
    options: Options,
    rows: SeedRows,
    smoothings: tuple[Smoothing, ...],
) -> tuple[Float[np.ndarray, " seeds"], tuple[float, ...]]:
    """Confidence over which each seed trusts the extractor, and its score on dev."""
    assert predicted.extractor is not None
    probs = np.broadcast_to(predicted.extractor, rows.shape)
    dense = dense_scores(predicted, rows, smoothings, causal=options.causal)
    trusted = dense_scores(predicted, probs, smoothings, causal=options.causal)
    labels = predicted.table.dense_labels
    mask, clips = predicted.with_crop, chosen_clips(predicted, options)
    levels = jnp.asarray(_CONFIDENCES, jnp.float32)
    chosen, scores = [], []
    for own, extractor in zip(dense, trusted, strict=True):
        f1 = score_confidences(
            own, extractor, jnp.asarray(labels), jnp.asarray(mask), levels, clips
        )
        best = int(np.argmax(f1))
        chosen.append(_CONFIDENCES[best])
        scores.append(float(f1[best]))
    return np.asarray(chosen, np.float32), tuple(scores)
