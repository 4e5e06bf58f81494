"""Files opened with libav: real containers only, and when their tracks start.

libav also knows formats that are lists of other files or addresses (concat, HLS, DASH,
SDP, sequences of images, ...), and recognises them under any name. Such a "video" would
read other files of this machine, so only formats that hold their own pictures or sound
are opened, and only from files.
"""

import os
import pathlib
from fractions import Fraction
from numbers import Rational
from typing import Any

import av
from av.container import InputContainer
from av.stream import Stream
from av.video.stream import VideoStream

from avemo_jax.media.file_endings import FORMATS
from avemo_jax.media.mp4_tables import check_tables
from avemo_jax.media.wave_lengths import MendedFile, stated_length

_OPTIONS = {
    "format_whitelist": ",".join(FORMATS),
    "protocol_whitelist": "file",
}
# PyAV reads tags of any encoding from 19 on; before, only when it is told to.
_TAGS: dict[str, Any] = (
    {} if int(av.__version__.split(".")[0]) >= 19 else {"metadata_errors": "replace"}
)


def open_container(path: pathlib.Path) -> InputContainer:
    """The open container of a file, its header read.

    Args:
        path: Path of an existing file.

    Raises:
        av.error.FFmpegError: If it cannot be opened; ``ArgumentError`` if its format is
            not allowed.
    """
    # An absolute path, since libav takes "name:" for a protocol. Tags may be in any
    # encoding, but those used here are ASCII.
    absolute = path.resolve()
    check_tables(absolute)
    length = stated_length(absolute)
    if length is not None and length.mended:
        mended = MendedFile(absolute, length.mended)
        return av.open(mended, options=dict(_OPTIONS), **_TAGS)
    return av.open(os.fspath(absolute), options=dict(_OPTIONS), **_TAGS)


def picture_tracks(container: InputContainer) -> list[VideoStream]:
    """The tracks of pictures, without cover pictures of sound files."""
    cover = av.stream.Disposition.attached_pic
    return [v for v in container.streams.video if not v.disposition & cover]


def seconds(ticks: int | None, tick_s: Rational | None) -> Fraction | None:
    """Seconds of so many ticks, exact; None: either of them is not stated.

    Args:
        ticks: A time stamp or a length; None: not stated.
        tick_s: PyAV's ``time_base``, seconds of one tick. Not stated it is None, and
            from PyAV 19 on a rational number that counts as False.
    """
    if ticks is None or not tick_s:
        return None
    return ticks * Fraction(tick_s)


def start_s(stream: Stream) -> Fraction | None:
    """Seconds at which the track starts, by its time stamps; None: not stated."""
    return seconds(stream.start_time, stream.time_base)
