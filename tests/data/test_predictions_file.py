"""The predictions file: columns, values, atomic writing, the reader's checks."""

import csv
import dataclasses
import json

import numpy as np
import pyarrow.parquet
import pytest

from avemo_jax.data.predictions import predictions_file
from avemo_jax.data.predictions.predictions_file import (
    predictions_of,
    write_predictions,
)
from avemo_jax.data.predictions.reading import read_frame_predictions
from avemo_jax.data.predictions.threshold_file import read_thresholds
from avemo_jax.data.store.table import FrameTable
from avemo_jax.postprocess.gaps import make_fill_map
from avemo_jax.tasks import AU, EXPR, VA, Task


def made(task: Task, videos=("a_left", "b")):
    """A table of two videos of 3 and 2 frames, its fill map, and scores."""
    frame = np.array([1, 3, 2], np.int32)
    num_rows, num_frames = 3, np.array([3, 2])
    labels = task.empty_labels(5)
    if task is EXPR:
        labels[:] = [0, 7, -1, 4, 1]
    elif task is AU:
        labels[0], labels[1] = 1, 0
        labels[1, 0] = -1
    else:
        labels[0] = [0.25, -1.0]
        labels[3] = [np.nan, 0.123456789]
    table = FrameTable(
        task=task,
        split="validation",
        feature_sets=(),
        features=np.zeros((num_rows, 4), np.float16),
        outputs=None,
        labels=task.empty_labels(num_rows),
        valid=np.zeros(num_rows, bool),
        has_audio=np.ones(num_rows, bool),
        frame=frame,
        videos=videos,
        source_videos=("a", "b"),
        row_offsets=np.array([0, 2, 3]),
        num_frames=num_frames,
        fps=np.array([30.0, np.nan]),
        dense_labels=labels,
        fingerprint="0",
        report={},
    )
    scores = np.random.default_rng(0).random((5, task.num_outputs), np.float32)
    return table, make_fill_map(frame, table.row_offsets, num_frames), scores


def write(path, table, fill_map, scores, **how) -> None:
    write_predictions(predictions_of(path, table, fill_map, scores, **how))


