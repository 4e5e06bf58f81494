"""Resampled scores against loops that put the drawn videos one after the other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avemo_jax.metrics.scores import task_metrics
from avemo_jax.postprocess.bootstrap import bootstrap, resample_counts
from avemo_jax.tasks import get_task

pytestmark = pytest.mark.numeric

TASKS = ["EXPR", "AU", "VA"]
LENGTHS = (30, 1, 300, 12, 90)


def made(task_name, lengths=LENGTHS):
    """Scores of two seeds, labels, mask and offsets."""
    rng = np.random.default_rng(0)
    frames, outputs = sum(lengths), get_task(task_name).num_outputs
    scores = rng.random((frames, outputs)).astype(np.float32)
    if task_name == "EXPR":
        labels = rng.integers(0, 5, frames)  # three classes are never seen
    elif task_name == "AU":
        labels = rng.integers(0, 2, (frames, outputs))
    else:
        labels = (scores + rng.normal(0, 0.2, scores.shape)).clip(-1, 1)
        labels = labels.astype(np.float32)
    mask = rng.random(frames) < 0.9
    seeds = np.stack([scores, np.roll(scores, 7, axis=0)])
    return tuple(map(jnp.asarray, (seeds, labels, mask, np.cumsum([0, *lengths]))))


def limits_of(task_name):
    """Thresholds of two seeds; None but for AU."""
    if task_name != "AU":
        return None
    return jnp.linspace(0.2, 0.8, 24).reshape(2, 12)


def naive(task_name, scores, thresholds, labels, mask, offsets, counts):
    """Means over seeds of the drawn videos, scored as any frames are.

    Filled up to one length with frames that do not count, so as to compile once.
    """
    longest = int(np.diff(offsets).max())
    samples = []
    scores, labels, mask = map(np.asarray, (scores, labels, mask))
    for row in np.asarray(counts):
        drawn = np.repeat(np.arange(len(row)), row)
        i = np.concatenate([np.arange(offsets[v], offsets[v + 1]) for v in drawn])
        spare = len(drawn) * longest - len(i)
        i, own = np.pad(i, (0, spare)), np.pad(mask[i], (0, spare))
        limits = [None] * len(scores) if thresholds is None else thresholds
        seeds = [
            task_metrics(task_name, one[i], labels[i], own, level)
            for one, level in zip(scores, limits, strict=True)
        ]
        samples.append({k: np.mean([s[k] for s in seeds], axis=0) for k in seeds[0]})
    return {name: np.stack([s[name] for s in samples]) for name in samples[0]}


def drawn(mask, offsets, seed, num):
    """The draws of a bootstrap, and before them every video once."""
    parts = np.split(np.asarray(mask), np.asarray(offsets)[1:-1])
    has = jnp.asarray([part.any() for part in parts])
    draws = np.asarray(resample_counts(has, seed, num_resamples=num))
    return np.concatenate([np.ones_like(draws[:1]), draws])


def assert_interval(found, expected):
    """``found`` is what the rows of ``expected`` give: all videos, then the draws."""
    for name in found.value:
        value, samples = expected[name][0], expected[name][1:]
        low, high = np.percentile(samples, [2.5, 97.5], axis=0)
        above = (samples > 0).mean(axis=0)
        wanted = (value, low, high, above, samples)
        for got, own in zip(found[:5], wanted, strict=True):
            np.testing.assert_allclose(got[name], own, atol=2e-6)


@pytest.mark.parametrize(
    "task_name", [*(pytest.param(t, marks=pytest.mark.slow) for t in TASKS[:2]), "VA"]
)
def test_intervals_are_those_of_the_loop(task_name):
    """Of means over seeds, each with its own thresholds."""
    scores, *arrays = made(task_name)
    limits = limits_of(task_name)
    counts = drawn(*arrays[1:], 3, 6)
    how = {} if limits is None else {"thresholds": limits}
    found = bootstrap(task_name, scores, *arrays, **how, seed=3, num_resamples=6)
    assert_interval(found, naive(task_name, scores, limits, *arrays, counts))
    alone = 1 - np.eye(len(LENGTHS), dtype=int)
    expected = naive(task_name, scores, limits, *arrays, alone)
    for name, left_out in found.left_out.items():
        np.testing.assert_allclose(left_out, expected[name], atol=2e-6)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.booleans(), min_size=6, max_size=6), st.integers(0, 1000))
def test_draws_are_of_videos_with_frames(has, seed):
    counts = np.asarray(resample_counts(jnp.asarray(has), seed, num_resamples=50))
    assert (counts.sum(axis=1) == sum(has)).all()
    assert not counts[:, ~np.array(has)].any()
    again = resample_counts(jnp.asarray(has), seed, num_resamples=50)
    np.testing.assert_array_equal(counts, again)


def test_draws_are_multinomial():
    has = jnp.ones(6, bool)
    each = [resample_counts(has, seed, num_resamples=50) for seed in range(80)]
    counts = np.concatenate(each)
    np.testing.assert_allclose(counts.mean(axis=0), 1, atol=0.08)
    np.testing.assert_allclose(counts.var(axis=0), 5 / 6, atol=0.12)
    assert not np.array_equal(each[0], each[1])


@pytest.mark.slow
def test_one_video_has_no_width():
    found = bootstrap("VA", *made("VA", lengths=(40,)), num_resamples=20)
    for name, value in found.value.items():
        np.testing.assert_allclose(found.low[name], value, atol=1e-6)
        np.testing.assert_allclose(found.high[name], value, atol=1e-6)


@settings(deadline=None, max_examples=10)
@given(st.floats(-1, 1, width=32), st.booleans())
def test_constant_va_is_0(constant, of_labels):
    scores, labels, *rest = made("VA")
    if of_labels:
        labels = jnp.asarray(np.full(labels.shape, constant, np.float32))
    else:
        scores = jnp.asarray(np.full(scores.shape, constant, np.float32))
    # as above, so that nothing is compiled anew
    found = bootstrap("VA", scores, labels, *rest, seed=3, num_resamples=6)
    assert not any(np.asarray(leaf).any() for leaf in jax.tree.leaves(found))


def test_no_frame_that_counts_is_0_and_nan_labels_outside_do_nothing():
    scores, labels, mask, offsets = made("VA")
    nan = jnp.asarray(np.where(np.asarray(mask)[:, None], labels, np.float32(np.nan)))
    how = {"seed": 3, "num_resamples": 6}
    found = bootstrap("VA", scores, nan, mask, offsets, **how)
    clean = bootstrap("VA", scores, labels, mask, offsets, **how)
    np.testing.assert_array_equal(found.low["ccc_mean"], clean.low["ccc_mean"])
    nowhere = jnp.asarray(np.zeros(len(mask), bool))
    none = bootstrap("VA", scores, nan, nowhere, offsets, **how)
    assert none.value["ccc_mean"] == none.high["ccc_mean"] == 0


@pytest.mark.slow
def test_far_mean_and_long_video_keep_their_digits():
    rng = np.random.default_rng(0)
    labels = (0.9 + 0.01 * rng.normal(size=(60_000, 2))).astype(np.float32)
    scores = (labels + 0.005 * rng.normal(size=labels.shape)).astype(np.float32)
    offsets = jnp.asarray([0, 59_000, 59_000, 60_000])
    arrays = (scores[None], labels, np.ones(60_000, bool), offsets)
    x, y = scores.clip(-1, 1).astype(np.float64), labels.astype(np.float64)
    covariance = ((x - x.mean(0)) * (y - y.mean(0))).mean(0)
    below = x.var(0) + y.var(0) + (x.mean(0) - y.mean(0)) ** 2
    found = bootstrap("VA", *map(jnp.asarray, arrays), num_resamples=10)
    expected = (2 * covariance / below).mean()
    assert found.value["ccc_mean"] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    "task_name",
    ["EXPR", *(pytest.param(t, marks=pytest.mark.release) for t in TASKS[1:])],
)
def test_exports(task_name):
    arrays = made(task_name, lengths=(9, 5))
    function = jax.jit(lambda *a: tuple(bootstrap(task_name, *a, num_resamples=4)))
    exported = jax.export.export(function, platforms=["cuda", "tpu"])(*arrays)
    assert exported.platforms == ("cuda", "tpu")
