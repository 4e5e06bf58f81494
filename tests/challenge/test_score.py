"""Scores of predictions made anywhere."""

import csv
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from made.predictions import (
    FORMS,
    LENGTHS,
    as_csv,
    labels_of,
    npz_of_videos,
    predicted_of,
    submission,
    text_folder,
    write_annotations,
)
from made.submissions import table_of
from sklearn.metrics import accuracy_score, f1_score

from avemo_jax.challenge.score.command import main
from avemo_jax.data.predictions.predictions_file import (
    predictions_of,
    write_predictions,
)
from avemo_jax.metrics.intervals import interval_of
from avemo_jax.metrics.numpy_states import video_states
from avemo_jax.postprocess.gaps import make_fill_map
from avemo_jax.tasks import AU, EXPR, TASKS, VA, Task


def test_classes_without_a_frame_are_said(tmp_path, capsys):
    """For all labelled frames, and for those predicted, where more may lack."""
    labels = {v: np.where(y == 3, 0, y) for v, y in labels_of(EXPR).items()}
    root = write_annotations(tmp_path / "truth", EXPR, labels)
    path = as_csv(tmp_path / "predictions", EXPR, predicted_of(EXPR, labels))
    flags = [str(path), "--task=expr", f"--annotations={root}"]
    assert main([*flags, f"--json={tmp_path / 'scores.json'}"]) == 0
    told = "note: no frame of Fear: macro F1 cannot exceed 0.875\n"
    assert told in capsys.readouterr().out
    (found,) = json.loads((tmp_path / "scores.json").read_text())["files"]
    one = {"f1_macro": 0.875, "without_frames": ["Fear"]}
    assert found["ceiling"] == {"with_prediction": one, "all_labelled": one}


def ccc(x: np.ndarray, y: np.ndarray) -> float:
    """As the challenge defines it."""
    covariance = np.mean((x - x.mean()) * (y - y.mean()))
    return 2 * covariance / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)


def expected(task: Task, labels: dict, predicted: dict, frames: str = "all") -> dict:
    """The challenge's scores, by scikit-learn, of one prediction a frame."""
    truth = np.concatenate([labels[video] for video in sorted(labels)])
    scores = np.concatenate([predicted[video] for video in sorted(labels)])
    if task is VA:
        good = (truth >= -1).all(axis=1)
        values = [ccc(scores[good, i], truth[good, i].astype("f4")) for i in (0, 1)]
        return {
            "ccc_mean": np.mean(values),
            "ccc_valence": values[0],
            "ccc_arousal": values[1],
        }
    good = (truth >= 0).all(axis=1)
    truth = truth[good].astype(int)
    if task is EXPR:
        classes = scores[good].argmax(axis=1)
        how = {"labels": range(8), "average": None, "zero_division": 0}
        each = f1_score(truth[:, 0], classes, **how)
        return {
            "f1_macro": np.mean(each),
            "accuracy": accuracy_score(truth[:, 0], classes),
            "f1_per_class": dict(zip(EXPR.columns, each, strict=True)),
        }
    active = scores[good] >= 0.5
    each = [f1_score(truth[:, i], active[:, i], zero_division=0) for i in range(12)]
    return {
        "f1_mean": np.mean(each),
        "f1_per_unit": dict(zip(AU.columns, each, strict=True)),
    }


def run(*arguments: object) -> dict:
    """What the command writes as JSON."""
    path = pathlib.Path(str(arguments[-1])).parent / "scores.json"
    *most, _ = arguments
    assert main([*map(str, most), "--json", str(path)]) == 0
    return json.loads(path.read_text())


def fails(capsys, *arguments: object) -> str:
    """The error that the command ends with."""
    assert main(list(map(str, arguments))) == 1
    return capsys.readouterr().err


