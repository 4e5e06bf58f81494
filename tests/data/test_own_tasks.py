"""Labels of a user's own: from two CSV files to a trained and scored head."""

import csv
import json

import numpy as np
import pyarrow.csv
import pytest
from made.own_labels import (
    CLASSES,
    DIM,
    FRAMES,
    NUM_VIDEOS,
    UNITS,
    VALUES,
    VIDEOS,
    made_features,
    made_material,
)
from sklearn.metrics import f1_score

from avemo_jax import experiment
from avemo_jax.config.fields import base_config
from avemo_jax.data.store.store import open_store
from avemo_jax.evaluation.report import scores_table
from avemo_jax.packing import command
from avemo_jax.tasks import EXPR, TASKS, definition, from_definition, own_task, register

TOTAL = NUM_VIDEOS * FRAMES


def build(folder, *flags):
    files = [f"--{name}={folder / name}.csv" for name in ("manifest", "labels")]
    places = [f"--features={folder / 'features'}", f"--out={folder / 'store'}"]
    assert command.main([*files, *places, "--quiet", *flags]) == 0
    return open_store(folder / "store")


def trained(folder, head="mlp", run="run", /, **changes):
    config = base_config("own", head, "look")
    config.data.dir = str(folder / "store")
    config.workdir = str(folder / run)
    config.num_epochs = 3
    config.batch_size = 64
    config.learning_rate = 0.02
    config.evaluate.num_resamples = 20
    config.postprocess.half_widths = (2,)
    config.log.progress = config.log.tensorboard = False
    with config.unlocked():
        for name, value in changes.items():
            config[name].update(value)
    return experiment.run_experiment(config)


