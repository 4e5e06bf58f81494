"""Submission files: what is written from predictions, and which flags are refused."""

import dataclasses
import pathlib
import re

import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made import submissions as made
from made.cards import made_card

from avemo_jax.challenge.submit import writing
from avemo_jax.challenge.submit.checking import check_submission
from avemo_jax.challenge.submit.command import main
from avemo_jax.challenge.submit.decisions import decide_rows
from avemo_jax.challenge.submit.predictions import load_predictions
from avemo_jax.challenge.submit.rows import every_frame, read_example
from avemo_jax.models.card import write_card
from avemo_jax.models.selection import fixed_selection
from avemo_jax.tasks import AU, EXPR, TASKS, VA

ALL = pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
HALF = np.full(12, 0.5)


def submit(folder: pathlib.Path, task, *flags: str) -> int:
    """The command, on ``folder``'s predictions.csv and list.txt."""
    return main(
        [
            *("--predictions", str(folder / "predictions.csv")),
            *("--test-list", f"{task.name}={folder / 'list.txt'}"),
            *("--out", str(folder / "out")),
            *flags,
        ]
    )


@ALL
def test_every_frame_of_the_listed_videos_in_their_order(tmp_path, task, capsys):
    path = made.predicted(tmp_path / "predictions.csv", task)
    made.write_list(tmp_path / "list.txt", ["video3_left", "14-30-1920x1080"])
    assert submit(tmp_path, task) == 0
    data = (tmp_path / "out" / f"{task.name}.txt").read_bytes()
    assert data.endswith(b"\n")
    assert b"\r" not in data
    header, *lines = data.decode().splitlines()
    assert header == made.HEADERS[task.name]
    lengths = {"video3_left": 9, "14-30-1920x1080": 6}
    assert lines == made.naive(path, task, lengths, HALF)
    out = capsys.readouterr().out
    assert f"{task.name}, 16 lines with header" in out
    assert "not listed: 1 video (360)" in out
    assert "2 videos, 15 rows: no faults" in out


def test_rows_look_like_the_official_ones(tmp_path):
    rows = every_frame(["14-30-1920x1080"], np.array([1]))
    units = np.array([[1, 0, 1, 1, 1, 0, 0, 1, 0, 0, 0, 1]], np.int8)
    for task, values, expected in (
        (EXPR, np.array([[0]], np.int8), "0"),
        (AU, units, "1,0,1,1,1,0,0,1,0,0,0,1"),
        (VA, np.array([[0.5, -0.5]]), "0.500000,-0.500000"),
    ):
        writing.write_submission(tmp_path / "a.txt", task, rows, values)
        lines = (tmp_path / "a.txt").read_text().splitlines()
        assert lines == [
            made.HEADERS[task.name],
            f"14-30-1920x1080/00001.jpg,{expected}",
        ]


@ALL
@settings(max_examples=12, deadline=None)
@given(st.data())
def test_frames_without_a_prediction_are_filled_as_by_a_loop(
    tmp_path_factory, task, data
):
    folder = tmp_path_factory.mktemp("filled")
    # Few shapes, so that few programs are compiled.
    lengths = dict(zip("ba", data.draw(st.permutations([1, 30])), strict=True))
    keep = {}
    for video, n in lengths.items():
        count = min(n, data.draw(st.sampled_from([1, 6])))
        frames = st.sets(st.integers(1, n), min_size=count, max_size=count)
        keep[video] = sorted(data.draw(frames))
    seed = data.draw(st.integers(0, 2**31))
    limits = np.random.default_rng(seed).uniform(0.2, 0.8, 12).astype(np.float32)
    path = made.predicted(
        folder / "predictions.csv",
        task,
        lengths=lengths,
        seed=seed,
        thresholds=limits if task is AU else None,
        keep=keep,
    )
    rows = every_frame(list(lengths), np.array(list(lengths.values())) + 3)
    given_limits = limits.astype(np.float64) if task is AU else None
    found = decide_rows(load_predictions(path), rows, thresholds=given_limits)
    writing.write_submission(folder / "a.txt", task, rows, found.values)
    expected = made.naive(path, task, {v: n + 3 for v, n in lengths.items()}, limits)
    written = (folder / "a.txt").read_text().splitlines()[1:]
    if task is VA:  # ours is interpolated in float32
        for ours, theirs in zip(written, expected, strict=True):
            name, *values = ours.split(",")
            assert name == theirs.split(",")[0]
            there = [float(value) for value in theirs.split(",")[1:]]
            np.testing.assert_allclose([float(v) for v in values], there, atol=1.1e-6)
    else:
        assert written == expected
    count = sum(n + 3 - len(keep[video]) for video, n in lengths.items())
    assert found.filled.sum() == count


