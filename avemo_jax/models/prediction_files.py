"""Predictions made elsewhere, as heads of a blend."""

import dataclasses
import hashlib
import pathlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from avemo_jax.batches.tables import Data
from avemo_jax.data.listing import entries
from avemo_jax.data.predictions.frames import FramePredictions
from avemo_jax.data.predictions.reading import read_frame_predictions
from avemo_jax.models.card import HEAD_FILE, Videos
from avemo_jax.postprocess.blending import HeadRows
from avemo_jax.runtime.regular_files import sha256_of
from avemo_jax.tasks import Task


@dataclasses.dataclass
class PredictionFile:
    """A file of scores by frame, in any form that ``data/predictions`` reads.

    Attributes:
        predictions: The predictions of all videos in the file.
        num_seeds: How many seeds the blend's heads have; all get the same scores.
        training_videos: Videos that the model behind the file was trained on.
    """

    predictions: FramePredictions
    num_seeds: int
    training_videos: Videos

    @property
    def kind(self) -> str:
        """What stands in the place of a network's kind."""
        return f"predictions ({self.predictions.path.name})"

    @property
    def features(self) -> list[str]:
        """An empty list: the scores need no feature sets of a store."""
        return []

    @property
    def fingerprint(self) -> str:
        """Digest of the file."""
        return digest(self.predictions.path)

    @property
    def best_epochs(self) -> Sequence[int | None]:
        """None for each seed, since training is unknown."""
        return [None] * self.num_seeds


def is_prediction_file(path: pathlib.Path) -> bool:
    """Whether ``path`` has predictions rather than a head checkpoint."""
    if path.is_dir():
        inside = {file.suffix for file in entries(path)}
        return not (path / HEAD_FILE).exists() and bool(inside & {".txt", ".npy"})
    return path.is_file()


def load_prediction_file(
    path: pathlib.Path,
    task: Task,
    *,
    num_seeds: int,
    trained_on: Videos,
) -> PredictionFile:
    """The predictions in ``path`` as a head of a blend.

    Args:
        path: A file or a folder.
        task: The task of the blend.
        num_seeds: How many seeds the blend's heads have.
        trained_on: Videos that the model behind the predictions was trained on.

    Raises:
        ValueError: If the file is malformed, or has decisions only, or logits.
    """
    found = read_frame_predictions(path, task)
    if found.scores is None:
        raise ValueError(
            f"{path} has decisions only; expected probabilities, for a blend is a mean "
            "of them: write the model's probabilities"
        )
    low, high = task.score_range
    if found.scores.min() < low or found.scores.max() > high:
        raise ValueError(
            f"{path} has scores from {found.scores.min():g} to {found.scores.max():g}; "
            f"expected {low:g} to {high:g}: write probabilities (or values) instead of "
            "logits"
        )
    return PredictionFile(found, num_seeds, trained_on)


def prediction_file_scores(
    head: PredictionFile, data: Data, split: str
) -> tuple[HeadRows, Float[np.ndarray, "seeds rows outputs"]]:
    """The file's frames of the videos of ``split``, and their scores for every seed.

    Frames that the reading filled in are left out; all seeds have the same scores.

    Raises:
        ValueError: If the file has no prediction for any of these videos.
    """
    found = head.predictions
    assert found.scores is not None
    wanted = set(data.store.split_videos(found.task.name, split, data.splits))
    taken = np.array([video in wanted for video in found.videos], bool)
    rows = np.flatnonzero(found.own & taken[found.video])
    if not len(rows):
        raise ValueError(
            f"{found.path} has no prediction of the {len(wanted)} {split} "
            f"videos; expected some (a blend is chosen on dev and reported on "
            "validation): predict these videos too, or correct the names"
        )
    place = np.cumsum(taken) - 1
    counts = np.bincount(place[found.video[rows]], minlength=int(taken.sum()))
    videos = tuple(v for v, t in zip(found.videos, taken, strict=True) if t)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    scores = found.scores[rows].astype(np.float32)
    shape = (head.num_seeds, *scores.shape)
    return HeadRows(videos, offsets, found.frame[rows]), np.broadcast_to(scores, shape)


def digest(path: pathlib.Path) -> str:
    """sha256 of a file, or of all files of a folder with their names."""
    if path.is_file():
        return sha256_of(path)
    whole = hashlib.sha256()
    for one in entries(path):
        if one.is_file():
            whole.update(f"{one.name}\0{digest(one)}\0".encode())
    return whole.hexdigest()
