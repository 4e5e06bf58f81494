"""Gaps, smoothing, decisions and the sweep, held to naive loops in numpy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avemo_jax.metrics.scores import best_thresholds, task_metrics
from avemo_jax.metrics.states import decide
from avemo_jax.postprocess import smoothing_sweep
from avemo_jax.postprocess.gaps import fill, make_fill_map
from avemo_jax.postprocess.smoothed_frames import Trusted, smoothed_frames
from avemo_jax.postprocess.smoothing import smooth, smooth_all
from avemo_jax.postprocess.thresholds import exact_thresholds
from avemo_jax.tasks import AU, EXPR, VA

pytestmark = pytest.mark.numeric

# --- gaps


def rows_of(present: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Frame numbers and row offsets of videos given by their frame numbers."""
    offsets = np.concatenate([[0], np.cumsum([len(frames) for frames in present])])
    frame = np.concatenate([np.asarray(frames, np.int64) for frames in present])
    return frame, offsets


def naive_fill(
    frames: np.ndarray, scores: np.ndarray, length: int, *, faithful: bool
) -> np.ndarray:
    """One video, frame by frame."""
    out = np.empty((length, scores.shape[1]))
    for n in range(1, length + 1):
        after = int(np.searchsorted(frames, n))
        if after == 0:
            out[n - 1] = scores[0]
        elif after == len(frames):
            out[n - 1] = scores[-1]
        elif frames[after] == n:
            out[n - 1] = scores[after]
        else:
            left, right = frames[after - 1], frames[after]
            w = (n - left) / (right - left)
            if faithful:
                w = 1 - w
            out[n - 1] = (1 - w) * scores[after - 1] + w * scores[after]
    return out


@st.composite
def videos_with_gaps(draw):
    lengths = draw(st.lists(st.integers(1, 30), min_size=1, max_size=5))
    present = [
        np.flatnonzero(draw(st.lists(st.booleans(), min_size=n, max_size=n))) + 1
        for n in lengths
    ]
    return np.array(lengths), present, draw(st.integers(0, 2**31))


@settings(max_examples=10, deadline=None)
@given(case=videos_with_gaps(), faithful=st.booleans())
def test_fill_is_the_naive_loop(case, faithful):
    lengths, present, seed = case
    frame, offsets = rows_of(present)
    scores = np.random.default_rng(seed).random((2, len(frame), 3), np.float32)
    fill_map = make_fill_map(frame, offsets, lengths, faithful=faithful)
    dense = np.asarray(jax.jit(fill)(scores, fill_map, neutral=0.25))
    assert dense.shape == (2, lengths.sum(), 3)
    begin = 0
    for i, length in enumerate(lengths):
        here = slice(begin, begin + length)
        if len(present[i]):
            for seed in range(2):
                rows = scores[seed, offsets[i] : offsets[i + 1]]
                expected = naive_fill(present[i], rows, length, faithful=faithful)
                np.testing.assert_allclose(dense[seed, here], expected, atol=2e-7)
            assert fill_map.has_rows[here].all()
        else:
            assert (dense[:, here] == 0.25).all()
            assert not fill_map.has_rows[here].any()
        filled = np.ones(length, bool)
        filled[present[i] - 1] = False
        np.testing.assert_array_equal(fill_map.filled[here], filled)
        stop = begin + length
        if faithful and len(present[i]):
            stop = begin + present[i][-1]
            assert (fill_map.lo[stop : begin + length] == stop).all()
            assert (fill_map.hi[stop : begin + length] == begin + length).all()
        assert (fill_map.lo[begin:stop] == begin).all()
        assert (fill_map.hi[begin:stop] == stop).all()
        begin += length


