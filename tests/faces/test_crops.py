"""Crops against linear least squares and plain interpolation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from avemo_jax.faces.crops import (
    ARCFACE_TEMPLATE,
    aligned,
    robust_similarities,
    robust_similarity,
    similarity,
    tight,
)

points_of = arrays.arrays(
    np.float64, (5, 2), elements=st.integers(-200, 200).map(float)
)


def by_least_squares(points: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """The two numbers of the turn and the shift from ten equations."""
    rows, values = [], []
    for (x, y), (u, v) in zip(points, goal, strict=True):
        rows += [[x, -y, 1, 0], [y, x, 0, 1]]
        values += [u, v]
    (a, b, dx, dy), *_ = np.linalg.lstsq(np.array(rows), np.array(values))
    return np.array([[a, -b, dx], [b, a, dy]])


@given(points_of, points_of)
@settings(deadline=None)
def test_similarity_is_the_one_of_least_squares(points, goal):
    if np.ptp(points, axis=0).max() == 0:
        with pytest.raises(ValueError, match="of a face; expected different ones"):
            similarity(points, goal)
        return
    expected = by_least_squares(points, goal)
    np.testing.assert_allclose(similarity(points, goal), expected, atol=1e-6)


def test_a_point_that_fits_badly_pulls_by_less():
    """The face is half turned away, so its nose lies far to the side."""
    face = ARCFACE_TEMPLATE * 3 + 50
    exact = similarity(face, ARCFACE_TEMPLATE)
    np.testing.assert_allclose(robust_similarity(face, ARCFACE_TEMPLATE), exact)
    turned = face.copy()
    turned[2, 0] += 60
    shifts = []
    for fit in (similarity, robust_similarity):
        matrix = fit(turned, ARCFACE_TEMPLATE)
        eyes = face[:2] @ matrix[:, :2].T + matrix[:, 2]
        away = np.linalg.norm(eyes - ARCFACE_TEMPLATE[:2], axis=1)
        shifts.append(away.mean())
    assert shifts[1] < 0.5 * shifts[0]
    with pytest.raises(ValueError, match="expected different ones"):
        robust_similarity(np.ones((5, 2)), ARCFACE_TEMPLATE)


@given(points_of, points_of)
@settings(deadline=None, max_examples=30)
def test_the_robust_fit_has_least_of_hubers_loss(points, goal):
    """No small change of scale, turn or shift makes it better by much."""
    if np.ptp(points, axis=0).max() == 0:
        return

    def loss(matrix: np.ndarray) -> float:
        away = np.linalg.norm(points @ matrix[:, :2].T + matrix[:, 2] - goal, axis=1)
        return np.where(away < 2.5, away**2 / 2, 2.5 * (away - 1.25)).sum()

    robust, plain = robust_similarity(points, goal), similarity(points, goal)
    assert loss(robust) <= loss(plain) + 1e-9


def test_many_faces_at_once_fit_as_each_alone():
    rng = np.random.default_rng(0)
    faces = 2 * ARCFACE_TEMPLATE + rng.normal(0, 6, (9, 5, 2))
    faces[4] = faces[4, 0]
    faces[6, 1] = np.nan
    found = robust_similarities(faces, ARCFACE_TEMPLATE)
    assert np.flatnonzero(np.isnan(found).any(axis=(1, 2))).tolist() == [4, 6]
    for i in (0, 1, 2, 3, 5, 7, 8):
        alone = robust_similarity(faces[i], ARCFACE_TEMPLATE)
        np.testing.assert_allclose(found[i], alone, rtol=1e-12)


def gradient(height: int = 60, width: int = 80) -> np.ndarray:
    """Colours that tell where a pixel was."""
    y, x = np.mgrid[:height, :width]
    return np.stack([3 * x, 4 * y, x + y], axis=-1).astype(np.uint8)


def test_aligned_at_whole_pixels_is_what_stood_there():
    picture = gradient()
    crop = aligned(picture, ARCFACE_TEMPLATE, ARCFACE_TEMPLATE - [7, 5], size_px=40)
    np.testing.assert_array_equal(crop, picture[5:45, 7:47])


def test_aligned_between_pixels_is_interpolated():
    """A turn by a quarter, twice the size, the first pixel's centre at (11.5, 6.5)."""
    goal = np.array([[10.0, 6], [20, 6], [15, 9], [11, 14], [19, 14]])
    turned = np.stack([-goal[:, 1], goal[:, 0]], axis=1) / 2 + [30, 10]
    crop = aligned(gradient(), turned, goal, size_px=20)
    y, x = np.mgrid[:20, :20]
    there_x, there_y = 30 - y / 2, 10 + x / 2
    expected = np.stack([3 * there_x, 4 * there_y, there_x + there_y], axis=-1)
    assert np.abs(crop - expected).max() <= 0.51


def test_outside_the_picture_is_black():
    crop = aligned(
        np.full((10, 10, 3), 200, np.uint8),
        ARCFACE_TEMPLATE,
        ARCFACE_TEMPLATE + 20,
        size_px=40,
    )
    assert (crop[21:29, 21:29] == 200).all()
    assert not crop[:19].any()
    assert not crop[:, 31:].any()


def test_tight_boxes_end_at_the_edges():
    picture = gradient()
    np.testing.assert_array_equal(
        tight(picture, np.array([10.4, 20.6, 5.0, 8.0])), picture[21:29, 10:15]
    )
    np.testing.assert_array_equal(
        tight(picture, np.array([-5.0, -5, 15, 25])), picture[:20, :10]
    )
    with pytest.raises(ValueError, match="outside the picture of 80 x 60 pixels"):
        tight(picture, np.array([90.0, 5, 10, 10]))
