"""``avemo score`` on what ``avemo predict`` writes."""

import csv
import dataclasses
import pathlib

import numpy as np
import pytest
from made.predicted import made_face, made_predicted
from made.predictions import LENGTHS, labels_of, write_annotations

from avemo_jax.challenge.score.command import main
from avemo_jax.challenge.score.scores import score, score_file
from avemo_jax.challenge.score.truth import read_truth
from avemo_jax.challenge.submit.command import main as submit
from avemo_jax.challenge.submit.predictions import load_predictions
from avemo_jax.data.predictions.reading import read_frame_predictions
from avemo_jax.prediction.writing import write_predicted
from avemo_jax.tasks import AU, EXPR, VA, Task

TASKS = (EXPR, AU, VA)
LIMITS = np.linspace(0.3, 0.7, 12)


@pytest.fixture(scope="module")
def predicted(tmp_path_factory) -> pathlib.Path:
    """The folder of all inputs, one face in each, not in all frames."""
    out = tmp_path_factory.mktemp("predicted")
    for seed, (name, length) in enumerate(LENGTHS.items()):
        face = made_face(1, 3, length - 2, lost=[9, 10], filled=[12, 13], seed=seed)
        found = made_predicted(length, [face], name=name, thresholds={"AU": LIMITS})
        write_predicted(found, out / "folder" / name)
    (out / "summary.csv").write_text("input\n")
    return out


