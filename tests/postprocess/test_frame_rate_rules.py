"""The sequential rule of strides and the refined grid, against plain loops."""

import itertools
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from avemo_jax.postprocess.frame_rate import refinement, sequential, sequential_limits
from avemo_jax.postprocess.smoothing import smooth

# Few shapes, so that little is compiled anew: (lengths of the videos, half width).
SHAPES = (((1,), 3), ((7, 1, 30), 12), ((23, 9, 6), 12), ((38,), 12))
OF_ONE_OR_38_FRAMES = pytest.mark.parametrize(
    "shapes",
    [
        pytest.param(SHAPES[:1], marks=pytest.mark.release),
        pytest.param(SHAPES[1:], marks=pytest.mark.release),
        [(lengths, 4) for lengths, _ in SHAPES[1:]],  # little is sorted and compiled
    ],
    ids=["one frame", "38 frames", "38 frames in narrow windows"],
)
LISTS = ((9, 4, 1), (50, 4), (5, 4), (4,))


def bounds(lengths):
    ends = np.cumsum(lengths)
    lo = np.repeat(ends - lengths, lengths).astype(np.int32)
    return lo, np.repeat(ends, lengths).astype(np.int32)


def made(lengths, outputs, seed, *, ties):
    rng = np.random.default_rng(seed)
    scores = rng.random((sum(lengths), outputs)).astype(np.float32)
    return np.round(scores * 4) / np.float32(4) if ties else scores


def naive_window(i, lo, hi, stride, half):
    return np.arange(max(i - half, lo[i]), min(i + half + 1, hi[i]), stride)


def naive_sequential(scores, lo, hi, each, thresholds, half):
    """Stride, class, entries by stride, and looked-at frames of one list."""
    total = len(scores)
    chosen, classes = np.zeros(total, int), np.zeros(total, int)
    entries = dict.fromkeys(each, 0)
    embedded = np.zeros(total, bool)
    for i in range(total):
        for stride in each:
            window = naive_window(i, lo, hi, stride, half)
            entries[stride] += len(window)
            embedded[window] = True
            median = np.median(scores[window], axis=0)
            if median.max() >= thresholds[stride] or stride == each[-1]:
                chosen[i], classes[i] = stride, median.argmax()
                break
    return chosen, classes, entries, embedded


@OF_ONE_OR_38_FRAMES
@settings(max_examples=20, deadline=None)
@given(
    case=st.data(),
    seed=st.integers(0, 1000),
    ties=st.booleans(),
    level=st.sampled_from((0.0, 0.5, 0.75, 0.9, 2.0)),
)
def test_sequential_is_the_plain_loop(shapes, case, seed, ties, level):
    lengths, half = case.draw(st.sampled_from(shapes))
    lo, hi = bounds(lengths)
    scores = made(lengths, 3, seed, ties=ties)
    lists = LISTS[:2] if half == 4 else LISTS
    strides = sequential.all_strides(lists)
    by_stride = sequential.stride_entries(lo, hi, strides, half)
    limit = {s: level * (1 - 0.01 * k) for k, s in enumerate(strides)}
    rows = np.tile(np.float32([limit[s] for s in strides]), (len(lists), 1))
    got = sequential.sequential(scores, by_stride, rows, lists=lists, half_width=half)
    limit = dict(zip(strides, rows[0], strict=True))
    for number, each in enumerate(lists):
        chosen, classes, entries, embedded = naive_sequential(
            scores, lo, hi, each, limit, half
        )
        np.testing.assert_array_equal(np.array(strides)[got.stage[number]], chosen)
        np.testing.assert_array_equal(got.classes[number], classes)
        np.testing.assert_array_equal(got.embedded[number], embedded)
        expected = [entries.get(s, 0) for s in strides]
        np.testing.assert_array_equal(got.entries[number], expected)


