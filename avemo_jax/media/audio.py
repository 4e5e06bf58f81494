"""Sound of files (also of videos) and arrays: float32, resampled, in pieces.

Time 0 is the first picture where the file has pictures: sound that its container
starts later is preceded by silence, sound before the first picture is left out. In a
file of sound alone time 0 is its first sample. What an encoder adds in front (priming)
is left out where the container states it, by libav or by time; what it adds at the end
is cut at the track's stated end in MP4 and its kin. A hole of more than 0.1 s in the
time stamps is filled with silence.
"""

import os
import pathlib
from collections.abc import Iterator

import av
import numpy as np
import soxr  # type: ignore[import-untyped]
from absl import logging
from av.container import InputContainer

from avemo_jax.media.audio_decoding import (
    FULL_SCALE,
    HOLE_S,
    MAX_CHANNELS,
    MAX_OVERSHOOT,
    Reading,
    Samples,
    SoundError,
)
from avemo_jax.media.containers import open_container
from avemo_jax.media.declared import short_length
from avemo_jax.runtime.regular_files import fault_of

QUALITY = "HQ"  # soxr's quality, librosa's default
MIN_RATE_HZ = 1000  # a file's least rate: lower ones would resample to far too much
_BLOCK = 2**16  # samples that are resampled at once


class Sound:
    """Samples in memory, to be read like a file.

    Attributes:
        samples: float32, (n, channels), in [-1, 1].
        sample_rate_hz: Sample rate of ``samples``.
    """

    def __init__(self, samples: np.ndarray, sample_rate_hz: int):
        """Checks the samples and converts them to float32.

        Nothing is mended here, unlike in files: who has the array can mend it.

        Args:
            samples: (n,) or (n, channels). Floats in [-1, 1] (up to 2 is taken for
                overshoot and kept), int16 or int32 over their whole range.
            sample_rate_hz: Sample rate of ``samples``.

        Raises:
            SoundError: If shape, dtype, range or rate is none of these, or a value is
                not finite.
        """
        _check_rate(sample_rate_hz)
        array = samples[:, None] if samples.ndim == 1 else samples
        if array.ndim != 2 or not 1 <= array.shape[1] <= MAX_CHANNELS:
            raise SoundError(
                f"samples of shape {samples.shape}; expected (n,) or (n, channels), "
                f"1 to {MAX_CHANNELS} channels; put time on axis 0"
            )
        kind = array.dtype.name
        if kind in FULL_SCALE:
            array = array.astype(np.float32) / np.float32(FULL_SCALE[kind])
        elif not np.issubdtype(array.dtype, np.floating):
            raise SoundError(
                f"samples of dtype {kind}; expected floats, int16 or int32; scale "
                "them to [-1, 1]"
            )
        self.samples: Samples = np.ascontiguousarray(array, np.float32)
        self.sample_rate_hz = sample_rate_hz
        peak = float(np.abs(self.samples).max(initial=0.0))
        if not peak <= MAX_OVERSHOOT:
            raise SoundError(
                f"samples of up to {peak} (or not finite); expected [-1, 1]; "
                "divide integers by their full scale, and mend what is not a number"
            )

    @property
    def num_channels(self) -> int:
        """Number of channels; 1 for mono."""
        return int(self.samples.shape[1])

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.sample_rate_hz

    def blocks(self, sample_rate_hz: int) -> Iterator[Samples]:
        """The samples from the start at ``sample_rate_hz``, in pieces.

        Raises:
            SoundError: If the rate is not positive.
        """
        _check_rate(sample_rate_hz)
        whole = iter([self.samples])
        return _resampled(whole, self.sample_rate_hz, sample_rate_hz, self.num_channels)