def test_thresholds_are_those_beside_the_file(tmp_path, capsys):
    limits = np.linspace(0.2, 0.8, 12).astype(np.float32)
    keep = {"a": list(range(1, 401, 2))}
    path = made.predicted(
        tmp_path / "p.csv", AU, lengths={"a": 400}, thresholds=limits, keep=keep
    )
    predictions = load_predictions(path)
    np.testing.assert_array_equal(predictions.thresholds.astype(np.float32), limits)
    assert not predictions.notes
    rows = every_frame(["a"], np.array([400]))
    ours = decide_rows(predictions, rows)
    exact = decide_rows(predictions, rows, thresholds=limits.astype(np.float64))
    assert ours.crossing == exact.crossing > 100
    np.testing.assert_array_equal(ours.values, exact.values)


def test_without_thresholds_the_decisions_stand_and_it_is_said(tmp_path, capsys):
    """Between two frames that are decided differently the nearer one's decision."""
    limits = np.full(12, 0.3, np.float32)
    lengths, keep = {"a": 12}, {"a": [1, 4, 7, 10]}
    path = made.predicted(
        tmp_path / "predictions.csv", AU, lengths=lengths, thresholds=limits, keep=keep
    )
    (tmp_path / "predictions.json").unlink()
    predictions = load_predictions(path)
    assert predictions.thresholds is None
    found = decide_rows(predictions, every_frame(["a"], np.array([12])))
    nearest = np.array([0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 3])
    np.testing.assert_array_equal(found.values, predictions.decided[nearest])
    assert found.crossing
    assert found.thresholds is None
    made.write_list(tmp_path / "list.txt", lengths)
    assert submit(tmp_path, AU) == 0
    said = capsys.readouterr().out
    assert f"no thresholds in {tmp_path / 'predictions.json'}: the decisions of" in said
    assert f"{found.crossing} values decided as in the nearer frame" in said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"thresholds": {"AU01": 0.5}}', "KeyError"),
        ('{"thresholds": [0.5]}', "expected a threshold for each of AU01"),
        ("{", "line 1: Expecting property name"),
    ],
)
def test_damaged_thresholds_are_refused(tmp_path, text, words):
    path = made.predicted(tmp_path / "p.csv", AU)
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(ValueError, match=words):
        load_predictions(path)


def test_thresholds_of_other_predictions_are_refused(tmp_path):
    path = made.predicted(tmp_path / "p.csv", AU)
    other = made.predicted(tmp_path / "other.csv", AU, thresholds=np.full(12, 0.9))
    other.with_suffix(".json").rename(tmp_path / "p.json")
    with pytest.raises(ValueError, match=r"the threshold 0\.9 does not decide"):
        load_predictions(path)


def test_thresholds_of_a_head(tmp_path, capsys):
    limits = np.round(np.linspace(0.2, 0.8, 12), 6)
    keep = {video: list(range(1, n + 1, 2)) for video, n in made.LENGTHS.items()}
    path = made.predicted(
        tmp_path / "predictions.csv",
        AU,
        thresholds=limits.astype(np.float32),
        keep=keep,
    )
    made.write_list(tmp_path / "list.txt", made.LENGTHS)
    chosen = dataclasses.replace(
        fixed_selection(AU, 2, ""),
        thresholds=np.array([[0.99] * 12, limits], np.float32),
    )
    card = made_card(task="AU", seeds=(3, 4), best_seed=4, selection=chosen)
    write_card(tmp_path / "head.json", card)
    assert submit(tmp_path, AU, "--thresholds", str(tmp_path / "head.json")) == 0
    lines = (tmp_path / "out" / "AU.txt").read_text().splitlines()[1:]
    lengths = {**made.LENGTHS, "14-30-1920x1080": 5}
    assert lines == made.naive(path, AU, lengths, limits)
    assert (
        "values decided between two frames, at AU01 0.2000" in capsys.readouterr().out
    )
    assert submit(tmp_path, AU, "--thresholds", "0.99") == 1
    assert (
        "which the threshold 0.99 does not decide; expected" in capsys.readouterr().err
    )
    write_card(tmp_path / "head.json", dataclasses.replace(card, selection=None))
    assert submit(tmp_path, AU, "--thresholds", str(tmp_path / "head.json")) == 1
    assert "head.json of an evaluated AU head" in capsys.readouterr().err


