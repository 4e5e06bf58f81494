"""One pass over a sound track with libav: placed in time, holes filled, float32."""

from collections.abc import Iterator

import av
import numpy as np
from av.container import InputContainer
from jaxtyping import Float32

from avemo_jax.media.containers import picture_tracks, seconds, start_s
from avemo_jax.media.declared import (
    MAX_FAULTS,
    REPEATED,
    FileEnd,
    length_s,
    tagged_end_s,
    undecodable,
)
from avemo_jax.media.wave_lengths import stated_length

MAX_CHANNELS = 32
HOLE_S = 0.1  # shorter gaps of the time stamps are jitter
_HOLE_AFTER_LOSS_S = 0.01  # the same after a packet that could not be decoded
_LONGEST_SILENCE_S = 3600.0  # most silence that may fill the holes of a track
_ROUNDING_S = 1e-3  # libav rounds lengths by less
_LONGEST_PADDING = 4096  # samples: two frames of AAC with its extension
MAX_OVERSHOOT = 2.0  # floats of a decoder, resampler or writer may pass 1 by some
_FEW = 0.01  # more of a file's floats that are no sound than this are refused
_NO_SOUND = 8.0  # 18 dB over full scale: lossy decoders give such values for damage
_SILENCE = 2**16  # samples of silence in one piece
FULL_SCALE = {"int16": 2.0**15, "int32": 2.0**31}

Samples = Float32[np.ndarray, "n channels"]


class SoundError(ValueError):
    """Sound that is missing, damaged, or of another form than expected."""


