"""The files to extract from, and the jobs of one feature set that they make."""

import dataclasses
import hashlib
import json
import math
import pathlib
from collections.abc import Collection, Mapping
from typing import Any, Generic, TypeVar

from avemo_jax.data.corpus.crop_folders import CropFolder
from avemo_jax.data.corpus.splits import base_video, nominal_fps
from avemo_jax.extraction.faces import FaceJob
from avemo_jax.extraction.feature_set import ExtractedSet
from avemo_jax.extraction.outcomes import VideoOutcome
from avemo_jax.extraction.shards import shard_of
from avemo_jax.extraction.sounds import SoundJob
from avemo_jax.extraction.video_faces import FaceRule, subject_name
from avemo_jax.runtime.regular_files import sha256_of

Job = TypeVar("Job", FaceJob, SoundJob)


@dataclasses.dataclass(frozen=True)
class Material:
    """The files to extract from.

    Attributes:
        crops: Folders of face crops, by subject-video.
        videos: Video files, by base video.
        sounds: Sound files, by base video; used instead of the video's own track.
        num_frames: Number of frames known from annotations and crops, by base video;
            used for sound whose video file is missing.
        fps: Rows per second of sound without pictures; NaN: the rate that its name
            tells, and without one a row for each hop.
        faces: How the faces of the videos are found and cut out; None: visual sets see
            crops, or whole pictures.
        boxes: Tables of the faces of videos, by base video, where they are given.
    """

    crops: Mapping[str, CropFolder]
    videos: Mapping[str, pathlib.Path]
    sounds: Mapping[str, pathlib.Path] = dataclasses.field(default_factory=dict)
    num_frames: Mapping[str, int] = dataclasses.field(default_factory=dict)
    fps: float = math.nan
    faces: FaceRule | None = None
    boxes: Mapping[str, pathlib.Path] = dataclasses.field(default_factory=dict)

    def face_jobs(self) -> dict[str, tuple[FaceJob, int]]:
        """Job and size by subject-video: crops in pictures, else videos in bytes.

        One job has all faces that are cut out of a video; it has the video's name.

        Raises:
            ValueError: If a video is called as the face of another would be.
        """
        found: dict[str, tuple[FaceJob, int]] = {}
        for video, crops in self.crops.items():
            source: dict[str, Any] = {
                "crops": len(crops.frame),
                "bytes": crops.num_bytes,
                "digest": crops.digest(),
            }
            found[video] = FaceJob(video, source, crops=crops), len(crops.frame)
        if self.crops:
            return found
        if self.faces is not None and not self.faces.is_single:
            self._check_names()
        tables = {path: sha256_of(path) for path in {*self.boxes.values()}}
        for video, path in self.videos.items():
            boxes = self.boxes.get(video)
            facts = {} if boxes is None else {"boxes_sha256": tables[boxes]}
            source = _source({"video": path}, **facts)
            job = FaceJob(video, source, file=path, faces=self.faces, boxes=boxes)
            found[video] = job, source["bytes"]
        return found

    def _check_names(self) -> None:
        for video in self.videos:
            base = base_video(video)
            if base in self.videos and video.startswith(f"{base}--"):
                raise ValueError(
                    f"videos {base!r} and {video!r}, which is what a face of the first "
                    "is called; expected other names: rename the second"
                )

    def sound_jobs(self) -> dict[str, tuple[SoundJob, int]]:
        """Job and size (bytes) by base video."""
        found = {}
        for video in sorted({*self.videos, *self.sounds}):
            file, sound = self.videos.get(video), self.sounds.get(video)
            paths = {"video": file, "sound": sound}
            frames = 0 if file is not None else self.num_frames.get(video, 0)
            fps = nominal_fps(video) if math.isnan(self.fps) else self.fps
            facts = {"frames": frames, "fps": 0 if math.isnan(self.fps) else self.fps}
            source = _source({k: p for k, p in paths.items() if p}, **facts)
            job = SoundJob(video, source, file, sound, frames, fps)
            found[video] = job, source["bytes"]
        return found


