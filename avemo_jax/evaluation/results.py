"""results.json: scores of all seeds, with their means and standard deviations."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool

from avemo_jax.data.store.table import FrameTable
from avemo_jax.metrics.intervals import named
from avemo_jax.models.embedded_frames import RuledScores
from avemo_jax.postprocess.frame_rate.comparison import RateChoice
from avemo_jax.postprocess.smoothing import Smoothing
from avemo_jax.postprocess.smoothing_sweep import Metrics, SmoothingScores, pick
from avemo_jax.tasks import Task

SCHEMA_VERSION = 1
FRAME_SETS = ("with_crop", "all_labelled")


def mean_scores(task: Task, scores: Metrics) -> dict[str, Any]:
    """Means over seeds, with ``_std`` beside them where there are several seeds.

    Thresholds of several seeds are left out: no seed has their mean.
    """
    block: dict[str, Any] = {}
    for name, values in scores.items():
        if name == "thresholds" and len(values) > 1:
            continue
        wide = np.asarray(values, np.float64)
        block[name] = named(task, wide.mean(axis=0))
        if len(wide) > 1 and wide.ndim == 1:
            block[f"{name}_std"] = float(wide.std(ddof=1))
    return block


def block_of(
    task: Task,
    scores: Mapping[Smoothing, SmoothingScores],
    smoothings: Sequence[Smoothing],
    counts: Mapping[str, Mapping[str, int]],
    *,
    ending: str = "",
    sets: Sequence[str] = FRAME_SETS,
    fps: float | None = None,
    causal: bool = False,
    intervals: Mapping[str, Mapping[str, Any]] | None = None,
    embedded: Bool[np.ndarray, "seeds frames"] | None = None,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """One block of ``metrics``, such as ``raw``: means, and by seed.

    Args:
        task: The task that is scored.
        scores: The task's scores at every smoothing.
        smoothings: The smoothing of each seed.
        counts: Numbers beside the scores of each set, such as ``num_frames``.
        ending: "_given" for thresholds chosen elsewhere.
        sets: Names of the sets of frames to report.
        fps: Frames per second, to give windows in seconds; None where unknown.
        causal: Windows end with their own frame.
        intervals: Intervals of each set of frames; None gives none.
        embedded: Frames that each seed's rule embeds, for their share; None where all
            are embedded.
    """
    block: dict[str, Any] = {}
    by_seed: list[dict[str, Any]] = [{} for _ in smoothings]
    for name in sets:
        found = pick(scores, smoothings, name + ending)
        beside = (intervals or {}).get(name, {})
        means = mean_scores(task, found)
        block[name] = {**means, **beside, **counts[name]}
        for i, one in enumerate(by_seed):
            one[name] = {key: named(task, v[i]) for key, v in found.items()}
    if len(sets) > 1:
        modes = [mode for mode, _ in smoothings]
        widths = [half for _, half in smoothings]
        same = len(set(smoothings)) == 1
        block["mode"] = modes[0] if same else modes
        block["half_width_frames"] = widths[0] if same else widths
        sides = 1 if causal else 2
        seconds = [
            None if fps is None else round((sides * w + 1) / fps, 3) for w in widths
        ]
        block["window_s"] = seconds[0] if same else seconds
        for one, mode, half in zip(by_seed, modes, widths, strict=True):
            one |= {"mode": mode, "half_width_frames": half}
    if embedded is not None:
        shares = embedded.mean(axis=1)
        block |= _mean("share_embedded", shares)
        for one, share in zip(by_seed, shares, strict=True):
            one["share_embedded"] = float(share)
    return block, by_seed


def frame_rate_block(
    rule: str,
    choices: Sequence[RateChoice],
    ruled: RuledScores,
    all_frames: Sequence[float] | None,
) -> dict[str, Any]:
    """The block ``frame_rate``: how many frames are embedded, and by which rule.

    Args:
        rule: The rule's name in the configuration.
        choices: What was chosen for each seed.
        ruled: What each seed's rule gives on the split, and costs.
        all_frames: Headline score over ``with_crop`` of each seed with the same
            smoothing over all frames; None where the split has no labels.
    """
    shares = ruled.embedded.mean(axis=1)
    block: dict[str, Any] = {
        "rule": rule,
        **_mean("share_embedded", shares),
        **_mean("share_of_window_entries", ruled.window_shares),
    }
    if all_frames is not None:
        block |= _mean("score_of_all_frames", all_frames)
    block["per_seed"] = []
    for i, choice in enumerate(choices):
        one = choice.rule.to_dict()
        del one["family"]
        one["share_embedded"] = float(shares[i])
        one["share_of_window_entries"] = float(ruled.window_shares[i])
        if all_frames is not None:
            one["score_of_all_frames"] = float(all_frames[i])
        if choice.share is not None:
            one["dev"] = {
                "share_embedded": choice.share,
                "score": choice.score,
                "score_of_all_frames": choice.full_score,
            }
        block["per_seed"].append(one)
    return block


def _mean(name: str, values: Sequence[float] | np.ndarray) -> dict[str, float]:
    """The mean over seeds, with ``_std`` beside it where there are several."""
    found = {name: float(np.mean(values))}
    if len(values) > 1:
        found[f"{name}_std"] = float(np.std(values, ddof=1))
    return found


def median_fps(table: FrameTable) -> float | None:
    """Median frames per second of the videos, None where unknown."""
    known = table.fps[np.isfinite(table.fps)]
    return float(np.median(known)) if len(known) else None