@pytest.fixture(params=list(TASKS))
def made(request, tmp_path):
    """A task, its labels, and annotations of them."""
    task = TASKS[request.param]
    labels = labels_of(task)
    return task, labels, write_annotations(tmp_path / "Annotations", task, labels)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_has_the_challenges_scores(made, tmp_path, form):
    task, labels, root = made
    predicted = predicted_of(task, labels)
    path = FORMS[form](tmp_path / "given", task, predicted)
    where = ["--task", task.name.lower(), "--annotations", root]
    report = run(path, *where, tmp_path / "x")
    (one,) = report["files"]
    for frames in ("with_prediction", "all_labelled"):
        block = one["scores"][frames]
        for name, value in expected(task, labels, predicted).items():
            assert block[name] == pytest.approx(value, abs=1e-7 if task is VA else 0)
    assert one["coverage"]["videos_missing"] == one["coverage"]["videos_surplus"] == []
    assert one["coverage"]["labelled_frames_missing"] == 0


@pytest.mark.parametrize("task", [EXPR, AU], ids=["EXPR", "AU"])
def test_our_predictions_are_scored_as_decided(tmp_path, task):
    labels = labels_of(task)
    root = write_annotations(tmp_path / "Annotations", task, labels)
    predicted = predicted_of(task, labels)
    table = table_of(task, LENGTHS)
    fill_map = make_fill_map(table.frame, table.row_offsets, table.num_frames)
    scores = np.concatenate(list(predicted.values())).astype("f4")
    limits = np.full(12, 0.3) if task is AU else None
    path = tmp_path / "predictions.csv"
    write_predictions(
        predictions_of(path, table, fill_map, scores, thresholds=limits, labels=False)
    )
    where = ["--task", task.name, "--annotations", root]
    (one,) = run(path, *where, tmp_path / "x")["files"]
    assert one["form"] == "predictions of this package"
    if task is AU:
        assert one["threshold"] == "as decided in the file"
        shifted = {v: p.astype("f4") + 0.2 for v, p in predicted.items()}
        value = expected(task, labels, shifted)["f1_mean"]
        half = expected(task, labels, predicted)["f1_mean"]
        assert one["scores"]["all_labelled"]["f1_mean"] == pytest.approx(value)
        assert one["scores"]["all_labelled"]["f1_mean_at_0.5"] == pytest.approx(half)
        (one,) = run(path, *where, "--thresholds", "0.5", tmp_path / "x")["files"]
        assert one["scores"]["all_labelled"]["f1_mean"] == pytest.approx(half)
    else:
        value = expected(task, labels, predicted)["f1_macro"]
        assert one["scores"]["all_labelled"]["f1_macro"] == pytest.approx(value)


def test_gaps_are_filled_and_missing_videos_are_neutral(tmp_path):
    labels = {"a": np.full((10, 1), 4.0), "b": np.zeros((5, 1))}
    root = write_annotations(tmp_path / "Annotations", EXPR, labels)
    lines = ["video,frame,expression", "a,3,Happiness", "a,7,1"]
    path = tmp_path / "some.csv"
    path.write_text("\n".join(lines) + "\n")
    report = run(path, "--task", "expr", "--annotations", root, tmp_path / "x")
    one = report["files"][0]
    # Frames 1 to 5 are nearest to 3; b counts as class 0.
    assert one["scores"]["all_labelled"]["accuracy"] == (5 + 5) / 15
    assert one["scores"]["with_prediction"]["accuracy"] == 1 / 2
    assert one["coverage"]["videos_missing"] == ["b"]
    assert one["coverage"]["labelled_frames_missing"] == 13
    assert one["per_video"][1]["with_prediction"] == {"num_frames": 0}
    assert one["per_video"][1]["all_labelled"]["accuracy"] == 1


