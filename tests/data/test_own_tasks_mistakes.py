"""What people get wrong in a manifest and in labels of their own."""

import numpy as np
import pytest

from avemo_jax.data.corpus.manifest import read_manifest
from avemo_jax.data.corpus.own_labels import Wish, read_labels
from avemo_jax.data.predictions.reading import read_frame_predictions
from avemo_jax.packing import command
from avemo_jax.tasks import own_task

MANIFEST = "video,split,group,fps\na,train,p1,25\nb,train,p2,25\nc,validation,p3,\n"
LABELS = "video,frame,mood\na,1,calm\na,2,keen\nb,1,calm\nc,1,calm\nc,3,keen\n"


def given(folder, manifest=MANIFEST, labels=LABELS):
    (folder / "manifest.csv").write_bytes(manifest.encode())
    (folder / "labels.csv").write_bytes(labels.encode())
    return folder / "manifest.csv", folder / "labels.csv"


def read(folder, manifest=MANIFEST, labels=LABELS, **wish):
    first, second = given(folder, manifest, labels)
    return read_labels(second, read_manifest(first), (Wish(**wish),))


WRONG_MANIFESTS = {
    "no split": ("video,splt\na,train\n", r"line 1: no column 'split'.*rename 'splt'"),
    "other column": (
        "video,split,grup\na,train,p\n",
        r"line 1: unknown column 'grup'.*did you mean 'group'",
    ),
    "split's name": (
        "video,split\na,tran\n",
        r"line 2, column 'split': 'tran'.*'train'",
    ),
    "val": ("video,split\na,val\n", r"'val'.*write validation, or dev"),
    "twice": ("video,split\na,train\na,dev\n", r"line 3, column 'video': 'a' again"),
    "folder": ("video,split\nx/a.mp4,train\n", r"'x/a.mp4'.*name without folder"),
    "spaces": ("video split\na train\n", r"line 1: no commas in 'video split'"),
    "cells": ("video,split\na,train,1\n", r"line 2: 3 cells; expected 2"),
    "rate": ("video,split,fps\na,train,0\n", r"column 'fps': 0; expected frames per"),
    "comma": ('video,split,fps\na,train,"29,97"\n', r"'29,97'.*a point"),
    "empty": ("video,split\n", r"no videos; expected one"),
    "nothing": ("", r"line 1: an empty file"),
    "column twice": ("video,video,split\na,a,train\n", r"line 1: video; expected each"),
}


@pytest.mark.parametrize("mistake", WRONG_MANIFESTS)
def test_wrong_manifest(tmp_path, mistake):
    text, message = WRONG_MANIFESTS[mistake]
    path, _ = given(tmp_path, text)
    with pytest.raises(ValueError, match=message) as error:
        read_manifest(path)
    assert str(path) in str(error.value)


