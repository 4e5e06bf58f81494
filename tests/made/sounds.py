"""Made sound files."""

import pathlib
import wave

import numpy as np

RATE = 16_000


def write_wav(path: pathlib.Path, seconds: float, *, hz: float = 283.0) -> pathlib.Path:
    """A mono wav of a tone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = 3000 * np.sin(2 * np.pi * hz / RATE * np.arange(round(seconds * RATE)))
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples.astype("<i2").tobytes())
    return path