def test_probabilities_are_interpolated(tmp_path):
    root = write_annotations(tmp_path / "A", VA, {"a": np.zeros((5, 2))})
    path = tmp_path / "some.csv"
    path.write_text("video,frame,valence,arousal\na,1,0,0.5\na,5,1,0.5\n")
    from avemo_jax.challenge.score.matching import match
    from avemo_jax.challenge.score.truth import read_truth
    from avemo_jax.data.predictions.reading import read_frame_predictions

    matched = match(read_truth(root, VA), read_frame_predictions(path, VA))
    np.testing.assert_allclose(matched.predicted[:, 0], [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(matched.predicted[:, 1], 0.5)


def test_lengths_that_differ_by_one_are_told(tmp_path, capsys):
    labels = labels_of(EXPR)
    root = write_annotations(tmp_path / "Annotations", EXPR, labels)
    predicted = predicted_of(EXPR, labels)
    predicted["360"] = np.concatenate([predicted["360"], predicted["360"][-1:]])
    predicted["video3_left"] = predicted["video3_left"][:-1]
    predicted["another"] = predicted["360"]
    path = npz_of_videos(tmp_path / "given", EXPR, predicted)
    report = run(path, "--task", "expr", "--annotations", root, tmp_path / "x")
    found = report["files"][0]["coverage"]
    assert found["videos_one_frame_longer"] == ["360"]
    assert found["videos_one_frame_shorter"] == ["video3_left"]
    assert found["videos_surplus"] == ["another"]
    assert found["frames_after_the_last_label"] == 1
    assert "one frame after the last label: 1 (360)" in capsys.readouterr().out


def test_intervals_and_files(made, tmp_path, capsys):
    task, labels, root = made
    path = as_csv(tmp_path / "given", task, predicted_of(task, labels))
    table = tmp_path / "scores.csv"
    where = ["--task", task.name.lower(), "--annotations", root, "--csv", table]
    (one,) = run(path, *where, "--ci", "--seed", 3, tmp_path / "x")["files"]
    again = run(path, *where, "--ci", "--seed", 3, tmp_path / "x")["files"][0]
    assert one == again
    block = one["scores"]["all_labelled"]
    low, high = block[f"{task.headline}_ci95"]
    assert low <= block[task.headline] <= high
    rows = list(csv.DictReader(table.read_text().splitlines()))
    chosen = [r for r in rows if r["score"] == task.headline and not r["video"]]
    assert [float(r["value"]) for r in chosen] == [
        one["scores"][frames][task.headline]
        for frames in ("with_prediction", "all_labelled")
    ]
    assert float(chosen[1]["ci95_low"]) == low
    ends = block[f"{task.headline}_bca95"]
    assert [float(chosen[1][f"bca95_{side}"]) for side in ("low", "high")] == ends
    assert ends[0] <= block[task.headline] <= ends[1]
    both = {"ci95": "percentile", "bca95": "BCa"}
    assert block["intervals"] == {"num_videos": len(LENGTHS), "methods": both}
    shown = f"95 % intervals by BCa are: {task.headline} [{ends[0]:.3f}, {ends[1]:.3f}]"
    assert shown in capsys.readouterr().out
    assert {r["video"] for r in rows} == {"", *LENGTHS}


def test_resampled_scores_are_those_of_the_drawn_videos():
    """A resample in which every video is drawn once has the score of all."""
    rng = np.random.default_rng(0)
    video = np.repeat(np.arange(4), 50)
    predicted, labels = rng.integers(0, 8, (2, 200))
    mask = rng.random(200) < 0.8
    states = video_states(EXPR, predicted, labels, mask, video, 5)
    drawn = states.resampled(0, 400)
    picks = np.random.default_rng(0).integers(0, 4, (400, 4))
    for row in (0, 7, 399):
        chosen = np.concatenate(
            [np.flatnonzero((video == v) & mask) for v in picks[row]]
        )
        value = f1_score(
            labels[chosen],
            predicted[chosen],
            labels=range(8),
            average="macro",
            zero_division=0,
        )
        assert drawn["f1_macro"][row] == pytest.approx(value, abs=1e-12)
    left_out = states.left_out()
    found = interval_of(states.together(), drawn, left_out)
    value, low, high, above, *_ = (each["f1_macro"] for each in found)
    assert low < value < high
    assert above == 1
    for i in range(4):  # the fifth has no frame, and is not left out
        rest = mask & (video != i)
        alone = video_states(EXPR, predicted, labels, rest).together()
        assert left_out["f1_macro"][i] == alone["f1_macro"]
    assert left_out["f1_macro"].shape == (4,)
    many = video_states(EXPR, predicted, labels, mask | True, np.arange(200) // 5, 40)
    assert many.left_out()["f1_macro"].shape == (0,)


def test_the_difference_of_two_files(made, tmp_path, capsys):
    task, labels, root = made
    first = predicted_of(task, labels, seed=1)
    second = predicted_of(task, labels, seed=2)
    paths = [
        as_csv(tmp_path / "one", task, first),
        npz_of_videos(tmp_path / "two", task, second),
    ]
    where = ["--task", task.name.lower(), "--annotations", root]
    found = run(*paths, *where, tmp_path / "x")["difference"]["all_labelled"]
    values = [expected(task, labels, each)[task.headline] for each in (first, second)]
    assert found[task.headline] == pytest.approx(values[0] - values[1], abs=1e-7)
    low, high = found[f"{task.headline}_ci95"]
    assert low <= found[task.headline] <= high
    assert 0 <= found[f"{task.headline}_share_above"] <= 1
    assert "difference:" in capsys.readouterr().out
    same = run(paths[0], paths[0], *where, tmp_path / "x")["difference"]["all_labelled"]
    assert same[task.headline] == 0
    assert same[f"{task.headline}_ci95"] == [0, 0]


def test_splits_and_lists(tmp_path, capsys):
    labels = labels_of(EXPR)
    root = write_annotations(tmp_path / "A", EXPR, {"1-30-64x48": labels["1-30-64x48"]})
    write_annotations(root, EXPR, {"360": labels["360"]}, "Train_Set")
    path = submission(tmp_path / "given", EXPR, predicted_of(EXPR, labels))
    where = ["--task", "expr", "--annotations", root]

    def videos(*more):
        return [
            row["video"]
            for row in run(path, *where, *more, tmp_path / "x")["files"][0]["per_video"]
        ]

    assert videos() == ["1-30-64x48"]
    assert videos("--split", "train") == ["360"]
    assert videos("--split", "all") == ["1-30-64x48", "360"]
    names = tmp_path / "list.txt"
    names.write_text("360\n")
    assert videos("--split-list", names) == ["360"]
    names.write_text("360\n361\n")
    assert "list.txt, line 2: '361'" in fails(
        capsys, path, *where, "--split-list", names
    )
    # The task's own folder, and the set's, will do.
    own = root / "EXPR_Classification_Challenge"
    where[-1] = own
    assert videos() == ["1-30-64x48"]
    where[-1] = own / "Train_Set"
    assert videos("--split", "train") == ["360"]
    # What a test set has for labels is scored only where it alone is given.
    invalid = {"1-30-64x48_left": np.full((3, 1), -1.0)}
    write_annotations(root, EXPR, invalid, "TEST_SET")
    for where[-1] in (root, own):
        assert videos("--split", "all") == ["1-30-64x48", "360"]
    where[-1] = own / "TEST_SET"
    assert "annotations of no validation video" in fails(capsys, path, *where)


def test_neither_jax_nor_a_device_is_loaded():
    code = (
        "import sys, avemo_jax.challenge.score.command\n"
        "heavy = {'jax', 'flax', 'tensorflow', 'torch', 'scipy'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_videos_in_another_order_of_bytes_and_folders(tmp_path):
    """Names with folders before them, and backslashes."""
    root = write_annotations(tmp_path / "A", EXPR, {"a": np.array([[1.0], [2.0]])})
    path = tmp_path / "given.csv"
    path.write_text(
        "image,expression\ncropped_aligned\\a\\00001.jpg,1\nx/y/a/00002.jpg,2\n"
    )
    (one,) = run(path, "--task", "EXPR", "--annotations", root, tmp_path / "x")["files"]
    assert one["scores"]["all_labelled"]["accuracy"] == 1


def test_a_folder_of_texts_ignores_nothing_silently(tmp_path):
    labels = labels_of(VA)
    root = write_annotations(tmp_path / "A", VA, labels)
    folder = text_folder(tmp_path / "given", VA, predicted_of(VA, labels))
    (folder / "notes.md").write_text("mine")
    (one,) = run(folder, "--task", "VA", "--annotations", root, tmp_path / "x")["files"]
    assert any("notes.md" in note for note in one["notes"])