def test_probabilities_alone_are_decided_by_the_thresholds_given(tmp_path, capsys):
    path = made.predicted(tmp_path / "predictions.csv", AU)
    table = pyarrow.csv.read_csv(path).select(["frame", *AU.columns[::-1], "video"])
    pyarrow.csv.write_csv(table, path)
    path.with_suffix(".json").unlink()
    made.write_list(tmp_path / "list.txt", made.LENGTHS)
    for flags, limit in (([], 0.5), (["--thresholds", "0.7"], 0.7)):
        assert submit(tmp_path, AU, *flags) == 0
        lines = (tmp_path / "out" / "AU.txt").read_text().splitlines()[1:]
        assert lines == made.naive(path, AU, made.LENGTHS, np.full(12, limit))
        said = "neither thresholds nor decisions: decided at 0.5"
        assert (said in capsys.readouterr().out) == (limit == 0.5)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=50))
@settings(max_examples=60, deadline=None)
def test_numbers_are_plain_decimals(tmp_path_factory, values):
    path = tmp_path_factory.getbasetemp() / "plain.txt"
    rows = every_frame(["a"], np.array([len(values)]))
    pairs = np.round(np.array([values, values[::-1]]).T, 6)
    writing.write_submission(path, VA, rows, pairs)
    for line, pair in zip(path.read_text().splitlines()[1:], pairs, strict=True):
        texts = line.split(",")[1:]
        assert all(re.fullmatch(r"-?[01]\.[0-9]{6}", text) for text in texts)
        assert "-0.000000" not in texts
        np.testing.assert_array_equal([float(text) for text in texts], pair)


def test_values_out_of_range_are_clipped_and_counted(tmp_path, capsys):
    path = made.predicted(tmp_path / "predictions.csv", VA, lengths={"a": 2})
    lines = path.read_text().splitlines()
    lines[1] = "a,1,1,0,1.000001,-2,,"
    path.write_text("\n".join(lines) + "\n")
    made.write_list(tmp_path / "list.txt", ["a"])
    assert submit(tmp_path, VA) == 0
    out = (tmp_path / "out" / "VA.txt").read_text().splitlines()
    assert out[1] == "a/00001.jpg,1.000000,-1.000000"
    assert "clipped to [-1, 1]: 2" in capsys.readouterr().out


# --- where the rows come from ---------------------------------------------------------


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_exactly_the_rows_of_an_example(tmp_path, end, mark, capsys):
    made.predicted(tmp_path / "predictions.csv", EXPR)
    names = [f"video3_left/{i:05d}.jpg" for i in (3, 1, 2, 11)] + ["360/00001.jpg"]
    names.insert(2, "14-30-1920x1080/00004.jpg")
    example = tmp_path / "example.txt"
    header = made.HEADERS["EXPR"].replace(",", ", ")
    lines = [mark + header, *(f"{name},0" for name in names)]
    example.write_bytes((end.join(lines) + end).encode())
    assert submit(tmp_path, EXPR, "--example", f"expr={example}") == 1  # no list.txt
    assert "no file" in capsys.readouterr().err
    made.write_list(tmp_path / "list.txt", made.LENGTHS)
    assert submit(tmp_path, EXPR, "--example", f"expr={example}") == 0
    written = (tmp_path / "out" / "EXPR.txt").read_text().splitlines()
    assert [line.split(",")[0] for line in written[1:]] == names
    assert written[4].split(",")[1] == _own_line(tmp_path, "video3_left/00002.jpg")
    assert written[5].split(",")[1] == _own_line(tmp_path, "video3_left/00009.jpg")
    out = capsys.readouterr().out
    assert "predictions without a row: 11" in out
    assert "not predicted: 1 rows of 1 videos" in out
    assert "no faults" in out


def _own_line(folder: pathlib.Path, name: str) -> str:
    """The class that the predictions file itself names."""
    for row in made.rows_of(folder / "predictions.csv"):
        if f"{row['video']}/{int(row['frame']):05d}.jpg" == name:
            return str(EXPR.columns.index(row["expression"]))
    raise AssertionError(name)


