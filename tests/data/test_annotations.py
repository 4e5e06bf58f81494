import pathlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from avemo_jax.data.corpus.annotations import (
    find_label_files,
    frames_of_test_videos,
    read_annotations,
)
from avemo_jax.data.corpus.label_files import (
    MTL_HEADERS,
    read_label_file,
    read_mtl_file,
)
from avemo_jax.data.listing import read_names
from avemo_jax.tasks import AU, EXPR, TASKS, VA, Task

IN_FOLDER = settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def write(path: pathlib.Path, header: str, rows: list[str], end: str = "\n") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((end.join([header, *rows]) + end).encode())


def as_rows(values: np.ndarray, as_text) -> list[str]:
    return [",".join(as_text(v) for v in np.atleast_1d(row)) for row in values]


def test_reads_each_task(tmp_path: pathlib.Path):
    write(tmp_path / "e.txt", EXPR.header, ["0", "-1", "7"])
    write(tmp_path / "a.txt", AU.header, [",".join(["1"] * 11 + ["-1"])])
    write(tmp_path / "v.txt", VA.header, ["0.5,-1", "-5,0.3", "-5,-5", "1,0"])

    expr = read_label_file(tmp_path / "e.txt", EXPR)
    au = read_label_file(tmp_path / "a.txt", AU)
    va = read_label_file(tmp_path / "v.txt", VA)

    assert expr.dtype == np.int8
    assert expr.tolist() == [0, -1, 7]
    assert au.dtype == np.int8
    assert au.tolist() == [[1] * 11 + [-1]]
    assert va.dtype == np.float32
    np.testing.assert_array_equal(
        va, np.float32([[0.5, -1], [np.nan] * 2, [np.nan] * 2, [1, 0]])
    )


@IN_FOLDER
@given(
    st.sampled_from([EXPR, AU, VA]),
    st.integers(1, 30),
    st.integers(0, 2**32 - 1),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
    st.sampled_from([str, lambda v: f"{float(v):.4f}", lambda v: f" {v} "]),
    st.integers(0, 4),
)
def test_reads_what_was_written(
    tmp_path: pathlib.Path, task: Task, rows, seed, end, mark, as_text, blanks
):
    rng = np.random.default_rng(seed)
    if task is VA:
        values = rng.integers(-1000, 1001, (rows, 2)) / 1000
        expected = values.astype(np.float32)
        dropped = rng.random(rows) < 0.3
        values[dropped, rng.integers(2)] = -5
        expected[dropped] = np.nan
    else:
        largest = 1 if task is AU else 7
        expected = rng.integers(-1, largest + 1, (rows, *task.label_shape))
        values = expected
    path = tmp_path / "v.txt"
    write(path, task.header, as_rows(values, as_text), end)
    text = path.read_bytes() + end.encode() * blanks
    path.write_bytes((b"\xef\xbb\xbf" if mark else b"") + text)

    labels = read_label_file(path, task)

    assert labels.dtype == task.label_dtype
    np.testing.assert_array_equal(labels, expected)


WRONG = [
    (EXPR, ["0", "8"], 3, "'8'"),
    (EXPR, ["-2"], 2, "'-2'"),
    (EXPR, ["0", "1.5", "9"], 3, "'1.5'"),
    (EXPR, ["0", "", "1"], 3, "blank"),
    (EXPR, ["0", "1,2"], 3, "2 columns"),
    (EXPR, ["x"], 2, "'x'"),
    (EXPR, ["1_0"], 2, "'1_0'"),
    (EXPR, ["0", "\u00e4"], 3, "\u00e4"),
    (EXPR, ["0\r1"], 2, "columns"),
    (AU, [",".join(["0"] * 11)], 2, "11 columns"),
    (AU, [",".join(["0"] * 12), ",".join(["0"] * 11 + ["2"])], 3, "'2'"),
    (AU, [",".join(["0"] * 12) + ","], 2, "13 columns"),
    (VA, ["0,0", "0.1,1.01"], 3, "'1.01'"),
    (VA, ["nan,0"], 2, "'nan'"),
    (VA, ["0,inf"], 2, "'inf'"),
    (VA, ["0.5"], 2, "1 columns"),
    (VA, ["0,0", "0;0"], 3, "1 columns"),
]