WRONG_LABELS = {
    "video": ("video,frame,m\naa,1,x\n", {}, r"line 2, column 'video'.*mean 'a'"),
    "frame 0": ("video,frame,m\na,0,x\n", {}, r"column 'frame': '0'.*count from 1"),
    "no frames": ("video,m\na,x\n", {}, r"whole videos, none of which has features"),
    "half": ("video,end_s,m\na,1,x\n", {}, r"line 1: columns video, end_s, m; expec"),
    "both": ("video,frame,start_s,end_s,m\na,1,0,1,x\n", {}, r"expected a column 'fr"),
    "twice": ("video,frame,m\na,1,x\na,1,y\n", {}, r"line 3: frame 1 of 'a' again.*2"),
    "overlap": (
        "video,start_s,end_s,m\na,0,1,x\na,0.9,2,y\n",
        {},
        r"line 3: frame 24 of 'a' again",
    ),
    "no rate": ("video,start_s,end_s,m\nc,0,1,x\n", {}, r"'c', whose frames per sec"),
    "end first": ("video,start_s,end_s,m\na,2,1,x\n", {}, r"'end_s': 2 to 1; expected"),
    "no labels": ("video,frame\na,1\n", {}, r"line 1: only video, frame"),
    "empty column": ("video,frame,m\na,1,\n", {}, r"column 'm': no label in it"),
    "one class": ("video,frame,m\na,1,x\n", {}, r"has 1 outputs: x; expected 2 to"),
    "class": (
        LABELS.replace("b,1,calm", "b,1,clam"),
        {"classes": ("calm", "keen")},
        r"line 4, column 'mood': unknown class 'clam'.*did you mean 'calm'",
    ),
    "unit": (
        "video,frame,u,v\na,1,0,2\n",
        {"name": "s", "kind": "multilabel"},
        r"line 2, column 'v': '2'; expected 0, 1 or an empty",
    ),
    "range": ("video,frame,v\na,1,1.5\n", {}, r"line 2, column 'v': '1.5'.*--range"),
    "number": (
        "video,frame,v\na,1,big\n",
        {"name": "s", "kind": "regression"},
        r"line 2, column 'v': 'big'; expected a number",
    ),
    "NaN": (
        "video,frame,v\na,1,nan\n",
        {"name": "s", "kind": "regression"},
        r"column 'v': no label in it; expected some",
    ),
    "infinity": (
        "video,frame,v\na,1,inf\n",
        {"name": "s", "kind": "regression"},
        r"line 2, column 'v': 'inf'; expected a number",
    ),
    "mixed": ("video,frame,v,w\na,1,x,2\n", {}, r"several kinds.*--task NAME="),
    "official": (LABELS, {"name": "au"}, r"task name 'au'.*choose another"),
    "taken": ("video,frame,m\na,1,fps\na,2,x\n", {}, r"called 'fps'.*rename it"),
    "column": (LABELS, {"name": "s", "columns": ("moood",)}, r"'moood'.*mean 'mood'"),
    "upside down": (
        "video,frame,v\na,1,0.5\n",
        {"value_range": (1.0, 0.0)},
        r"from 1 to 0; expected two finite",
    ),
}


@pytest.mark.parametrize("mistake", WRONG_LABELS)
def test_wrong_labels(tmp_path, mistake):
    text, wish, message = WRONG_LABELS[mistake]
    with pytest.raises(ValueError, match=message) as error:
        read(tmp_path, labels=text, **wish)
    assert "labels.csv" in str(error.value)


def test_times_are_frames(tmp_path):
    text = "video,start_s,end_s,m\na,0,0.08,x\na,0.08,0.2,y\nb,0.04,0.1,x\n"
    tasks, records = read(tmp_path, labels=text)
    labels = {record.video: record.labels.get("m") for record in records}
    # At 25 per second frame k is shown at (k - 1) / 25.
    np.testing.assert_array_equal(labels["a"], [0, 0, 1, 1, 1])
    np.testing.assert_array_equal(labels["b"], [-1, 0, 0])
    assert labels["c"] is None
    assert tasks["m"].columns == ("x", "y")
    assert [record.source for record in records] == ["p1", "p2", "p3"]


def test_kinds_are_seen(tmp_path):
    def kinds(text):
        tasks, _ = read(tmp_path, labels=text)
        return {name: (task.kind, task.columns) for name, task in tasks.items()}

    assert kinds(LABELS) == {"mood": ("multiclass", ("calm", "keen"))}
    text = "video,frame,level\na,1,10\na,2,9\n"
    assert kinds(text) == {"level": ("multiclass", ("9", "10"))}
    text = "video,frame,u,v\na,1,0,1\na,2,,1\n"
    assert kinds(text) == {"labels": ("multilabel", ("u", "v"))}
    text = "video,frame,u,v\na,1,0.5,1\n"
    assert kinds(text) == {"values": ("regression", ("u", "v"))}


def test_a_rare_class_near_another_is_warned_of(tmp_path, caplog):
    read(tmp_path, labels=LABELS + "b,2,clam\n")
    assert "line 7, column 'mood': class 'clam' occurs once and is near 'calm'" in (
        caplog.text
    )


