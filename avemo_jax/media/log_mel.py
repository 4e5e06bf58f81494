"""VGGish's log-mel spectra: 64 bands, one spectrum every 10 ms (Hershey et al., 2017).

The numbers are those of the front end published with AudioSet's VGGish; its mel bands
are triangles over the mel scale, not over frequency as other libraries have them.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

SAMPLE_RATE_HZ = 16_000
WINDOW_SAMPLES = 400  # 25 ms
HOP_SAMPLES = 160  # 10 ms
NUM_BANDS = 64

_FFT_SAMPLES = 512
_LOWEST_HZ, _HIGHEST_HZ = 125.0, 7500.0
_LOG_OFFSET = 0.01
# Spectra that are computed at once: 30 s of sound, whose arrays stay in a CPU's cache.
_PIECE = 3072


def num_spectra(num_samples: int) -> int:
    """Number of spectra, one for each window that lies wholly within the samples."""
    return max(0, 1 + (num_samples - WINDOW_SAMPLES) // HOP_SAMPLES)


def num_samples(spectra: int) -> int:
    """Number of samples that ``spectra`` spectra (1 or more) come from."""
    return (spectra - 1) * HOP_SAMPLES + WINDOW_SAMPLES


@functools.cache
def mel_matrix() -> Float[np.ndarray, "bins bands"]:
    """The weight of each of the 257 frequency bins in each band, float64.

    The bands' edges lie evenly on HTK's mel scale, 1127 ln(1 + f / 700); a band rises
    from its lower edge to its middle and falls to its upper edge linearly in mel.
    """
    bins = np.linspace(0, SAMPLE_RATE_HZ / 2, _FFT_SAMPLES // 2 + 1)
    mels = _mel(bins)[:, None]
    lowest, highest = _mel(np.array([_LOWEST_HZ, _HIGHEST_HZ]))
    edges = np.linspace(lowest, highest, NUM_BANDS + 2)
    lower, middle, upper = edges[:-2], edges[1:-1], edges[2:]
    rising = (mels - lower) / (middle - lower)
    falling = (upper - mels) / (upper - middle)
    return np.maximum(0, np.minimum(rising, falling))


def spectra_of(
    waveform: Float[Array, "*batch samples"],
) -> Float[Array, "*batch spectra bands"]:
    """The log-mel spectra of whole windows, to be called within a jitted function.

    Args:
        waveform: One channel at 16 kHz in [-1, 1], at least one window of 400 samples.

    Raises:
        ValueError: If the waveform is shorter than a window.
    """
    count = num_spectra(waveform.shape[-1])
    if count < 1:
        raise ValueError(
            f"a waveform of {waveform.shape[-1]} samples; expected at least "
            f"{WINDOW_SAMPLES}, one window; pad it with zeros"
        )
    dtype = waveform.dtype
    # Slices have the transform's length; the taper is zero beyond the window. Slicing
    # at each start is a gather of rows, on a CPU four times faster than concatenating
    # blocks.
    missing = max(0, (count - 1) * HOP_SAMPLES + _FFT_SAMPLES - waveform.shape[-1])
    padded = jnp.pad(waveform, [(0, 0)] * (waveform.ndim - 1) + [(0, missing)])
    starts = np.arange(count, dtype=np.int32) * HOP_SAMPLES
    cut = functools.partial(
        jax.lax.dynamic_slice_in_dim, slice_size=_FFT_SAMPLES, axis=-1
    )
    windows = jax.vmap(cut, in_axes=(None, 0), out_axes=-2)(padded, starts)
    transformed = jnp.fft.rfft(windows * _taper().astype(dtype))
    return jnp.log(_bands(transformed) + _LOG_OFFSET)


def log_mel(
    waveform: Float[np.ndarray, " samples"],
) -> Float[np.ndarray, "spectra bands"]:
    """The log-mel spectra of a whole waveform, on the default device, as float32.

    Pieces of one shape are computed one by one, so that only one program is compiled.

    Args:
        waveform: One channel at 16 kHz in [-1, 1]. If it is shorter than a window of
            400 samples, there are no spectra.

    Raises:
        ValueError: If the waveform has several channels, or whole numbers.
    """
    if waveform.ndim != 1 or not np.issubdtype(waveform.dtype, np.floating):
        raise ValueError(
            f"a waveform of dtype {waveform.dtype}, shape {waveform.shape}; expected "
            "floats, (samples,); take the mean of channels, and scale to [-1, 1]"
        )
    count = num_spectra(len(waveform))
    step, length = _PIECE * HOP_SAMPLES, num_samples(_PIECE)
    pieces = []
    for start in range(0, count * HOP_SAMPLES, step):
        piece = np.asarray(waveform[start : start + length], np.float32)
        if len(piece) < length:
            piece = np.pad(piece, (0, length - len(piece)))
        pieces.append(_piece(piece))
    spectra = np.empty((count, NUM_BANDS), np.float32)
    for number, piece in enumerate(pieces):
        rows = spectra[number * _PIECE : (number + 1) * _PIECE]
        rows[:] = np.asarray(piece)[: len(rows)]
    return spectra


_piece = jax.jit(spectra_of)


def _bands(transformed: Array) -> Array:
    """Weighted sums of the magnitudes in each mel band, without bins of no band."""
    # jnp.abs of complex numbers guards against overflow, which takes longer.
    real, imaginary = transformed.real, transformed.imag
    magnitude = jnp.sqrt(real * real + imaginary * imaginary)
    sums = []
    # The low bands have few bins, so that halves of the bands take half the products.
    for bands in np.split(mel_matrix(), 2, axis=1):
        used = np.flatnonzero(bands.any(axis=1))
        first, last = used[0], used[-1] + 1
        part, weights = magnitude[..., first:last], bands[first:last]
        sums.append(jnp.dot(part, weights.astype(part.dtype), precision="highest"))
    return jnp.concatenate(sums, axis=-1)


def _taper() -> Float[np.ndarray, " samples"]:
    """A periodic Hann window of 400 samples, and zeros up to the transform's length."""
    angles = 2 * np.pi * np.arange(WINDOW_SAMPLES) / WINDOW_SAMPLES
    hann = 0.5 - 0.5 * np.cos(angles)
    return np.pad(hann, (0, _FFT_SAMPLES - WINDOW_SAMPLES))


def _mel(frequency_hz: np.ndarray) -> np.ndarray:
    return 1127.0 * np.log1p(frequency_hz / 700.0)
