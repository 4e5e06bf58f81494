"""States and draws by NumPy, in float64: what ``avemo score`` computes without JAX."""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from avemo_jax.metrics import states
from avemo_jax.metrics.bca import FEW
from avemo_jax.tasks import Task


@dataclasses.dataclass(frozen=True)
class VideoStates:
    """States of videos, from which the scores of any set of them are computed.

    Attributes:
        task: The task that is scored.
        num_frames: Number of frames that count in each video.
        state: ``Confusion``, ``Hits`` or ``Moments`` of each video.
        outputs: Indices of the classes or units that are scored; None: all.
    """

    task: Task
    num_frames: Int[np.ndarray, " videos"]
    state: states.State
    outputs: tuple[int, ...] | None = None

    @property
    def scored_task(self) -> Task:
        """The task with the names of the classes or units that are scored alone."""
        if self.outputs is None:
            return self.task
        columns = tuple(self.task.columns[i] for i in self.outputs)
        return dataclasses.replace(self.task, columns=columns)

    def by_video(self) -> states.Scores:
        """The scores of each video alone."""
        return self._scores(self.state)

    def together(self) -> states.Scores:
        """The scores of all videos together."""
        return self._scores(states.merged(self.state))

    def resampled(self, seed: int, num_resamples: int) -> states.Scores:
        """The scores of sets of videos drawn with replacement (Efron, 1979).

        Args:
            seed: Seed of the draws.
            num_resamples: How many sets are drawn.
        """
        return self._scores(self.drawn(seed, num_resamples))

    def drawn(self, seed: int, num_resamples: int) -> states.State:
        """The states of sets of videos drawn with replacement.

        Each set has as many videos as have frames that count. For equal videos, equal
        seeds draw the same sets.

        Args:
            seed: Seed of the draws.
            num_resamples: How many sets are drawn.
        """
        counted = np.flatnonzero(self.num_frames)
        rng = np.random.default_rng(seed)
        drawn = rng.integers(0, len(counted), (num_resamples, len(counted)))
        times = np.zeros((num_resamples, len(self.num_frames)), np.int64)
        np.add.at(times, (np.arange(num_resamples)[:, None], counted[drawn]), 1)
        return states.merged(self.state, times)

    def left_out(self) -> states.Scores:
        """The scores without each of the videos that have frames, if they are few."""
        return self._scores(self.without_each())

    def without_each(self) -> states.State:
        """The states without each of the videos that have frames, if they are few.

        Of ``FEW`` or more, for which no interval needs them, there are none.
        """
        counted = np.flatnonzero(self.num_frames)
        counted = counted if len(counted) < FEW else counted[:0]
        times = np.ones((len(counted), len(self.num_frames)), np.int64)
        times[np.arange(len(counted)), counted] = 0
        return states.merged(self.state, times)

    def _scores(self, state: states.State) -> states.Scores:
        return states.scores_of(self.task, state, self.outputs)


def video_states(
    task: Task,
    predicted: Shaped[np.ndarray, "frames ..."],
    labels: Shaped[np.ndarray, "frames ..."],
    mask: Bool[np.ndarray, " frames"],
    video: Int[np.ndarray, " frames"] | None = None,
    num_videos: int = 1,
) -> VideoStates:
    """The state of each video, over the frames of the mask.

    Args:
        task: The task that predictions and labels belong to.
        predicted: Classes, 0 or 1 of each unit, or values.
        labels: Labels in the same form.
        mask: True where a frame counts.
        video: Index of each frame's video; None: all are of one.
        num_videos: Number of videos, those without a frame included.
    """
    if video is None:
        video = np.zeros(len(mask), np.int64)
    if task.kind == "regression":
        predicted, labels = predicted.astype(np.float64), labels.astype(np.float64)
    frames = _Videos(video, num_videos)
    state = states.state_of(task, predicted, labels, mask, frames)
    return VideoStates(task, np.bincount(video[mask], minlength=num_videos), state)


@dataclasses.dataclass(frozen=True)
class _Videos:
    """The frames of each video are a set."""

    video: Int[np.ndarray, " frames"]
    num_videos: int

    def total(self, values: Shaped[np.ndarray, "frames ..."]) -> np.ndarray:
        columns = values.reshape(len(values), -1).T
        sums = [np.bincount(self.video, each, self.num_videos) for each in columns]
        found = np.stack(sums, axis=1).reshape(self.num_videos, *values.shape[1:])
        return found.astype(np.int64) if values.dtype == bool else found

    def least(self, values: Float[np.ndarray, "frames ..."]) -> np.ndarray:
        found = np.full((self.num_videos, *values.shape[1:]), np.inf)
        np.minimum.at(found, self.video, values)
        return found

    def by_frame(self, values: np.ndarray) -> np.ndarray:
        return values[self.video]

    def confusion(
        self,
        labels: np.ndarray,
        predicted: np.ndarray,
        counted: np.ndarray,
        num_classes: int,
    ) -> np.ndarray:
        shape = (self.num_videos, num_classes, num_classes)
        place = (self.video[counted], labels[counted], predicted[counted])
        cells = np.ravel_multi_index(place, shape)
        return np.bincount(cells, minlength=int(np.prod(shape))).reshape(shape)
