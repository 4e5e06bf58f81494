"""What is predicted of an input, read back from the folder that keeps it."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any, TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from avemo_jax.data.predictions.class_sets_file import sets_of
from avemo_jax.data.predictions.threshold_file import RUN
from avemo_jax.prediction.own_outputs import values_task
from avemo_jax.prediction.predicted import Predicted, PredictedFace
from avemo_jax.prediction.tables import BOXES, TaskColumns, task_columns
from avemo_jax.runtime.json_files import read_json
from avemo_jax.tasks import TASKS, Task, from_definition
from avemo_jax.tasks.own import TaskDefinition

PARQUET = "predictions.parquet"


class KeptTask(TaskDefinition):
    """A task as run.json keeps it.

    Attributes:
        bounded: Whether its scores have a least and a largest value.
    """

    bounded: bool


class KeptFace(TypedDict):
    """What run.json keeps of a face and the table does not.

    Attributes:
        face_id: Its number.
        is_merged: Whether it was joined of faces of several scenes.
    """

    face_id: int
    is_merged: bool


class KeptRun(TypedDict):
    """What run.json keeps of an input, beside what its table holds.

    Attributes:
        input: Name of the input.
        path: Where the input was.
        pictures: Where its pictures were, if it is no video.
        width: Width of its pictures in pixels.
        height: Height of its pictures in pixels.
        fps: Frames per second.
        first_frame: Number of the first frame.
        tasks: The tasks.
        thresholds: Threshold of each unit, by task and unit.
        faces: The faces.
        audio_used: Whether sound went into any score.
        notes: What a user should know.
        losses: What could not be read.
        settings: What was asked for.
        stages_s: Seconds of each stage.
    """

    input: str
    path: str
    pictures: tuple[str, ...]
    width: int
    height: int
    fps: float
    first_frame: int
    tasks: tuple[KeptTask, ...]
    thresholds: Mapping[str, Mapping[str, float]]
    faces: tuple[KeptFace, ...]
    audio_used: bool
    notes: tuple[str, ...]
    losses: tuple[str, ...]
    settings: Mapping[str, Any]
    stages_s: Mapping[str, float]


def read_predicted(
    folder: pathlib.Path,
    *,
    path: pathlib.Path | None = None,
    pictures: tuple[pathlib.Path, ...] | None = None,
) -> Predicted:
    """What is predicted of an input, from its run.json and predictions.parquet.

    Numbers are as exact as the table has them, and there are no scores before
    smoothing.

    Args:
        folder: The folder of the input, which is complete.
        path: Where the input is now; None: where it was.
        pictures: Where its pictures are now, if it is no video; None: where they were.

    Raises:
        ValueError: If a file is damaged, or none of this program.
        OSError: If one cannot be read.
    """
    remedy = "predict the input again, with --overwrite"
    run: KeptRun = read_json(folder / RUN, KeptRun, remedy=remedy)
    try:
        table = pyarrow.parquet.read_table(folder / PARQUET)
        tasks = tuple(kept_task(stored) for stored in run["tasks"])
        of_classes = tuple(t.name for t in tasks if t.kind == "multiclass")
        frame, first = table["frame"].to_numpy(), np.unique(table["frame"], True)[1]
        found = Predicted(
            name=run["input"],
            path=pathlib.Path(run["path"]) if path is None else path,
            times_s=table["timestamp"].to_numpy()[first],
            fps=run["fps"],
            width=run["width"],
            height=run["height"],
            tasks=tasks,
            thresholds={
                task.name: np.array(
                    [run["thresholds"][task.name][name] for name in task.columns]
                )
                for task in tasks
                if task.name in run["thresholds"]
            },
            faces=(),
            audio_used=run["audio_used"],
            with_spread=tuple(task.name for task in tasks),
            with_sets=of_classes,
            with_disagreement=of_classes,
            notes=run["notes"],
            losses=run["losses"],
            settings=run["settings"],
            stages_s=run["stages_s"],
            first_frame=int(frame[0]) if len(frame) else run["first_frame"],
            files=tuple(map(pathlib.Path, run["pictures"]))
            if pictures is None
            else pictures,
        )
        found = _with_columns(found, set(table.column_names))
        merged = {face["face_id"]: face["is_merged"] for face in run["faces"]}
        parts = task_columns(found)
        faces = tuple(
            _face(face_id, table, parts, merged[face_id]) for face_id in sorted(merged)
        )
    except (KeyError, pa.ArrowException) as error:
        raise ValueError(
            f"{folder}: {type(error).__name__}: {error!s:.300}; expected the files of "
            f"avemo predict: {remedy}"
        ) from error
    return dataclasses.replace(found, faces=faces)


def _with_columns(found: Predicted, there: set[str]) -> Predicted:
    """The prediction with what tells how sure it is, as far as there are columns."""
    parts = task_columns(found)

    def names(beside: str) -> tuple[str, ...]:
        return tuple(part.task.name for part in parts if getattr(part, beside) in there)

    return dataclasses.replace(
        found,
        with_spread=tuple(
            part.task.name for part in parts if set(part.spread) <= there
        ),
        with_sets=names("class_set"),
        with_disagreement=names("disagreement"),
    )


def kept_task(stored: KeptTask) -> Task:
    """The task that run.json keeps."""
    if stored["name"] in TASKS:
        return TASKS[stored["name"]].with_columns(stored["columns"])
    if not stored["bounded"]:
        return values_task(stored["name"], stored["columns"])
    return from_definition(stored)


def _face(
    face_id: int, table: pa.Table, parts: tuple[TaskColumns, ...], is_merged: bool
) -> PredictedFace:
    """The face of that number, from its rows of the table."""
    rows = table.filter(pc.equal(table["face_id"], face_id))

    def numbers(names: tuple[str, ...], dtype: type = np.float32) -> np.ndarray:
        """Columns side by side, NaN where they are empty."""
        values = [rows[name].to_numpy().astype(dtype) for name in names]
        return np.stack(values, axis=1)

    def flags(name: str) -> np.ndarray:
        return rows[name].to_numpy().astype(bool)

    scores, spread, sets, disagreement = {}, {}, {}, {}
    for part in parts:
        low, high = part.task.in_units(np.array([-1.0, 1.0]))
        values, wide = numbers(part.scores, np.float64), part.spread
        if (low, high) != (-1.0, 1.0):
            values = 2 * (values - low) / (high - low) - 1
        scores[part.task.name] = values.astype(np.float32)
        if wide:
            spread[part.task.name] = numbers(wide) * np.float32(2 / (high - low))
        if part.class_set:
            sets[part.task.name] = sets_of(part.task, rows[part.class_set])
        if part.disagreement:
            shares = numbers((part.disagreement,), np.float64)[:, 0]
            disagreement[part.task.name] = shares
    return PredictedFace(
        face_id=face_id,
        frame=rows["frame"].to_numpy(),
        success=flags("success"),
        confidence=numbers(("confidence",))[:, 0],
        boxes=numbers(BOXES),
        embedded=flags("embedded"),
        filled=flags("filled"),
        raw={},
        scores=scores,
        spread=spread,
        sets=sets,
        disagreement=disagreement,
        audio_used=flags("audio_used"),
        is_merged=is_merged,
    )