def rows_of(path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_expressions(tmp_path):
    table, fill_map, scores = made(EXPR)
    path = tmp_path / "predictions.csv"
    write(path, table, fill_map, scores)
    assert path.read_bytes().splitlines()[0] == (
        b"video,frame,has_crop,filled,expression,Neutral,Anger,Disgust,Fear,Happiness,"
        b"Sadness,Surprise,Other,label_expression"
    )
    assert b"\r" not in path.read_bytes()
    rows = rows_of(path)
    assert [(row["video"], row["frame"]) for row in rows] == [
        ("a_left", "1"),
        ("a_left", "2"),
        ("a_left", "3"),
        ("b", "1"),
        ("b", "2"),
    ]
    assert [row["has_crop"] for row in rows] == ["1", "0", "1", "0", "1"]
    assert [row["filled"] for row in rows] == ["0", "1", "0", "1", "0"]
    assert [row["label_expression"] for row in rows] == [
        "Neutral",
        "Other",
        "",
        "Happiness",
        "Anger",
    ]
    for row, frame in zip(rows, scores, strict=True):
        assert row["expression"] == EXPR.columns[frame.argmax()]
        written = [float(row[name]) for name in EXPR.columns]
        np.testing.assert_allclose(written, frame, atol=5.1e-7)


def test_action_units(tmp_path):
    table, fill_map, scores = made(AU)
    scores[0, 0], scores[1, 0] = 0.7, 0.69
    limits = np.full(12, 0.5, np.float32)
    limits[0] = 0.7
    path = tmp_path / "predictions.csv"
    write(path, table, fill_map, scores, thresholds=limits)
    rows = rows_of(path)
    units = [f"AU{unit:02d}" for unit in (1, 2, 4, 6, 7, 10, 12, 15, 23, 24, 25, 26)]
    expected = ["video", "frame", "has_crop", "filled", *units]
    expected += [f"{unit}_c" for unit in units] + [f"label_{unit}" for unit in units]
    assert list(rows[0]) == expected
    assert [rows[0]["AU01_c"], rows[1]["AU01_c"]] == ["1", "0"]
    for row, frame in zip(rows, scores, strict=True):
        decided = [row[f"{unit}_c"] for unit in units[1:]]
        assert decided == ["1" if score >= 0.5 else "0" for score in frame[1:]]
    assert [rows[i]["label_AU01"] for i in (0, 1, 2)] == ["1", "", ""]
    assert [rows[i]["label_AU02"] for i in (0, 1, 2)] == ["1", "0", ""]


def test_thresholds_lie_beside_the_predictions_of_units(tmp_path):
    """The very float32 that a score was compared with; of other tasks none."""
    table, fill_map, scores = made(AU)
    limits = np.random.default_rng(0).random(12, np.float32)
    path = tmp_path / "predictions.csv"
    write(path, table, fill_map, scores, thresholds=limits)
    stored = json.loads((tmp_path / "predictions.json").read_text())
    assert stored["task"] == "AU"
    assert list(stored["thresholds"]) == list(AU.columns)
    for name in ("predictions.csv", "predictions.parquet"):
        read = read_thresholds(tmp_path / name, AU)
        np.testing.assert_array_equal(read.astype(np.float32), limits)
    write(path, table, fill_map, scores)
    np.testing.assert_array_equal(read_thresholds(path, AU), np.full(12, 0.5))
    table, fill_map, scores = made(VA)
    write(path, table, fill_map, scores)
    assert not (tmp_path / "predictions.json").exists()
    assert read_thresholds(path, AU) is None
    (tmp_path / "predictions.json").write_text('{"by": "somebody else"}')
    assert read_thresholds(path, AU) is None


def test_valence_and_arousal(tmp_path):
    table, fill_map, scores = made(VA)
    scores[0] = [-1e-9, -0.5]
    scores[1] = [1e-5, 1e-6]
    path = tmp_path / "predictions.csv"
    write(path, table, fill_map, scores)
    rows = rows_of(path)
    assert list(rows[0])[4:] == ["valence", "arousal", "label_valence", "label_arousal"]
    assert (rows[0]["valence"], rows[0]["arousal"]) == ("0", "-0.5")
    assert [float(rows[1][name]) for name in VA.columns] == [1e-5, 1e-6]
    assert (rows[0]["label_valence"], rows[0]["label_arousal"]) == ("0.25", "-1")
    assert (rows[3]["label_valence"], rows[3]["label_arousal"]) == ("", "0.123457")


@pytest.mark.parametrize("task", [EXPR, AU, VA], ids=lambda task: task.name)
@pytest.mark.parametrize("labels", [True, False])
def test_reader_returns_what_was_written(tmp_path, task, labels):
    table, fill_map, scores = made(task)
    path = tmp_path / "predictions.csv"
    ours = predictions_of(path, table, fill_map, scores, labels=labels)
    write_predictions(ours)
    read = read_frame_predictions(path, task)
    assert (read.path, read.task, read.videos) == (path, task, table.videos)
    assert (read.form, read.named, read.notes) == (ours.form, True, ())
    for name in ("video", "frame", "filled", "has_crop"):
        np.testing.assert_array_equal(getattr(read, name), getattr(ours, name))
    np.testing.assert_array_equal(read.scores, np.round(scores.astype(np.float64), 6))
    assert list(rows_of(path)[0])[-1].startswith("label_") == labels
    for name in ("decided", "thresholds", "labels"):
        theirs, found = getattr(ours, name), getattr(read, name)
        assert (found is None) == (theirs is None), name
        if theirs is not None:
            np.testing.assert_allclose(found, theirs, atol=5.1e-7, err_msg=name)
    if labels:
        assert read.labels.dtype == table.dense_labels.dtype


def test_bytes_depend_on_arguments_alone_and_not_on_chunks(tmp_path, monkeypatch):
    table, fill_map, scores = made(AU)
    for name, rows in (("one.csv", 1 << 16), ("two.csv", 1 << 16), ("three.csv", 2)):
        monkeypatch.setattr(predictions_file, "_CHUNK_ROWS", rows)
        write(tmp_path / name, table, fill_map, scores)
    first = (tmp_path / "one.csv").read_bytes()
    assert (tmp_path / "two.csv").read_bytes() == first
    assert (tmp_path / "three.csv").read_bytes() == first
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        *("one.csv", "one.json"),
        *("three.csv", "three.json"),
        *("two.csv", "two.json"),
    ]


