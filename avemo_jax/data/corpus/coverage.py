"""Which annotated videos have files, and which files have annotations."""

import dataclasses
from collections.abc import Iterable

import numpy as np

from avemo_jax.data.corpus.official_trees import Corpus
from avemo_jax.data.corpus.splits import base_video
from avemo_jax.data.records import VideoAnnotations
from avemo_jax.tasks import TASKS

_NAMED = 5  # names in a line


@dataclasses.dataclass(frozen=True)
class SplitCoverage:
    """One task's videos of one official split.

    Attributes:
        task: Name of the task.
        split: "train", "dev", "validation" or "test".
        videos: How many subject-videos the split has.
        with_crops: How many of the subject-videos have crops.
        labelled: How many frames have a valid label.
        with_crop: How many labelled frames have a crop.
    """

    task: str
    split: str
    videos: int
    with_crops: int
    labelled: int
    with_crop: int

    @property
    def without_crop(self) -> int:
        """Labelled frames that have no crop."""
        return self.labelled - self.with_crop


@dataclasses.dataclass(frozen=True)
class Coverage:
    """How annotations, crops and videos fit together, and what is missing.

    Attributes:
        splits: Counts of each task and split that has videos.
        without_crops: Annotated subject-videos that have no folder of crops.
        without_video: Subject-videos, annotated or with crops, that have no file.
        unlabelled: Subject-videos with crops and without annotations.
        unused: Names of videos that have neither crops nor annotations.
    """

    splits: tuple[SplitCoverage, ...]
    without_crops: tuple[str, ...]
    without_video: tuple[str, ...]
    unlabelled: tuple[str, ...]
    unused: tuple[str, ...]

    def lines(self) -> list[str]:
        """The coverage in words, one fact a line."""
        found = [
            f"{one.task} {one.split}: {one.videos} subject-videos"
            + (f" ({one.with_crops} with crops)" if one.with_crops < one.videos else "")
            + (
                f", {one.labelled:,} labelled frames, {one.without_crop:,} of them "
                "without a crop"
                if one.labelled
                else ""
            )
            for one in self.splits
        ]
        kinds = (
            ("annotated, but without crops", self.without_crops),
            ("without a video file", self.without_video),
            ("with crops and no annotations, so test videos", self.unlabelled),
            ("videos with neither crops nor annotations", self.unused),
        )
        return found + [f"{text}: {_some(names)}" for text, names in kinds if names]


def coverage_of(corpus: Corpus, records: Iterable[VideoAnnotations]) -> Coverage:
    """How annotations, crops and videos fit together.

    Args:
        corpus: The files of the tree.
        records: The annotations, one for each subject-video.
    """
    by_video = {record.video: record for record in records}
    subjects = {*by_video, *corpus.crops}
    bases = {base_video(video) for video in subjects}
    return Coverage(
        splits=tuple(_splits(corpus, by_video)),
        without_crops=tuple(sorted(set(by_video) - set(corpus.crops))),
        without_video=tuple(
            sorted(v for v in subjects if base_video(v) not in corpus.videos)
        ),
        unlabelled=tuple(sorted(set(corpus.crops) - set(by_video))),
        unused=tuple(sorted(set(corpus.videos) - bases - subjects)),
    )


def _splits(
    corpus: Corpus, by_video: dict[str, VideoAnnotations]
) -> Iterable[SplitCoverage]:
    for name, task in TASKS.items():
        of_split: dict[str, list[VideoAnnotations]] = {}
        for record in by_video.values():
            if name in record.splits:
                of_split.setdefault(record.splits[name], []).append(record)
        for split, records in of_split.items():
            labelled = with_crop = 0
            for record in records:
                if name not in record.labels:
                    continue
                valid = np.flatnonzero(task.valid(record.labels[name])) + 1
                labelled += len(valid)
                if record.video in corpus.crops:
                    frame = corpus.crops[record.video].frame
                    with_crop += int(np.isin(valid, frame, assume_unique=True).sum())
            have = sum(record.video in corpus.crops for record in records)
            yield SplitCoverage(name, split, len(records), have, labelled, with_crop)


def _some(names: tuple[str, ...]) -> str:
    text = ", ".join(names[:_NAMED])
    return text if len(names) <= _NAMED else f"{text}, ... ({len(names):,} in all)"
