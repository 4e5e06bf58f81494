"""Each column against its definition, written out frame by frame."""

import functools
import itertools

import numpy as np
import pytest
import scipy.fft

from avemo_jax.embed import acoustic as embed_acoustic
from avemo_jax.embed import load_extractor
from avemo_jax.extractors import EXTRACTORS, acoustic
from avemo_jax.extractors.acoustic_columns import COLUMNS, DESCRIPTORS
from avemo_jax.media.audio import Sound

RATE = 16_000
NAMES = [column.name for column in COLUMNS]
# Of the voice at 1.375 s, by librosa 0.11 on a processor with AVX-512.
KEPT = {
    "mel_03_mean": -23.6831,
    "mel_30_deviation": 2.74494,
    "mfcc_01_mean": 60.6217,
    "mfcc_02_delta_deviation": 3.33962,
    "mfcc_00_delta2_deviation": 3.00969,
    "level_mean": -34.7894,
    "level_deviation": 19.3277,
    "zero_crossings_mean": 3434.93,
    "zero_crossings_deviation": 3489.28,
    "centroid_mean": 1786.08,
    "centroid_deviation": 1666.14,
    "bandwidth_mean": 1455.68,
    "bandwidth_deviation": 689.084,
    "rolloff_mean": 2890.62,
    "rolloff_deviation": 2955.55,
    "flatness_mean": -24.6062,
    "flatness_deviation": 17.3212,
    "voicing_mean": 0.659763,
    "voicing_deviation": 0.43679,
    "f0_mean": 169.603,
    "f0_deviation": 15.1452,
    "voiced_share": 0.64,
    "pause_share": 0.36,
    "pause_count": 2,
    "pause_length_mean": 0.27,
    "pause_length_longest": 0.31,
}


@pytest.fixture(scope="module")
def extractor():
    return load_extractor("acoustic")


def tone(hz, seconds=2.0, amplitude=0.3):
    time = np.arange(round(seconds * RATE)) / RATE
    return amplitude * np.sin(2 * np.pi * hz * time)


def silence(seconds):
    return np.zeros(round(seconds * RATE))


@pytest.fixture(scope="module")
def voice():
    """A rising voice of 4 harmonics in noise, with two pauses, 3.137 s."""
    rng = np.random.default_rng(0)
    seconds = np.arange(round(3.137 * RATE)) / RATE
    phase = 2 * np.pi * (120 * seconds + 20 * seconds**2)
    wave = sum(0.2 / k * np.sin(k * phase + k) for k in range(1, 5))
    wave *= 0.6 + 0.4 * np.sin(5 * seconds)
    for start, stop in ((1.0, 1.25), (1.8, 2.3)):
        wave[round(start * RATE) : round(stop * RATE)] = 0
    return wave + 0.001 * rng.normal(size=len(wave))


def rows_of(extractor, wave):
    """For each vector its values by the columns' names."""
    found = extractor.extract(Sound(wave, RATE))
    return [dict(zip(NAMES, map(float, row), strict=True)) for row in found.features]


# The definitions.


def piece(wave, frame, length):
    """The samples around a frame's middle, zeros beyond the track."""
    start = frame * 160 + 80 - length // 2
    padded = np.concatenate([np.zeros(2000), wave, np.zeros(2000)])
    return padded[start + 2000 : start + 2000 + length]


def decibels(power):
    return 10 * np.log10(np.maximum(power, 1e-10))


@functools.cache
def mel_filters():
    import librosa  # as late as the package does

    return librosa.filters.mel(sr=RATE, n_fft=512, n_mels=40)


