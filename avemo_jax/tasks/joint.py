"""Several tasks as one, trained together: their labels side by side, with masks."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Shaped

from avemo_jax.tasks.task import Task

if TYPE_CHECKING:
    from jax import Array

SCORE = "p"  # the ABAW multi-task challenges' name of the sum of the tasks' scores


@dataclasses.dataclass(frozen=True)
class TaskPart:
    """One of the tasks of a joint task, and its columns.

    Attributes:
        task: The task.
        outputs: The task's columns of the joint outputs.
        labels: The task's columns of the joint labels.
    """

    task: Task
    outputs: slice
    labels: slice

    def labels_of(self, joint: Any, xp: Any = np) -> tuple[Any, Any]:
        """The task's own labels (0 where invalid), and a mask of the valid ones.

        Args:
            joint: Joint labels (..., columns), NaN where the task has no valid label.
            xp: ``numpy`` or ``jax.numpy``, whichever ``joint`` is an array of.
        """
        labels = joint[..., self.labels]
        valid = xp.isfinite(labels).all(axis=-1)
        labels = xp.where(valid[..., None], labels, 0)
        if not self.task.label_shape:
            labels = labels[..., 0]
        return labels.astype(self.task.label_dtype), valid


@dataclasses.dataclass(frozen=True)
class JointTask(Task):
    """Several tasks that one head is trained on, with their outputs side by side.

    A frame's label is a vector of float32: a class as its number, units and values as
    they are, NaN in all columns of a task that has no valid label of the frame.

    Attributes:
        tasks: Two or more tasks, in the order of their columns.
    """

    tasks: tuple[Task, ...] = ()

    @property
    def parts(self) -> tuple[TaskPart, ...]:
        """The tasks with their columns, in order."""
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
        """Scores (..., outputs) in float32, each task's by its own activation."""
        import jax.numpy as jnp

        scores = [part.task.activate(own) for part, own in self.of_parts(logits)]
        return jnp.concatenate(scores, axis=-1)

    def empty_labels(self, num_frames: int) -> Shaped[np.ndarray, "frames ..."]:
        """Labels of ``num_frames`` frames, none of them valid."""
        return np.full((num_frames, *self.label_shape), np.nan, np.float32)

    def valid(
        self, labels: Shaped[np.ndarray, "frames ..."]
    ) -> Bool[np.ndarray, " frames"]:
        """Which frames have a valid label of any of the tasks."""
        masks = [part.labels_of(labels)[1] for part in self.parts]
        return np.asarray(np.any(masks, axis=0))

    def join(
        self, labels: Mapping[str, np.ndarray], num_frames: int
    ) -> Float[np.ndarray, "frames columns"]:
        """The joint labels of one video.

        Args:
            labels: Labels of the video's frames, by task; a task may be missing.
            num_frames: The video's length in frames, at least that of the labels.
        """
        joint = np.full((num_frames, *self.label_shape), np.nan, np.float32)
        for part in self.parts:
            own = labels.get(part.task.name)
            if own is None:
                continue
            valid = part.task.valid(own)
            wide = own.reshape(len(own), -1)
            joint[: len(own), part.labels] = np.where(valid[:, None], wide, np.nan)
        return joint


def joint_task(tasks: Sequence[Task]) -> JointTask:
    """The tasks as one, named after them, such as "EXPR+AU+VA".

    Raises:
        ValueError: If there are fewer than two tasks, or a task comes twice.
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
    """The split of a video when several tasks are trained together; "" for none.

    The official splits differ by task: a video that one task trains on may be
    another's validation. So a video is trained on only if no task has it in another
    split.

    Args:
        splits: The video's split in each task; "" where it is in none.
    """
    for split in ("test", "validation", "dev", "train"):
        if split in splits:
            return split
    return ""
