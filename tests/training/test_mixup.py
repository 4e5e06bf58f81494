"""Mixup within classes: who is whose partner, and what becomes of the inputs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import beta, kstest

from avemo_jax.batches.feeders import Batch
from avemo_jax.config.checks import check_config
from avemo_jax.config.fields import base_config
from avemo_jax.tasks import get_task
from avemo_jax.tasks.own import own_task
from avemo_jax.training.mixup import (
    drawn_shares,
    label_codes,
    mixed_batch,
    partners,
)

SIZE = 60
RNG = np.random.default_rng(0)
CLASSES = RNG.integers(0, 5, SIZE).astype(np.int8)
CLASSES[7] = 6  # alone
CLASSES[[8, 9]] = 7  # a pair
UNITS = (RNG.random((SIZE, 12)) < 0.08).astype(np.int8)
COUNTS = RNG.random(SIZE) < 0.8
COUNTS[[7, 8, 9]] = True
MANY = own_task("many", "multilabel", tuple(f"u{i}" for i in range(35)))
JOINT = get_task("EXPR+AU")


def joint_labels():
    """Classes beside units, both with unknown ones."""
    labels = np.concatenate([CLASSES[:, None], UNITS], axis=1).astype(np.float32)
    labels[RNG.random(SIZE) < 0.3, 0] = np.nan
    labels[RNG.random(SIZE) < 0.3, 1:] = np.nan
    return labels


CASES = {
    "EXPR": (get_task("EXPR"), CLASSES),
    "AU": (get_task("AU"), UNITS),
    "35 units": (MANY, (RNG.random((SIZE, 35)) < 0.02).astype(np.int8)),
    "EXPR+AU": (JOINT, joint_labels()),
}
EVERY_CASE = pytest.mark.parametrize("name", CASES)


def batch_of(labels, dtype=np.float32):
    """Random inputs; all frames are there."""
    x = RNG.normal(size=(SIZE, 4)).astype(dtype)
    there = jnp.ones(SIZE, bool)
    return Batch(
        x=jnp.asarray(x),
        labels=jnp.asarray(labels),
        counts=jnp.asarray(COUNTS),
        present=there,
    )


@functools.partial(jax.jit, static_argnums=0)
def ring(task, labels, key):
    return partners(label_codes(task, labels), jnp.asarray(COUNTS), key)


@functools.partial(jax.jit, static_argnames=("task", "alpha"))
def compiled(batch, task, alpha, key, step):
    return mixed_batch(batch, task, alpha, key, step)


def mixed(batch, task, *, alpha=0.4, seed=0, step=3):
    return compiled(batch, task, alpha, jax.random.key(seed), jnp.int32(step))


@EVERY_CASE
def test_partners_have_the_same_label_and_count(name):
    """All that can have one do, each is one once, and the draw changes them."""
    task, labels = CASES[name]
    other = np.asarray(ring(task, labels, jax.random.key(1)))
    np.testing.assert_array_equal(labels[other], labels)  # NaN too
    assert sorted(other) == list(range(SIZE))
    same = [
        sum(
            np.array_equal(own, one, equal_nan=True)
            for one in labels[COUNTS].astype(float)
        )
        for own in labels.astype(float)
    ]
    has_other = COUNTS & (np.array(same) > 1)
    np.testing.assert_array_equal(other != np.arange(SIZE), has_other)
    assert has_other.sum() > SIZE / 3
    again = np.asarray(ring(task, labels, jax.random.key(2)))
    assert (again != other).any()


@EVERY_CASE
def test_inputs_are_convex_combinations_with_one_partner(name):
    """Each column has the same share of the frame and of its partner."""
    task, labels = CASES[name]
    batch = batch_of(labels)
    found = mixed(batch, task)
    for kept in ("labels", "counts", "present"):
        np.testing.assert_array_equal(getattr(found, kept), getattr(batch, kept))
    x, after = np.asarray(batch.x, np.float64), np.asarray(found.x, np.float64)
    moved = (np.asarray(found.x) != np.asarray(batch.x)).any(axis=1)
    assert not moved[~COUNTS].any()
    assert moved.sum() > SIZE / 4
    for i in np.flatnonzero(moved):
        fits = []
        for j in range(SIZE):
            way = x[j] - x[i]
            share = (after[i] - x[i]) @ way / max(way @ way, 1e-30)
            miss = np.abs(x[i] + share * way - after[i]).max()
            fits.append(j != i and miss < 1e-5 and 0 <= share <= 1)
        if np.abs(after[i] - x[i]).max() < 0.01:
            continue  # so near that it could be on the way to several
        (j,) = np.flatnonzero(fits)
        assert COUNTS[j]
        np.testing.assert_array_equal(labels[j], labels[i])


def test_draws_are_those_of_seed_and_step():
    task, labels = CASES["EXPR"]
    batch = batch_of(labels)
    first = np.asarray(mixed(batch, task).x)
    np.testing.assert_array_equal(first, mixed(batch, task).x)
    for other in ({"seed": 1}, {"step": 4}):
        assert (first != np.asarray(mixed(batch, task, **other).x)).any()


@pytest.mark.parametrize("alpha", [0.01, 0.2, 1.0, 50.0])
def test_shares_are_drawn_from_beta(alpha):
    draw = jax.jit(drawn_shares, static_argnames=("alpha", "count"))
    shares = np.asarray(draw(jax.random.key(5), alpha, 4000), np.float64)
    assert np.isfinite(shares).all()
    assert shares.min() >= 0
    assert shares.max() <= 1
    if alpha > 0.1:
        assert kstest(shares, beta(alpha, alpha).cdf).pvalue > 0.01
    else:  # of numbers that float32 cannot tell from 0 and 1 there is no distribution
        ends = ((shares < 1e-6) | (shares > 1 - 1e-6)).mean()
        assert ends == pytest.approx(2 * beta(alpha, alpha).cdf(1e-6), abs=0.02)
        assert shares.mean() == pytest.approx(0.5, abs=0.02)


def test_features_of_half_precision_are_mixed_in_float32():
    """A frame alone with its label keeps its value to the bit."""
    task, labels = CASES["EXPR"]
    batch = batch_of(labels, np.float16)
    found = mixed(batch, task).x
    assert found.dtype == jnp.float32
    kept = np.asarray(batch.x)[7].astype(np.float32)
    np.testing.assert_array_equal(np.asarray(found)[7], kept)


@pytest.mark.parametrize(
    ("task", "head", "fields", "message"),
    [
        ("VA", "mlp", {}, r"mixup is 0\.2 for VA; expected tasks of classes or units"),
        ("EXPR+VA", "mlp", {}, r"mixup is 0\.2 for VA; expected"),
        ("EXPR", "transformer", {}, r"'transformer' over windows of frames; expected"),
        (
            "AU",
            "transformer",
            {"head.attention": "batch", "head.positions": "none"},
            r"'transformer' over batch of frames; expected a head that sees one",
        ),
    ],
)
def test_what_has_no_classes_or_is_a_sequence_is_refused(task, head, fields, message):
    config = base_config(task, head)
    config.update_from_flattened_dict(fields | {"train.mixup": 0.2})
    with pytest.raises(ValueError, match=message):
        check_config(config)
