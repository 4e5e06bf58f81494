"""Views of an input, and its tables read back for them."""

import dataclasses
import pathlib

import numpy as np
import pytest
from made.predicted import made_face, made_predicted

from avemo_jax.prediction import views
from avemo_jax.prediction.own_outputs import values_task
from avemo_jax.prediction.predicted import Predicted
from avemo_jax.prediction.tables import table_of
from avemo_jax.prediction.views import (
    View,
    default_views,
    missing_views,
    write_views,
)
from avemo_jax.prediction.writing import write_predicted
from avemo_jax.prediction.written_predictions import read_predicted
from avemo_jax.tasks import AU, EXPR, VA, own_task


def made(**changes) -> Predicted:
    affectnet = EXPR.with_columns([*EXPR.columns[:-1], "Contempt"])
    tasks = (
        affectnet,
        AU,
        VA,
        own_task("pain", "regression", ("strength",), (0.0, 10.0)),
        own_task("mood", "multiclass", ("calm", "Neutral")),
        values_task("net-1", ("depth",)),
    )
    sure = {
        "spread": ["VA", "pain"],
        "sets": ["EXPR", "mood"],
        "disagreement": ["mood"],
    }
    faces = [
        made_face(1, 3, 30, tasks, lost=[9], filled=[12], **sure),
        made_face(2, 8, 35, tasks, **sure, is_merged=True),
    ]
    return made_predicted(
        40,
        faces,
        tasks,
        with_spread=("VA", "pain"),
        with_sets=("EXPR", "mood"),
        with_disagreement=("mood",),
        first_frame=3,
        notes=("no sound",),
        **changes,
    )


@pytest.fixture
def two_views(monkeypatch):
    def write(predicted, path, show_progress):
        path.write_text(predicted.name)
        return [f"{predicted.num_frames} frames"]

    def fail(predicted, path, show_progress):
        path.write_text("half")
        raise ValueError("no video; expected one: get it")

    made = {
        "good": View("good.txt", "--no-good", "", write, is_default=True),
        "bad": View("bad.txt", "--bad", "", fail),
    }
    monkeypatch.setattr(views, "VIEWS", made)
    return made


def test_tables_read_back_are_the_same(tmp_path: pathlib.Path):
    predicted = made()
    write_predicted(predicted, tmp_path)
    found = read_predicted(tmp_path)
    assert table_of(found).equals(table_of(predicted))
    for field in dataclasses.fields(Predicted):
        if field.name not in ("faces", "times_s", "thresholds", "stages_s"):
            assert getattr(found, field.name) == getattr(predicted, field.name)
    assert np.allclose(found.times_s, predicted.times_s, atol=1e-6)
    assert [face.is_merged for face in found.faces] == [False, True]
    known = np.isfinite(predicted.faces[0].scores["EXPR"][:, 0])
    for name in ("EXPR", "mood"):
        before, after = (one.faces[0].sets[name][known] for one in (predicted, found))
        np.testing.assert_array_equal(after, before)
    moved = read_predicted(tmp_path, path=tmp_path / "moved.mp4")
    assert moved.path == tmp_path / "moved.mp4"


def test_tables_without_a_face_read_back(tmp_path: pathlib.Path):
    predicted = made_predicted(5)
    write_predicted(predicted, tmp_path)
    assert table_of(read_predicted(tmp_path)).equals(table_of(predicted))


def test_damaged_folder(tmp_path: pathlib.Path):
    write_predicted(made(), tmp_path)
    (tmp_path / "predictions.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=r"ArrowInvalid.*--overwrite"):
        read_predicted(tmp_path)


def test_views_are_whole_and_of_their_tables(tmp_path: pathlib.Path, two_views):
    predicted = made()
    write_predicted(predicted, tmp_path)
    assert default_views() == ("good",)
    assert missing_views(tmp_path, ["good", "bad"]) == ("good", "bad")
    assert write_views(predicted, tmp_path, ["good"]) == ("40 frames",)
    assert missing_views(tmp_path, ["good", "bad"]) == ("bad",)
    with pytest.raises(ValueError, match="no video"):
        write_views(predicted, tmp_path, ["bad"])
    assert not list(tmp_path.glob("*bad.txt*"))
    with pytest.raises(ValueError, match="unknown view 'goood'; expected good, bad"):
        write_views(predicted, tmp_path, ["goood"])
    write_predicted(predicted, tmp_path)
    assert missing_views(tmp_path, ["good"]) == ("good",)


def test_a_view_that_an_input_has_not(tmp_path: pathlib.Path, two_views):
    two_views["good"] = two_views["good"]._replace(applies=lambda one: one.fps > 0)
    assert write_views(made_predicted(1, fps=0.0), tmp_path, ["good"]) == ()
    assert not (tmp_path / "good.txt").exists()


def test_of_views_with_one_flag_an_input_has_one(tmp_path: pathlib.Path, two_views):
    two_views["other"] = two_views["good"]._replace(file="other.txt")
    assert missing_views(tmp_path, ["good", "other"]) == ("good", "other")
    (tmp_path / "other.txt").touch()
    assert missing_views(tmp_path, ["good", "other", "bad"]) == ("bad",)