@pytest.fixture(scope="module")
def hidden():
    rng = np.random.default_rng(3)
    return np.repeat(rng.standard_normal((TOTAL // 5, DIM)), 5, axis=0)


@pytest.fixture(scope="module")
def mood(tmp_path_factory, hidden):
    """Three classes; a tenth of the frames is without one."""
    folder = tmp_path_factory.mktemp("mood")
    cells = [CLASSES[c] for c in hidden[:, :3].argmax(axis=1)]
    cells[::10] = [""] * len(cells[::10])
    made_material(folder, {"mood": cells})
    made_features(folder, hidden)
    build(folder)
    return folder, cells


def test_a_store_of_classes(mood):
    folder, cells = mood
    store = open_store(folder / "store")
    assert list(store.tasks) == ["mood"]
    task = store.task("mood")
    assert (task.kind, task.columns, task.num_outputs) == ("multiclass", CLASSES, 3)
    table = store.load_table("mood", "validation", ["look"])
    assert table.videos == VIDEOS[6:]
    expected = [-1 if not c else CLASSES.index(c) for c in cells[6 * FRAMES :]]
    np.testing.assert_array_equal(table.labels, expected)
    assert table.source_videos == ("person3", "person3")
    # dev: one of the three persons of train, with both videos
    dev = store.split_videos("mood", "dev")
    assert dev in (VIDEOS[:2], VIDEOS[2:4], VIDEOS[4:6])
    assert len(store.split_videos("mood", "train")) == 4
    card = (folder / "store" / "README.md").read_text()
    assert "configs/own_mlp.py:look" in card
    assert "| keen" in card
    assert "Aff-Wild2" not in card
    with pytest.raises(ValueError, match=r"unknown task 'EXPR'.*expected one of mood"):
        store.split_of("EXPR")


@pytest.mark.slow
def test_classes_are_trained_scored_and_drawn(mood):
    folder, cells = mood
    found = trained(folder)
    assert found["task"] == "mood"
    smoothed = found["metrics"]["smoothed"]["with_crop"]
    assert set(smoothed["f1_per_class"]) == set(CLASSES)
    assert smoothed["f1_macro"] > 0.6
    assert "shared_groups" not in found
    assert (found["chosen_on"], found["chosen_by"]) == ("dev", "frame")
    assert found["metrics"].keys() == {"raw", "smoothed", "tuned_on_reported"}
    assert not (folder / "run" / "predictions_by_video.csv").exists()
    assert (folder / "run" / "plots" / "confusion.png").is_file()
    with (folder / "run" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[4:] == ["mood", *CLASSES, "label_mood"]
    truth = cells[6 * FRAMES :]
    assert [row["label_mood"] for row in rows] == truth
    pairs = [(row["mood"], t) for row, t in zip(rows, truth, strict=True) if t]
    own = f1_score(*zip(*[(t, d) for d, t in pairs], strict=True), average="macro")
    assert smoothed["f1_macro"] == pytest.approx(own, abs=1e-5)
    told = (folder / "run" / "predictions.csv").read_text().splitlines()
    assert len(told) == 1 + 2 * FRAMES
    # Another process, in which no store was opened before:
    card = json.loads((folder / "run" / "best_model" / "head.json").read_text())
    assert from_definition(card["own_task"]).columns == CLASSES
    again = experiment.evaluate_checkpoint(
        folder / "run" / "best_model",
        data_dir=str(folder / "store"),
        split="validation",
        workdir=folder / "again",
    )
    assert again["metrics"] == found["metrics"]


@pytest.mark.slow
def test_labels_of_whole_videos(tmp_path, caplog):
    """Scored and chosen by video too; what has no frame is said."""
    rng = np.random.default_rng(4)
    classes = np.repeat([0, 1, 2, 0, 1, 2, 0, 2], FRAMES)
    cells = [CLASSES[c] for c in classes]
    hidden = 0.9 * np.eye(DIM)[classes] + 0.7 * rng.standard_normal((TOTAL, DIM))
    made_material(tmp_path, {"mood": cells})
    made_features(tmp_path, hidden)
    lines = [f"{v},{cells[i * FRAMES]}\n" for i, v in enumerate(VIDEOS)]
    (tmp_path / "labels.csv").write_text("video,mood\n" + "".join(lines))
    build(tmp_path)
    caplog.set_level("INFO")
    found = trained(tmp_path)
    lacking = "no frame of calm: macro F1 cannot exceed 0.667"
    assert f"validation, mood: {lacking}" in caplog.text
    assert "dev, mood: no frame of " in caplog.text
    assert "mood: labels are of whole videos, by which all is chosen on" in caplog.text
    ceiling = {"f1_macro": pytest.approx(2 / 3), "without_frames": ["calm"]}
    assert found["ceiling"] == {"with_crop": ceiling, "all_labelled": ceiling}
    assert (found["chosen_on"], found["chosen_by"]) == ("dev", "video")
    told = pyarrow.csv.read_csv(tmp_path / "run" / "predictions.csv").to_pylist()
    truth = ("bored", "keen")
    by_name = {v: [r for r in told if r["video"] == v] for v in VIDEOS[6:]}
    probs = [[[r[c] for c in CLASSES] for r in rows] for rows in by_name.values()]
    means = np.mean(probs, axis=1)
    decided = [CLASSES[i] for i in means.argmax(axis=1)]
    expected = f1_score(
        truth, decided, labels=CLASSES, average="macro", zero_division=0
    )
    metrics = found["metrics"]
    by_video = metrics["per_video"]["with_crop"]
    assert by_video["f1_macro"] == pytest.approx(expected)
    assert by_video["f1_macro"] != metrics["smoothed"]["with_crop"]["f1_macro"]
    assert (by_video["num_videos"], by_video["num_frames"]) == (2, 2 * FRAMES)
    assert len(by_video["f1_macro_ci95"]) == 2
    assert metrics["per_video"]["all_labelled"]["num_videos"] == 2
    path = tmp_path / "run" / "predictions_by_video.csv"
    rows = pyarrow.csv.read_csv(path).to_pylist()
    assert [(r["video"], r["mood"], r["label_mood"]) for r in rows] == [
        (VIDEOS[6], decided[0], truth[0]),
        (VIDEOS[7], decided[1], truth[1]),
    ]
    np.testing.assert_allclose(
        [[r[c] for c in CLASSES] for r in rows], means, atol=2e-6
    )
    assert rows[0]["num_frames"] == FRAMES
    words = scores_table(found)
    assert lacking in words
    assert "per_video, " in words
    assert "window chosen on dev, by whole videos." in words


@pytest.mark.slow
@pytest.mark.parametrize("labels", ["", "video,frame,mood\n"])
def test_a_store_to_predict_needs_no_labels(mood, tmp_path, labels, capsys):
    """Test videos alone; the head knows its task and the classes."""
    folder, _ = mood
    trained(folder)
    lines = ["video,split", *(f"{video},test" for video in VIDEOS[6:])]
    (tmp_path / "manifest.csv").write_text("\n".join(lines))
    flags = ["--manifest", tmp_path / "manifest.csv", "--out", tmp_path / "store"]
    if labels:
        (tmp_path / "labels.csv").write_text(labels)
        flags += ["--labels", tmp_path / "labels.csv"]
    flags += ["--features", folder / "features", "--quiet"]
    assert command.main([*map(str, flags)]) == 0
    assert "a store to predict, with 2 videos" in capsys.readouterr().out
    store = open_store(tmp_path / "store")
    assert (store.tasks, store.has_own_tasks) == ({}, True)
    card = (tmp_path / "store" / "README.md").read_text()
    assert "\n# Features of videos to predict\n" in card
    assert "--data-dir DIR --split test" in card

    def evaluate(split):
        return experiment.evaluate_checkpoint(
            folder / "run" / "best_model",
            data_dir=str(tmp_path / "store"),
            split=split,
            workdir=tmp_path / "out",
        )

    found = evaluate("test")
    assert "metrics" not in found
    assert found["counts"]["test"]["videos"] == 2
    said = capsys.readouterr().out
    assert "test has no labels, so there is nothing to score: predictions only" in said
    assert not (tmp_path / "out" / "plots").exists()
    with (tmp_path / "out" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    with (folder / "run" / "predictions.csv").open() as file:
        scored = list(csv.DictReader(file))
    for row in scored:
        del row["label_mood"]
    assert rows == scored
    with pytest.raises(
        ValueError, match=r"no labels, only 2 videos to predict; .*test"
    ):
        evaluate("validation")
    config = base_config("own", "mlp", "look")
    config.data.dir = str(tmp_path / "store")
    with pytest.raises(
        ValueError, match=r"no labels, only videos to predict; .*--labe"
    ):
        experiment.run_experiment(config)


def test_videos_to_train_by_need_labels(tmp_path, capsys):
    (tmp_path / "manifest.csv").write_text("video,split\na,test\nb,train\n")
    flags = ["--manifest", str(tmp_path / "manifest.csv"), "--out", str(tmp_path / "s")]
    assert command.main(flags) == 1
    told = capsys.readouterr().err
    assert "manifest.csv, line 3: 'b' is in 'train' and there are no --labels" in told
    assert command.main([*flags, "--classes", "a,b"]) == 1
    assert "--classes without --labels" in capsys.readouterr().err


@pytest.mark.release
def test_transformer_folds_and_correction_of_classes(mood):
    folder, _ = mood
    found = trained(
        folder,
        "transformer",
        "folds",
        data={"folds": 3},
        head={"num_layers": 1, "window": 32},
        train={"window_stride": 16},
        loss={"logit_adjustment": 1.0},
        postprocess={"correction": "prior"},
    )
    assert found["num_folds"] == 3


@pytest.mark.release
def test_units(tmp_path, hidden):
    cells = {u: [str(int(v > 0.3)) for v in hidden[:, i]] for i, u in enumerate(UNITS)}
    cells[UNITS[0]][3] = ""
    made_material(tmp_path, cells)
    made_features(tmp_path, hidden)
    manifest = tmp_path / "manifest.csv"
    known = manifest.read_text().replace("validation,person3", "validation,person0")
    manifest.write_text(known)
    store = build(tmp_path, "--task=signs=multilabel", "--allow-shared-groups")
    dense = store._annotated[VIDEOS[0]].labels["signs"]
    assert dense.shape == (FRAMES, 5)
    assert dense[3, 0] == -1
    assert dense[3, 1] >= 0
    found = trained(tmp_path)
    (shared,) = found["shared_groups"].items()
    assert shared[0] == "person0"
    assert shared[1][-1] == "validation"
    scores = found["metrics"]["smoothed"]["with_crop"]
    assert set(scores["f1_per_unit"]) == set(scores["thresholds"]) == set(UNITS)
    assert scores["f1_mean"] > 0.6
    assert (tmp_path / "run" / "plots" / "f1_per_unit.png").is_file()


@pytest.mark.release
@pytest.mark.parametrize("count", [1, pytest.param(3, marks=pytest.mark.release)])
def test_values(tmp_path, hidden, count):
    values = 50 + 40 * np.tanh(hidden[:, :count])
    names = VALUES[:count]
    cells = {n: [f"{v:.2f}" for v in values[:, i]] for i, n in enumerate(names)}
    cells["pain"][-1] = ""
    made_material(tmp_path, cells)
    made_features(tmp_path, hidden)
    store = build(tmp_path, f"--task=scale{count}=regression", "--range=0,100")
    table = store.load_table(f"scale{count}", "validation", ["look"])
    assert np.isnan(table.labels[-1, 0])
    assert not table.valid[-1]
    np.testing.assert_allclose(
        table.task.in_units(table.labels[:-1]), values[6 * FRAMES : -1], atol=0.01
    )
    found = trained(tmp_path)
    scores = found["metrics"]["smoothed"]["with_crop"]
    each = [scores[f"ccc_{name}"] for name in names]
    assert scores["ccc_mean"] == pytest.approx(np.mean(each), abs=1e-6)
    assert scores["ccc_mean"] > 0.5
    assert (tmp_path / "run" / "plots" / "timeline.png").is_file()
    told = pyarrow.csv.read_csv(tmp_path / "run" / "predictions.csv")
    assert told.column_names[4:] == [*names, *(f"label_{n}" for n in names)]
    assert told["label_pain"].to_pylist()[0] == pytest.approx(
        float(cells["pain"][6 * FRAMES]), abs=1e-3
    )
    assert 0 <= min(told["pain"].to_pylist()) < max(told["pain"].to_pylist()) <= 100
    assert np.mean(told["pain"].to_pylist()) > 10


def test_official_tasks_keep_their_names_and_are_never_replaced():
    before = dict(TASKS)
    with pytest.raises(ValueError, match=r"task name 'expr'.*choose another"):
        own_task("expr", "multiclass", ("a", "b"))
    one = own_task("drowsy", "multiclass", ("no", "yes"))
    assert register(one) is one
    assert register(from_definition(json.loads(json.dumps(definition(one))))) == one
    with pytest.raises(ValueError, match=r"'drowsy'.*another one than"):
        register(own_task("drowsy", "multiclass", ("no", "yes", "very")))
    with pytest.raises(ValueError, match=r"'EXPR'.*another one than"):
        register(type(EXPR)(**{**vars(EXPR), "columns": EXPR.columns[:3]}))
    assert before == TASKS


def test_two_tasks_in_one_file(tmp_path, hidden):
    classes = [CLASSES[c] for c in hidden[:, :3].argmax(axis=1)]
    cells = {"mood": classes, "pain": [f"{np.tanh(v):.3f}" for v in hidden[:, 3]]}
    made_material(tmp_path, cells)
    made_features(tmp_path, hidden)
    flags = ["--task=face=multiclass:mood", "--task=hurt=regression:pain"]
    store = build(tmp_path, *flags, "--classes=face=keen,calm,bored")
    assert store.task("face").columns == ("keen", "calm", "bored")
    assert store.load_table("hurt", "train", ["look"]).labels.shape[1:] == (1,)
    config = base_config("own", "mlp", "look")
    config.data.dir = str(tmp_path / "store")
    config.workdir = str(tmp_path / "run")
    with pytest.raises(ValueError, match=r"'own' and .* has face, hurt; .*task=face"):
        experiment.run_experiment(config)