@pytest.mark.parametrize(("task", "rows", "line", "what"), WRONG)
def test_error_names_file_and_line(tmp_path, task, rows, line, what):
    path = tmp_path / "video1.txt"
    write(path, task.header, rows)
    with pytest.raises(ValueError, match=r"video1\.txt, line") as error:
        read_label_file(path, task)
    assert f"line {line}:" in str(error.value)
    assert what in str(error.value)
    assert "expected" in str(error.value)


@IN_FOLDER
@given(st.integers(0, 400), st.integers(1, 400), st.sampled_from(["8", "", "1,1", "?"]))
def test_error_names_the_first_wrong_line(tmp_path, before, after, wrong):
    path = tmp_path / "v.txt"
    write(path, EXPR.header, ["3"] * before + [wrong] + ["9"] * after)
    with pytest.raises(ValueError, match=rf"line {before + 2}:"):
        read_label_file(path, EXPR)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("", "is empty"),
        ("\ufeff\n", "is empty"),
        ("0\n1\n", "line 1: header '0'"),
        (VA.header + "\n0,0\n", "line 1: header 'valence,arousal'"),
        (EXPR.header + "\n", "line 2: no labels"),
        (EXPR.header + "\n\n\r\n", "line 2: no labels"),
    ],
)
def test_empty_or_wrong_header(tmp_path, content, what):
    path = tmp_path / "v.txt"
    path.write_bytes(content.encode())
    with pytest.raises(ValueError, match=r"v\.txt") as error:
        read_label_file(path, EXPR)
    assert what in str(error.value)


def make_tree(root: pathlib.Path, expr_folder: str = EXPR.folders[0]) -> None:
    write(root / expr_folder / "Train_Set" / "video1.txt", EXPR.header, ["0", "1"])
    write(root / expr_folder / "Validation_Set" / "video2.txt", EXPR.header, ["2"])
    write(root / VA.folders[0] / "Train_Set" / "video2.txt", VA.header, ["0,0"] * 3)


@pytest.mark.parametrize("folder", EXPR.folders)
def test_reads_a_tree(tmp_path, folder):
    make_tree(tmp_path / "any name", folder)
    first, second = read_annotations(tmp_path / "any name")
    assert first.video == "video1"
    assert dict(first.splits) == {"EXPR": "train"}
    assert second.splits == {"EXPR": "validation", "VA": "train"}
    assert len(second.labels["VA"]) == 3
    assert len(second.labels["EXPR"]) == 1


def test_hidden_files_are_no_annotations(tmp_path):
    make_tree(tmp_path)
    (tmp_path / EXPR.folders[0] / "Train_Set" / "._video1.txt").write_bytes(b"\0")
    assert len(read_annotations(tmp_path)) == 2


def test_tree_errors(tmp_path):
    with pytest.raises(ValueError, match="no annotations in"):
        read_annotations(tmp_path / "nowhere")
    make_tree(tmp_path)
    with pytest.raises(
        ValueError, match=r"no annotations in .*AU_Detection_Challenge"
    ) as caught:
        read_annotations(tmp_path, tasks=["AU"])
    assert "it has those of EXPR, VA: ask for that" in str(caught.value)
    (tmp_path / EXPR.folders[1]).mkdir()
    with pytest.raises(ValueError, match="has both"):
        read_annotations(tmp_path)


def test_folder_without_files(tmp_path):
    make_tree(tmp_path)
    (tmp_path / VA.folders[0] / "Validation_Set").mkdir()
    with pytest.raises(ValueError, match=r"Validation_Set has no \.txt files"):
        read_annotations(tmp_path)


def test_misspelt_set_folder(tmp_path):
    make_tree(tmp_path)
    (tmp_path / VA.folders[0] / "Trian_Set").mkdir()
    with pytest.raises(ValueError, match="Trian_Set"):
        read_annotations(tmp_path)


