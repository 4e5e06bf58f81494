"""All smoothings of all seeds, scored; and the choice among them."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from avemo_jax.metrics.scores import task_metrics
from avemo_jax.postprocess.blending import trust_confident
from avemo_jax.postprocess.gaps import FillMap, fill
from avemo_jax.postprocess.names import ThresholdRule
from avemo_jax.postprocess.smoothing import Smoothing, SmoothingMode, smooth_all
from avemo_jax.postprocess.thresholds import (
    exact_thresholds,
    fixed_thresholds,
    grid_thresholds,
)
from avemo_jax.tasks import Task

HALF_WIDTHS = (5, 15, 30, 60, 100, 200)


def smoothings_of(
    half_widths: Sequence[int] = (), *, gaussian: bool = False
) -> tuple[Smoothing, ...]:
    """No smoothing, and means, medians and perhaps Gaussian means of the half widths.

    Args:
        half_widths: Frames on each side; none takes those of the original.
        gaussian: Whether to add Gaussian means, which the original has not.
    """
    widths = tuple(half_widths) or HALF_WIDTHS
    modes: tuple[SmoothingMode, ...] = ("mean", "median")
    if gaussian:
        modes += ("gaussian",)
    return (("none", 0), *((mode, half) for mode in modes for half in widths))


SMOOTHINGS = smoothings_of()  # of the original

# Scores by name, of one smoothing on one set of frames; a leading axis of seeds.
Metrics = dict[str, Float[np.ndarray, "seeds ..."]]
# By set of frames: with_crop, all_labelled, and both again with the ending _given.
SmoothingScores = dict[str, Metrics]


@dataclasses.dataclass(frozen=True)
class ChosenSmoothing:
    """What was chosen for one seed.

    Attributes:
        mode: Mode of the smoothing.
        half_width: Frames on each side.
        thresholds: Thresholds of the action units; None for other tasks.
        score: The criterion's value, on the frames that the choice was made on.
    """

    mode: SmoothingMode
    half_width: int
    thresholds: Float[np.ndarray, " outputs"] | None
    score: float

    @property
    def smoothing(self) -> Smoothing:
        """Mode and half width, by which the results of a sweep are found."""
        return (self.mode, self.half_width)


class Trusted(NamedTuple):
    """An extractor's own probabilities, which stand where they are confident.

    Attributes:
        probs: Probabilities of the fill map's rows, in the order of the task's classes.
        confidences: Confidence of each seed over which they stand.
    """

    probs: Float[Array | np.ndarray, "rows classes"]
    confidences: Float[np.ndarray, " seeds"]


def neutral_score(task: Task) -> float:
    """Every score of a video without any row: 1 / classes, 0 for units and values."""
    return 1 / task.num_outputs if task.kind == "multiclass" else 0.0


def score_smoothings(
    task: Task,
    scores: Float[Array | np.ndarray, "seeds rows outputs"],
    fill_map: FillMap,
    labels: Shaped[np.ndarray, "frames ..."],
    *,
    smoothings: Sequence[Smoothing] = SMOOTHINGS,
    thresholds: Mapping[Smoothing, Float[np.ndarray, "seeds units"]] | None = None,
    threshold_rule: ThresholdRule = "grid",
    causal: bool = False,
    trusted: Trusted | None = None,
) -> dict[Smoothing, SmoothingScores]:
    """The task's scores at every smoothing, for every seed.

    Gaps are filled first. One seed's smoothed scores are in memory at a time: 4 bytes
    x frames x outputs x smoothings. Compiled once per number of frames and rows.

    Args:
        task: The task that is scored.
        scores: Scores of the rows after the activation.
        fill_map: From which rows each frame takes its scores.
        labels: Labels of the dense frames (``FrameTable.dense_labels``).
        smoothings: Pairs (mode, half width in frames).
        thresholds: AU only: thresholds chosen elsewhere, for any of the smoothings.
        threshold_rule: AU only: how the best thresholds are found: among .1 .. .9
            ("grid"), among all scores ("exact"), or 0.5 whatever the labels ("fixed").
        causal: Windows end with their own frame.
        trusted: EXPR only: the extractor's probabilities, smoothed like the scores and
            put in their place where confident; None leaves them out.

    Returns:
        Scores by smoothing, set of frames and name: ``with_crop`` (valid label, a row
        of its own) and ``all_labelled`` (valid label). For AU these are at the
        thresholds best for this smoothing, seed and its ``with_crop`` frames; if
        ``thresholds`` has the smoothing, both sets are given a second time, at those
        thresholds, with the ending ``_given``.

    Raises:
        ValueError: If thresholds are given for a task other than AU, or ``smooth``
            would refuse a smoothing or the scores.
    """
    if thresholds is not None and task.kind != "multilabel":
        raise ValueError(
            f"thresholds given for {task.name}; expected them for AU only; omit them"
        )
    valid = jnp.asarray(task.valid(labels))
    masks = {"with_crop": valid & ~jnp.asarray(fill_map.filled), "all_labelled": valid}
    smoothed = _Smoother(task, fill_map, smoothings, causal, trusted)
    device_labels, by_seed = jnp.asarray(labels), []
    for i, rows in enumerate(scores):
        found = {}
        for smoothing, frames in zip(smoothings, smoothed(rows, i), strict=True):
            given = None if thresholds is None else thresholds.get(smoothing)
            limits = None if given is None else jnp.asarray(given[i], jnp.float32)
            found[smoothing] = _metrics(
                task, frames, device_labels, masks, limits, threshold_rule
            )
        by_seed.append(jax.device_get(found))  # waits; the frames can be freed
    return {s: _stack_sets([found[s] for found in by_seed]) for s in smoothings}


def score_frames(
    task: Task,
    frames: Float[Array, "seeds frames outputs"],
    fill_map: FillMap,
    labels: Shaped[np.ndarray, "frames ..."],
    *,
    thresholds: Float[np.ndarray, "seeds units"] | None = None,
    threshold_rule: ThresholdRule = "grid",
) -> SmoothingScores:
    """The task's scores of final scores of every frame, for every seed.

    Args:
        task: The task that is scored.
        frames: Final scores of every frame by each seed.
        fill_map: How the frames were filled.
        labels: Labels of the frames (``FrameTable.dense_labels``).
        thresholds: AU only: thresholds chosen elsewhere.
        threshold_rule: AU only: how the thresholds best for these frames are found.

    Returns:
        Scores by set of frames and name, like those of ``score_smoothings`` at one
        smoothing.
    """
    valid = jnp.asarray(task.valid(labels))
    masks = {"with_crop": valid & ~jnp.asarray(fill_map.filled), "all_labelled": valid}
    seeds = []
    for i, one in enumerate(frames):
        limits = None if thresholds is None else jnp.asarray(thresholds[i], jnp.float32)
        scored = _metrics(task, one, jnp.asarray(labels), masks, limits, threshold_rule)
        seeds.append(jax.device_get(scored))
    return _stack_sets(seeds)


def choose_smoothing(
    results: Mapping[Smoothing, SmoothingScores],
    criterion: str,
    *,
    frames: str = "with_crop",
) -> list[ChosenSmoothing]:
    """For every seed the smoothing with the best score; of equal ones the first.

    Args:
        results: Scores from ``score_smoothings`` on the split to choose on.
        criterion: Name of a score; larger is better.
        frames: The set of frames that decides.

    Raises:
        ValueError: If there is no such score, or it is NaN somewhere.
    """
    smoothings = list(results)
    for smoothing in smoothings:
        known = results[smoothing].get(frames, {})
        if criterion not in known:
            raise ValueError(
                f"no score {criterion!r} on {frames!r} for smoothing {smoothing}; "
                f"expected one of {', '.join(known) or 'none'}; choose by one of these"
            )
    table = np.stack(
        [results[smoothing][frames][criterion] for smoothing in smoothings]
    )
    if np.isnan(table).any():
        raise ValueError(
            f"{int(np.isnan(table).sum())} of {table.size} values of {criterion!r} are "
            "NaN; expected numbers; look at the scores that were smoothed"
        )
    choices = []
    for seed, best in enumerate(table.argmax(axis=0)):
        mode, half_width = smoothings[best]
        limits = results[smoothings[best]][frames].get("thresholds")
        choices.append(
            ChosenSmoothing(
                mode=mode,
                half_width=half_width,
                thresholds=None if limits is None else limits[seed],
                score=float(table[best, seed]),
            )
        )
    return choices


def pick(
    results: Mapping[Smoothing, SmoothingScores],
    smoothings: Sequence[Smoothing],
    frames: str,
) -> Metrics:
    """The scores of each seed at its own smoothing.

    Args:
        results: Scores from ``score_smoothings``.
        smoothings: One for each seed, e.g. ``[c.smoothing for c in choices]``.
        frames: ``with_crop``, ``all_labelled``, or one of both with ``_given``.
    """
    seeds = [
        {name: values[i] for name, values in results[smoothing][frames].items()}
        for i, smoothing in enumerate(smoothings)
    ]
    return _stack(seeds)


def sweep_thresholds(
    results: Mapping[Smoothing, SmoothingScores], frames: str = "with_crop"
) -> dict[Smoothing, Float[np.ndarray, "seeds units"]] | None:
    """Thresholds found best at each smoothing, in the form for ``score_smoothings``.

    Args:
        results: Scores from ``score_smoothings`` on dev.
        frames: The set of frames to take them from.

    Returns:
        Thresholds by smoothing, or None where the task has no thresholds.
    """
    if not all("thresholds" in scores[frames] for scores in results.values()):
        return None
    return {smoothing: s[frames]["thresholds"] for smoothing, s in results.items()}


class _Smoother:
    """Makes one seed's smoothed scores of every frame from its scores of rows."""

    def __init__(
        self,
        task: Task,
        fill_map: FillMap,
        smoothings: Sequence[Smoothing],
        causal: bool,
        trusted: Trusted | None,
    ):
        self._neutral = neutral_score(task)
        self._fill_map = fill_map
        self._fill_map_on_device = jax.tree.map(jnp.asarray, fill_map)
        self._smoothings, self._causal = smoothings, causal
        self._trusted = trusted
        self._extractor = None if trusted is None else self._smooth(trusted.probs)

    def __call__(
        self, rows: Float[Array | np.ndarray, "rows outputs"], seed: int
    ) -> tuple[Float[Array, "frames outputs"], ...]:
        dense = self._smooth(rows)
        if self._trusted is None or self._extractor is None:
            return dense
        level = float(self._trusted.confidences[seed])
        pairs = zip(dense, self._extractor, strict=True)
        return tuple(trust_confident(own, other, level) for own, other in pairs)

    def _smooth(
        self, rows: Float[Array | np.ndarray, "rows outputs"]
    ) -> tuple[Float[Array, "frames outputs"], ...]:
        dense = _fill(jnp.asarray(rows), self._fill_map_on_device, self._neutral)
        lo, hi = self._fill_map.lo, self._fill_map.hi
        return smooth_all(dense, lo, hi, self._smoothings, causal=self._causal)


