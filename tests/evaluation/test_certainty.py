"""What is fitted on dev to final probabilities, and what becomes of the decisions."""

import csv
import dataclasses
import itertools
import logging

import numpy as np
import pytest
from made.tables import made_table

from avemo_jax.evaluation.certainty import with_certainty
from avemo_jax.evaluation.class_sets import CLASS_SETS, sets_block, write_sets
from avemo_jax.evaluation.finished import Finished
from avemo_jax.metrics.calibration import calibration_scores
from avemo_jax.metrics.states import decide
from avemo_jax.models.frame_scores import SplitScores, dense_scores, table_fill_map
from avemo_jax.models.options import Options
from avemo_jax.models.selection import NO_SMOOTHING, Selection, fixed_selection
from avemo_jax.postprocess.class_sets import class_sets
from avemo_jax.tasks import get_task

VIDEOS, SEEDS = 6, 2


def predicted(task: str, power: float = 4.0) -> SplitScores:
    """Scores of two seeds that are often right, and ``power`` times too sure of it."""
    table = made_table(task, split="dev", videos=VIDEOS, frames=60)
    rng = np.random.default_rng(3)
    noise = rng.normal(size=(1, SEEDS, table.num_rows, table.task.num_outputs))
    if task == "EXPR":
        logits = power * (np.eye(8)[np.maximum(table.labels, 0)] + noise)
        scores = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    elif task == "AU":
        scores = 1 / (1 + np.exp(-power * ((table.labels == 1) - 0.3 + noise)))
    else:
        scores = np.tanh(noise)
    fill_map = table_fill_map(table, faithful=False)
    return SplitScores(table, fill_map, scores.astype(np.float32))


def selected(one: SplitScores, options: Options) -> Selection:
    """Nothing is smoothed; thresholds of units are some that scores may be equal to."""
    task = one.task
    fixed = fixed_selection(task, SEEDS, "")
    limits = None
    if task.kind == "multilabel":
        limits = one.scores[0, :, 0].copy()
    chosen = dataclasses.replace(
        fixed,
        on="dev",
        smoothings=(NO_SMOOTHING,) * SEEDS,
        thresholds=limits,
        raw_thresholds=limits,
    )
    return with_certainty(chosen, one, options)


@pytest.mark.parametrize("task", ["EXPR", "AU"])
def test_errors_fall_and_no_decision_changes(task):
    one = predicted(task)
    found = selected(one, Options())
    assert found.certainty.keys() == {"frames", "mean", "short"}
    assert found.set_level == 0.0
    fitted, of_mean = found.certainty["frames"], found.certainty["mean"]
    assert fitted.num_videos == VIDEOS
    assert (len(fitted.slopes), len(of_mean.slopes)) == (SEEDS, 1)
    assert fitted.set_limits is None
    dense = np.asarray(dense_scores(one, one.scores[0], found.smoothings))
    labels, mask = one.table.dense_labels, one.with_crop
    after = []
    for seed, own in enumerate(dense):
        limits = None if found.thresholds is None else found.thresholds[seed]
        scaled, mapped = fitted.scaled(own, seed, limits)
        np.testing.assert_array_equal(
            decide(one.task, scaled, mapped), decide(one.task, own, limits)
        )
        after.append(scaled)
    before = calibration_scores(one.task, dense, labels, mask)
    errors = calibration_scores(one.task, np.stack(after), labels, mask)
    name = "" if task == "EXPR" else "_mean"
    for score in ("ece", "nll"):
        assert (errors[score + name] < 0.7 * before[score + name]).all()
    # The mean over seeds has a fit of its own.
    mean = dense.mean(axis=0, keepdims=True)
    of_mean_after = of_mean.scaled(mean[0], 0)[0][None]
    losses = [
        calibration_scores(one.task, each, labels, mask)[f"nll{name}"][0]
        for each in (mean, of_mean_after)
    ]
    assert losses[1] < losses[0]


