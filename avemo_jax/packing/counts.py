"""What a store's splits hold: frames, labels, classes, missing face crops."""

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from avemo_jax.data.corpus.splits import SPLITS
from avemo_jax.data.store import layout, tfds
from avemo_jax.data.store.store import Store
from avemo_jax.tasks import VA, Task


def _zeros(count: int, dtype: type) -> np.ndarray:
    return np.zeros(count, dtype)


@dataclasses.dataclass
class SplitCounts:
    """Counts and sums over one split of one task.

    Attributes:
        videos: How many videos the split has.
        frames: How many frames these have: the annotated or decoded ones; for a video
            without annotations, up to the last frame that has a vector.
        labelled: Frames whose label counts.
        without_row: Labelled frames that have no vector in a visual set, by its name.
        active: Labelled frames of each class, or with each unit active.
        sums: Each value (such as valence) summed over the labelled frames.
        squares: The squares of each value, summed in the same way.
        quadrants: VA: frames with valence and arousal ++, -+, --, +- (0 is +).
    """

    videos: int = 0
    frames: int = 0
    labelled: int = 0
    without_row: dict[str, int] = dataclasses.field(default_factory=dict)
    active: Int[np.ndarray, " outputs"] = dataclasses.field(
        default_factory=lambda: _zeros(0, np.int64)
    )
    sums: Float[np.ndarray, " outputs"] = dataclasses.field(
        default_factory=lambda: _zeros(0, np.float64)
    )
    squares: Float[np.ndarray, " outputs"] = dataclasses.field(
        default_factory=lambda: _zeros(0, np.float64)
    )
    quadrants: Int[np.ndarray, " 4"] = dataclasses.field(
        default_factory=lambda: _zeros(4, np.int64)
    )

    def add_labels(
        self,
        task: Task,
        labels: Shaped[np.ndarray, "frames ..."],
        rows: Mapping[str, Bool[np.ndarray, " frames"]],
    ) -> None:
        """Count one video's labels.

        Args:
            task: The task that they are labels of.
            labels: One label for each of the video's frames.
            rows: Which frames have a vector, by the name of the visual set.
        """
        valid = task.valid(labels)
        self.labelled += int(valid.sum())
        for name, has_row in rows.items():
            self.without_row[name] += int((valid & ~has_row).sum())
        known = labels[valid]
        if task.kind == "multiclass":
            self.active += np.bincount(known, minlength=task.num_outputs)
        elif task.kind == "multilabel":
            self.active += known.sum(axis=0, dtype=np.int64)
        else:
            values = known.astype(np.float64)
            self.sums += values.sum(axis=0)
            self.squares += (values**2).sum(axis=0)
            if task is not VA:
                return
            pleasant, aroused = (values >= 0).T
            for i, quadrant in enumerate(
                (
                    pleasant & aroused,
                    ~pleasant & aroused,
                    ~pleasant & ~aroused,
                    pleasant & ~aroused,
                )
            ):
                self.quadrants[i] += int(quadrant.sum())

    @property
    def means(self) -> Float[np.ndarray, " outputs"]:
        """Means of the values over the labelled frames; NaN without labels."""
        return self.sums / (self.labelled or np.nan)

    @property
    def deviations(self) -> Float[np.ndarray, " outputs"]:
        """Standard deviations of the values; NaN without labels."""
        variance = self.squares / (self.labelled or np.nan) - self.means**2
        return np.sqrt(np.maximum(variance, 0))


def count_store(store: Store) -> dict[str, dict[str, SplitCounts]]:
    """Counts by task, then by split that has videos; reads one video at a time."""
    visual = [s.name for s in store.feature_sets.values() if s.kind == "visual"]
    split_of = {task: store.split_of(task) for task in store.tasks}
    counts: dict[str, dict[str, SplitCounts]] = {
        name: {
            split: SplitCounts(
                without_row=dict.fromkeys(visual, 0),
                active=_zeros(task.num_outputs, np.int64),
                sums=_zeros(task.num_outputs, np.float64),
                squares=_zeros(task.num_outputs, np.float64),
            )
            for split in SPLITS
            if split in split_of[name].values()
        }
        for name, task in store.tasks.items()
    }
    lengths = _lengths_without_annotations(store)
    annotations = layout.config_folder(store.path, layout.ANNOTATIONS)
    for example in tfds.open_examples(annotations):
        video, num_frames = example["video"].decode(), int(example["num_frames"])
        lengths[video] = num_frames
        rows = {name: _rows(store, name, video, num_frames) for name in visual}
        for name, task in store.tasks.items():
            if split := split_of[name].get(video):
                counts[name][split].add_labels(task, example[name.lower()], rows)
    for name, by_video in split_of.items():
        for video, split in by_video.items():
            counts[name][split].videos += 1
            counts[name][split].frames += lengths[video]
    return counts


def _lengths_without_annotations(store: Store) -> dict[str, int]:
    """The last frame that has a vector in any set, by video."""
    lengths: dict[str, int] = {}
    for name in store.feature_sets:
        for video, frames in store.frames(name).items():
            last = int(frames[-1]) if len(frames) else 0
            lengths[video] = max(last, lengths.get(video, 0))
    return lengths


def _rows(
    store: Store, name: str, video: str, num_frames: int
) -> Bool[np.ndarray, " frames"]:
    """Which of the frames 1 to ``num_frames`` of a video have a vector in a set."""
    has_row = np.zeros(num_frames, bool)
    frames = store.frames(name).get(video, np.zeros(0, np.int32))
    has_row[frames[frames <= num_frames] - 1] = True
    return has_row
