"""Where evaluations write, and that they overwrite nothing of another checkpoint."""

import json
import pathlib

import pytest

from avemo_jax.evaluation.output_folders import check_free, default_folder
from avemo_jax.postprocess.frame_rate.rules import FrameRate


@pytest.mark.parametrize(
    ("checkpoint", "how", "folder"),
    [
        ("run/best_model", {}, "run/evaluation-dev"),
        ("run/best_model/", {"ensemble": "seeds"}, "run/evaluation-dev-seeds"),
        ("run", {"ensemble": "folds"}, "run/evaluation-dev-folds"),
        ("heads/a", {}, "heads/evaluation-a-dev"),
        ("heads/x/../b", {"ensemble": "seeds"}, "heads/evaluation-b-dev-seeds"),
        (
            "run/best_model",
            {"frame_rate": FrameRate("stride", 4)},
            "run/evaluation-dev-stride4",
        ),
        ("h/a", {"frame_rate": FrameRate("refine")}, "h/evaluation-a-dev-refine"),
    ],
)
def test_the_folder_belongs_to_the_checkpoint(tmp_path, checkpoint, how, folder):
    found = default_folder(tmp_path / checkpoint, "dev", **how)
    assert found == tmp_path / folder


def test_a_checkpoint_named_from_its_own_folder(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    found = default_folder(pathlib.Path(), "dev")
    assert found == pathlib.Path.cwd().parent / "evaluation-a-dev"


@pytest.mark.parametrize(
    ("joint", "folder"),
    [
        ("run/best_model", "run/evaluation-AU-dev"),
        ("heads/j", "heads/evaluation-j-AU-dev"),
    ],
)
def test_nothing_is_written_into_a_checkpoint(tmp_path, joint, folder):
    """A head of tasks that were trained together lies within their checkpoint."""
    (tmp_path / joint / "AU").mkdir(parents=True)
    (tmp_path / joint / "joint.json").touch()
    assert default_folder(tmp_path / joint / "AU", "dev") == tmp_path / folder


def test_results_of_another_checkpoint_are_kept(tmp_path):
    mine = "0123456789"
    check_free(tmp_path, mine, name="x")
    results = {"checkpoint": mine, "head": "mlp", "task": "EXPR", "split": "dev"}
    (tmp_path / "results.json").write_text(json.dumps(results))
    check_free(tmp_path, mine, name="x")
    words = (
        r"^x has results of another checkpoint, 01234567 \(mlp on EXPR dev\), .*; "
        r"expected a folder for checkpoint abcdefgh alone: .*--workdir DIR;"
    )
    with pytest.raises(ValueError, match=words):
        check_free(tmp_path, "abcdefghi", name="x")
    del results["checkpoint"]
    (tmp_path / "results.json").write_text(json.dumps(results))
    with pytest.raises(ValueError, match="x has results of an unknown one"):
        check_free(tmp_path, mine, name="x")
