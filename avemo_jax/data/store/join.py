"""Which frames of a video become rows, when several feature sets are joined."""

import dataclasses
import functools
import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NoReturn

import numpy as np
from jaxtyping import Bool, Int

from avemo_jax.data.corpus.splits import SPLITS, base_video
from avemo_jax.data.store.table import FeatureSet
from avemo_jax.tasks import Task

Missing = Literal["zeros", "drop"]
Frames = Int[np.ndarray, " _"]


@dataclasses.dataclass(frozen=True)
class JoinedVideo:
    """The rows of one subject-video.

    Attributes:
        video: Name of the video.
        frame: Frame numbers of the rows, ascending.
        has_audio: Which rows have a vector in every audio set asked for.
        num_frames: Length of the video's dense labels.
        parts: The video whose vectors are taken, by feature set: this one, or its base
            video where a face has no sound of its own; None: there are no vectors.
    """

    video: str
    frame: Int[np.ndarray, " rows"]
    has_audio: Bool[np.ndarray, " rows"]
    num_frames: int
    parts: Mapping[str, str | None]


@dataclasses.dataclass(frozen=True)
class Join:
    """Which rows a table will have, known before any feature is read.

    Attributes:
        task: The task whose labels the table will have.
        split: "train", "dev", "train+dev", "validation" or "test".
        feature_sets: The sets in the order of their columns, visual ones first.
        videos: The videos with the frames of their rows, sorted by name; an annotated
            video may have no rows.
        report: Counts of what is joined, missing or dropped.
    """

    task: Task
    split: str
    feature_sets: tuple[FeatureSet, ...]
    videos: tuple[JoinedVideo, ...]
    report: dict[str, int | list[str]]

    @property
    def rows(self) -> int:
        """How many rows the table will have."""
        return sum(len(video.frame) for video in self.videos)

    @property
    def dim(self) -> int:
        """How many columns the features will have."""
        return sum(s.dim for s in self.feature_sets)

    @property
    def output_dim(self) -> int:
        """How many columns the visual extractors' own outputs will have."""
        return sum(s.output_dim for s in self.feature_sets if s.kind == "visual")

    @property
    def feature_bytes(self) -> int:
        """Bytes of the features in float16."""
        return 2 * self.rows * self.dim

    @property
    def bytes(self) -> int:
        """Bytes of the whole table: features, outputs, labels, flags, numbers."""
        label = np.dtype(self.task.label_dtype).itemsize
        label *= math.prod(self.task.label_shape)
        dense = label * sum(video.num_frames for video in self.videos)
        return (
            self.feature_bytes + self.rows * (4 * self.output_dim + label + 6) + dense
        )


@dataclasses.dataclass
class JoinCounts:
    """What was left out or missing while videos were joined."""

    rows_not_in_all_visual_sets: int = 0
    rows_without_audio: int = 0
    rows_dropped_without_audio: int = 0
    videos_without_audio: list[str] = dataclasses.field(default_factory=list)
    videos_with_partial_audio: list[str] = dataclasses.field(default_factory=list)
    videos_without_features: list[str] = dataclasses.field(default_factory=list)


def origin(video: str, audio: bool, present: Iterable[str]) -> str | None:
    """The video whose vectors of a set are taken for ``video``; None: there are none.

    The two faces of a video take its sound where they have none of their own.

    Args:
        video: Name of the subject-video.
        audio: Whether the set is of sound.
        present: Names of the videos that the set has.
    """
    if video in present:
        return video
    if audio and base_video(video) in present:
        return base_video(video)
    return None


def join_video(
    video: str,
    visual: Mapping[str, Frames],
    audio: Mapping[str, Frames],
    *,
    annotated: int,
    parts: Mapping[str, str | None],
    missing_audio: Missing,
    counts: JoinCounts,
) -> JoinedVideo | None:
    """The rows of one video.

    An annotated video without any row is kept, so that its frames are scored; a video
    with neither annotations nor rows gives None.

    Args:
        video: Name of the video.
        visual: Frames with a vector, by visual set; rows are the frames that all have.
        audio: Frames with a vector, by audio set; without visual sets, rows are the
            frames that all of these have.
        annotated: Decoded or annotated length; 0: the video has no annotations.
        parts: The video whose vectors are taken, by feature set, or None.
        missing_audio: "zeros" keeps a row without sound; "drop" leaves it out.
        counts: What was left out or missing; this video's counts are added.
    """
    if visual:
        frame = functools.reduce(np.intersect1d, visual.values())
        union = functools.reduce(np.union1d, visual.values())
        counts.rows_not_in_all_visual_sets += len(union) - len(frame)
    else:
        frame = functools.reduce(np.intersect1d, audio.values())
    empty = JoinedVideo(
        video,
        frame[:0].astype(np.int32),
        frame[:0] > 0,
        annotated,
        dict.fromkeys(parts),
    )
    if not len(frame):
        counts.videos_without_features.append(video)
        return empty if annotated else None
    has_audio = np.ones(len(frame), bool)
    for numbers in audio.values():
        has_audio &= np.isin(frame, numbers, assume_unique=True)
    without = int((~has_audio).sum())
    if without == len(frame):
        counts.videos_without_audio.append(video)
    elif without:
        counts.videos_with_partial_audio.append(f"{video}: {without} rows")
    if missing_audio == "drop":
        counts.rows_dropped_without_audio += without
        frame, has_audio = frame[has_audio], has_audio[has_audio]
        if not len(frame):
            return empty if annotated else None
    else:
        counts.rows_without_audio += without
    length = max(annotated, int(frame[-1])) if annotated else _last(visual, audio)
    return JoinedVideo(video, frame.astype(np.int32), has_audio, length, parts)


def fail_without_rows(
    task: str,
    split: str,
    sets: Sequence[FeatureSet],
    names: Sequence[str],
    counts: JoinCounts,
    splits: Mapping[str, Sequence[str]],
) -> NoReturn:
    """Raise that a table would have no rows, saying what to choose instead.

    Args:
        task: Name of the task.
        split: Split that was asked for.
        sets: Feature sets that were asked for.
        names: The videos of the split.
        counts: What was left out or missing while they were joined.
        splits: The splits that the store's videos are in, by task.

    Raises:
        ValueError: Always.
    """
    have = ", ".join(f"{splits[task].count(s)} {s}" for s in SPLITS)
    labelled = [name for name, own in splits.items() if set(own) - {"test"}]
    instead = "choose another split, or add features of these videos"
    if task not in labelled and labelled:
        instead = f"it has labels of {', '.join(labelled)}: change config.task"
    raise ValueError(
        f"no rows for {task} {split} with {', '.join(s.name for s in sets)} "
        f"({len(names)} videos of the split, {len(counts.videos_without_features)} of "
        f"them without features; the store has {have}); expected some: {instead}"
    )


def _last(*sets: Mapping[str, Frames]) -> int:
    """The last frame with a vector in any set.

    Sound runs one frame past the picture by the challenge's count of frames, so this
    is a video's length only where there are no annotations.
    """
    return max(int(f[-1]) for group in sets for f in group.values() if len(f))


def rows_digest(parts: Sequence[str], videos: Sequence[JoinedVideo]) -> str:
    """A digest of which rows a table has and where their vectors come from.

    Args:
        parts: Texts that go into the digest too, such as those of the sets' content.
        videos: The rows of each video.
    """
    digest = hashlib.sha256("\0".join(parts).encode())
    for video in videos:
        digest.update(f"\0{video.video}\0{sorted(video.parts.items())}\0".encode())
        digest.update(video.frame.astype("<i4").tobytes())
    return digest.hexdigest()