def test_values_have_none():
    one = predicted("VA")
    found = selected(one, Options(set_level=0.5))
    assert (found.certainty, found.set_level) == ({}, 0.0)


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_sets_hold_the_right_class_in_as_many_frames_as_videos_are_counted(
    level, caplog
):
    one = predicted("EXPR")
    with caplog.at_level(logging.WARNING):
        found = selected(one, Options(set_level=level))
    assert found.set_level == level
    limits = found.certainty["frames"].set_limits
    said = [text for text in caplog.messages if "sets of classes" in text]
    if level == 0.9:  # 9 videos are needed, and there are 6
        assert limits.tolist() == [0.0, 0.0]
        assert "need 9 labelled videos of dev, and there are 6" in said[0]
        assert "at most 0.857 needs no more" in said[0]
        return
    assert not said
    dense = np.asarray(dense_scores(one, one.scores[0], found.smoothings))
    labels, mask = one.table.dense_labels, one.with_crop
    video = np.repeat(np.arange(VIDEOS), one.table.num_frames)
    for own, limit in zip(dense, limits, strict=True):
        # By the limit alone: without it the decided class is in as well.
        held = own[np.arange(len(labels)), np.maximum(labels, 0)] >= limit
        shares = [held[mask & (video == v)].mean() for v in range(VIDEOS)]
        least = level * (VIDEOS + 1)
        assert least - 1e-6 <= sum(shares) < least + 0.05
        sets = class_sets(own[mask], float(limit))
        assert 1 < sets.sum(axis=1).mean() < 8


@pytest.mark.slow
def test_sets_of_the_reported_split_by_hand(tmp_path):
    """Means over videos, each weighing the same; and the file of the frames' sets."""
    one = predicted("EXPR")
    found = selected(one, Options(set_level=0.5))
    rows = one.scores[0]
    dense = dense_scores(one, rows, found.smoothings)
    finished = Finished(one, found, rows, rows, dense, {}, {})
    block = sets_block(finished, {"with_crop": one.with_crop}, 50)
    labels, mask = one.table.dense_labels, one.with_crop
    video = np.repeat(np.arange(VIDEOS), one.table.num_frames)
    coverages, sizes, of_anger = [], [], []
    for own, limit in zip(np.asarray(dense), block["limits"], strict=True):
        sets = [set(np.flatnonzero(p >= np.float32(limit))) | {p.argmax()} for p in own]
        held = np.array([y in one for y, one in zip(labels, sets, strict=True)])
        size = np.array([len(one) for one in sets])
        videos = [mask & (video == v) for v in range(VIDEOS)]
        coverages.append(np.mean([held[v].mean() for v in videos]))
        sizes.append(np.mean([size[v].mean() for v in videos]))
        angry = [v & (labels == 1) for v in videos]
        of_anger.append(np.mean([held[v].mean() for v in angry if v.any()]))
    scores = block["with_crop"]
    assert (block["level"], block["least_videos"], block["all_classes"]) == (0.5, 1, 0)
    assert block["num_videos_chosen_on"] == scores["num_videos"] == VIDEOS
    assert scores["coverage"] == pytest.approx(np.mean(coverages))
    assert scores["coverage_std"] == pytest.approx(np.std(coverages, ddof=1))
    assert scores["size"] == pytest.approx(np.mean(sizes))
    assert scores["coverage_per_class"]["Anger"] == pytest.approx(np.mean(of_anger))
    low, high = scores["coverage_ci95"]
    assert low < scores["coverage"] < high
    write_sets(tmp_path, finished, 1)
    with (tmp_path / CLASS_SETS).open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == len(labels)
    for line, own in zip(lines, sets, strict=True):
        names = [one.task.columns[c] for c in sorted(own)]
        assert line["expression_set"] == "+".join(names)
        assert line["expression"] in names
    assert lines[-1]["frame"] == str(one.table.num_frames[-1])
    without = dataclasses.replace(finished, selection=selected(one, Options()))
    assert sets_block(without, {"with_crop": mask}, 50) == {}
    write_sets(tmp_path, without, 1)
    assert not (tmp_path / CLASS_SETS).exists()


def test_whole_videos_are_fitted_for_themselves():
    task = get_task("EXPR")
    one = predicted("EXPR")
    labels = one.table.dense_labels.copy()
    offsets = one.table.dense_offsets
    for low, high in itertools.pairwise(offsets):
        labels[low:high] = labels[low:high].max()
    table = dataclasses.replace(one.table, dense_labels=labels, of_clips=True)
    found = selected(dataclasses.replace(one, table=table), Options())
    whole = found.certainty["videos"]
    assert whole.num_videos == VIDEOS
    assert whole.slopes.shape == (SEEDS, 1)
    means = np.full((VIDEOS, 8), 1 / 8, np.float32)
    np.testing.assert_allclose(whole.scaled(means, 1)[0], means, rtol=1e-6)
    assert decide(task, means, None).tolist() == [0] * VIDEOS
