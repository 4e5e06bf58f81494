"""Several submissions at once: predictions of any form, means of them, models."""

import csv
import dataclasses
import pathlib
import pickle
import shutil

import numpy as np
import pytest
from made.stores import annotated, source, vectors
from made.submissions import LENGTHS, predicted, rows_of

from avemo_jax.batches.tables import open_data
from avemo_jax.challenge.submit.command import main
from avemo_jax.challenge.submit.sources import parse_submissions
from avemo_jax.config.fields import base_config
from avemo_jax.models.card import read_card, write_card
from avemo_jax.packing.build import build_store
from avemo_jax.tasks import AU, EXPR, TASKS, VA
from avemo_jax.training.train import train

VIDEOS = tuple(LENGTHS)


def submit(folder: pathlib.Path, *flags: str, task: str = "EXPR") -> int:
    names = folder / "test.txt"
    names.write_text("\n".join(VIDEOS) + "\n")
    return main([*flags, "--test-list", f"{task}={names}", "--out", str(folder / "s")])


def values(path: pathlib.Path) -> np.ndarray:
    with path.open(encoding="utf-8") as file:
        return np.array([row[1:] for row in list(csv.reader(file))[1:]], float)


def scores(path: pathlib.Path, task) -> np.ndarray:
    """Of every row of a predictions file, in the order of the list."""
    rows = rows_of(path)
    rows.sort(key=lambda row: (VIDEOS.index(row["video"]), int(row["frame"])))
    return np.array([[float(row[name]) for name in task.columns] for row in rows])


def test_two_of_one_task_each_in_its_folder(tmp_path, capsys):
    a = predicted(tmp_path / "a.csv", EXPR, seed=1)
    b = predicted(tmp_path / "b.csv", EXPR, seed=2)
    assert not submit(tmp_path, "--submission", f"one={a}", "--submission", f"two={b}")
    for name, path in (("one", a), ("two", b)):
        found = values(tmp_path / "s" / name / "EXPR.txt")
        np.testing.assert_array_equal(found[:, 0], scores(path, EXPR).argmax(axis=1))
    assert "the very same" not in capsys.readouterr().out


def test_mean_of_probabilities_by_weight(tmp_path):
    a = predicted(tmp_path / "a.csv", EXPR, seed=1)
    b = predicted(tmp_path / "b.csv", EXPR, seed=2)
    assert not submit(tmp_path, "--submission", f"mix={a}*3, {b}")
    mean = (3 * scores(a, EXPR) + scores(b, EXPR)) / 4
    found = values(tmp_path / "s/mix/EXPR.txt")[:, 0]
    np.testing.assert_array_equal(found, mean.argmax(axis=1))
    assert (found != scores(a, EXPR).argmax(axis=1)).any()


def test_mean_of_units_is_decided_at_the_mean_threshold(tmp_path):
    limits = {"a": np.full(12, 0.3, np.float32), "b": np.full(12, 0.5, np.float32)}
    lengths = {video: 400 for video in VIDEOS}
    paths = [
        predicted(
            tmp_path / f"{n}.csv", AU, seed=i, thresholds=limits[n], lengths=lengths
        )
        for i, n in enumerate("ab")
    ]
    sources = ",".join(map(str, paths))
    assert not submit(tmp_path, "--submission", f"mix={sources}", task="AU")
    mean = (scores(paths[0], AU) + scores(paths[1], AU)) / 2
    found = values(tmp_path / "s/mix/AU.txt")
    np.testing.assert_array_equal(found, mean >= 0.4)
    given = ["--thresholds", "0.7", "--submission", f"high={sources}"]
    assert not submit(tmp_path, *given, task="AU")
    np.testing.assert_array_equal(values(tmp_path / "s/high/AU.txt"), mean >= 0.7)


def test_members_without_thresholds_count_as_a_half_and_it_is_said(tmp_path, capsys):
    limits = np.full(12, 0.3, np.float32)
    a, b = (
        predicted(tmp_path / f"{n}.csv", AU, seed=i, thresholds=limits)
        for i, n in enumerate("ab")
    )
    (tmp_path / "b.json").unlink()
    assert not submit(tmp_path, "--submission", f"mix={a},{b}", task="AU")
    mean = (scores(a, AU) + scores(b, AU)) / 2
    np.testing.assert_array_equal(values(tmp_path / "s/mix/AU.txt"), mean >= 0.4)
    assert f"no thresholds of {b}: 0.5 in the mean" in capsys.readouterr().out


