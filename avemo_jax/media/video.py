"""Videos: when their pictures are shown, and the pictures themselves.

Time 0 is the start of the track of pictures, as for its sound (see ``audio``). It is
the first picture, unless that cannot be decoded. Pictures are counted as a decoder
gives them, one each, in the order in which they are shown.
"""

import dataclasses
import itertools
import os
import pathlib
import time
from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from jaxtyping import Float64, UInt8

from avemo_jax.media.containers import duration_s, open_container, picture_tracks
from avemo_jax.media.picture_times import mend, rate_of
from avemo_jax.media.video_decoding import (
    Pass,
    VideoError,
    is_turned,
    rgb,
    stamps_of,
)

__all__ = ["FrameTimes", "VideoError", "VideoFile", "open_video"]

MAX_FPS = 1000  # stated rates beyond are nonsense
_LACKING = 0.005  # of the declared pictures or length: more is reported
_LACKING_S = 0.5  # of a declared length, likewise


@dataclasses.dataclass(frozen=True, eq=False)
class FrameTimes:
    """When a video's pictures are shown.

    Attributes:
        times_s: float64, strictly ascending, one for each decoded picture.
        fps: Pictures a second: measured by the time stamps where there are any, without
            holes; else as stated, or 25 (then a note says so).
        constant_rate: Whether all steps are alike, within 5 % or 2 ms.
        notes: What a user should know, in words without the file's name.
        losses: Of these, what says that pictures are missing.
    """

    times_s: Float64[np.ndarray, " frames"]
    fps: float
    constant_rate: bool
    notes: tuple[str, ...]
    losses: tuple[str, ...] = ()

    @property
    def num_frames(self) -> int:
        """How many pictures were decoded."""
        return len(self.times_s)


