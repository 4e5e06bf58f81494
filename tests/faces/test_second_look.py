"""A second look at small faces: patches, and points from them."""

import numpy as np
import pytest

from avemo_jax.faces.keyframes import FrameFaces
from avemo_jax.faces.second_look import (
    PATCH_PX,
    patch_around,
    scale_of,
    with_points,
    worth_it,
)

INSIDE = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]])


def faces(*boxes: tuple[float, float, float, float]) -> FrameFaces:
    array = np.array(boxes, float).reshape(-1, 4)
    points = array[:, None, :2] + INSIDE * array[:, None, 2:]
    return FrameFaces(array, points, np.full(len(array), 0.9))


@pytest.mark.parametrize(
    "box",
    [
        (300.0, 200.0, 40.0, 50.0),
        (2.0, 3.0, 30.0, 40.0),  # at the edge
        (570.0, 315.0, 30.0, 40.0),
        (100.0, 50.0, 200.0, 256.0),  # reduced to a half
        (-40.0, -60.0, 500.0, 500.0),
    ],
)
def test_what_a_patch_shows_is_told_where_it_is(box):
    """A dot at the middle of the face is found again where it was."""
    picture = np.full((360, 600, 3), 20, np.uint8)
    x, y = (round(box[axis] + box[2 + axis] / 2) for axis in (0, 1))
    picture[y - 3 : y + 4, x - 3 : x + 4] = 255
    patch = patch_around(picture, np.array(box))
    assert patch.pixels.shape == (PATCH_PX, PATCH_PX, 3)
    rows, columns = np.nonzero(patch.pixels[..., 0] > 130)
    seen = np.array([[columns.mean(), rows.mean()]])
    assert np.abs(seen - PATCH_PX / 2).max() < 20, "near the middle"
    five = np.repeat(seen[None], 5, axis=1)
    dot = FrameFaces(np.array([[*seen[0], 10, 10]]), five, np.ones(1))
    placed = patch.in_picture(dot)
    np.testing.assert_allclose(placed.points[0, 0], [x, y], atol=0.6 / patch.scale)
    np.testing.assert_allclose(placed.boxes[0, 2:], 10 / patch.scale)
    assert patch.scale == pytest.approx(scale_of(np.array(box)), rel=0.01)


def test_only_faces_that_gain_are_looked_at():
    found = faces((0, 0, 60, 80), (0, 0, 300, 380), (0, 0, 400, 500))
    assert worth_it(found, 1.0) == []
    assert worth_it(found, 0.5) == [0]
    assert worth_it(found, 1 / 6) == [0, 1, 2]


def test_points_are_those_of_the_same_face():
    found = faces((100, 100, 40, 40), (200, 100, 40, 40), (300, 100, 40, 40))
    again = faces((150, 90, 40, 40), (103, 98, 40, 44))
    away = faces((200, 140, 40, 40))
    told = with_points(found, [0, 1, 2], [again, away, faces()])
    np.testing.assert_array_equal(told.points[0], again.points[1])
    np.testing.assert_array_equal(told.points[1:], found.points[1:])
    np.testing.assert_array_equal(told.boxes, found.boxes)
    np.testing.assert_array_equal(told.scores, found.scores)
