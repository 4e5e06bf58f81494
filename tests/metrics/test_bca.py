"""BCa intervals against SciPy's, and against sums by hand."""

import numpy as np
import pytest
from scipy import stats

from avemo_jax.metrics.bca import FEW, acceleration_of, bca_ends
from avemo_jax.metrics.intervals import few_words, interval_of, named_ends
from avemo_jax.metrics.numpy_states import video_states
from avemo_jax.tasks import own_task

MOOD = own_task("mood", "multiclass", ("calm", "keen"))


def without_each(values, statistic):
    return np.array([statistic(np.delete(values, i)) for i in range(len(values))])


@pytest.mark.parametrize("statistic", [np.mean, np.var, np.median])
@pytest.mark.parametrize("level", [0.95, 0.8])
def test_ends_are_scipys(statistic, level):
    """From SciPy's own resamples, so that there is no error of chance."""
    values = np.random.default_rng(2).exponential(size=17)
    expected = stats.bootstrap(
        (values,),
        statistic,
        n_resamples=999,
        confidence_level=level,
        method="BCa",
        rng=np.random.default_rng(3),
    )
    samples = expected.bootstrap_distribution
    left_out = without_each(values, statistic)
    found = bca_ends(statistic(values), samples, left_out, level)
    np.testing.assert_allclose(found, expected.confidence_interval, rtol=1e-10)
    tails = ((1 - level) / 2, (1 + level) / 2)
    assert found[1] > np.quantile(samples, tails)[1] or statistic is np.median


def test_ends_by_hand():
    """Left out, 0, 0, 0 and 4 are 1 to 3 away from their mean: a = 24 / (6 * 12^1.5).

    Of 100 resamples 30 lie below the score and 20 equal it, so that z0 = Phi^-1(0.4) =
    -0.253347. With z = 1.959964 the shares are Phi(-2.131...) and Phi(1.6...).
    """
    left_out = np.array([0.0, 0.0, 0.0, 4.0])
    acceleration = (3 * 1**3 - 3**3) / (6 * (3 * 1**2 + 3**2) ** 1.5)
    assert acceleration_of(left_out) == pytest.approx(acceleration, rel=1e-12)
    samples = np.concatenate([np.arange(-30, 0), np.zeros(20), np.arange(1, 51)])
    bias, z = -0.2533471031357997, 1.959963984540054
    shares = [
        stats.norm.cdf(bias + (bias + side) / (1 - acceleration * (bias + side)))
        for side in (-z, z)
    ]
    expected = np.quantile(samples, shares)
    found = bca_ends(0.0, samples, left_out)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_unbiased_and_straight_are_percentiles():
    samples = np.random.default_rng(0).permutation(np.linspace(-1, 1, 1001))
    found = bca_ends(0.0, samples, np.array([-1.0, 0.0, 1.0]))
    np.testing.assert_allclose(found, np.quantile(samples, (0.025, 0.975)), atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_where_nothing_differs(dtype):
    """Sums of the same frames may be rounded otherwise: these are no differences."""
    step = np.finfo(dtype).eps
    value = dtype(0.75)
    samples = value + step * np.arange(-4, 5).astype(dtype)[[0, 0, 0, 8]]
    left_out = value + step * np.array([0, 3], dtype)
    expected = np.quantile(samples.astype(np.float64), (0.025, 0.975))
    np.testing.assert_allclose(
        bca_ends(float(value), samples, left_out), expected, rtol=1e-14
    )
    same = np.full(9, value)
    assert bca_ends(0.75, same, same[:3]) == [0.75, 0.75]


def test_where_there_is_none():
    """A score outside all resamples has an infinite bias, on either side."""
    left_out, samples = np.array([0.1, 0.2, 0.4]), np.linspace(0, 1, 50)
    assert bca_ends(-0.1, samples, left_out) is None
    assert bca_ends(1.1, samples, left_out) is None
    assert bca_ends(2.0, np.ones(50), left_out) is None
    # A bias of 4 deviations and an acceleration of nearly 1/6 leave no upper share.
    samples = np.append(np.zeros(60_000), 2.0)
    steep = np.append(np.zeros(30_000), -1.0)
    assert acceleration_of(steep) == pytest.approx(1 / 6, abs=1e-3)
    assert bca_ends(1.0, samples, steep) is None


def blocks_of(num):
    """The block of a task of two classes over ``num`` videos, and its titles."""
    rng = np.random.default_rng(num)
    predicted, labels = rng.integers(0, 2, (2, 10 * num))
    states = video_states(
        MOOD, predicted, labels, labels >= 0, np.arange(10 * num) // 10, num
    )
    interval = interval_of(
        states.together(), states.resampled(0, 300), states.left_out()
    )
    return named_ends(MOOD, interval, num), interval


def test_which_intervals_a_block_has():
    """Few videos have both; many have percentiles alone, and say so."""
    few, interval = blocks_of(FEW - 1)
    name = "f1_macro"
    jackknife = (interval.samples, interval.left_out)
    ends = bca_ends(float(interval.value[name]), *(one[name] for one in jackknife))
    assert few["f1_macro_bca95"] == ends
    assert list(few["f1_per_class_bca95"]) == ["calm", "keen"]
    assert few["f1_per_class_bca95"]["keen"] == bca_ends(
        float(interval.value["f1_per_class"][1]),
        *(one["f1_per_class"][:, 1] for one in jackknife),
    )
    both = {"ci95": "percentile", "bca95": "BCa"}
    assert few["intervals"] == {"num_videos": FEW - 1, "methods": both}
    assert few_words({"macro F1": (few, name)}) == (
        f"over 39 videos, fewer than 40, 95 % intervals by BCa are: "
        f"macro F1 [{ends[0]:.3f}, {ends[1]:.3f}]"
    )
    few["f1_macro_bca95"] = None
    assert few_words({"macro F1": (few, name)}).endswith("macro F1 none")
    many, _ = blocks_of(FEW)
    assert not [name for name in many if name.endswith("_bca95")]
    assert many["intervals"] == {"num_videos": FEW, "methods": {"ci95": "percentile"}}
    assert few_words({"macro F1": (many, name)}) == ""
