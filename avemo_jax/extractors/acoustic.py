"""Acoustic descriptors of sound by librosa, and their statistics over a context.

They need no weights: level, pitch, voicing, spectrum and pauses, as speech research
measures them (F. Eyben et al., "The Geneva Minimalistic Acoustic Parameter Set", IEEE
TAC 2016). Frame i of a track stands for its samples 160 i to 160 (i + 1), 10 ms; every
window is centred there. All is computed in float64, so that the choices that pitch and
roll-off make among candidates come out alike on every processor.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from jaxtyping import Float

from avemo_jax.extractors.acoustic_columns import (
    DESCRIPTORS,
    NUM_BANDS,
    NUM_COEFFICIENTS,
)

SAMPLE_RATE_HZ = 16_000
FRAME_SAMPLES = 160  # from one frame to the next
FRAMES_PER_S = SAMPLE_RATE_HZ // FRAME_SAMPLES
# The widest window, that of pitch, holds three periods of the lowest.
WINDOW_SAMPLES = 1024
# Frames on either side that a frame's deltas need.
MARGIN = 4

# Raised whenever a descriptor or a statistic changes by more than rounding, be it here
# or in a release of librosa; 0.11.0 and 1.0.0 give the same.
ALGORITHM = 1

_SHORT_SAMPLES = 400  # 25 ms, the window of all but pitch
_FFT_SAMPLES = 512
# GeMAPS' range of the voice.
_F0_RANGE_HZ = (55.0, 1000.0)
# Samples that are correlated with those a period later.
_CORRELATED = 512
# Praat's threshold of a voiced frame's correlation (P. Boersma, 1993).
_VOICED = 0.45
_FLOOR_DB = -100.0
# A frame is quiet this far below the loudest hundredth of the track's frames, as in
# N. de Jong and T. Wempe, "Praat script to detect syllable nuclei", 2009 ...
_QUIET_DB = 25.0
_LOUDEST_SHARE = 0.01
# ... or wherever it is below this, which 16-bit recordings of silence are.
_SILENT_DB = -60.0
# Praat's shortest silence, 0.1 s.
_PAUSE_FRAMES = 10
# Levels are counted in tenths of a dB, up to 8 times full scale.
_BINS_PER_DB, _BINS = 10, 1200

_INDEX = {column.name: number for number, column in enumerate(DESCRIPTORS)}
_LEVEL, _VOICING, _F0 = (_INDEX[name] for name in ("level", "voicing", "f0"))


def num_frames(samples: int) -> int:
    """Number of frames whose widest window lies within ``samples`` samples."""
    return max(0, (samples - WINDOW_SAMPLES) // FRAME_SAMPLES + 1)


def descriptors(
    sound: Float[np.ndarray, " samples"],
) -> Float[np.ndarray, "frames descriptors"]:
    """The descriptors of each frame that ``sound`` holds, with deltas within it.

    Args:
        sound: One channel at 16 kHz, which begins half a widest window before the first
            frame's middle and holds at least one window.
    """
    librosa = _librosa()
    sound = np.asarray(sound, np.float64)
    spectrum = np.abs(
        librosa.stft(
            _middle(sound, _FFT_SAMPLES),
            n_fft=_FFT_SAMPLES,
            win_length=_SHORT_SAMPLES,
            hop_length=FRAME_SAMPLES,
            center=False,
        )
    )
    features = librosa.feature
    rated: dict[str, Any] = {"S": spectrum, "sr": SAMPLE_RATE_HZ}
    power = features.melspectrogram(
        S=spectrum**2, sr=SAMPLE_RATE_HZ, n_fft=_FFT_SAMPLES, n_mels=NUM_BANDS
    )
    bands = librosa.power_to_db(power, top_db=None)
    cepstrum = features.mfcc(S=bands, n_mfcc=NUM_COEFFICIENTS)
    width = 2 * MARGIN + 1
    crossings = features.zero_crossing_rate(
        _middle(sound, _SHORT_SAMPLES),
        frame_length=_SHORT_SAMPLES,
        hop_length=FRAME_SAMPLES,
        center=False,
    )
    f0, voicing = pitch(sound)
    rows = (
        bands,
        cepstrum,
        features.delta(cepstrum, width=width, mode="nearest"),
        features.delta(cepstrum, width=width, order=2, mode="nearest"),
        levels(sound)[None],
        crossings * SAMPLE_RATE_HZ,
        features.spectral_centroid(**rated),
        features.spectral_bandwidth(**rated),
        features.spectral_rolloff(**rated),
        librosa.power_to_db(features.spectral_flatness(S=spectrum), top_db=None),
        voicing[None],
        f0[None],
    )
    return np.concatenate(rows).T


def levels(sound: Float[np.ndarray, " samples"]) -> Float[np.ndarray, " frames"]:
    """The level of each frame in dB re full scale, -100 or more; see `descriptors`."""
    librosa = _librosa()
    rms = librosa.feature.rms(
        y=_middle(np.asarray(sound, np.float64), _SHORT_SAMPLES),
        frame_length=_SHORT_SAMPLES,
        hop_length=FRAME_SAMPLES,
        center=False,
    )
    decibels: np.ndarray = librosa.amplitude_to_db(rms[0], top_db=None)
    return decibels


def pitch(
    sound: Float[np.ndarray, " samples"],
) -> tuple[Float[np.ndarray, " frames"], Float[np.ndarray, " frames"]]:
    """The fundamental frequency of each frame in Hz, and how periodic it is there.

    The frequency is YIN's, and means nothing where the frame is not periodic. pYIN's
    path through all frames takes 50 times as long, and depends on the whole track.

    Returns:
        Frequencies; and correlations in [0, 1] of the sound with itself a period later.
    """
    lowest, highest = _F0_RANGE_HZ
    f0: np.ndarray = _librosa().yin(
        sound,
        fmin=lowest,
        fmax=highest,
        sr=SAMPLE_RATE_HZ,
        frame_length=WINDOW_SAMPLES,
        hop_length=FRAME_SAMPLES,
        center=False,
    )
    frames = np.lib.stride_tricks.sliding_window_view(sound, WINDOW_SAMPLES)
    period = np.rint(SAMPLE_RATE_HZ / f0).astype(np.int64)[:, None]
    earlier = (WINDOW_SAMPLES - _CORRELATED - period) // 2 + np.arange(_CORRELATED)
    return f0, _correlation(frames[::FRAME_SAMPLES], earlier, earlier + period)


def _correlation(
    frames: np.ndarray, first: np.ndarray, second: np.ndarray
) -> Float[np.ndarray, " frames"]:
    """The correlation of two pieces of each frame, 0 where it is none or negative."""
    pieces = [np.take_along_axis(frames, one, axis=1) for one in (first, second)]
    a, b = (piece - piece.mean(axis=1, keepdims=True) for piece in pieces)
    product, *squares = (
        np.einsum("ij,ij->i", x, y) for x, y in ((a, b), (a, a), (b, b))
    )
    scale = np.sqrt(squares[0] * squares[1])
    return np.clip(product / np.maximum(scale, np.finfo(np.float64).tiny), 0, 1)


def quiet_level(track_levels: Iterable[Float[np.ndarray, " frames"]]) -> float:
    """The level in dB below which a frame of a track is quiet.

    Args:
        track_levels: Levels of all its frames, in pieces; they are only counted.
    """
    counts = np.zeros(_BINS, np.int64)
    for level in track_levels:
        bins = ((level - _FLOOR_DB) * _BINS_PER_DB).astype(np.int64)
        counts += np.bincount(bins.clip(0, _BINS - 1), minlength=_BINS)
    below = np.searchsorted(np.cumsum(counts), (1 - _LOUDEST_SHARE) * counts.sum())
    loud = _FLOOR_DB + float(below) / _BINS_PER_DB
    return max(loud - _QUIET_DB, _SILENT_DB)


def vector(
    context: Float[np.ndarray, "frames descriptors"], *, quiet_db: float
) -> Float[np.ndarray, " columns"]:
    """The statistics of a context's frames, in the order of ``COLUMNS``.

    F0 is of voiced frames alone, those that are periodic and not quiet; without any it
    is 0, as is its deviation. A pause is a run of quiet frames of at least 0.1 s within
    the context.

    Args:
        context: Descriptors of one frame or more.
        quiet_db: Level below which a frame is quiet.
    """
    quiet = context[:, _LEVEL] < quiet_db
    voiced = (context[:, _VOICING] >= _VOICED) & ~quiet
    statistics = np.stack([context.mean(axis=0), context.std(axis=0)], axis=1)
    f0 = context[voiced, _F0]
    statistics[_F0] = (f0.mean(), f0.std()) if len(f0) else (0, 0)
    steps = np.flatnonzero(np.diff(quiet, prepend=False, append=False))
    runs = steps[1::2] - steps[::2]
    pauses = runs[runs >= _PAUSE_FRAMES] / FRAMES_PER_S
    lengths = (pauses.mean(), pauses.max()) if len(pauses) else (0, 0)
    rest = (voiced.mean(), quiet.mean(), len(pauses), *lengths)
    return np.concatenate([statistics.ravel(), rest])


def _middle(sound: np.ndarray, window: int) -> np.ndarray:
    """The part in which windows of that length have the middles of the widest ones."""
    start = (WINDOW_SAMPLES - window) // 2
    length = (num_frames(len(sound)) - 1) * FRAME_SAMPLES + window
    return sound[start : start + length]


def _librosa() -> Any:
    """librosa, which takes seconds to import, by the first sound that is measured."""
    import librosa

    return librosa
