"""The files to extract from, and the jobs of one feature set that they make."""

import dataclasses
import hashlib
import json
import math
import pathlib
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from avemo_jax.data.corpus.crop_folders import CropFolder
from avemo_jax.data.corpus.splits import base_video, nominal_fps
from avemo_jax.extraction.faces import FaceJob
from avemo_jax.extraction.feature_set import ExtractedSet
from avemo_jax.extraction.outcomes import VideoOutcome
from avemo_jax.extraction.shards import shard_of
from avemo_jax.extraction.sounds import SoundJob

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
    """

    crops: Mapping[str, CropFolder]
    videos: Mapping[str, pathlib.Path]
    sounds: Mapping[str, pathlib.Path] = dataclasses.field(default_factory=dict)
    num_frames: Mapping[str, int] = dataclasses.field(default_factory=dict)
    fps: float = math.nan

    def face_jobs(self) -> dict[str, tuple[FaceJob, int]]:
        """Job and size by subject-video: crops in pictures, else videos in bytes."""
        found: dict[str, tuple[FaceJob, int]] = {}
        for video, crops in self.crops.items():
            source: dict[str, Any] = {
                "crops": len(crops.frame),
                "bytes": crops.num_bytes,
                "digest": crops.digest(),
            }
            found[video] = FaceJob(video, source, crops=crops), len(crops.frame)
        if not self.crops:
            for video, path in self.videos.items():
                source = _source({"video": path})
                found[video] = FaceJob(video, source, file=path), source["bytes"]
        return found

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
        found = feature_set.standing(video, job.source["digest"])
        if isinstance(found, dict) and retry_failed:
            if found.get("losses"):
                found = f"a part was lost: {found['losses'][0]}"
            elif found.get("failed"):
                found = f"{len(found['failed'])} frames had failed"
        if isinstance(found, dict):
            failed = tuple((int(f), str(why)) for f, why in found.get("failed", ()))
            notes, losses = found.get("notes", ()), found.get("losses", ())
            standing.append(
                VideoOutcome(
                    feature_set.name,
                    video,
                    failed=failed,
                    notes=tuple(notes),
                    losses=tuple(losses),
                    stood=True,
                )
            )
            continue
        todo.append(job)
        if found != "missing":
            again[video] = found
    return Work(tuple(todo), tuple(standing), again)