def test_fill_of_a_hand_made_video():
    frame, offsets = rows_of([np.array([2, 5])])
    scores = np.array([[0.0], [3.0]], np.float32)
    fill_map = make_fill_map(frame, offsets, np.array([6]))
    np.testing.assert_allclose(
        fill(scores, fill_map)[:, 0], [0, 0, 1, 2, 3, 3], atol=1e-6
    )
    swapped = make_fill_map(frame, offsets, np.array([6]), faithful=True)
    np.testing.assert_allclose(
        fill(scores, swapped)[:, 0], [0, 0, 2, 1, 3, 3], atol=1e-6
    )


def test_rows_that_are_not_used_are_filled():
    frame, offsets = rows_of([np.array([1, 2, 3]), np.array([1])])
    scores = np.array([[0.0], [9.0], [1.0], [5.0]], np.float32)
    used = np.array([True, False, True, False])
    fill_map = make_fill_map(frame, offsets, np.array([3, 2]), used=used)
    np.testing.assert_allclose(fill(scores, fill_map)[:, 0], [0, 0.5, 1, 0, 0])
    np.testing.assert_array_equal(fill_map.filled, [False, True, False, True, True])
    np.testing.assert_array_equal(fill_map.has_rows, [True, True, True, False, False])


def test_no_row_at_all_gives_neutral_scores():
    fill_map = make_fill_map(
        np.zeros(0, np.int64), np.zeros(3, np.int64), np.array([2, 1])
    )
    dense = fill(np.zeros((2, 0, 8), np.float32), fill_map, neutral=0.125)
    np.testing.assert_array_equal(dense, np.full((2, 3, 8), 0.125))
    assert fill_map.filled.all()
    assert not fill_map.has_rows.any()


@pytest.mark.parametrize(
    ("frame", "offsets", "lengths", "message"),
    [
        ([1, 2], [0, 1], [5], "offsets"),
        ([2, 1], [0, 2], [5], "frame number 1 .* ascend"),
        ([0], [0, 1], [5], "frame number 0"),
        ([6], [0, 1], [5], "video of 5 frames"),
        ([3, 3], [0, 2], [5], "ascend"),
    ],
)
def test_rows_that_do_not_fit_are_refused(frame, offsets, lengths, message):
    with pytest.raises(ValueError, match=message):
        make_fill_map(np.array(frame), np.array(offsets), np.array(lengths))


# --- smoothing


def bounds(lengths) -> tuple[np.ndarray, np.ndarray]:
    ends = np.cumsum(lengths)
    lo = np.repeat(ends - lengths, lengths)
    return lo.astype(np.int32), np.repeat(ends, lengths).astype(np.int32)


def naive_smooth(scores, lo, hi, half_width, mode):
    """Frame by frame; the mean in float64."""
    if mode == "none":
        return scores
    values = scores.astype(np.float64) if mode == "mean" else scores
    reduce = {"mean": np.mean, "median": np.median}[mode]
    out = np.empty_like(values)
    for i in range(scores.shape[-2]):
        window = slice(max(i - half_width, lo[i]), min(i + half_width + 1, hi[i]))
        out[..., i, :] = reduce(values[..., window, :], axis=-2)
    return out


def assert_smooth(got, expected, mode, largest=1.0):
    if mode == "mean":
        np.testing.assert_allclose(got, expected, rtol=3e-7, atol=3e-7 * largest)
    else:
        np.testing.assert_array_equal(got, expected)


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(
    cuts=st.lists(st.floats(0, 1), max_size=5),
    kind=st.sampled_from(["uniform", "ties", "constant", "signed", "large"]),
    seed=st.integers(0, 2**31),
)
def test_smooth_is_the_naive_loop(cuts, kind, seed):
    total = 90
    chosen = [(mode, half) for mode in ("mean", "median") for half in (3, 40)]
    inner = {round(cut * total) for cut in cuts}
    lo, hi = bounds(np.diff(sorted(inner | {0, total})))
    rng = np.random.default_rng(seed)
    scores = {
        "uniform": rng.random((2, total, 3)),
        "ties": rng.integers(0, 3, (2, total, 3)) / 2,
        "constant": np.full((2, total, 3), rng.random()),
        "signed": rng.normal(size=(2, total, 3)).clip(-1, 1),
        "large": rng.normal(size=(2, total, 3)) * 1e4,
    }[kind].astype(np.float32)
    everything = smooth_all(scores, lo, hi, chosen)
    for (mode, half), got in zip(chosen, everything, strict=True):
        expected = naive_smooth(scores, lo, hi, half, mode)
        # an output's rounding is that of its largest value
        assert_smooth(np.asarray(got), expected, mode, np.abs(scores).max())


