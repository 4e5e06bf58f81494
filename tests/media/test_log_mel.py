"""VGGish's front end against its definition and SciPy's transform."""

import inspect
import pathlib
import wave

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import log_mel as reference

from avemo_jax.media import log_mel

pytestmark = pytest.mark.numeric


def noise(samples: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal(samples, np.float32) / 4


@pytest.fixture(scope="module")
def speech(shared_data: pathlib.Path) -> np.ndarray:
    with wave.open(str(shared_data / "media" / "speech.wav")) as file:
        assert (file.getframerate(), file.getnchannels()) == (16_000, 1)
        pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    return (pcm / 32_768).astype(np.float32)


def test_mel_matrix_is_the_definition():
    ours = log_mel.mel_matrix()
    np.testing.assert_allclose(ours, reference.mel_matrix(), rtol=0, atol=1e-12)
    # A bin adds to two neighbouring bands at most, and every band has bins.
    assert set((ours > 0).sum(axis=1)) == {0, 1, 2}
    assert (ours > 0).any(axis=0).all()


def test_parity_on_noise():
    for samples in (400, 16_000, 1_000_000):  # the last takes several pieces
        waveform = noise(samples)
        ours = log_mel.log_mel(waveform)
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, reference.log_mel(waveform), rtol=0, atol=1e-4)


def test_parity_on_speech(speech):
    np.testing.assert_allclose(
        log_mel.log_mel(speech), reference.log_mel(speech), rtol=0, atol=1e-4
    )


def test_parity_on_silence_and_full_scale():
    silence = log_mel.log_mel(np.zeros(16_000, np.float32))
    np.testing.assert_allclose(silence, np.log(0.01), rtol=1e-6)
    loud = np.sign(noise(16_000))
    np.testing.assert_allclose(
        log_mel.log_mel(loud), reference.log_mel(loud), rtol=0, atol=1e-4
    )


def test_scipy_has_the_same_transform():
    waveform = noise(32_000)
    _, _, transformed = scipy.signal.stft(
        waveform.astype(np.float64),
        window="hann",
        nperseg=400,
        noverlap=240,
        nfft=512,
        boundary=None,
        padded=False,
    )
    # SciPy's spectra are divided by the window's sum.
    magnitudes = np.abs(transformed.T) * scipy.signal.get_window("hann", 400).sum()
    bands = magnitudes @ reference.mel_matrix()
    expected = np.log(bands + 0.01)
    np.testing.assert_allclose(log_mel.log_mel(waveform), expected, rtol=0, atol=1e-4)


def test_float64():
    waveform = noise(4000).astype(np.float64)
    with jax.enable_x64(True):
        ours = np.asarray(jax.jit(log_mel.spectra_of)(waveform))
    assert ours.dtype == np.float64
    np.testing.assert_allclose(ours, reference.log_mel(waveform), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("samples", "spectra"),
    [(0, 0), (399, 0), (400, 1), (559, 1), (560, 2), (15_599, 95), (15_600, 96)],
)
def test_counts(samples, spectra):
    assert log_mel.num_spectra(samples) == spectra
    assert log_mel.log_mel(noise(samples)).shape == (spectra, 64)
    if spectra:
        assert log_mel.num_samples(spectra) <= samples


@settings(max_examples=30, deadline=None)
@given(st.integers(400, 3000), st.integers(0, 2**32 - 1))
def test_any_length(samples, seed):
    waveform = noise(samples, seed)
    np.testing.assert_allclose(
        log_mel.log_mel(waveform), reference.log_mel(waveform), rtol=0, atol=1e-4
    )


def test_batches_of_waveforms():
    waveforms = np.stack([noise(1000, seed) for seed in range(6)]).reshape(2, 3, -1)
    ours = jax.jit(log_mel.spectra_of)(waveforms)
    assert ours.shape == (2, 3, 4, 64)
    for index in np.ndindex(2, 3):
        expected = reference.log_mel(waveforms[index])
        np.testing.assert_allclose(ours[index], expected, rtol=0, atol=1e-4)


def test_pieces_join_without_a_seam():
    waveform = noise(log_mel.num_samples(2 * log_mel._PIECE + 7))
    whole = np.asarray(jax.jit(log_mel.spectra_of)(waveform))
    np.testing.assert_allclose(log_mel.log_mel(waveform), whole, rtol=0, atol=1e-6)


def test_one_program_for_all_lengths():
    log_mel.log_mel(noise(400))
    programs = log_mel._piece._cache_size()
    for samples in (401, 5000, 700_000):
        log_mel.log_mel(noise(samples))
    assert log_mel._piece._cache_size() == programs


def test_too_short_for_a_window():
    with pytest.raises(ValueError, match="399 samples; expected at least 400"):
        log_mel.spectra_of(jnp.zeros(399))


def test_waveforms_that_are_refused():
    for waveform in (np.zeros(800, np.int16), np.zeros((800, 2), np.float32)):
        with pytest.raises(ValueError, match=r"expected floats, \(samples,\)"):
            inspect.unwrap(log_mel.log_mel)(waveform)


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_lowers_for_accelerators(platform):
    exported = jax.export.export(jax.jit(log_mel.spectra_of), platforms=[platform])(
        jax.ShapeDtypeStruct((16_000,), jnp.float32)
    )
    assert exported.platforms == (platform,)
    assert "callback" not in exported.mlir_module()