def test_scores_alone_are_decided_at_a_half_and_it_is_said(tmp_path, capsys):
    rng = np.random.default_rng(0)
    arrays = {video: rng.random((n, 12)) for video, n in LENGTHS.items()}
    np.savez(tmp_path / "a.npz", **arrays)
    flags = ["--submission", f"one={tmp_path / 'a.npz'}", "--task", "au"]
    assert not submit(tmp_path, *flags, task="AU")
    expected = np.concatenate([arrays[video] for video in VIDEOS]) >= 0.5
    np.testing.assert_array_equal(values(tmp_path / "s/one/AU.txt"), expected)
    said = capsys.readouterr().out
    assert "a.npz has neither thresholds nor decisions: decided at 0.5" in said


def test_mean_of_values(tmp_path):
    a = predicted(tmp_path / "a.csv", VA, seed=1)
    b = predicted(tmp_path / "b.csv", VA, seed=2)
    assert not submit(tmp_path, "--submission", f"mix={a},{b}", task="VA")
    mean = (scores(a, VA) + scores(b, VA)) / 2
    np.testing.assert_allclose(values(tmp_path / "s/mix/VA.txt"), mean, atol=1e-6)


def test_frames_that_one_member_lacks_are_the_others(tmp_path):
    a = predicted(tmp_path / "a.csv", VA, seed=1)
    only = {VIDEOS[0]: [2, 3]}
    b = predicted(tmp_path / "b.csv", VA, seed=2, keep=only)
    assert not submit(tmp_path, "--submission", f"mix={a},{b}", task="VA")
    expected = scores(a, VA)
    expected[1:3] = (expected[1:3] + scores(b, VA)) / 2
    np.testing.assert_allclose(values(tmp_path / "s/mix/VA.txt"), expected, atol=1e-6)


def test_other_forms_need_a_task(tmp_path, capsys):
    rng = np.random.default_rng(0)
    arrays = {v: rng.random((n, 8)).astype(np.float32) for v, n in LENGTHS.items()}
    arrays = {v: a / a.sum(axis=1, keepdims=True) for v, a in arrays.items()}
    np.savez(tmp_path / "a.npz", **arrays)
    by_image = {
        f"{video}/{i + 1:05d}.jpg": row
        for video, rows in arrays.items()
        for i, row in enumerate(rows)
    }
    (tmp_path / "b.pkl").write_bytes(pickle.dumps(by_image))
    flags = [
        "--submission",
        f"n={tmp_path}/a.npz",
        "--submission",
        f"p={tmp_path}/b.pkl",
    ]
    assert submit(tmp_path, *flags) == 1
    assert "a.npz does not tell its task" in capsys.readouterr().err
    assert not submit(tmp_path, *flags, "--task", "expr")
    expected = np.concatenate([arrays[video] for video in VIDEOS]).argmax(axis=1)
    for name in "np":
        found = values(tmp_path / "s" / name / "EXPR.txt")[:, 0]
        np.testing.assert_array_equal(found, expected)
    printed = capsys.readouterr().out
    assert "s/p/EXPR.txt says the very same as" in printed


def test_submission_file_is_submitted_again(tmp_path):
    a = predicted(tmp_path / "a.csv", AU, seed=1)
    assert not submit(tmp_path, "--submission", f"one={a}", task="AU")
    first = tmp_path / "s/one/AU.txt"
    assert not submit(tmp_path, "--submission", f"again={first}", task="AU")
    assert (tmp_path / "s/again/AU.txt").read_bytes() == first.read_bytes()


