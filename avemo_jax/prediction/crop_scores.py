"""Scores of a trained head on our crops and on given ones of the same frames."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Shaped

from avemo_jax.data.corpus.annotations import read_annotations
from avemo_jax.embed import Embeddings
from avemo_jax.extraction.crop_check import CropRows
from avemo_jax.extraction.face_tracks import FaceTrack
from avemo_jax.metrics.numpy_states import video_states
from avemo_jax.metrics.states import decide
from avemo_jax.models.card import UNKNOWN
from avemo_jax.prediction.embedded_face import EmbeddedFace
from avemo_jax.prediction.face_scores import predicted_faces
from avemo_jax.prediction.models import PredictionModel, load_models
from avemo_jax.prediction.wanted_sets import WantedSet
from avemo_jax.tasks import Task

_Decided = Shaped[np.ndarray, "_ ..."]  # of frames


@dataclasses.dataclass(frozen=True)
class CropScore:
    """The score of one task, on the same frames by both crops.

    Attributes:
        task: Name of the task.
        score: Name of the score, as in ``results.json``.
        given: The score by the given crops; None: no frame counts.
        ours: The score by our crops.
        alike: Share of the decisions that are the same by both; of values, the mean
            difference.
        frames: Frames that count: labelled, with both crops.
        videos: Subject-videos that they are of.
    """

    task: str
    score: str
    given: float | None
    ours: float | None
    alike: float | None
    frames: int
    videos: int


def head_over_crops(checkpoint: str) -> tuple[PredictionModel, WantedSet]:
    """A trained model whose heads see aligned crops of one extractor, and these.

    Args:
        checkpoint: Folder of a head, a run, a blend or joint tasks.

    Raises:
        ValueError: If the model takes sound, several sets, or other crops.
        CheckpointError: If there is no model.
    """
    model = load_models([checkpoint], sound=False)
    if len(model.wanted) != 1 or model.wanted[0].crop != "aligned":
        sets = ", ".join(one.name for one in model.wanted)
        raise ValueError(
            f"--checkpoint {checkpoint} takes {sets}; expected a model of one set of "
            "aligned crops, which alone are compared here: name a head over such"
        )
    return model, model.wanted[0]


class CropScores:
    """The scores of a model on both crops of subject-videos, told one by one.

    What is kept are decisions, so memory does not grow with the features.
    """

    def __init__(
        self, model: PredictionModel, set_name: str, annotations: pathlib.Path
    ):
        """Reads the annotations.

        Args:
            model: The model.
            set_name: Full name of the feature set of the crops.
            annotations: Folder of the official annotations.

        Raises:
            ValueError: If a file of them is wrong, or there are none of a task.
        """
        names = [task.name for task in model.tasks]
        self._model, self._set = model, set_name
        self._labels = {
            one.video: one.labels for one in read_annotations(annotations, tasks=names)
        }
        self._found: dict[str, list[tuple[_Decided, _Decided, _Decided]]] = {
            name: [] for name in names
        }
        self._trained: dict[str, frozenset[str]] = {}
        self._left_out = 0
        unknown = False
        for heads in model.heads:
            seen: set[str] = set()
            for one in heads.models:
                if one.training_videos == UNKNOWN:
                    unknown = True
                else:
                    seen |= set(one.training_videos)
            self._trained[heads.task.name] = frozenset(seen)
        self._unknown = unknown

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of the scores, in words."""
        found = []
        if self._left_out:
            found.append(
                f"{self._left_out} subject-videos that the head was trained on are not "
                "scored"
            )
        if self._unknown:
            found.append(
                "it is not known which videos the head was trained on; if these are "
                "among them, the scores are too high"
            )
        return tuple(found)

    def add(
        self, video: str, rows: CropRows, times_s: Float[np.ndarray, " frames"]
    ) -> None:
        """Score a subject-video by both crops.

        Args:
            video: Its name.
            rows: What the network makes of its crops.
            times_s: When each frame of the video is shown, in seconds.
        """
        labels = self._labels.get(video, {})
        wanted = [
            task
            for task in self._model.tasks
            if task.name in labels and video not in self._trained[task.name]
        ]
        self._left_out += any(video in one for one in self._trained.values())
        if not wanted or not len(rows.frame):
            return
        given = self._decided(rows, rows.given, times_s)
        ours = self._decided(rows, rows.ours, times_s)
        for task in wanted:
            known = labels[task.name]
            frame = rows.frame[rows.frame <= len(known)]
            kept = slice(0, len(frame))
            own = known[frame - 1]
            counts = task.valid(own)
            self._found[task.name].append(
                (
                    given[task.name][kept][counts],
                    ours[task.name][kept][counts],
                    own[counts],
                )
            )

    def scores(self) -> tuple[CropScore, ...]:
        """The score of each task over all that was told."""
        return tuple(_score(task, self._found[task.name]) for task in self._model.tasks)

    def _decided(
        self,
        rows: CropRows,
        embedded: Embeddings,
        times_s: Float[np.ndarray, " frames"],
    ) -> Mapping[str, _Decided]:
        """What the model decides of each row, without smoothing."""
        count = len(rows.frame)
        nowhere = np.zeros((count, 4), np.float32)
        track = FaceTrack(
            rows.frame,
            nowhere,
            np.zeros((count, 5, 2)),
            np.ones(count),
            np.ones(count, bool),
        )
        outputs = {}
        if embedded.outputs is not None:
            outputs[self._set] = embedded.outputs
        face = EmbeddedFace(
            1,
            track,
            rows.frame,
            {self._set: embedded.features.astype(np.float16)},
            outputs,
            np.ones(count, bool),
        )
        span_s = float(times_s[-1] - times_s[0])
        fps = (len(times_s) - 1) / span_s if span_s > 0 else 0.0
        (found,) = predicted_faces(self._model, [face], times_s, fps=fps, smooth="none")
        limits = self._model.thresholds("none")
        at = rows.frame - found.frame[0]
        return {
            task.name: decide(task, found.scores[task.name][at], limits.get(task.name))
            for task in self._model.tasks
        }


def _score(
    task: Task, parts: Sequence[tuple[_Decided, _Decided, _Decided]]
) -> CropScore:
    """The score of one task over the frames of all subject-videos."""
    frames = sum(len(labels) for _, _, labels in parts)
    videos = sum(len(labels) > 0 for _, _, labels in parts)
    if not frames:
        return CropScore(task.name, task.headline, None, None, None, 0, 0)
    given, ours, labels = (
        np.concatenate(column) for column in zip(*parts, strict=True)
    )
    counted = np.ones(frames, bool)
    both = [
        float(video_states(task, one, labels, counted).together()[task.headline])
        for one in (given, ours)
    ]
    if task.kind == "regression":
        alike = float(np.abs(given - ours).mean())
    else:
        alike = float((given == ours).mean())
    return CropScore(task.name, task.headline, both[0], both[1], alike, frames, videos)