@pytest.mark.release
@OF_ONE_OR_38_FRAMES
@settings(max_examples=20, deadline=None)
@given(case=st.data(), seed=st.integers(0, 1000), ties=st.booleans())
def test_strided_medians_are_numpys(shapes, case, seed, ties):
    lengths, half = case.draw(st.sampled_from(shapes))
    lo, hi = bounds(lengths)
    scores = made(lengths, 2, seed, ties=ties)
    strides = (9, 5, 4, 1)
    by_stride = sequential.stride_entries(lo, hi, strides, half)
    got = sequential.all_medians(scores, by_stride, strides=strides, half_width=half)
    for stride, each in zip(strides, got, strict=True):
        windows = [naive_window(i, lo, hi, stride, half) for i in range(len(lo))]
        expected = [np.median(scores[window], axis=0) for window in windows]
        np.testing.assert_array_equal(each, np.stack(expected))


@pytest.mark.slow
def test_stride_one_is_the_sliding_median():
    lo, hi = bounds((900, 1300, 40))
    scores = made((900, 1300, 40), 8, 0, ties=False)
    by_stride = sequential.stride_entries(lo, hi, (1,), 200)
    got = sequential.all_medians(scores, by_stride, strides=(1,), half_width=200)[0]
    expected = smooth(scores, lo, hi, half_width=200, mode="median")
    np.testing.assert_array_equal(got, expected)


@pytest.mark.release
def test_reported_lists_have_the_reported_shares_of_entries():
    lengths = (4000, 4000)
    lo, hi = bounds(lengths)
    scores = made(lengths, 2, 0, ties=False)
    lists = ((200,), (100,), (50,), (25,), (10,), (1,))
    by_stride = sequential.stride_entries(lo, hi, sequential.all_strides(lists), 200)
    rows = np.zeros((6, 6), np.float32)
    found = sequential.sequential(scores, by_stride, rows, lists=lists, half_width=200)
    entries = np.asarray(found.entries, np.int64).sum(axis=1)
    shares = entries / entries[-1]
    np.testing.assert_allclose(
        shares, [0.007, 0.012, 0.022, 0.042, 0.102, 1], atol=1e-3
    )
    # left edges move with the frames: even the coarsest stride spares no frame
    assert np.asarray(found.embedded).all()


def naive_threshold(top, right, mask, level):
    """The walk down the right decisions, until too many wrong ones are above."""
    rows = np.flatnonzero(right & mask)
    rows = rows[np.argsort(-top[rows], kind="stable")]
    last = None
    for row in rows:
        wrong = int((~right & mask & (top > top[row])).sum())
        if Fraction(wrong, int(mask.sum())) > Fraction(level):
            return top[row] if last is None else last
        last = top[row]
    return np.inf if last is None else last


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1000),
    ties=st.booleans(),
    num_classes=st.sampled_from((1, 2, 4)),
    counted=st.sampled_from((0.0, 0.3, 1.0)),
)
@example(seed=21, ties=True, num_classes=2, counted=1.0)  # 3 wrong of 30
def test_thresholds_are_those_of_the_walk(seed, ties, num_classes, counted):
    rng = np.random.default_rng(seed)
    scores = made((40,), num_classes, seed, ties=ties)
    labels = rng.integers(-1, num_classes, 40)
    mask = (labels >= 0) & (rng.random(40) < counted)
    levels = ("0", "0.05", "0.1", "0.5", "1")
    got = sequential_limits.fit_threshold(scores, labels, mask, np.float32(levels))
    right = scores.argmax(axis=1) == labels
    top = scores.max(axis=1)
    expected = [naive_threshold(top, right, mask, level) for level in levels]
    np.testing.assert_array_equal(got, np.float32(expected))


