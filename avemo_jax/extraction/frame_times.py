"""When each frame of a video is shown: decoded once, then kept beside the features."""

import concurrent.futures
import contextlib
import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Iterator, Mapping

import numpy as np
from absl import logging

from avemo_jax.media.alignment import frame_times
from avemo_jax.media.decoding import DECODING_VERSIONS
from avemo_jax.media.video import FrameTimes, open_video
from avemo_jax.runtime.array_files import read_npz
from avemo_jax.runtime.atomic_files import whole_file
from avemo_jax.runtime.json_files import fitted, parsed

FOLDER = ".frame_times"  # in the folder of all sets; hidden, so that it is no set
_FORMAT = 2


@dataclasses.dataclass(frozen=True)
class _Facts:
    """What is kept beside a video's times."""

    digest: str
    fps: float
    constant_rate: bool
    notes: tuple[str, ...]


class KeptFrameTimes:
    """The frame times of videos, kept on disk.

    Decoding a long video takes minutes, and each audio set needs its times. Those of a
    damaged video are not kept: it may be mended without another name or size.
    """

    def __init__(self, features: pathlib.Path):
        """Keeps the times in a hidden folder within ``features``, that of all sets."""
        self._folder = features / FOLDER
        self._begun: dict[str, concurrent.futures.Future[FrameTimes]] = {}

    @contextlib.contextmanager
    def ahead(self, videos: Mapping[str, pathlib.Path], workers: int) -> Iterator[None]:
        """Decode videos in threads, in order, while the caller asks for their times.

        Args:
            videos: Video files, by name of the video.
            workers: Number of threads, each of which decodes one video at a time.
        """
        with concurrent.futures.ThreadPoolExecutor(workers) as pool:
            self._begun = {
                video: pool.submit(self._decoded, video, path, 1 if workers > 1 else 0)
                for video, path in videos.items()
            }
            try:
                yield
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
                self._begun = {}

    def stands(self, video: str, path: pathlib.Path) -> bool:
        """Whether the times of this file, known by its name and size, are kept."""
        return _read(self._folder / f"{video}.npz", _digest(path)) is not None

    def of(self, video: str, path: pathlib.Path) -> FrameTimes:
        """The frame times of a video, decoded unless those of this file are kept.

        Args:
            video: Name of the video.
            path: File of the video.

        Raises:
            VideoError: If the video cannot be decoded.
            OSError: If the times cannot be written.
        """
        if video in self._begun:
            return self._begun.pop(video).result()
        return self._decoded(video, path, 0)

    def _decoded(self, video: str, path: pathlib.Path, num_threads: int) -> FrameTimes:
        kept = self._folder / f"{video}.npz"
        digest = _digest(path)
        if (found := _read(kept, digest)) is not None:
            return found
        times = open_video(path, num_threads=num_threads).frame_times()
        if times.losses:
            return times
        self._folder.mkdir(parents=True, exist_ok=True)
        facts = _Facts(digest, times.fps, times.constant_rate, times.notes)
        text = json.dumps(dataclasses.asdict(facts))
        with whole_file(kept) as temporary, temporary.open("wb") as file:
            np.savez(file, times_s=times.times_s, facts=np.array(text))
        return times


def assumed_times(num_frames: int, fps: float) -> FrameTimes:
    """Frame times for a video whose file is missing, at a constant rate."""
    return FrameTimes(
        times_s=frame_times(num_frames, fps),
        fps=fps,
        constant_rate=True,
        notes=(f"no video file: {num_frames} frames at {fps:g} per second assumed",),
    )


def with_one_more(times: FrameTimes) -> np.ndarray:
    """Seconds at which each frame and one frame more after the last are shown.

    The challenge counts one frame more than a decoder gives for many videos.
    """
    seconds = times.times_s
    return np.append(seconds, seconds[-1] + 1 / times.fps)


def _digest(path: pathlib.Path) -> str:
    """A digest of how and what is decoded: the file is known by its name and size."""
    version = DECODING_VERSIONS["video"]
    text = json.dumps([_FORMAT, version, path.name, path.stat().st_size])
    return hashlib.sha256(text.encode()).hexdigest()


def _read(kept: pathlib.Path, digest: str) -> FrameTimes | None:
    """The times that a file keeps, if it is whole and of this digest; else None."""
    if not kept.is_file():
        return None
    try:
        found = read_npz(kept, expected="expected frame times")
        facts = fitted(_Facts, parsed(str(found.get("facts"))))
    except ValueError as error:
        logging.info("%s; the video is decoded again", error)
        return None
    times_s = found.get("times_s")
    if facts.digest != digest or times_s is None:
        return None
    if times_s.ndim != 1 or times_s.dtype != np.float64:
        return None
    return FrameTimes(times_s, facts.fps, facts.constant_rate, facts.notes)
