"""What careless and hostile files of predictions are answered with."""

import os
import pathlib
import pickle

import numpy as np
import pytest
from made.predictions import (
    as_csv,
    labels_of,
    npz_of_videos,
    predicted_of,
    submission,
    write_annotations,
)

from avemo_jax.challenge.score.command import main
from avemo_jax.challenge.score.hints import ORDERS
from avemo_jax.tasks import AU, EXPR, VA


@pytest.fixture
def made(tmp_path):
    """EXPR labels, annotations of them, and predictions."""
    labels = labels_of(EXPR)
    root = write_annotations(tmp_path / "Annotations", EXPR, labels)
    return labels, root, predicted_of(EXPR, labels)


@pytest.fixture
def error(capsys, made):
    """The error that the command ends with; the annotations are those of EXPR."""

    def run(path: pathlib.Path, *more: object, task: str = "expr") -> str:
        where = ["--task", task, "--annotations", str(made[1])]
        assert main([str(path), *where, *map(str, more)]) == 1
        found = capsys.readouterr()
        assert found.err.startswith("avemo score: error: ")
        return found.err

    return run


def test_no_file(error, tmp_path):
    assert "there is no" in error(tmp_path / "none.csv")


def test_an_ending_that_is_unknown(error, tmp_path):
    path = tmp_path / "given.xlsx"
    path.write_text("")
    assert "the ending '.xlsx'; expected .csv" in error(path)


def test_no_annotations_of_the_task(error, made, tmp_path):
    path = submission(tmp_path / "given", EXPR, made[2])
    assert "expected one of the folders AU_Detection_Challenge" in error(
        path, task="au"
    )


def test_an_unknown_task(error, made, tmp_path):
    path = submission(tmp_path / "given", EXPR, made[2])
    assert "expected expr, au or va" in error(path, task="emotion")


def test_a_table_of_another_task(error, made, tmp_path):
    labels = labels_of(AU)
    path = as_csv(tmp_path / "given", AU, predicted_of(AU, labels))
    assert "has predictions of AU; expected EXPR: pass --task au" in error(path)


def test_arrays_of_another_task(error, made, tmp_path):
    path = npz_of_videos(tmp_path / "given", AU, predicted_of(AU, labels_of(AU)))
    message = error(path)
    assert "12 values a frame; expected a class, or 8 probabilities" in message
    assert "if these are predictions of AU, pass --task au" in message


def test_frames_from_0(error, made, tmp_path, capsys):
    lines = ["video,frame,expression", "360,0,1", "360,1,1"]
    path = tmp_path / "given.csv"
    path.write_text("\n".join(lines) + "\n")
    message = error(path)
    assert "frame 0 of '360'; expected frames from 1" in message
    assert "pass --first-frame 0" in message
    where = ["--task", "expr", "--annotations", str(made[1]), "--first-frame", "0"]
    assert main([str(path), *where]) == 0
    path = npz_of_videos(tmp_path / "given", EXPR, made[2])
    assert "its rows have no numbers" in error(path, "--first-frame", 0)


def test_a_frame_twice(error, tmp_path):
    path = tmp_path / "given.csv"
    path.write_text("video,frame,expression\n360,1,1\n360,2,1\n360,1,2\n")
    assert "frame 1 of '360' is there twice" in error(path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("360,1,Hapiness", "line 2: expression 'Hapiness'"),
        ("360,1,8", "line 2: expression '8'"),
        ("360,1,", "no predictions, as all values are missing"),
        ("360,1", "line 2: 2 cells; expected 3, as in the header"),
        ("360,one,1", "line 2, column 'frame': 'one'; expected a number"),
        ("360,1.5,1", "line 2: frame 1.5; expected an integer"),
        (",1,1", "line 2: no value for video"),
    ],
)
def test_a_line_with_a_typo(error, tmp_path, line, message):
    path = tmp_path / "given.csv"
    path.write_text(f"video,frame,expression\n{line}\n")
    assert message in error(path)


def test_columns_without_names(error, tmp_path):
    path = tmp_path / "given.csv"
    path.write_text("360,1,4\n360,2,4\n")
    assert "expected video and frame, or image_location" in error(path)
    path.write_text("video,frame,Neutral,Anger\n360,1,0.5,0.5\n")
    assert "no column for Disgust, Fear, " in error(path)


def test_images_that_are_none(error, tmp_path):
    path = tmp_path / "given.txt"
    path.write_text("image_location,expression\n360/00001.jpg,1\n360_00002,1\n")
    assert "line 3: image_location is '360_00002'; expected VIDEO/00001.jpg" in error(
        path
    )


def test_videos_of_other_names(error, made, tmp_path):
    renamed = {f"{video}.mp4": values for video, values in made[2].items()}
    path = npz_of_videos(tmp_path / "given", EXPR, renamed)
    message = error(path)
    assert "none of its 3 videos" in message
    first = next(iter(made[2]))
    assert f"write names without endings, as {first!r}" in message
    dotted = {f"P1.{video}": values for video, values in made[2].items()}
    message = error(npz_of_videos(tmp_path / "dotted", EXPR, dotted))
    assert "without endings" not in message


def test_videos_of_the_other_set(error, made, tmp_path):
    write_annotations(made[1], EXPR, {"other": np.zeros((3, 1))}, "Train_Set")
    path = npz_of_videos(tmp_path / "given", EXPR, {"other": np.zeros((3, 1))})
    assert "pass --split all" in error(path)


