"""The checker of submission files: silent on what is right, loud on every fault."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made import submissions as made

from avemo_jax.challenge.submit.checking import check_submission
from avemo_jax.challenge.submit.command import main
from avemo_jax.challenge.submit.decisions import decide_rows
from avemo_jax.challenge.submit.predictions import load_predictions
from avemo_jax.challenge.submit.rows import every_frame
from avemo_jax.challenge.submit.writing import write_submission
from avemo_jax.tasks import AU, EXPR, TASKS, VA, Task

ALL = pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
VIDEOS = list(made.LENGTHS)


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> dict[str, bytes]:
    """By task: a submission of ``made.LENGTHS``, of real predictions."""
    folder = tmp_path_factory.mktemp("written")
    files = {}
    for task in TASKS.values():
        path = made.predicted(folder / f"{task.name}.csv", task)
        rows = every_frame(VIDEOS, np.array(list(made.LENGTHS.values())))
        values = decide_rows(load_predictions(path), rows).values
        write_submission(folder / "a.txt", task, rows, values)
        files[task.name] = (folder / "a.txt").read_bytes()
    return files


def check(folder, data: bytes, task: Task, **expected):
    path = folder / "checked.txt"
    path.write_bytes(data)
    return check_submission(path, task, **expected)


def faults(report) -> str:
    return "; ".join(f"{f.count} x {f.what}: {f.first}" for f in report.findings)


def _drop(lines, data, _):
    del lines[data.draw(st.integers(0, len(lines) - 1))]


def _repeat(lines, data, _):
    at = data.draw(st.integers(0, len(lines) - 1))
    to = data.draw(st.integers(0, len(lines)))
    lines.insert(to, lines[at])


def _swap(lines, data, _):
    i, j = sorted(
        data.draw(
            st.lists(
                st.integers(0, len(lines) - 1), min_size=2, max_size=2, unique=True
            )
        )
    )
    lines[i], lines[j] = lines[j], lines[i]


def _name(lines, data, _):
    """One character before the first comma becomes another."""
    at = data.draw(st.integers(0, len(lines) - 1))
    comma = lines[at].index(b",")
    i = data.draw(st.integers(0, comma))
    new = data.draw(st.sampled_from(b"0123456789x/,. \xff"))
    if lines[at][i] == new:
        new = ord("y")
    lines[at] = lines[at][:i] + bytes([new]) + lines[at][i + 1 :]


def _value(lines, data, task):
    at = data.draw(st.integers(1, len(lines) - 1))
    name, *values = lines[at].split(b",")
    i = data.draw(st.integers(0, len(values) - 1))
    wrong = {
        "EXPR": [b"8", b"-1", b"", b"01", b"1.0", b"Neutral"],
        "AU": [b"2", b"-1", b"", b"0.5", b"True", b" 1"],
        "VA": [b"1.000001", b"-5", b"", b"nan", b"inf", b"1e-05", b" 0.5", b"--0.5"],
    }
    values[i] = data.draw(st.sampled_from(wrong[task.name]))
    lines[at] = b",".join([name, *values])


def _columns(lines, data, _):
    at = data.draw(st.integers(0, len(lines) - 1))
    if data.draw(st.booleans()):
        lines[at] += b",0"
    else:
        lines[at] = lines[at].rpartition(b",")[0]


def _header(lines, data, task):
    others = [made.HEADERS[t] for t in TASKS if t != task.name]
    odd = [lines[0].swapcase(), lines[0].replace(b",", b", "), b"", lines[1]]
    lines[0] = data.draw(st.sampled_from([*(o.encode() for o in others), *odd]))


def _video_away(lines, data, _):
    video = data.draw(st.sampled_from(VIDEOS)).encode()
    lines[:] = [line for line in lines if not line.startswith(video + b"/")]


def _ends(lines, data, _):
    kind = data.draw(st.sampled_from(["crlf", "one crlf", "mark", "blank"]))
    at = data.draw(st.integers(0, len(lines) - 1))
    if kind == "mark":
        lines[0] = b"\xef\xbb\xbf" + lines[0]
    elif kind == "blank":
        lines.insert(at, b"")
    else:
        some = range(len(lines)) if kind == "crlf" else [at]
        for i in some:
            lines[i] += b"\r"


MUTATIONS = (
    *(_drop, _repeat, _swap, _name, _value, _columns, _header, _video_away, _ends),
)


@ALL
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda f: f.__name__)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_every_mutation_is_found(tmp_path_factory, written, task, mutation, data):
    folder = tmp_path_factory.getbasetemp()
    (folder / "example.txt").write_bytes(written[task.name])
    lines = written[task.name].splitlines()
    mutation(lines, data, task)
    changed = b"".join(line + b"\n" for line in lines)
    assert changed != written[task.name]
    report = check(folder, changed, task, videos=VIDEOS, frames=made.LENGTHS)
    assert not report.ok
    assert "FAULTS" in str(report)
    assert not check(folder, changed, task, example=folder / "example.txt").ok


@ALL
def test_what_was_written_has_no_faults(tmp_path, written, task):
    data = written[task.name]
    (tmp_path / "example.txt").write_bytes(data)
    for expected in (
        {},
        {"videos": VIDEOS},
        {"videos": VIDEOS, "frames": made.LENGTHS | {"other": 3}},
        {"example": tmp_path / "example.txt"},
        {
            "videos": VIDEOS,
            "frames": made.LENGTHS,
            "example": tmp_path / "example.txt",
        },
    ):
        report = check(tmp_path, data, task, **expected)
        assert report.ok, faults(report)
        assert report.rows_of == made.LENGTHS
        assert bool(report.notes) == (expected.keys() <= {"videos"})


@ALL
def test_a_file_cut_off_anywhere_is_found(tmp_path, written, task):
    data = written[task.name]
    for size in range(len(data)):
        report = check(tmp_path, data[:size], task, videos=VIDEOS, frames=made.LENGTHS)
        assert not report.ok, size


def test_lines_are_named_and_five_are_shown(tmp_path, written):
    lines = written["EXPR"].splitlines()
    for at in range(3, 13):
        lines[at] = lines[at].rpartition(b",")[0] + b",8"
    report = check(tmp_path, b"\n".join(lines) + b"\n", EXPR, frames=made.LENGTHS)
    (finding,) = report.findings
    assert (finding.count, len(finding.first)) == (10, 5)
    assert finding.what == "a value is wrong; expected an integer 0 to 7"
    assert finding.first[0] == "line 4: '14-30-1920x1080/00003.jpg,8': '8'"
    assert str(report).splitlines()[0].endswith("3 videos, 16 rows: FAULTS, 10 in all")


def test_what_differs_from_an_example(tmp_path, written):
    header, *lines = written["VA"].splitlines(keepends=True)
    path = tmp_path / "example.txt"
    path.write_bytes(b"\xef\xbb\xbf" + written["VA"].replace(b"\n", b"\r\n"))
    assert check(tmp_path, written["VA"], VA, example=path).ok
    moved = [*lines[:2], lines[3], lines[2], *lines[5:], b"new/00001.jpg,0,0\n"]
    report = check(tmp_path, header + b"".join(moved), VA, example=path)
    assert faults(report) == (
        "1 x a row of the example is missing: "
        "(\"'14-30-1920x1080/00005.jpg', line 6 of the example\",); "
        "1 x a row is not in the example: (\"line 17: 'new/00001.jpg'\",); "
        "2 x a row is not where the example has it: "
        "(\"line 4: '14-30-1920x1080/00004.jpg', expected '14-30-1920x1080/00003.jpg'\""
        ", "
        "\"line 5: '14-30-1920x1080/00003.jpg', expected '14-30-1920x1080/00004.jpg'\")"
        "; 2 x a video has not as many rows as in the example: "
        "(\"'14-30-1920x1080': 5, example 6\", \"'new': 1, example 0\")"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.replace(b"\n", b"\r\n"), r"16 x lines end as on Windows"),
        (lambda d: b"\xef\xbb\xbf" + d, r"1 x a byte-order mark"),
        (lambda d: d.rstrip(b"\n"), "1 x no line end after the last line"),
        (lambda d: d + b"\n", "1 x a blank line"),
        (lambda d: b"", "1 x no rows"),
        (lambda d: d.replace(b"/00003", b"/3"), "2 x a name is not of the form"),
        (lambda d: d.replace(b"/00003", b"/000003"), "2 x a name is not of the form"),
        (lambda d: d.replace(b".jpg", b".png"), "16 x a name is not of the form"),
        (lambda d: d.replace(b"360/", b"batch1/360/"), "1 x a name is not of the form"),
        (lambda d: d.replace(b"360/", b"video3_left/"), "1 x a frame is out of order"),
        (
            lambda d: d.replace(b"360/", b"14-30-1920x1080/"),
            "1 x a video goes on after",
        ),
        (lambda d: d.replace(b"360/", b"\xff\xfe/"), "1 x a video is not in the list"),
        (lambda d: d.replace(b"360/", b"361/"), "1 x a listed video is missing"),
    ],
)
def test_kinds_of_faults(tmp_path, written, change, message):
    report = check(
        tmp_path, change(written["AU"]), AU, videos=VIDEOS, frames=made.LENGTHS
    )
    assert message in faults(report)


def test_videos_in_another_order_than_the_list(tmp_path, written):
    report = check(tmp_path, written["AU"], AU, videos=["360", *VIDEOS[:2]])
    assert "3 x a video is not where the list has it" in faults(report)


def test_six_digits_from_frame_100000(tmp_path):
    rows = every_frame(["long"], np.array([100_001]))
    path = tmp_path / "long.txt"
    write_submission(path, EXPR, rows, np.zeros((100_001, 1), np.int8))
    assert path.read_text().endswith(
        "/99999.jpg,0\nlong/100000.jpg,0\nlong/100001.jpg,0\n"
    )
    report = check_submission(path, EXPR, frames={"long": 100_001}, example=path)
    assert report.ok, faults(report)


def test_official_counts_are_told(tmp_path):
    rows = every_frame([f"v{i}" for i in range(162)], np.ones(162, np.int64))
    write_submission(tmp_path / "a.txt", VA, rows, np.zeros((162, 2)))
    report = check_submission(tmp_path / "a.txt", VA)
    assert report.ok
    assert "163 lines with the header; the challenge's file of 162" in report.notes[1]


def test_wrong_files_are_errors(tmp_path, written):
    (tmp_path / "au.txt").write_bytes(written["AU"])
    with pytest.raises(ValueError, match=r"no file .*expected a submission of VA"):
        check_submission(tmp_path / "none.txt", VA)
    for example, message in (
        ("au.txt", "header 'image_location,AU1"),
        ("none.txt", "no such file, or empty"),
    ):
        with pytest.raises(ValueError, match=f"{message}.*official example of VA"):
            check(tmp_path, written["VA"], VA, example=tmp_path / example)


def test_the_command_alone(tmp_path, written, capsys):
    for task, data in written.items():
        (tmp_path / f"{task}.txt").write_bytes(data)
    made.write_list(tmp_path / "list.txt", VIDEOS)
    made.write_list(
        tmp_path / "frames.csv",
        ["video,frames", *(f"{video},{n}" for video, n in made.LENGTHS.items())],
    )
    flags = ["--check", str(tmp_path / "AU.txt"), "--task"]
    full = ["--test-list", str(tmp_path / "list.txt")]
    full += ["--frames", str(tmp_path / "frames.csv")]
    full += ["--example", f"AU={tmp_path / 'AU.txt'}"]
    assert main([*flags, "au", *full]) == 0
    assert "AU, 3 videos, 16 rows: no faults" in capsys.readouterr().out
    assert main([*flags, "AU"]) == 0
    assert "number of frames of each video was not" in capsys.readouterr().out
    assert main([*flags, "va"]) == 1
    out = capsys.readouterr().out
    assert "line 1: the header of AU" in out
    assert "16 x a wrong number of columns; expected 3" in out
