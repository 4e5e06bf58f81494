"""Every window of every kind, both-sided and causal, against the naive loop."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avemo_jax.postprocess.gaussians import rounding_bound
from avemo_jax.postprocess.smoothing import smooth, smooth_all

pytestmark = pytest.mark.numeric

# In one call; the widest are wider than every video below.
CHOSEN = [(mode, half) for half in (1, 5, 150) for mode in ("mean", "median")]
CHOSEN += [("gaussian", half) for half in (5, 150)]  # each is compiled for itself


def bounds(lengths) -> tuple[np.ndarray, np.ndarray]:
    ends = np.cumsum(lengths)
    lo = np.repeat(ends - lengths, lengths)
    return lo.astype(np.int32), np.repeat(ends, lengths).astype(np.int32)


def naive(scores, lo, hi, half_width, mode, causal=False):
    """Frame by frame: numpy's median of float32, the means in float64."""
    out = np.empty(scores.shape, np.float32 if mode == "median" else np.float64)
    for i in range(len(scores)):
        last = i if causal else i + half_width
        frames = np.arange(max(i - half_width, lo[i]), min(last + 1, hi[i]))
        window = scores[frames]
        if mode == "median":
            out[i] = np.median(window, axis=0)
        elif mode == "mean":
            out[i] = np.mean(window, axis=0, dtype=np.float64)
        else:
            weights = np.exp(-((frames - i) ** 2) / (2 * (half_width / 2) ** 2))
            out[i] = np.average(window.astype(np.float64), axis=0, weights=weights)
    return out


def assert_same(got, expected, mode, frames, largest=1.0):
    """``frames``: the most that a window has."""
    got = np.asarray(got)
    assert got.dtype == np.float32
    if mode == "median":
        np.testing.assert_array_equal(got, expected)
    else:
        bound = rounding_bound(frames) if mode == "gaussian" else 1e-6
        np.testing.assert_allclose(got, expected, rtol=0, atol=bound * largest)


def most_frames(lo, hi, half_width, causal):
    return min(half_width + 1 + (0 if causal else half_width), int((hi - lo).max()))


def made_scores(kind, total, seed):
    rng = np.random.default_rng(seed)
    return {
        "uniform": lambda: rng.random((total, 3)),
        "ties": lambda: rng.integers(0, 3, (total, 3)) / 2,
        "constant": lambda: np.full((total, 3), rng.random()),
        "runs": lambda: np.repeat(rng.random((total, 3)), 7, axis=0)[:total],
        "signed": lambda: rng.uniform(-1, 1, (total, 3)),
        "large": lambda: rng.normal(size=(total, 3)) * 1e4,
        "wide": lambda: rng.choice([-1, 1], (total, 3)) * 10 ** rng.uniform(-30, 0),
    }[kind]().astype(np.float32)


# Few, since each is compiled for itself.
@pytest.mark.parametrize(
    "total",
    [
        pytest.param(1, marks=pytest.mark.slow),
        pytest.param(2, marks=pytest.mark.release),
        90,
    ],
)
@settings(max_examples=20, deadline=None)
@given(
    cuts=st.lists(st.floats(0, 1), max_size=5),
    causal=st.booleans(),
    kind=st.sampled_from(
        ["uniform", "ties", "constant", "runs", "signed", "large", "wide"]
    ),
    seed=st.integers(0, 2**31),
)
def test_all_windows_are_the_naive_loop(total, cuts, causal, kind, seed):
    inner = {round(cut * total) for cut in cuts}
    lo, hi = bounds(np.diff(sorted(inner | {0, total})))
    scores = made_scores(kind, total, seed)
    chosen = CHOSEN if total == 90 else [*CHOSEN, ("gaussian", 1)]
    everything = smooth_all(scores, lo, hi, chosen, causal=causal)
    for (mode, half), got in zip(chosen, everything, strict=True):
        expected = naive(scores, lo, hi, half, mode, causal)
        frames = most_frames(lo, hi, half, causal)
        assert_same(got, expected, mode, frames, np.abs(scores).max())


@settings(max_examples=20, deadline=None)
@given(
    bad=st.sampled_from([np.nan, np.inf, -np.inf]),
    row=st.integers(0, 9),
    smoothing=st.sampled_from(CHOSEN),
    causal=st.booleans(),
)
def test_what_is_not_finite_is_refused(bad, row, smoothing, causal):
    scores = np.zeros((10, 2), np.float32)
    scores[row, 1] = bad
    mode, half = smoothing
    with pytest.raises(ValueError, match="1 of 20 scores are NaN or infinite"):
        smooth(scores, *bounds([4, 6]), half_width=half, mode=mode, causal=causal)


