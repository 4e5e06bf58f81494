"""Faces found in a made film by their colours, and in real ones by the detector."""

import pathlib
from collections.abc import Sequence

import numpy as np
import pytest
from made.coloured_faces import (
    FPS,
    INSIDE,
    SIDE,
    ByColour,
    script,
    write_film,
)
from PIL import Image

from avemo_jax.convert.torch_file import read_torch
from avemo_jax.extraction import face_tracks
from avemo_jax.extraction.face_crops import face_crops
from avemo_jax.extraction.face_tracks import FaceTrack, find_faces, joined
from avemo_jax.faces import yunet
from avemo_jax.faces.detector import FaceDetector
from avemo_jax.media.images import read_image
from avemo_jax.media.video import open_video


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> pathlib.Path:
    return write_film(tmp_path_factory.mktemp("film") / "film.mp4")


def check_script(tracks: Sequence[FaceTrack]):
    """The red face is first, for it is there for longer; edges may blur a bit."""
    red, blue = tracks
    np.testing.assert_array_equal(red.frame, range(1, 51))
    np.testing.assert_array_equal(blue.frame, range(20, 45))
    for track, name in ((red, "red"), (blue, "blue")):
        expected = [[*script(n)[name], SIDE, SIDE] for n in track.frame]
        assert np.abs(track.boxes - expected).max() <= 1
        shift = track.points - track.boxes[:, None, :2] - INSIDE
        assert np.abs(shift).max() <= 1


@pytest.mark.parametrize(
    "chunk",
    [
        pytest.param(100, marks=pytest.mark.slow),
        7,
        pytest.param(1, marks=pytest.mark.slow),
    ],
)
def test_tracks_do_not_depend_on_the_chunks(chunk, film, monkeypatch):
    monkeypatch.setattr(face_tracks, "_CHUNK", chunk)
    video, detect, done = open_video(film), ByColour(), []
    times_s = video.frame_times().times_s
    check_script(find_faces(video, detect, times_s, progress=done.append))
    assert sum(done) == 60
    assert detect.pictures == 60 if chunk == 1 else detect.pictures < 45
    every = ByColour()
    tracks = find_faces(video, every, times_s, interval_s=0.0)
    check_script(tracks)
    assert every.pictures == 60
    assert all(track.detected.all() for track in tracks)


def test_tracks_of_one_face_are_joined_by_frame():
    parts = []
    for start in (40, 1, 20):
        frame = np.arange(start, start + 5, dtype=np.int32)
        boxes = np.repeat(frame[:, None] * 1.0, 4, axis=1)
        points = np.repeat(boxes[:, None, :2], 5, axis=1)
        parts.append(FaceTrack(frame, boxes, points, frame / 100, frame % 2 == 0))
    one = joined(parts)
    assert one.frame.tolist() == [*range(1, 6), *range(20, 25), *range(40, 45)]
    np.testing.assert_array_equal(one.boxes[:, 3], one.frame)
    np.testing.assert_array_equal(one.points[:, 4, 1], one.frame)
    np.testing.assert_array_equal(one.scores, one.frame / 100)
    np.testing.assert_array_equal(one.detected, one.frame % 2 == 0)
    np.testing.assert_array_equal(joined(parts[:1]).frame, parts[0].frame)


def test_a_reduced_film_gives_boxes_of_its_own_size(film, monkeypatch):
    monkeypatch.setattr(face_tracks, "SHARP_LONG_SIDE_PX", 160)
    video = open_video(film)
    tracks = find_faces(video, ByColour(), video.frame_times().times_s)
    red = tracks[0]
    expected = [[*script(n)["red"], SIDE, SIDE] for n in red.frame]
    assert np.abs(red.boxes - expected).max() <= 3


def test_times_of_another_file_are_refused(film):
    with pytest.raises(ValueError, match="60 frames where 61 have times; expected as"):
        find_faces(open_video(film), ByColour(), np.arange(61) / FPS)


def grey(picture: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).convert("L"), float).ravel()


def check_who_walks_in_front(tracks: Sequence[FaceTrack]) -> None:
    """One with glasses comes before a bald man, whose track waits for him."""
    bald, glasses = (
        set(track.frame.tolist())
        for left in (550, 590)
        for track in tracks
        if track.frame[-1] == 105 and abs(track.boxes[-1, 0] - left) < 15
    )
    assert bald >= {1, 26, 27, 48, 105}
    assert not bald & {*range(28, 38)}
    assert glasses >= {29, 38, 48, 105}
    assert min(glasses) == 29


@pytest.mark.release
def test_crops_of_real_faces_are_those_of_another_detector(shared_data):
    """For each official crop, one of the tracks has nearly the same one."""
    stored = read_torch(shared_data / "weights" / "yunet_n.pth")["state_dict"]
    detector = FaceDetector({name: stored[name] for name in yunet.state_shapes()})
    root = shared_data / "affwild2_mini"
    folders = sorted(root.glob("cropped_aligned*/*"))
    likeness: dict[str, float] = {}
    for file in sorted(root.glob("videos/*/*")):
        video = open_video(file)
        tracks = find_faces(video, detector, video.frame_times().times_s)
        if file.stem.startswith("5-60-"):
            check_who_walks_in_front(tracks)
        made: dict[int, list[np.ndarray]] = {}
        for crop in face_crops(video, tracks, None, ["aligned"]):
            made.setdefault(crop.frame, []).append(grey(crop.picture))
        for folder in folders:
            if folder.name.removesuffix("_left").removesuffix("_right") == file.stem:
                likeness |= {
                    f"{folder.name}/{path.name}": max(
                        np.corrcoef(ours, grey(read_image(path)))[0, 1]
                        for ours in made.get(int(path.stem), [np.arange(112.0**2)])
                    )
                    for path in folder.glob("*.jpg")
                }
    values = np.array(list(likeness.values()))
    assert len(values) == 1040
    assert np.median(values) > 0.95
    assert np.mean(values > 0.8) > 0.975