def known_frames(
    crops: Mapping[str, CropFolder], labelled: Mapping[str, int]
) -> dict[str, int]:
    """Number of frames of each base video that are labelled or have a crop.

    Args:
        crops: Folders of face crops, by subject-video.
        labelled: Number of labelled frames, by subject-video.
    """
    found: dict[str, int] = {}
    last = {video: int(one.frame[-1]) for video, one in crops.items()}
    for video, frames in [*last.items(), *labelled.items()]:
        base = base_video(video)
        found[base] = max(found.get(base, 0), frames)
    return found


def _source(paths: Mapping[str, pathlib.Path], **facts: Any) -> dict[str, Any]:
    """What a feature file is made from: names and sizes of the files, and a digest."""
    sizes = {kind: path.stat().st_size for kind, path in paths.items()}
    names = {kind: path.name for kind, path in paths.items()}
    known = {k: v for k, v in facts.items() if v}
    text = json.dumps([names, sizes, known], sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return {**names, **known, "bytes": sum(sizes.values()), "digest": digest}


@dataclasses.dataclass(frozen=True)
class Work(Generic[Job]):
    """The work of one part of a run for one feature set.

    Attributes:
        todo: Jobs whose files are missing, damaged, or made from other sources.
        standing: Outcomes of the jobs whose files are already whole.
        again: Why a file that exists is made again, by video.
    """

    todo: tuple[Job, ...]
    standing: tuple[VideoOutcome, ...]
    again: Mapping[str, str]


def find_work(
    feature_set: ExtractedSet,
    jobs: Mapping[str, tuple[Job, int]],
    *,
    num_shards: int = 1,
    shard_index: int = 0,
    retry_failed: bool = False,
) -> Work[Job]:
    """The jobs of one part whose files are still to be made, and those already made.

    Args:
        feature_set: The feature set whose files are looked for.
        jobs: Job and size, by video.
        num_shards: Parts that the run is divided into.
        shard_index: Index of this part, from 0.
        retry_failed: Make files again that lack failed frames or a lost part.

    Raises:
        ValueError: If a file of the set's folder has another fingerprint, or
            ``shard_index`` is not that of a part.
    """
    feature_set.check_standing()
    sizes = {video: size for video, (_, size) in jobs.items()}
    todo, standing, again = [], [], {}
    for video in shard_of(sizes, num_shards=num_shards, shard_index=shard_index):
        job = jobs[video][0]
        names, stood = _names_of(job, feature_set), set()
        for name in names:
            digest = job.source["digest"]
            found = _standing(feature_set, name, digest, retry_failed=retry_failed)
            if isinstance(found, VideoOutcome):
                standing.append(found)
                stood.add(name)
            elif found != "missing":
                again[name] = found
        if len(stood) < len(names):
            todo.append(_without(job, stood))
    return Work(tuple(todo), tuple(standing), again)


def _without(job: Job, stood: Collection[str]) -> Job:
    """The job without the faces whose files are whole already."""
    if isinstance(job, SoundJob):
        return job
    return dataclasses.replace(job, standing=frozenset(stood))


def _names_of(job: Job, feature_set: ExtractedSet) -> list[str]:
    """The feature files that a job is to make, or the first one of its faces.

    How many faces there are is told by the file of the first.
    """
    rule = job.faces if isinstance(job, FaceJob) else None
    if rule is None or rule.is_single:
        return [job.video]
    first = subject_name(job.video, rule, 1)
    known = feature_set.standing(first, job.source["digest"])
    count = int(known["source"]["faces"]) if isinstance(known, dict) else 1
    if isinstance(rule.faces, int):
        count = min(count, rule.faces)
    return [subject_name(job.video, rule, n) for n in range(1, count + 1)]


def _standing(
    feature_set: ExtractedSet, video: str, digest: str, *, retry_failed: bool
) -> VideoOutcome | str:
    """The outcome of a video whose file is whole; else why it must be made."""
    found = feature_set.standing(video, digest)
    if isinstance(found, str):
        return found
    failed = tuple((int(f), str(why)) for f, why in found.get("failed", ()))
    notes, losses = tuple(found.get("notes", ())), tuple(found.get("losses", ()))
    if retry_failed and losses:
        return f"a part was lost: {losses[0]}"
    if retry_failed and failed:
        return f"{len(failed)} frames had failed"
    name = feature_set.name
    return VideoOutcome(
        name, video, failed=failed, notes=notes, losses=losses, stood=True
    )