@pytest.mark.parametrize("name", ["Test_Set", "test_set", "TEST SET", "Testing-Set"])
def test_test_sets_tell_numbers_of_frames(tmp_path, name, caplog):
    """What stands in them for labels, here of no class at all, is not read."""
    make_tree(tmp_path)
    write(tmp_path / EXPR.folders[0] / name / "later.txt", EXPR.header, ["9"] * 7)
    write(tmp_path / EXPR.folders[0] / name / "video2_left.txt", EXPR.header, [])
    (tmp_path / EXPR.folders[0] / name / "empty.txt").touch()
    write(tmp_path / VA.folders[0] / name / "later.txt", VA.header, ["-5,-5"] * 8)
    with caplog.at_level("INFO"):
        records = {record.video: record for record in read_annotations(tmp_path)}
    later = records["later"]
    assert (later.num_frames, dict(later.labels)) == (8, {})
    assert later.splits == {"EXPR": "test", "VA": "test"}
    assert records["empty"].num_frames == records["video2_left"].num_frames == 0
    assert records["video1"].splits == {"EXPR": "train"}
    assert "EXPR: 3 test videos with 7 frames in" in caplog.text
    assert frames_of_test_videos(tmp_path) == {"later": 8}
    assert frames_of_test_videos(tmp_path / EXPR.folders[0]) == {"later": 7}
    assert frames_of_test_videos(tmp_path / EXPR.folders[0] / name) == {"later": 7}


def test_a_test_set_of_another_task_is_refused(tmp_path):
    make_tree(tmp_path)
    write(tmp_path / EXPR.folders[0] / "Test_Set" / "a.txt", VA.header, ["0,0"])
    with pytest.raises(ValueError, match=r"a\.txt, line 1: header 'valence,arousal'"):
        read_annotations(tmp_path)
    (tmp_path / EXPR.folders[0] / "Test_Set" / "a.txt").unlink()
    assert len(read_annotations(tmp_path)) == 2
    with pytest.raises(ValueError, match="tells no test video's frames; expected Test"):
        frames_of_test_videos(tmp_path)


def test_texts_beside_the_folders_are_no_labels(tmp_path):
    """Such as a readme; loose texts are labels where there are no sets."""
    make_tree(tmp_path)
    own = tmp_path / EXPR.folders[0]
    expected = [
        ("train", own / "Train_Set" / "video1.txt"),
        ("validation", own / "Validation_Set" / "video2.txt"),
    ]
    for folder in (tmp_path, own):
        (folder / "readme.txt").write_text("see the paper")
        assert find_label_files(folder, EXPR) == expected
    assert find_label_files(own / "Train_Set", EXPR) == expected[:1]
    loose = (own / "Train_Set").rename(tmp_path / "loose")
    found = find_label_files(loose, EXPR)
    assert found == [("validation", loose / "video1.txt")]


def test_a_tasks_own_folder_and_one_set(tmp_path):
    """Which task it is, the headers of the files tell; the folder may be renamed."""
    make_tree(tmp_path)
    first, second = read_annotations(tmp_path / EXPR.folders[0])
    assert (first.splits, second.splits) == ({"EXPR": "train"}, {"EXPR": "validation"})
    (tmp_path / VA.folders[0]).rename(tmp_path / "mine")
    (only,) = read_annotations(tmp_path / "mine")
    assert (only.video, only.splits) == ("video2", {"VA": "train"})
    (only,) = read_annotations(tmp_path / "mine" / "Train_Set")
    assert (only.video, only.splits) == ("video2", {"VA": "train"})
    (tmp_path / "mine" / "Train_Set" / "video2.txt").write_text("a\n1\n")
    with pytest.raises(
        ValueError, match=r"video2\.txt, begins with the header of EXPR"
    ):
        read_annotations(tmp_path / "mine")


def test_video_in_both_sets(tmp_path):
    make_tree(tmp_path)
    path = tmp_path / EXPR.folders[0] / "Validation_Set" / "video1.txt"
    write(path, EXPR.header, ["0"])
    with pytest.raises(ValueError, match=r"video1.*already"):
        read_annotations(tmp_path)


def test_error_in_a_tree_names_the_file(tmp_path):
    make_tree(tmp_path)
    path = tmp_path / VA.folders[0] / "Train_Set" / "video9.txt"
    write(path, VA.header, ["0,0", "0,7"])
    with pytest.raises(ValueError, match=r"Train_Set.video9\.txt, line 3"):
        read_annotations(tmp_path)


ZEROS = ",".join(["0"] * 12)
NONE = ",".join(["-1"] * 12)


