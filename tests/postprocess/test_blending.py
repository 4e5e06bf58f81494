"""Blends against loops, the confident rule, and heads of different frames."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from avemo_jax.metrics.scores import best_thresholds, task_metrics
from avemo_jax.postprocess.blending import (
    HeadRows,
    align,
    choose_blend,
    extractor_probs,
    score_blends,
    score_confidences,
    simplex_grid,
    trust_confident,
)
from avemo_jax.tasks import get_task

pytestmark = pytest.mark.numeric


def made(task_name, models=3, frames=200, seed=0):
    rng = np.random.default_rng(seed)
    outputs = get_task(task_name).num_outputs
    scores = rng.random((models, frames, outputs)).astype(np.float32)
    if task_name == "EXPR":
        scores /= scores.sum(axis=2, keepdims=True)
        labels = rng.integers(0, 8, frames)
    elif task_name == "AU":
        labels = rng.integers(0, 2, (frames, outputs))
    else:
        labels = rng.uniform(-1, 1, (frames, 2)).astype(np.float32)
    return (
        jnp.asarray(scores),
        jnp.asarray(labels),
        jnp.asarray(rng.random(frames) < 0.9),
    )


@pytest.mark.parametrize(
    ("models", "step", "count"),
    [(1, 0.1, 1), (2, 0.1, 11), (3, 0.25, 15), (4, 0.5, 10)],
)
def test_grid_is_all_weights_once(models, step, count):
    grid = simplex_grid(models, step)
    assert grid.shape == (count, models)
    assert grid.dtype == np.float32
    np.testing.assert_allclose(grid.sum(axis=1), 1, atol=1e-6)
    assert len(np.unique(grid, axis=0)) == count
    assert (grid >= 0).all()
    assert [tuple(row) for row in grid] == sorted(tuple(row) for row in grid)


@pytest.mark.parametrize(
    ("models", "step", "word"),
    [(0, 0.1, "num_models"), (2, 0.3, "step"), (2, -1.0, "step"), (9, 0.05, "blends")],
)
def test_grid_refuses(models, step, word):
    with pytest.raises(ValueError, match=word):
        simplex_grid(models, step)


@pytest.mark.parametrize(
    "task_name",
    [
        pytest.param("EXPR", marks=pytest.mark.slow),
        pytest.param("AU", marks=pytest.mark.release),
        "VA",
    ],
)
def test_all_blends_are_the_loop(task_name):
    probs, labels, mask = made(task_name)
    weights = jnp.asarray(simplex_grid(3, 0.25))
    scores = score_blends(task_name, probs, labels, mask, weights)
    headline = get_task(task_name).headline
    for i, one in enumerate(np.asarray(weights)):
        blended = jnp.asarray(
            sum(w * p for w, p in zip(one, np.asarray(probs), strict=False))
        )
        limits = best_thresholds(blended, labels, mask) if task_name == "AU" else None
        expected = task_metrics(task_name, blended, labels, mask, limits)
        assert scores[headline][i] == pytest.approx(float(expected[headline]), abs=2e-6)
    choice = choose_blend(task_name, probs, labels, mask, weights)
    best = int(np.argmax(scores[headline]))
    assert choice.score == scores[headline][best]
    np.testing.assert_array_equal(choice.weights, weights[best])
    assert (choice.thresholds is not None) == (task_name == "AU")


def test_one_model_alone_is_itself_and_ties_leave_the_first():
    probs, labels, mask = made("EXPR", models=1)
    twice = jnp.concatenate([probs, probs])
    weights = jnp.asarray(simplex_grid(2, 0.5))
    choice = choose_blend("EXPR", twice, labels, mask, weights)
    np.testing.assert_array_equal(choice.weights, [0, 1])
    alone = task_metrics("EXPR", probs[0], labels, mask)["f1_macro"]
    assert choice.score == alone


@pytest.mark.slow
def test_given_thresholds_are_used():
    probs, labels, mask = made("AU", models=2)
    weights = jnp.asarray(simplex_grid(2, 1.0))
    limits = jnp.stack([jnp.full(12, 0.3), jnp.full(12, 0.6)])
    scores = score_blends("AU", probs, labels, mask, weights, limits)
    np.testing.assert_array_equal(scores["thresholds"], limits)
    expected = task_metrics("AU", probs[1], labels, mask, limits[0])["f1_mean"]
    assert scores["f1_mean"][0] == expected


def test_extractors_classes_are_in_the_tasks_order():
    affectnet = ["Anger", "Contempt", "Disgust", "Fear"]
    affectnet += ["Happiness", "Neutral", "Sadness", "Surprise"]
    logits = jnp.asarray(np.pad(10 * np.eye(8, dtype=np.float32), [(0, 0), (0, 2)]))
    guess = np.asarray(extractor_probs(logits)).argmax(axis=1)
    names = {n.lower(): c for n, c in zip(affectnet, guess, strict=True)}
    for position, name in enumerate(get_task("EXPR").columns):
        assert (
            names["contempt" if name.lower() == "other" else name.lower()] == position
        )
    with pytest.raises(ValueError, match="columns"):
        extractor_probs(logits[:, :7])


@pytest.mark.slow
def test_confident_frames_are_the_extractors():
    probs, labels, mask = made("EXPR", models=1)
    rng = np.random.default_rng(1)
    outputs = jnp.asarray(rng.normal(0, 3, (200, 10)), jnp.float32)
    own = extractor_probs(outputs)
    levels = jnp.asarray([0.0, 0.5, 0.7, 0.8, 1.0])
    scores = score_confidences(probs[0], own, labels, mask, levels)
    for level, score in zip(levels, scores, strict=True):
        trusted = np.asarray(trust_confident(probs[0], own, level))
        expected = np.array(probs[0])
        for i in range(200):
            if np.asarray(own)[i].max() > level and level < 1:
                expected[i] = np.asarray(own)[i]
        np.testing.assert_array_equal(trusted, expected)
        f1 = f1_score(
            np.asarray(labels)[np.asarray(mask)],
            expected.argmax(axis=1)[np.asarray(mask)],
            average="macro",
        )
        assert score == pytest.approx(f1, abs=1e-6)


def rows_of(frames: dict[str, list[int]]) -> HeadRows:
    lengths = [len(v) for v in frames.values()]
    flat = [f for v in frames.values() for f in v]
    offsets = np.cumsum([0, *lengths])
    return HeadRows(list(frames), offsets, np.array(flat, np.int64))


video = st.dictionaries(
    st.sampled_from("abcd"), st.lists(st.integers(1, 9), unique=True, max_size=9)
)


@settings(deadline=None, max_examples=60)
@given(st.lists(video, min_size=1, max_size=4))
def test_alignment_is_the_loop(heads):
    aligned = align([rows_of(m) for m in heads])
    lists = [[(v, f) for v in m for f in m[v]] for m in heads]
    common = [key for key in lists[0] if all(key in keys for keys in lists)]
    for rows, lost, keys in zip(aligned.rows, aligned.lost, lists, strict=True):
        assert [keys[row] for row in rows] == common
        assert lost == len(keys) - len(common)


def test_alignment_refuses():
    with pytest.raises(ValueError, match="0 heads"):
        align([])
    with pytest.raises(ValueError, match="head 1"):
        align([rows_of({"a": [1, 2]}), rows_of({"a": [2, 2]})])


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
@pytest.mark.parametrize("task_name", ["EXPR", "AU", "VA"])
def test_exports(platform, task_name):
    arrays = made(task_name, models=2, frames=20)
    weights = jnp.asarray(simplex_grid(2, 0.5))
    function = jax.jit(lambda *a: score_blends(task_name, *a))
    exported = jax.export.export(function, platforms=[platform])(*arrays, weights)
    assert exported.platforms == (platform,)