@pytest.mark.slow
def test_levels_and_thresholds_of_lists():
    lists = ((50, 10, 1), (10,), (50, 10))
    levels = sequential_limits.benjamini_hochberg_levels(lists)
    expected = [[0.1 / 3, 0.2 / 3, 0.1], [0, 0.1, 0], [0.05, 0.1, 0]]
    np.testing.assert_allclose(levels, expected, rtol=1e-6)
    fixed = sequential_limits.false_acceptance_levels(lists)
    assert fixed.shape == (3, 3)
    assert (fixed == np.float32(0.05)).all()
    medians = np.stack([made((50,), 3, seed, ties=False) for seed in range(3)])
    labels = np.random.default_rng(0).integers(0, 3, 50)
    mask = np.ones(50, bool)
    got = np.asarray(
        sequential_limits.fit_thresholds(medians, labels, mask, levels, (50, 10, 1))
    )
    for row, column in np.ndindex(3, 2):
        one = sequential_limits.fit_threshold(
            medians[column], labels, mask, levels[row, column : column + 1]
        )
        assert got[row, column] == one[0]
    assert (got[:, 2] == 0).all()


def naive_dense(scores, lo, hi, embedded):
    out = np.empty_like(scores)
    for begin in np.unique(lo):
        at = np.arange(begin, hi[begin])
        kept = at[embedded[at]]
        for column in range(scores.shape[1]):
            out[at, column] = np.interp(at, kept, scores[kept, column])
    return out


def naive_confidence(kind, smoothed, scores, lo, hi, embedded):
    if kind == "top":
        return smoothed.max(axis=1)
    if kind == "margin":
        return np.abs(smoothed - 0.5).min(axis=1)
    out = np.zeros(len(lo))
    for i in range(len(lo)):
        kept = [k for k in range(lo[i], hi[i]) if embedded[k]]
        for a, b in itertools.pairwise(kept):
            if a <= i <= b:
                out[i] = min(out[i], -np.abs(scores[a] - scores[b]).max())
    return out


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("top", marks=pytest.mark.slow),
        "margin",
        pytest.param("variation", marks=pytest.mark.slow),
    ],
)
@settings(max_examples=6, deadline=None)
@given(
    shape=st.sampled_from(SHAPES[1:]),
    seed=st.integers(0, 1000),
    sharpness=st.floats(0.1, 0.9),
    reach=st.sampled_from((None, 0, 3)),
)
def test_refined_grid_is_the_plain_loop(kind, shape, seed, sharpness, reach):
    lengths, half = shape
    lo, hi = bounds(lengths)
    scores = made(lengths, 2, seed, ties=False)
    limit = np.float32(-sharpness if kind == "variation" else sharpness)
    strides, limits = (8, 4, 1), np.array([limit, limit])
    arguments = dict(
        strides=strides, smoothing=("mean", half), confidence=kind, reach=reach
    )
    got = refinement.refined_grid(scores, lo, hi, limits, **arguments)
    index = np.arange(len(lo))
    embedded = (index - lo) % 8 == 0
    close = np.zeros(len(lo), bool)  # where rounding may decide either way
    for stride in strides[1:]:
        dense = naive_dense(scores, lo, hi, embedded)
        smoothed = np.stack(
            [dense[naive_window(i, lo, hi, 1, half)].mean(axis=0) for i in index]
        )
        sure = naive_confidence(kind, smoothed, scores, lo, hi, embedded)
        close |= np.abs(sure - limit) < 1e-5
        far = half if reach is None else reach
        for i in np.flatnonzero(sure < limit):
            near = naive_window(i, lo, hi, 1, far)
            embedded[near[(near - lo[i]) % stride == 0]] = True
    assume(not close.any())
    np.testing.assert_array_equal(got.embedded, embedded)
    dense = naive_dense(scores, lo, hi, embedded)
    expected = smooth(dense, lo, hi, half_width=half, mode="mean")
    np.testing.assert_allclose(got.scores, expected, atol=2e-6)
    # a skipped frame's score is never looked at
    other = np.where(np.asarray(got.embedded)[:, None], scores, -7)
    again = refinement.refined_grid(
        other.astype(np.float32), lo, hi, limits, **arguments
    )
    np.testing.assert_array_equal(again.embedded, got.embedded)
    np.testing.assert_array_equal(again.scores, got.scores)