@pytest.mark.parametrize("header", MTL_HEADERS)
def test_mtl_file(tmp_path, header):
    rows = [
        f"video1/00002.jpg,0.5,-0.25,3,{ZEROS}",
        f"video2/00001.jpg,-5,-5,-1,{ZEROS}",
        f"video1/00004.jpg,-5,-5,-1,{NONE}",
    ]
    write(tmp_path / "train_set.txt", header, rows)
    videos = read_mtl_file(tmp_path / "train_set.txt")
    assert list(videos) == ["video1", "video2"]
    assert videos["video1"]["EXPR"].tolist() == [-1, 3, -1, -1]
    assert videos["video1"]["AU"][1].tolist() == [0] * 12
    assert (videos["video1"]["AU"][[0, 2, 3]] == -1).all()
    assert videos["video1"]["VA"][1].tolist() == [0.5, -0.25]
    assert np.isnan(videos["video1"]["VA"][[0, 2, 3]]).all()
    assert list(videos["video2"]) == ["AU"]


@pytest.mark.parametrize(
    ("row", "what"),
    [
        (f"video1/00001.jpg,0,0,8,{ZEROS}", "EXPR label '8'"),
        (f"video1/00001.jpg,0,2,0,{ZEROS}", "VA label '2'"),
        ("video1/00001.jpg,0,0,0", "4 columns"),
        (f"video1,0,0,0,{ZEROS}", "image name 'video1'"),
        (f"video1/00000.jpg,0,0,0,{ZEROS}", "image name"),
        (f"video0/00007.jpg,0,0,0,{ZEROS}", "again"),
    ],
)
def test_mtl_error_names_the_line(tmp_path, row, what):
    first = f"video0/00007.jpg,0,0,0,{ZEROS}"
    write(tmp_path / "val.txt", MTL_HEADERS[1], [first, row])
    with pytest.raises(ValueError, match=r"val\.txt, line 3") as error:
        read_mtl_file(tmp_path / "val.txt")
    assert what in str(error.value)


def test_mtl_tree(tmp_path):
    row = f"video1/00001.jpg,0,0,0,{ZEROS}"
    write(tmp_path / "MTL_Challenge" / "train_set.txt", MTL_HEADERS[0], [row])
    row = f"video2/00001.jpg,0,0,0,{ZEROS}"
    write(tmp_path / "MTL_Challenge" / "val_set.txt", MTL_HEADERS[0], [row])
    first, second = read_annotations(tmp_path, mtl=True)
    assert first.splits == dict.fromkeys(("VA", "EXPR", "AU"), "train")
    assert second.splits == dict.fromkeys(("VA", "EXPR", "AU"), "validation")


def test_real_annotations(shared_data):
    root = shared_data / "affwild2_mini" / "Annotations"
    records = {record.video: record for record in read_annotations(root)}
    assert len(records) == 7
    for name, task in TASKS.items():
        for video, record in records.items():
            # The naive reading, line by line.
            folder = next(root / f for f in task.folders if (root / f).is_dir())
            (path,) = folder.glob(f"*/{video}.txt")
            lines = path.read_text().split()[1:]
            naive = np.array([[float(v) for v in line.split(",")] for line in lines])
            valid = (
                (naive >= -1).all(axis=1) if task is VA else (naive >= 0).all(axis=1)
            )
            labels = record.labels[name]
            np.testing.assert_array_equal(task.valid(labels), valid)
            np.testing.assert_allclose(
                labels.reshape(len(naive), -1)[valid], naive[valid], atol=1e-7
            )
    assert records["2-24-640x360"].fps == 24
    assert np.isnan(records["video3"].fps)


def test_names_are_in_one_form_of_unicode(tmp_path: pathlib.Path):
    """As archives made on macOS do not have them."""
    decomposed, composed = "vide\u0301o", "vid\u00e9o"
    folder = tmp_path / EXPR.folders[0] / "Train_Set"
    write(folder / f"{decomposed}.txt", EXPR.header, ["0"])
    [record] = read_annotations(tmp_path)
    assert record.video == composed
    (tmp_path / "test.txt").write_text(f"{decomposed}\n")
    assert read_names(tmp_path / "test.txt") == [(1, composed)]
