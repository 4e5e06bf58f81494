"""The trained temperature of logits: where it begins, what it does, whose it is."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from made.compiled_heads import apply, init

from avemo_jax.config.checks import check_config
from avemo_jax.config.fields import base_config
from avemo_jax.heads import HeadSpec, Variables, build_head
from avemo_jax.heads.joint import part_spec, part_variables
from avemo_jax.heads.temperature import TEMPERATURES
from avemo_jax.tasks import get_task
from avemo_jax.training import losses

X = np.random.default_rng(0).normal(size=(9, 5)).astype(np.float32)


def spec_of(task, **fields):
    return HeadSpec(task, "mlp", (3, 2), mlp_dim=4, **fields)


@functools.cache
def made(task, learned):
    """A head with its start."""
    head = build_head(spec_of(task, learned_temperature=learned))
    return head, *init(head)


def logits_of(task, learned, log=0.0):
    head, params, stats = made(task, learned)
    if learned:
        logs = {name: jnp.float32(log) for name in params[TEMPERATURES]}
        params = params | {TEMPERATURES: logs}
    return apply(head, params, stats, X)[0]


@pytest.mark.parametrize("task", ["EXPR", "AU", "EXPR+VA"])
def test_it_starts_at_one_and_divides_logits(task):
    """Bit for bit the head without, and then the quotient; values stay."""
    plain, start = logits_of(task, False), logits_of(task, True)
    np.testing.assert_array_equal(start, plain)
    warm = np.asarray(logits_of(task, True, np.log(2.5)))
    expected = np.asarray(plain) / 2.5
    if task == "EXPR+VA":
        expected[:, 8:] = plain[:, 8:]
    np.testing.assert_allclose(warm, expected, rtol=1e-6)
    one, many = (made(task, learned)[0].num_params() for learned in (False, True))
    assert many == one + 1


@pytest.mark.parametrize(("task", "labels"), [("EXPR", (9,)), ("AU", (9, 12))])
def test_it_receives_the_gradient_of_its_definition(task, labels):
    """With respect to log T it is minus the sum of logits times their gradients."""
    head, params, stats = made(task, True)
    truth = jnp.asarray(np.random.default_rng(1).integers(0, 2, labels), jnp.int8)
    loss = losses.make_loss(task)

    def objective(params):
        logits, _ = head.apply(params, stats, jnp.asarray(X), train=False)
        return loss(logits, truth, None, None)

    found = jax.jit(jax.grad(objective))(params)[TEMPERATURES][task]
    logits = logits_of(task, True)
    slope = jax.jit(jax.grad(lambda x: loss(x, truth, None, None)))(logits)
    expected = -float((np.asarray(logits) * slope).sum())
    assert float(found) == pytest.approx(expected, rel=1e-4)
    assert float(found) != 0


def test_each_task_of_several_has_its_own():
    """Parts of a joint head are plain heads with their temperature, values without."""
    name = "EXPR+AU+VA"
    task, spec = get_task(name), spec_of(name, learned_temperature=True)
    head = build_head(spec)
    params, stats = init(head)
    assert set(params[TEMPERATURES]) == {"EXPR", "AU"}
    params = params | {
        TEMPERATURES: {"EXPR": jnp.float32(0.7), "AU": jnp.float32(-0.4)}
    }
    joint, _ = apply(head, params, stats, X)
    variables = Variables(params=params, stats=stats)
    seeds = jax.tree.map(lambda leaf: np.asarray(leaf)[None], variables)
    for part in task.parts:
        own_spec = part_spec(spec, part)
        assert own_spec.learned_temperature is (part.task.name != "VA")
        own = part_variables(spec, part, seeds, task)
        own = jax.tree.map(lambda leaf: leaf[0], own)
        alone = build_head(own_spec)
        like = jax.eval_shape(alone.init, jax.random.key(1))
        shapes = jax.tree.map(jnp.shape, like)
        assert shapes == jax.tree.map(jnp.shape, (own.params, own.stats))
        logits, _ = apply(alone, own.params, own.stats, X)
        expected = np.asarray(joint)[:, part.outputs]
        np.testing.assert_allclose(logits, expected, atol=1e-6)


def test_values_have_none():
    message = r"learned_temperature is True for VA; expected False, .*; set config\."
    with pytest.raises(ValueError, match=message):
        spec_of("VA", learned_temperature=True)
    config = base_config("VA", "mlp")
    config.head.learned_temperature = True
    with pytest.raises(ValueError, match=message):
        check_config(config)


def test_cards_from_before_have_none():
    stored = spec_of("EXPR").to_dict()
    del stored["learned_temperature"]
    assert HeadSpec.from_dict(stored) == spec_of("EXPR")