def described(wave, frame):
    """A frame's descriptors but for deltas, voicing and F0."""
    short = piece(wave, frame, 400)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    padded = np.zeros(512)
    padded[56:456] = short * hann
    hertz = np.fft.rfftfreq(512, 1 / RATE)
    magnitude = np.abs(np.fft.rfft(padded))
    share = magnitude / magnitude.sum()
    centroid = (hertz * share).sum()
    power = np.maximum(magnitude**2, 1e-10)
    bands = decibels(mel_filters() @ magnitude**2)
    cepstrum = scipy.fft.dct(bands, norm="ortho")[:13]
    signs = np.signbit(short)
    found = {
        "level": decibels((short**2).mean()),
        "zero_crossings": (signs[1:] != signs[:-1]).sum() / 400 * RATE,
        "centroid": centroid,
        "bandwidth": np.sqrt((share * (hertz - centroid) ** 2).sum()),
        "rolloff": hertz[np.flatnonzero(np.cumsum(share) >= 0.85)[0]],
        "flatness": decibels(np.exp(np.log(power).mean()) / power.mean()),
    }
    found |= {f"mel_{i:02d}": value for i, value in enumerate(bands)}
    return found | {f"mfcc_{i:02d}": value for i, value in enumerate(cepstrum)}


def slopes(values, degree):
    """Derivatives of polynomials through 9 values each, which repeat at the ends."""
    padded = np.pad(values, 4, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 9)
    fits = np.polynomial.polynomial.polyfit(np.arange(-4, 5), windows.T, degree)
    return fits[degree] * degree


