"""Videos: when their pictures are shown, and the pictures themselves.

Time 0 is the start of the track of pictures, as for its sound (see ``audio.py``). The
first picture is shown then, unless it cannot be decoded. Pictures are counted as a
decoder gives them, in the order in which they are shown.
"""

import array
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

from avemo_jax.media.container_cropping import is_cropped
from avemo_jax.media.containers import open_container, picture_tracks
from avemo_jax.media.declared import (
    duration_s,
    length_s,
    short_count,
    short_length,
    shown_pictures,
)
from avemo_jax.media.images import MAX_PIXELS
from avemo_jax.media.picture_times import mend, rate_of
from avemo_jax.media.rgb_pictures import ToRGB, shape_of
from avemo_jax.media.video_decoding import (
    NO_STAMP,
    NoPicturesError,
    Pass,
    VideoError,
    seconds_of,
    stamps_of,
)
from avemo_jax.runtime.regular_files import fault_of

__all__ = ["FrameTimes", "NoPicturesError", "VideoError", "VideoFile", "open_video"]

MAX_FPS = 1000  # a stated rate beyond this is ignored


@dataclasses.dataclass(frozen=True, eq=False)
class FrameTimes:
    """When a video's pictures are shown.

    Attributes:
        times_s: float64, strictly ascending, one for each decoded picture.
        fps: Pictures a second, measured by the time stamps without their holes; without
            stamps the stated rate, or 25 (then a note says so).
        constant_rate: Whether all steps are alike, within 5 % or 2 ms.
        notes: What a user should know, in words without the file's name.
        losses: Those of the notes that say that pictures are missing.
    """

    times_s: Float64[np.ndarray, " frames"]
    fps: float
    constant_rate: bool
    notes: tuple[str, ...]
    losses: tuple[str, ...] = ()

    @property
    def num_frames(self) -> int:
        """Number of pictures that were decoded."""
        return len(self.times_s)


