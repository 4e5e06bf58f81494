"""Whole videos: their mean scores, what is chosen by them, and their predictions."""

import csv
import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from made.tables import made_table
from sklearn.metrics import f1_score

from avemo_jax.evaluation.by_video import write_by_video
from avemo_jax.evaluation.dev_selection import select_on_dev
from avemo_jax.evaluation.intervals import intervals_of
from avemo_jax.models.frame_scores import SplitScores, dense_scores, table_fill_map
from avemo_jax.models.options import Options
from avemo_jax.models.selection import NO_SMOOTHING, Selection
from avemo_jax.postprocess.blending import simplex_grid
from avemo_jax.postprocess.bootstrap import resample_counts
from avemo_jax.postprocess.clips import clips_of, scored_units
from avemo_jax.postprocess.frame_rate.rules import FrameRate
from avemo_jax.postprocess.smoothing_sweep import score_frames
from avemo_jax.tasks import AU, EXPR, TASKS

FEW = Options(smoothings=(NO_SMOOTHING, ("mean", 5)))
GRID = np.arange(1, 10) / 10
MOST_SLOW = [
    pytest.param("EXPR", marks=pytest.mark.slow),
    "AU",
    pytest.param("VA", marks=pytest.mark.slow),
]


def clips_table(task, split="dev", videos=12):
    """Every video has the label of one of its frames, in all frames with a label."""
    table = made_table(task, split=split, videos=videos, frames=40)
    dense = table.dense_labels.copy()
    for low, high in zip(table.dense_offsets, table.dense_offsets[1:], strict=False):
        valid = table.task.valid(dense[low:high])
        dense[low:high][valid] = dense[low:high][valid][valid.sum() // 2 :][:1]
    labels = dense[table.dense_index]
    changed = {"dense_labels": dense, "labels": labels, "of_clips": True}
    return dataclasses.replace(table, **changed, valid=table.task.valid(labels))


def predicted(task="EXPR", heads=1, seeds=2, noise=3.0, **how):
    """Scores that are often wrong in a frame, and less often so on the whole."""
    table = clips_table(task, **how)
    rng = np.random.default_rng(5)
    random = rng.normal(size=(heads, seeds, table.num_rows, table.task.num_outputs))
    noises = noise * np.array([1.0, 0.6])[:heads, None, None, None]
    if task == "EXPR":
        logits = 2 * np.eye(8)[np.maximum(table.labels, 0)] + noises * random
        scores = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    elif task == "AU":
        scores = 1 / (1 + np.exp(1 - 2 * (table.labels == 1) - noises * random))
    else:
        scores = np.tanh(np.nan_to_num(table.labels) + noises * random / 4)
    fill_map = table_fill_map(table, faithful=False)
    return SplitScores(table, fill_map, scores.astype(np.float32))


def by_hand(one: SplitScores, dense: np.ndarray, filled: bool = False):
    """Mean scores and label of each video with frames that count."""
    table, means, labels = one.table, [], []
    valid = one.task.valid(table.dense_labels)
    counted = valid if filled else one.with_crop
    for low, high in zip(table.dense_offsets, table.dense_offsets[1:], strict=False):
        frames = np.flatnonzero(counted[low:high]) + low
        if len(frames):
            means.append(np.asarray(dense, np.float64)[frames].mean(axis=0))
            labels.append(table.dense_labels[frames[0]])
    return np.stack(means), np.stack(labels)


def headline(task, scores, labels, limits=None):
    if task is EXPR:
        how = {"labels": np.arange(8), "average": "macro", "zero_division": 0}
        return f1_score(labels, scores.argmax(axis=1), **how)
    if task is AU:
        active = scores >= (0.5 if limits is None else limits)
        hits, wrong = (active & labels).sum(axis=0), (active != labels).sum(axis=0)
        return (2 * hits / np.maximum(2 * hits + wrong, 1)).mean()
    x, y = scores, labels.astype(np.float64)
    apart = (x.mean(axis=0) - y.mean(axis=0)) ** 2
    covariance = ((x - x.mean(axis=0)) * (y - y.mean(axis=0))).mean(axis=0)
    return (2 * covariance / (x.var(axis=0) + y.var(axis=0) + apart)).mean()


def test_scores_of_clips_are_means_of_their_frames():
    """Leading axes stay; a clip none of whose frames counts is masked."""
    rng = np.random.default_rng(0)
    labels = np.array([2, 2, 2, -1, -1, 5, -1, 5, 5, 5], np.int8)
    clips = clips_of(EXPR, labels, np.array([0, 3, 5, 5, 9, 10]))
    assert clips.labels.tolist() == [2, -1, -1, 5, 5]
    scores = rng.random((2, 10, 8)).astype(np.float32)
    mask = (labels >= 0) & (np.arange(10) != 1)
    arrays = (jnp.asarray(scores), jnp.asarray(labels), jnp.asarray(mask))
    means, own, has = scored_units(clips, *arrays)
    assert means.shape == (2, 5, 8)
    assert own.tolist() == clips.labels.tolist()
    assert has.tolist() == [True, False, False, True, True]
    for clip, frames in ((0, [0, 2]), (3, [5, 7, 8]), (4, [9])):
        expected = scores[:, frames].mean(axis=1)
        np.testing.assert_allclose(means[:, clip], expected, rtol=1e-6)
    assert scored_units(None, *arrays) == arrays


@pytest.mark.parametrize("task", MOST_SLOW)
def test_scores_by_clip_against_their_definition(task):
    """Filled frames count in all_labelled only; frames and clips score differently."""
    one = predicted(task)
    dense = dense_scores(one, one.scores[0], (NO_SMOOTHING,) * 2)
    arguments = (one.task, dense, one.fill_map, one.table.dense_labels)
    found = score_frames(*arguments, threshold_rule="fixed", clips=one.clips)
    frames = score_frames(*arguments, threshold_rule="fixed")
    for name, filled in (("with_crop", False), ("all_labelled", True)):
        for seed in range(2):
            pooled = by_hand(one, dense[seed], filled)
            expected = headline(one.task, *pooled)
            score = found[name][one.task.headline][seed]
            assert score == pytest.approx(expected, abs=1e-5)
            assert score > frames[name][one.task.headline][seed] + 0.05


@pytest.mark.parametrize("task", MOST_SLOW)
def test_smoothing_and_thresholds_are_chosen_by_clip(task):
    """Where labels are of clips, and it is not asked to choose by frame."""
    dev = predicted(task)
    found = select_on_dev(dev, FEW)
    assert (found.by, Selection.from_dict(found.to_dict()).by) == ("video", "video")
    for seed, smoothing in enumerate(found.smoothings):
        best = []
        for each in FEW.smoothings:
            rows = dev.scores[0][seed : seed + 1]
            pooled = by_hand(dev, dense_scores(dev, rows, (each,))[0])
            if dev.task is AU:
                scores = [
                    [headline(AU, s[:, None], y[:, None], t) for t in GRID]
                    for s, y in zip(pooled[0].T, pooled[1].T, strict=True)
                ]
                best.append(np.max(scores, axis=1).mean())
                if each == smoothing:
                    limits = GRID[np.argmax(scores, axis=1)]
                    np.testing.assert_allclose(found.thresholds[seed], limits)
            else:
                best.append(headline(dev.task, *pooled))
        assert found.dev_scores[seed] == pytest.approx(max(best), abs=1e-5)
        assert FEW.smoothings[int(np.argmax(np.round(best, 6)))] == smoothing
    frames = select_on_dev(dev, dataclasses.replace(FEW, unit="frame"))
    assert frames.by == "frame"
    assert frames.dev_scores != found.dev_scores
    of_frames = dataclasses.replace(
        dev, table=dataclasses.replace(dev.table, of_clips=False)
    )
    assert select_on_dev(of_frames, FEW).to_dict() == frames.to_dict()
    with pytest.raises(ValueError, match=f"'video' and labels of {task} .* set 'auto'"):
        select_on_dev(of_frames, dataclasses.replace(FEW, unit="video"))


@pytest.mark.slow
def test_weights_of_a_blend_are_chosen_by_clip():
    dev = predicted("EXPR", heads=2, seeds=1)
    found = select_on_dev(dev, FEW)
    smoothing = ("median", 5)  # the task's fixed one, no wider than may be chosen
    heads = [dense_scores(dev, head, (smoothing,))[0] for head in dev.scores]
    pooled = [by_hand(dev, head) for head in heads]
    grid = simplex_grid(2)[::-1]
    scores = [
        headline(EXPR, w[0] * pooled[0][0] + w[1] * pooled[1][0], pooled[0][1])
        for w in grid
    ]
    np.testing.assert_array_equal(found.weights[0], grid[int(np.argmax(scores))])


@pytest.mark.slow
def test_confidence_in_the_extractor_is_chosen_by_clip():
    dev = predicted("EXPR", seeds=1)
    sure = predicted("EXPR", seeds=1, noise=0.5).scores[0, 0]
    dev = dataclasses.replace(dev, extractor=sure)
    found = select_on_dev(dev, dataclasses.replace(FEW, trust_extractor=True))
    (own,) = dense_scores(dev, dev.scores[0], found.smoothings)
    (other,) = dense_scores(dev, sure[None], found.smoothings)
    trusted = np.where(other.max(axis=1)[:, None] > found.confidences[0], other, own)
    expected = headline(EXPR, *by_hand(dev, trusted))
    assert found.confidences[0] < 1
    assert found.dev_scores[0] == pytest.approx(expected, abs=1e-5)


@pytest.mark.slow
def test_frame_rate_is_chosen_by_clip():
    """A whole video needs fewer frames for its label than each frame for its own."""
    dev = predicted("EXPR", seeds=1)
    wanted = dataclasses.replace(FEW, frame_rate=FrameRate("stride", 0))
    (clip,) = select_on_dev(dev, wanted).frame_rates
    (dense,) = dense_scores(dev, dev.scores[0], (NO_SMOOTHING,))
    chosen = select_on_dev(dev, FEW)
    (dense,) = dense_scores(dev, dev.scores[0], chosen.smoothings)
    assert clip.full_score == pytest.approx(headline(EXPR, *by_hand(dev, dense)))
    assert clip.score >= clip.full_score - 0.002


@pytest.mark.release
def test_intervals_of_clips_draw_the_same_videos():
    one = predicted("EXPR", split="validation")
    dense = dense_scores(one, one.scores[0], (NO_SMOOTHING,) * 2)
    masks = {"with_crop": one.with_crop}
    found = intervals_of(one.table, dense, masks, None, 30, one.clips)
    frames = intervals_of(one.table, dense, masks, None, 30)
    assert found.ends["with_crop"].keys() == frames.ends["with_crop"].keys()
    pooled = [by_hand(one, seed) for seed in dense]
    counts = np.asarray(resample_counts(jnp.ones(12, bool), num_resamples=30))
    expected = [
        np.mean(
            [
                headline(one.task, np.repeat(s, n, 0), np.repeat(y, n, 0))
                for s, y in pooled
            ]
        )
        for n in counts
    ]
    np.testing.assert_allclose(found.resamples["with_crop"], expected, atol=1e-5)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("split", ["dev", "test"])
def test_predictions_of_videos(tmp_path, task, split):
    """Means as in with_crop, or of all frames with a crop where there is no label."""
    one = predicted(task, seeds=1, split=split)
    labels = split == "dev"
    dense = np.asarray(dense_scores(one, one.scores[0], (NO_SMOOTHING,))[0])
    limits = np.linspace(0.2, 0.8, 12).astype(np.float32) if task == "AU" else None
    every_third = np.arange(len(dense)) % 3 == 0
    how = {"thresholds": limits, "labels": labels}
    write_by_video(tmp_path, one, dense, embedded=every_third, **how)
    path = tmp_path / "predictions_by_video.csv"
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["video"] for row in rows] == list(one.table.videos)
    own = ~np.asarray(one.fill_map.filled)
    offsets = one.table.dense_offsets
    for i, row in enumerate(rows):
        part = slice(offsets[i], offsets[i + 1])
        valid = one.task.valid(one.table.dense_labels[part])
        frames = own[part] & (valid | (not labels))
        means = dense[part][frames].mean(axis=0)
        told = [float(row[name]) for name in one.task.columns]
        np.testing.assert_allclose(told, means, atol=2e-6)
        assert int(row["num_frames"]) == part.stop - part.start
        filled = 1 - own[part].mean()
        assert float(row["share_filled"]) == pytest.approx(filled, abs=1e-6)
        embedded = every_third[part].mean()
        assert float(row["share_embedded"]) == pytest.approx(embedded, abs=1e-6)
        label = one.table.dense_labels[part][valid][0] if labels else None
        if task == "EXPR":
            assert row["expression"] == EXPR.columns[int(means.argmax())]
            if labels:
                assert row["label_expression"] == EXPR.columns[label]
        elif task == "AU":
            active = [int(row[f"{name}_c"]) for name in AU.columns]
            assert active == (means >= limits).astype(int).tolist()
        elif labels:
            assert float(row["label_valence"]) == pytest.approx(label[0], abs=1e-6)
        assert any(name.startswith("label_") for name in row) == labels
    of_frames = dataclasses.replace(
        one, table=dataclasses.replace(one.table, of_clips=False)
    )
    write_by_video(tmp_path, of_frames, dense, embedded=None, **how)
    assert not path.exists()