class VideoFile:
    """A file with pictures, decoded anew each time that it is read.

    Attributes:
        path: Of the file.
        declared_frames: Pictures, as the container counts them, else its length by its
            rate. None: it states neither.
        declared_s: Length of the pictures in seconds, as stated. None: not stated.
        fps: Average rate, as stated. None: not stated, or nonsense.
        width: Of the pictures as :meth:`pictures` gives them, in pixels.
        height: Likewise.
        num_sound_tracks: How many.
        sound_s: Length of the first sound track in seconds, as stated. None: there is
            none, or it is not stated.
        notes: What could not be decoded when the file was last read to its end, and,
            after :meth:`pictures`, what is missing, in words.
    """

    def __init__(self, path: str | os.PathLike[str], *, num_threads: int = 0):
        """Reads the head and the first picture; see :func:`open_video`."""
        self.path = pathlib.Path(path)
        self.notes: tuple[str, ...] = ()
        self._num_threads = num_threads
        with self._opened() as container:
            track = self._track(container)
            self.fps = _stated_fps(track)
            self.declared_s = duration_s(container, track)
            self.declared_frames: int | None = track.frames or None
            self._is_counted = self.declared_frames is not None
            self._is_avi = container.format.name == "avi"
            if not self._is_counted and self.declared_s and self.fps:
                self.declared_frames = round(self.declared_s * self.fps)
            sounds = container.streams.audio
            self.num_sound_tracks = len(sounds)
            self.sound_s = duration_s(container, sounds[0]) if sounds else None
            reading = Pass(container, track)
            first = next(reading.frames(), None)
        if first is None:
            raise VideoError(self._undecodable(reading))
        self._size = (first.width, first.height)
        turned = is_turned(first)
        self.width, self.height = self._size[::-1] if turned else self._size

    def frame_times(self) -> FrameTimes:
        """When each picture is shown: decodes the whole video, and keeps the times.

        Raises:
            VideoError: If the file is gone, or nothing can be decoded any more.
        """
        with self._opened() as container:
            track = self._track(container)
            frames = self._frames(times_only=True)
            stamps_s = stamps_of(frames, track, is_avi=self._is_avi)
        if not len(stamps_s):
            raise VideoError(self._undecodable(None))
        stated = None if self.fps is None else float(self.fps)
        times_s, mended = mend(stamps_s, stated)
        fps, is_constant = rate_of(times_s, stated)
        losses = self.notes + self._missing(len(times_s), float(times_s[-1]) + 1 / fps)
        return FrameTimes(times_s, fps, is_constant, losses + mended, losses)

    def decoding_rate(self, at_most: int = 200) -> float:
        """Pictures a second that :meth:`frame_times` decodes here, by a trial.

        Args:
            at_most: Pictures to be decoded, from the start.

        Raises:
            VideoError: If the file is gone, or nothing of it can be decoded.
        """
        began = time.perf_counter()
        frames = itertools.islice(self._frames(times_only=True), at_most)
        count = sum(1 for _ in frames)
        if not count:
            raise VideoError(self._undecodable(None))
        return count / (time.perf_counter() - began)

    def pictures(self) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
        """The pictures, RGB, upright, as many as :meth:`frame_times` has times.

        One after the other is decoded, as they are asked for. What could not be
        decoded or is missing is in ``notes`` at the end. Pictures of another size than
        the first are brought to it.

        Raises:
            VideoError: If the file is gone.
        """
        count, base = 0, None
        stamps: list[int] = []  # the first and the last
        for frame in self._frames():
            count += 1
            base = base or frame.time_base  # of the last pictures it is not said
            stamp = frame.dts if frame.pts is None else frame.pts
            if stamp is not None:
                stamps = [min([*stamps, stamp]), max([*stamps, stamp])]
            yield rgb(frame, self._size)
        seconds = None
        if stamps and base and self.fps:
            # The last is over when the next would be shown.
            seconds = float((stamps[-1] - stamps[0]) * base + 1 / self.fps)
        self.notes += self._missing(count, seconds)

    def _frames(self, *, times_only: bool = False) -> Iterator[VideoFrame]:
        """All that can be decoded.

        With several threads libav may lose whole pictures that it has in work when it
        meets damage. So at its first sign one thread starts anew.
        """
        given = 0
        if self._num_threads != 1:
            with self._opened() as container:
                reading = Pass(
                    container,
                    self._track(container),
                    num_threads=self._num_threads,
                    times_only=times_only,
                )
                for frame in reading.frames():
                    if not reading.is_whole:
                        break
                    given += 1
                    yield frame
            if reading.is_whole and given == reading.num_packets:
                self.notes = ()
                return
        with self._opened() as container:
            track = self._track(container)
            reading = Pass(container, track, times_only=times_only)
            for number, frame in enumerate(reading.frames()):
                if number >= given:
                    yield frame
        self.notes = _notes_of(reading)

    def _opened(self) -> InputContainer:
        if not self.path.is_file():
            raise VideoError(
                f"{self.path}: no such file; expected a video; correct the path"
            )
        if not self.path.stat().st_size:
            raise VideoError(
                f"{self.path}: has 0 bytes; expected a video; get it again"
            )
        try:
            return open_container(self.path)
        except av.error.FFmpegError as error:
            raise VideoError(
                f"{self.path}: cannot be opened as video ({error.strerror}); expected "
                "a whole mp4, avi, mkv or other common video, no list of other files; "
                "get it again or convert it"
            ) from error

    def _track(self, container: InputContainer) -> av.VideoStream:
        """The first track of pictures."""
        tracks = picture_tracks(container)
        if not tracks:
            raise VideoError(
                f"{self.path}: has no pictures (a cover is none); expected a video; "
                "use an audio feature set alone for it, or another file"
            )
        if tracks[0].codec_context is None:
            raise VideoError(
                f"{self.path}: pictures of a codec that libav does not know; expected "
                "H.264, MPEG-4, VP9 or another common one; convert the file"
            )
        return tracks[0]

    def _undecodable(self, reading: Pass | None) -> str:
        said = f" ({reading.faults[0]})" if reading and reading.faults else ""
        return (
            f"{self.path}: no picture can be decoded{said}; expected a whole video; "
            "get it again"
        )

    def _missing(self, count: int, seconds: float | None) -> tuple[str, ...]:
        """The note on pictures that are declared and not there, if any.

        Args:
            count: Pictures that are there.
            seconds: When the last of them is over; None: not known.
        """
        declared = self.declared_frames
        if self._is_counted and declared is not None:
            lacking = declared - count
            # AVI counts places, and leaves some empty where the last picture stays.
            if self._is_avi and seconds is not None and self.fps is not None:
                lacking = declared - max(count, round(seconds * self.fps))
            if lacking > max(1, _LACKING * declared):
                return (
                    f"{count} pictures where the file declares {declared}; it is cut "
                    "short or damaged",
                )
        elif self.declared_s is not None and seconds is not None:
            # A count by an average rate would be wrong where the rate varies.
            if self.declared_s - seconds > max(_LACKING_S, _LACKING * self.declared_s):
                return (
                    f"pictures of {seconds:.2f} s where the file declares "
                    f"{self.declared_s:.2f} s; it is cut short or damaged",
                )
        return ()


def open_video(path: str | os.PathLike[str], *, num_threads: int = 0) -> VideoFile:
    """A video file, its head and first picture read.

    Args:
        path: Of a file of a common format: mp4, avi, mkv, webm, ... Lists of other
            files are refused, whatever their name.
        num_threads: That decode; 0: as many as there are cores, at most 16.

    Raises:
        VideoError: If there is no such file, if it is empty or no video, if it has no
            pictures (a sound file's cover is none), or if none can be decoded.
    """
    return VideoFile(path, num_threads=num_threads)


def _stated_fps(track: av.VideoStream) -> Fraction | None:
    for rate in (track.average_rate, track.base_rate):
        if rate is not None and 0 < rate <= MAX_FPS:
            return Fraction(rate)
    return None


def _notes_of(reading: Pass) -> tuple[str, ...]:
    notes = []
    if reading.faults:
        notes.append(
            f"{len(reading.faults)} packets of pictures could not be decoded "
            f"({reading.faults[0]})"
        )
    if reading.num_damaged:
        notes.append(f"{reading.num_damaged} pictures are damaged")
    return tuple(notes)
