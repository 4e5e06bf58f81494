"""Means over seeds and folds: the scores, what they are chosen on, and mistakes."""

import dataclasses
import json
import pathlib
import shutil

import numpy as np
import pytest
from made.stores import annotated, source, vectors

from avemo_jax import experiment
from avemo_jax.batches.tables import fold_data, open_data
from avemo_jax.config.fields import base_config
from avemo_jax.evaluation.evaluate import evaluate
from avemo_jax.models import blend, ensembles
from avemo_jax.models.blend import load_heads
from avemo_jax.models.card import CheckpointError
from avemo_jax.packing.build import build_store
from avemo_jax.training.train import train

LENGTH, FOLDS, SEEDS = 30, 3, 2
BUDGET = 10**9


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    root = tmp_path_factory.mktemp("ensembles") / "store"
    splits = {f"v{i}": ("train", "validation")[i > 5] for i in range(8)}
    records = [
        annotated(video, LENGTH, split, seed=i)
        for i, (video, split) in enumerate(splits.items())
    ]
    frames = {video: list(range(1, LENGTH)) for video in splits}
    frames |= {"unlabelled": list(range(1, LENGTH))}
    face = source("face@112", "visual", vectors("face", frames, 6))
    build_store(root, records, [face], show_progress=False)
    return root


def config_of(store: pathlib.Path, workdir: pathlib.Path, *, folds: int):
    config = base_config("EXPR", "mlp", "face")
    config.data.dir, config.workdir = str(store), str(workdir)
    config.data.folds, config.num_seeds = folds, SEEDS
    config.num_epochs, config.batch_size = 2, 16
    config.postprocess.half_widths = (1, 3)
    config.evaluate.num_resamples = 10
    config.log.progress = config.log.tensorboard = False
    return config


@pytest.fixture(scope="module")
def folds_run(store, tmp_path_factory):
    """A run whose first fold is evaluated too."""
    workdir = tmp_path_factory.mktemp("folds") / "run"
    config = config_of(store, workdir, folds=FOLDS)
    for fold in range(FOLDS):
        config.data.fold = fold
        data, own = fold_data(open_data(str(store)), config), workdir / f"fold_{fold}"
        own.mkdir(parents=True)
        best = train(config, data, own)
        if fold == 0:
            evaluate(load_heads(best), data, own, update_card=True)
    return workdir


