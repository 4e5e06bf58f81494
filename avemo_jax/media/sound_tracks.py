"""The sound of a file as a track of an MP4 file: copied where it can be, else encoded.

Times count from the first picture of the file, as those of its pictures and sound do
everywhere here.
"""

import contextlib
import io
import pathlib
from collections.abc import Iterator
from typing import NamedTuple, Protocol, runtime_checkable

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet

from avemo_jax.media.audio import SoundFile, open_sound
from avemo_jax.media.audio_decoding import SoundError
from avemo_jax.media.containers import open_container, picture_tracks, start_s

# Codecs that players expect in MP4, of which bytes are copied.
_COPIED = frozenset("aac ac3 alac eac3 flac mp3 opus".split())
# Decoders are right only some packets after their first; an edit list hides these.
_PREROLL_S = 0.1
_RATES_HZ = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 8000)
_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 8: "7.1"}
_BITS_A_CHANNEL = 96_000  # a second
_FRAME = 1024  # samples of a packet of AAC


class TimedPacket(NamedTuple):
    """A packet of sound, and when it is to be heard.

    Attributes:
        time_s: Seconds from the first picture of the new file.
        packet: The packet, whose stream is one of that file.
    """

    time_s: float
    packet: Packet


@runtime_checkable
class SoundTrack(Protocol):
    """A track of sound that is added to a file.

    Attributes:
        notes: What a user should know of it, complete once all packets were given.
    """

    notes: tuple[str, ...]

    def packets(self, out: OutputContainer) -> Iterator[TimedPacket]:
        """Add the track, and give its packets in the order of time.

        The track is there once the first packet was asked for.
        """
        ...


class CopiedSound:
    """The packets of a file's first track of sound, byte for byte."""

    def __init__(self, path: pathlib.Path, begin_s: float, end_s: float | None):
        """A part of a track; nothing is read.

        Args:
            path: The file.
            begin_s: Where the part begins, in seconds from the file's first picture.
            end_s: Where it ends; None: with the track.
        """
        self.notes: tuple[str, ...] = ()
        self._path, self._begin_s, self._end_s = path, begin_s, end_s

    def packets(self, out: OutputContainer) -> Iterator[TimedPacket]:
        """Add the track, and give its packets in the order of time."""
        with open_container(self._path) as container:
            track = container.streams.audio[0]
            stream = out.add_stream_from_template(track)
            zero_s = _zero_s(container) + self._begin_s
            end_s = np.inf if self._end_s is None else self._end_s - self._begin_s
            if len(container.streams.audio) > 1:
                self.notes += ("the first of several tracks of sound is taken",)
            timeless, last = 0, -np.inf
            for packet in self._read(container, track):
                if packet.pts is None or not packet.time_base:
                    timeless += 1
                    continue
                timed = self._moved(packet, zero_s)
                if timed is None:
                    continue
                if timed.time_s >= end_s:
                    break
                assert packet.dts is not None
                if packet.dts <= last:
                    timeless += 1  # no file may have times that do not rise
                    continue
                last = packet.dts
                packet.stream = stream
                yield timed
            if timeless:
                self.notes += (
                    f"{timeless} packets of sound have no times that rise, and are "
                    "left out",
                )

    def _read(self, container: InputContainer, track: AudioStream) -> Iterator[Packet]:
        """The track's packets, as far as they can be read."""
        packets = container.demux(track)
        while True:
            try:
                packet = next(packets, None)
            except av.error.FFmpegError as error:
                self.notes += (
                    f"its sound cannot be read to the end ({error.strerror})",
                )
                return
            if packet is None:
                return
            # Without bytes it is libav's own last one.
            if packet.size:
                yield packet

    def _moved(self, packet: Packet, zero_s: float) -> TimedPacket | None:
        """The packet at its time in the new file; None: it is heard before or never."""
        base = packet.time_base
        shift = round(zero_s * base.denominator / base.numerator)
        assert packet.pts is not None
        packet.pts -= shift
        packet.dts = packet.pts if packet.dts is None else packet.dts - shift
        at_s = packet.pts * base.numerator / base.denominator
        length_s = (packet.duration or 0) * base.numerator / base.denominator
        is_before = at_s + length_s <= 0
        if at_s + length_s <= -_PREROLL_S or (packet.is_discard and not is_before):
            return None
        return TimedPacket(at_s, packet)


