"""Errors of calibration, held to their definition and to calibrated predictions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avemo_jax.metrics.calibration import (
    NUM_BINS,
    calibration_error,
    calibration_scores,
    reliability_of,
    task_reliability,
)
from avemo_jax.metrics.states import merged
from avemo_jax.tasks import AU, EXPR, VA

SEEDS, FRAMES = 2, 400


def naive_ece(probabilities, came_true, bins=NUM_BINS):
    """Mean over predictions of |share true - mean probability| of their bins."""
    total = 0.0
    for b in range(bins):
        inside = (probabilities >= b / bins) & (probabilities < (b + 1) / bins)
        if b == bins - 1:
            inside |= probabilities == 1
        if inside.any():
            gap = came_true[inside].mean() - probabilities[inside].mean()
            total += inside.mean() * abs(gap)
    return total


def made(seed, outputs):
    rng = np.random.default_rng(seed)
    scores = rng.dirichlet(np.full(outputs, 0.5), (SEEDS, FRAMES))
    labels = rng.integers(-1, outputs, FRAMES).astype(np.int8)
    return scores, labels, labels >= 0


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_classes_equal_the_definition(seed):
    scores, labels, mask = made(seed, 8)
    found = calibration_scores(EXPR, scores, labels, mask)
    names = {"ece", "ece_classwise", "ece_per_class", "nll", "brier"}
    assert found.keys() == names
    for i, own in enumerate(scores[:, mask]):
        known = labels[mask]
        said = [max(one[label], 1e-7) for one, label in zip(own, known, strict=True)]
        assert found["nll"][i] == pytest.approx(-np.mean(np.log(said)))
        squares = np.sum((own - np.eye(8)[known]) ** 2, axis=1)
        assert found["brier"][i] == pytest.approx(squares.mean())
        top = naive_ece(own.max(axis=1), own.argmax(axis=1) == known)
        each = [naive_ece(own[:, c], known == c) for c in range(8)]
        assert found["ece"][i] == pytest.approx(top, abs=1e-12)
        np.testing.assert_allclose(found["ece_per_class"][i], each, atol=1e-12)
        assert found["ece_classwise"][i] == pytest.approx(np.mean(each), abs=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_units_equal_the_definition(seed):
    rng = np.random.default_rng(seed)
    scores = rng.random((SEEDS, FRAMES, 12))
    labels = rng.integers(0, 2, (FRAMES, 12)).astype(np.int8)
    mask = rng.random(FRAMES) < 0.8
    found = calibration_scores(AU, scores, labels, mask)
    each = [
        [naive_ece(own[mask, u], labels[mask, u] == 1) for u in range(12)]
        for own in scores
    ]
    np.testing.assert_allclose(found["ece_per_unit"], each, atol=1e-12)
    np.testing.assert_allclose(found["ece_mean"], np.mean(each, axis=1), atol=1e-12)
    truth = labels[mask]
    squares = [((own[mask] - truth) ** 2).mean() for own in scores]
    np.testing.assert_allclose(found["brier_mean"], squares)
    logs = [np.log(np.where(truth == 1, own[mask], 1 - own[mask])) for own in scores]
    np.testing.assert_allclose(found["nll_mean"], [-one.mean() for one in logs])


def test_states_of_videos_add_up_to_that_of_all_frames():
    rng = np.random.default_rng(0)
    scores, outcomes = rng.random((FRAMES, 3)), rng.random((FRAMES, 3)) < 0.4
    video = rng.integers(0, 5, FRAMES)
    by_video = reliability_of(scores, outcomes, video, 6)  # the last has no frame
    whole = merged(reliability_of(scores, outcomes))
    for parts, one in zip(merged(by_video), whole, strict=True):
        np.testing.assert_allclose(parts, one, rtol=1e-12)
    own = video == 2
    expected = [naive_ece(scores[own, c], outcomes[own, c]) for c in range(3)]
    np.testing.assert_allclose(calibration_error(by_video)[2], expected, atol=1e-12)
    np.testing.assert_array_equal(calibration_error(by_video)[5], np.zeros(3))
    twice = merged(by_video, np.full((1, 6), 2))
    np.testing.assert_array_equal(twice.counts[0], 2 * whole.counts)


def test_certain_predictions():
    certain = np.eye(8)[[1, 1, 2, 3]]
    labels = np.array([1, 1, 2, 4], np.int8)
    found = task_reliability(EXPR, certain, labels, np.ones(4, bool))["ece"]
    assert found.counts[:, 0].tolist() == [0] * (NUM_BINS - 1) + [4]
    assert found.hits[-1, 0] == 3
    assert calibration_error(found) == pytest.approx(0.25)


def test_calibrated_predictions_have_a_small_error_and_bold_ones_a_large_one():
    rng = np.random.default_rng(0)
    sure = rng.random((200_000, 1))
    came_true = rng.random(sure.shape) < sure
    errors = [
        float(calibration_error(merged(reliability_of(said, came_true)))[0])
        for said in (sure, np.round(sure))
    ]
    assert errors[0] < 0.005
    assert errors[1] == pytest.approx(0.25, abs=0.005)


def test_values_have_no_calibration():
    values = np.zeros((1, 3, 2))
    labels = np.zeros((3, 2), np.float32)
    assert calibration_scores(VA, values, labels, np.ones(3, bool)) == {}
    with pytest.raises(ValueError, match="expected classes or units"):
        task_reliability(VA, values[0], labels, np.ones(3, bool))
