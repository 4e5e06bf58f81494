"""Pictures of many videos -> visual feature files, in batches across the videos."""

import collections
import contextlib
import dataclasses
import itertools
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from jaxtyping import UInt8

from avemo_jax.data.corpus.crop_folders import CropFolder
from avemo_jax.data.features.writer import FeatureFileWriter
from avemo_jax.embed import Embeddings, ImageExtractor
from avemo_jax.extraction.feature_set import ExtractedSet
from avemo_jax.extraction.image_decoding import Decoders
from avemo_jax.extraction.outcomes import NOT_STORABLE, VideoOutcome
from avemo_jax.media.video import VideoError, open_video


@dataclasses.dataclass(frozen=True)
class FaceJob:
    """One video of a visual set.

    Attributes:
        video: Name of the subject-video.
        source: What the features are made from, for the feature file: names, sizes and
            their ``digest``.
        crops: Folder of the video's face crops; None: all pictures of ``file`` are
            used.
        file: Video file whose whole pictures are used; None where there are crops.
    """

    video: str
    source: Mapping[str, Any]
    crops: CropFolder | None = None
    file: pathlib.Path | None = None


@dataclasses.dataclass(frozen=True)
class _Item:
    """What is read from a job: a picture, a frame's fault, or the end of the video."""

    job: FaceJob
    frame: int = 0
    picture: UInt8[np.ndarray, "height width 3"] | None = None
    fault: str | None = None
    notes: tuple[str, ...] = ()
    losses: tuple[str, ...] = ()
    error: str | None = None


def embed_faces(
    extractor: ImageExtractor,
    feature_set: ExtractedSet,
    jobs: Iterable[FaceJob],
    decoders: Decoders,
    *,
    progress: Callable[[int], None] = lambda frames: None,
) -> Iterator[VideoOutcome]:
    """The outcome of each job, in order, as soon as its file is written.

    A batch may hold pictures of several videos. Only a few batches are in memory,
    however long a video is: vectors go to disk as they come.

    Args:
        extractor: The network that embeds the pictures.
        feature_set: The feature set whose files are written.
        jobs: The videos to extract, read one after another.
        decoders: The workers that decode the files of crops.
        progress: Called with the number of frames that were done since the last call.

    Raises:
        OSError: If a feature file cannot be written.
    """
    pending: collections.deque[tuple[_Video, int]] = collections.deque()
    finished: collections.deque[VideoOutcome] = collections.deque()
    with contextlib.ExitStack() as stack:

        def pictures() -> Iterator[np.ndarray]:
            video: _Video | None = None
            for item in _items(jobs, decoders):
                if video is None:
                    video = stack.enter_context(_Video(item.job, feature_set))
                if item.picture is not None:
                    video.waiting += 1
                    pending.append((video, item.frame))
                    yield item.picture
                elif item.fault is not None:
                    video.failed.append((item.frame, item.fault))
                    progress(1)
                else:
                    video.end = item
                    finished.extend(video.outcome())
                    video = None

        for batch in extractor.stream(pictures()):
            for video, frames, rows in _by_video(pending, batch):
                video.take(frames, rows)
                finished.extend(video.outcome())
            progress(len(batch.features))
            yield from _drained(finished)
        yield from _drained(finished)


def _drained(queue: collections.deque[VideoOutcome]) -> Iterator[VideoOutcome]:
    while queue:
        yield queue.popleft()


def _by_video(
    pending: "collections.deque[tuple[_Video, int]]", batch: Embeddings
) -> "Iterator[tuple[_Video, np.ndarray, Embeddings]]":
    """The batch split by video: the video, its frame numbers and their embeddings."""
    start, count = 0, len(batch.features)
    while start < count:
        video = pending[0][0]
        frames: list[int] = []
        while pending and pending[0][0] is video and start + len(frames) < count:
            frames.append(pending.popleft()[1])
        rows = slice(start, start + len(frames))
        outputs = None if batch.outputs is None else batch.outputs[rows]
        yield (
            video,
            np.array(frames, np.int32),
            Embeddings(batch.features[rows], outputs),
        )
        start += len(frames)


class _Video(contextlib.AbstractContextManager["_Video"]):
    """A video whose features are being written.

    Attributes:
        waiting: Number of its pictures that are on the devices.
        failed: Frames without a row, each with the reason.
        end: The item that ends the video; None until it was read.
    """

    def __init__(self, job: FaceJob, feature_set: ExtractedSet):
        self._job, self._set = job, feature_set
        self._writer: FeatureFileWriter = feature_set.writer(job.video)
        self.waiting = 0
        self.failed: list[tuple[int, str]] = []
        self.end: _Item | None = None

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def take(self, frames: np.ndarray, rows: Embeddings) -> None:
        """Write rows to the file; frames whose rows it cannot hold have failed."""
        self.waiting -= len(frames)
        good = self._writer.storable(rows.features, rows.outputs)
        self.failed += [(int(frame), NOT_STORABLE) for frame in frames[~good]]
        outputs = None if rows.outputs is None else rows.outputs[good]
        self._writer.append(frames[good], rows.features[good], outputs)

    def outcome(self) -> list[VideoOutcome]:
        """The outcome, its file finished, once all rows are there; else nothing."""
        if self.end is None or self.waiting:
            return []
        notes, losses = self.end.notes, self.end.losses
        outcome = VideoOutcome(
            self._set.name,
            self._job.video,
            len(self._writer),
            failed=tuple(sorted(self.failed)),
            notes=notes,
            losses=losses,
            error=self.end.error,
        )
        if outcome.error is None:
            meta = self._set.meta_of(
                self._job.source,
                list(outcome.failed),
                list(notes),
                losses=list(losses),
            )
            self._writer.finish(meta)
        self._writer.close()
        return [outcome]


def _items(jobs: Iterable[FaceJob], decoders: Decoders) -> Iterator[_Item]:
    """What is read, job after job; folders of crops in a row are decoded together."""
    for of_crops, group in itertools.groupby(jobs, lambda job: job.crops is not None):
        if of_crops:
            yield from _of_crops(group, decoders)
        else:
            for job in group:
                yield from _of_video(job)


def _of_crops(jobs: Iterable[FaceJob], decoders: Decoders) -> Iterator[_Item]:
    paths = (
        ((job, frame, frame == job.crops.frame[-1]), path)
        for job in jobs
        if job.crops is not None
        for frame, path in job.crops.paths()
    )
    for (job, frame, is_last), decoded in decoders.decode(paths):
        if isinstance(decoded, str):
            yield _Item(job, frame, fault=decoded)
        else:
            yield _Item(job, frame, picture=decoded)
        if is_last:
            yield _Item(job)


def _of_video(job: FaceJob) -> Iterator[_Item]:
    assert job.file is not None
    try:
        video = open_video(job.file)
        for number, picture in enumerate(video.pictures(), start=1):
            yield _Item(job, number, picture=picture)
    except VideoError as error:
        reason = str(error).replace(str(job.file), job.file.name)
        yield _Item(job, error=reason)
        return
    yield _Item(job, notes=video.notes, losses=video.losses)