class SoundFile:
    """A sound track of a file, decoded anew each time that it is read.

    Attributes:
        path: Path of the file.
        stream: Index of the sound track among those of the file, from 0.
        num_streams: Number of sound tracks in the file.
        num_channels: Number of channels; 1 for mono.
        sample_rate_hz: Sample rate that the track is stored at.
        declared_s: Seconds from time 0 to the end, as the container states or
            estimates them; None: it does not.
        notes: What a user should know of the sound, in words without the file's name;
            complete once the track was read to its end.
        losses: Those of the notes that say that sound is missing.
    """

    def __init__(self, path: str | os.PathLike[str], *, stream: int = 0):
        """Reads the header and the first samples; use :func:`open_sound`."""
        self.path = pathlib.Path(path)
        self.stream = stream
        self.notes: tuple[str, ...] = ()
        self.losses: tuple[str, ...] = ()
        self._decoded_s: float | None = None
        with self._opened() as container:
            self.num_streams = len(container.streams.audio)
            if not 0 <= stream < self.num_streams:
                raise SoundError(self._no_track(stream))
            if container.streams.audio[stream].codec_context is None:
                raise SoundError(
                    f"{self.path}: sound of a codec that libav does not know; expected "
                    "wav, flac, mp3 or a common video; convert the file"
                )
            reading = Reading(container, stream)
            self.declared_s = reading.declared_s
            try:
                first = next(reading.frames(), None)
            except SoundError as error:
                raise SoundError(f"{self.path}: {error}") from error
            shown = first or reading.track.codec_context
            self.num_channels = shown.layout.nb_channels
            self.sample_rate_hz = shown.sample_rate
        if first is None and reading.faults:
            raise SoundError(
                f"{self.path}: its sound cannot be decoded ({reading.faults[0]}); "
                "expected a whole file; get it again"
            )
        many = not 1 <= self.num_channels <= MAX_CHANNELS
        if many or self.sample_rate_hz < MIN_RATE_HZ:
            raise SoundError(
                f"{self.path}: {self.num_channels} channels at {self.sample_rate_hz} "
                f"Hz; expected 1 to {MAX_CHANNELS} at {MIN_RATE_HZ} Hz or more; "
                "convert the file"
            )

    @property
    def duration_s(self) -> float | None:
        """Length in seconds: declared, and exact once the file was read to its end."""
        return self.declared_s if self._decoded_s is None else self._decoded_s

    def blocks(self, sample_rate_hz: int) -> Iterator[Samples]:
        """The samples from time 0 at ``sample_rate_hz``, in pieces, in bounded memory.

        Values are nominally in [-1, 1]; lossy codecs and resampling may pass 1 a bit.
        Sound that cannot be decoded, or decodes to values over 8, becomes silence, and
        so do samples of files of floats that are no number; those over 2 are clipped to
        2. At the end this is noted, with numbers, and logged as a warning.

        Raises:
            SoundError: If the rate is not positive; on the way, if the file is gone, if
                the sound changes its rate or channels, or if its time stamps leap; at
                the end, if over 1 % of a file of floats is no number or over 2, as
                where they were not divided by their full scale.
        """
        _check_rate(sample_rate_hz)
        return _resampled(
            self._pieces(), self.sample_rate_hz, sample_rate_hz, self.num_channels
        )

    def _pieces(self) -> Iterator[Samples]:
        """The samples from time 0 at the stored rate, in pieces."""
        count = 0
        with self._opened() as container:
            reading = Reading(container, self.stream)
            try:
                for piece in reading.samples(self.sample_rate_hz, self.num_channels):
                    count += len(piece)
                    yield piece
            except SoundError as error:
                raise SoundError(f"{self.path}: {error}") from error
        seconds = count / self.sample_rate_hz
        if self._decoded_s is None:
            self._report(seconds, reading)
        self._decoded_s = seconds

    def _report(self, seconds: float, reading: Reading) -> None:
        losses, notes = [], []
        if reading.faults:
            losses.append(
                f"{len(reading.faults)} packets of sound could not be decoded "
                f"({reading.faults[0]}); silence is in their place where time stamps "
                "show it"
            )
        stated_s = None if reading.is_estimate else self.declared_s
        if self.declared_s is None:
            losses += reading.file_end.short("sound")
        losses += short_length("sound", seconds, stated_s)
        if reading.num_no_number:
            losses.append(
                f"{reading.num_no_number} samples that are no number became silence"
            )
        if reading.num_clipped:
            notes.append(
                f"{reading.num_clipped} samples of up to {reading.peak:g} were clipped "
                f"to {MAX_OVERSHOOT:g}"
            )
        if reading.before_s > HOLE_S:
            notes.append(
                f"{reading.before_s:.2f} s of sound before the first picture are left "
                "out"
            )
        if reading.ahead_s > HOLE_S:
            notes.append(
                f"up to {reading.ahead_s:.2f} s more sound than its time stamps have "
                "room for"
            )
        self.losses, self.notes = tuple(losses), (*losses, *notes)
        for text in self.notes:
            logging.warning("%s: %s", self.path, text)

    def _opened(self) -> InputContainer:
        if fault := fault_of(self.path):
            raise SoundError(
                f"{self.path}: {fault}; expected a file with sound; correct the path"
            )
        try:
            return open_container(self.path)
        except av.error.FFmpegError as error:
            raise SoundError(
                f"{self.path}: cannot be opened as sound or video ({error.strerror}); "
                "expected a whole wav, flac, mp3 or video file, no list of "
                "other files; get it again or convert it"
            ) from error

    def _no_track(self, stream: int) -> str:
        if not self.num_streams:
            return (
                f"{self.path}: has no sound track; expected one; use a visual feature "
                "set alone for it, or another file"
            )
        return (
            f"{self.path}: has no sound track {stream}; expected 0 to "
            f"{self.num_streams - 1}; correct stream"
        )


def open_sound(path: str | os.PathLike[str], *, stream: int = 0) -> SoundFile:
    """The sound track of a file that libav reads: wav, flac, mp3, any video, ...

    Args:
        path: Path of the file.
        stream: Index of the sound track, from 0, where there are several.

    Raises:
        SoundError: If the file is missing, cannot be read, or has no such sound track.
    """
    return SoundFile(path, stream=stream)


def _resampled(
    pieces: Iterator[Samples], from_hz: int, to_hz: int, channels: int
) -> Iterator[Samples]:
    """The result of ``soxr.resample`` on the whole, whatever the sizes of pieces."""
    if from_hz == to_hz:
        yield from (piece for piece in _blocks(pieces) if len(piece))
        return
    stream = soxr.ResampleStream(from_hz, to_hz, channels, quality=QUALITY)
    for block in _blocks(pieces):
        if len(out := stream.resample_chunk(block)):
            yield out
    nothing = np.zeros((0, channels), np.float32)
    if len(out := stream.resample_chunk(nothing, last=True)):
        yield out


def _blocks(pieces: Iterator[Samples]) -> Iterator[Samples]:
    """The pieces cut and joined to ``_BLOCK`` samples each; the last is shorter."""
    held: list[Samples] = []
    count = 0
    for piece in pieces:
        while count + len(piece) >= _BLOCK:
            held.append(piece[: _BLOCK - count])
            piece = piece[_BLOCK - count :]
            yield np.concatenate(held)
            held, count = [], 0
        held.append(piece)
        count += len(piece)
    if count:
        yield np.concatenate(held)


def _check_rate(sample_rate_hz: int) -> None:
    if sample_rate_hz < 1:
        raise SoundError(
            f"sample_rate_hz {sample_rate_hz}; expected 1 or more; correct it"
        )
