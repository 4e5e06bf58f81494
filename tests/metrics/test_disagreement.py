"""Seeds that disagree, and whether it tells errors."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from avemo_jax.metrics.disagreement import disagreement, told_errors


def test_shares_by_hand_and_the_area_that_sklearn_finds():
    rng = np.random.default_rng(0)
    decided = rng.integers(0, 3, 200)
    by_seed = np.where(rng.random((4, 200)) < 0.6, decided, rng.integers(0, 3, 200))
    shares = disagreement(by_seed, decided)
    assert shares[7] == np.mean([one[7] != decided[7] for one in by_seed])
    right = rng.random(200) < 1 - shares / 2
    found = told_errors(shares, right)
    assert found["right"] == pytest.approx(shares[right].mean())
    assert found["wrong"] == pytest.approx(shares[~right].mean())
    assert found["auroc"] == pytest.approx(roc_auc_score(~right, shares))
    assert (found["num_right"], found["num_wrong"]) == (right.sum(), (~right).sum())


def test_without_errors_nothing_is_told():
    found = told_errors(np.zeros(3), np.ones(3, bool))
    assert (found["wrong"], found["auroc"], found["num_wrong"]) == (None, None, 0)
