"""What is predicted of one input: its faces, frame by frame, with their scores."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float64, Int

from avemo_jax.tasks import Task

# Rows of a face by name of a task.
TaskScores = Mapping[str, Float[np.ndarray, "rows _"]]


@dataclasses.dataclass(frozen=True, eq=False)
class PredictedFace:
    """One face over every frame from the first to the last that shows it.

    Attributes:
        face_id: 1 for the face that most frames show, then 2, ...
        frame: Numbers of the frames, from 1, without gaps.
        success: Where the face was found, or lies between two frames in which it was
            found nearly alike.
        confidence: What the detector gives the face, 0 to 1; NaN where it was not
            found.
        boxes: Left, top, width and height in pixels of the pictures as they are shown;
            NaN where the face was not found.
        embedded: Where the network saw the face.
        filled: Where scores are taken from the frames around.
        raw: Scores before smoothing, by task; NaN where there are none.
        scores: Scores after smoothing, by task; NaN where there are none.
        spread: Standard deviation of ``scores`` over a model's seeds, by task; only
            tasks of ``Predicted.with_spread``.
        sets: Which classes are in each row's set, by task; only tasks of
            ``Predicted.with_sets``. No set is without the class decided.
        disagreement: Share of a model's seeds whose own class is another than the one
            decided, by task; only tasks of ``Predicted.with_disagreement``, NaN where
            there are no scores.
        audio_used: Where sound went into the scores; None: where there are scores, if
            ``Predicted.audio_used``, else nowhere.
        is_merged: Whether it was joined of faces of several scenes that look alike,
            which is uncertain.
    """

    face_id: int
    frame: Int[np.ndarray, " rows"]
    success: Bool[np.ndarray, " rows"]
    confidence: Float[np.ndarray, " rows"]
    boxes: Float[np.ndarray, "rows 4"]
    embedded: Bool[np.ndarray, " rows"]
    filled: Bool[np.ndarray, " rows"]
    raw: TaskScores
    scores: TaskScores
    spread: TaskScores = dataclasses.field(default_factory=dict)
    sets: Mapping[str, Bool[np.ndarray, "rows _"]] = dataclasses.field(
        default_factory=dict
    )
    disagreement: Mapping[str, Float[np.ndarray, " rows"]] = dataclasses.field(
        default_factory=dict
    )
    audio_used: Bool[np.ndarray, " rows"] | None = None
    is_merged: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Predicted:
    """All that is predicted of one input.

    Attributes:
        name: Name of the input in tables, and of its folder.
        path: The video or image, or the folder of a numbered sequence.
        times_s: When each frame is shown, in seconds from the track's start; of the
            frames from ``first_frame`` on.
        fps: Frames per second; 0 for an image.
        width: Width in pixels of the pictures as they are shown.
        height: Height in pixels of the pictures as they are shown.
        tasks: The tasks of the scores, in the order of the columns. For outputs that
            are not those of the benchmark, such as AffectNet's eight expressions, a
            task of the same name has other columns.
        thresholds: Threshold of each unit, by task of kind "multilabel".
        faces: The faces, by ``face_id``.
        audio_used: Whether sound went into the scores of any face.
        with_spread: Names of the tasks whose model has several seeds, whether or not a
            face was found.
        with_sets: Names of the tasks whose model gives sets of classes.
        with_disagreement: Names of the tasks of classes whose model has several seeds.
        notes: What a user should know, in words without the file's name.
        losses: What could not be read, in words; empty where all was.
        settings: What the run was asked for, for ``run.json``: plain values of JSON.
        stages_s: Seconds that each stage took, by its name.
        first_frame: Number of the first frame of ``times_s``; over 1 where only a part
            of the input was asked for, whose frames keep their numbers.
        files: The pictures of a numbered sequence in their order, or the one image;
            empty for a video.
    """

    name: str
    path: pathlib.Path
    times_s: Float64[np.ndarray, " frames"]
    fps: float
    width: int
    height: int
    tasks: tuple[Task, ...]
    thresholds: Mapping[str, Float[np.ndarray, " units"]]
    faces: tuple[PredictedFace, ...]
    audio_used: bool
    with_spread: tuple[str, ...] = ()
    with_sets: tuple[str, ...] = ()
    with_disagreement: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    losses: tuple[str, ...] = ()
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    stages_s: Mapping[str, float] = dataclasses.field(default_factory=dict)
    first_frame: int = 1
    files: tuple[pathlib.Path, ...] = ()

    @property
    def num_frames(self) -> int:
        """Number of frames that were decoded."""
        return len(self.times_s)

    def durations_s(self) -> Float64[np.ndarray, " frames"]:
        """How long each frame is shown, in seconds: until the next one.

        The last is shown as long as frames are at the median, and an image for 0 s.
        """
        until = np.diff(self.times_s)
        last = 1 / self.fps if self.fps > 0 else 0.0
        if len(until):
            last = float(np.median(until))
        return np.append(until, [last] * min(self.num_frames, 1))
