"""Crops of made faces: the right ones of the right frames, and what cannot be cut."""

import dataclasses
import itertools

import numpy as np
import pytest
from made.coloured_faces import COLOURS, SIDE, ByColour, write_film

from avemo_jax.extraction.chosen_faces import chosen_faces
from avemo_jax.extraction.face_crops import face_crops
from avemo_jax.extraction.face_tracks import FaceTrack, find_faces
from avemo_jax.media.video import open_video


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return write_film(tmp_path_factory.mktemp("film") / "film.mp4")


@pytest.fixture(scope="module")
def tracks(film):
    """The red face of frames 1 to 50, the blue one of 20 to 44."""
    video = open_video(film)
    return find_faces(video, ByColour(), video.frame_times().times_s)


def check_colour(picture, name):
    middle = picture[8:-8, 8:-8].astype(int)
    assert np.abs(middle - COLOURS[name]).max() < 25


def test_all_crops_come_in_one_pass_by_frame_track_and_kind(film, tracks):
    found = list(face_crops(open_video(film), tracks, None, ["aligned", "tight"]))
    expected = [
        (frame, track, kind)
        for frame in range(1, 51)
        for track in range(2 if 20 <= frame < 45 else 1)
        for kind in ("aligned", "tight")
    ]
    assert [(one.frame, one.track, one.kind) for one in found] == expected
    for one in found:
        assert one.fault is None
        if one.kind == "aligned":
            assert one.picture.shape == (112, 112, 3)
        else:
            assert np.abs(np.array(one.picture.shape[:2]) - SIDE).max() <= 1
        check_colour(one.picture, list(COLOURS)[one.track])
        assert one.picture.base is None  # no view that keeps the whole picture


def test_only_wanted_rows_are_cut_and_no_frame_after_them_is_decoded(
    film, tracks, monkeypatch
):
    video, decoded = open_video(film), []
    pictures = video.pictures

    def counted():
        for picture in pictures():
            decoded.append(1)
            yield picture

    monkeypatch.setattr(video, "pictures", counted)
    wanted = [track.frame % 10 == 0 for track in tracks]
    wanted[0][-1] = False
    found = face_crops(video, tracks, wanted, ["tight"])
    places = [(one.track, one.frame) for one in found]
    assert places == [(0, 10), (0, 20), (1, 20), (0, 30), (1, 30), (0, 40), (1, 40)]
    assert len(decoded) == 40
    none = [np.zeros(len(track.frame), bool) for track in tracks]
    assert list(face_crops(video, tracks, none, ["tight"])) == []
    assert len(decoded) == 40


def test_a_crop_that_cannot_be_made_is_told_and_the_others_come(film, tracks):
    red = tracks[0]
    boxes, points = red.boxes.copy(), red.points.copy()
    boxes[0] = [400, 40, SIDE, SIDE]
    points[1] = points[1, 0]
    points[2] = np.nan
    boxes[3] = np.nan
    broken = dataclasses.replace(red, boxes=boxes, points=points)
    both = face_crops(open_video(film), [broken], None, ["aligned", "tight"])
    found = {(one.frame, one.kind): one for one in itertools.islice(both, 12)}
    for frame, kind, said in (
        (1, "aligned", "outside the picture of 320 x 240 pixels"),
        (1, "tight", "outside the picture of 320 x 240 pixels"),
        (2, "aligned", "expected different ones"),
        (3, "aligned", "the face's points are not known"),
        (4, "aligned", "the face's box is not known"),
        (4, "tight", "the face's box is not known"),
    ):
        one = found.pop((frame, kind))
        assert said in one.fault
        assert one.picture is None
    assert len(found) == 6
    for one in found.values():
        check_colour(one.picture, "red")


def test_another_video_or_other_rows_are_refused(film, tracks):
    red = tracks[0]
    later = dataclasses.replace(red, frame=red.frame + 20)
    with pytest.raises(ValueError, match=r"ends at frame 60 where .* of frame 70; exp"):
        list(face_crops(open_video(film), [later], None, ["tight"]))
    wanted = [np.ones(3, bool)]
    with pytest.raises(ValueError, match=r"lengths \[3\]; expected \[50\]"):
        list(face_crops(open_video(film), [red], wanted, ["tight"]))


def track_of(first: int, count: int) -> FaceTrack:
    frame = np.arange(first, first + count, dtype=np.int32)
    ones = np.ones(count)
    return FaceTrack(frame, np.ones((count, 4)), np.ones((count, 5, 2)), ones, ones > 0)


def test_faces_are_chosen_by_number_of_frames():
    short, late, early = track_of(1, 3), track_of(30, 9), track_of(10, 9)
    tracks = [short, late, early]
    assert chosen_faces(tracks, "all") == [early, late, short]
    assert chosen_faces(tracks, "largest") == [early]
    assert chosen_faces(tracks, 2) == [early, late]
    assert chosen_faces(tracks, 7) == [early, late, short]
    assert chosen_faces([], "largest") == []
    for wrong in (0, -1):
        with pytest.raises(ValueError, match=f"faces {wrong}; expected all, largest"):
            chosen_faces(tracks, wrong)
