"""What one config of the store holds: the examples in order, and its metadata."""

import abc
import functools
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from avemo_jax.data.build import FORMAT
from avemo_jax.data.frame_runs import to_runs
from avemo_jax.data.sources import (
    FeatureSource,
    VideoAnnotations,
    as_float16,
    check_features,
)
from avemo_jax.data.splits import source_video
from avemo_jax.tasks import TASKS, VA, Task

VIDEOS_PER_SHARD = 32

KeyExample = tuple[str, dict[str, Any]]


class Contents(abc.ABC):
    """The examples of one config.

    Attributes:
        name: Of the config.
        videos: One example each, in this order.
        synthetic: Made data.
        show_progress: Draw a bar on stderr while the examples are written.
    """

    def __init__(
        self, name: str, videos: Sequence[str], *, synthetic: bool, show_progress: bool
    ) -> None:
        self.name = name
        self.videos = tuple(videos)
        self.synthetic = synthetic
        self.show_progress = show_progress

    @property
    @abc.abstractmethod
    def digest(self) -> str:
        """Changes whenever what is written changes."""

    @abc.abstractmethod
    def example(self, video: str) -> dict[str, Any]:
        """One video's example."""

    @abc.abstractmethod
    def metadata(self) -> dict[str, Any]:
        """What is kept beside the examples; asked for when they are written."""

    def shards(self) -> list[Callable[[], Iterator[KeyExample]]]:
        """One generator of examples per shard, in order."""
        progress = tqdm(
            total=len(self.videos),
            desc=self.name,
            unit="video",
            disable=not self.show_progress,
        )
        return [
            functools.partial(
                self._shard, self.videos[i : i + VIDEOS_PER_SHARD], progress
            )
            for i in range(0, max(1, len(self.videos)), VIDEOS_PER_SHARD)
        ]

    def _shard(self, videos: Sequence[str], progress: tqdm) -> Iterator[KeyExample]:
        for video in videos:
            example = self.example(video)
            yield video, example
            # TFDS keeps the examples of a whole shard to count them; emptied, they
            # take no memory.
            example.clear()
            progress.update()
        if tuple(videos) == self.videos[-len(videos) :]:
            progress.close()


class FeatureContents(Contents):
    """One feature set, read from its source while it is written.

    Attributes:
        source: Where it is read from.
        output_columns: Width of the field ``outputs``, which is NaN where the source
            has none; 0: no such field.
    """

    def __init__(
        self,
        source: FeatureSource,
        *,
        output_columns: int | None = None,
        synthetic: bool,
        show_progress: bool,
    ) -> None:
        super().__init__(
            source.name,
            sorted(source.videos),
            synthetic=synthetic,
            show_progress=show_progress,
        )
        self.source = source
        self.output_columns = output_columns or source.output_dim
        self._runs: dict[str, list[int]] = {}

    @property
    def digest(self) -> str:
        """Of the source's content and of all that describes it."""
        source = self.source
        parts = [FORMAT, source.name, source.kind, source.dim, source.output_dim]
        text = json.dumps([*parts, source.fingerprint, source.content, self.synthetic])
        return hashlib.sha256(text.encode()).hexdigest()

    def example(self, video: str) -> dict[str, Any]:
        """Frame numbers, float16 vectors and, where there are any, outputs."""
        features = self.source.read(video)
        check_features(features, self.source, video)
        self._runs[video] = to_runs(features.frame)
        example = {
            "video": video,
            "frame": features.frame.astype(np.int32),
            "features": as_float16(
                features.features, where=f"{self.name}, video {video!r}"
            ),
        }
        if features.outputs is not None:
            example["outputs"] = features.outputs.astype(np.float32)
        elif self.output_columns:
            shape = (len(features.frame), self.output_columns)
            example["outputs"] = np.full(shape, np.nan, np.float32)
        return example

    def metadata(self) -> dict[str, Any]:
        """What the set is, and which frames of which video it has."""
        return {
            "format": FORMAT,
            "content": self.digest,
            "synthetic": self.synthetic,
            "kind": self.source.kind,
            "dim": self.source.dim,
            "output_dim": self.source.output_dim,
            "fingerprint": self.source.fingerprint,
            "runs": self._runs,
            "report": self.source.report,
        }


class AnnotationContents(Contents):
    """The labels and splits of all tasks."""

    def __init__(
        self,
        name: str,
        records: Mapping[str, VideoAnnotations],
        splits: Mapping[str, Mapping[str, str]],
        *,
        how: Mapping[str, int | bool | str],
        synthetic: bool,
        show_progress: bool,
    ) -> None:
        super().__init__(
            name, sorted(records), synthetic=synthetic, show_progress=show_progress
        )
        for video, record in records.items():
            for task, labels in record.labels.items():
                _check_labels(labels, TASKS[task], video)
        self.records = records
        self.splits = splits
        self.how = dict(how)
        self._lengths: dict[str, int] = {}

    @functools.cached_property
    def digest(self) -> str:
        """Of all labels and splits."""
        total = hashlib.sha256(json.dumps([FORMAT, self.synthetic]).encode())
        for video in self.videos:
            for key, value in sorted(self.example(video).items()):
                total.update(f"{video}\0{key}\0".encode())
                total.update(np.asarray(value).tobytes())
        return total.hexdigest()

    def example(self, video: str) -> dict[str, Any]:
        """Labels of the frames 1 .. num_frames of all tasks, and the splits."""
        record = self.records[video]
        lengths = [len(labels) for labels in record.labels.values()]
        num_frames = max([record.num_frames, *lengths])
        self._lengths[video] = num_frames
        example: dict[str, Any] = {
            "video": video,
            "source_video": source_video(video),
            "num_frames": np.int32(num_frames),
            "fps": np.float32(record.fps),
        }
        for name, task in TASKS.items():
            labels = task.empty_labels(num_frames)
            if name in record.labels:
                given = record.labels[name]
                labels[: len(given)] = given
            example[name.lower()] = labels
            example[f"{name.lower()}_split"] = self.splits.get(name, {}).get(video, "")
        return example

    def metadata(self) -> dict[str, Any]:
        """How the splits came about, and how long the videos are."""
        return {
            "format": FORMAT,
            "content": self.digest,
            "synthetic": self.synthetic,
            "how": self.how,
            "num_frames": self._lengths,
        }


def _check_labels(labels: np.ndarray, task: Task, video: str) -> None:
    """Nothing, if ``labels`` may be stored.

    Raises:
        ValueError: If shape, dtype or range are not those of the task's labels.
    """
    if task is VA:
        good = bool((np.isnan(labels) | (np.abs(labels) <= 1)).all())
    else:
        largest = 1 if task.label_shape else task.num_outputs - 1
        good = bool(((labels >= -1) & (labels <= largest)).all())
    shape = (len(labels), *task.label_shape)
    if labels.shape != shape or labels.dtype != task.label_dtype or not good:
        raise ValueError(
            f"{task.name} labels of video {video!r}: {labels.dtype} of shape "
            f"{labels.shape}, in range: {good}; expected {np.dtype(task.label_dtype)} "
            f"of shape {shape}: see VideoAnnotations"
        )
