"""Predictions made elsewhere as heads of a blend."""

import json

import numpy as np
import pytest
from made.several_sets import FRAMES, VIDEOS

from avemo_jax import main
from avemo_jax.batches.tables import Data
from avemo_jax.data.store.table import FrameTable
from avemo_jax.evaluation.evaluate import evaluate
from avemo_jax.models.blend import load_heads, write_blend
from avemo_jax.models.card import CheckpointError

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_plots")]

TRAIN, DEV, VALIDATION = VIDEOS[:6], VIDEOS[6:9], VIDEOS[9:12]


@pytest.fixture(scope="module")
def head(heads):
    """A head on faces, of two seeds."""
    return heads[0]


def labels_of(data: Data, split: str) -> dict[str, np.ndarray]:
    """By video, of all frames."""
    table: FrameTable = data.store.load_table("EXPR", split, ["enet_b0_8_va_mtl"])
    parts = np.split(table.dense_labels, table.dense_offsets[1:-1])
    return dict(zip(table.videos, parts, strict=True))


@pytest.fixture
def perfect(data, tmp_path):
    """Probabilities that are right in every frame of dev and validation."""
    labels = labels_of(data, "dev") | labels_of(data, "validation")
    path = tmp_path / "theirs.npz"
    eye = np.eye(8)
    np.savez(path, **{v: eye[np.maximum(each, 0)] for v, each in labels.items()})
    return path


def blended(folder, heads, data, **how):
    write_blend(folder / "blend", heads, **how)
    (folder / "out").mkdir()
    return evaluate(load_heads(folder / "blend"), data, folder / "out")


def test_a_better_member_gets_the_weight(head, perfect, data, tmp_path):
    found = blended(tmp_path, [head, perfect], data, trained_on=list(TRAIN))
    assert found["chosen_on"] == "dev"
    assert all(theirs > 0 for _, theirs in found["weights"])
    assert found["metrics"]["raw"]["with_crop"]["accuracy"] > 0.99
    assert found["heads"][1] == {
        "features": [],
        "head": "predictions (theirs.npz)",
    }


def test_a_wrong_member_gets_no_weight(head, perfect, data, tmp_path):
    with np.load(perfect) as right:
        wrong = {video: np.roll(right[video], 1, axis=1) for video in right.files}
    path = tmp_path / "wrong.npz"
    np.savez(path, **wrong)
    found = blended(tmp_path, [head, path], data, trained_on=list(TRAIN))
    alone = json.loads((head.parent / "results.json").read_text())
    assert all(mine > theirs for mine, theirs in found["weights"])
    score = found["metrics"]["raw"]["with_crop"]["f1_macro"]
    assert score >= alone["metrics"]["raw"]["with_crop"]["f1_macro"] - 0.05


def test_of_unknown_training_nothing_is_chosen(head, perfect, data, tmp_path):
    found = blended(tmp_path, [head, perfect], data)
    assert found["chosen_on"] is None
    assert "unknown" in found["chosen_on_reason"]
    assert found["weights"] == [[0.5, 0.5], [0.5, 0.5]]


def test_training_on_dev_makes_the_choice_fixed(head, perfect, data, tmp_path):
    found = blended(tmp_path, [head, perfect], data, trained_on=[*TRAIN, DEV[0]])
    assert found["chosen_on_reason"] == "1 of 3 dev videos were trained on"


def test_the_head_stands_in_where_frames_are_missing(head, data, tmp_path):
    path = tmp_path / "theirs.csv"
    names = "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other"
    rows = [f"{v},{f},1,0,0,0,0,0,0,0" for v in VALIDATION[:2] for f in (1, 2, 3)]
    path.write_text("\n".join([f"video,frame,{names}", *rows]) + "\n")
    found = blended(tmp_path, [head, path], data)
    rows = data.store.load_table("EXPR", "validation", ["enet_b0_8_va_mtl"]).num_rows
    lost = rows - 6
    assert found["joined"]["without predictions (theirs.csv)"] == lost


def test_no_prediction_of_a_split_is_an_error(head, data, tmp_path):
    path = tmp_path / "theirs.npz"
    np.savez(path, **{VALIDATION[0]: np.full((FRAMES, 8), 1 / 8)})
    with pytest.raises(ValueError, match="no prediction of the 3 dev videos"):
        blended(tmp_path, [head, path], data, trained_on=list(TRAIN))


def test_decisions_and_logits_are_refused(head, data, tmp_path):
    path = tmp_path / "theirs.npz"
    np.savez(path, **{VALIDATION[0]: np.zeros((FRAMES, 1))})
    with pytest.raises(ValueError, match="decisions only; expected probabilities"):
        blended(tmp_path, [head, path], data)
    other = tmp_path / "logits.npz"
    np.savez(other, **{VALIDATION[0]: np.full((FRAMES, 8), 3.0)})
    with pytest.raises(ValueError, match="instead of logits"):
        blended(tmp_path / "b", [head, other], data)


def test_a_changed_file_and_a_wrong_order(head, perfect, tmp_path):
    with pytest.raises(CheckpointError, match="is no head checkpoint; expected one in"):
        write_blend(tmp_path / "blend", [perfect, head])
    write_blend(tmp_path / "blend", [head, perfect])
    np.savez(perfect, **{VALIDATION[0]: np.full((FRAMES, 8), 1 / 8)})
    with pytest.raises(CheckpointError, match="changed after"):
        load_heads(tmp_path / "blend")


def test_from_the_command_line(head, perfect, store, tmp_path):
    (tmp_path / "train.txt").write_text("\n".join(TRAIN) + "\n")
    flags = [f"--checkpoint={head},{perfect}", f"--data-dir={store}"]
    flags += [f"--workdir={tmp_path / 'w'}", f"--trained-on={tmp_path / 'train.txt'}"]
    assert main.blend(flags) == 0
    found = json.loads((tmp_path / "w" / "results.json").read_text())
    assert found["chosen_on"] == "dev"
    assert (tmp_path / "w" / "predictions.csv").is_file()
