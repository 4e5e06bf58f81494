"""What one config of the store holds: the examples in order, and its metadata.

Any process may make an example. What the metadata says about a video is a *fact*, which
is made together with the video's example: so the metadata is the same wherever the
examples were made.
"""

import abc
import collections
import functools
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from avemo_jax.data.corpus.splits import source_video
from avemo_jax.data.features.frame_runs import to_runs
from avemo_jax.data.listing import said_of_many
from avemo_jax.data.records import (
    FeatureSource,
    VideoAnnotations,
    as_float16,
    check_features,
)
from avemo_jax.data.store.layout import FORMAT
from avemo_jax.runtime.progress import progress_bar
from avemo_jax.tasks import TASKS, Task, definition

VIDEOS_PER_SHARD = 32

MAX_TOLD = 10  # faults that the metadata lists; the others are only counted

Example = dict[str, Any]
KeyExample = tuple[str, Example]
Fact = dict[str, Any]  # what the metadata says about one video; values for JSON


class Contents(abc.ABC):
    """The examples of one config; an object that can be pickled.

    Attributes:
        name: Name of the config.
        videos: Names of the videos, one example each, in this order.
        synthetic: Whether the data are made.
        show_progress: Draw a bar on stderr while the examples are written.
        facts: What the metadata says about each video, once its example was made.
    """

    def __init__(
        self, name: str, videos: Sequence[str], *, synthetic: bool, show_progress: bool
    ) -> None:
        self.name = name
        self.videos = tuple(videos)
        self.synthetic = synthetic
        self.show_progress = show_progress
        self.facts: dict[str, Fact] = {}

    @property
    @abc.abstractmethod
    def digest(self) -> str:
        """Fingerprint that changes whenever what is written changes."""

    @abc.abstractmethod
    def make(self, video: str) -> tuple[Example, Fact]:
        """One video's example, and what the metadata says about the video."""

    @abc.abstractmethod
    def metadata(self) -> dict[str, Any]:
        """What is kept beside the examples; needs the facts of all videos."""

    def videos_of_shards(self) -> list[tuple[str, ...]]:
        """The videos of each shard, in order; without videos, one empty shard."""
        return [
            self.videos[i : i + VIDEOS_PER_SHARD]
            for i in range(0, max(1, len(self.videos)), VIDEOS_PER_SHARD)
        ]

    def examples(
        self, videos: Sequence[str], facts: dict[str, Fact]
    ) -> Iterator[KeyExample]:
        """The examples of ``videos``, one at a time; their facts go into ``facts``."""
        for video in videos:
            example, facts[video] = self.make(video)
            yield video, example
            # TFDS keeps the examples of a whole shard to count them; emptied, they
            # take no memory.
            example.clear()

    def shards(self) -> list[Callable[[], Iterator[KeyExample]]]:
        """One generator of examples per shard, in order, for this process."""
        progress = progress_bar(
            len(self.videos), self.name, "video", quiet=not self.show_progress
        )
        shards = self.videos_of_shards()
        return [
            functools.partial(self._shard, videos, progress, last=i + 1 == len(shards))
            for i, videos in enumerate(shards)
        ]

    def _shard(
        self, videos: Sequence[str], progress: tqdm, *, last: bool
    ) -> Iterator[KeyExample]:
        for example in self.examples(videos, self.facts):
            yield example
            progress.update()
        if last:
            progress.close()


class FeatureContents(Contents):
    """One feature set, read from its source while it is written.

    Attributes:
        source: Where the features are read from.
        output_columns: Width of the field ``outputs``, which is NaN where the source
            has no outputs; 0: no such field.
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

    @property
    def digest(self) -> str:
        """Fingerprint of the source's content and of all that describes it."""
        source = self.source
        parts = [FORMAT, source.name, source.kind, source.dim, source.output_dim]
        text = json.dumps([*parts, source.fingerprint, source.content, self.synthetic])
        return hashlib.sha256(text.encode()).hexdigest()

    def make(self, video: str) -> tuple[Example, Fact]:
        """The video's frames, vectors (float16) and outputs; and what was mended."""
        features = self.source.read(video)
        check_features(features, self.source, video)
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
        remarks = features.remarks
        fact = {
            "runs": to_runs(features.frame),
            "mended": dict(remarks.mended),
            "failed": len(remarks.failed),
            "first_failed": [list(pair) for pair in remarks.failed[:MAX_TOLD]],
            "notes": list(remarks.notes),
            "decoders": ", ".join(f"{k} {v}" for k, v in remarks.decoders.items()),
        }
        return example, fact

    def metadata(self) -> dict[str, Any]:
        """What the set is, which frames each video has, and a report of faults."""
        provenance = dict(self.source.provenance)
        decoded = [self.facts[video]["decoders"] for video in self.videos]
        if any(decoded):
            # The number of videos by the versions that decoded them.
            provenance["decoders"] = dict(collections.Counter(filter(None, decoded)))
        return {
            "format": FORMAT,
            "content": self.digest,
            "synthetic": self.synthetic,
            "kind": self.source.kind,
            "dim": self.source.dim,
            "output_dim": self.source.output_dim,
            "fingerprint": self.source.fingerprint,
            "provenance": provenance,
            "runs": {video: self.facts[video]["runs"] for video in self.videos},
            "report": _report({video: self.facts[video] for video in self.videos}),
        }