def test_numbers_of_frames_from_a_list(tmp_path, capsys):
    path = made.predicted(tmp_path / "predictions.csv", VA)
    made.write_list(tmp_path / "list.txt", made.LENGTHS)
    frames = tmp_path / "frames.csv"
    lines = ["video,frames", "360,4", "video3_left,7", "14-30-1920x1080,6", "other,1"]
    made.write_list(frames, lines)
    assert submit(tmp_path, VA, "--frames", str(frames)) == 0
    lines = (tmp_path / "out" / "VA.txt").read_text().splitlines()[1:]
    lengths = {"14-30-1920x1080": 6, "video3_left": 7, "360": 4}
    assert lines == made.naive(path, VA, lengths, HALF)
    assert "predictions without a row: 2" in capsys.readouterr().out


def test_numbers_of_frames_from_a_test_set(tmp_path, capsys):
    made.predicted(tmp_path / "predictions.csv", VA)
    lengths = {"360": 4, "video3_left": 7, "14-30-1920x1080": 6}
    made.write_list(tmp_path / "list.txt", lengths)
    folder = tmp_path / VA.folders[0] / "Test_Set"
    folder.mkdir(parents=True)
    for video, count in lengths.items():
        rows = [VA.header, *["-5,-5"] * count]
        made.write_list(folder / f"{video}.txt", rows)
    assert submit(tmp_path, VA, "--frames", str(tmp_path)) == 0
    out = (tmp_path / "out" / "VA.txt").read_text().splitlines()
    assert len(out) == 1 + 4 + 7 + 6
    assert f"numbers of frames: {tmp_path}" in capsys.readouterr().out


def test_a_video_without_predictions_is_an_error_or_neutral(tmp_path, capsys):
    made.write_list(tmp_path / "frames.csv", ["video,frames", "lost,2", "360,1"])
    made.write_list(tmp_path / "list.txt", ["lost", "360"])
    flags = ("--frames", str(tmp_path / "frames.csv"))
    for task, value in ((EXPR, "0"), (AU, ",".join("0" * 12)), (VA, "0.000000," * 2)):
        made.predicted(tmp_path / "predictions.csv", task)
        for more in ((), flags):
            assert submit(tmp_path, task, *more) == 1
            message = capsys.readouterr().err
            assert "no prediction of 1 video (lost) of 2 listed" in message
            assert "predict them first" in message
        assert not list((tmp_path / "out").glob(f"{task.name}*"))
        assert submit(tmp_path, task, *flags, "--fill-missing-videos") == 0
        lines = (tmp_path / "out" / f"{task.name}.txt").read_text().splitlines()
        assert lines[1:3] == [f"lost/0000{i}.jpg,{value.rstrip(',')}" for i in (1, 2)]
        assert "neutral, no prediction at all: 1 video" in capsys.readouterr().out


def test_predictions_that_are_all_filled_are_told(tmp_path, capsys):
    path = made.predicted(tmp_path / "predictions.csv", VA)
    made.write_list(tmp_path / "list.txt", made.LENGTHS)
    path.write_text(path.read_text().replace("360,1,1,0,", "360,1,0,1,"))
    assert submit(tmp_path, VA) == 0
    assert "predicted without features: 1 video (360)" in capsys.readouterr().out
    path.write_text(re.sub(r"(?m)^([^,]+,[0-9]+,1),0,", r"\1,1,", path.read_text()))
    assert submit(tmp_path, VA) == 1
    assert "none has a score of its own; expected" in capsys.readouterr().err


def test_all_tasks_at_once_from_csv_and_parquet(tmp_path):
    flags = []
    made.write_list(tmp_path / "list.txt", made.LENGTHS)
    for task in TASKS.values():
        path = made.predicted(tmp_path / f"{task.name}.csv", task)
        if task is AU:
            table = pyarrow.csv.read_csv(path)
            path = path.with_suffix(".parquet")
            pyarrow.parquet.write_table(table, path)
        flags += ["--predictions", str(path)]
        flags += ["--test-list", f"{task.name.lower()}={tmp_path / 'list.txt'}"]
    flags += ["--name", "AU=units.txt", "--out", str(tmp_path / "out")]
    assert main(flags) == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "EXPR.txt",
        "VA.txt",
        "units.txt",
    ]
    for name, task in (("EXPR", EXPR), ("units", AU), ("VA", VA)):
        lines = (tmp_path / "out" / f"{name}.txt").read_text().splitlines()
        path = tmp_path / f"{task.name}.csv"
        assert lines[1:] == made.naive(path, task, made.LENGTHS, HALF)


