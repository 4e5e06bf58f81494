"""Scaling of probabilities: the least negative log-likelihood, and equal decisions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from avemo_jax.metrics.calibration import calibration_scores
from avemo_jax.postprocess.scaling import (
    SLOPES,
    fit_classes,
    fit_units,
    scale_classes,
    scale_units,
)
from avemo_jax.tasks import AU, EXPR

FRAMES = 400


def probabilities(seed: int, temperature: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that labels are drawn by, then made bolder by the temperature."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(FRAMES, 8)) * 1.5
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (
        (probs.cumsum(axis=1) < rng.random((FRAMES, 1))).sum(axis=1).astype(np.int8)
    )
    bold = probs ** (1 / temperature)
    return (bold / bold.sum(axis=1, keepdims=True)).astype(np.float32), labels


def class_loss(slope: float, probs: np.ndarray, labels: np.ndarray) -> float:
    powers = slope * np.log(np.maximum(probs.astype(np.float64), 1e-7))
    powers -= powers.max(axis=1, keepdims=True)
    own = powers[np.arange(len(labels)), labels]
    return float(np.mean(np.log(np.exp(powers).sum(axis=1)) - own))


def unit_loss(at: np.ndarray, scores: np.ndarray, active: np.ndarray) -> float:
    wide = scores.astype(np.float64)
    powers = at[0] * (np.log(wide) - np.log1p(-wide)) + at[1]
    return float(np.mean(np.logaddexp(0, powers) - active * powers))


# --- Fits -----------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_slope_of_classes_is_where_scipy_finds_the_least(temperature):
    probs, labels = probabilities(0, temperature)
    found = optimize.minimize_scalar(
        class_loss, args=(probs, labels), bounds=SLOPES, options={"xatol": 1e-9}
    )
    slope = fit_classes(probs, labels)
    assert slope == pytest.approx(found.x, rel=1e-5)
    assert slope == pytest.approx(temperature, rel=0.25)


def test_slope_and_intercept_of_units_are_where_scipy_finds_the_least():
    rng = np.random.default_rng(1)
    scores = rng.uniform(0.01, 0.99, (FRAMES, 3)).astype(np.float32)
    logits = np.log(scores) - np.log1p(-scores)
    active = rng.random(scores.shape) < 1 / (1 + np.exp(2 - 0.6 * logits))
    labels = np.where(rng.random(scores.shape) < 0.9, active, -1).astype(np.int8)
    slopes, intercepts = fit_units(scores, labels)
    for unit in range(3):
        known = labels[:, unit] >= 0
        own = (scores[known, unit], labels[known, unit])
        found = optimize.minimize(
            unit_loss, [1.0, 0.0], own, method="BFGS", options={"gtol": 1e-9}
        )
        at = np.array([slopes[unit], intercepts[unit]])
        np.testing.assert_allclose(at, found.x, atol=1e-4)
        assert unit_loss(at, *own) <= unit_loss(found.x, *own) + 1e-12


def test_where_all_is_right_or_nothing_is_told_a_bound_comes_out():
    """A separation has no least; the bounds are finite and decide as before."""
    probs, _ = probabilities(2)
    right = probs.argmax(axis=1)
    assert fit_classes(probs, right) == SLOPES[1]
    assert fit_classes(probs, probs.argmin(axis=1)) == SLOPES[0]
    scores = np.linspace(0.1, 0.9, 20, dtype=np.float32)[:, None]
    labels = (scores > 0.5).astype(np.int8)
    slopes, intercepts = fit_units(scores, labels)
    assert slopes[0] == SLOPES[1]
    assert abs(intercepts[0]) < 20


def test_a_unit_of_one_kind_keeps_its_scores():
    scores = np.random.default_rng(0).random((30, 3)).astype(np.float32)
    labels = np.zeros((30, 3), np.int8)
    labels[:, 1], labels[:, 2] = 1, -1
    slopes, intercepts = fit_units(scores, labels)
    np.testing.assert_array_equal(slopes, 1)
    np.testing.assert_array_equal(intercepts, 0)


def test_errors_of_calibration_fall_where_probabilities_are_too_bold():
    probs, labels = probabilities(3, 0.3)
    after = scale_classes(probs, fit_classes(probs, labels))
    every = np.ones(FRAMES, bool)
    errors = calibration_scores(EXPR, np.stack([probs, after]), labels, every)
    for name, at_most in (("ece", 0.25), ("nll", 0.75), ("brier", 0.9)):
        assert errors[name][1] < at_most * errors[name][0], name


def test_rare_units_that_a_loss_weighed_up_need_an_intercept():
    rng = np.random.default_rng(4)
    true = rng.beta(1, 12, (4_000, 12))
    labels = (rng.random(true.shape) < true).astype(np.int8)
    weighed = (9 * true / (9 * true + 1 - true)).astype(np.float32)
    slopes, intercepts = fit_units(weighed, labels)
    np.testing.assert_allclose(intercepts, -np.log(9), atol=0.4)
    after, _ = scale_units(weighed, slopes, intercepts, np.full(12, 0.5))
    every = np.ones(len(labels), bool)
    errors = calibration_scores(AU, np.stack([weighed, after]), labels, every)
    assert errors["ece_mean"][1] < 0.1 * errors["ece_mean"][0]


# --- Decisions ------------------------------------------------------------------------


def hard_cases(seed: int, columns: int) -> np.ndarray:
    """Scores with ties, neighbours that differ by one bit, zeros and ones."""
    rng = np.random.default_rng(seed)
    base = rng.random((60, columns)).astype(np.float32)
    base[:, 1] = np.nextafter(base[:, 0], np.float32(1))
    ends = rng.choice(np.float32([0, 1e-20, 1e-8, 0.5, 1 - 6e-8, 1]), base.shape)
    return np.where(rng.random(base.shape) < 0.4, ends, base)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.05, 20))
def test_no_class_that_is_decided_changes(seed, slope):
    probs = hard_cases(seed, 8)
    after = scale_classes(probs, slope)
    np.testing.assert_array_equal(after.argmax(axis=1), probs.argmax(axis=1))
    np.testing.assert_allclose(after.sum(axis=1), 1, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.05, 20), st.floats(-20, 20))
def test_no_unit_that_is_active_changes(seed, slope, intercept):
    scores = hard_cases(seed, 4)
    thresholds = scores[seed % len(scores)].copy()  # some scores are just at it
    scores[::5] = np.nextafter(thresholds, np.float32(0))
    slopes, intercepts = np.full(4, slope), np.full(4, intercept)
    after, limits = scale_units(scores, slopes, intercepts, thresholds)
    assert after.dtype == limits.dtype == np.float32
    np.testing.assert_array_equal(after >= limits, scores >= thresholds)
    assert (after > 0).all()
    assert (after <= 1).all()


def test_missing_scores_stay_missing():
    probs = np.full((2, 8), 1 / 8, np.float32)
    probs[1] = np.nan
    assert np.isnan(scale_classes(probs, 2.0)).all(axis=1).tolist() == [False, True]
    half, one = np.full(8, 0.5), np.ones(8)
    after, _ = scale_units(probs, one, one, half)
    assert np.isnan(after).all(axis=1).tolist() == [False, True]
