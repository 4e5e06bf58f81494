"""What is chosen on dev after training: windows and thresholds, for each seed."""

import dataclasses
from typing import Any

import numpy as np
from absl import logging
from jaxtyping import Float

from avemo_jax.data.table import FrameTable
from avemo_jax.postprocess.gaps import FillPlan, fill_plan
from avemo_jax.postprocess.smoothing import Setting
from avemo_jax.postprocess.sweep import choose, score_settings, thresholds_of
from avemo_jax.tasks import Task

NO_WINDOW: Setting = ("none", 0)


@dataclasses.dataclass(frozen=True)
class Selection:
    """How scores become decisions.

    Attributes:
        on: "dev", or None where nothing was chosen.
        reason: Why nothing was chosen; empty where it was.
        settings: Window of each seed.
        thresholds: AU: of each seed and unit, after smoothing; None for other tasks.
        raw_thresholds: AU: without smoothing.
        dev_scores: The headline score on dev with the window, of each seed; empty
            where nothing was chosen.
    """

    on: str | None
    reason: str
    settings: tuple[Setting, ...]
    thresholds: Float[np.ndarray, "seeds units"] | None
    raw_thresholds: Float[np.ndarray, "seeds units"] | None
    dev_scores: tuple[float, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As ``head.json`` keeps it."""
        return {
            "chosen_on": self.on,
            "reason": self.reason,
            "windows": [
                {"mode": mode, "half_width_frames": half}
                for mode, half in self.settings
            ],
            "thresholds": _listed(self.thresholds),
            "raw_thresholds": _listed(self.raw_thresholds),
            "dev_scores": list(self.dev_scores),
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> "Selection":
        """The inverse of :meth:`to_dict`."""
        windows = stored["windows"]
        return cls(
            on=stored["chosen_on"],
            reason=stored["reason"],
            settings=tuple((w["mode"], w["half_width_frames"]) for w in windows),
            thresholds=_array(stored["thresholds"]),
            raw_thresholds=_array(stored["raw_thresholds"]),
            dev_scores=tuple(stored["dev_scores"]),
        )


def fixed_selection(task: Task, num_seeds: int, reason: str) -> Selection:
    """The task's fixed window and thresholds of 0.5, and why."""
    limits = None
    if task.name == "AU":
        limits = np.full((num_seeds, task.num_outputs), 0.5, np.float32)
    return Selection(None, reason, (task.fixed_smoothing,) * num_seeds, limits, limits)


def select_on_dev(
    task: Task,
    table: FrameTable,
    scores: Float[np.ndarray, "seeds rows outputs"],
    *,
    faithful: bool,
) -> Selection:
    """For each seed the window, and the thresholds, that are best on dev.

    Args:
        task: Whose headline score decides, over frames with a crop.
        table: Dev.
        scores: Of its rows.
        faithful: Gaps and binarised smoothing as the original.
    """
    plan = plan_of(table, faithful=faithful)
    results = score_settings(
        task, scores, plan, table.dense_labels, settings=(NO_WINDOW,)
    )
    limits = thresholds_of(results)
    raw = None if limits is None else np.asarray(limits[NO_WINDOW], np.float32)
    results = score_settings(
        task, smoothable(task, scores, raw, faithful), plan, table.dense_labels
    )
    choices = choose(results, task.headline)
    thresholds = None
    if task.name == "AU":
        thresholds = np.stack([np.asarray(c.thresholds) for c in choices])
    return Selection(
        on="dev",
        reason="",
        settings=tuple(choice.setting for choice in choices),
        thresholds=thresholds,
        raw_thresholds=raw,
        dev_scores=tuple(choice.score for choice in choices),
    )


def plan_of(table: FrameTable, *, faithful: bool) -> FillPlan:
    """How the frames of ``table``'s videos are filled from its rows.

    The original filled from the frames with a valid label only; ours from all rows, as
    is done in both where a split has no labels.
    """
    labelled = table.valid if faithful and table.valid.any() else None
    return fill_plan(
        table.frame,
        table.row_offsets,
        table.num_frames,
        faithful=faithful,
        samples=labelled,
    )


def warn_of_lost(table: FrameTable, plan: FillPlan) -> None:
    """Logs which videos have no row that their scores could be filled from."""
    first = zip(table.videos, table.dense_offsets, strict=False)
    if lost := [video for video, start in first if not plan.has_rows[start]]:
        logging.warning(
            "%d videos have no features; their frames get neutral scores: %s",
            *(len(lost), ", ".join(lost)),
        )


def best_seed(selection: Selection, card: dict[str, Any]) -> int:
    """Index of the seed that is best on dev; the first where there is no dev."""
    scores = selection.dev_scores or card.get("dev_scores") or [0.0]
    return int(np.argmax(scores))


def smoothable(
    task: Task,
    scores: Float[np.ndarray, "seeds rows outputs"],
    raw_thresholds: Float[np.ndarray, "seeds units"] | None,
    faithful: bool,
) -> Float[np.ndarray, "seeds rows outputs"]:
    """What windows go over: the scores; for AU as the original, 0/1 decisions."""
    if task.name == "AU" and faithful and raw_thresholds is not None:
        return (scores >= raw_thresholds[:, None]).astype(np.float32)
    return scores


def _listed(array: Float[np.ndarray, "..."] | None) -> Any:
    return None if array is None else np.round(array.astype(np.float64), 6).tolist()


def _array(values: Any) -> Float[np.ndarray, "..."] | None:
    return None if values is None else np.asarray(values, np.float32)