class VideoFile:
    """A file with pictures, decoded anew each time that it is read.

    Attributes:
        path: Path of the file.
        declared_frames: Number of pictures that the container states, without those
            that it hides, else its length times its rate; None: it states neither.
        declared_s: Stated length of the pictures in seconds; None: not stated.
        fps: Stated average rate; None: not stated, or over 1000.
        tick_s: Seconds of one tick of the pictures' time stamps; None: not stated.
        width: Width in pixels of the pictures that :meth:`pictures` gives.
        height: Height in pixels of the pictures that :meth:`pictures` gives.
        num_sound_tracks: Number of sound tracks.
        sound_s: Stated length of the first sound track in seconds; None: there is no
            track, or it is not stated.
        losses: What could not be decoded when the file was last read to its end and,
            after :meth:`pictures`, what is missing, in words.
    """

    def __init__(self, path: str | os.PathLike[str], *, num_threads: int = 0):
        """Reads the header and the first picture; use :func:`open_video`."""
        self.path = pathlib.Path(path)
        self.losses: tuple[str, ...] = ()
        self._changes: tuple[str, ...] = ()
        # Of the pictures that were read last, to their end.
        self._stamps: array.array[int] | None = None
        self._num_threads = num_threads
        with self._opened() as container:
            track = self._track(container)
            self.fps = _stated_fps(track)
            # Not stated it is None, and from PyAV 19 on a number that counts as False.
            self.tick_s = Fraction(track.time_base) if track.time_base else None
            self._own_s = length_s(container, track)
            self.declared_s = duration_s(container, track)
            self.declared_frames = shown_pictures(container, track)
            self._is_counted = self.declared_frames is not None
            self._is_avi = container.format.name == "avi"
            if not self._is_counted and self.declared_s and self.fps:
                self.declared_frames = round(self.declared_s * self.fps)
            sounds = container.streams.audio
            self.num_sound_tracks = len(sounds)
            self.sound_s = duration_s(container, sounds[0]) if sounds else None
            self._check_size(track)
            reading = Pass(container, track)
            self._reading = reading
            first = next(reading.frames(), None)
            if first is None:
                raise VideoError(self._undecodable(reading))
            self._shape = shape_of(first, track)
            form, stored = container.format.name, self._shape.stored
            self._is_cropped = is_cropped(self.path, form, stored)
            self._hides_alpha = track.metadata.get("alpha_mode") == "1"
        self.width, self.height = self._shape.shown

    def _check_size(self, track: av.VideoStream) -> None:
        width, height = track.codec_context.width, track.codec_context.height
        if width * height > MAX_PIXELS:
            raise VideoError(
                f"{self.path}: pictures of {width} x {height} pixels; expected at most "
                f"{MAX_PIXELS} pixels, as 8K has; make them smaller with a converter"
            )

    @property
    def notes(self) -> tuple[str, ...]:
        """The losses, and what :meth:`pictures` changed or left, in words."""
        return (*self.losses, *self._changes)

    def frame_times(self) -> FrameTimes:
        """When each picture is shown; the whole video is decoded, only times are kept.

        Raises:
            VideoError: If the file is gone, or nothing can be decoded any more.
        """
        with self._opened() as container:
            track = self._track(container)
            frames = self._frames(times_only=True)
            stamps_s = stamps_of(frames, track, is_avi=self._is_avi)
        if not len(stamps_s):
            raise VideoError(self._undecodable(None))
        found = self._times_of(stamps_s)
        end_s = float(found.times_s[-1]) + 1 / found.fps
        self.losses += self._missing(found.num_frames, end_s)
        notes = self.losses + found.notes
        return dataclasses.replace(found, notes=notes, losses=self.losses)

    def packet_times(self) -> FrameTimes | None:
        """The times of :meth:`frame_times` as the packets tell them, without decoding.

        Each packet is taken for one picture. :meth:`shown_at` tells whether that was
        right, after the pictures were read.

        Returns:
            None where packets do not tell.

        Raises:
            VideoError: If the file is gone.
        """
        if self._is_avi:
            return None
        with self._opened() as container:
            track = self._track(container)
            self._reading = reading = Pass(container, track)
            numbers = reading.packet_stamps()
            if numbers is None:
                return None
            return self._times_of(seconds_of(numbers, track, is_avi=False))

    def shown_at(self, times: FrameTimes) -> bool:
        """Whether :meth:`pictures`, read to the end, had these times and all was there.

        Args:
            times: Such as :meth:`packet_times` gives.
        """
        if self._stamps is None or self.losses or times.losses:
            return False
        with self._opened() as container:
            numbers = np.frombuffer(self._stamps, np.int64)
            track = self._track(container)
            stamps_s = seconds_of(numbers, track, is_avi=self._is_avi)
        return np.array_equal(self._times_of(stamps_s).times_s, times.times_s)

    def _times_of(self, stamps_s: Float64[np.ndarray, " frames"]) -> FrameTimes:
        """Times from time stamps, one or more; what is missing is not looked for."""
        stated = None if self.fps is None else float(self.fps)
        times_s, mended = mend(stamps_s, stated)
        fps, is_constant = rate_of(times_s, stated)
        return FrameTimes(times_s, fps, is_constant, mended)

    def decoding_rate(self, at_most: int = 200) -> float:
        """Pictures a second that :meth:`frame_times` decodes here, found by a trial.

        Args:
            at_most: Number of pictures to decode, from the start.

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

        Pictures are decoded one by one, as they are asked for, in square pixels and
        scaled to the size of the first. High dynamic range is tone-mapped, and what is
        transparent lies on black. At the end ``notes`` says what was done, could not be
        decoded or is missing.

        Raises:
            VideoError: If the file is gone.
        """
        count, base, convert = 0, None, ToRGB(self._shape)
        stamps: list[int] = []  # the lowest and the highest
        self._stamps = None
        all_stamps = array.array("q")
        for frame in self._frames():
            count += 1
            all_stamps.append(NO_STAMP if frame.pts is None else frame.pts)
            base = base or frame.time_base  # the last pictures lack it
            stamp = frame.dts if frame.pts is None else frame.pts
            if stamp is not None:
                stamps = [min([*stamps, stamp]), max([*stamps, stamp])]
            yield convert(frame)
        seconds = None
        if stamps and base and self.fps:
            # The last picture ends when a next one would be shown.
            seconds = float((stamps[-1] - stamps[0]) * base + 1 / self.fps)
        self.losses += self._missing(count, seconds)
        self._stamps = all_stamps
        self._changes = convert.notes + self._left()

    def _frames(self, *, times_only: bool = False) -> Iterator[VideoFrame]:
        """All pictures that can be decoded.

        With several threads libav may lose whole pictures that it is working on when
        it meets damage, so at the first sign of damage one thread starts again.
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
            self._reading = reading
            if reading.is_whole and given == reading.num_packets:
                self.losses = ()
                return
        with self._opened() as container:
            track = self._track(container)
            reading = Pass(container, track, times_only=times_only)
            for number, frame in enumerate(reading.frames()):
                if number >= given:
                    yield frame
        self._reading = reading
        self.losses = _losses_of(reading)

    def _opened(self) -> InputContainer:
        if fault := fault_of(self.path):
            raise VideoError(
                f"{self.path}: {fault}; expected a video; correct the path, or get it "
                "again"
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
            raise NoPicturesError(
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

    def _left(self) -> tuple[str, ...]:
        """What the pictures would need, and was left as it is, in words."""
        left = []
        if len(self._reading.aspects) > 1:
            left.append(
                "the shape of pixels changes on the way; that of the first picture is "
                "kept"
            )
        if self._is_cropped:
            left.append(
                "the container crops the pictures, which is not applied: they are whole"
            )
        if self._hides_alpha:
            left.append("transparency, which is not decoded and shows what is beneath")
        return tuple(left)

    def _missing(self, count: int, seconds: float | None) -> tuple[str, ...]:
        """A note on pictures that are declared and missing, if there are any.

        Args:
            count: Number of pictures that were decoded.
            seconds: Time at which the last of them ends; None: not known.
        """
        if not self._is_counted:
            # A count by an average rate would be wrong where the rate varies.
            if self._own_s is None:
                return self._reading.file_end.short("pictures")
            return short_length("pictures", seconds, self._own_s)
        found = count
        # AVI counts places, some of which are empty while a picture stays.
        if self._is_avi and seconds is not None and self.fps is not None:
            found = max(count, round(seconds * self.fps))
        return short_count(found, self.declared_frames)


def open_video(path: str | os.PathLike[str], *, num_threads: int = 0) -> VideoFile:
    """A video file, its header and first picture read.

    Args:
        path: File of a common format: mp4, avi, mkv, webm, ... Lists of other files are
            refused, whatever their name.
        num_threads: Threads that decode; 0: as many as there are cores, at most 16.

    Raises:
        NoPicturesError: If it has no pictures (a sound file's cover is none).
        VideoError: If there is no such file, if it is empty or no video, or if no
            picture can be decoded.
    """
    return VideoFile(path, num_threads=num_threads)


def _stated_fps(track: av.VideoStream) -> Fraction | None:
    for rate in (track.average_rate, track.base_rate):
        # Not stated it is None, and from PyAV 19 on a number that counts as False.
        if rate and 0 < rate <= MAX_FPS:
            return Fraction(rate)
    return None


def _losses_of(reading: Pass) -> tuple[str, ...]:
    notes = []
    if reading.faults:
        notes.append(
            f"{len(reading.faults)} packets of pictures could not be decoded "
            f"({reading.faults[0]})"
        )
    if reading.num_damaged:
        notes.append(f"{reading.num_damaged} pictures are damaged")
    return tuple(notes)
