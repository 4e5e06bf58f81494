"""Thresholds against every threshold there is, corrections against numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from avemo_jax.metrics.scores import best_thresholds
from avemo_jax.postprocess.thresholds import (
    choose_correction,
    correct,
    exact_thresholds,
    prior_corrections,
    score_corrections,
)

pytestmark = pytest.mark.numeric


def naive_best(scores, labels, levels) -> float:
    """The first level with the best F1, one after the other."""
    best, chosen = -1.0, 0.5
    for level in levels:
        hits = ((scores >= level) & (labels == 1)).sum()
        below = (scores >= level).sum() + (labels == 1).sum()
        f1 = np.float32(2 * hits) / np.float32(max(below, 1))
        if f1 > best:
            best, chosen = f1, level
    return chosen


def made(seed, frames, units=3, ties=10):
    rng = np.random.default_rng(seed)
    scores = (rng.integers(0, ties + 1, (frames, units)) / ties).astype(np.float32)
    labels = rng.integers(-1, 2, (frames, units))
    return scores, labels, rng.random(frames) < 0.8


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.sampled_from([1, 2, 37]), st.sampled_from([1, 10, 99]))
def test_exact_and_grid_are_the_naive_loops(seed, frames, ties):
    scores, labels, mask = made(seed, frames, ties=ties)
    arrays = jnp.asarray(scores), jnp.asarray(labels), jnp.asarray(mask)
    exact, grid = exact_thresholds(*arrays), best_thresholds(*arrays)
    for unit in range(3):
        counted = mask & (labels[:, unit] >= 0)
        s, y = scores[counted, unit], labels[counted, unit]
        expected = naive_best(s, y, np.unique(s)) if (y == 1).any() else 0.5
        assert exact[unit] == np.float32(expected)
        levels = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9], np.float32)
        assert grid[unit] == naive_best(s, y, levels)


@pytest.mark.slow
def test_exact_is_at_least_as_good_as_the_grid():
    scores, labels, _ = made(5, 400, ties=1000)
    labels = (labels == 1).astype(int)
    everywhere = jnp.ones(400, bool)
    arrays = jnp.asarray(scores), jnp.asarray(labels), everywhere
    for unit in range(3):
        f1 = [
            f1_score(labels[:, unit], scores[:, unit] >= np.asarray(t)[unit])
            for t in (exact_thresholds(*arrays), best_thresholds(*arrays))
        ]
        assert f1[0] >= f1[1] - 1e-7


def test_no_frame_that_counts_gives_one_half():
    scores, labels, mask = made(0, 9)
    arrays = jnp.asarray(scores), jnp.asarray(labels), jnp.asarray(mask) & False
    np.testing.assert_array_equal(exact_thresholds(*arrays), np.full(3, 0.5))


def made_classes(seed=0, frames=300):
    rng = np.random.default_rng(seed)
    labels = rng.choice(8, frames, p=[0.5, 0.2, 0.1, 0.05, 0.05, 0.04, 0.03, 0.03])
    logits = rng.normal(size=(frames, 8)) + 1.5 * np.eye(8)[labels]
    logits[:, 0] += 2
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return jnp.asarray(probs, jnp.float32), jnp.asarray(labels), jnp.ones(frames, bool)


def test_corrections_are_numpys():
    probs, labels, mask = made_classes()
    priors = np.bincount(labels, minlength=8) / len(labels)
    candidates = prior_corrections(priors)
    f1 = score_corrections(probs, labels, mask, candidates)
    for i in range(len(f1)):
        log = np.log(np.asarray(probs, np.float64)) / float(candidates.temperature[i])
        guess = (log + np.asarray(candidates.offsets[i])).argmax(axis=1)
        assert f1[i] == pytest.approx(
            f1_score(labels, guess, average="macro"), abs=1e-6
        )
    chosen = choose_correction(probs, labels, mask, candidates)
    best = int(np.argmax(f1))
    assert best > 0
    assert f1[best] > f1[0] + 0.02
    np.testing.assert_array_equal(chosen.offsets, candidates.offsets[best])
    assert chosen.temperature == candidates.temperature[best]


def test_off_changes_no_bit():
    probs, _, _ = made_classes()
    first = jax.tree.map(lambda a: a[0], prior_corrections(np.full(8, 0.125) ** 2))
    np.testing.assert_array_equal(correct(probs, first), probs)
    np.testing.assert_array_equal(correct(probs, None), probs)


def test_equal_candidates_leave_the_first():
    probs, labels, mask = made_classes()
    candidates = prior_corrections(np.full(8, 0.125))  # no offset at all
    chosen = choose_correction(probs, labels, mask, candidates)
    assert chosen.temperature == 1
    assert not np.asarray(chosen.offsets).any()


def test_temperature_matters_before_a_window():
    probs, labels, mask = made_classes()
    candidates = prior_corrections(np.full(8, 0.125))

    def after(p):
        return (p + jnp.roll(p, 1, axis=0)) / 2

    f1 = score_corrections(probs, labels, mask, candidates, after=after)
    squared = np.asarray(probs, np.float64) ** 2  # temperature 0.5
    squared /= squared.sum(axis=1, keepdims=True)
    guess = (squared + np.roll(squared, 1, axis=0)).argmax(axis=1)
    expected = f1_score(labels, guess, average="macro")
    assert f1[5] == pytest.approx(expected, abs=1e-6)
    assert f1[5] != f1[0]


def test_bad_candidates():
    with pytest.raises(ValueError, match="priors"):
        prior_corrections(np.zeros(8))
    with pytest.raises(ValueError, match="temperatures"):
        prior_corrections(np.full(8, 0.125), temperatures=(0.0,))


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_exports(platform):
    scores, labels, mask = map(jnp.asarray, made(0, 40))
    exported = jax.export.export(exact_thresholds, platforms=[platform])
    assert exported(scores, labels, mask).platforms == (platform,)
    probs, classes, everywhere = made_classes(frames=20)
    exported = jax.export.export(score_corrections, platforms=[platform])
    candidates = prior_corrections(np.full(8, 0.125))
    assert exported(probs, classes, everywhere, candidates).platforms == (platform,)