class EncodedSound:
    """A file's first track of sound, decoded and encoded as AAC."""

    def __init__(self, sound: SoundFile, begin_s: float, end_s: float | None, why: str):
        """A part of a track; nothing is decoded.

        Args:
            sound: The sound, from the file's first picture on.
            begin_s: Where the part begins, in seconds from there.
            end_s: Where it ends; None: with the track.
            why: Why it is not copied, in words.
        """
        self.notes: tuple[str, ...] = (f"sound encoded as AAC: {why}",)
        self._sound, self._begin_s, self._end_s = sound, begin_s, end_s

    def packets(self, out: OutputContainer) -> Iterator[TimedPacket]:
        """Add the track, and give its packets in the order of time."""
        stored_hz = self._sound.sample_rate_hz
        rate_hz = stored_hz if stored_hz in _RATES_HZ else 48000
        channels = self._sound.num_channels
        if channels not in _LAYOUTS:
            self.notes += (f"{channels} channels of sound mixed to one",)
        layout = _LAYOUTS.get(channels, "mono")
        stream = out.add_stream("aac", rate=rate_hz, layout=layout)
        assert isinstance(stream, AudioStream)
        stream.bit_rate = _BITS_A_CHANNEL * (channels if channels in _LAYOUTS else 1)
        try:
            for count, piece in self._pieces(rate_hz):
                if channels not in _LAYOUTS:
                    piece = piece.mean(axis=1, keepdims=True)
                frame = av.AudioFrame.from_ndarray(
                    np.ascontiguousarray(piece.T), "fltp", layout
                )
                frame.sample_rate, frame.pts = rate_hz, count
                yield from _timed(stream.encode(frame))
        except SoundError as error:
            self.notes += (f"sound is missing from there on: {error}",)
        yield from _timed(stream.encode(None))

    def _pieces(self, rate_hz: int) -> Iterator[tuple[int, np.ndarray]]:
        """The samples of the part, a packet's at a time, and how many came before."""
        begin = round(self._begin_s * rate_hz)
        end = None if self._end_s is None else round(self._end_s * rate_hz)
        at = 0
        for block in self._sound.blocks(rate_hz):
            kept = block[max(begin - at, 0) : None if end is None else max(end - at, 0)]
            first = max(at, begin) - begin
            for start in range(0, len(kept), _FRAME):
                yield first + start, kept[start : start + _FRAME]
            at += len(block)
            if end is not None and at >= end:
                return


def sound_track(
    path: pathlib.Path, begin_s: float = 0.0, end_s: float | None = None
) -> SoundTrack | None:
    """The first track of sound of a file, for another one; None: the file has none.

    Args:
        path: The file.
        begin_s: Where the part begins that is wanted, in seconds from the file's first
            picture.
        end_s: Where it ends; None: with the track.

    Raises:
        SoundError: If the file has sound that cannot be read.
    """
    with open_container(path) as container:
        tracks = container.streams.audio
        if not tracks:
            return None
        context = tracks[0].codec_context
        name = "unknown" if context is None else context.codec.canonical_name
        if name in _COPIED and _fits(container):
            return CopiedSound(path, begin_s, end_s)
    why = f"an MP4 file has none of its kind ({name})"
    return EncodedSound(open_sound(path), begin_s, end_s, why)


def _fits(container: InputContainer) -> bool:
    """Whether packets of the first track of sound can lie in an MP4 file, by trial."""
    with contextlib.suppress(av.error.FFmpegError, ValueError):
        track = container.streams.audio[0]
        with av.open(io.BytesIO(), "w", format="mp4") as out:
            stream = out.add_stream_from_template(track)
            for count, packet in enumerate(container.demux(track)):
                if not packet.size or count == 3:
                    break
                if packet.pts is None:
                    return False
                packet.stream = stream
                out.mux(packet)
        return True
    return False


def _zero_s(container: InputContainer) -> float:
    """When the file's first picture is shown, by its time stamps."""
    pictures = picture_tracks(container)
    return float((start_s(pictures[0]) if pictures else None) or 0)


def _timed(packets: list[Packet]) -> Iterator[TimedPacket]:
    for packet in packets:
        base = packet.time_base
        at_s = (packet.pts or 0) * base.numerator / base.denominator
        yield TimedPacket(at_s, packet)
