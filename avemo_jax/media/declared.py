"""Lengths that a file declares of its tracks, against what is decoded: one rule.

What is hidden counts as neither declared nor missing: telephones, QuickTime and
``ffmpeg -ss -c copy`` trim a clip by an edit list, which leaves pictures and sound in
the file that are not to be shown. Some formats state one length for all tracks, which
is that of the longest; then only an early end of all of them is a loss.
"""

import re
from typing import Literal

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from avemo_jax.media.containers import seconds, start_s

_CLOCK = r"(\d{2,6}):(\d\d):(\d\d(?:\.\d+)?)"  # Matroska's hh:mm:ss.fraction
# Formats whose length libav reads from the header, and never guesses from a bit rate.
_STATED_FOR_ALL = {"matroska", "webm", "flv", "asf", "mov", "mp4"}

What = Literal["pictures", "sound"]
# More missing than both of these is a loss: so many seconds, and this part of what is
# declared. The last picture's length and lengths of pictures by MPEG are inexact.
_SHORT_S: dict[What, float] = {"pictures": 0.5, "sound": 0.1}
_SHORT: dict[What, float] = {"pictures": 0.005, "sound": 0.0}
_SHORT_COUNT = 1  # the same in pictures
_CUT = "it is cut short or damaged"
# All packets of a file together hold no more than this many times its bytes, and more.
_READ_OVER, _READ_MORE = 4, 2**24
REPEATED = (
    "its index names the same bytes again and again; expected each once; convert the "
    "file"
)
# A damaged file of a few megabytes may have millions of packets. So many in a row, an
# hour of pictures or sound, are no part that is lost but a file that is none.
MAX_FAULTS = 100_000


def undecodable(fault: str) -> str:
    """The error of a file that has :data:`MAX_FAULTS` damaged packets in a row.

    Args:
        fault: Libav's error for one of them.
    """
    return (
        f"{MAX_FAULTS:,} packets in a row cannot be decoded ({fault}); expected a "
        "whole file; get it again"
    )


def shown_pictures(container: InputContainer, track: VideoStream) -> int | None:
    """Number of pictures that the container states, without those that it hides.

    MP4 and its kin state the number of all, and list each with whether it is shown;
    those before the key frame from which an edit list starts are not listed.

    Args:
        container: The open container.
        track: Its track of pictures.

    Returns:
        The number of pictures; None if none is stated. In AVI it counts places.
    """
    if track.frames and "mp4" in container.format.name:
        listed = track.index_entries
        shown = sum(bool(one.size) and not one.is_discard for one in listed)
        return shown or track.frames
    return track.frames or None


def tagged_end_s(stream: Stream) -> float | None:
    """Seconds at which the track ends, by Matroska's tag; None: no tag with a time."""
    tag = re.fullmatch(_CLOCK, stream.metadata.get("DURATION", ""))
    if tag is None:
        return None
    hours, minutes, seconds = map(float, tag.groups())
    return 3600 * hours + 60 * minutes + seconds


def length_of_all_s(container: InputContainer) -> float | None:
    """Declared seconds of the container; None: it does not tell."""
    return None if container.duration is None else container.duration / av.time_base


def length_s(container: InputContainer, stream: Stream) -> float | None:
    """Declared seconds of a track by itself, without what is hidden.

    Returns:
        Its own length, or that of the container if there is no other track; None if
        neither is declared.
    """
    if (stated_s := seconds(stream.duration, stream.time_base)) is not None:
        return float(stated_s)
    if (end_s := tagged_end_s(stream)) is not None:
        return end_s - float(start_s(stream) or 0)
    cover = av.stream.Disposition.attached_pic
    tracks = [one for one in container.streams if not one.disposition & cover]
    return length_of_all_s(container) if len(tracks) == 1 else None


def duration_s(container: InputContainer, stream: Stream) -> float | None:
    """Declared seconds of a track, else of the container; None: neither is declared."""
    own_s = length_s(container, stream)
    return length_of_all_s(container) if own_s is None else own_s


def short_count(found: int, declared: int | None) -> tuple[str, ...]:
    """A note on pictures that are declared and missing; empty where none are.

    Args:
        found: Number of pictures that were decoded, or whose places are known.
        declared: Number that is to be shown; None: not stated.
    """
    lacking = (declared or 0) - found
    if lacking <= max(_SHORT_COUNT, _SHORT["pictures"] * (declared or 0)):
        return ()
    return (f"{found} pictures where the file declares {declared}; {_CUT}",)


def short_length(
    what: What, found_s: float | None, declared_s: float | None
) -> tuple[str, ...]:
    """A note if what was decoded of a track is shorter than declared; else empty.

    Args:
        what: The kind of the track.
        found_s: Seconds that were decoded; None: not known.
        declared_s: Declared seconds from the same start; None: not stated.
    """
    if not _is_short(what, found_s, declared_s):
        return ()
    return (
        f"{what} of {found_s:.2f} s where the file declares {declared_s:.2f} s; {_CUT}",
    )


class FileEnd:
    """Where the packets of a file end, of whichever track, and how much they hold."""

    def __init__(self, container: InputContainer):
        """Notes what the container declares; nothing is read."""
        stated = _STATED_FOR_ALL.intersection(container.format.name.split(","))
        self._declared_s = length_of_all_s(container) if stated else None
        self._start_s = (container.start_time or 0) / av.time_base
        self._end_s: float | None = None
        self._bytes_left = _READ_OVER * container.size + _READ_MORE

    @property
    def is_repeated(self) -> bool:
        """Whether the packets hold far more than the file: it names bytes again."""
        return self._bytes_left < 0

    def see(self, packet: Packet) -> None:
        """Count one packet, of any track."""
        self._bytes_left -= packet.size
        ticks, tick_s = packet.pts, packet.time_base
        if ticks is None or not tick_s:
            return
        ticks += packet.duration or 0
        end_s = ticks * tick_s.numerator / tick_s.denominator
        self._end_s = end_s if self._end_s is None else max(self._end_s, end_s)

    def short(self, what: What) -> tuple[str, ...]:
        """A note if all tracks end before the end that is declared for all.

        Args:
            what: The kind of the track that was read.
        """
        if self._end_s is None:
            return ()
        found_s = self._end_s - self._start_s
        if not _is_short(what, found_s, self._declared_s):
            return ()
        return (
            f"the file ends after {found_s:.2f} s where it declares "
            f"{self._declared_s:.2f} s; {_CUT}",
        )


def _is_short(what: What, found_s: float | None, declared_s: float | None) -> bool:
    if found_s is None or declared_s is None:
        return False
    return declared_s - found_s > max(_SHORT_S[what], _SHORT[what] * declared_s)