@pytest.mark.slow
def test_inside_a_jit_what_is_not_finite_spoils_its_output_only():
    chosen = [(mode, 2) for mode in ("mean", "median", "gaussian")]
    scores = np.full((10, 2), 0.25, np.float32)
    scores[3, 1] = np.inf
    inside = jax.jit(functools.partial(smooth_all, smoothings=chosen, causal=True))
    for out in map(np.asarray, inside(scores, *bounds([4, 6]))):
        assert np.isnan(out[:, 1]).all()
        np.testing.assert_allclose(out[:, 0], 0.25, rtol=3e-7)


@pytest.mark.parametrize(
    "causal",
    [
        pytest.param(False, marks=pytest.mark.slow),
        pytest.param(True, marks=pytest.mark.release),
    ],
)
def test_many_blocks_and_wide_windows(causal):
    # longer than a block; videos shorter than, equal to and longer than the windows
    lo, hi = bounds(np.array([1, 4500, 400, 401, 402, 2, 200, 201]))
    rng = np.random.default_rng(0)
    walk = np.cumsum(rng.normal(size=(len(lo), 2)), axis=0) / 50
    scores = np.stack([np.tanh(walk[:, 0]), np.round(walk[:, 1])], 1).astype(np.float32)
    chosen = [("median", 200), ("mean", 200), ("gaussian", 200), ("gaussian", 7)]
    everything = smooth_all(scores, lo, hi, chosen, causal=causal)
    for (mode, half), got in zip(chosen, everything, strict=True):
        expected = naive(scores, lo, hi, half, mode, causal)
        frames = most_frames(lo, hi, half, causal)
        assert_same(got, expected, mode, frames, np.abs(scores).max())


# The second lies half way between the steps of the widest window.
@pytest.mark.parametrize("value", [1.0, 183_500.5 / 2**18, 0.1])
@pytest.mark.slow
@pytest.mark.parametrize(
    "half", [300, pytest.param(1000, marks=pytest.mark.release), 2500]
)
def test_means_of_long_windows_keep_their_digits(value, half):
    # constant scores round the same way in every frame of a window
    scores = np.full((6000, 1), value, np.float32)
    scores[3000:] *= np.linspace(1, 0.5, 3000, dtype=np.float32)[:, None]
    lo, hi = bounds([6000])
    chosen = [("mean", half), ("gaussian", half)]
    rows = np.r_[:3, 290:310, 2900:3100:10, 5998:6000]
    for (mode, _), got in zip(chosen, smooth_all(scores, lo, hi, chosen), strict=True):
        expected = naive_rows(scores, half, mode, rows)
        assert_same(got[rows], expected, mode, 2 * half + 1)


def naive_rows(scores, half, mode, rows):
    """The naive mean of some frames of one video."""
    out = []
    for i in rows:
        frames = np.arange(max(i - half, 0), min(i + half + 1, len(scores)))
        weights = np.ones(len(frames))
        if mode == "gaussian":
            weights = np.exp(-((frames - i) ** 2) / (2 * (half / 2) ** 2))
        out.append(np.average(scores[frames].astype(np.float64), 0, weights))
    return np.array(out)


@pytest.mark.parametrize("half", [2, 60, 1000])
@pytest.mark.parametrize("partial_sums", [1, 8, 16])
def test_gaussians_are_within_their_bound_in_other_orders_of_adding(half, partial_sums):
    # as processors with vectors of another length add
    weights = np.exp(-(np.arange(-half, half + 1) ** 2) / (2 * (half / 2) ** 2))
    rng = np.random.default_rng(0)
    walks = np.cumsum(rng.normal(size=(len(weights), 50)), axis=0)
    constants = np.full((len(weights), 50), rng.random(50))
    scores = np.hstack([np.tanh(walks / 50), constants]).astype(np.float32)
    rounded = (weights / weights.sum()).astype(np.float32)[:, None]
    got = added(rounded * scores, partial_sums) / added(rounded, partial_sums)
    exact = np.average(scores.astype(np.float64), 0, weights)
    largest = np.abs(scores).max(axis=0)
    assert (np.abs(got - exact) / largest).max() <= rounding_bound(2 * half + 1)