def plain_table(out: pathlib.Path, task: Task, to: pathlib.Path) -> pathlib.Path:
    """The frames with scores of their own, as another program would write them."""
    lines = [",".join(("video", "frame", *task.columns))]
    for path in sorted(out.rglob("predictions.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                if row["face_id"] and row[task.columns[0]] and row["filled"] == "0":
                    values = [row[name] for name in task.columns]
                    lines.append(",".join((row["input"], row["frame"], *values)))
    to.write_text("\n".join(lines) + "\n")
    return to


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_scores_are_those_of_the_same_rows_in_a_plain_table(task, predicted, tmp_path):
    truth = read_truth(
        write_annotations(tmp_path / "truth", task, labels_of(task)), task
    )
    found = read_frame_predictions(predicted, task)
    assert found.form == "3 folders of this package"
    plain = read_frame_predictions(
        plain_table(predicted, task, tmp_path / "plain.csv"), task
    )
    limits = LIMITS if task is AU else None
    ours = score_file(truth, found).block
    theirs = score_file(truth, plain, thresholds=limits).block
    assert ours["scores"] == theirs["scores"]
    assert ours["coverage"] == theirs["coverage"] | {"filled_in_the_file": 6}
    assert not ours["coverage"]["videos_missing"]
    assert ours["coverage"]["labelled_frames_missing"] > 0


@pytest.mark.parametrize("name", ["", "predictions.csv", "predictions.parquet"])
def test_one_input_is_read_by_its_folder_or_a_table(predicted, name):
    folder = predicted / "folder" / "360"
    found = read_frame_predictions(folder / name, AU)
    assert (found.videos, found.form) == (("360",), "predictions of this package")
    assert sorted(set(range(3, 24)) - {9, 10}) == found.frame.tolist()
    assert found.frame[found.filled].tolist() == [12, 13]
    np.testing.assert_allclose(found.thresholds, LIMITS, rtol=1e-6)


@pytest.fixture(scope="module")
def two_faces(tmp_path_factory) -> pathlib.Path:
    """The folder of an input with two faces, and of one with one."""
    out = tmp_path_factory.mktemp("two")
    faces = [made_face(1, 1, 30), made_face(2, 21, 25)]
    write_predicted(made_predicted(30, faces, name="a"), out / "a")
    write_predicted(made_predicted(30, faces[:1], name="b"), out / "b")
    return out


def test_of_several_faces_one_is_chosen_or_all_are_videos(two_faces, tmp_path, capsys):
    labels = labels_of(VA, lengths={"a": 30, "b": 30, "a--face2": 30})
    root = write_annotations(tmp_path, VA, labels)
    flags = [str(two_faces), "--task=va", f"--annotations={root}"]
    assert main(flags) == 1
    assert (
        "2 faces in 'a'; expected one face of each input: pass "
        "--face 1 for the one that is seen longest, --face all for each as "
        "INPUT--face1, ..., or predict with --faces largest"
    ) in capsys.readouterr().err
    assert main([*flags, "--face=1"]) == 0
    found = read_frame_predictions(two_faces, VA, face=1)
    assert found.videos == ("a", "b")
    assert np.bincount(found.video).tolist() == [30, 30]
    found = read_frame_predictions(two_faces, VA, face="all")
    assert found.videos == ("a--face1", "a--face2", "b--face1")
    assert np.bincount(found.video).tolist() == [30, 5, 30]
    block = score(two_faces, root, "VA", face="all")
    assert block["coverage"]["videos_missing"] == ["a", "b"]
    assert block["coverage"]["videos_surplus"] == ["a--face1", "b--face1"]


def test_contempt_counts_as_other_and_is_said(tmp_path):
    names = "Anger Contempt Disgust Fear Happiness Neutral Sadness Surprise".split()
    task = dataclasses.replace(EXPR, columns=tuple(names))
    face = made_face(1, 1, 200, (task,))
    write_predicted(made_predicted(200, [face], (task,)), tmp_path)
    found = read_frame_predictions(tmp_path, EXPR)
    assert found.notes == ("Contempt counts as Other, which the file lacks",)
    order = [names.index(one) for one in (*EXPR.columns[:-1], "Contempt")]
    expected = face.scores["EXPR"][:, order]
    np.testing.assert_allclose(found.scores, expected, atol=5.1e-7)
    assert (found.decided[:, 0] == expected.argmax(axis=1)).all()
    assert 7 in found.decided


def test_submissions_of_all_tasks_are_made_of_a_folder(predicted, tmp_path, capsys):
    videos = tmp_path / "list.txt"
    videos.write_text("\n".join(LENGTHS) + "\n")
    flags = ["--predictions", str(predicted), "--out", str(tmp_path / "out")]
    lists = [f"--test-list={task.name.lower()}={videos}" for task in TASKS]
    assert submit([*flags, *lists]) == 0
    for task in TASKS:
        lines = (tmp_path / "out" / f"{task.name}.txt").read_text().splitlines()
        assert len(lines) == 1 + sum(n - 2 for n in LENGTHS.values())
    valence = read_frame_predictions(predicted, VA)
    first = valence.videos.index("360")
    assert (
        "360/00003.jpg,"
        + ",".join(f"{one:.6f}" for one in valence.scores[valence.video == first][0])
        in lines
    )
    table = predicted / "folder" / "360" / "predictions.csv"
    with pytest.raises(ValueError, match="outputs of EXPR, AU, VA; expected one task"):
        load_predictions(table)
    assert load_predictions(table, VA).task is VA


def test_folders_that_do_not_fit_each_other(tmp_path):
    made = made_predicted(9, [made_face(1, 1, 9)], name="a")
    write_predicted(made, tmp_path / "a")
    write_predicted(made, tmp_path / "b")
    with pytest.raises(ValueError, match="several tables of a; expected each input"):
        read_frame_predictions(tmp_path, VA)
    other = dataclasses.replace(made, name="b", thresholds={"AU": LIMITS})
    write_predicted(other, tmp_path / "b")
    assert read_frame_predictions(tmp_path, VA).videos == ("a", "b")
    with pytest.raises(ValueError, match="different thresholds of AU; expected those"):
        read_frame_predictions(tmp_path, AU)
    (tmp_path / "b" / "run.json").unlink()
    found = read_frame_predictions(tmp_path, AU)
    assert found.videos == ("a",)
    (note,) = found.notes
    assert note == "folders without run.json, so unfinished and left out: b"
    for name in ("predictions.csv", "predictions.parquet"):
        (tmp_path / "a" / name).unlink()
    with pytest.raises(ValueError, match=r"a has run\.json and none of predictions"):
        read_frame_predictions(tmp_path, AU)


def test_a_face_of_what_has_none(tmp_path):
    table = tmp_path / "plain.csv"
    table.write_text("video,frame,valence,arousal\na,1,0.5,0.5\n")
    with pytest.raises(ValueError, match=r"no columns input and face_id, and --face 2"):
        read_frame_predictions(table, VA, face=2)
    array = tmp_path / "a.npy"
    np.save(array, np.zeros((3, 2)))
    with pytest.raises(ValueError, match=r"is no table, and --face all; expected"):
        read_frame_predictions(array, VA, face="all")


def test_no_face_at_all(tmp_path):
    write_predicted(made_predicted(9, name="a"), tmp_path / "a")
    with pytest.raises(ValueError, match="has no predictions"):
        read_frame_predictions(tmp_path, VA)
    write_predicted(made_predicted(9, [made_face(1, 1, 9)], name="b"), tmp_path / "b")
    assert set(read_frame_predictions(tmp_path, VA).video) == {1}
