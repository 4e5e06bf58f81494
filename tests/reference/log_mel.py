"""The front end of VGGish by its definition, in numpy and float64."""

import numpy as np


def log_mel(waveform: np.ndarray) -> np.ndarray:
    """Log-mel spectra (spectra, 64) of one channel at 16 kHz."""
    windows = np.lib.stride_tricks.sliding_window_view(waveform, 400)[::160]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    magnitude = np.abs(np.fft.rfft(windows * hann, 512))
    return np.log(magnitude @ mel_matrix() + 0.01)


def mel_matrix() -> np.ndarray:
    """Weight of each of 257 bins in each of 64 bands, bin by bin and band by band."""
    edges = np.linspace(*(1127 * np.log(1 + f / 700) for f in (125, 7500)), 66)
    matrix = np.zeros((257, 64))
    for number in range(1, 257):
        mel = 1127 * np.log(1 + number * 16_000 / 512 / 700)
        for band, (low, middle, high) in enumerate(
            zip(edges, edges[1:], edges[2:], strict=False)
        ):
            if low < mel < high:
                rising, falling = mel - low, high - mel
                matrix[number, band] = min(
                    rising / (middle - low), falling / (high - middle)
                )
    return matrix
