"""Rules that look at few frames: fitting their limits on dev, and applying them."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped

from avemo_jax.postprocess.frame_rate.refinement import Confidence, Refined, refine
from avemo_jax.postprocess.frame_rate.rules import (
    FIXED,
    FIXED_STRIDES,
    REFINED,
    REFINED_STRIDES,
    SEQUENTIAL,
    SEQUENTIAL_STRIDES,
    SLIDING,
    FrameRateRule,
)
from avemo_jax.postprocess.frame_rate.sequential import (
    REPORTED_LISTS,
    StrideEntries,
    Strides,
    all_medians,
    all_strides,
    entries_per_window,
    stride_entries,
)
from avemo_jax.postprocess.frame_rate.sequential_limits import (
    benjamini_hochberg_levels,
    false_acceptance_levels,
    fit_thresholds,
)
from avemo_jax.postprocess.smoothing import Smoothing
from avemo_jax.tasks import Task

# Shares of dev's frames that are in doubt with each grid.
DOUBT = (0.02, 0.05, 0.1, 0.2, 0.4, 0.7)
CONFIDENCES: dict[str, Confidence] = {
    "multiclass": "top",
    "multilabel": "margin",
    "regression": "variation",
}

# Lists of strides up to this length share one compiled program, and so do splits of
# up to so many frames.
_LEVELS = 4
_BLOCK = 16_384


def fit_rules(
    task: Task,
    scores: Float[np.ndarray, "frames outputs"],
    lo: Int[np.ndarray, " frames"],
    hi: Int[np.ndarray, " frames"],
    labels: Shaped[np.ndarray, "frames ..."],
    mask: Bool[np.ndarray, " frames"],
    *,
    smoothing: Smoothing,
    thresholds: Float[np.ndarray, " units"] | None = None,
) -> tuple[FrameRateRule, ...]:
    """All rules that are compared, their limits fitted on dev.

    Args:
        task: The task that is scored.
        scores: Scores of every frame of dev, where limits are fitted, gaps filled and
            not smoothed.
        lo: Where the video of each frame begins.
        hi: One past the end of each frame's video.
        labels: Labels in the task's form.
        mask: True where a frame counts.
        smoothing: (mode, half width) of the smoothing.
        thresholds: Thresholds of the action units; None is 0.5.
    """
    rules = [FrameRateRule(FIXED, (stride,)) for stride in FIXED_STRIDES]
    rules += fit_refined(
        task, scores, lo, hi, smoothing=smoothing, thresholds=thresholds
    )
    rules += [FrameRateRule(SLIDING, each) for each in REPORTED_LISTS if len(each) == 1]
    if task.kind == "multiclass":
        rules += fit_sequential(scores, lo, hi, labels, mask, smoothing[1])
    return tuple(rules)


def fit_refined(
    task: Task,
    scores: Float[np.ndarray, "frames outputs"],
    lo: Int[np.ndarray, " frames"],
    hi: Int[np.ndarray, " frames"],
    *,
    smoothing: Smoothing,
    thresholds: Float[np.ndarray, " units"] | None = None,
    lists: Sequence[Strides] = REFINED_STRIDES,
) -> list[FrameRateRule]:
    """Rules that refine a grid: each list of strides with several limits.

    The limits are quantiles (``DOUBT``) of the confidence that dev's frames have with
    each fixed grid.

    Args:
        task: The task that is scored.
        scores: Scores of every frame of dev, where limits are fitted, gaps filled and
            not smoothed.
        lo: Where the video of each frame begins.
        hi: One past the end of each frame's video.
        smoothing: (mode, half width) of the smoothing.
        thresholds: Thresholds of the action units; None is 0.5.
        lists: Strides of each rule, coarse to fine, two or more in each list.
    """
    coarse = all_strides([strides[:-1] for strides in lists])
    grids = Grids(task, scores, lo, hi, smoothing, thresholds)
    sure = {s: grids.run(FrameRateRule(FIXED, (s,)))[1] for s in coarse}
    limits = {s: np.quantile(np.asarray(sure[s]), DOUBT) for s in coarse}
    rules = []
    for strides in lists:
        for number, doubt in enumerate(DOUBT):
            each = tuple(float(limits[s][number]) for s in strides[:-1])
            rules.append(
                FrameRateRule(REFINED, strides, each, fitted_by=f"{doubt:.0%} in doubt")
            )
    return rules


def fit_sequential(
    scores: Float[np.ndarray, "frames classes"],
    lo: Int[np.ndarray, " frames"],
    hi: Int[np.ndarray, " frames"],
    labels: Int[np.ndarray, " frames"],
    mask: Bool[np.ndarray, " frames"],
    half_width: int,
    lists: Sequence[Strides] = SEQUENTIAL_STRIDES,
) -> list[FrameRateRule]:
    """Sequential rules: each list of strides with thresholds fitted in two ways.

    Thresholds are fitted by false acceptance and by Benjamini-Hochberg levels, of
    medians whatever the mode of the smoothing.

    Args:
        scores: Scores of every frame of dev, gaps filled and not smoothed.
        lo: Where the video of each frame begins.
        hi: One past the end of each frame's video.
        labels: Classes.
        mask: True where a frame counts.
        half_width: Frames on each side that a median looks at.
        lists: Strides of each rule, coarse to fine, two or more in each list.
    """
    strides = all_strides(lists)
    by_stride = _on_device(stride_entries(lo, hi, strides, half_width))
    medians = all_medians(
        jnp.asarray(scores), by_stride, strides=strides, half_width=half_width
    )
    rules = []
    for name, levels in (
        ("false acceptance", false_acceptance_levels(lists)),
        ("Benjamini-Hochberg", benjamini_hochberg_levels(lists)),
    ):
        fitted = fit_thresholds(
            medians, jnp.asarray(labels), jnp.asarray(mask), levels, strides
        )
        for each, row in zip(lists, np.asarray(fitted), strict=True):
            # infinity, where no decision is right, is no JSON; 2 is never reached
            limits = (min(float(row[strides.index(s)]), 2.0) for s in each[:-1])
            rules.append(FrameRateRule(SEQUENTIAL, each, tuple(limits), fitted_by=name))
    return rules


class RuleOutcome(NamedTuple):
    """What a rule gives on a split.

    Attributes:
        refined: Smoothed scores of every frame, and which are embedded.
        window_share: Share of all entries of all windows that are of embedded frames
            and are looked at.
    """

    refined: Refined
    window_share: float


def run_rules(
    task: Task,
    scores: Float[np.ndarray, "frames outputs"],
    lo: Int[np.ndarray, " frames"],
    hi: Int[np.ndarray, " frames"],
    rules: Sequence[FrameRateRule],
    *,
    smoothing: Smoothing,
    thresholds: Float[np.ndarray, " units"] | None = None,
) -> Iterator[tuple[FrameRateRule, RuleOutcome]]:
    """Each rule's outcome, one at a time; the grids first, then those that slide.

    Args:
        task: The task that is scored.
        scores: Finite scores of every frame, gaps filled and not smoothed.
        lo: Where the video of each frame begins.
        hi: One past the end of each frame's video.
        rules: The rules, each once.
        smoothing: (mode, half width) of the smoothing; sliding windows take medians.
        thresholds: Thresholds of the action units; None is 0.5.

    Raises:
        ValueError: If a score is NaN or infinite, or a sequential rule is not for EXPR.
    """
    if bad := int((~np.isfinite(scores)).sum()):
        raise ValueError(
            f"{bad} of {scores.size} scores are NaN or infinite; expected finite "
            "ones; look for the step at which the head diverged"
        )
    wrong = [r for r in rules if r.family == SEQUENTIAL and task.kind != "multiclass"]
    if wrong:
        raise ValueError(
            f"{len(wrong)} sequential rules for {task.name}; expected them for EXPR "
            "only; leave them out"
        )
    half_width = smoothing[1]
    index = np.arange(len(lo))
    begin, end = (
        np.maximum(index - half_width, lo),
        np.minimum(index + half_width + 1, hi),
    )
    all_entries = int((end - begin).sum(dtype=np.int64))
    on_grid = [rule for rule in rules if rule.family in (FIXED, REFINED)]
    if on_grid:
        grids = Grids(task, scores, lo, hi, smoothing, thresholds)
    for rule in on_grid:
        refined, _ = grids.run(rule)
        total = np.append(0, np.cumsum(np.asarray(refined.embedded), dtype=np.int64))
        entries = int((total[end] - total[begin]).sum())
        yield rule, RuleOutcome(refined, entries / all_entries)
    if sliding := [rule for rule in rules if rule not in on_grid]:
        for rule, refined, entries in _slid(scores, lo, hi, sliding, half_width):
            yield rule, RuleOutcome(refined, entries / all_entries)


def _slid(
    scores: Float[np.ndarray, "frames outputs"],
    lo: Int[np.ndarray, " frames"],
    hi: Int[np.ndarray, " frames"],
    rules: Sequence[FrameRateRule],
    half_width: int,
) -> Iterator[tuple[FrameRateRule, Refined, int]]:
    """Scores and embedded frames by each rule with sliding windows; window entries."""
    strides = all_strides([rule.strides for rule in rules])
    by_stride = stride_entries(lo, hi, strides, half_width)
    medians = all_medians(
        jnp.asarray(scores),
        _on_device(by_stride),
        strides=strides,
        half_width=half_width,
    )
    tops = np.asarray(medians.max(axis=-1))
    for rule in rules:
        stage, embedded, entries = _decide(rule, tops, strides, by_stride, half_width)
        chosen = medians[jnp.asarray(stage), jnp.arange(len(lo))]
        yield rule, Refined(chosen, jnp.asarray(embedded)), entries


def _decide(
    rule: FrameRateRule,
    tops: Float[np.ndarray, "strides frames"],
    strides: Strides,
    by_stride: Sequence[StrideEntries],
    half_width: int,
) -> tuple[Int[np.ndarray, " frames"], Bool[np.ndarray, " frames"], int]:
    """Index of the stride that decides each frame, embedded frames, window entries.

    ``sequential.sequential`` does this on the device, but takes long to compile.
    """
    undecided = np.ones(tops.shape[1], bool)
    stage, embedded = np.zeros(tops.shape[1], np.int32), ~undecided
    entries = 0
    for stride, limit in zip(rule.strides, (*rule.limits, -np.inf), strict=True):
        k = strides.index(stride)
        anchor, stop = np.asarray(by_stride[k].anchor), np.asarray(by_stride[k].stop)
        begin = anchor[undecided]
        end = np.minimum(begin + entries_per_window(stride, half_width), stop[begin])
        entries += int((end - begin).sum(dtype=np.int64))
        change = np.bincount(begin, minlength=len(stop) + 1)
        change -= np.bincount(end, minlength=len(stop) + 1)
        embedded[np.asarray(by_stride[k].source)[np.cumsum(change)[:-1] > 0]] = True
        accepted = undecided & (tops[k] >= np.float32(limit))
        stage[accepted] = k
        undecided &= ~accepted
    return stage, embedded, entries


class Grids:
    """Applies rules with a grid to one split; nearly all share a compiled program."""

    def __init__(
        self,
        task: Task,
        scores: Float[np.ndarray, "frames outputs"],
        lo: Int[np.ndarray, " frames"],
        hi: Int[np.ndarray, " frames"],
        smoothing: Smoothing,
        thresholds: Float[np.ndarray, " units"] | None,
    ):
        """Adds a video of zeros to the split, so that like lengths share a program."""
        self._num_frames = len(scores)
        more = _padded_length(len(scores)) - len(scores)
        ends = (len(scores), len(scores) + more)
        self._arrays = (
            jnp.pad(jnp.asarray(scores), ((0, more), (0, 0))),
            jnp.asarray(np.append(lo, np.full(more, ends[0])), jnp.int32),
            jnp.asarray(np.append(hi, np.full(more, ends[1])), jnp.int32),
        )
        self._thresholds = jnp.asarray(
            0.5 if thresholds is None else thresholds, jnp.float32
        )
        self._smoothing, self._confidence = smoothing, CONFIDENCES[task.kind]

    def run(self, rule: FrameRateRule) -> tuple[Refined, Float[Array, " frames"]]:
        """The rule's outcome, and the confidence of each frame with its last stride."""
        more = max(_LEVELS - len(rule.strides), 0)
        refined, sure = _run(
            *self._arrays,
            jnp.array([*rule.strides, *[1] * more], jnp.int32),
            jnp.array([*rule.limits, *[0.0] * (more + 1)], jnp.float32),
            jnp.int32(len(rule.strides)),
            jnp.int32(self._smoothing[1] if rule.reach is None else rule.reach),
            self._thresholds,
            smoothing=self._smoothing,
            confidence=self._confidence,
        )
        count = self._num_frames
        return Refined(*(each[:count] for each in refined)), sure[:count]


_run = jax.jit(refine, static_argnames=("smoothing", "confidence"))


def _padded_length(num_frames: int) -> int:
    """The next power of two, or multiple of ``_BLOCK``."""
    if num_frames > _BLOCK:
        return -(-num_frames // _BLOCK) * _BLOCK
    return int(2 ** np.ceil(np.log2(max(num_frames, 1))))


def _on_device(by_stride: tuple[StrideEntries, ...]) -> tuple[StrideEntries, ...]:
    return tuple(StrideEntries(*map(jnp.asarray, of_stride)) for of_stride in by_stride)