@pytest.mark.slow
def test_many_blocks_and_wide_windows():
    # longer than a block of the median; videos shorter than, equal to and longer than
    # the windows, one of a single frame
    lo, hi = bounds(np.array([1, 4500, 400, 401, 402, 2, 3300]))
    rng = np.random.default_rng(0)
    walk = np.cumsum(rng.normal(size=(len(lo), 2)), axis=0) / 50
    scores = np.stack([np.tanh(walk[:, 0]), np.round(walk[:, 1])], 1).astype(np.float32)
    chosen = [("median", 200), ("mean", 200), ("none", 0), ("median", 7), ("mean", 0)]
    for (mode, half), got in zip(
        chosen, smooth_all(scores, lo, hi, chosen), strict=True
    ):
        expected = naive_smooth(scores, lo, hi, half, mode)
        assert_smooth(np.asarray(got), expected, mode, np.abs(scores).max())


@pytest.mark.release
def test_seeds_and_smoothings_do_not_touch_each_other():
    lo, hi = bounds(np.array([300, 90]))
    scores = np.random.default_rng(1).random((3, 390, 2), np.float32)
    scores[1] *= 1000
    chosen = [("mean", 30), ("median", 30)]
    together = smooth_all(scores, lo, hi, chosen)
    for (mode, half), each in zip(chosen, together, strict=True):
        for seed in range(3):
            alone = smooth(scores[seed], lo, hi, half_width=half, mode=mode)
            np.testing.assert_array_equal(each[seed], alone)


@pytest.mark.slow
def test_mean_of_a_long_sequence_keeps_its_digits():
    # a running float32 sum would be off by 1e-2 here
    frames = 2_000_000
    lo, hi = np.zeros(frames, np.int32), np.full(frames, frames, np.int32)
    scores = np.full((frames, 1), 0.7, np.float32)
    scores[::2] = 0.9
    got = np.asarray(smooth(scores, lo, hi, half_width=200, mode="mean"))
    total = np.concatenate([[0], np.cumsum(scores[:, 0], dtype=np.float64)])
    index = np.arange(frames)
    end, begin = np.minimum(index + 201, frames), np.maximum(index - 200, 0)
    expected = (total[end] - total[begin]) / (end - begin)
    np.testing.assert_allclose(got[:, 0], expected, atol=2e-7)


def test_no_frames_and_no_width():
    nothing = np.zeros(0, np.int32)
    assert (
        smooth(np.zeros((0, 8), np.float32), nothing, nothing, half_width=5).size == 0
    )
    lo, hi = bounds(np.array([4]))
    scores = np.arange(4, dtype=np.float32)[:, None]
    for mode in ("none", "mean", "median"):
        np.testing.assert_array_equal(
            smooth(scores, lo, hi, half_width=0, mode=mode), scores
        )


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("mode", ["mean", "median"])
def test_scores_that_are_not_finite_are_refused(bad, mode):
    lo, hi = bounds(np.array([10]))
    scores = np.zeros((10, 2), np.float32)
    scores[3, 1] = bad
    with pytest.raises(ValueError, match="1 of 20 scores"):
        smooth(scores, lo, hi, half_width=2, mode=mode)
    # inside a jit nothing can be raised: the output is spoilt, and no other one
    inside = jax.jit(functools.partial(smooth, half_width=2, mode=mode))
    out = np.asarray(inside(scores, lo, hi))
    assert not np.isfinite(out[:, 1]).any()
    assert (out[:, 0] == 0).all()


