"""Resampled scores against loops that put the drawn videos one after the other."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avemo_jax.metrics.scores import task_metrics
from avemo_jax.postprocess.bootstrap import (
    bootstrap,
    bootstrap_mean,
    paired_difference,
    paired_difference_of_means,
    resample_counts,
)
from avemo_jax.tasks import get_task

pytestmark = pytest.mark.numeric

TASKS = ["EXPR", "AU", "VA"]


def made(task_name, lengths=(30, 1, 700, 12, 90), seed=0):
    rng = np.random.default_rng(seed)
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
    offsets = np.cumsum([0, *lengths])
    return tuple(map(jnp.asarray, (scores, labels, mask, offsets)))


def naive(task_name, scores, labels, mask, offsets, counts):
    """The drawn videos one after the other, scored as any frames are.

    Filled up to one length with frames that do not count, so as to compile once.
    """
    samples = []
    longest = int(np.diff(offsets).max())
    for row in np.asarray(counts):
        drawn = np.repeat(np.arange(len(row)), row)
        index = [np.arange(offsets[v], offsets[v + 1]) for v in drawn]
        i = np.concatenate(index)
        spare = len(drawn) * longest - len(i)
        i, own = np.pad(i, (0, spare)), np.pad(np.asarray(mask)[i], (0, spare))
        samples.append(task_metrics(task_name, scores[i], labels[i], own))
    return {name: np.stack([s[name] for s in samples]) for name in samples[0]}


def drawn(mask, offsets, seed, num):
    has = jnp.stack([mask[a:b].any() for a, b in itertools.pairwise(offsets)])
    return resample_counts(has, seed, num_resamples=num)


@pytest.mark.parametrize("task_name", TASKS)
def test_resamples_are_the_loop(task_name):
    arrays = made(task_name)
    scores, labels, mask, offsets = arrays
    found = bootstrap(task_name, *arrays, seed=3, num_resamples=6)
    counts = drawn(mask, offsets, 3, 6)
    expected = naive(task_name, *arrays, counts)
    value = task_metrics(task_name, scores, labels, mask)
    for name in found.value:
        np.testing.assert_allclose(found.value[name], value[name], atol=2e-6)
        low, high = np.percentile(expected[name], [2.5, 97.5], axis=0)
        np.testing.assert_allclose(found.low[name], low, atol=2e-6)
        np.testing.assert_allclose(found.high[name], high, atol=2e-6)


@pytest.mark.parametrize("task_name", TASKS)
def test_differences_are_of_the_same_resamples(task_name):
    first, labels, mask, offsets = arrays = made(task_name)
    second = jnp.asarray(np.roll(first, 7, axis=0))
    found = paired_difference(
        task_name, first, second, labels, mask, offsets, seed=1, num_resamples=5
    )
    counts = drawn(mask, offsets, 1, 5)
    a = naive(task_name, *arrays, counts)
    b = naive(task_name, second, *arrays[1:], counts)
    for name in found.low:
        low, high = np.percentile(a[name] - b[name], [2.5, 97.5], axis=0)
        np.testing.assert_allclose(found.low[name], low, atol=4e-6)
        np.testing.assert_allclose(found.high[name], high, atol=4e-6)
    same = paired_difference(
        task_name, first, first, labels, mask, offsets, num_resamples=5
    )
    for values in (same.value, same.low, same.high, same.share_above):
        assert all(not np.asarray(v).any() for v in values.values())


@pytest.mark.parametrize("task_name", TASKS)
def test_difference_of_means_is_the_mean_of_differences(task_name):
    scores, labels, mask, offsets = made(task_name)
    first = jnp.stack([scores, jnp.roll(scores, 3, axis=0)])
    second = jnp.stack([jnp.roll(scores, turn, axis=0) for turn in (9, 31)])
    limits = None
    if task_name == "AU":
        limits = jnp.linspace(0.2, 0.8, 48).reshape(2, 2, 12)
    arguments = (labels, mask, offsets)
    found = paired_difference_of_means(
        task_name, first, second, *arguments, limits, seed=4, num_resamples=7
    )
    means = [
        bootstrap_mean(task_name, scores, *arguments, own, seed=4, num_resamples=7)
        for scores, own in zip(
            (first, second), (None, None) if limits is None else limits, strict=True
        )
    ]
    for name, value in found.value.items():
        expected = means[0].value[name] - means[1].value[name]
        np.testing.assert_allclose(value, expected, atol=1e-6)
    one = paired_difference_of_means(
        task_name, first[:1], second[:1], *arguments, seed=4, num_resamples=7
    )
    alone = paired_difference(
        task_name, first[0], second[0], *arguments, seed=4, num_resamples=7
    )
    for ours, other in zip(jax.tree.leaves(one), jax.tree.leaves(alone), strict=True):
        np.testing.assert_allclose(ours, other, atol=1e-6)


@pytest.mark.parametrize("task_name", TASKS)
def test_one_member_is_itself(task_name):
    scores, *rest = made(task_name)
    limits = jnp.linspace(0.3, 0.7, 12) if task_name == "AU" else None
    alone = bootstrap(task_name, scores, *rest, limits, seed=3, num_resamples=6)
    seeds = None if limits is None else limits[None]
    found = bootstrap_mean(
        task_name, scores[None], *rest, seeds, seed=3, num_resamples=6
    )
    jax.tree.map(np.testing.assert_array_equal, found, alone)


@pytest.mark.parametrize("task_name", TASKS)
def test_means_over_members_are_the_loop(task_name):
    first, labels, mask, offsets = made(task_name)
    scores = jnp.stack([jnp.roll(first, turn, axis=0) for turn in (0, 7, 90)])
    counts = drawn(mask, offsets, 2, 5)
    each = [naive(task_name, own, labels, mask, offsets, counts) for own in scores]
    found = bootstrap_mean(
        task_name, scores, labels, mask, offsets, seed=2, num_resamples=5
    )
    once = [task_metrics(task_name, own, labels, mask) for own in scores]
    for name in found.value:
        value = np.mean([own[name] for own in once], axis=0)
        np.testing.assert_allclose(found.value[name], value, atol=2e-6)
        samples = np.mean([own[name] for own in each], axis=0)
        low, high = np.percentile(samples, [2.5, 97.5], axis=0)
        np.testing.assert_allclose(found.low[name], low, atol=2e-6)
        np.testing.assert_allclose(found.high[name], high, atol=2e-6)
        above = (samples > 0).mean(axis=0)
        np.testing.assert_allclose(found.share_above[name], above, atol=1e-6)


def test_each_member_has_its_own_thresholds():
    scores, *rest = made("AU")
    limits = jnp.stack([jnp.full(12, 0.2), jnp.full(12, 0.8)])
    both = jnp.stack([scores, scores])
    found = bootstrap_mean("AU", both, *rest, limits, num_resamples=5)
    each = [bootstrap("AU", scores, *rest, own, num_resamples=5) for own in limits]
    expected = np.mean([own.value["f1_per_unit"] for own in each], axis=0)
    np.testing.assert_allclose(found.value["f1_per_unit"], expected, atol=1e-6)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.booleans(), min_size=6, max_size=6), st.integers(0, 1000))
def test_draws_are_of_videos_with_frames(has, seed):
    counts = np.asarray(resample_counts(jnp.asarray(has), seed, num_resamples=50))
    assert (counts.sum(axis=1) == sum(has)).all()
    assert not counts[:, ~np.array(has)].any()
    again = resample_counts(jnp.asarray(has), seed, num_resamples=50)
    np.testing.assert_array_equal(counts, again)


def test_draws_are_multinomial():
    counts = np.asarray(resample_counts(jnp.ones(10, bool), num_resamples=4000))
    np.testing.assert_allclose(counts.mean(axis=0), 1, atol=0.08)
    np.testing.assert_allclose(counts.var(axis=0), 0.9, atol=0.12)
    assert not np.array_equal(
        counts, resample_counts(jnp.ones(10, bool), 1, num_resamples=4000)
    )


@pytest.mark.parametrize("task_name", TASKS)
def test_one_video_has_no_width(task_name):
    arrays = made(task_name, lengths=(40,))
    found = bootstrap(task_name, *arrays, num_resamples=20)
    for name, value in found.value.items():
        np.testing.assert_allclose(found.low[name], value, atol=1e-6)
        np.testing.assert_allclose(found.high[name], value, atol=1e-6)


@settings(deadline=None, max_examples=10)
@given(st.floats(-1, 1, width=32), st.booleans())
def test_constant_va_is_0(constant, of_labels):
    scores, labels, mask, offsets = made("VA", lengths=(300, 20, 5))
    if of_labels:
        labels = jnp.full_like(labels, constant)
    else:
        scores = jnp.full_like(scores, constant)
    found = bootstrap("VA", scores, labels, mask, offsets, num_resamples=10)
    for values in (found.value, found.low, found.high):
        assert all(not np.asarray(v).any() for v in values.values())


def test_no_frame_that_counts_is_0_and_nan_labels_outside_do_nothing():
    scores, labels, mask, offsets = made("VA")
    nan = jnp.where(mask[:, None], labels, jnp.nan)
    found = bootstrap("VA", scores, nan, mask, offsets, num_resamples=10)
    clean = bootstrap("VA", scores, labels, mask, offsets, num_resamples=10)
    np.testing.assert_array_equal(found.low["ccc_mean"], clean.low["ccc_mean"])
    none = bootstrap("VA", scores, nan, mask & False, offsets, num_resamples=10)
    assert none.value["ccc_mean"] == none.high["ccc_mean"] == 0


def test_far_mean_and_long_video_keep_their_digits():
    rng = np.random.default_rng(0)
    labels = (0.9 + 0.01 * rng.normal(size=(60_000, 2))).astype(np.float32)
    scores = (labels + 0.005 * rng.normal(size=labels.shape)).astype(np.float32)
    offsets = jnp.asarray([0, 59_000, 59_000, 60_000])
    arrays = jnp.asarray(scores), jnp.asarray(labels), jnp.ones(60_000, bool), offsets
    x, y = scores.clip(-1, 1).astype(np.float64), labels.astype(np.float64)
    covariance = ((x - x.mean(0)) * (y - y.mean(0))).mean(0)
    below = x.var(0) + y.var(0) + (x.mean(0) - y.mean(0)) ** 2
    found = bootstrap("VA", *arrays, num_resamples=10)
    expected = (2 * covariance / below).mean()
    assert found.value["ccc_mean"] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
@pytest.mark.parametrize("task_name", TASKS)
def test_exports(platform, task_name):
    arrays = made(task_name, lengths=(9, 5))
    function = jax.jit(lambda *a: tuple(bootstrap(task_name, *a, num_resamples=4)))
    assert jax.export.export(function, platforms=[platform])(*arrays).platforms == (
        platform,
    )


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
@pytest.mark.parametrize("task_name", TASKS)
def test_means_export(platform, task_name):
    scores, *rest = made(task_name, lengths=(9, 5))
    arrays = (jnp.stack([scores, scores]), *rest)
    function = jax.jit(lambda *a: tuple(bootstrap_mean(task_name, *a, num_resamples=4)))
    assert jax.export.export(function, platforms=[platform])(*arrays).platforms == (
        platform,
    )