@pytest.mark.release
def test_official_size(tmp_path):
    rng = np.random.default_rng(0)
    cuts = np.sort(rng.choice(np.arange(1, 1_022_655), 227, replace=False))
    lengths = np.diff(np.concatenate([[0], cuts, [1_022_655]]))
    videos = [f"{i}-30-1920x1080" for i in range(228)]
    rows = every_frame(videos, lengths)
    values = rng.integers(0, 8, (1_022_655, 1)).astype(np.int8)
    path = tmp_path / "EXPR.txt"
    writing.write_submission(path, EXPR, rows, values)
    assert path.read_bytes().count(b"\n") == 1_022_656
    frames = dict(zip(videos, lengths.tolist(), strict=True))
    report = check_submission(path, EXPR, videos=videos, frames=frames)
    assert (report.ok, report.notes) == (True, ())
    again = read_example(path, EXPR)
    assert again.videos == tuple(videos)
    np.testing.assert_array_equal(again.video, rows.video)
    np.testing.assert_array_equal(again.frame, rows.frame)


# --- what is refused ------------------------------------------------------------------


def replaced(path: pathlib.Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], r"list.txt is empty; .*one video name a line"),
        (["360", "video3_left", "360"], r"line 3: video '360' again, after line 1"),
        (["360", "video3_left.mp4"], r"line 2: 'video3_left.mp4', .* 'video3_left'"),
        (["360/00001"], r"line 1: '360/00001' with /"),
        (
            ["unknown", "360"],
            r"1 video \(unknown\) of 2 listed in .*predict them first",
        ),
    ],
)
def test_lists_that_are_refused(tmp_path, capsys, names, message):
    made.predicted(tmp_path / "predictions.csv", EXPR)
    made.write_list(tmp_path / "list.txt", names)
    assert submit(tmp_path, EXPR) == 1
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("task", "old", "new", "message"),
    [
        (
            VA,
            "360,1,1,0,",
            "360,1,1,0,nan",
            r"frame 1 of '360' has .*nan.*; expect",
        ),
        (VA, "valence,", "valenz,", r"line 1: no column for valence; expected"),
        (EXPR, "Neutral,", "None,", r"line 1: no column for Neutral; expected"),
        (
            EXPR,
            "360,1,1,0,",
            "360,1,1,0,Joy",
            r"line 17: expression 'Joy\w+'; expected",
        ),
        (EXPR, "360,1,1,0,", "360,0,1,0,", r"frame 0 of '360'; expected frames from 1"),
        (EXPR, "360,1,1,0,", "360,,1,0,", r"line 17: no value for frame"),
        (VA, "360,1,1,0,", "video3_left,9,1,0,", r"frame 9 of 'video3_left'"),
        (AU, "AU01_c,", "AU01_d,", r"line 1: no column for AU01_c; expected"),
        (AU, "AU01_c,", "", r"40 cells; expected 39, as in the header"),
    ],
)
def test_predictions_that_are_refused(tmp_path, capsys, task, old, new, message):
    path = made.predicted(tmp_path / "predictions.csv", task)
    if new.endswith("nan"):
        row = path.read_text().splitlines()[-1].split(",")
        old, new = ",".join(row), ",".join([*row[:4], "nan", *row[5:]])
    replaced(path, old, new)
    made.write_list(tmp_path / "list.txt", ["14-30-1920x1080", "video3_left"])
    assert submit(tmp_path, task) == 1
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            made.HEADERS["VA"] + "\n360/00001.jpg,0,0\n",
            r"line 1: header of VA; expected",
        ),
        ("image,expr\n", r"line 1: header 'image,expr'; expected 'image_location,Neu"),
        (made.HEADERS["EXPR"] + "\n", r"line 2: no row; expected VIDEO/00001.jpg"),
        (
            made.HEADERS["EXPR"] + "\n360/00001.jpg,0\n360/1.jpg,0\n",
            r"line 3: '360/1.jpg'; expected VIDEO/00001.jpg",
        ),
        (
            made.HEADERS["EXPR"] + "\n360/00001.jpg,0\n360/00001.jpg,0\n",
            r"line 3: frame 1 of '360' again",
        ),
        (made.HEADERS["EXPR"] + "\n360/00000.jpg,0\n", r"line 2: frame 0 of '360'"),
        (made.HEADERS["EXPR"] + "\n360/00001.jpg,0,1\n", r"expected 2 columns"),
        (
            made.HEADERS["EXPR"] + "\nother/00001.jpg,0\n",
            r"not in the example: 1 video \(360\); not in the list: 1 video \(other\)",
        ),
    ],
)
def test_examples_that_are_refused(tmp_path, capsys, text, message):
    made.predicted(tmp_path / "predictions.csv", EXPR)
    made.write_list(tmp_path / "list.txt", ["360"])
    (tmp_path / "example.txt").write_text(text)
    assert submit(tmp_path, EXPR, "--example", str(tmp_path / "example.txt")) == 1
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["360,1"], r"line 1: no column 'video' among 360, 1"),
        ([], r"line 1: an empty file"),
        (
            ["video,frames", "360,one"],
            r"line 2, column 'frames': 'one'; expected a number",
        ),
        (["video,frames", "360,0"], r"line 2: '360', 0; expected each video once"),
        (["video,frames", "360,1", "360,2"], r"line 3: '360' again, 2"),
        (["video,frames", "a,1"], r"1 video \(360\) not in it"),
    ],
)
def test_numbers_of_frames_that_are_refused(tmp_path, capsys, lines, message):
    made.predicted(tmp_path / "predictions.csv", EXPR)
    made.write_list(tmp_path / "list.txt", ["360"])
    made.write_list(tmp_path / "frames.csv", lines)
    assert submit(tmp_path, EXPR, "--frames", str(tmp_path / "frames.csv")) == 1
    assert re.search(message, capsys.readouterr().err)


