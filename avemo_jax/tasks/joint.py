"""Several tasks as one, trained together: their labels side by side, with masks."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Shaped

from avemo_jax.tasks.task import Task

if TYPE_CHECKING:
    from jax import Array

SCORE = "p"  # of the ABAW multi-task challenges: the sum of the tasks' scores


@dataclasses.dataclass(frozen=True)
class TaskPart:
    """Where one of the tasks lies.

    Attributes:
        task: It.
        outputs: Its columns of the joint outputs.
        labels: Its columns of the joint labels.
    """

    task: Task
    outputs: slice
    labels: slice

    def labels_of(self, joint: Any, xp: Any = np) -> tuple[Any, Any]:
        """The task's own labels, 0 where it has none, and where it has some.

        Args:
            joint: Labels (..., columns), NaN where the task has none.
            xp: ``numpy`` or ``jax.numpy``, as ``joint`` is.
        """
        mine = joint[..., self.labels]
        known = xp.isfinite(mine).all(axis=-1)
        mine = xp.where(known[..., None], mine, 0)
        if not self.task.label_shape:
            mine = mine[..., 0]
        return mine.astype(self.task.label_dtype), known


@dataclasses.dataclass(frozen=True)
class JointTask(Task):
    """Several tasks that one head is trained on; its outputs are theirs in order.

    A frame's label is a row of float32: a class as a number, units and values as they
    are, NaN in all columns of a task that has no valid label of the frame.

    Attributes:
        tasks: Two or more.
    """

    tasks: tuple[Task, ...] = ()

    @property
    def parts(self) -> tuple[TaskPart, ...]:
        """The tasks with their columns."""
        parts, outputs, labels = [], 0, 0
        for task in self.tasks:
            width = int(np.prod(task.label_shape))
            parts.append(
                TaskPart(
                    task,
                    slice(outputs, outputs + task.num_outputs),
                    slice(labels, labels + width),
                )
            )
            outputs, labels = outputs + task.num_outputs, labels + width
        return tuple(parts)

    def of_parts(self, outputs: Any) -> Iterator[tuple[TaskPart, Any]]:
        """Each task with its columns of ``outputs`` (..., outputs)."""
        for part in self.parts:
            yield part, outputs[..., part.outputs]

    def activate(self, logits: "Array") -> "Array":
        """Scores of logits, in float32, each task's by its own activation."""
        import jax.numpy as jnp

        scores = [part.task.activate(mine) for part, mine in self.of_parts(logits)]
        return jnp.concatenate(scores, axis=-1)

    def empty_labels(self, num_frames: int) -> Shaped[np.ndarray, "frames ..."]:
        """Labels of ``num_frames`` frames, none of them valid."""
        return np.full((num_frames, *self.label_shape), np.nan, np.float32)

    def valid(
        self, labels: Shaped[np.ndarray, "frames ..."]
    ) -> Bool[np.ndarray, " frames"]:
        """Where a frame counts for any of the tasks."""
        known = [part.labels_of(labels)[1] for part in self.parts]
        return np.asarray(np.any(known, axis=0))

    def join(
        self, labels: Mapping[str, np.ndarray], num_frames: int
    ) -> Float[np.ndarray, "frames columns"]:
        """The joint labels of one video.

        Args:
            labels: By task, of its frames; a task may be missing.
            num_frames: Of the video.
        """
        joint = np.full((num_frames, *self.label_shape), np.nan, np.float32)
        for part in self.parts:
            mine = labels.get(part.task.name)
            if mine is None:
                continue
            valid = part.task.valid(mine)
            wide = mine.reshape(len(mine), -1)
            joint[: len(mine), part.labels] = np.where(valid[:, None], wide, np.nan)
        return joint


def joint_task(tasks: Sequence[Task]) -> JointTask:
    """The tasks as one, called "EXPR+AU+VA" after them.

    Raises:
        ValueError: If there are fewer than two, or one twice.
    """
    names = [task.name for task in tasks]
    if len(names) < 2 or len(set(names)) < len(names):
        raise ValueError(
            f"joint task {'+'.join(names)!r}; expected two or more tasks, each once, "
            "as EXPR+AU+VA: change config.task"
        )
    return JointTask(
        name="+".join(names),
        kind="joint",
        title=", ".join(task.title for task in tasks),
        header="",
        folders=(),
        columns=tuple(f"{t.name}_{c}" for t in tasks for c in t.columns),
        activation="softmax",
        label_shape=(sum(int(np.prod(task.label_shape)) for task in tasks),),
        label_dtype=np.float32,
        invalid=-1,
        score_range=(-1.0, 1.0),
        criterion=SCORE,
        headline=SCORE,
        fixed_smoothing=("none", 0),
        tasks=tuple(tasks),
    )


def joint_split(splits: Sequence[str]) -> str:
    """The split of a video in the training of several tasks.

    It is trained on only if no task keeps it for anything else, as the official sets
    differ by task: a video that one task trains on may be another's validation.

    Args:
        splits: By the tasks, "" where it is in none.
    """
    for split in ("test", "validation", "dev", "train"):
        if split in splits:
            return split
    return ""
