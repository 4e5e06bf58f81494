"""Folds of speakers: scores of each, and of all clips together."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from avemo_jax.data.corpus.protocols import Protocol
from avemo_jax.evaluation.fold_table import (
    class_scores,
    folds_block,
    folds_table,
    pooled_scores,
)
from avemo_jax.metrics.intervals import ENDS
from avemo_jax.tasks import own_task

TASK = own_task("mood", "multiclass", ("bored", "calm", "keen"))
SPEAKERS = {f"{who}{i}": who for who in "abcd" for i in range(6)}
PROTOCOL = Protocol((("a", "b"), ("c", "d")), "made")


def write_predictions(folder, videos, seed):
    """Decisions that are right in two of three videos; with frames of each."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    by_video = ["video,num_frames,mood,bored,label_mood"]
    by_frame = ["video,frame,has_crop,filled,mood,bored,label_mood"]
    told = []
    for video in videos:
        label = TASK.columns[rng.integers(3)] if video != videos[0] else ""
        decided = label if label and rng.random() < 0.66 else TASK.columns[0]
        by_video.append(f"{video},3,{decided},0.5,{label}")
        for frame in (1, 2, 3):
            seen = f"{video},{frame},{int(frame < 3)},0"
            by_frame.append(f"{seen},{TASK.columns[frame - 1]},0.5,{label}")
        if label:
            told.append((video, label, decided))
    (folder / "predictions_by_video.csv").write_text("\n".join(by_video) + "\n")
    (folder / "predictions.csv").write_text("\n".join(by_frame) + "\n")
    return told


@pytest.fixture
def folds(tmp_path):
    """Folders of two folds, and what their clips' labels and decisions are."""
    folders = [tmp_path / "fold_0", tmp_path / "fold_1"]
    told = []
    for number, (folder, speakers) in enumerate(
        zip(folders, ("ab", "cd"), strict=True)
    ):
        videos = [video for video, who in SPEAKERS.items() if who in speakers]
        told.append(write_predictions(folder, videos, number))
    return folders, told


def test_scores_are_those_of_the_clips(folds):
    folders, told = folds
    block = folds_block(TASK, PROTOCOL, folders, SPEAKERS, num_resamples=50)
    for found, clips in zip(block["per_video"]["folds"], told, strict=True):
        _, labels, decided = zip(*clips, strict=True)
        assert found["num"] == len(clips) == 11
        assert found["num_speakers"] == 2
        assert found["accuracy"] == pytest.approx(accuracy_score(labels, decided))
        expected = f1_score(labels, decided, average="macro", labels=TASK.columns)
        assert found["f1_macro"] == pytest.approx(expected)
        expected = balanced_accuracy_score(labels, decided)
        assert found["recall_macro"] == pytest.approx(expected)
    pooled = block["per_video"]["pooled"]
    _, labels, decided = zip(*told[0], *told[1], strict=True)
    assert pooled["num"] == 22
    assert pooled["accuracy"] == pytest.approx(accuracy_score(labels, decided))
    for ending in ENDS:
        low, high = pooled[f"accuracy{ending}"]
        assert low <= pooled["accuracy"] <= high
    assert pooled["intervals"]["num_speakers"] == pooled["num_speakers"] == 4
    told_words = folds_table("title", block)
    assert "over 4 speakers, fewer than 40, 95 % intervals by BCa are: " in told_words
    values = [one["accuracy"] for one in block["per_video"]["folds"]]
    assert block["per_video"]["mean"]["accuracy"] == pytest.approx(np.mean(values))
    assert block["per_video"]["std"]["accuracy"] == pytest.approx(
        np.std(values, ddof=1)
    )


def test_frames_without_a_crop_do_not_count(folds):
    """The third frame alone is keen by decision, and has none."""
    folders, told = folds
    block = folds_block(TASK, PROTOCOL, folders, SPEAKERS, num_resamples=0)
    pooled = block["with_crop"]["pooled"]
    assert pooled["num"] == 44
    right = sum(label in ("bored", "calm") for _, label, _ in [*told[0], *told[1]])
    assert pooled["accuracy"] == pytest.approx(right / 44)
    assert "accuracy_ci95" not in pooled


def test_intervals_are_over_speakers():
    """Speakers who are all right or all wrong leave a wide one, many clips or few."""
    counts = np.zeros((6, 3, 3), int)
    counts[:3, 0, 0] = 1000
    counts[3:, 0, 1] = 1000
    found = pooled_scores(TASK, counts, num_resamples=500)
    low, high = found["accuracy_ci95"]
    assert found["accuracy"] == 0.5
    assert low < 0.2
    assert high > 0.8
    counts[:, :, :] = 0
    counts[:, 0, 0] = counts[:, 0, 1] = 5
    found = pooled_scores(TASK, counts, num_resamples=500)
    assert found["accuracy_ci95"] == [0.5, 0.5]


def test_classes_without_clips_are_left_out_of_the_mean_recall():
    counts = np.array([[3, 1, 0], [0, 2, 0], [0, 0, 0]])
    assert class_scores(TASK, counts)["recall_macro"] == pytest.approx((0.75 + 1) / 2)


def test_the_table_has_a_line_for_each_fold(folds):
    folders, _ = folds
    block = folds_block(TASK, PROTOCOL, folders, SPEAKERS, num_resamples=20)
    lines = folds_table("mood", block).splitlines()
    assert lines[:2] == ["mood", "folds: made"]
    assert sum(line.startswith("  0: a, b (") for line in lines) == 2
    assert sum("mean ± deviation of folds" in line for line in lines) == 2
    pooled = block["per_video"]["pooled"]
    row = next(line for line in lines if line.startswith("  all together (22)"))
    assert f"{pooled['f1_macro']:.3f} [" in row