def test_every_descriptor_is_what_it_is_defined_as(voice):
    frames = -(-len(voice) // 160)
    expected = [described(voice, frame) for frame in range(frames)]
    wanted = {name: np.array([one[name] for one in expected]) for name in expected[0]}
    for degree, ending in ((1, "_delta"), (2, "_delta2")):
        for i in range(13):
            name = f"mfcc_{i:02d}"
            wanted[name + ending] = slopes(wanted[name], degree)
    pieces = embed_acoustic._measured(Sound(voice, RATE), acoustic.descriptors)
    measured = np.concatenate(list(pieces)).T
    found = dict(zip((one.name for one in DESCRIPTORS), measured, strict=True))
    assert set(found) == {*wanted, "voicing", "f0"}
    for name, values in wanted.items():
        # Sound in blocks is float32.
        np.testing.assert_allclose(
            found[name], values, rtol=1e-5, atol=1e-4, err_msg=name
        )
    lag = np.rint(RATE / found["f0"]).astype(int)
    for frame in range(frames):
        start = (512 - lag[frame]) // 2
        whole = piece(voice, frame, 1024)
        parts = whole[start : start + 512], whole[start + lag[frame] :][:512]
        correlation = max(0, np.corrcoef(*parts)[0, 1])
        assert found["voicing"][frame] == pytest.approx(correlation, abs=1e-5)


def test_statistics_are_those_of_the_frames_around_each_hop(extractor, voice):
    pieces = embed_acoustic._measured(Sound(voice, RATE), acoustic.descriptors)
    frames = np.concatenate(list(pieces))
    column = {one.name: frames[:, i] for i, one in enumerate(DESCRIPTORS)}
    quiet = column["level"] < np.sort(column["level"])[-4] - 25
    voiced = (column["voicing"] >= 0.45) & ~quiet
    found = rows_of(extractor, voice)
    assert len(found) == 13
    for hop, row in enumerate(found):
        here = slice(max(0, 25 * hop - 63), 25 * hop - 63 + 150)
        for name, values in column.items():
            kept = values[here][voiced[here]] if name == "f0" else values[here]
            statistics = row[f"{name}_mean"], row[f"{name}_deviation"]
            assert statistics == pytest.approx(
                (kept.mean(), kept.std()), rel=1e-4, abs=1e-4
            )
        runs = [
            len(list(run)) / 100
            for is_quiet, run in itertools.groupby(quiet[here])
            if is_quiet
        ]
        pauses = [run for run in runs if run >= 0.1]
        assert row["voiced_share"] == pytest.approx(voiced[here].mean())
        assert row["pause_share"] == pytest.approx(quiet[here].mean())
        assert row["pause_count"] == len(pauses)
        assert row["pause_length_mean"] == pytest.approx(np.mean(pauses or 0))
        assert row["pause_length_longest"] == pytest.approx(max(pauses, default=0))
    assert {row["pause_count"] for row in found} == {0, 1, 2}


# What a person expects of sounds.


@pytest.mark.parametrize("hz", [80, 220, 440])
def test_a_tone_has_its_pitch(extractor, hz):
    harmonics = sum(tone(k * hz, amplitude=0.2 / k) for k in (1, 2, 3))
    for row in rows_of(extractor, harmonics):
        assert row["f0_mean"] == pytest.approx(hz, abs=1)
        assert row["voicing_mean"] > 0.98
        assert (row["voiced_share"], row["pause_share"]) == (1, 0)


def test_a_chirp_rises(extractor):
    seconds = np.arange(4 * RATE) / RATE
    wave = 0.3 * np.sin(2 * np.pi * (200 * seconds + 50 * seconds**2))
    found = rows_of(extractor, wave)
    inner = range(4, len(found) - 4)
    expected = [200 + 100 * (hop + 0.5) * 0.25 for hop in inner]
    pitches = [found[hop]["f0_mean"] for hop in inner]
    np.testing.assert_allclose(pitches, expected, atol=2)
    # Of a line over 1.5 s.
    assert found[7]["f0_deviation"] == pytest.approx(150 / np.sqrt(12), abs=1)


def test_louder_is_louder_by_as_much(extractor):
    soft, loud = (rows_of(extractor, tone(300, amplitude=a)) for a in (0.01, 0.1))
    for one, other in zip(soft, loud, strict=True):
        assert other["level_mean"] - one["level_mean"] == pytest.approx(20, abs=1e-3)
        for name in ("centroid_mean", "f0_mean", "zero_crossings_mean", "pause_share"):
            assert other[name] == pytest.approx(one[name], abs=0.1)
    assert loud[4]["level_mean"] == pytest.approx(-23.01, abs=0.02)


def test_noise_has_no_pitch(extractor):
    noise = np.random.default_rng(1).normal(size=2 * RATE) * 0.1
    for row in rows_of(extractor, noise):
        assert row["voiced_share"] == row["f0_mean"] == row["f0_deviation"] == 0
        assert row["centroid_mean"] == pytest.approx(4000, abs=150)


def test_silence_is_a_pause_with_finite_values(extractor):
    for row in rows_of(extractor, silence(2)):
        assert row["level_mean"] == pytest.approx(-100)
        assert row["f0_mean"] == row["voicing_mean"] == row["voiced_share"] == 0
        assert row["pause_share"] == row["pause_count"] == 1
        assert np.isfinite(np.float16(list(row.values()))).all()


def test_pauses_are_counted_and_measured(extractor):
    wave = np.concatenate(
        [tone(200, 0.5), silence(0.2), tone(200, 0.3), silence(0.3), tone(200, 0.5)]
    )
    row = rows_of(extractor, wave)[3]
    assert row["pause_count"] == 2
    # A window of 25 ms sees sound up to 12.5 ms beyond its frame.
    assert row["pause_length_mean"] == pytest.approx(0.25, abs=0.03)
    assert row["pause_length_longest"] == pytest.approx(0.3, abs=0.03)
    assert row["voiced_share"] < 1 - row["pause_share"] + 0.01


def test_a_pause_is_as_quiet_as_the_recording_asks(extractor):
    speech = np.concatenate([tone(200, 1), tone(200, 1, 0.01), tone(200, 1)])
    for gain in (1.0, 0.1):
        row = rows_of(extractor, gain * speech)[5]
        assert row["pause_count"] == 1


# Sound of any length, in any pieces.


@pytest.mark.parametrize("samples", [1, 159, 160, 161, 4000, 4001, 22_000])
def test_short_sound_has_a_vector_for_each_hop_that_begins(extractor, samples):
    found = extractor.extract(Sound(tone(220)[:samples], RATE))
    assert found.features.shape == (-(-samples // 4000), len(COLUMNS))
    assert np.isfinite(found.features).all()
    np.testing.assert_allclose(found.times_s, (np.arange(len(found.times_s)) + 0.5) / 4)


def test_no_sound_has_no_vector(extractor):
    assert extractor.extract(Sound(silence(0), RATE)).features.shape == (0, 179)


class InPieces(Sound):
    """Sound that comes in pieces of other sizes, some of them empty."""

    def blocks(self, sample_rate_hz):
        whole = np.concatenate(list(super().blocks(sample_rate_hz)))
        cuts = np.random.default_rng(2).integers(0, len(whole), 30)
        yield from np.split(whole, [0, *np.sort(cuts), 5, 5][:-2])


@pytest.mark.parametrize("block", [9, 37, 250, 10_000])
def test_blocks_give_what_the_whole_gives(extractor, voice, monkeypatch, block):
    wave = Sound(np.tile(voice, 2), RATE)
    expected = extractor.extract(wave)
    monkeypatch.setattr(embed_acoustic, "_BLOCK", block)
    pieces = list(extractor.stream(InPieces(wave.samples, RATE)))
    assert len(pieces) > 5 or block > 100
    found = np.concatenate([piece.features for piece in pieces])
    # Products of other sizes may round the last bit of float64 otherwise.
    np.testing.assert_allclose(found, expected.features, rtol=1e-6, atol=1e-6)
    times = np.concatenate([piece.times_s for piece in pieces])
    assert np.array_equal(times, expected.times_s)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_track(extractor, monkeypatch):
    longest = 0
    measure = acoustic.vector

    def watched(context, *, quiet_db):
        nonlocal longest
        base = context if context.base is None else context.base
        longest = max(longest, len(base))
        return measure(context, quiet_db=quiet_db)

    monkeypatch.setattr(acoustic, "vector", watched)
    monkeypatch.setattr(embed_acoustic, "_BLOCK", 200)
    rows = extractor.extract(Sound(tone(220, 30), RATE)).features
    assert len(rows) == 120
    assert longest < 200 + 150 + 8


# Settings.


def test_hop_and_context_are_settings(voice):
    usual = load_extractor("acoustic")
    other = load_extractor("acoustic", hop_s=0.1, context_s=0.5)
    assert other.settings == {"hop_s": 0.1, "context_s": 0.5, "algorithm": 1}
    assert usual.fingerprint != other.fingerprint
    found = other.extract(Sound(voice, RATE))
    assert len(found.features) == 32
    assert found.times_s[1] == pytest.approx(0.15)
    np.testing.assert_allclose(
        found.features[6, NAMES.index("level_mean")],
        np.mean([described(voice, frame)["level"] for frame in range(40, 90)]),
        rtol=1e-5,
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hop_s": 0.005}, "hop_s 0.005 for acoustic; expected a multiple of 0.01"),
        ({"hop_s": 0.0}, "one frame or more"),
        ({"context_s": float("nan")}, "context_s nan"),
        ({"hop_s": 2.0}, "expected a context of at least a hop"),
        ({"dtype": "bfloat16"}, "expected float32, the only precision"),
        ({"window_s": 2.0}, "unknown options"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        load_extractor("acoustic", **options)


def test_the_table_has_the_columns_with_units():
    known = EXTRACTORS["acoustic"]
    assert known.dim == len(known.columns) == len(set(NAMES)) == 179
    assert not known.needs_weights
    units = {one.unit for one in known.columns}
    assert {"dB", "Hz", "s", "1/s", "1"} <= units


def test_numbers_stay_with_other_processors_and_releases(extractor, voice):
    # A change beyond float16's precision asks for another acoustic.ALGORITHM.
    row = rows_of(extractor, voice)[5]
    found = {name: row[name] for name in KEPT}
    assert found == pytest.approx(KEPT, rel=1e-3, abs=1e-3)