def _metrics(
    task: Task,
    frames: Float[Array, "frames outputs"],
    labels: Shaped[Array, "frames ..."],
    masks: Mapping[str, Array],
    given: Float[Array, " outputs"] | None,
    rule: ThresholdRule,
) -> dict[str, dict[str, Array]]:
    """One seed's scores at one smoothing: by set of frames, then by name."""
    best = None
    if task.kind == "multilabel" and rule == "fixed":
        best = fixed_thresholds(task.num_outputs)
    elif task.kind == "multilabel":
        find = exact_thresholds if rule == "exact" else grid_thresholds
        best = find(frames, labels, masks["with_crop"])
    out = {}
    for name, mask in masks.items():
        out[name] = task_metrics(task.name, frames, labels, mask, best)
        if given is not None:
            at_given = task_metrics(task.name, frames, labels, mask, given)
            out[f"{name}_given"] = at_given
    return out


@jax.jit
def _fill(
    rows: Float[Array, "rows outputs"], fill_map: FillMap, neutral: Float[Array, ""]
) -> Float[Array, "frames outputs"]:
    """``fill``, compiled."""
    return fill(rows, fill_map, neutral=neutral)


def _stack_sets(seeds: Sequence[Mapping[str, Any]]) -> SmoothingScores:
    """Seeds' scores of one smoothing, by set of frames."""
    return {name: _stack([seed[name] for seed in seeds]) for name in seeds[0]}


def _stack(seeds: Sequence[Mapping[str, Any]]) -> Metrics:
    """Seeds' scores along a new first axis, by name."""
    return {name: np.stack([m[name] for m in seeds]) for name in seeds[0]}