def test_several_tasks_in_one_submission(tmp_path):
    flags = []
    for name, task in TASKS.items():
        predicted(tmp_path / f"{name}.csv", task)
        (tmp_path / f"{name}.txt").write_text("\n".join(VIDEOS))
        flags += ["--test-list", f"{name}={tmp_path}/{name}.txt"]
    sources = ",".join(f"{tmp_path}/{name}.csv" for name in TASKS)
    out = tmp_path / "out"
    assert not main([*flags, "--submission", f"x={sources}", "--out", str(out)])
    assert {path.name for path in (out / "x").iterdir()} == {
        f"{name}.txt" for name in TASKS
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A head trained on a real store with unlabelled videos, and the store."""
    root = tmp_path_factory.mktemp("submissions")
    records = [annotated(f"v{i}", 30, "train", seed=i) for i in range(4)]
    frames = {r.video: list(range(1, 31)) for r in records}
    frames |= {video: list(range(1, n + 1)) for video, n in LENGTHS.items()}
    face = source("face@112", "visual", vectors("face", frames, 6))
    build_store(root / "store", records, [face], show_progress=False)
    config = base_config("EXPR", "mlp", "face")
    config.num_epochs, config.batch_size = 1, 16
    config.postprocess.half_widths = (2,)
    config.log.progress = config.log.tensorboard = False
    train(config, open_data(str(root / "store")), root / "run")
    return root


@pytest.mark.slow
def test_models_predict_the_test_videos(run, tmp_path, capsys):
    best = run / "run" / "best_model"
    other = predicted(tmp_path / "b.csv", EXPR, seed=2)
    assert not submit(
        tmp_path,
        *("--submission", f"model={best}", "--submission", f"mix={best},{other}"),
        *("--data-dir", str(run / "store")),
    )
    made = tmp_path / "s/model/predicted_0/predictions.csv"
    found = values(tmp_path / "s/model/EXPR.txt")[:, 0]
    np.testing.assert_array_equal(found, scores(made, EXPR).argmax(axis=1))
    mean = (scores(made, EXPR) + scores(other, EXPR)) / 2
    mixed = values(tmp_path / "s/mix/EXPR.txt")[:, 0]
    np.testing.assert_array_equal(mixed, mean.argmax(axis=1))
    assert submit(tmp_path, "--submission", f"model={run / 'run'}") == 1
    assert f"give {best}" in capsys.readouterr().err


@pytest.mark.release
def test_folds_predict_the_test_videos_together(run, tmp_path, capsys):
    halves = (("v0", "v1"), ("v2", "v3"))
    for fold, mine in enumerate(halves):
        best = run / "folds" / f"fold_{fold}" / "best_model"
        shutil.copytree(run / "run" / "best_model", best)
        card = read_card(best)
        config = {**card.config, "data": {**card.config["data"], "folds": 2}}
        videos = {"dev_videos": mine, "training_videos": halves[1 - fold]}
        own = dataclasses.replace(card, config=config, **videos)
        write_card(best / "head.json", own)
    flags = ["--submission", f"f={run / 'folds'}", "--data-dir", str(run / "store")]
    assert submit(tmp_path, *flags) == 1
    assert "add --ensemble folds" in capsys.readouterr().err
    assert not submit(tmp_path, *flags, "--ensemble", "folds")
    made = tmp_path / "s/f/predicted_0"
    assert '"over": "folds"' in (made / "results.json").read_text()
    found = values(tmp_path / "s/f/EXPR.txt")[:, 0]
    expected = scores(made / "predictions.csv", EXPR).argmax(axis=1)
    np.testing.assert_array_equal(found, expected)


# --- Mistakes -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.csv", "NAME=SOURCE"),
        ("=a.csv", "NAME=SOURCE"),
        ("x/y=a.csv", "which a folder in --out will have"),
        ("..=a.csv", "which a folder in --out will have"),
        ("x=a.csv,,b.csv", "NAME=SOURCE"),
        ("x=a.csv*0", "weight 0 of a.csv"),
    ],
)
def test_wrong_flags(text, expected):
    with pytest.raises(ValueError, match="--submission") as caught:
        parse_submissions([text])
    assert expected in str(caught.value)


def test_a_name_twice():
    with pytest.raises(ValueError, match="'x=b' again"):
        parse_submissions(["x=a", "x=b"])


def test_a_sixth_is_refused_before_anything_is_written(tmp_path, capsys):
    path = predicted(tmp_path / "a.csv", EXPR)
    flags = [f"--submission=n{i}={path}" for i in range(6)]
    assert submit(tmp_path, *flags) == 1
    assert "6 submissions of EXPR; expected 5 at most" in capsys.readouterr().err
    assert not (tmp_path / "s").exists()
    assert not submit(tmp_path, *flags[:5])


def test_decisions_have_no_mean(tmp_path, capsys):
    a = predicted(tmp_path / "a.csv", EXPR)
    assert not submit(tmp_path, "--submission", f"one={a}")
    text = tmp_path / "s/one/EXPR.txt"
    assert submit(tmp_path, "--submission", f"mix={a},{text}") == 1
    assert "EXPR.txt has decisions only" in capsys.readouterr().err


def test_submissions_of_other_lengths(tmp_path, capsys):
    a = predicted(tmp_path / "a.csv", EXPR)
    longer = {**LENGTHS, VIDEOS[0]: LENGTHS[VIDEOS[0]] + 1}
    b = predicted(tmp_path / "b.csv", EXPR, lengths=longer)
    assert submit(tmp_path, "--submission", f"a={a}", "--submission", f"b={b}") == 1
    assert "give --frames or --example" in capsys.readouterr().err


def test_missing_file_and_wrong_task(tmp_path, capsys):
    assert submit(tmp_path, "--submission", f"a={tmp_path}/none.csv") == 1
    assert "there is no" in capsys.readouterr().err
    path = predicted(tmp_path / "a.csv", EXPR)
    assert submit(tmp_path, "--submission", f"a={path}", "--task", "face") == 1
    assert "--task face; expected one of EXPR, AU, VA" in capsys.readouterr().err
    assert (
        submit(tmp_path, "--submission", f"a={path}", "--predictions", str(path)) == 1
    )
    assert "expected --predictions FILE (or --submission" in capsys.readouterr().err
