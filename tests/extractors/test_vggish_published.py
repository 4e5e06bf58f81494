"""VGGish in its published size, against PyTorch and against a file of its outputs.

``python tests/extractors/test_vggish_published.py`` writes that file anew.
"""

import functools
import math
import pathlib
from typing import Any

import jax
import numpy as np
import pytest
from made.weights import made_state

from avemo_jax.extractors import vggish
from avemo_jax.extractors.vggish import VggishSpec
from avemo_jax.media import log_mel

RAW = VggishSpec("raw")
GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "vggish.npz"


def golden_examples() -> np.ndarray:
    """Noise of the size of log-mel spectra, without the front end."""
    return np.random.default_rng(7).standard_normal((11, 96, 64), np.float32)


def random_state() -> dict[str, np.ndarray]:
    """Weights under which activations keep their size."""
    return made_state(vggish.state_shapes())


@pytest.fixture(scope="module")
def state() -> dict[str, np.ndarray]:
    return random_state()


@pytest.fixture(scope="module")
def examples() -> np.ndarray:
    """Log-mel spectra of noise whose loudness changes; 11, no whole micro-batches."""
    rng = np.random.default_rng(1)
    sound = rng.standard_normal(11 * 96 * 160 + 240, np.float32)
    sound *= np.abs(np.sin(np.arange(len(sound), dtype=np.float32) / 9000))
    return log_mel.log_mel(sound).reshape(11, 96, 64)


@pytest.fixture(scope="module")
def raw_params(state) -> dict[str, Any]:
    return jax.device_put(vggish.prepare(RAW, state))


apply_raw = jax.jit(functools.partial(vggish.apply, RAW))


@pytest.fixture(scope="module")
def raw(raw_params, examples) -> np.ndarray:
    return np.asarray(apply_raw(raw_params, examples))


def reference_outputs(state: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """PyTorch's network with these weights."""
    torch = pytest.importorskip("torch", reason="needs the extra 'parity'")
    from reference.vggish import Vggish

    with torch.device("meta"):
        net = Vggish()
    body = {k: torch.from_numpy(state[k]) for k in vggish.state_shapes()}
    net.load_state_dict(body, assign=True)
    with torch.inference_mode():
        return net(torch.from_numpy(x)[:, None]).numpy()


def test_number_of_parameters():
    assert sum(map(math.prod, vggish.state_shapes().values())) == 72_141_184


@pytest.mark.parity
def test_names_and_shapes_are_the_reference_s():
    torch = pytest.importorskip("torch", reason="needs the extra 'parity'")
    from reference.vggish import Vggish

    with torch.device("meta"):
        theirs = {k: tuple(v.shape) for k, v in Vggish().state_dict().items()}
    assert theirs == vggish.state_shapes()


@pytest.mark.slow
@pytest.mark.parity
def test_parity_in_float32(state, examples, raw):
    theirs = reference_outputs(state, examples)
    assert 0.1 < theirs.std() < 10
    assert 0.2 < (theirs > 0).mean() < 0.8
    assert np.abs(raw - theirs).max() < 2e-5 * theirs.std()


@pytest.mark.slow
@pytest.mark.numeric
def test_golden(raw_params):
    found = apply_raw(raw_params, golden_examples())
    with np.load(GOLDEN) as file:
        expected = file["raw"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * expected.std())


@pytest.mark.release
def test_bfloat16(raw_params, examples, raw):
    few = examples[:2]
    apply = jax.jit(functools.partial(vggish.apply, RAW, dtype="bfloat16"))
    ours = np.asarray(apply(raw_params, few))
    assert ours.dtype == np.float32
    norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(raw[:2], axis=1)
    assert ((ours * raw[:2]).sum(axis=1) / norms > 0.999).all()


if __name__ == "__main__":
    np.savez(GOLDEN, raw=reference_outputs(random_state(), golden_examples()))