class Reading:
    """One pass over a sound track.

    Attributes:
        track: The sound track, as libav has it.
        declared_s: Seconds from time 0 to the end, as the container states or
            estimates them; None: it does not.
        faults: Libav's error for each packet that could not be decoded, and the peak
            of each frame whose values are too high for sound.
        num_no_number: Number of samples, of all channels, that are not finite.
        num_clipped: Number of samples, of all channels, beyond ``MAX_OVERSHOOT``.
        peak: Highest absolute value of all that are finite, if one was clipped; else 0.
        before_s: Seconds of sound before the first picture, which are left out.
        ahead_s: Most seconds by which samples ran ahead of their time stamps.
        file_end: Where the packets of the file ended, of all tracks.
    """

    def __init__(self, container: InputContainer, stream: int):
        self.track = container.streams.audio[stream]
        self.faults: list[str] = []
        self.before_s = self.ahead_s = self.peak = 0.0
        self.num_no_number = self.num_clipped = self._num_values = self._num_loud = 0
        self.file_end = FileEnd(container)
        self._container = container
        # Decoding changes the track's bit rate, and the container will be closed.
        self._bit_rate, self._num_bytes = self.track.bit_rate, container.size
        self._first_byte: int | None = None
        pictures = picture_tracks(container)
        self._zero_s = start_s(pictures[0]) if pictures else None
        self.declared_s = self._declared_s()

    def frames(self) -> Iterator[av.AudioFrame]:
        """The frames of sound that can be decoded, in order.

        Raises:
            SoundError: If the file gives its bytes again and again, or far too many
                packets in a row are damaged. The message lacks the file's name.
        """
        whole = 0  # number of faults at the last whole packet
        packets = self._container.demux()
        while True:
            try:
                if (packet := next(packets, None)) is None:
                    return
                self.file_end.see(packet)
                if self.file_end.is_repeated:
                    raise SoundError(REPEATED)
                if packet.stream.index != self.track.index:
                    continue
                if self._first_byte is None:
                    self._first_byte = packet.pos
                decoded = self.track.decode(packet)
            except av.error.FFmpegError as error:
                # Damage: the next packets may be whole. After its own error the
                # container has none.
                self.faults.append(str(error.strerror))
                if len(self.faults) - whole >= MAX_FAULTS:
                    raise SoundError(undecodable(self.faults[-1])) from error
            else:
                whole = len(self.faults)
                yield from decoded

    @property
    def is_estimate(self) -> bool:
        """Whether ``declared_s`` is only the file's size over the first bit rate.

        This is so for files that state no length, such as some MP3 and AAC of a
        changing rate, and is known once :meth:`frames` has begun.
        """
        if self.declared_s is None or not self._bit_rate:
            return False
        estimate_s = 8 * (self._num_bytes - (self._first_byte or 0)) / self._bit_rate
        return abs(self.declared_s - estimate_s) < _ROUNDING_S

    def samples(self, rate_hz: int, channels: int) -> Iterator[Samples]:
        """The samples from time 0 to the track's end, in pieces.

        Raises:
            SoundError: If the sound changes its rate or channels, has samples of an
                unknown form, its time stamps leap, or the file gives its bytes again
                and again; at the end, if over 1 % of it are values that are no number
                or over 2. The message lacks the file's name.
        """
        pieces = self._placed(rate_hz, channels)
        if self.declared_s is None or "mp4" not in self._container.format.name:
            yield from pieces
            return
        end, count, held = round(self.declared_s * rate_hz), 0, []
        for piece in pieces:
            count += len(piece)
            over = count - end
            if 0 < over <= _LONGEST_PADDING:
                kept = max(0, len(piece) - over)
                yield piece[:kept]
                held.append(piece[kept:])
            else:
                # Before the end, or so far after it that the stated end is wrong.
                yield from held
                held = []
                yield piece

    def _placed(self, rate_hz: int, channels: int) -> Iterator[Samples]:
        """The samples from time 0, holes filled, an encoder's padding included."""
        # The place of the next sample; below 0 it is before time 0.
        position: int | None = None
        faults = filled = 0
        for frame in self.frames():
            form = (frame.sample_rate, frame.layout.nb_channels)
            if form != (rate_hz, channels):
                raise SoundError(
                    f"the sound changes from {rate_hz} Hz, {channels} channels to "
                    f"{form[0]} Hz, {form[1]} channels; expected one form throughout; "
                    "convert the file to one"
                )
            at = self._position(frame, rate_hz)
            if position is None:
                position = min(at or 0, 0)
                self.before_s = -position / rate_hz
                hole = (at or 0) - position
            else:
                late = 0 if at is None else at - position
                self.ahead_s = max(self.ahead_s, -late / rate_hz)
                lost = len(self.faults) > faults
                jitter_s = _HOLE_AFTER_LOSS_S if lost else HOLE_S
                hole = late if late > jitter_s * rate_hz else 0
            faults = len(self.faults)
            filled += hole
            if filled > _LONGEST_SILENCE_S * rate_hz:
                raise SoundError(
                    f"time stamps leap by {filled / rate_hz:.0f} s in all; expected at "
                    f"most {_LONGEST_SILENCE_S:.0f} s; mend the file, or extract its "
                    "sound"
                )
            yield from _silence(max(position + hole, 0) - max(position, 0), channels)
            samples = self._sound(frame)
            position += hole
            yield samples[max(-position, 0) :]
            position += len(samples)
        self._check_values()

    def _sound(self, frame: av.AudioFrame) -> Samples:
        """The samples of a frame; zeros if a lossy decoder made no sound of it."""
        samples = _float32(frame)
        if self.track.codec_context.name.startswith("pcm"):
            return self._bounded(samples)
        peak = float(np.abs(samples).max(initial=0.0))
        if peak <= _NO_SOUND:
            return samples
        self.faults.append(f"values of up to {peak}")
        return np.zeros_like(samples)

    def _bounded(self, samples: Samples) -> Samples:
        """Stored samples without what is no sound: silenced or clipped, and counted."""
        self._num_values += samples.size
        self._num_loud += int(np.count_nonzero(samples))
        peak = float(np.abs(samples).max(initial=0.0))
        if peak <= MAX_OVERSHOOT:
            return samples
        is_number = np.isfinite(samples)
        self.num_no_number += int((~is_number).sum())
        samples = np.where(is_number, samples, np.float32(0))
        self.peak = max(self.peak, float(np.abs(samples).max(initial=0.0)))
        self.num_clipped += int((np.abs(samples) > MAX_OVERSHOOT).sum())
        return samples.clip(-MAX_OVERSHOOT, MAX_OVERSHOOT)

    def _check_values(self) -> None:
        """Raise ``SoundError`` if much of a whole track of stored samples is no sound.

        Digital silence is left out of the comparison of loudness, for a recording may
        be silent for most of its time.
        """
        if self.num_no_number > _FEW * self._num_values:
            raise SoundError(
                f"{self.num_no_number} of {self._num_values} samples are no number; "
                "expected floats in [-1, 1]; write the file again"
            )
        if self.num_clipped > _FEW * self._num_loud:
            raise SoundError(
                f"values of up to {self.peak:g}, {self.num_clipped} of "
                f"{self._num_loud} beyond {MAX_OVERSHOOT:g}; expected floats in "
                "[-1, 1]; divide by the full scale, as by 32768 for 16 bits, or write "
                "the file as integers"
            )

    def _position(self, frame: av.AudioFrame, rate_hz: int) -> int | None:
        """Samples from time 0 to the frame's first; None: it has no time stamp."""
        if (time_s := seconds(frame.pts, frame.time_base)) is None:
            return None
        if self._zero_s is None:
            self._zero_s = time_s
        return round((time_s - self._zero_s) * rate_hz)

    def _declared_s(self) -> float | None:
        container, track = self._container, self.track
        if (stated_s := seconds(track.duration, track.time_base)) is not None:
            declared_s = float(stated_s)
            if self._zero_s is not None:
                declared_s += float((start_s(track) or 0) - self._zero_s)
        elif (end_s := tagged_end_s(track)) is not None:
            declared_s = end_s - float(self._zero_s or 0)
        elif (alone_s := length_s(container, track)) is not None:
            declared_s = alone_s
        else:
            return None
        length = stated_length(container.name)
        if length is not None and track.bit_rate:
            # Libav states the length in one place of the header, or what is there.
            there_s = 8 * length.there / track.bit_rate
            if length.stated is None:
                return there_s
            if length.stated > length.there:
                declared_s = max(declared_s, 8 * length.stated / track.bit_rate)
        return declared_s


def _silence(count: int, channels: int) -> Iterator[Samples]:
    for start in range(0, count, _SILENCE):
        yield np.zeros((min(_SILENCE, count - start), channels), np.float32)


def _float32(frame: av.AudioFrame) -> Samples:
    """The samples of a frame as float32; integers are scaled to [-1, 1]."""
    kind = frame.format.name.removesuffix("p")
    if kind not in ("u8", "s16", "s32", "flt", "dbl"):
        raise SoundError(
            f"samples of the form {kind}; expected 8, 16, 24 or 32 bits or floats; "
            "convert the file"
        )
    array = frame.to_ndarray()
    channels = frame.layout.nb_channels
    array = array.T if frame.format.is_planar else array.reshape(-1, channels)
    if kind == "u8":
        return (array.astype(np.float32) - 128) / 128
    if kind in ("s16", "s32"):
        return array.astype(np.float32) / np.float32(FULL_SCALE[array.dtype.name])
    with np.errstate(over="ignore"):
        return array.astype(np.float32)
