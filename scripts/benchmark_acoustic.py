"""Speed of ``acoustic``, beside a plain librosa script of the same features.

Both describe made speech-like sound on one thread: pitch that moves, noise, pauses. The
plain script measures the whole track at once, as a user of librosa would write it, with
pitch by pYIN, which also tells what is voiced. Figures are seconds of sound a second.
"""

import argparse
from typing import Any

import numpy as np
import threadpoolctl
from measuring import add_options, alternating, report

from avemo_jax.embed import load_extractor
from avemo_jax.extractors import acoustic
from avemo_jax.media.audio import Sound

RATE = acoustic.SAMPLE_RATE_HZ
BARS = {
    "ours": (">=", 10.0),
    "ours without F0": (">=", 50.0),
    "ours / plain": (">=", 1),
}


def main() -> None:
    """Times both in turn, prints the figures and checks them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--seconds", type=float, default=60.0, help="length of the sound"
    )
    parser.add_argument("--rounds", type=int, default=3)
    add_options(parser)
    options = parser.parse_args()
    wave = made_sound(options.seconds)
    sound, extractor = Sound(wave, RATE), load_extractor("acoustic")
    # Both compile, and fill their caches.
    extractor.extract(Sound(wave[: 3 * RATE], RATE))
    plain(wave[: 3 * RATE], "pyin")
    entries = {
        "ours": lambda: extractor.extract(sound),
        "F0": lambda: pitch_of(wave),
        "plain": lambda: plain(wave, "pyin"),
        "plain, yin": lambda: plain(wave, "yin"),
        "pyin alone": lambda: pitch_by_pyin(wave),
    }
    with threadpoolctl.threadpool_limits(1):
        taken = alternating(entries, options.rounds)
    rate = {name: options.seconds / one for name, one in taken.items()}
    found = {
        "ours": rate["ours"],
        "ours without F0": options.seconds / (taken["ours"] - taken["F0"]),
        "share of F0": taken["F0"] / taken["ours"],
        "plain": rate["plain"],
        "plain, pitch by YIN": rate["plain, yin"],
        "pYIN alone": rate["pyin alone"],
        "YIN and voicing alone": rate["F0"],
        "pYIN / YIN, time": taken["pyin alone"] / taken["F0"],
        "ours / plain": taken["plain"] / taken["ours"],
        "ours / plain, pitch by YIN": taken["plain, yin"] / taken["ours"],
    }
    report(found, BARS, options)


def made_sound(seconds: float) -> np.ndarray:
    """A voice of 8 harmonics with moving pitch, in noise, with pauses."""
    rng = np.random.default_rng(0)
    time = np.arange(round(seconds * RATE)) / RATE
    phase = 2 * np.pi * (150 * time - 20 * np.cos(2 * time))
    voice = sum(0.2 / k * np.sin(k * phase) for k in range(1, 9))
    return voice * (np.sin(2.1 * time) > -0.5) + 0.003 * rng.normal(size=len(time))


def pitch_of(wave: np.ndarray) -> None:
    """Pitch and voicing alone, in blocks as the extractor has them."""
    block = 1000 * acoustic.FRAME_SAMPLES
    for start in range(0, len(wave), block):
        end = start + block + acoustic.WINDOW_SAMPLES
        acoustic.pitch(wave[start:end].astype(np.float64))


def pitch_by_pyin(wave: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pitch and the probability of voicing, with librosa's defaults."""
    import librosa

    f0, _, voicing = librosa.pyin(
        wave, fmin=55, fmax=1000, sr=RATE, frame_length=1024, hop_length=160
    )
    return np.nan_to_num(f0), voicing


def plain(wave: np.ndarray, pitch: str) -> np.ndarray:
    """The same features as a script of librosa and NumPy: (hops, columns)."""
    import librosa

    size: dict[str, Any] = {"hop_length": 160}
    spectrum = np.abs(librosa.stft(wave, n_fft=512, win_length=400, **size))
    mel = librosa.power_to_db(
        librosa.feature.melspectrogram(S=spectrum**2, sr=RATE, n_mels=40), top_db=None
    )
    mfcc = librosa.feature.mfcc(S=mel, n_mfcc=13)
    level = librosa.amplitude_to_db(
        librosa.feature.rms(y=wave, frame_length=400, **size), top_db=None
    )
    if pitch == "pyin":
        f0, voicing = pitch_by_pyin(wave)
    else:
        f0 = librosa.yin(wave, fmin=55, fmax=1000, sr=RATE, frame_length=1024, **size)
        voicing = np.ones_like(f0)
    frames = np.concatenate(
        [
            mel,
            mfcc,
            librosa.feature.delta(mfcc),
            librosa.feature.delta(mfcc, order=2),
            level,
            librosa.feature.zero_crossing_rate(wave, frame_length=400, **size),
            librosa.feature.spectral_centroid(S=spectrum, sr=RATE),
            librosa.feature.spectral_bandwidth(S=spectrum, sr=RATE),
            librosa.feature.spectral_rolloff(S=spectrum, sr=RATE),
            librosa.feature.spectral_flatness(S=spectrum),
            voicing[None],
            f0[None],
        ]
    ).T
    quiet = level[0] < np.quantile(level, 0.99) - 25
    rows = []
    for first in range(0, len(frames), 25):
        here = slice(max(0, first - 63), first + 87)
        context, still = frames[here], quiet[here]
        voiced = context[:, -1][(context[:, -2] > 0.45) & ~still]
        runs = np.diff(np.flatnonzero(np.diff(still, prepend=False, append=False)))[::2]
        pauses = runs[runs >= 10] / 100
        rows.append(
            [
                *context.mean(axis=0),
                *context.std(axis=0),
                voiced.mean() if len(voiced) else 0,
                voiced.std() if len(voiced) else 0,
                len(voiced) / len(context),
                still.mean(),
                len(pauses),
                pauses.mean() if len(pauses) else 0,
                pauses.max(initial=0),
            ]
        )
    return np.array(rows, np.float32)


if __name__ == "__main__":
    main()