def added(terms, partial_sums):
    """Sums of columns in float32: every so many-th term one by one, then their sums."""
    padded = np.pad(terms, ((0, -len(terms) % partial_sums), (0, 0)))
    lanes = padded.reshape(-1, partial_sums, terms.shape[1])
    sums = np.cumsum(lanes, axis=0, dtype=np.float32)[-1]
    return np.cumsum(sums, axis=0, dtype=np.float32)[-1]


def test_a_gaussian_of_one_frame_each_side():
    scores = np.array([[0.0], [1.0], [0.0]], np.float32)
    side = np.exp(-2.0)  # sigma is half the half width
    got = smooth(scores, *bounds([3]), half_width=1, mode="gaussian")
    ends = side / (1 + side)
    expected = np.array([ends, 1 / (1 + 2 * side), ends])[:, None]
    assert_same(got, expected, "gaussian", 3)


def test_a_causal_window_never_looks_ahead():
    rng = np.random.default_rng(3)
    scores = rng.random((90, 3)).astype(np.float32)
    changed = scores.copy()
    changed[40:] = rng.random((50, 3))
    lo, hi = bounds([90])
    before = smooth_all(scores, lo, hi, CHOSEN, causal=True)
    after = smooth_all(changed, lo, hi, CHOSEN, causal=True)
    for (mode, half), *both in zip(CHOSEN, before, after, strict=True):
        one, other = map(np.asarray, both)
        atol = 0 if mode == "median" else 1e-6
        if half == 150 and mode == "gaussian":
            atol = rounding_bound(half + 1) * np.abs(scores).max()
        np.testing.assert_allclose(one[:40], other[:40], rtol=0, atol=atol)
        assert (one[40:] != other[40:]).any()


@pytest.mark.release
def test_seeds_and_smoothings_do_not_touch_each_other():
    lo, hi = bounds([300, 90])
    scores = np.random.default_rng(1).random((3, 390, 2), np.float32)
    scores[1] *= 1000
    chosen = [("gaussian", 30), ("mean", 30), ("gaussian", 4)]
    together = smooth_all(scores, lo, hi, chosen, causal=True)
    for (mode, half), each in zip(chosen, together, strict=True):
        for seed in range(3):
            alone = smooth(
                scores[seed], lo, hi, half_width=half, mode=mode, causal=True
            )
            np.testing.assert_array_equal(each[seed], alone)


@pytest.mark.slow
def test_the_smallest_scores_survive_a_median():
    # below float32's normal numbers, where processors may round to 0
    scores = np.full((5, 1), 1e-40, np.float32)
    got = smooth(scores, *bounds([5]), half_width=2, mode="median", causal=True)
    assert got.dtype == jnp.float32
    np.testing.assert_array_equal(np.asarray(got)[::2], scores[::2])


def test_smoothings_that_cannot_be_are_refused():
    scores = np.zeros((20_000, 1), np.float32)
    where = bounds([20_000])
    with pytest.raises(ValueError, match="9000 is too large for a gaussian"):
        smooth(scores, *where, half_width=9000, mode="gaussian")
    with pytest.raises(ValueError, match="half width -1 is negative"):
        smooth(scores, *where, half_width=-1, mode="gaussian", causal=True)
    # in a shorter video the widest window is the video, the shape stays
    short = np.arange(4, dtype=np.float32)[:, None]
    got = smooth(short, *bounds([4]), half_width=9000, mode="gaussian")
    assert_same(got, np.full((4, 1), 1.5), "gaussian", 4, short.max())


@pytest.mark.parametrize(
    ("platform", "causal"),
    [
        ("cuda", False),
        pytest.param("cuda", True, marks=pytest.mark.release),
        pytest.param("tpu", False, marks=pytest.mark.release),
        ("tpu", True),
    ],
)
def test_all_windows_lower_for_accelerators(platform, causal):
    lo, hi = (jnp.asarray(each) for each in bounds([200, 100]))
    function = jax.jit(functools.partial(smooth_all, smoothings=CHOSEN, causal=causal))
    shape = jax.ShapeDtypeStruct((2, 300, 12), jnp.float32)
    exported = jax.export.export(function, platforms=[platform])(shape, lo, hi)
    assert exported.platforms == (platform,)
    assert "callback" not in exported.mlir_module()
