"""Pictures with their times, and sound, to an MP4 file that every player shows.

H.264 with 4:2:0 chroma in BT.709, the header in front. Each picture is shown when its
time says, at whatever rate, so that a copy of a video stays in step with it.
"""

import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import NamedTuple

import av
import numpy as np
from av.container import OutputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from av.video.stream import VideoStream
from jaxtyping import Float64, Int64, UInt8

from avemo_jax.media.sound_tracks import SoundTrack, TimedPacket

_BT709 = 1  # number of H.273, of primaries, transfer and matrix
# Fast, hardly to be told from the source; key frames are near, for seeking.
_OPTIONS = {"preset": "veryfast", "crf": "20", "g": "60"}
_TICKS_S = (Fraction(1, 90_000), Fraction(1, 1_000_000))
_EXACT_S = 1e-6  # times in tables have six decimals


class Ticks(NamedTuple):
    """Times as whole numbers.

    Attributes:
        base: Seconds of one tick.
        at: When each picture is shown, strictly ascending.
    """

    base: Fraction
    at: Int64[np.ndarray, " pictures"]


def ticks_of(
    times_s: Float64[np.ndarray, " pictures"], tick_s: Fraction | None
) -> Ticks:
    """Times in the ticks of their source, or in finer ones where they are no such.

    Args:
        times_s: Seconds, strictly ascending, by more than a microsecond.
        tick_s: Seconds of a tick of the source; None: unknown.
    """
    bases = [] if tick_s is None or tick_s < _TICKS_S[-1] else [tick_s]
    for base in (*bases, *_TICKS_S):
        at = np.round(times_s * base.denominator / base.numerator).astype(np.int64)
        again_s = at * base.numerator / base.denominator
        if np.abs(again_s - times_s).max(initial=0.0) <= _EXACT_S:
            break
    return Ticks(base, at)


def write_video(
    path: str | os.PathLike[str],
    pictures: Iterable[UInt8[np.ndarray, "height width 3"]],
    times_s: Float64[np.ndarray, " pictures"],
    *,
    last_s: float,
    tick_s: Fraction | None = None,
    sound: SoundTrack | None = None,
) -> tuple[str, ...]:
    """Write pictures and sound as an MP4 file.

    Args:
        path: The file, which is written over.
        pictures: RGB, one for each time, all of one size.
        times_s: When each is shown, in seconds, strictly ascending.
        last_s: How long the last one is shown, in seconds.
        tick_s: Seconds of a tick of the source's times; None: unknown.
        sound: The sound, whose times count as those of the pictures do.

    Returns:
        What a user should know of the file, in words.

    Raises:
        ValueError: If there are fewer or more pictures than times.
        OSError: If the file cannot be written.
    """
    ticks = ticks_of(times_s, tick_s)
    try:
        with av.open(
            os.fspath(path), "w", format="mp4", options={"movflags": "+faststart"}
        ) as out:
            notes = _write(out, iter(pictures), ticks, last_s, sound)
    except av.error.FFmpegError as error:
        raise OSError(error.errno, str(error.strerror), os.fspath(path)) from error
    return notes


def _write(
    out: OutputContainer,
    pictures: Iterator[np.ndarray],
    ticks: Ticks,
    last_s: float,
    sound: SoundTrack | None,
) -> tuple[str, ...]:
    first = next(pictures, None)
    if first is None:
        raise ValueError("no pictures; expected one or more: nothing is written")
    encoder = _Encoder(out, first, ticks, last_s)
    heard: Iterator[TimedPacket] = iter(()) if sound is None else sound.packets(out)
    # Both tracks are there before the first packet is written, and so the header.
    waiting = next(heard, None)
    count = 0
    while first is not None:
        if count == len(ticks.at):
            raise ValueError(
                f"more pictures than the {count} times; expected one for each: decode "
                "the times anew"
            )
        at_s = float(ticks.at[count] * ticks.base)
        while waiting is not None and waiting.time_s <= at_s:
            out.mux(waiting.packet)
            waiting = next(heard, None)
        out.mux(encoder.encode(first))
        count += 1
        first = next(pictures, None)
    if count < len(ticks.at):
        raise ValueError(
            f"{count} pictures for {len(ticks.at)} times; expected one for each: "
            "decode the times anew"
        )
    out.mux(encoder.end())
    while waiting is not None:
        out.mux(waiting.packet)
        waiting = next(heard, None)
    return (*encoder.notes, *(() if sound is None else sound.notes))


class _Encoder:
    """The track of pictures."""

    def __init__(
        self, out: OutputContainer, first: np.ndarray, ticks: Ticks, last_s: float
    ):
        height, width, _ = first.shape
        self._odd = (height % 2, width % 2)
        self.notes: tuple[str, ...] = ()
        if any(self._odd):
            self.notes = (
                f"{width} x {height} pixels made even, as H.264 wants them: the last "
                "row or column is repeated",
            )
        self._ticks = ticks
        last = max(round(last_s / ticks.base), 1)
        self._lasts = np.append(np.diff(ticks.at), last)
        steps_s = np.median(self._lasts) * float(ticks.base)
        rate = Fraction(1 / float(steps_s)).limit_denominator(1001)
        stream = out.add_stream("libx264", rate=rate or Fraction(1), options=_OPTIONS)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height = width + self._odd[1], height + self._odd[0]
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.time_base = ticks.base
        context.color_primaries = context.color_trc = context.colorspace = _BT709
        context.color_range = ColorRange.MPEG
        self._stream, self._reformatter, self._count = stream, VideoReformatter(), 0

    def encode(self, picture: np.ndarray) -> list[Packet]:
        """The packets that are done once the next picture is there."""
        if any(self._odd):
            below, right = self._odd
            picture = np.pad(picture, ((0, below), (0, right), (0, 0)), "edge")
        rgb = VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24")
        frame = self._reformatter.reformat(
            rgb,
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            threads=1,
        )
        frame.pts = int(self._ticks.at[self._count])
        frame.time_base = self._ticks.base
        self._count += 1
        return self._lasting(self._stream.encode(frame))

    def end(self) -> list[Packet]:
        """The packets that were still to come."""
        return self._lasting(self._stream.encode(None))

    def _lasting(self, packets: list[Packet]) -> list[Packet]:
        """The packets with how long each is shown, which alone tells it of the last."""
        for packet in packets:
            number = int(np.searchsorted(self._ticks.at, packet.pts or 0))
            packet.duration = int(self._lasts[number])
        return packets
