"""Tables of faces that other programs, or an earlier run, have found."""

import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from avemo_jax.extraction.given_faces import read_given_faces

SIZE = (240, 320)  # height, width
TIMES_S = np.arange(50) / 25
OURS = "input,frame,timestamp,face_id,success,confidence,"
OURS += "FaceRectX,FaceRectY,FaceRectWidth,FaceRectHeight,filled"
FEAT = "frame,FaceRectX,FaceRectY,FaceRectWidth,FaceRectHeight,FaceScore,input,Identity"


def write(folder: pathlib.Path, header: str, *rows: str) -> pathlib.Path:
    path = folder / "faces.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def read(path: pathlib.Path, name: str | None = None):
    return read_given_faces(path, times_s=TIMES_S, size=SIZE, input_name=name)


def test_our_own_table(tmp_path):
    """A face id of its own for each face; rows without one, or success, show none."""
    path = write(
        tmp_path,
        OURS,
        "talk,1,0.0,2,1,0.9,10,20,30,40,0",
        "talk,2,0.04,,0,,,,,,0",
        "talk,3,0.08,1,1,0.8,100,20,30,40,0",
        "talk,4,0.12,1,0,,,,,,1",
        "talk,5,0.16,1,1,0.7,104,20.5,30,40,0",
        "other,1,0.0,1,1,0.7,104,20.5,30,40,0",
    )
    for name in ("talk", "talk.mp4"):
        if name == "talk.mp4":
            path.write_text(path.read_text().replace("talk,", "films/talk.mp4,"))
        one, two = read(path, "talk")
        np.testing.assert_array_equal(one.frame, [3, 5])
        expected = [[100, 20, 30, 40], [104, 20.5, 30, 40]]
        np.testing.assert_array_equal(one.boxes, expected)
        np.testing.assert_array_equal(one.scores, [0.8, 0.7])
        np.testing.assert_array_equal(two.frame, [1])
        assert np.isnan(one.points).all()
        assert one.detected.all()
        assert one.frame.dtype == np.int32


def landmarks(left: float, top: float) -> tuple[np.ndarray, str]:
    """68 points, and their cells after each other: all x, then all y."""
    rng = np.random.default_rng(3)
    marks = np.round(rng.uniform(0, 60, (68, 2)) + np.array([left, top]), 1)
    return marks, ", ".join(str(x) for x in marks.T.ravel())


def test_a_table_of_openface(tmp_path):
    names = [f"{axis}_{i}" for axis in "xyX" for i in range(68)]
    header = ", ".join(["frame", "face_id", "timestamp", "confidence", "success"])
    rows = []
    for frame in range(1, 50):
        marks, cells = landmarks(50 + frame, 60)
        good = int(frame != 7)
        place = f"{frame}, 0, {frame / 25:.3f}, 0.98, {good}, "
        rows.append(place + cells + ", 5000" * 68)
    path = write(tmp_path, f"{header}, {', '.join(names)}", *rows)
    (face,) = read(path)
    np.testing.assert_array_equal(face.frame, [*range(1, 7), *range(8, 50)])
    marks = landmarks(50 + 49, 60)[0]
    expected = [
        marks[36:42].mean(axis=0),
        marks[42:48].mean(axis=0),
        *marks[[30, 48, 54]],
    ]
    np.testing.assert_allclose(face.points[-1], expected)
    np.testing.assert_allclose(face.boxes[1:, 2:], face.boxes[:-1, 2:])
    assert (face.boxes[:, 2:] > 0).all()


def test_a_table_of_py_feat_counts_from_0(tmp_path):
    path = write(
        tmp_path,
        FEAT,
        "0,10,20,30,40,0.99,/home/me/talk.mp4,Person_0",
        "0,200,20,30,40,0.9,/home/me/talk.mp4,Person_1",
        "1,,,,,,/home/me/talk.mp4,",
        "2.0,11,20,30,40,0.98,/home/me/talk.mp4,Person_0",
    )
    one, two = read(path, "talk")
    np.testing.assert_array_equal(one.frame, [1, 3])
    np.testing.assert_array_equal(one.scores, [0.99, 0.98])
    np.testing.assert_array_equal(two.frame, [1])


