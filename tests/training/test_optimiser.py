"""The optimiser against optax and PyTorch, and the schedule."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from avemo_jax.training import optimiser

pytestmark = pytest.mark.numeric


def gradients(steps):
    rng = np.random.default_rng(0)
    for _ in range(steps):
        yield {
            "w": (rng.normal(size=(5, 3)) * 10.0 ** rng.integers(-4, 2)).astype("f4"),
            "b": rng.normal(size=3).astype("f4"),
        }


def run(optimizer, params, steps=60):
    def step(carry, grads):
        params, state = carry
        updates, state = optimizer.update(grads, state, params)
        return (optax.apply_updates(params, updates), state), None

    grads = jax.tree.map(lambda *each: np.stack(each), *gradients(steps))
    scan = jax.jit(lambda carry: jax.lax.scan(step, carry, grads))
    return scan((params, optimizer.init(params)))[0][0]


@pytest.fixture
def params():
    key = jax.random.key(0)
    return {"w": jax.random.normal(key, (5, 3)), "b": jnp.ones(3)}


def test_equals_optax(params):
    ours = optimiser.adamw(1e-2, 1e-1, num_steps=60, clip_norm=1.0)
    theirs = optax.chain(
        optax.clip_by_global_norm(1.0), optax.adamw(1e-2, weight_decay=1e-1)
    )
    found, expected = run(ours, params), run(theirs, params)
    chex.assert_trees_all_close(found, expected, rtol=2e-5, atol=1e-6)


@pytest.mark.parity
def test_equals_torch(params):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    tensors = {
        k: torch.tensor(np.asarray(v)).requires_grad_() for k, v in params.items()
    }
    optimizer = torch.optim.AdamW(tensors.values(), lr=1e-2, weight_decay=1e-1)
    for grads in gradients(60):
        for name, tensor in tensors.items():
            tensor.grad = torch.tensor(grads[name])
        optimizer.step()
    ours = run(optimiser.adamw(1e-2, 1e-1, num_steps=60), params)
    expected = {name: tensor.detach().numpy() for name, tensor in tensors.items()}
    chex.assert_trees_all_close(ours, expected, rtol=2e-5, atol=1e-6)


def test_schedule_rises_then_falls_to_zero():
    def rate(step):
        options = {"num_steps": 100, "warmup": 0.1, "kind": "cosine"}
        return float(optimiser.schedule(jnp.int32(step), **options))

    assert rate(0) == pytest.approx(0.1)
    assert rate(9) == rate(10) == pytest.approx(1.0)
    assert rate(55) == pytest.approx(0.5)
    assert 0 < rate(99) < 0.001
    assert rate(100) == pytest.approx(0.0, abs=1e-7)


def test_schedule_without_warmup_is_constant():
    for step in (0, 50, 99):
        rate = optimiser.schedule(
            jnp.int32(step), num_steps=100, warmup=0.0, kind="constant"
        )
        assert float(rate) == 1.0


def test_rates_may_differ_between_candidates(params):
    def one(rate):
        return run(optimiser.adamw(rate, 0.0, num_steps=5), params, steps=5)["w"]

    both = jax.vmap(one)(jnp.array([0.0, 1e-2]))
    np.testing.assert_array_equal(both[0], params["w"])
    assert (both[1] != params["w"]).all()
