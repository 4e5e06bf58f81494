"""Agreement of two codings, held to its definitions and to scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score, f1_score

from avemo_jax.metrics.agreement import agreement_of
from avemo_jax.metrics.numpy_states import video_states
from avemo_jax.metrics.states import Confusion, merged
from avemo_jax.tasks import own_task

# Shrout and Fleiss, 1979, table 2: six targets, four judges.
TARGETS = np.array(
    [
        [9, 2, 5, 8],
        [6, 1, 3, 2],
        [8, 4, 6, 8],
        [7, 1, 2, 6],
        [10, 5, 6, 9],
        [6, 2, 4, 7],
    ],
    float,
)
VALUES = own_task("rating", "regression", ("value",))
CLASSES = own_task("mood", "multiclass", ("a", "b", "c", "d"))


def icc_2_1(ratings: np.ndarray) -> float:
    """ICC(2,1) of targets (rows) by judges (columns), by its mean squares."""
    n, k = ratings.shape
    grand, targets, judges = ratings.mean(), ratings.mean(axis=1), ratings.mean(axis=0)
    between = k * ((targets - grand) ** 2).sum() / (n - 1)
    of_judges = n * ((judges - grand) ** 2).sum() / (k - 1)
    rest = ratings - targets[:, None] - judges + grand
    residual = (rest**2).sum() / ((n - 1) * (k - 1))
    below = between + (k - 1) * residual + k * (of_judges - residual) / n
    return (between - residual) / below


def states_of(task, first, second, videos=1):
    video = np.arange(len(first)) % videos
    mask = np.ones(len(first), bool)
    return video_states(task, second, first, mask, video, videos).state


def of_values(first, second, videos=1):
    """Agreement over the states of videos, merged; the first coder is the first."""
    state = states_of(VALUES, second[:, None], first[:, None], videos)
    return {name: float(v[0]) for name, v in agreement_of(merged(state)).items()}


def test_the_definition_of_the_icc_gives_the_published_number():
    assert icc_2_1(TARGETS) == pytest.approx(0.29, abs=0.005)


@pytest.mark.parametrize("pair", [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)])
def test_icc_of_two_published_judges(pair):
    found = of_values(*TARGETS.T[list(pair)], videos=3)
    assert found["icc"] == pytest.approx(icc_2_1(TARGETS[:, pair]), rel=1e-12)
    first, second = TARGETS.T[list(pair)]
    assert found["difference"] == pytest.approx(first.mean() - second.mean())


@given(st.integers(0, 10_000), st.integers(2, 60), st.sampled_from([0.0, 50.0, -1e4]))
def test_values_are_those_of_the_definitions(seed, frames, offset):
    """Also far from 0, over videos that are merged."""
    rng = np.random.default_rng(seed)
    first = rng.normal(offset, 2, frames)
    second = first * rng.uniform(-1, 1) + rng.normal(0, 1, frames)
    found = of_values(first, second, videos=min(4, frames))
    both = np.stack([first, second], axis=1)
    assert found["icc"] == pytest.approx(icc_2_1(both), rel=1e-6, abs=1e-9)
    covariance = ((first - first.mean()) * (second - second.mean())).mean()
    below = first.var() + second.var() + (first.mean() - second.mean()) ** 2
    assert found["ccc"] == pytest.approx(2 * covariance / below, rel=1e-6, abs=1e-9)


def test_values_that_have_no_agreement():
    equal = of_values(np.full(5, 0.3), np.full(5, 0.3))
    assert np.isnan(equal["icc"])
    assert np.isnan(equal["ccc"])
    assert equal["difference"] == 0
    assert np.isnan(of_values(np.array([1.0]), np.array([2.0]))["icc"])
    apart = of_values(np.full(5, 0.0), np.full(5, 1.0))
    assert apart["icc"] == apart["ccc"] == 0
    same = of_values(np.arange(5.0), np.arange(5.0))
    assert same["icc"] == same["ccc"] == 1


@given(st.integers(0, 10_000), st.integers(1, 80), st.integers(2, 4))
def test_classes_equal_sklearn(seed, frames, classes):
    rng = np.random.default_rng(seed)
    first = rng.integers(0, classes, frames)
    second = np.where(rng.random(frames) < 0.5, first, rng.integers(0, classes, frames))
    found = agreement_of(merged(states_of(CLASSES, first, second, videos=3)))
    assert found["agreement"] == pytest.approx((first == second).mean())
    used = set(first) | set(second)
    if len(used) > 1:
        expected = cohen_kappa_score(first, second)
        assert found["kappa"] == pytest.approx(expected, abs=1e-12)
    else:
        assert np.isnan(found["kappa"])
    for one in range(4):
        pair = first == one, second == one
        kappa, share = (
            found[f"{name}_per_class"][one] for name in ("kappa", "agreement")
        )
        if one not in used:
            assert np.isnan(kappa)
            assert np.isnan(share)
            continue
        assert share == pytest.approx(f1_score(*pair, zero_division=0))
        if used == {one}:
            assert np.isnan(kappa)
        else:
            assert kappa == pytest.approx(cohen_kappa_score(*pair), abs=1e-12)


def test_sets_side_by_side_are_those_alone():
    """As in the bootstrap, where draws are an axis; and in whole numbers."""
    rng = np.random.default_rng(3)
    counts = rng.integers(0, 9, (5, 3, 3))
    found = agreement_of(Confusion(counts))
    for i, one in enumerate(counts):
        alone = agreement_of(Confusion(one))
        for name, values in found.items():
            np.testing.assert_array_equal(values[i], alone[name])