def test_faces_without_names_are_followed_by_where_they_are(tmp_path):
    header = FEAT.removesuffix(",Identity")
    rows = []
    for i in range(10):
        pair = [f"{i},{10 + i},20,30,40,0.4,x", f"{i},{200 - i},50,30,40,0.99,x"]
        rows += pair[:: 1 if i % 2 else -1]
    one, two = read(write(tmp_path, header, *rows))
    assert len(one.frame) == len(two.frame) == 10
    assert {one.boxes[0, 0], two.boxes[0, 0]} == {10, 200}
    for track in (one, two):
        np.testing.assert_array_equal(np.abs(np.diff(track.boxes[:, 0])), 1)


def test_parquet_is_read_too(tmp_path):
    path = tmp_path / "faces.parquet"
    numbers = {"frame": [1, 2], "FaceRectX": [1.5, np.nan], "FaceRectY": [2.0, np.nan]}
    sizes = {"FaceRectWidth": [30.0, np.nan], "FaceRectHeight": [40.0, np.nan]}
    pa.parquet.write_table(pa.table(numbers | sizes), path)
    (face,) = read(path)
    np.testing.assert_array_equal(face.frame, [1])
    np.testing.assert_array_equal(face.boxes, [[1.5, 2, 30, 40]])
    np.testing.assert_array_equal(face.scores, [1.0])


GOOD = "talk,1,0.0,1,1,0.9,10,20,30,40,0"


@pytest.mark.parametrize(
    ("header", "rows", "said"),
    [
        ("video,frame,AU01", ["a,1,0"], "no FaceRectX, FaceRectY, .* 68 landmarks x_0"),
        (OURS, [], "no rows; expected one for each frame and face"),
        (
            OURS,
            [GOOD, "talk,51,2.0,1,1,0.9,10,20,30,40,0"],
            "line 3, column 'frame': frame 51 .* counts from 1; expected 1 to 50",
        ),
        (
            OURS,
            ["talk,0,0.0,1,1,0.9,10,20,30,40,0"],
            "frame 0 .* counts from 1; expected 1 to 50, since 50 frames",
        ),
        (
            FEAT,
            ["50,10,20,30,40,0.9,talk,a"],
            "frame 50 in a table of py-feat, which counts from 0; expected 0 to 49",
        ),
        (
            OURS,
            ["talk,31,1.0,1,1,0.9,10,20,30,40,0", "talk,41,3.0,1,1,0.9,1,2,3,4,0"],
            r"line 3, column 'timestamp': 3.000 s for frame 41; expected 1.600 s",
        ),
        (OURS, [GOOD, GOOD], r"line 3: frame 1 of one face again .*\(line 2\)"),
        (
            OURS,
            ["talk,1,0.0,1,1,0.9,1000,20,30,40,0", "talk,2,0.04,1,1,0.9,900,2,30,40,0"],
            "line 2: a box .* and 2 of 2 so, outside the pictures of 320 x 240 pixels",
        ),
        (
            OURS,
            ["talk,1,0.0,1,1,0.9,10,20,0,40,0"],
            "line 2: a box .* expected width and height over 0",
        ),
        (
            OURS,
            ["talk,1,0.0,1,1,0.9,10,20,1e9,40,0"],
            "line 2: a box .* in pictures of 320 x 240 pixels; expected one of a face",
        ),
        (
            OURS,
            [GOOD, "talk,2,0.04,,1,0.9,10,20,30,40,0"],
            "line 3, column 'face_id': no value beside a box",
        ),
        (OURS, [GOOD.replace("talk", "b")], "column 'input': b; expected .*'talk'"),
        (OURS, ["talk,1,0.0,1,1,0.9,ten,20,30,40,0"], "line 2, .*'ten'; expected a nu"),
    ],
)
def test_tables_that_are_wrong_or_of_another_video(header, rows, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        read(write(tmp_path, header, *rows), "talk")


def test_a_table_of_openface_of_a_shorter_video(tmp_path):
    names = [f"{axis}_{i}" for axis in "xy" for i in range(68)]
    header = ",".join(["frame", "confidence", "success", *names])
    rows = [f"{frame},1,1,{landmarks(50, 60)[1]}" for frame in range(1, 31)]
    with pytest.raises(
        ValueError, match=r"30 frames in .* OpenFace.* video's 50: give"
    ):
        read(write(tmp_path, header, *rows))


def test_a_table_in_which_no_one_is_found_has_no_faces(tmp_path):
    assert read(write(tmp_path, OURS, "talk,1,0.0,,0,,,,,,0"), "talk") == []