def test_smoothings_and_bounds_that_cannot_be_are_refused():
    lo, hi = bounds(np.array([10]))
    scores = np.zeros((10, 1), np.float32)
    with pytest.raises(ValueError, match="half width -1 is negative"):
        smooth(scores, lo, hi, half_width=-1)
    with pytest.raises(ValueError, match="frame 0 of 10 has the bounds 1"):
        smooth(scores, lo + 1, hi, half_width=1)
    long = np.zeros((20_000, 1), np.float32)
    with pytest.raises(ValueError, match="9000 is too large for a median"):
        smooth(long, *bounds(np.array([20_000])), half_width=9000, mode="median")


def test_everything_lowers_for_accelerators():
    frame, offsets = rows_of([np.arange(1, 300, 2)])
    fill_map = jax.tree.map(jnp.asarray, make_fill_map(frame, offsets, np.array([300])))

    def post_process(scores, fill_map):
        dense = fill(scores, fill_map, neutral=0.0)
        out = smooth_all(dense, fill_map.lo, fill_map.hi, smoothing_sweep.SMOOTHINGS)
        return [decide(AU, each) for each in out], decide(EXPR, out[0])

    scores = jnp.zeros((2, len(frame), 12), jnp.float32)
    exported = jax.export.export(jax.jit(post_process), platforms=["cuda", "tpu"])(
        scores, fill_map
    )
    assert exported.platforms == ("cuda", "tpu")
    assert "callback" not in exported.mlir_module()


# --- decisions


def test_decisions():
    scores = np.array([[[0.2, 0.5], [0.7, 0.49]]] * 2, np.float32)
    limits = np.array([[0.1, 0.6], [0.7, 0.4]])
    for array in (np.asarray, jnp.asarray):
        got = decide(AU, array(scores[0]))
        np.testing.assert_array_equal(got, [[False, True], [True, False]])
        # float32's 0.7 reaches a threshold of 0.7
        np.testing.assert_array_equal(
            decide(AU, array(scores), array(limits)),
            [[[True, False], [True, False]], [[False, True], [True, True]]],
        )
        classes = array(np.array([[0.1, 0.4, 0.4], [0.5, 0.2, 0.3]]))
        np.testing.assert_array_equal(decide(EXPR, classes), [1, 0])
        values = decide(VA, array(np.array([[-1.5, 0.5]])))
        np.testing.assert_array_equal(values, [[-1, 0.5]])


# --- the sweep


def made_split(task, seed=0):
    """Rows, fill map, dense labels of two short videos, one frame in five missing."""
    rng = np.random.default_rng(seed)
    lengths = np.array([130, 70])
    present = [np.flatnonzero(rng.random(n) > 0.2) + 1 for n in lengths]
    frame, offsets = rows_of(present)
    total = int(lengths.sum())
    shape = (total, *task.label_shape)
    if task.name == "VA":
        labels = rng.uniform(-1, 1, shape).astype(np.float32)
        labels[rng.random(total) < 0.1] = np.nan
    else:
        top = 8 if task.name == "EXPR" else 2
        labels = rng.integers(0, top, shape).astype(np.int8)
        labels[rng.random(total) < 0.1] = -1
    scores = rng.uniform(0, 1, (2, len(frame), task.num_outputs)).astype(np.float32)
    return make_fill_map(frame, offsets, lengths), labels, scores


# One list for all tests, so that each task's is compiled once.
CHOSEN = (("none", 0), ("mean", 5), ("median", 30))


def frames_of(task, rows, fill_map, *, causal=False):
    """One seed's scores of every frame, by smoothing."""
    neutral = 1 / 8 if task is EXPR else 0.0
    dense = fill(rows, fill_map, neutral=neutral)
    found = smooth_all(dense, fill_map.lo, fill_map.hi, CHOSEN, causal=causal)
    return dict(zip(CHOSEN, found, strict=True))


