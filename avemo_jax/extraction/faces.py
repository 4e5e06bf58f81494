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
        source: What its file will say that it was made from; with ``digest``.
        crops: Its folder of pictures; None: all pictures of ``file``.
        file: A video that shows faces alone.
    """

    video: str
    source: Mapping[str, Any]
    crops: CropFolder | None = None
    file: pathlib.Path | None = None


@dataclasses.dataclass(frozen=True)
class _Item:
    """What comes of reading a job: a picture, a fault, or its end."""

    job: FaceJob
    frame: int = 0
    picture: UInt8[np.ndarray, "height width 3"] | None = None
    fault: str | None = None
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
    """The outcome of each job, in order, as soon as its file is there.

    Batches are filled across videos. In memory are a few batches, whatever the length
    of a video: vectors go to disk as they come.

    Args:
        extractor: Of the set.
        feature_set: Whose files are written.
        jobs: Read one after another.
        decoders: Of the pictures.
        progress: Called with numbers of frames that are done.

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
    """The rows of a batch that are of one video, video after video."""
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
    """A video under way.

    Attributes:
        waiting: Pictures of it that the devices have.
        failed: Frames without a row, and why.
        end: Its last item, once that was read.
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
        """Put these rows into the file; those that it cannot hold have failed."""
        self.waiting -= len(frames)
        good = self._writer.storable(rows.features, rows.outputs)
        self.failed += [(int(frame), NOT_STORABLE) for frame in frames[~good]]
        outputs = None if rows.outputs is None else rows.outputs[good]
        self._writer.append(frames[good], rows.features[good], outputs)

    def outcome(self) -> list[VideoOutcome]:
        """What came of it, and its file, if all is there; else nothing."""
        if self.end is None or self.waiting:
            return []
        losses = self.end.losses
        outcome = VideoOutcome(
            *(self._set.name, self._job.video, len(self._writer)),
            failed=tuple(sorted(self.failed)),
            notes=losses,
            losses=losses,
            error=self.end.error,
        )
        if outcome.error is None:
            said = list(losses)
            meta = self._set.meta_of(
                self._job.source, list(outcome.failed), said, losses=said
            )
            self._writer.finish(meta)
        self._writer.close()
        return [outcome]


def _items(jobs: Iterable[FaceJob], decoders: Decoders) -> Iterator[_Item]:
    """What reading gives, job after job; folders of crops run into each other."""
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
    yield _Item(job, losses=tuple(video.notes))
