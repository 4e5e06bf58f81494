"""Scores by NumPy and by JAX, held to scikit-learn and to the CCC's definition."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score

from avemo_jax.metrics import scores as metrics
from avemo_jax.metrics.numpy_states import video_states
from avemo_jax.metrics.states import Confusion, decide, merged, scores_of
from avemo_jax.tasks import AU, EXPR, VA, get_task

pytestmark = pytest.mark.numeric

GRID = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]


def naive_ccc(x, y):
    x, y = np.clip(x.astype(np.float64), -1, 1), y.astype(np.float64)
    mean_x, mean_y = x.mean(), y.mean()
    covariance = ((x - mean_x) * (y - mean_y)).mean()
    below = x.var() + y.var() + (mean_x - mean_y) ** 2
    return 0.0 if below == 0 else 2 * covariance / below


def make_expr(seed, frames, classes=8):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, frames).astype(np.int8)
    scores = rng.random((frames, 8)).astype(np.float32)
    scores[np.arange(frames), labels] += 0.3
    mask = rng.random(frames) < 0.8
    return scores, np.where(mask, labels, -1).astype(np.int8), mask


def make_au(seed, frames):
    rng = np.random.default_rng(seed)
    rates = np.linspace(0.02, 0.7, 12)
    labels = (rng.random((frames, 12)) < rates).astype(np.int8)
    scores = np.clip(rng.normal(0.3 + 0.3 * labels, 0.25), 0, 1).astype(np.float32)
    mask = rng.random(frames) < 0.8
    return scores, np.where(mask[:, None], labels, -1).astype(np.int8), mask


def make_va(seed, frames):
    rng = np.random.default_rng(seed)
    labels = rng.uniform(-1, 1, (frames, 2)).astype(np.float32)
    scores = (labels + rng.normal(0, 0.5, (frames, 2))).astype(np.float32)
    mask = rng.random(frames) < 0.8
    return scores, np.where(mask[:, None], labels, np.nan).astype(np.float32), mask


MAKERS = {"EXPR": make_expr, "AU": make_au, "VA": make_va}


def by_numpy(name, arrays, thresholds=None, videos=3):
    """From the states of videos, which the frames are dealt to."""
    scores, labels, mask = arrays
    task, video = get_task(name), np.arange(len(mask)) % videos
    if task.kind == "regression":
        scores = scores.astype(np.float64)
    predicted = decide(task, scores, thresholds)
    return video_states(task, predicted, labels, mask, video, videos).together()


def compute(task, arrays, thresholds=None, **options):
    if thresholds is not None:
        thresholds = jnp.asarray(thresholds)
    scores = metrics.task_metrics(
        task, *map(jnp.asarray, arrays), thresholds, **options
    )
    return jax.tree.map(np.asarray, scores)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 8))
def test_expr_equals_sklearn(seed, classes):
    """Also with classes that never occur: their F1 is 0 and counts in the mean."""
    scores, labels, mask = arrays = make_expr(seed, 60, classes)
    got = compute("EXPR", arrays)
    truth, guess = labels[mask], scores[mask].argmax(axis=1)
    expected = f1_score(
        truth, guess, average=None, labels=np.arange(8), zero_division=0
    )
    accuracy = accuracy_score(truth, guess)
    for found, digits in ((got, 1e-6), (by_numpy("EXPR", arrays), 1e-14)):
        np.testing.assert_allclose(found["f1_per_class"], expected, rtol=digits)
        assert found["f1_macro"] == pytest.approx(expected.mean(), rel=digits)
        assert found["accuracy"] == pytest.approx(accuracy, rel=digits)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000))
def test_au_equals_sklearn_at_every_threshold(seed):
    scores, labels, mask = arrays = make_au(seed, 60)
    best, best_f1 = np.zeros(12), np.full(12, -1.0)
    for threshold in GRID:
        guess = scores[mask] >= np.float32(threshold)
        expected = f1_score(labels[mask], guess, average=None, zero_division=0)
        limits = np.full(12, threshold, np.float32)
        got = compute("AU", arrays, limits)
        for found, digits in ((got, 1e-6), (by_numpy("AU", arrays, limits), 1e-14)):
            np.testing.assert_allclose(found["f1_per_unit"], expected, rtol=digits)
            assert found["f1_mean"] == pytest.approx(expected.mean(), rel=digits)
        best = np.where(expected > best_f1, threshold, best)
        best_f1 = np.maximum(expected, best_f1)
        if threshold == 0.5:
            half = expected.mean()
    chosen = metrics.best_thresholds(*map(jnp.asarray, arrays))
    np.testing.assert_array_equal(chosen, best.astype(np.float32))
    got = compute("AU", arrays, chosen)
    assert got["f1_mean"] == pytest.approx(best_f1.mean(), rel=1e-6)
    assert got["f1_mean_at_0.5"] == pytest.approx(half, rel=1e-6)
    plain = compute("AU", arrays)
    assert plain["f1_mean"] == plain["f1_mean_at_0.5"]
    assert plain["f1_mean"] == pytest.approx(half, rel=1e-6)
    np.testing.assert_array_equal(plain["thresholds"], np.full(12, 0.5))


def test_a_score_at_a_threshold_is_positive():
    """The float32 nearest to each grid value counts, as where NumPy compares."""
    scores = np.repeat(np.array(GRID, np.float32)[:, None], 12, axis=1)
    mask = np.ones(9, bool)
    for i, threshold in enumerate(GRID):
        labels = np.repeat((np.arange(9) >= i)[:, None], 12, axis=1).astype(np.int8)
        got = compute("AU", (scores, labels, mask), np.full(12, threshold, np.float32))
        np.testing.assert_array_equal(got["f1_per_unit"], np.ones(12))
        assert (scores[:, 0] >= threshold).sum() == 9 - i
        best = metrics.best_thresholds(*map(jnp.asarray, (scores, labels, mask)))
        np.testing.assert_array_equal(best, np.full(12, np.float32(threshold)))
        assert f"{float(best[0]):.6g}" == str(threshold)


def test_first_of_equal_thresholds_is_taken():
    scores = np.full((4, 12), 0.65, np.float32)
    labels = np.ones((4, 12), np.int8)
    best = metrics.best_thresholds(
        jnp.asarray(scores), jnp.asarray(labels), jnp.ones(4, bool)
    )
    np.testing.assert_array_equal(best, np.full(12, np.float32(0.1)))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1, 2, 17, 60]))
def test_va_equals_its_definition(seed, frames):
    """The others do not count, so that one program is compiled."""
    scores, labels, mask = arrays = make_va(seed, 60)
    mask[frames:] = False
    got, exact = compute("VA", arrays), by_numpy("VA", arrays)
    for k, name in enumerate(("ccc_valence", "ccc_arousal")):
        if not mask.any():
            assert got[name] == exact[name] == 0
        else:
            expected = naive_ccc(scores[mask, k], labels[mask, k])
            assert got[name] == pytest.approx(expected, abs=2e-6)
            assert exact[name] == pytest.approx(expected, abs=1e-13)
    mean = (got["ccc_valence"] + got["ccc_arousal"]) / 2
    assert got["ccc_mean"] == pytest.approx(mean, abs=1e-7)


@pytest.mark.parametrize("frames", [3, pytest.param(40_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("value", [0.1, 0.9, -0.3, 0.0])
def test_ccc_of_constants_is_zero(value, frames):
    """Also where rounding leaves a tiny spread around their mean."""
    constant = np.full((frames, 2), value, np.float32)
    other = np.random.default_rng(0).uniform(-1, 1, (frames, 2)).astype(np.float32)
    mask = np.ones(frames, bool)
    for scores, labels in ((constant, constant), (constant, other), (other, constant)):
        for found in (compute, by_numpy):
            got = found("VA", (scores, labels, mask))
            assert got["ccc_mean"] == got["ccc_valence"] == got["ccc_arousal"] == 0


@pytest.mark.parametrize("task", MAKERS)
def test_no_frames_give_zeros(task):
    scores, labels, mask = MAKERS[task](0, 20)
    none = np.zeros_like(mask)
    by_both = {**compute(task, (scores, labels, none))}
    by_both |= {
        f"{k}, numpy": v for k, v in by_numpy(task, (scores, labels, none)).items()
    }
    empty = compute(task, (scores[:0], labels[:0], none[:0]))
    by_both |= {f"{name}, no frames": value for name, value in empty.items()}
    for name, value in by_both.items():
        if "thresholds" not in name:
            assert not value.any(), name


@pytest.mark.parametrize(
    "task", [*(pytest.param(t, marks=pytest.mark.slow) for t in ("AU", "VA")), "EXPR"]
)
@pytest.mark.parametrize(
    "chunk_frames",
    [7, *(pytest.param(n, marks=pytest.mark.release) for n in (101, 5000))],
)
def test_chunks_do_not_matter(task, chunk_frames):
    arrays = MAKERS[task](3, 101)
    whole, cut = compute(task, arrays), compute(task, arrays, chunk_frames=chunk_frames)
    for name, value in whole.items():
        np.testing.assert_allclose(cut[name], value, rtol=2e-6, err_msg=name)


@pytest.mark.parametrize(
    "task",
    ["EXPR", *(pytest.param(task, marks=pytest.mark.slow) for task in ("AU", "VA"))],
)
def test_members_are_scored_alone(task):
    """Stacked models under vmap give what each gives by itself."""
    seeds = [MAKERS[task](seed, 50)[0] for seed in range(3)]
    _, labels, mask = MAKERS[task](0, 50)
    score = functools.partial(metrics.task_metrics, task)
    together = jax.vmap(score, in_axes=(0, None, None))(
        jnp.asarray(np.stack(seeds)), jnp.asarray(labels), jnp.asarray(mask)
    )
    for i, scores in enumerate(seeds):
        alone = compute(task, (scores, labels, mask))
        for name, value in alone.items():
            np.testing.assert_allclose(together[name][i], value, rtol=1e-6)


@pytest.mark.slow
def test_each_member_has_its_thresholds():
    seeds = np.stack([make_au(seed, 50)[0] for seed in range(3)])
    _, labels, mask = map(jnp.asarray, make_au(0, 50))
    best = jax.vmap(metrics.best_thresholds, in_axes=(0, None, None))(
        jnp.asarray(seeds), labels, mask
    )
    score = functools.partial(metrics.task_metrics, "AU")
    got = jax.vmap(score, in_axes=(0, None, None, 0))(
        jnp.asarray(seeds), labels, mask, best
    )
    np.testing.assert_array_equal(got["thresholds"], best)
    for i in range(3):
        alone = compute("AU", (seeds[i], labels, mask), best[i])
        np.testing.assert_allclose(got["f1_mean"][i], alone["f1_mean"], rtol=1e-6)


@pytest.mark.parametrize("task", [EXPR, AU, VA], ids=lambda task: task.name)
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_states_merge_in_any_order(task, order):
    """Batches, one of them without frames that count, as one batch."""
    parts = [MAKERS[task.name](seed, 40) for seed in range(3)]
    parts[1] = (*parts[1][:2], np.zeros(40, bool))

    def state(part):
        scores, labels, mask = part
        return video_states(task, decide(task, scores), labels, mask).state

    def together(*states):
        return merged(type(states[0])(*map(np.concatenate, zip(*states, strict=True))))

    states = [state(parts[i]) for i in order]
    whole = state([np.concatenate(arrays) for arrays in zip(*parts, strict=True)])
    both = type(whole)(*(leaf[None] for leaf in together(*states[:2])))
    expected = scores_of(task, whole)
    for found in (together(both, states[2]), together(*states)):
        for name, value in scores_of(task, found).items():
            np.testing.assert_allclose(value, expected[name][0], rtol=1e-13)
        for leaf, other in zip(found, whole, strict=True):
            assert (leaf.dtype, leaf.shape) == (other.dtype, other.shape[1:])


@pytest.mark.parametrize(
    ("mean", "deviation"),
    [
        pytest.param(0.0, 0.3, marks=pytest.mark.release),
        (0.95, 1e-3),
        pytest.param(-0.999, 1e-5, marks=pytest.mark.slow),
        pytest.param(0.5, 0.05, marks=pytest.mark.release),
    ],
)
@pytest.mark.parametrize("drift", [0.0, 1.0])
def test_ccc_of_hostile_data(mean, deviation, drift):
    """A small spread on a large mean, with a drift and a jump: right to 1e-5."""
    frames, rng = 1_000_003, np.random.default_rng(0)
    spread = rng.normal(size=(frames, 2))
    spread += drift * np.linspace(-1, 1, frames)[:, None]
    spread[frames // 3 :] += drift
    labels = np.clip(mean + deviation * spread, -1, 1).astype(np.float32)
    error = rng.normal(0.3, 0.5, (frames, 2)) * deviation
    scores = (labels + error).astype(np.float32)
    got = compute("VA", (scores, labels, np.ones(frames, bool)))
    for k, name in enumerate(("ccc_valence", "ccc_arousal")):
        expected = naive_ccc(scores[:, k], labels[:, k])
        assert 0.1 < expected < 0.99
        assert got[name] == pytest.approx(expected, abs=1e-6)


@pytest.mark.release
@pytest.mark.parametrize("kind", ["noise", "two_values"])
def test_ccc_of_20_million_frames(kind):
    """Right to 1e-5 in float32, also where every term rounds the same way."""
    frames, rng = 20_000_000, np.random.default_rng(0)
    if kind == "noise":
        labels = 0.9 + 0.01 * rng.standard_normal((frames, 2), np.float32)
    else:
        steps = np.arange(frames)[:, None] % np.array([2, 1000]) > 0
        labels = np.where(steps, 0.9, 0.8).astype(np.float32)
    scores = labels + 0.003 + 0.01 * rng.standard_normal((frames, 2), np.float32)
    got = compute("VA", (scores, labels, np.ones(frames, bool)))
    for k, name in enumerate(("ccc_valence", "ccc_arousal")):
        expected = naive_ccc(scores[:, k], labels[:, k])
        assert got[name] == pytest.approx(expected, abs=1e-5)


def test_counts_are_exact_beyond_float32():
    """Over 2 ** 24 frames of one class, where a float32 count stands still."""
    counts = jnp.zeros((2, 8, 8), jnp.int32).at[:, 0, 0].set(jnp.array([2**24, 7]))
    both = merged(Confusion(counts))
    assert int(both.counts[0, 0]) == 2**24 + 7
    assert scores_of(EXPR, both)["accuracy"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("task", MAKERS)
def test_memory_does_not_grow_with_the_frames(task):
    """What the compiled scores need beside their arguments."""

    def temporary_bytes(frames):
        arrays = [jnp.asarray(a) for a in MAKERS[task](0, 10)]
        shapes = [jax.ShapeDtypeStruct((frames, *a.shape[1:]), a.dtype) for a in arrays]
        compiled = metrics.task_metrics.lower(task, *shapes).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    small, large = temporary_bytes(100_000), temporary_bytes(1_000_000)
    assert large <= 1.1 * small
    assert large < 20e6


def test_unknown_task_is_refused():
    with pytest.raises(ValueError, match="unknown task 'FACE'"):
        compute("FACE", make_expr(0, 10))
