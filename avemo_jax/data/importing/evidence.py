"""How imported frames fit the annotations, and whether they are off by one."""

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np

from avemo_jax.data.corpus.splits import base_video
from avemo_jax.data.importing.source import ImportSource
from avemo_jax.data.listing import first_of
from avemo_jax.data.records import Modality, VideoAnnotations
from avemo_jax.tasks import TASKS

_FEWEST = 3  # videos that show an offset
_MOST_OFF, _MOST_FITTING = 0.5, 0.1
_NAMED = 5  # videos in a line


@dataclasses.dataclass(frozen=True)
class Fit:
    """How the imported rows cover one split of one task.

    Attributes:
        task: Name of the task.
        split: "train" or "validation".
        videos: How many annotated subject-videos there are.
        with_features: How many of these videos have any row.
        labelled: How many frames have a valid label.
        with_row: How many labelled frames have a row.
    """

    task: str
    split: str
    videos: int
    with_features: int
    labelled: int
    with_row: int

    def __str__(self) -> str:
        share = 100 * self.with_row / self.labelled if self.labelled else 0.0
        return (
            f"{self.task} {self.split}: {self.with_features} of {self.videos} videos, "
            f"{self.with_row:,} of {self.labelled:,} labelled frames ({share:.2f} %)"
        )


def origin_of(
    video: str, kind: Modality, frames: Mapping[str, np.ndarray]
) -> str | None:
    """The imported video whose rows an annotated video takes; None if there is none.

    A face takes the sound of the video that it is from, where it has none of its own.

    Args:
        video: Name of the annotated subject-video.
        kind: Kind of the features.
        frames: Frame numbers by imported video.
    """
    if video in frames:
        return video
    base = base_video(video)
    return base if kind == "audio" and base in frames else None


def fits(
    source: ImportSource, kind: Modality, records: Mapping[str, VideoAnnotations]
) -> list[Fit]:
    """How the rows fit the labels, by task and split."""
    found: dict[tuple[str, str], list[int]] = {}
    for video, record in records.items():
        origin = origin_of(video, kind, source.frames)
        for name, labels in record.labels.items():
            counts = found.setdefault((name, record.splits.get(name, "none")), [0] * 4)
            valid = np.flatnonzero(TASKS[name].valid(labels)) + 1
            counts[0] += 1
            counts[2] += len(valid)
            if origin is not None:
                counts[1] += 1
                counts[3] += int(np.isin(valid, source.frames[origin]).sum())
    return [Fit(*key, *counts) for key, counts in sorted(found.items())]


def surplus(
    source: ImportSource, kind: Modality, records: Mapping[str, VideoAnnotations]
) -> list[str]:
    """Names of imported videos whose rows no annotated video takes."""
    taken = {origin_of(video, kind, source.frames) for video in records}
    return sorted(set(source.frames) - taken)


def off_by_one(
    source: ImportSource, kind: Modality, records: Mapping[str, VideoAnnotations]
) -> str | None:
    """A sentence on why frames seem to be off by one; None if they do not.

    They do if, among the videos whose last row is within one frame of the last label,
    over half and at least three end one frame after the label (or, where row i is just
    frame i + 1, one before it), and under a tenth end with it. A few videos that end
    one frame after the last label are usual: official lines and decoded frames differ
    by one or more in some.

    Args:
        source: The rows, with their frame numbers.
        kind: Kind of the features; sound is aligned by time and is not looked at.
        records: Annotations by subject-video.
    """
    if kind == "audio":
        return None
    ends: list[int] = []
    for video, record in records.items():
        lines = {len(labels) for labels in record.labels.values()}
        frames = source.frames.get(video)
        if len(lines) == 1 and frames is not None and len(frames):
            ends.append(int(frames.max()) - lines.pop())
    differences = np.array(ends)
    near = int((np.abs(differences) <= 1).sum())
    fitting = int((differences == 0).sum())
    for off, words in ((1, "one after"), (-1, "one before")):
        count = int((differences == off).sum())
        if off < 0 and source.numbered:
            continue  # usual: no face was found in the last frame
        if (
            count >= _FEWEST
            and count > _MOST_OFF * near
            and fitting < _MOST_FITTING * near
        ):
            return (
                f"the last row of {count} of {near} videos lies {words} the last "
                f"label, and of {fitting} with it"
            )
    return None


def report(
    source: ImportSource, kind: Modality, records: Mapping[str, VideoAnnotations]
) -> Iterator[str]:
    """Lines for people on which rows and labels fit, and which do not."""
    yield from map(str, fits(source, kind, records))
    without = sorted(
        video for video in records if origin_of(video, kind, source.frames) is None
    )
    borrowed = sum(
        origin_of(video, kind, source.frames) not in (None, video) for video in records
    )
    if borrowed:
        yield f"annotated faces that take the sound of their video: {borrowed}"
    for words, names in (
        ("annotated, but without features", without),
        ("with features, but not annotated", surplus(source, kind, records)),
    ):
        if names:
            yield f"{words}: {len(names)} videos ({first_of(names, _NAMED)})"
