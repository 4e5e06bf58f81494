"""The best score that the labels of a split allow, where some outputs lack frames.

A class without a frame, or a unit that is active in none, has an F1 of 0 whatever is
predicted, and a value that is the same in all frames a CCC of 0: the mean over outputs
cannot reach 1.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Shaped

from avemo_jax.metrics.numpy_states import video_states
from avemo_jax.tasks import SCORE, JointTask, Task

_METRICS = {
    "multiclass": {"f1_macro": "macro F1", "accuracy": "accuracy"},
    "multilabel": {"f1_mean": "mean F1", "f1_mean_at_0.5": "mean F1, thresholds 0.5"},
    "joint": {SCORE: "P, the sum of the tasks' scores"},
}


def metric_titles(task: Task) -> dict[str, str]:
    """Titles of the scores that a table shows, by their names in results.json."""
    if task.kind == "regression":
        each = {f"ccc_{name}": f"CCC {name}" for name in task.columns}
        return {"ccc_mean": "mean CCC", **each}
    return _METRICS[task.kind]


def ceiling_of(
    task: Task,
    labels: Shaped[np.ndarray, "frames ..."],
    mask: Bool[np.ndarray, " frames"],
    outputs: tuple[int, ...] | None = None,
) -> dict[str, Any]:
    """The headline score of the labels themselves, in the form for JSON.

    Args:
        task: A task that is not joint.
        labels: Labels in the task's form.
        mask: True where a frame counts.
        outputs: Indices of the classes or units that are scored; None: all.

    Returns:
        The greatest headline score that predictions can have, under its name, and
        ``without_frames``, the outputs that cannot score; empty where all can, or no
        frame counts.
    """
    states = video_states(task, labels, labels, mask)
    states = dataclasses.replace(states, outputs=outputs)
    found, task = states.together(), states.scored_task
    by_output = found.get("f1_per_class", found.get("f1_per_unit"))
    if by_output is None:
        by_output = np.array([found[f"ccc_{name}"] for name in task.columns])
    if not mask.any() or by_output.all():
        return {}
    lacking = [name for name, s in zip(task.columns, by_output, strict=True) if not s]
    return {task.headline: float(found[task.headline]), "without_frames": lacking}


def ceiling_words(task: Task, ceiling: Mapping[str, Any]) -> str:
    """What ``ceiling_of`` found, unless it is empty, as words without a full stop."""
    names = ", ".join(ceiling["without_frames"])
    why = f"no frame of {names}"
    if task.kind == "regression":
        why = f"no two labels of {names} differ"
    title = metric_titles(task)[task.headline]
    return f"{why}: {title} cannot exceed {ceiling[task.headline]:.3g}"


def ceiling_notes(
    task: Task, ceilings: Mapping[str, Mapping[str, Any]], titles: Mapping[str, str]
) -> list[str]:
    """``ceiling_words`` of sets of frames, once where all sets have the same.

    Args:
        task: A task that is not joint.
        ceilings: What ``ceiling_of`` found, by set of frames; without the empty ones.
        titles: Titles of all sets of frames.
    """
    said = {name: ceiling_words(task, one) for name, one in ceilings.items()}
    if len(said) == len(titles) and len(set(said.values())) == 1:
        return list(said.values())[:1]
    return [f"{titles[name]}: {words}" for name, words in said.items()]


def ceilings_in_words(
    task: Task,
    labels: Shaped[np.ndarray, "frames ..."],
    mask: Bool[np.ndarray, " frames"],
) -> Iterator[str]:
    """What some outputs' lack of frames means, of each task with labels of a joint one.

    Args:
        task: A task, or several together.
        labels: Labels in the task's form.
        mask: True where a frame counts.
    """
    parts = [(task, labels, mask)]
    if isinstance(task, JointTask):
        own = [(part.task, *part.labels_of(labels)) for part in task.parts]
        parts = [(one, values, known & mask) for one, values, known in own]
    for one, values, counted in parts:
        if ceiling := ceiling_of(one, values, counted):
            yield f"{one.name}: {ceiling_words(one, ceiling)}"
