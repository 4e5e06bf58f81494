"""The recurrent head: its recurrence, what it sees, and sequences in parts."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from made.compiled_heads import apply as applied
from made.compiled_heads import init

from avemo_jax.heads import HeadSpec, build_head
from avemo_jax.heads.layers import Start
from avemo_jax.heads.recurrent import LONGEST, SHORTEST, Recurrence, weighted_sums

SIZES = {"model_dim": 8, "ffn_dim": 6, "num_layers": 2, "window": 64}


def made_head(task="AU", dims=(6, 5), **fields):
    return build_head(HeadSpec(task, "recurrent", dims, **SIZES, **fields))


def apply(head, x, mask):
    return np.asarray(applied(head, *init(head), x, mask)[0])


@functools.partial(jax.jit, static_argnames="head")
def advanced(head, params, stats, state, x, mask):
    return head.advance(params, stats, state, x, mask=mask)


def advance(head, state, x, mask):
    return advanced(head, *init(head), state, x, mask)


def made_frames(sequences=2, frames=60, dim=11, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(sequences, frames, dim)).astype(np.float32)
    return x, rng.random((sequences, frames)) < 0.7


def naive_sums(gate, value, mask, state=None):
    """The definition, frame by frame."""
    total, weight = np.zeros((2, *gate[:, 0].shape)) if state is None else state
    found = []
    for t in range(gate.shape[1]):
        enter = mask[:, t, None] / (1 + np.exp(-gate[:, t]))
        total = (1 - enter) * total + enter * np.where(mask[:, t, None], value[:, t], 0)
        weight = (1 - enter) * weight + enter
        found.append((total, weight))
    return np.moveaxis(np.array(found), 0, 2)


@pytest.mark.parametrize("backwards", [False, True])
def test_sums_are_those_of_a_loop(backwards):
    rng = np.random.default_rng(0)
    gate, value = rng.normal(0, 3, (2, 3, 37, 5))
    mask = rng.random((3, 37)) < 0.7
    value[~mask] = np.nan  # what is not there
    state = None if backwards else tuple(rng.random((2, 3, 5)))
    turn = np.s_[:, ::-1] if backwards else np.s_[:]
    expected = naive_sums(gate[turn], value[turn], mask[turn], state)
    with jax.enable_x64(True):
        sums = functools.partial(weighted_sums, backwards=backwards)
        found = jax.jit(sums)(gate, value, mask, state)
        assert found[0].dtype == jnp.float64
        for one, right in zip(found, expected, strict=True):
            np.testing.assert_allclose(one[turn], right, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("frames", [300, pytest.param(40_000, marks=pytest.mark.slow)])
def test_sums_are_numbers_over_long_sequences(frames):
    """Products of factors underflow long before, and gates are shut and open."""
    gate = np.full((1, frames, 3), np.float32([0, -200, 0.3]))
    gate[0, :, 0] = np.where(np.arange(frames) % 7 < 3, 60, -60)
    value = np.random.default_rng(0).normal(size=(1, frames, 3)).astype(np.float32)

    def mean_of(gate, value):
        total, weight = weighted_sums(gate, value, None)
        return total / jnp.maximum(weight, 1e-15)

    @jax.jit
    def run(gate, value):
        mean, pull = jax.vjp(mean_of, gate, value)
        return mean, pull(jnp.ones_like(mean))

    mean, gradients = run(gate, value)
    assert np.isfinite(mean).all()
    for gradient in gradients:
        assert np.isfinite(gradient).all()
    open_at = np.arange(frames) % 7 < 3
    np.testing.assert_allclose(mean[0, open_at, 0], value[0, open_at, 0], rtol=1e-6)
    assert (np.asarray(mean[..., 1]) == 0).all()


def test_states_fade_over_a_range_of_seconds_at_the_start():
    with jax.enable_x64(False):
        own = Recurrence(
            500, dtype=jnp.dtype("float32"), start=Start(jax.random.key(0), 501_000)
        )
    frames = -1 / np.log(1 / (1 + np.exp(np.asarray(own.gate.bias[...]))))
    assert SHORTEST * 0.999 < frames.min() < 4
    assert 250 < frames.max() < LONGEST * 1.01
    inner = np.quantile(np.log(frames), [0.25, 0.5, 0.75])
    wanted = np.log(SHORTEST) + np.log(LONGEST / SHORTEST) * np.array([0.25, 0.5, 0.75])
    np.testing.assert_allclose(inner, wanted, atol=0.35)


@pytest.mark.parametrize("causal", [True, False])
def test_what_a_frame_sees(causal):
    """Causal: nothing of what comes later; else of both sides. Both: all before."""
    head = made_head(causal=causal)
    x, mask = made_frames()
    mask[:, [20, 40]] = True
    other = x.copy()
    other[:, 41:] += 1
    moved = np.abs(apply(head, x, mask) - apply(head, other, mask))
    moved = np.where(mask[..., None], moved, 0).max(axis=(0, 2))
    assert (moved[:41] == 0).all() if causal else moved[20] > 1e-3
    other = x.copy()
    other[:, 20] += 1
    moved = np.abs(apply(head, x, mask) - apply(head, other, mask)).max(axis=(0, 2))
    assert moved[40] > 1e-3


@pytest.mark.parametrize("size", [1, 7, pytest.param(23, marks=pytest.mark.release)])
def test_parts_give_the_whole(size):
    """Whatever their length, with frames that are missing, also all of a part."""
    options = {"standardize": True, "audio_flag": True, "learned_temperature": True}
    assert not made_head(**options).spec.carries
    head = made_head(causal=True, **options)
    assert head.spec.carries
    x, mask = made_frames(dim=12)
    mask[0, :3] = mask[1, 20:50] = False
    whole = apply(head, x, mask)
    state, found = head.first_state(2), []
    for begin in range(0, x.shape[1], size):
        part = np.s_[:, begin : begin + size]
        logits, state = advance(head, state, x[part], mask[part])
        found.append(logits)
    found = np.concatenate(found, axis=1)
    np.testing.assert_allclose(found[mask], whole[mask], rtol=1e-5, atol=1e-5)


def test_parts_may_be_longer_than_a_window_and_missing_frames_leave_the_state():
    head = made_head(causal=True)
    x, mask = made_frames(frames=100)
    _, state = advance(head, head.first_state(2), x, mask)
    _, same = advance(head, state, 9 * x + 1, np.zeros_like(mask))
    for one, other in zip(*map(jax.tree.leaves, (state, same)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_heads_of_one_frame_carry_nothing():
    head = build_head(HeadSpec("VA", "mlp", (6, 5)))
    x = jnp.asarray(made_frames()[0])
    assert head.first_state(2) == ()
    logits, state = advance(head, (), x, None)
    assert state == ()
    np.testing.assert_array_equal(logits, apply(head, x, None))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("recurrent", {}),
        ("transformer", {}),
        ("transformer", {"attention": "batch", "positions": "none"}),
    ],
)
def test_heads_that_look_ahead_are_not_run_in_parts(kind, options):
    head = build_head(HeadSpec("EXPR", kind, (6,), **options))
    message = rf"'{kind}' over the \w+ looks at frames that are .*config\.head\.causal"
    with pytest.raises(ValueError, match=message):
        head.first_state(1)
    with pytest.raises(ValueError, match=message):
        head.advance({}, {}, (), jnp.ones((1, 1, 6)))


def test_states_are_float32_where_the_arithmetic_is_bfloat16():
    head = made_head(causal=True, dtype="bfloat16")
    x, mask = made_frames()
    state = head.first_state(2)
    part = functools.partial(head.advance, *init(head))
    logits, after = jax.eval_shape(part, state, jnp.asarray(x), mask=jnp.asarray(mask))
    assert logits.dtype == jnp.float32
    shapes = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), state)
    assert shapes == jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), after)
    assert {leaf.dtype for leaf in jax.tree.leaves(after)} == {jnp.dtype("float32")}


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_a_part_is_lowered_for_accelerators(platform):
    head = made_head(causal=True)
    x, mask = made_frames()
    program = jax.jit(functools.partial(head.advance, *init(head)))
    traced = program.trace(head.first_state(2), x, mask=mask)
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    assert "dot_general" in text
    assert "custom_call" not in text
