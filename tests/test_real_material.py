"""The main job on real faces and sound, where they are at hand."""

import json
import subprocess
import sys

import numpy as np
import pytest

from avemo_jax.config.fields import base_config
from avemo_jax.data.predictions.reading import read_frame_predictions
from avemo_jax.experiment import run_experiment
from avemo_jax.tasks import TASKS

pytestmark = pytest.mark.release


@pytest.fixture(scope="module")
def store(shared_data, tmp_path_factory):
    out = tmp_path_factory.mktemp("real") / "store"
    command = [
        *(sys.executable, "-m", "avemo_jax.cli", "build-store", "--quiet"),
        *("--annotations", str(shared_data / "affwild2_mini" / "Annotations")),
        *("--features", str(shared_data / "affwild2_mini_features"), "--out", str(out)),
    ]
    subprocess.run(command, check=True)
    return out


@pytest.mark.parametrize(
    ("task", "head"), [("EXPR", "mlp"), ("AU", "transformer"), ("VA", "mlp")]
)
def test_experiments(task, head, store, tmp_path):
    config = base_config(task, head)
    config.data.dir = str(store)
    config.workdir = str(tmp_path)
    config.num_epochs = 2
    config.head.num_layers = 1
    found = run_experiment(config)
    assert found["synthetic"] is False
    assert found["data"]["path"] == str(store)
    assert found["joined"]["videos_without_audio"] == ["7-30-176x144"]
    stored = json.loads((tmp_path / "results.json").read_text())
    assert stored == json.loads(json.dumps(found))
    told = read_frame_predictions(tmp_path / "predictions.csv", TASKS[task])
    assert told.videos == ("5-60-1920x1080-4_right", "7-30-176x144", "video3")
    assert np.bincount(told.video).tolist() == [105, 120, 72]  # every annotated frame


def test_features_of_others_are_imported_trained_and_scored(shared_data, tmp_path):
    """As three commands and ``avemo score`` do it; scores are those of the run."""
    given = shared_data / "affwild2_mini_features"
    annotations = shared_data / "affwild2_mini" / "Annotations"

    def avemo(*arguments: object) -> None:
        command = [sys.executable, "-m", "avemo_jax.cli", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    for folder, name, kind in (
        ("visualfeat_enet_b2_8_best_cropped_aligned", "faces@mine", "visual"),
        ("audiofeat_wav2vec2", "sound@mine", "audio"),
    ):
        avemo(
            *("import-features", given / folder, "--as", name, "--kind", kind),
            *("--out", tmp_path / "features", "--annotations", annotations),
        )
    avemo(
        *("build-store", "--annotations", annotations, "--quiet"),
        *("--features", tmp_path / "features", "--out", tmp_path / "store"),
    )
    avemo(
        *("train", "--config", "configs/expr_mlp.py:faces@mine+sound@mine"),
        f"--config.data.dir={tmp_path / 'store'}",
        *("--config.num_epochs=2", f"--workdir={tmp_path / 'run'}"),
    )
    avemo(
        *("score", tmp_path / "run" / "predictions.csv", "--task", "expr"),
        *("--annotations", annotations, "--json", tmp_path / "scores.json"),
    )
    run_says = json.loads((tmp_path / "run" / "results.json").read_text())
    (scored,) = json.loads((tmp_path / "scores.json").read_text())["files"]
    for name in ("f1_macro", "accuracy"):
        expected = run_says["metrics"]["smoothed"]["all_labelled"][name]
        found = scored["scores"]["all_labelled"][name]
        assert found == pytest.approx(expected, abs=1e-6)
    frames = run_says["metrics"]["smoothed"]["all_labelled"]["num_frames"]
    assert scored["scores"]["all_labelled"]["num_frames"] == frames