def read(path: pathlib.Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def of_fold(folds_run, store, number: int, split: str):
    """Scores of one fold's seeds, as they are alone: (seeds, rows, outputs)."""
    model = load_heads(folds_run / f"fold_{number}" / "best_model")
    predicted = blend.scores_by_head(model, open_data(str(store)), split, BUDGET)
    return predicted.table, predicted.scores[0]


@pytest.mark.slow
def test_folds_are_averaged_for_each_seed(folds_run, store):
    model = ensembles.load_ensemble(folds_run, "folds")
    data = open_data(str(store))
    found = ensembles.split_scores(model, data, "validation", BUDGET)
    alone = [of_fold(folds_run, store, i, "validation")[1] for i in range(FOLDS)]
    assert found.scores.shape == (1, SEEDS, *alone[0].shape[1:])
    np.testing.assert_allclose(found.scores[0], np.mean(alone, axis=0), atol=1e-6)
    assert np.abs(alone[0] - alone[1]).max() > 1e-3


@pytest.mark.slow
def test_seeds_are_averaged(folds_run, store):
    best = folds_run / "fold_0" / "best_model"
    model = ensembles.load_ensemble(best, "seeds")
    found = ensembles.split_scores(model, open_data(str(store)), "validation", BUDGET)
    _, alone = of_fold(folds_run, store, 0, "validation")
    assert found.scores.shape == (1, 1, *alone.shape[1:])
    np.testing.assert_allclose(found.scores[0, 0], alone.mean(axis=0), atol=1e-6)


@pytest.mark.slow
def test_out_of_fold_scores_are_of_heads_that_did_not_see_the_video(folds_run, store):
    model = ensembles.load_ensemble(folds_run, "folds")
    found = ensembles.out_of_fold(model, open_data(str(store)), BUDGET)
    table = found.table
    assert table.videos == tuple(f"v{i}" for i in range(6))
    seen = 0
    for number in range(FOLDS):
        card = read(folds_run / f"fold_{number}" / "best_model" / "head.json")
        own, alone = of_fold(folds_run, store, number, "train+dev")
        assert own.videos == table.videos
        for video in card["dev_videos"]:
            assert video not in card["training_videos"]
            low, high = table.row_offsets[table.videos.index(video) :][:2]
            np.testing.assert_allclose(
                found.scores[0, :, low:high], alone[:, low:high], atol=1e-6
            )
            seen += high - low
    assert seen == table.num_rows


@pytest.mark.release
def test_evaluation_of_folds(folds_run, store):
    found = experiment.evaluate_checkpoint(
        folds_run,
        data_dir=str(store),
        split="validation",
        workdir=None,
        ensemble="folds",
    )
    out = folds_run / "evaluation-validation-folds"
    assert read(out / "results.json") == found
    assert found["ensemble"] == {
        "over": "folds",
        "heads": FOLDS * SEEDS,
        "seeds": [0, 1],
        "folds": FOLDS,
    }
    assert found["num_seeds"] == SEEDS
    assert "left it out" in found["chosen_on"]
    assert not found["trained_on_this_split"]
    assert len(found["per_seed"]) == SEEDS
    assert len((out / "predictions.csv").read_text().splitlines()) == 1 + 2 * LENGTH
    assert (out / "plots" / "confusion.png").is_file()
    # What was chosen for single heads stays as it was.
    card = read(folds_run / "fold_0" / "best_model" / "head.json")
    assert card["selection"]["chosen_on"] == "dev"


@pytest.mark.release
def test_evaluation_of_seeds_chooses_on_dev_anew(store, tmp_path, capsys):
    data = open_data(str(store))
    workdir = tmp_path / "run"
    config = config_of(store, workdir, folds=0)
    train(config, data, workdir)
    experiment.evaluate_checkpoint(
        workdir / "best_model",
        data_dir=str(store),
        split="validation",
        workdir=None,
        ensemble="seeds",
    )
    found = read(workdir / "evaluation-validation-seeds" / "results.json")
    assert found["ensemble"] == {"over": "seeds", "heads": SEEDS, "seeds": [0, 1]}
    assert found["num_seeds"] == 1
    assert found["chosen_on"] == "dev"
    assert "mean scores of 2 heads, over seeds" in capsys.readouterr().out
    model = ensembles.load_ensemble(workdir / "best_model", "seeds")
    predicted = ensembles.split_scores(model, data, "validation", BUDGET)
    decided = predicted.scores[0, 0].argmax(axis=1)
    valid = predicted.table.valid
    right = (decided == predicted.table.labels)[valid].mean()
    accuracy = found["metrics"]["raw"]["with_crop"]["accuracy"]
    assert accuracy == pytest.approx(right, abs=1e-6)


@pytest.mark.slow
def test_unlabelled_videos_are_predicted_by_all_folds(folds_run, store, tmp_path):
    found = experiment.evaluate_checkpoint(
        folds_run,
        data_dir=str(store),
        split="test",
        workdir=tmp_path,
        ensemble="folds",
    )
    assert "metrics" not in found
    lines = (tmp_path / "predictions.csv").read_text().splitlines()
    assert len(lines) == LENGTH  # its last frame has no row, and no label tells of it


# --- Mistakes -------------------------------------------------------------------------


@pytest.mark.slow
def test_no_folds_and_no_seeds(folds_run, monkeypatch):
    best = folds_run / "fold_0" / "best_model"
    with pytest.raises(CheckpointError, match="has no fold_0"):
        ensembles.load_ensemble(best, "folds")
    with pytest.raises(CheckpointError, match="no head checkpoint"):
        ensembles.load_ensemble(folds_run, "seeds")
    model = load_heads(best)
    alone = dataclasses.replace(model, card=dataclasses.replace(model.card, seeds=(0,)))
    monkeypatch.setattr(ensembles, "load_heads", lambda _: alone)
    with pytest.raises(CheckpointError, match="has one seed; expected several"):
        ensembles.load_ensemble(best, "seeds")


@pytest.mark.slow
def test_folds_that_are_not_whole(folds_run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(folds_run, copy)
    shutil.rmtree(copy / "fold_1" / "best_model")
    with pytest.raises(CheckpointError, match="fold_1/best_model; expected every fold"):
        ensembles.load_ensemble(copy, "folds")
    shutil.rmtree(copy / "fold_1")
    with pytest.raises(CheckpointError, match="fold_0, fold_2 of 3 folds"):
        ensembles.load_ensemble(copy, "folds")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": [5, 6]}, r"fold_1: seeds \(5, 6\), of the first fold \(0, 1\)"),
        ({"dev_videos": ["v0", "v1", "v2", "v3", "v4", "v5"]}, "was trained on"),
    ],
)
def test_folds_that_do_not_fit(folds_run, tmp_path, change, message):
    copy = tmp_path / "run"
    shutil.copytree(folds_run, copy)
    path = copy / "fold_1" / "best_model" / "head.json"
    path.write_text(json.dumps(read(path) | change))
    with pytest.raises(CheckpointError, match=message):
        ensembles.load_ensemble(copy, "folds")
