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
        video: Its name.
        frame: Frame numbers of its rows, ascending.
        has_audio: Rows with a vector in every audio set asked for.
        num_frames: Length of its dense labels.
        parts: By name of feature set: the video in it whose vectors are taken (the
            base video's sound for a face of it), or None.
    """

    video: str
    frame: Int[np.ndarray, " rows"]
    has_audio: Bool[np.ndarray, " rows"]
    num_frames: int
    parts: Mapping[str, str | None]


@dataclasses.dataclass(frozen=True)
class Join:
    """What a table will be, known before any feature is read.

    Attributes:
        task: Whose labels.
        split: "train", "dev", "train+dev", "validation" or "test".
        feature_sets: In the order of their columns, visual ones first.
        videos: Sorted, with the frames of their rows; an annotated one may have none.
        report: Counts of what is joined, missing or dropped.
    """

    task: Task
    split: str
    feature_sets: tuple[FeatureSet, ...]
    videos: tuple[JoinedVideo, ...]
    report: dict[str, int | list[str]]

    @property
    def rows(self) -> int:
        """Rows of the table."""
        return sum(len(video.frame) for video in self.videos)

    @property
    def dim(self) -> int:
        """Columns of its features."""
        return sum(s.dim for s in self.feature_sets)

    @property
    def output_dim(self) -> int:
        """Columns of the visual extractors' own outputs."""
        return sum(s.output_dim for s in self.feature_sets if s.kind == "visual")

    @property
    def feature_bytes(self) -> int:
        """Bytes of its features, in float16."""
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
    """The video among ``present`` whose vectors ``video`` has in a set, or None.

    The two faces of a video have its sound where they have none of their own.
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
    """The rows of one video; ``counts`` grows.

    A video that is annotated stays without any row, so that its frames are scored; one
    with neither annotations nor rows is None.

    Args:
        video: Its name.
        visual: Frames with a vector, by visual set; rows are those in all sets.
        audio: The same by audio set. Without visual sets, rows are those in all.
        annotated: Decoded or annotated length.
        parts: See ``JoinedVideo``.
        missing_audio: "zeros" keeps a row without sound; "drop" leaves it out.
        counts: What was left out.
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
    """Raise that a table would have no rows, with what to choose instead.

    Args:
        task: Whose table.
        split: Of the table.
        sets: Its feature sets.
        names: The videos of the split.
        counts: Of their joining.
        splits: By task of the store, those of its videos.
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
    tells a video's length only where annotations do not.
    """
    return max(int(f[-1]) for group in sets for f in group.values() if len(f))


def rows_digest(parts: Sequence[str], videos: Sequence[JoinedVideo]) -> str:
    """A digest of ``parts`` and of which rows come from where."""
    digest = hashlib.sha256("\0".join(parts).encode())
    for video in videos:
        digest.update(f"\0{video.video}\0{sorted(video.parts.items())}\0".encode())
        digest.update(video.frame.astype("<i4").tobytes())
    return digest.hexdigest()
