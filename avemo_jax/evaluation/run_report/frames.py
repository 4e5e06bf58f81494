"""The frames of predictions.csv, read again for the report."""

import csv
import dataclasses
import pathlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from jaxtyping import Bool, Float, Int, Shaped

from avemo_jax.data.predictions.predictions_file import column_types
from avemo_jax.metrics.states import decide
from avemo_jax.runtime.tables.words import as_meant
from avemo_jax.tasks import Task


@dataclasses.dataclass(frozen=True)
class ReportFrames:
    """Predictions and labels of every frame of a split, one video after the other.

    Attributes:
        task: What is predicted.
        videos: Names of the videos.
        offsets: Where each video begins, and the number of frames at the end.
        has_crop: Frames with features of their own.
        filled: Frames whose scores come from others.
        scores: Final scores; values in [-1, 1].
        labels: Labels in the task's form; None where the split has none.
        thresholds: Threshold of each unit; None for other tasks.
    """

    task: Task
    videos: tuple[str, ...]
    offsets: Int[np.ndarray, " bounds"]
    has_crop: Bool[np.ndarray, " frames"]
    filled: Bool[np.ndarray, " frames"]
    scores: Float[np.ndarray, "frames outputs"]
    labels: Shaped[np.ndarray, "frames ..."] | None
    thresholds: Float[np.ndarray, " units"] | None

    @property
    def video(self) -> Int[np.ndarray, " frames"]:
        """Index of each frame's video."""
        return np.repeat(np.arange(len(self.videos)), np.diff(self.offsets))

    @property
    def counted(self) -> Bool[np.ndarray, " frames"]:
        """The frames that ``with_crop`` counts: with features and a valid label."""
        if self.labels is None:
            return np.zeros(len(self.scores), bool)
        return self.has_crop & self.task.valid(self.labels)

    @property
    def decided(self) -> Shaped[np.ndarray, "frames ..."]:
        """The class of each frame, which units are active, or the values."""
        return decide(self.task, self.scores, self.thresholds)

    def frames_of(self, video: int) -> slice:
        """The frames of one video."""
        return slice(int(self.offsets[video]), int(self.offsets[video + 1]))


def read_frames(
    path: pathlib.Path, task: Task, thresholds: Float[np.ndarray, " units"] | None
) -> ReportFrames:
    """The frames in a ``predictions.csv`` that this version wrote.

    Args:
        path: The file.
        task: What it has predictions of, an official task or one's own.
        thresholds: Threshold of each unit; None: 0.5, and for other tasks.
    """
    with path.open(encoding="utf-8", newline="") as file:
        header = next(csv.reader(file))
    labelled = any(name.startswith("label_") for name in header)
    read = pyarrow.csv.read_csv(
        path,
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=column_types(task, labels=labelled),
            null_values=[""],
            strings_can_be_null=True,
        ),
    ).combine_chunks()
    names = as_meant(read["video"]).combine_chunks().dictionary_encode()
    index = names.indices.to_numpy()
    begins = np.flatnonzero(np.diff(index, prepend=-1))
    scores = np.stack([read[name].to_numpy() for name in task.columns], axis=1)
    if task.kind == "multilabel" and thresholds is None:
        thresholds = np.full(task.num_outputs, 0.5)
    return ReportFrames(
        task=task,
        videos=tuple(names.dictionary.to_pylist()),
        offsets=np.append(begins, len(index)),
        has_crop=read["has_crop"].to_numpy() == 1,
        filled=read["filled"].to_numpy() == 1,
        scores=_of_units(task, scores) if task.kind == "regression" else scores,
        labels=_labels(task, read) if labelled else None,
        thresholds=thresholds,
    )


def _labels(task: Task, read: pa.Table) -> Shaped[np.ndarray, "frames ..."]:
    """Labels in the task's form, invalid where a cell is empty."""
    if task.kind == "multiclass":
        classes = pa.array(task.columns, pa.string())
        found = pc.index_in(read[f"label_{task.decided}"], value_set=classes)
        return np.asarray(found.fill_null(-1), np.int32).astype(task.label_dtype)
    columns: list[Any] = [read[f"label_{name}"] for name in task.columns]
    if task.kind == "multilabel":
        filled = [np.asarray(one.fill_null(-1)) for one in columns]
        return np.stack(filled, axis=1).astype(task.label_dtype)
    values = np.stack([one.to_numpy() for one in columns], axis=1)
    return _of_units(task, values).astype(task.label_dtype)


def _of_units(
    task: Task, values: Float[np.ndarray, "frames outputs"]
) -> Float[np.ndarray, "frames outputs"]:
    """Values of the user's unit as [-1, 1], the inverse of ``Task.in_units``."""
    low, high = task.value_range
    if (low, high) == (-1.0, 1.0):
        return values
    return (values - low) * (2 / (high - low)) - 1.0
