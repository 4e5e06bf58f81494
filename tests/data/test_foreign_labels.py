"""Manifests and labels in the tables of other programs: the same whoever wrote them."""

import argparse

import numpy as np
import pytest
from made import foreign_tables

from avemo_jax.data.corpus.manifest import read_manifest
from avemo_jax.data.corpus.own_labels import Wish, read_labels
from avemo_jax.data.records import FeatureSource
from avemo_jax.packing.own_labels_command import read_own

MANIFEST = [
    ["video", "split", "group", "fps", "path"],
    ["a", "train", "p1", "25", "a.mp4"],
    ["007", "train", "", "12.5", ""],
    ["c", "test", "p3", "", "c.mp4"],
]
LABELS = [
    ["video", "frame", "mood", "smile", "pain"],
    ["a", "1", "calm", "1", "0.5"],
    ["a", "2", "", "0", ""],
    ["a", "3", "keen", "-1", "-0.25"],
    ["007", "1", "calm", "", "1.0"],
]
WISHES = (
    Wish("m", columns=("mood",)),
    Wish("s", "multilabel", ("smile",)),
    Wish("p", "regression", ("pain",)),
)


def manifest(folder, rows=MANIFEST):
    return read_manifest(foreign_tables.write(folder, "plain", rows))


def labels_of(folder, text, **wish):
    """Lines told, the task, and the labels of video "a"."""
    path = folder / "labels.csv"
    path.write_text(text)
    told = []
    wishes = (Wish(**wish),)
    tasks, records = read_labels(path, manifest(folder), wishes, told=told.append)
    ((name, task),) = tasks.items()
    return told, task, records[0].labels[name].tolist()


@pytest.mark.parametrize("form", foreign_tables.FORMS)
def test_manifests(tmp_path, form):
    found = read_manifest(foreign_tables.write(tmp_path, form, MANIFEST))
    assert list(found) == ["a", "007", "c"]
    assert [one.split for one in found.values()] == ["train", "train", "test"]
    assert [one.group for one in found.values()] == ["p1", "007", "p3"]
    np.testing.assert_array_equal([e.fps for e in found.values()], [25, 12.5, np.nan])
    assert found["a"].path == tmp_path / "a.mp4"
    assert found["007"].path is None


# Names of labels are the user's own, and keep their capitals.
@pytest.mark.parametrize("form", [f for f in foreign_tables.FORMS if f != "capitals"])
def test_labels(tmp_path, form):
    given = manifest(tmp_path)
    path = foreign_tables.write(tmp_path, form, LABELS)
    tasks, records = read_labels(path, given, WISHES)
    assert [task.columns for task in tasks.values()] == [
        ("calm", "keen"),
        ("smile",),
        ("pain",),
    ]
    a, other, _ = (record.labels for record in records)
    assert a["m"].tolist() == [0, -1, 1]
    assert a["s"].tolist() == [[1], [0], [-1]]
    np.testing.assert_array_equal(a["p"], np.float32([[0.5], [np.nan], [-0.25]]))
    assert (other["m"].tolist(), other["s"].tolist()) == ([0], [[-1]])


@pytest.mark.parametrize("word", ["NA", "nan", "NaN", "null", "None", "#N/A", "<NA>"])
def test_words_for_missing_labels(tmp_path, word):
    text = f"video,frame,mood\na,1,calm\na,2,{word}\na,3,keen\n"
    told, task, found = labels_of(tmp_path, text)
    assert (task.columns, found) == (("calm", "keen"), [0, -1, 1])
    assert told[-1] == (
        f"  column mood: taken as missing: 1 {word!r} (--classes=A,B,... with it keeps "
        "it as one)"
    )
    assert told[-2] == "  without a whole label: 1 of 3 frames"
    classes = ("calm", word, "keen")
    told, task, found = labels_of(tmp_path, text, name="mood", classes=classes)
    assert (task.columns, found) == (classes, [0, 1, 2])


def test_minus_one_is_no_class_beside_numbers_from_0(tmp_path):
    text = "video,frame,m\na,1,2\na,2,-1\na,3,0\n"
    told, task, found = labels_of(tmp_path, text)
    assert (task.columns, found) == (("0", "2"), [1, -1, 0])
    assert "taken as missing: 1 '-1'" in told[-1]
    kept = labels_of(tmp_path, text, name="m", classes=("-1", "0", "2"))
    assert kept[2] == [2, 0, 1]
    text = "video,frame,m\na,1,2\na,2,-1\na,3,-2\n"
    assert labels_of(tmp_path, text)[1].columns == ("-2", "-1", "2")
    values = labels_of(tmp_path, "video,frame,m\na,1,0.5\na,2,-1\n")
    assert (values[1].kind, values[2]) == ("regression", [[0.5], [-1.0]])
    wish = {"name": "m", "kind": "regression"}
    assert labels_of(tmp_path, "video,frame,m\na,1,1\na,2,-1\n", **wish)[2] == [
        [1],
        [-1],
    ]


def test_minus_one_in_units(tmp_path):
    text = "video,frame,u,v\na,1,1,-1\na,2,0,1\na,3,-1,0\n"
    _, task, found = labels_of(tmp_path, text)
    assert (task.kind, found) == ("multilabel", [[1, -1], [0, 1], [-1, 0]])


def test_whole_floats_are_integers(tmp_path):
    """As pandas writes them once a column has a gap."""
    text = "video,frame,m\na,1,1.0\na,2,\na,3,0.0\n"
    told, task, found = labels_of(tmp_path, text)
    assert (task.kind, task.columns, found) == ("multiclass", ("0", "1"), [1, -1, 0])
    assert "  column m: numbers such as 1.0 are taken as whole ones, as 1" in told
    forced = labels_of(tmp_path, text, name="m", kind="multiclass", classes=("0", "1"))
    assert forced[2] == [1, -1, 0]
    text = "video,frame,u,v\na,1,1.0,0.0\na,2,,1.0\n"
    assert labels_of(tmp_path, text)[1].kind == "multilabel"
    text = "video,frame,v\na,1,1.0\na,2,0.5\n"
    assert labels_of(tmp_path, text)[1].kind == "regression"


@pytest.mark.parametrize("pair", ["TRUE FALSE", "True False", "true false", "True 0"])
def test_true_and_false_are_1_and_0(tmp_path, pair):
    yes, no = pair.split()
    text = f"video,frame,m\na,1,{yes}\na,2,{no}\na,3,NA\n"
    told, task, found = labels_of(tmp_path, text)
    assert (task.columns, found) == (("0", "1"), [1, 0, -1])
    assert "  column m: true and false are taken as 1 and 0" in told
    kept = labels_of(tmp_path, text, name="m", classes=(yes, no))
    assert (kept[1].columns, kept[2]) == ((yes, no), [0, 1, -1])


def test_how_a_table_was_read_is_told(tmp_path):
    text = "video;frame;v\na;1;0,5\na;2;-1\n"
    told, _, found = labels_of(tmp_path, text)
    assert found == [[0.5], [-1.0]]
    assert told[-1].endswith("labels.csv: the table is divided by semicolons")


def test_videos_called_as_their_files(tmp_path):
    source = FeatureSource("look@x", "visual", 2, 0, "0", "0", ("a", "b"), str)
    path = tmp_path / "manifest.csv"
    path.write_text("video,split\na.mp4,test\nb.v2,test\n")
    args = argparse.Namespace(manifest=str(path), labels=None)
    message = r"line 2, column 'video': 'a.mp4' has no features, but 'a' has.*\.mp4 out"
    with pytest.raises(ValueError, match=message):
        read_own(args, [source])
