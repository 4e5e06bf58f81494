"""VGGish in its published size, against PyTorch and against a file of its outputs.

To write that file anew: ``PYTHONPATH=tests python`` and the path of this one.
"""

import functools
import math
import pathlib
from typing import Any

import jax
import numpy as np
import pytest
from made.vggish_outputs import (
    RAW,
    apply_raw,
    changing_noise,
    check_parity,
    reference_outputs,
)
from made.weights import made_state

from avemo_jax.extractors import vggish

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
    return changing_noise()


@pytest.fixture(scope="module")
def raw_params(state) -> dict[str, Any]:
    return jax.device_put(vggish.prepare(RAW, state))


@pytest.fixture(scope="module")
def raw(raw_params, examples) -> np.ndarray:
    return np.asarray(apply_raw(raw_params, examples))


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
    check_parity(state, examples, raw)


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
