"""Points of faces of which only boxes are known."""

import dataclasses

import numpy as np
import pytest
from made.coloured_faces import ByColour, write_film

from avemo_jax.extraction.face_points import with_points
from avemo_jax.extraction.face_tracks import find_faces
from avemo_jax.media.video import open_video


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return write_film(tmp_path_factory.mktemp("film") / "film.mp4")


def test_points_are_found_around_boxes_where_they_lack(film):
    video = open_video(film)
    red, blue = find_faces(video, ByColour(), video.frame_times().times_s)
    points, boxes = red.points.copy(), red.boxes.copy()
    points[10:] = np.nan
    boxes[10:] += [-4, -6, 9, 8]  # as others draw them
    boxes[20] = [250, 180, 40, 40]  # where no face is
    boxes[21] = [900, 180, 40, 40]
    other = dataclasses.replace(blue, points=np.full_like(blue.points, np.nan))
    given, detect = dataclasses.replace(red, points=points, boxes=boxes), ByColour()
    found, second = with_points(video, [given, other], detect)
    assert np.isnan(found.points[20:22]).all()
    kept = np.delete(np.arange(50), [20, 21])
    assert np.abs(found.points[kept] - red.points[kept]).max() < 1.5
    assert np.abs(second.points - blue.points).max() < 1.5
    np.testing.assert_array_equal(found.boxes, boxes)
    assert detect.pictures == 40 + 25


def test_a_video_of_known_points_is_not_decoded(film, monkeypatch):
    video = open_video(film)
    tracks = find_faces(video, ByColour(), video.frame_times().times_s)
    monkeypatch.setattr(video, "pictures", lambda: pytest.fail("decoded"))
    detect = ByColour()
    found = with_points(video, tracks, detect)
    np.testing.assert_array_equal(found[0].points, tracks[0].points)
    assert not detect.pictures
