"""Some pictures of a video, decoded without all those before them."""

import contextlib
import os
import pathlib
from collections.abc import Iterator, Sequence

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from jaxtyping import UInt8

from avemo_jax.media.containers import open_container, picture_tracks
from avemo_jax.media.images import MAX_PIXELS
from avemo_jax.media.rgb_pictures import ToRGB, shape_of
from avemo_jax.media.video_decoding import VideoError

Picture = UInt8[np.ndarray, "_ _ 3"]
_NEAR_S = 1e-3  # containers round time stamps to milliseconds
_WIND_S = 10.0  # further ahead than this is wound to where key frames are not listed
_MAX_FAULTS = 100


def pictures_at(
    path: str | os.PathLike[str], times_s: Sequence[float]
) -> Iterator[Picture]:
    """The picture that is shown at each of some times, RGB and upright.

    The file is wound on to key frames where that spares decoding.

    Args:
        path: The video file.
        times_s: Seconds from the start of the track of pictures, ascending.

    Raises:
        VideoError: If the file cannot be read, or ends before one of the times.
    """
    with _opened(path) as reader:
        for time_s in times_s:
            reader.wind(time_s)
            frame = reader.shown_at(time_s)
            if frame is None:
                raise VideoError(
                    f"{path}: no picture at {time_s:.3f} s; expected the video that "
                    "was predicted: predict it again"
                )
            yield reader.rgb(frame)


def key_pictures(
    path: str | os.PathLike[str], times_s: Sequence[float]
) -> Iterator[tuple[float, Picture]]:
    """Key frames near some times, which need no other picture, each once.

    Args:
        path: The video file.
        times_s: Seconds from the start of the track of pictures, ascending.

    Yields:
        When the picture is shown, in seconds, and the picture, RGB and upright.

    Raises:
        VideoError: If the file cannot be read.
    """
    last_s = -np.inf
    with _opened(path) as reader:
        for time_s in times_s:
            # The first picture after winding: decoders that skip other pictures give
            # key frames in a wrong order.
            frame = reader.key_before(time_s)
            if frame is not None and reader.time_s(frame) > last_s:
                last_s = reader.time_s(frame)
                yield last_s, reader.rgb(frame)


class _Reader:
    """The pictures of an open file from some place on."""

    def __init__(self, container: InputContainer):
        tracks = picture_tracks(container)
        if not tracks or tracks[0].codec_context is None:
            raise VideoError(
                f"{container.name}: no pictures that can be decoded; expected a video: "
                "get it again"
            )
        self._container, self._track = container, tracks[0]
        context = self._track.codec_context
        # Threads by frame would decode frames ahead of a leap for nothing.
        context.thread_type = "SLICE"
        context.options = {"max_pixels": str(MAX_PIXELS)}
        self._start = self._track.start_time or 0
        self._tick_s = float(self._track.time_base or 0)
        self._keys_s = [
            (entry.timestamp - self._start) * self._tick_s
            for entry in self._track.index_entries
            if entry.is_keyframe
        ]
        self._convert: ToRGB | None = None
        self._restart()

    def _restart(self) -> None:
        self._frames = self._container.decode(self._track)
        self._shown: VideoFrame | None = None
        self._ahead: VideoFrame | None = None

    def wind(self, time_s: float) -> None:
        """Go on from the last key frame before a time, if that spares decoding."""
        at_s = -np.inf if self._shown is None else self.time_s(self._shown)
        between = [key_s for key_s in self._keys_s if at_s < key_s <= time_s + _NEAR_S]
        if between or (len(self._keys_s) < 2 and time_s - at_s > _WIND_S):
            self._seek(time_s)

    def _seek(self, time_s: float) -> None:
        ticks = int((time_s + _NEAR_S) / self._tick_s) if self._tick_s else 0
        # Where it cannot be wound, it is decoded from where it is.
        with contextlib.suppress(av.error.FFmpegError):
            self._container.seek(self._start + ticks, stream=self._track)
            self._restart()

    def key_before(self, time_s: float) -> VideoFrame | None:
        """The key frame at a time or before; None: none can be decoded."""
        self._seek(time_s)
        return self._next()

    def shown_at(self, time_s: float) -> VideoFrame | None:
        """The picture that is shown then; None: the file has no more."""
        while True:
            if self._ahead is None:
                self._ahead = self._next()
            ahead = self._ahead
            if ahead is None or self.time_s(ahead) > time_s + _NEAR_S:
                return self._shown or ahead
            self._shown, self._ahead = ahead, None

    def time_s(self, frame: VideoFrame) -> float:
        """When a picture is shown, in seconds from the start of the track."""
        stamp = frame.dts if frame.pts is None else frame.pts
        return 0.0 if stamp is None else (stamp - self._start) * self._tick_s

    def _next(self) -> VideoFrame | None:
        for _ in range(_MAX_FAULTS):
            try:
                return next(self._frames, None)
            except av.error.FFmpegError:
                # Damage: the next packets may be whole.
                self._frames = self._container.decode(self._track)
        return None

    def rgb(self, frame: VideoFrame) -> Picture:
        """The picture as it is shown."""
        if self._convert is None:
            self._convert = ToRGB(shape_of(frame, self._track))
        return self._convert(frame)


@contextlib.contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[_Reader]:
    try:
        with open_container(pathlib.Path(path)) as container:
            yield _Reader(container)
    except (av.error.FFmpegError, OSError) as error:
        raise VideoError(
            f"{path}: cannot be opened as video ({error.strerror}); expected one that "
            "is there and whole: correct the path, or get it again"
        ) from error
