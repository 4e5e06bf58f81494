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
from avemo_jax.embed.contract import by_owner
from avemo_jax.embed.weights import WeightsError
from avemo_jax.extraction.chosen_faces import chosen_faces
from avemo_jax.extraction.face_crops import face_crops
from avemo_jax.extraction.feature_set import ExtractedSet
from avemo_jax.extraction.image_decoding import Decoders
from avemo_jax.extraction.outcomes import NOT_STORABLE, VideoOutcome
from avemo_jax.extraction.video_faces import (
    FaceRule,
    faces_of,
    said_of,
    subject_name,
)
from avemo_jax.media.video import VideoError, open_video


@dataclasses.dataclass(frozen=True)
class FaceJob:
    """One video of a visual set.

    Attributes:
        video: Name of the subject-video, or of the video whose faces are cut out.
        source: What the features are made from, for the feature file: names, sizes and
            their ``digest``.
        crops: Folder of the video's face crops; None: ``file`` is used.
        file: Video file whose whole pictures or faces are used; None where there are
            crops.
        faces: How the faces of ``file`` are found and cut out; None: its whole
            pictures are used.
        boxes: Table of the faces of ``file``, where they are given.
        standing: Names of those of its faces whose feature files are whole already.
    """

    video: str
    source: Mapping[str, Any]
    crops: CropFolder | None = None
    file: pathlib.Path | None = None
    faces: FaceRule | None = None
    boxes: pathlib.Path | None = None
    standing: frozenset[str] = frozenset()


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
    quiet: bool = True,
) -> Iterator[VideoOutcome]:
    """The outcome of each job, in order, as soon as its file is written.

    A job of which several faces are cut out has an outcome for each of them.

    A batch may hold pictures of several videos. Only a few batches are in memory,
    however long a video is: vectors go to disk as they come.

    Args:
        extractor: The network that embeds the pictures.
        feature_set: The feature set whose files are written.
        jobs: The videos to extract, read one after another.
        decoders: The workers that decode the files of crops.
        progress: Called with the number of frames that were done since the last call.
        quiet: Show no progress of the search for faces.

    Raises:
        OSError: If a feature file cannot be written.
        WeightsError: If the face detector is needed, and its weights are missing.
    """
    pending: collections.deque[tuple[_Video, int]] = collections.deque()
    finished: collections.deque[VideoOutcome] = collections.deque()
    with contextlib.ExitStack() as stack:

        def pictures() -> Iterator[np.ndarray]:
            begun: dict[str, _Video] = {}  # more than one where a video has more faces
            features = feature_set.folder.parent
            for item in _items(jobs, decoders, features, quiet):
                name = item.job.video
                if name not in begun:
                    opened = _Video(item.job, feature_set)
                    begun[name] = stack.enter_context(opened)
                video = begun[name]
                if item.picture is not None:
                    video.waiting += 1
                    pending.append((video, item.frame))
                    yield item.picture
                elif item.fault is not None:
                    video.failed.append((item.frame, item.fault))
                    progress(1)
                else:
                    video.end = item
                    finished.extend(begun.pop(name).outcome())

        for batch in extractor.stream(pictures()):
            for video, frames, rows in by_owner(pending, batch):
                video.take(frames, rows)
                finished.extend(video.outcome())
            progress(len(batch.features))
            yield from _drained(finished)
        yield from _drained(finished)


def _drained(queue: collections.deque[VideoOutcome]) -> Iterator[VideoOutcome]:
    while queue:
        yield queue.popleft()


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


def _items(
    jobs: Iterable[FaceJob], decoders: Decoders, features: pathlib.Path, quiet: bool
) -> Iterator[_Item]:
    """What is read, job after job; folders of crops in a row are decoded together."""
    for of_crops, group in itertools.groupby(jobs, lambda job: job.crops is not None):
        if of_crops:
            yield from _of_crops(group, decoders)
        else:
            for job in group:
                if job.faces is None:
                    yield from _of_video(job)
                else:
                    yield from _of_faces(job, job.faces, features, quiet)


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
        yield _Item(job, error=_without_folders(error, job))
        return
    yield _Item(job, notes=video.notes, losses=video.losses)


def _of_faces(
    job: FaceJob, rule: FaceRule, features: pathlib.Path, quiet: bool
) -> Iterator[_Item]:
    """The crops of a video's faces, each face a video of its own, in one decoding."""
    assert job.file is not None
    try:
        found = faces_of(
            job.video, job.file, rule, features, boxes=job.boxes, quiet=quiet
        )
    except WeightsError:
        raise
    except ValueError as error:
        yield _Item(job, error=_without_folders(error, job))
        return
    tracks = chosen_faces(found.tracks, rule.faces)
    if not tracks:
        text = f"no face in {found.num_frames} frames; expected one: give another video"
        yield _Item(job, losses=found.losses, error=text)
        return
    subjects = [
        dataclasses.replace(
            job,
            video=subject_name(job.video, rule, number),
            source={**job.source, "face": number, "faces": len(found.tracks)},
        )
        for number in range(1, len(tracks) + 1)
    ]
    left = {i for i, one in enumerate(subjects) if one.video not in job.standing}
    wanted = [np.full(len(track.frame), i in left) for i, track in enumerate(tracks)]
    try:
        for crop in face_crops(
            open_video(job.file), tracks, wanted, [rule.kind], template=rule.points
        ):
            subject = subjects[crop.track]
            yield _Item(subject, crop.frame, picture=crop.picture, fault=crop.fault)
            if crop.frame == tracks[crop.track].frame[-1]:
                notes = (*found.notes, *said_of(found, tracks[crop.track], rule))
                left.remove(crop.track)
                yield _Item(subject, notes=notes, losses=found.losses)
    except ValueError as error:
        for i in sorted(left):
            yield _Item(subjects[i], error=_without_folders(error, job))


def _without_folders(error: Exception, job: FaceJob) -> str:
    """The words of an error in which files have no folders."""
    text = str(error)
    for path in (job.file, job.boxes):
        if path is not None:
            text = text.replace(str(path), path.name)
    return text