SPELT = "video,frame,mood\na,1,Happy\na,2,sad\nb,1,happy\nb,2,happy\nc,1, h appy\n"


def test_classes_that_differ_in_case_or_spaces_are_warned_of(tmp_path, caplog):
    read(tmp_path, labels=SPELT)
    assert (
        "column 'mood': classes 'Happy' (1, first on line 2), 'h appy' (1, first on "
        "line 6), 'happy' (2, first on line 4) differ only in case or spaces, and are "
        "taken as 3"
    ) in caplog.text
    assert "misspelt" not in caplog.text
    caplog.clear()
    read(tmp_path, manifest=MANIFEST.replace("p2", "P1"))
    assert "column 'group': 'P1', 'p1' differ only in case or spaces" in caplog.text


def numbers(count):
    lines = [f"a,{i + 1},{60 + i}" for i in range(count)]
    return "\n".join(["video,frame,pulse", *lines]) + "\n"


def test_many_whole_numbers_as_classes_are_warned_of(tmp_path, caplog):
    read(tmp_path, labels=numbers(4))
    read(tmp_path, labels=numbers(5), name="m", kind="multiclass", columns=("pulse",))
    assert "whole numbers" not in caplog.text
    read(tmp_path, labels=numbers(5), name="beat")
    assert "5 different whole numbers, 60 to 64, are taken as classes" in caplog.text
    assert "pass --task beat=regression:pulse --range=60,64; " in caplog.text
    message = r"128 different whole numbers.*at most 127.*--task pulse=regression:pulse"
    with pytest.raises(ValueError, match=message):
        read(tmp_path, labels=numbers(128))


def test_what_tasks_were_taken_for_is_told(tmp_path):
    labels = (
        "video,frame,mood,u,v,pain\na,1,calm,0,1,2\na,3,keen,1,,10\nb,2,calm,1,1,\n"
    )
    first, second = given(tmp_path, labels=labels)
    lines = []
    wishes = (
        Wish("m", columns=("mood",)),
        Wish("signs", "multilabel", ("u", "v")),
        Wish("hurt", "regression", ("pain",), value_range=(0.0, 10.0)),
    )
    read_labels(second, read_manifest(first), wishes, told=lines.append)
    assert lines == [
        "task m: multiclass, of column mood, as its labels look (--task says "
        "otherwise)",
        "  frames of each class: calm 2, keen 1",
        "  without a whole label: 2 of 5 frames",
        "task signs: multilabel, of columns u, v",
        "  u: 2 active, 1 not, 2 missing",
        "  v: 2 active, 0 not, 3 missing",
        "  without a whole label: 3 of 5 frames",
        "task hurt: regression, of column pain",
        "  pain: 2 to 10, mean 6, of 0 to 10; 3 missing",
        "  without a whole label: 3 of 5 frames",
    ]


def test_wrong_flags(tmp_path, capsys):
    manifest, labels = given(tmp_path)
    base = [f"--manifest={manifest}", f"--labels={labels}", f"--out={tmp_path / 's'}"]
    for flags, message in (
        ([base[2]], "no labels are named; expected --manifest"),
        ([base[1], base[2]], "--labels; expected --manifest with --labels"),
        ([*base, "--annotations=x"], "--labels --annotations; expected"),
        ([*base, "--task=mood=classes"], "expected NAME=KIND with KIND one of"),
        ([*base, "--task=a=regression", "--range=1"], "expected two numbers"),
        ([*base, "--task=a=multiclass", "--classes=b=x,y"], "is for task 'b'"),
        ([*base[2:], "--annotations=x", "--task=a=multiclass"], "--task with --annot"),
    ):
        assert command.main(flags) == 1
        assert message in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


def test_predictions_of_own_tasks_are_not_read(tmp_path):
    task = own_task("mood", "multiclass", ("bored", "calm"))
    with pytest.raises(ValueError, match="task mood; expected one of EXPR, AU, VA"):
        read_frame_predictions(tmp_path / "given.csv", task)
