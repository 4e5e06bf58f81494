"""Raw outputs of VGGish, and what they are held against."""

import functools

import jax
import numpy as np
import pytest
from reference import log_mel

from avemo_jax.extractors import vggish
from avemo_jax.extractors.vggish import VggishSpec

RAW = VggishSpec("raw")
apply_raw = jax.jit(functools.partial(vggish.apply, RAW))


def changing_noise() -> np.ndarray:
    """Log-mel spectra of noise whose loudness changes; 11, no whole micro-batches."""
    rng = np.random.default_rng(1)
    sound = rng.standard_normal(11 * 96 * 160 + 240, np.float32)
    sound *= np.abs(np.sin(np.arange(len(sound), dtype=np.float32) / 9000))
    return log_mel.log_mel(sound).astype(np.float32).reshape(11, 96, 64)


def reference_outputs(state: dict[str, np.ndarray], examples: np.ndarray) -> np.ndarray:
    """PyTorch's network with these weights; the test skips without PyTorch."""
    pytest.importorskip("torch", reason="needs the extra 'parity'")
    from reference.vggish import outputs_of

    return outputs_of(state, examples)


def check_parity(
    state: dict[str, np.ndarray], examples: np.ndarray, raw: np.ndarray
) -> None:
    """``raw`` are the reference's outputs, which are neither all zero nor large."""
    theirs = reference_outputs(state, examples)
    assert 0.1 < theirs.std() < 10
    assert 0.2 < (theirs > 0).mean() < 0.8
    assert np.abs(raw - theirs).max() < 2e-5 * theirs.std()