@pytest.mark.release
def test_refinement_spans_from_the_coarse_grid_to_all_frames():
    lo, hi = bounds((300, 77))
    scores = made((300, 77), 8, 0, ties=False)
    common = dict(smoothing=("median", 30))
    for limit, stride in ((-1.0, 20), (2.0, 1)):
        got = refinement.refined_grid(
            scores,
            lo,
            hi,
            np.float32([limit]),
            strides=(20, 1),
            confidence="top",
            **common,
        )
        fixed = refinement.fixed_grid(scores, lo, hi, stride=stride, **common)
        np.testing.assert_array_equal(got.scores, fixed.scores)
        np.testing.assert_array_equal(got.embedded, (np.arange(377) - lo) % stride == 0)
        np.testing.assert_array_equal(fixed.embedded, got.embedded)
    whole = smooth(scores, lo, hi, half_width=30, mode="median")
    np.testing.assert_array_equal(fixed.scores, whole)


@pytest.mark.slow
@pytest.mark.parametrize(
    "platform", ["cuda", pytest.param("tpu", marks=pytest.mark.slow)]
)
def test_programs_lower_for_accelerators(platform):
    lo, hi = bounds((50, 30))
    scores = jnp.asarray(made((50, 30), 3, 0, ties=False))
    lists, half = ((10, 1), (4,)), 12
    by_stride = sequential.stride_entries(lo, hi, sequential.all_strides(lists), half)
    by_stride = jax.tree.map(jnp.asarray, by_stride)
    labels, mask = jnp.zeros(80, jnp.int32), jnp.ones(80, bool)

    @jax.jit
    def everything(scores, lo, hi):
        medians = sequential.all_medians(
            scores, by_stride, strides=(10, 4, 1), half_width=half
        )
        levels = sequential_limits.benjamini_hochberg_levels(lists)
        rows = sequential_limits.fit_thresholds(
            medians, labels, mask, levels, (10, 4, 1)
        )
        ours = refinement.refined_grid(
            scores,
            lo,
            hi,
            jnp.array([0.5]),
            strides=(10, 1),
            smoothing=("median", half),
            confidence="margin",
        )
        return ours, sequential.sequential(
            scores, by_stride, rows, lists=lists, half_width=half
        )

    exported = jax.export.export(everything, platforms=[platform])(scores, lo, hi)
    assert exported.platforms == (platform,)
    assert "callback" not in exported.mlir_module()


@pytest.mark.parametrize("lists", [[], [()], [(1, 2)], [(2, 2)], [(3, 0)]])
def test_wrong_lists_are_refused(lists):
    with pytest.raises(ValueError, match="expected"):
        sequential.all_strides(lists)


def test_wrong_plans_are_refused():
    lo, hi = bounds((5, 4))
    for strides, half in (((0,), 3), ((), 3), ((1,), -1), ((1,), 5000)):
        with pytest.raises(ValueError, match="half width"):
            sequential.stride_entries(lo, hi, strides, half)
    for wrong in ((lo + 1, hi), (lo, hi + 1), (lo, hi - 1), (lo[:0], hi[:0])):
        with pytest.raises(ValueError, match="fill map"):
            sequential.stride_entries(*wrong, (1,), 3)


def test_wrong_refinements_are_refused():
    lo, hi = bounds((9,))
    scores = made((9,), 2, 0, ties=False)
    for strides, kind in (((4, 2, 1), "top"), ((1, 4), "top"), ((4, 1), "sure")):
        with pytest.raises((ValueError, TypeError)):
            refinement.refined_grid(
                scores,
                lo,
                hi,
                np.float32([0.5]),
                strides=strides,
                smoothing=("mean", 2),
                confidence=kind,
            )