class AnnotationContents(Contents):
    """The labels and splits of all tasks."""

    def __init__(
        self,
        name: str,
        records: Mapping[str, VideoAnnotations],
        splits: Mapping[str, Mapping[str, str]],
        *,
        how: Mapping[str, Any],
        synthetic: bool,
        show_progress: bool,
        tasks: Mapping[str, Task] = TASKS,
    ) -> None:
        super().__init__(
            name, sorted(records), synthetic=synthetic, show_progress=show_progress
        )
        for video, record in records.items():
            for task, labels in record.labels.items():
                _check_labels(labels, tasks[task], video)
        self.records = records
        self.splits = splits
        self.how = dict(how)
        self.tasks = dict(tasks)

    @property
    def own(self) -> list[dict[str, Any]]:
        """Definitions of the tasks, if they are a user's own; else empty."""
        return [] if self.tasks == TASKS else [*map(definition, self.tasks.values())]

    @functools.cached_property
    def digest(self) -> str:
        """Fingerprint of all labels and splits."""
        total = hashlib.sha256(json.dumps([FORMAT, self.synthetic]).encode())
        if self.own:
            total.update(json.dumps(self.own).encode())
        for video in self.videos:
            for key, value in sorted(self.make(video)[0].items()):
                total.update(f"{video}\0{key}\0".encode())
                total.update(np.asarray(value).tobytes())
        return total.hexdigest()

    def make(self, video: str) -> tuple[Example, Fact]:
        """The video's labels (frames 1 to num_frames) and splits, and its length."""
        record = self.records[video]
        lengths = [len(labels) for labels in record.labels.values()]
        num_frames = max([record.num_frames, *lengths])
        example: Example = {
            "video": video,
            "source_video": record.source or source_video(video),
            "num_frames": np.int32(num_frames),
            "fps": np.float32(record.fps),
        }
        for name, task in self.tasks.items():
            labels = task.empty_labels(num_frames)
            if name in record.labels:
                given = record.labels[name]
                labels[: len(given)] = given
            example[name.lower()] = labels
            example[f"{name.lower()}_split"] = self.splits.get(name, {}).get(video, "")
        return example, {"num_frames": num_frames}

    def metadata(self) -> dict[str, Any]:
        """How the splits came about, each video's length, and a user's own tasks."""
        return {
            "format": FORMAT,
            "content": self.digest,
            "synthetic": self.synthetic,
            "how": self.how,
            "num_frames": {v: self.facts[v]["num_frames"] for v in self.videos},
            **({} if self.tasks == TASKS else {"tasks": self.own}),
        }


def _report(facts: Mapping[str, Fact]) -> dict[str, int | list[str]]:
    """Counts of mended and failed rows, in which videos, and the first faults."""
    counts: dict[str, int] = {}
    names: dict[str, list[str]] = {}
    for video, fact in facts.items():
        failed = {"failed_frames": fact["failed"]} if fact["failed"] else {}
        for key, count in {**fact["mended"], **failed}.items():
            counts[key] = counts.get(key, 0) + count
            by_video = f"{key.rpartition('_')[0]}_videos"
            names.setdefault(by_video, []).append(f"{video}: {count}")
        for frame, reason in fact["first_failed"]:
            names.setdefault("first_failed", []).append(
                f"{video}, frame {frame}: {reason}"
            )
        if fact["notes"]:
            names.setdefault("noted_videos", []).append(video)
    notes = {video: fact["notes"] for video, fact in facts.items() if fact["notes"]}
    if notes:
        names["first_notes"] = said_of_many(notes)
    for key in ("first_failed", "first_notes"):
        if key in names:
            names[key] = names[key][:MAX_TOLD]
    return {**counts, **names}


def _check_labels(labels: np.ndarray, task: Task, video: str) -> None:
    """Check that ``labels`` may be stored.

    Raises:
        ValueError: If shape, dtype or range are not those of the task's labels.
    """
    if task.kind == "regression":
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