def test_flags_that_do_not_fit(tmp_path, capsys):
    expr = str(made.predicted(tmp_path / "expr.csv", EXPR))
    other = str(made.predicted(tmp_path / "other.csv", EXPR))
    va = str(made.predicted(tmp_path / "va.csv", VA))
    names = str(made.write_list(tmp_path / "list.txt", ["360"]))
    out = ("--out", str(tmp_path / "out"))
    first = ("--predictions", expr)
    for flags, message in (
        (first, "--out None"),
        ((*first, *out), "no list of videos for EXPR"),
        ((*first, *out, "--predictions", other), "as .*expr.csv has"),
        ((*first, *out, "--test-list", f"AU={names}"), "--test-list of AU, but"),
        ((*first, *out, "--test-list", "expr="), "expected one value"),
        ((*first, *out, "--test-list", names, "--test-list", names), "again for EXPR"),
        (
            (*first, *out, "--predictions", va, "--test-list", names),
            "expected TASK=VALUE",
        ),
        (
            (*first, *out, "--test-list", names, "--thresholds", "0.5"),
            "--thresholds without predictions of AU",
        ),
        ((*first, *out, "--test-list", names, "--name", "a/b.txt"), "without a folder"),
        (
            (
                *first,
                *out[:1],
                str(tmp_path),
                "--name",
                "list.txt",
                "--test-list",
                names,
            ),
            "is read or written",
        ),
        (("--predictions", str(tmp_path / "none.csv"), *out), "none.csv"),
        (("--check", expr), "--task with one of EXPR, AU, VA"),
        (("--check", expr, "--task", "expr", *first), "and --predictions"),
        (("--check", str(tmp_path / "no"), "--task", "expr"), "no file"),
    ):
        assert main(list(flags)) == 1, flags
        captured = capsys.readouterr()
        assert re.search(message, captured.err), captured.err
        assert not (tmp_path / "out").exists()
    assert (tmp_path / "list.txt").read_text() == "360\n"


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    made.predicted(tmp_path / "predictions.csv", VA)
    made.write_list(tmp_path / "list.txt", made.LENGTHS)
    assert submit(tmp_path, VA) == 0
    path = tmp_path / "out" / "VA.txt"
    before = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    made.predicted(tmp_path / "predictions.csv", VA, seed=1)
    monkeypatch.setattr(writing, "_plain", fail)
    assert submit(tmp_path, VA) == 1
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == ["VA.txt"]
