"""All smoothing settings of all members, scored; and the choice among them."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from avemo_jax.metrics import best_thresholds, task_metrics
from avemo_jax.postprocess.gaps import FillPlan, fill
from avemo_jax.postprocess.smoothing import Mode, Setting, smooth_all
from avemo_jax.tasks import Task

HALF_WIDTHS = (5, 15, 30, 60, 100, 200)
SETTINGS: tuple[Setting, ...] = (
    ("none", 0),
    *(("mean", half_width) for half_width in HALF_WIDTHS),
    *(("median", half_width) for half_width in HALF_WIDTHS),
)

# Scores by name, of one setting on one set of frames; a leading axis of members.
Metrics = dict[str, Float[np.ndarray, "members ..."]]
# By set of frames: with_crop, all_labelled, and both again with the ending _given.
SettingScores = dict[str, Metrics]


@dataclasses.dataclass(frozen=True)
class Choice:
    """What was chosen for one member.

    Attributes:
        mode: Of the window.
        half_width: Of the window, in frames.
        thresholds: Of the action units; None for other tasks.
        score: The criterion's value, on the frames it was chosen on.
    """

    mode: Mode
    half_width: int
    thresholds: Float[np.ndarray, " outputs"] | None
    score: float

    @property
    def setting(self) -> Setting:
        """Key of the sweep's results."""
        return (self.mode, self.half_width)


def neutral_score(task: Task) -> float:
    """What every output of a video without any row is: 1 / 8, 0 (inactive) or 0."""
    return 1 / task.num_outputs if task.name == "EXPR" else 0.0


def score_settings(
    task: Task,
    scores: Float[Array | np.ndarray, "members rows outputs"],
    plan: FillPlan,
    labels: Shaped[np.ndarray, "frames ..."],
    *,
    settings: Sequence[Setting] = SETTINGS,
    thresholds: Mapping[Setting, Float[np.ndarray, "members units"]] | None = None,
) -> dict[Setting, SettingScores]:
    """The task's scores at every smoothing setting, for every member.

    Gaps are filled first. One member's smoothed scores are in memory at a time: 4 bytes
    x frames x outputs x settings. Compiled once per number of frames and rows.

    Args:
        task: Whose scores and labels these are.
        scores: After the activation, for the rows of the plan.
        plan: Of the split.
        labels: Of the dense frames (``FrameTable.dense_labels``).
        settings: Pairs (mode, half width in frames).
        thresholds: AU only: chosen elsewhere, for any of the settings.

    Returns:
        By setting, set of frames and name: ``with_crop`` (valid label, a sample of the
        plan) and ``all_labelled`` (valid label). For AU these are at the thresholds
        best for this setting, member and its ``with_crop`` frames; if ``thresholds``
        has the setting, both are there again, at those, with the ending ``_given``.

    Raises:
        ValueError: If thresholds are given for a task other than AU, or as ``smooth``.
    """
    if thresholds is not None and task.name != "AU":
        raise ValueError(
            f"thresholds given for {task.name}; expected them for AU only; leave "
            "them out"
        )
    valid = task.valid(labels)
    masks = {
        "with_crop": jnp.asarray(valid & ~np.asarray(plan.filled)),
        "all_labelled": jnp.asarray(valid),
    }
    device_plan = jax.tree.map(jnp.asarray, plan)
    device_labels = jnp.asarray(labels)
    members = []
    for i, rows in enumerate(scores):
        dense = _fill(jnp.asarray(rows), device_plan, neutral_score(task))
        smoothed = smooth_all(dense, plan.lo, plan.hi, settings)
        member = {}
        for setting, frames in zip(settings, smoothed, strict=True):
            given = None if thresholds is None else thresholds.get(setting)
            limits = None if given is None else jnp.asarray(given[i], jnp.float32)
            member[setting] = _metrics(task, frames, device_labels, masks, limits)
        members.append(jax.device_get(member))  # waits; the frames can be freed
    return {
        setting: {
            name: _stack([member[setting][name] for member in members])
            for name in members[0][setting]
        }
        for setting in settings
    }


def choose(
    results: Mapping[Setting, SettingScores],
    criterion: str,
    *,
    frames: str = "with_crop",
) -> list[Choice]:
    """For every member the setting with the best score; of equal ones the first.

    Args:
        results: Of ``score_settings`` on the split to choose on.
        criterion: Name of a score; larger is better.
        frames: The set of frames that decides.

    Raises:
        ValueError: If there is no such score, or it is NaN somewhere.
    """
    settings = list(results)
    for setting in settings:
        known = results[setting].get(frames, {})
        if criterion not in known:
            raise ValueError(
                f"no score {criterion!r} on {frames!r} for setting {setting}; expected "
                f"one of {', '.join(known) or 'none'}; choose by one of these"
            )
    table = np.stack([results[setting][frames][criterion] for setting in settings])
    if np.isnan(table).any():
        raise ValueError(
            f"{int(np.isnan(table).sum())} of {table.size} values of {criterion!r} are "
            "NaN; expected numbers; look at the scores that were smoothed"
        )
    choices = []
    for member, best in enumerate(table.argmax(axis=0)):
        mode, half_width = settings[best]
        limits = results[settings[best]][frames].get("thresholds")
        choices.append(
            Choice(
                mode=mode,
                half_width=half_width,
                thresholds=None if limits is None else limits[member],
                score=float(table[best, member]),
            )
        )
    return choices


def pick(
    results: Mapping[Setting, SettingScores],
    settings: Sequence[Setting],
    frames: str,
) -> Metrics:
    """The scores of each member at its own setting.

    Args:
        results: Of ``score_settings``.
        settings: One for each member, e.g. ``[c.setting for c in choices]``.
        frames: ``with_crop``, ``all_labelled``, or one of both with ``_given``.
    """
    members = [
        {name: values[i] for name, values in results[setting][frames].items()}
        for i, setting in enumerate(settings)
    ]
    return _stack(members)


def thresholds_of(
    results: Mapping[Setting, SettingScores], frames: str = "with_crop"
) -> dict[Setting, Float[np.ndarray, "members units"]] | None:
    """Thresholds found best at each setting, as ``score_settings`` takes them.

    Args:
        results: Of ``score_settings`` on dev.
        frames: The set of frames they were found on.

    Returns:
        By setting, or None where the task has no thresholds.
    """
    if not all("thresholds" in scores[frames] for scores in results.values()):
        return None
    return {setting: s[frames]["thresholds"] for setting, s in results.items()}


def _metrics(
    task: Task,
    frames: Float[Array, "frames outputs"],
    labels: Shaped[Array, "frames ..."],
    masks: Mapping[str, Array],
    given: Float[Array, " outputs"] | None,
) -> dict[str, dict[str, Array]]:
    """One member's scores at one setting: by set of frames, then by name."""
    best = None
    if task.name == "AU":
        best = best_thresholds(frames, labels, masks["with_crop"])
    out = {}
    for name, mask in masks.items():
        out[name] = task_metrics(task.name, frames, labels, mask, best)
        if given is not None:
            at_given = task_metrics(task.name, frames, labels, mask, given)
            out[f"{name}_given"] = at_given
    return out


@jax.jit
def _fill(
    rows: Float[Array, "rows outputs"], plan: FillPlan, neutral: Float[Array, ""]
) -> Float[Array, "frames outputs"]:
    """``fill``, compiled."""
    return fill(rows, plan, neutral=neutral)


def _stack(members: Sequence[Mapping[str, Any]]) -> Metrics:
    """Members' scores along a new first axis, by name."""
    return {name: np.stack([m[name] for m in members]) for name in members[0]}
