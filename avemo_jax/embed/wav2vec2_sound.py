"""A sound track in equal pieces, and statistics of the whole track."""

import dataclasses
from collections.abc import Iterator
from typing import Literal

import numpy as np
from jaxtyping import Float

from avemo_jax.embed.contract import SoundSource, checked_blocks
from avemo_jax.extractors.wav2vec2 import Wav2Vec2Spec

Stereo = Literal["before", "after"]
# Added to the variance that a waveform is normalised by, as in transformers.
NORMALISE_EPSILON = 1e-7
# Patches of the first convolution whose moments are taken at a time.
_PATCHES = 65_536
# Vectors in one product of vectors with themselves.
_PART = 2_048


@dataclasses.dataclass(frozen=True)
class Track:
    """A sound track as the network's voices, to be read any number of times.

    Attributes:
        sound: The source of the sound.
        sample_rate_hz: Rate that the sound is read at.
        stereo: "before": the mean of the channels is the only voice. "after": each
            channel is a voice.
        at_least: Number of samples that a shorter track is filled up to with silence;
            one without any sample stays empty.
    """

    sound: SoundSource
    sample_rate_hz: int
    stereo: Stereo
    at_least: int

    @property
    def voices(self) -> int:
        """Number of waveforms that go through the network."""
        return self.sound.num_channels if self.stereo == "after" else 1

    def pieces(
        self, size: int, overlap: int = 0
    ) -> Iterator[Float[np.ndarray, "voices samples"]]:
        """The track from its start, cut every ``size`` samples.

        Each piece ends with the first ``overlap`` samples of the next one; those at the
        track's end may be shorter. The sizes of the source's blocks do not matter.

        Raises:
            ValueError: If a block is not of floating point, not finite, or has another
                number of channels than its source says.
        """
        parts: list[np.ndarray] = []
        held = 0
        for block in self._samples():
            parts.append(block)
            held += block.shape[1]
            if held < size + overlap:
                continue
            whole = np.concatenate(parts, axis=1)
            while whole.shape[1] >= size + overlap:
                yield whole[:, : size + overlap]
                whole = whole[:, size:]
            parts, held = [whole], whole.shape[1]
        rest = np.concatenate(parts, axis=1) if parts else np.zeros((1, 0), np.float32)
        while rest.shape[1]:
            yield rest[:, : size + overlap]
            rest = rest[:, size:]

    def _samples(self) -> Iterator[np.ndarray]:
        total = 0
        for block in checked_blocks(self.sound, self.sample_rate_hz):
            total += len(block)
            mixed = block.T if self.stereo == "after" else block.mean(axis=1)[None]
            yield np.asarray(mixed, np.float32)
        if 0 < total < self.at_least:
            yield np.zeros((self.voices, self.at_least - total), np.float32)


class Moments:
    """Mean and covariance of vectors that come in parts, in float64.

    Parts are merged as by T. Chan et al. (1979).
    """

    def __init__(self, voices: int, dim: int):
        self.count = 0
        self.mean = np.zeros((voices, dim))
        self._squares = np.zeros((voices, dim, dim))

    def add(self, vectors: Float[np.ndarray, "voices vectors dim"]) -> None:
        """Include these vectors in the moments."""
        new = vectors.shape[1]
        if not new:
            return
        wide = vectors.astype(np.float64)
        mean = wide.mean(axis=1)
        wide -= mean[:, None]
        step = mean - self.mean
        both = self.count + new
        self._squares += _products(wide)
        self._squares += (step[:, :, None] * step[:, None]) * (self.count * new / both)
        self.mean += step * (new / both)
        self.count = both

    @property
    def covariance(self) -> Float[np.ndarray, "voices dim dim"]:
        """The biased covariance."""
        return self._squares / max(self.count, 1)


def _products(vectors: np.ndarray) -> np.ndarray:
    """Sums of the products of all pairs of components: (voices, dim, dim).

    Multiplied in small parts: for a large product NumPy's BLAS wakes threads that go
    on spinning while the network runs, which cost it a tenth of a second.
    """
    whole = vectors.shape[1] // _PART * _PART
    parts = vectors[:, :whole].reshape(len(vectors), -1, _PART, vectors.shape[2])
    rest = vectors[:, whole:]
    sums = (parts.swapaxes(2, 3) @ parts).sum(axis=1)
    return sums + rest.swapaxes(1, 2) @ rest


@dataclasses.dataclass(frozen=True)
class Survey:
    """The statistics of a whole track.

    Attributes:
        samples: Number of samples of each voice.
        wave: Moments of the samples.
        patches: Moments of the patches that the first convolution multiplies.
    """

    samples: int
    wave: Moments
    patches: Moments


def survey(track: Track, spec: Wav2Vec2Spec) -> Survey:
    """The statistics of a track, which is read once, in bounded memory."""
    stride, taps = spec.conv_strides[0], spec.conv_kernels[0]
    size = _PATCHES * stride
    wave, patches = Moments(track.voices, 1), Moments(track.voices, taps)
    samples = 0
    for piece in track.pieces(size, max(taps - stride, 0)):
        own = piece[:, :size]
        samples += own.shape[1]
        wave.add(own[..., None])
        patches.add(patches_of(piece, spec)[:, :_PATCHES])
    return Survey(samples, wave, patches)


def patches_of(
    waveform: Float[np.ndarray, "voices samples"], spec: Wav2Vec2Spec
) -> Float[np.ndarray, "voices patches taps"]:
    """The patches that the first convolution multiplies, as views."""
    taps = spec.conv_kernels[0]
    if waveform.shape[1] < taps:
        return np.zeros((len(waveform), 0, taps), np.float32)
    views = np.lib.stride_tricks.sliding_window_view(waveform, taps, axis=1)
    return views[:, :: spec.conv_strides[0]]


@dataclasses.dataclass(frozen=True)
class Normaliser:
    """Scales each voice to mean 0 and variance 1, or leaves it as it is.

    Attributes:
        mean: Mean of each voice, subtracted; 0 leaves it.
        scale: Divisor of each voice; 1 leaves it.
    """

    mean: Float[np.ndarray, " voices"]
    scale: Float[np.ndarray, " voices"]

    @classmethod
    def of(cls, wave: Moments, *, normalise: bool) -> "Normaliser":
        """The normaliser by the moments of a whole track; without, it leaves all."""
        mean = wave.mean[:, 0]
        if not normalise:
            return cls(np.zeros_like(mean), np.ones_like(mean))
        return cls(mean, np.sqrt(wave.covariance[:, 0, 0] + NORMALISE_EPSILON))

    def __call__(
        self, waveform: Float[np.ndarray, "voices samples"]
    ) -> Float[np.ndarray, "voices samples"]:
        """The waveform, normalised."""
        return ((waveform - self.mean[:, None]) / self.scale[:, None]).astype(
            np.float32
        )

    def moments(
        self, moments: Moments
    ) -> tuple[Float[np.ndarray, "voices dim"], Float[np.ndarray, "voices dim dim"]]:
        """Mean and covariance of vectors of samples after normalisation."""
        scale = self.scale[:, None]
        mean = (moments.mean - self.mean[:, None]) / scale
        return mean, moments.covariance / (scale * scale)[..., None]