def test_logits_of_units(error, tmp_path, made):
    labels = labels_of(AU)
    write_annotations(made[1], AU, labels)
    logits = {video: 10 * p - 5 for video, p in predicted_of(AU, labels).items()}
    path = npz_of_videos(tmp_path / "given", AU, logits)
    assert "put logits through a sigmoid first" in error(path, task="au")


def test_values_that_are_none(error, made, tmp_path):
    made[2]["360"][3, 2] = np.nan
    path = npz_of_videos(tmp_path / "given", EXPR, made[2])
    assert "frame 4 of '360' has the values" in error(path)
    labels = labels_of(VA)
    write_annotations(made[1], VA, labels)
    path = npz_of_videos(tmp_path / "given", VA, labels)
    assert "-5 marks a label that is none" in error(path, task="va")


@pytest.mark.parametrize("name", ORDERS)
def test_probabilities_in_another_order(made, tmp_path, capsys, name):
    _, root, predicted = made
    order = ORDERS[name]
    columns = [EXPR.columns.index(column) for column in order]
    path = npz_of_videos(
        tmp_path / "given", EXPR, {v: p[:, columns] for v, p in predicted.items()}
    )
    where = ["--task", "expr", "--annotations", str(root)]
    assert main([str(path), *where]) == 0
    printed = capsys.readouterr().out
    assert f"the outputs seem to be in {name} order" in printed
    assert main([str(path), *where, "--columns", ",".join(order)]) == 0
    mended = capsys.readouterr().out
    straight = npz_of_videos(tmp_path / "straight", EXPR, predicted)
    assert main([str(straight), *where]) == 0
    as_ours = capsys.readouterr().out
    assert mended.replace("given", "straight") == as_ours
    assert "seem to be" not in as_ours


def test_columns_that_do_not_fit(error, made, tmp_path):
    path = npz_of_videos(tmp_path / "given", EXPR, made[2])
    assert "8 values a frame" in error(path, "--columns", "Neutral,Anger")
    assert "columns have names" in error(
        as_csv(tmp_path / "given", EXPR, made[2]), "--columns", EXPR.header
    )


def test_swapped_valence_and_arousal_are_told(tmp_path, capsys):
    labels = labels_of(VA)
    root = write_annotations(tmp_path / "A", VA, labels)
    swapped = {v: p[:, ::-1] for v, p in predicted_of(VA, labels).items()}
    path = npz_of_videos(tmp_path / "given", VA, swapped)
    assert main([str(path), "--task", "va", "--annotations", str(root)]) == 0
    assert "pass --columns arousal,valence" in capsys.readouterr().out


def test_a_threshold_that_is_for_nothing(error, made, tmp_path):
    path = npz_of_videos(tmp_path / "given", EXPR, made[2])
    assert "--thresholds with --task expr" in error(path, "--thresholds", 0.5)


def test_a_damaged_table_and_arrays(error, tmp_path):
    for name in ("given.npz", "given.npy", "given.parquet", "given.pkl"):
        path = tmp_path / name
        path.write_bytes(b"\x00\x01\x02")
        assert name in error(path)


class Calls:
    """Pickles to a call of ``os.system``."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("ending", [".pkl", ".npy"])
def test_a_hostile_pickle_is_not_run(error, tmp_path, ending):
    marker = tmp_path / "was_run"
    content = {"360/00001.jpg": Calls(f"touch {marker}")}
    path = tmp_path / f"given{ending}"
    if ending == ".pkl":
        path.write_bytes(pickle.dumps(content))
    else:
        np.save(path, content, allow_pickle=True)
    message = error(path)
    assert "system, which may run code" in message
    assert "nothing of it was run" in message
    assert not marker.exists()


def test_npz_with_objects_is_not_read(error, tmp_path):
    marker = tmp_path / "was_run"
    path = tmp_path / "given.npz"
    objects = np.array([Calls(f"touch {marker}")], object)
    np.savez(path, **{"360": objects})
    assert "without objects" in error(path)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds a list; expected a dict"),
        ({}, "an empty dict"),
        ({"360/00001.jpg": "happy"}, "holds a str; expected numbers"),
        ({"360/00001.jpg": (np.zeros(1280), np.zeros(8))}, "avemo import-features"),
        ({"360/00001.jpg": np.zeros(8), "x": np.zeros(8)}, "key 'x'; expected"),
        (
            {"360/00001.jpg": np.zeros(8), "360/00002.jpg": np.zeros(7)},
            "values of 7 and 8 numbers",
        ),
        ({"360": np.zeros((3, 3, 3))}, "of shape (3, 3, 3)"),
    ],
)
def test_pickles_of_something_else(error, tmp_path, content, message):
    path = tmp_path / "given.pkl"
    path.write_bytes(pickle.dumps(content))
    assert message in error(path)


def test_a_folder_of_something_else(error, tmp_path, made):
    folder = tmp_path / "given"
    folder.mkdir()
    assert "has no files; expected VIDEO.txt or VIDEO.npy" in error(folder)
    (folder / "360.txt").write_text("4\n4\n")
    assert "360.txt, line 1: '4'; expected the header" in error(folder)
    (folder / "360.txt").write_text(f"{EXPR.header}\n4\n4,5\n")
    assert "360.txt, line 3: 2 cells; expected 1" in error(folder)
    (folder / "360.txt").write_text(f"{VA.header}\n0.1,0.2\n")
    assert "pass --task va" in error(folder)
