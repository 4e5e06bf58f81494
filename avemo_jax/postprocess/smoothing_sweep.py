"""All smoothings of all seeds, scored; and the choice among them."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from avemo_jax.metrics.scores import best_thresholds, task_metrics
from avemo_jax.postprocess.clips import Clips, scored_units
from avemo_jax.postprocess.gaps import FillMap
from avemo_jax.postprocess.names import ThresholdRule
from avemo_jax.postprocess.smoothed_frames import Trusted, smoothed_frames
from avemo_jax.postprocess.smoothing import Smoothing, SmoothingMode
from avemo_jax.postprocess.thresholds import exact_thresholds
from avemo_jax.runtime.progress import progress_bar
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
    clips: Clips | None = None,
) -> dict[Smoothing, SmoothingScores]:
    """The task's scores at every smoothing, for every seed.

    Gaps are filled first. Compiled once per number of frames and rows.

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
        clips: The clips to score as wholes; None scores frames.

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
    score = _scorer(task, fill_map, labels, threshold_rule, clips)
    by_seed: list[dict[Smoothing, Any]] = []
    chosen = [tuple(smoothings)] * len(scores)
    dense = smoothed_frames(
        task, scores, fill_map, chosen, causal=causal, trusted=trusted
    )
    total = len(scores) * len(smoothings)
    with progress_bar(
        total, f"smoothings of {task.name}", "smoothing", delay_s=2.0, keep=False
    ) as bar:
        for i, at_smoothings in enumerate(dense):
            found = {}
            for smoothing, frames in zip(smoothings, at_smoothings, strict=True):
                given = None if thresholds is None else thresholds.get(smoothing)
                found[smoothing] = score(frames, None if given is None else given[i])
                bar.update()
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
    clips: Clips | None = None,
) -> SmoothingScores:
    """The task's scores of final scores of every frame, for every seed.

    Args:
        task: The task that is scored.
        frames: Final scores of every frame by each seed.
        fill_map: How the frames were filled.
        labels: Labels of the frames (``FrameTable.dense_labels``).
        thresholds: AU only: thresholds chosen elsewhere.
        threshold_rule: AU only: how the thresholds best for these frames are found.
        clips: The clips to score as wholes; None scores frames.

    Returns:
        Scores by set of frames and name, like those of ``score_smoothings`` at one
        smoothing.
    """
    score = _scorer(task, fill_map, labels, threshold_rule, clips)
    limits = [None] * len(frames) if thresholds is None else thresholds
    pairs = zip(frames, limits, strict=True)
    return _stack_sets([jax.device_get(score(one, given)) for one, given in pairs])


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


def _scorer(
    task: Task,
    fill_map: FillMap,
    labels: Shaped[np.ndarray, "frames ..."],
    rule: ThresholdRule,
    clips: Clips | None,
) -> Callable[..., dict[str, dict[str, Array]]]:
    """What scores one seed's frames: of their scores and of thresholds, or None."""
    valid = jnp.asarray(task.valid(labels))
    masks = {"with_crop": valid & ~jnp.asarray(fill_map.filled), "all_labelled": valid}
    on_device = jnp.asarray(labels)

    def score(frames: Array, given: np.ndarray | None) -> dict[str, dict[str, Array]]:
        limits = None if given is None else jnp.asarray(given, jnp.float32)
        units = {
            name: scored_units(clips, frames, on_device, mask)
            for name, mask in masks.items()
        }
        return _metrics(task, units, limits, rule)

    return score


def _metrics(
    task: Task,
    units: Mapping[str, tuple[Array, Array, Array]],
    given: Float[Array, " outputs"] | None,
    rule: ThresholdRule,
) -> dict[str, dict[str, Array]]:
    """One seed's scores at one smoothing: by set of frames, then by name."""
    best = None
    if task.kind == "multilabel" and rule == "fixed":
        best = jnp.full(task.num_outputs, 0.5, jnp.float32)
    elif task.kind == "multilabel":
        find = exact_thresholds if rule == "exact" else best_thresholds
        best = find(*units["with_crop"])
    out = {}
    for name, scored in units.items():
        out[name] = task_metrics(task.name, *scored, best)
        if given is not None:
            out[f"{name}_given"] = task_metrics(task.name, *scored, given)
    return out


def _stack_sets(seeds: Sequence[Mapping[str, Any]]) -> SmoothingScores:
    """Seeds' scores of one smoothing, by set of frames."""
    return {name: _stack([seed[name] for seed in seeds]) for name in seeds[0]}


def _stack(seeds: Sequence[Mapping[str, Any]]) -> Metrics:
    """Seeds' scores along a new first axis, by name."""
    return {name: np.stack([m[name] for m in seeds]) for name in seeds[0]}
