"""Folds of speakers of a store: trained, reported together, evaluated again."""

import contextlib
import io
import json

import numpy as np
import pytest

from avemo_jax.batches.tables import fold_data, open_data
from avemo_jax.config.checks import check_config
from avemo_jax.config.fields import base_config
from avemo_jax.data.corpus.protocols import Protocol, write_protocols
from avemo_jax.data.records import FeatureSource, VideoAnnotations, VideoFeatures
from avemo_jax.experiment import evaluate_checkpoint, run_experiment
from avemo_jax.models.card import CheckpointError, read_card
from avemo_jax.packing.build import build_store
from avemo_jax.tasks import own_task, registry

FRAMES, SPEAKERS = 8, "abcdef"
TASK = own_task("mood", "multiclass", ("bored", "calm", "keen"))
PROTOCOL = Protocol((("a", "b"), ("c", "d"), ("e", "f")), "made")


@pytest.fixture(autouse=True)
def no_tasks_of_others(monkeypatch):
    """Own tasks that other tests have registered are forgotten."""
    monkeypatch.setattr(registry, "_OWN", {})


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Clips of six speakers, each of one mood, which features nearly tell."""
    rng = np.random.default_rng(0)
    records, rows = [], {}
    for who in SPEAKERS:
        for i in range(6):
            video, label = f"{who}{i}", i % 3
            labels = {"mood": np.full(FRAMES, label, np.int8)}
            splits = {"mood": "validation" if who in "ab" else "train"}
            records.append(VideoAnnotations(video, labels, splits, FRAMES, 25.0, who))
            shape = (FRAMES, 4)
            rows[video] = np.eye(4)[label] + 0.6 * rng.standard_normal(shape)
    frame = np.arange(1, FRAMES + 1, dtype=np.int32)
    source = FeatureSource(
        name="look@cropped_aligned-112",
        kind="visual",
        dim=4,
        output_dim=0,
        fingerprint="made",
        content="made",
        videos=tuple(rows),
        read=lambda video: VideoFeatures(frame, rows[video].astype(np.float32)),
    )
    folder = tmp_path_factory.mktemp("stores") / "made"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "_OWN", {})
        build_store(
            folder, records, [source], tasks={"mood": TASK}, show_progress=False
        )
    write_protocols(folder, {"made_3": PROTOCOL})
    return folder


def config_of(store, **fields):
    config = base_config("own", "mlp", "look@cropped_aligned-112")
    config.data.dir, config.data.protocol = str(store), "made_3"
    config.num_epochs, config.train.least_steps = 2, 10
    config.evaluate.num_resamples = 20
    config.log.progress = config.log.tensorboard = False
    for name, value in fields.items():
        setattr(config.data, name, value)
    return config


def test_a_fold_reports_its_speakers_and_trains_on_others(store):
    data = open_data(str(store))
    for number, speakers in enumerate(PROTOCOL.folds):
        config = config_of(store, fold=number)
        config.task = "mood"
        splits = fold_data(data, config).splits
        assert {v[0] for v, s in splits.items() if s == "validation"} == set(speakers)
        dev = {v[0] for v, s in splits.items() if s == "dev"}
        train = {v[0] for v, s in splits.items() if s == "train"}
        assert len(dev) == 1
        assert dev | train == set(SPEAKERS) - set(speakers)
    assert fold_data(data, config_of(store)) is data


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"folds": 3}, "config.data.folds is 3 with config.data.protocol='made_3'"),
        ({"train_on": "train+dev"}, "config.data.train_on is 'train.dev' with"),
    ],
)
def test_what_does_not_go_with_folds_of_speakers(fields, message, store):
    with pytest.raises(ValueError, match=message):
        check_config(config_of(store, **fields))


def test_unknown_protocols_and_folds(store, tmp_path):
    config = config_of(store, protocol="six")
    config.workdir = str(tmp_path / "run")
    with pytest.raises(
        ValueError, match=r"protocol is 'six' and .* has made_3; expected"
    ):
        run_experiment(config)
    config = config_of(store, fold=3)
    config.workdir = str(tmp_path / "run")
    with pytest.raises(ValueError, match="fold 3 of a protocol of 3; expected 0 to 2"):
        run_experiment(config)


@pytest.mark.release
def test_all_folds(store, tmp_path):
    """Each clip is scored once, by a model that saw none of its speaker."""
    config = config_of(store)
    config.workdir = str(tmp_path / "run")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        found = run_experiment(config)
    assert found == json.loads((tmp_path / "run" / "results.json").read_text())
    scores = found["speaker_folds"]
    assert (scores["protocol"], found["num_folds"]) == ("made_3", 3)
    assert scores["speakers"] == [["a", "b"], ["c", "d"], ["e", "f"]]
    assert scores["per_video"]["pooled"]["num"] == 36
    assert scores["per_video"]["pooled"]["num_speakers"] == 6
    assert scores["with_crop"]["pooled"]["num"] == 36 * FRAMES
    assert scores["per_video"]["pooled"]["accuracy"] > 0.5
    for number, fold in enumerate(scores["per_video"]["folds"]):
        own = json.loads((tmp_path / f"run/fold_{number}/results.json").read_text())
        expected = own["metrics"]["per_video"]["with_crop"]
        assert fold["accuracy"] == pytest.approx(expected["accuracy"], abs=1e-6)
        assert fold["f1_macro"] == pytest.approx(expected["f1_macro"], abs=1e-6)
        card = read_card(tmp_path / f"run/fold_{number}/best_model")
        seen = {video[0] for video in (*card.training_videos, *card.dev_videos)}
        assert seen == set(SPEAKERS) - set(PROTOCOL.folds[number])
    text = printed.getvalue()
    assert "mood: made, 3 folds of speakers (made_3)" in text
    assert "  1: c, d (12)" in text
    # Evaluated again, a fold's model sees the speakers that it was trained without.
    best = tmp_path / "run" / "fold_1" / "best_model"
    with contextlib.redirect_stdout(io.StringIO()):
        again = evaluate_checkpoint(
            best, data_dir=str(store), split="validation", workdir=tmp_path / "again"
        )
    fold = json.loads((tmp_path / "run/fold_1/results.json").read_text())
    assert again["metrics"] == fold["metrics"]
    with pytest.raises(CheckpointError, match=r"has the folds of 'made_3', each of"):
        evaluate_checkpoint(
            tmp_path / "run",
            data_dir=str(store),
            split="validation",
            workdir=tmp_path / "mean",
            ensemble="folds",
        )