def test_names_that_need_quotes(tmp_path):
    table, fill_map, scores = made(VA, videos=('odd, "name"', "b"))
    path = tmp_path / "predictions.csv"
    write(path, table, fill_map, scores)
    assert rows_of(path)[0]["video"] == 'odd, "name"'
    assert read_frame_predictions(path, VA).videos == ("b", 'odd, "name"')


def test_names_that_look_like_formulas_are_read_back(tmp_path):
    names = ("-aBc", "=cmd|' calc'!A0")
    table, fill_map, scores = made(VA, videos=names)
    path = tmp_path / "predictions.csv"
    write(path, table, fill_map, scores)
    assert rows_of(path)[0]["video"] == "-aBc"
    assert rows_of(path)[-1]["video"] == "'=cmd|' calc'!A0"
    assert read_frame_predictions(path, VA).videos == names


def test_parquet_beside_many_rows(tmp_path, monkeypatch):
    table, fill_map, scores = made(EXPR)
    monkeypatch.setattr(predictions_file, "PARQUET_ROWS", 5)
    write(tmp_path / "few.csv", table, fill_map, scores)
    assert not (tmp_path / "few.parquet").exists()
    monkeypatch.setattr(predictions_file, "PARQUET_ROWS", 4)
    write(tmp_path / "many.csv", table, fill_map, scores)
    one, other = (
        read_frame_predictions(tmp_path / f"many.{ending}", EXPR)
        for ending in ("parquet", "csv")
    )
    for name in ("frame", "filled", "scores", "decided", "has_crop", "labels"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    table = pyarrow.parquet.read_table(tmp_path / "many.parquet")
    odd = tmp_path / "odd.parquet"
    pyarrow.parquet.write_table(table.drop_columns(["frame"]), odd)
    with pytest.raises(ValueError, match=r"odd.parquet: .*expected video and frame"):
        read_frame_predictions(odd, EXPR)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    table, fill_map, scores = made(EXPR)
    path = tmp_path / "predictions.csv"
    write(path, table, fill_map, scores)
    before = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(predictions_file, "_label_columns", fail)
    with pytest.raises(OSError, match="disk full"):
        write(path, table, fill_map, scores[::-1].copy())
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["predictions.csv"]


def test_scores_that_do_not_fit_are_refused(tmp_path):
    table, fill_map, scores = made(EXPR)
    for wrong in (scores[:-1], scores[:, :2]):
        with pytest.raises(ValueError, match="expected 5 frames and 8 outputs"):
            write(tmp_path / "p.csv", table, fill_map, wrong)
    longer = dataclasses.replace(table, num_frames=np.array([3, 3]))
    with pytest.raises(ValueError, match="expected 6 frames"):
        write(tmp_path / "p.csv", longer, fill_map, scores)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda text: text.replace("valence", "valenz", 1),
            "line 1: no column for valence; expected",
        ),
        (
            lambda text: text.replace("frame,", "number,", 1),
            "line 1: .*expected video and frame",
        ),
        (
            lambda text: text.replace("a_left,1,", "a_left,one,"),
            "predictions.csv, line 2, column 'frame': 'one'",
        ),
        (
            lambda text: text + "a,1\n",
            "predictions.csv, line 7: 2 cells; expected 8, as in the header",
        ),
        (
            lambda text: text.replace(",0.25,", ",high,"),
            "line 2, column 'label_valence': 'high'; expected a number",
        ),
        (lambda text: "", "predictions.csv, line 1: an empty file; expected"),
    ],
)
def test_files_that_are_no_predictions_are_refused(tmp_path, change, message):
    table, fill_map, scores = made(VA)
    path = tmp_path / "predictions.csv"
    write(path, table, fill_map, scores)
    path.write_text(change(path.read_text()))
    with pytest.raises(ValueError, match=message):
        read_frame_predictions(path, VA)