@pytest.mark.parametrize(
    ("task", "rule", "causal"),
    [
        pytest.param(EXPR, "grid", False, marks=pytest.mark.slow),
        pytest.param(EXPR, "grid", True, marks=pytest.mark.release),
        pytest.param(AU, "grid", False, marks=pytest.mark.release),
        (AU, "exact", False),
        pytest.param(AU, "fixed", False, marks=pytest.mark.release),
        pytest.param(VA, "grid", False, marks=pytest.mark.slow),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_sweep_scores_what_smoothing_gives(task, rule, causal):
    fill_map, labels, scores = made_split(task)
    results = smoothing_sweep.score_smoothings(
        task,
        *(scores, fill_map, labels),
        smoothings=CHOSEN,
        threshold_rule=rule,
        causal=causal,
    )
    assert list(results) == list(CHOSEN)
    valid = task.valid(labels)
    masks = {"with_crop": valid & ~fill_map.filled, "all_labelled": valid}
    assert masks["with_crop"].sum() < masks["all_labelled"].sum()
    on_device = jnp.asarray(labels)
    for seed in range(2):
        for smoothing, frames in frames_of(
            task, scores[seed], fill_map, causal=causal
        ).items():
            limits = None
            if task is AU:
                limits = {
                    "grid": best_thresholds,
                    "exact": exact_thresholds,
                    "fixed": lambda *_: jnp.full(12, 0.5),
                }[rule](frames, on_device, jnp.asarray(masks["with_crop"]))
            for name, mask in masks.items():
                arrays = (frames, on_device, jnp.asarray(mask), limits)
                expected = task_metrics(task.name, *arrays)
                got = results[smoothing][name]
                assert set(got) == set(expected)
                for key, value in expected.items():
                    np.testing.assert_allclose(got[key][seed], value, atol=1e-6)


def test_sweep_at_given_thresholds():
    fill_map, labels, scores = made_split(AU)
    limits = np.full((2, 12), 0.5, np.float32)
    limits[1] = 0.9
    given = {("mean", 5): limits}
    results = smoothing_sweep.score_smoothings(
        AU, scores, fill_map, labels, smoothings=CHOSEN, thresholds=given
    )
    assert set(results["none", 0]) == {"with_crop", "all_labelled"}
    at_given = results["mean", 5]["with_crop_given"]
    tuned = results["mean", 5]["with_crop"]
    np.testing.assert_array_equal(at_given["thresholds"], limits)
    assert at_given["f1_mean"][0] == at_given["f1_mean_at_0.5"][0]
    assert (tuned["f1_mean"] > at_given["f1_mean"]).all()
    both = smoothing_sweep.sweep_thresholds(results)
    np.testing.assert_array_equal(both["mean", 5], tuned["thresholds"])
    frames = smoothing_sweep.score_frames(
        AU,
        jnp.stack([frames_of(AU, rows, fill_map)["mean", 5] for rows in scores]),
        *(fill_map, labels),
        thresholds=limits,
    )
    jax.tree.map(np.testing.assert_array_equal, frames, results["mean", 5])
    fill_map, labels, scores = made_split(VA)
    with pytest.raises(ValueError, match="thresholds given for VA"):
        smoothing_sweep.score_smoothings(VA, scores, fill_map, labels, thresholds=given)


@pytest.mark.slow
def test_frames_trust_the_extractor_from_each_members_confidence():
    """It is smoothed by the same window first; the sweep scores these frames."""
    fill_map, labels, scores = made_split(EXPR)
    rng = np.random.default_rng(3)
    theirs = rng.uniform(0, 1, scores.shape[1:]).astype(np.float32)
    trusted = Trusted(theirs, np.array([1, 0.6], np.float32))
    never, found = smoothed_frames(
        EXPR, scores, fill_map, [CHOSEN] * 2, trusted=trusted
    )
    results = smoothing_sweep.score_smoothings(
        EXPR, scores, fill_map, labels, smoothings=CHOSEN, trusted=trusted
    )
    own, extractor = (frames_of(EXPR, rows, fill_map) for rows in (scores[1], theirs))
    first = frames_of(EXPR, scores[0], fill_map)
    mask = jnp.asarray(EXPR.valid(labels))
    for i, smoothing in enumerate(CHOSEN):
        sure = np.asarray(extractor[smoothing]).max(axis=1) > np.float32(0.6)
        assert 0 < sure.sum() < len(sure)
        mixed = np.where(sure[:, None], extractor[smoothing], own[smoothing])
        np.testing.assert_allclose(found[i], mixed, atol=1e-6)
        np.testing.assert_allclose(never[i], first[smoothing], atol=1e-6)
        expected = task_metrics("EXPR", found[i], jnp.asarray(labels), mask)
        for key, value in expected.items():
            got = results[smoothing]["all_labelled"][key][1]
            np.testing.assert_array_equal(got, value)


@pytest.mark.slow
def test_each_seed_is_smoothed_as_was_chosen_for_it():
    """Predictions are the very frames that the sweep scored on its way."""
    fill_map, _, scores = made_split(EXPR)
    swept = list(smoothed_frames(EXPR, scores, fill_map, [CHOSEN] * 2))
    own = [(CHOSEN[2],), (CHOSEN[0],)]
    first, second = smoothed_frames(EXPR, scores, fill_map, own)
    np.testing.assert_array_equal(first[0], swept[0][2])
    np.testing.assert_array_equal(second[0], swept[1][0])


def test_smoothings_are_thirteen():
    assert len(smoothing_sweep.SMOOTHINGS) == len(set(smoothing_sweep.SMOOTHINGS)) == 13
    assert smoothing_sweep.SMOOTHINGS[0] == ("none", 0)
    assert {half for _, half in smoothing_sweep.SMOOTHINGS} == {
        0,
        5,
        15,
        30,
        60,
        100,
        200,
    }


def made_results(rows, name="f1_macro"):
    return {
        smoothing: {"with_crop": {name: np.array(row)}}
        for smoothing, row in zip(smoothing_sweep.SMOOTHINGS, rows, strict=False)
    }


def test_choice_takes_the_first_best_of_each_seed():
    results = made_results([[0.1, 0.5, 0.2], [0.4, 0.5, 0.1], [0.4, 0.3, 0.9]])
    choices = smoothing_sweep.choose_smoothing(results, "f1_macro")
    assert [choice.smoothing for choice in choices] == [
        ("mean", 5),
        ("none", 0),
        ("mean", 15),
    ]
    assert [choice.score for choice in choices] == [0.4, 0.5, 0.9]
    assert all(choice.thresholds is None for choice in choices)
    picked = smoothing_sweep.pick(
        results, [choice.smoothing for choice in choices], "with_crop"
    )
    np.testing.assert_array_equal(picked["f1_macro"], [0.4, 0.5, 0.9])
    assert smoothing_sweep.sweep_thresholds(results) is None


def test_choice_carries_thresholds():
    results = made_results([[0.3, 0.2], [0.1, 0.6]], "f1_mean")
    for i, scores in enumerate(results.values()):
        scores["with_crop"]["thresholds"] = np.full((2, 12), [[0.1], [0.2]]) + i
    first, second = smoothing_sweep.choose_smoothing(results, "f1_mean")
    np.testing.assert_allclose(first.thresholds, np.full(12, 0.1))
    np.testing.assert_allclose(second.thresholds, np.full(12, 1.2))


def test_choice_refuses_unknown_and_undefined_scores():
    with pytest.raises(ValueError, match="no score 'ccc_mean'"):
        smoothing_sweep.choose_smoothing(made_results([[0.1]]), "ccc_mean")
    with pytest.raises(ValueError, match="1 of 2 values"):
        smoothing_sweep.choose_smoothing(made_results([[0.1], [np.nan]]), "f1_macro")
