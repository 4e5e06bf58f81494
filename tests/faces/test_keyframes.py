"""Faces between detected frames, against films whose faces are known."""

import dataclasses
import itertools
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avemo_jax.faces.keyframes import FrameFaces, agree, faces_of_frames, grid

FPS = 25.0


def faces(*lefts: float) -> FrameFaces:
    """Faces of 40 pixels side by side, whose points tell which is which."""
    boxes = np.array([[left, 50.0, 40, 40] for left in lefts]).reshape(-1, 4)
    points = np.repeat(boxes[:, None, :2] + 20, 5, axis=1)
    return FrameFaces(boxes, points, np.linspace(0.9, 0.8, len(lefts)))


class Film:
    """A film that counts what was detected.

    Attributes:
        asked: Indices of the frames that were detected, in order.
    """

    def __init__(self, show: Callable[[int], FrameFaces], length: int):
        self.frames = [show(i) for i in range(length)]
        self.asked: list[int] = []

    def detect(self, wanted: Sequence[int]) -> list[FrameFaces]:
        self.asked += wanted
        return [self.frames[i] for i in wanted]

    def found(self, cuts: Sequence[int] = (), **settings) -> list[FrameFaces]:
        times_s = np.arange(len(self.frames)) / FPS
        return faces_of_frames(times_s, cuts, self.detect, **settings)


def check_as_shown(film: Film, found: Sequence[FrameFaces], atol: float = 1e-9):
    assert len(found) == len(film.frames)
    for number, (ours, shown) in enumerate(zip(found, film.frames, strict=True)):
        assert ours.is_detected == (number in film.asked)
        np.testing.assert_allclose(ours.boxes, shown.boxes, atol=atol)
        np.testing.assert_allclose(ours.points, shown.points, atol=atol)


def test_what_moves_evenly_is_interpolated():
    film = Film(lambda i: faces(10 + i * 0.5, 300 - 0.4 * i), 51)
    check_as_shown(film, film.found())
    assert film.asked == list(range(0, 51, 5)), "five a second"


def test_order_of_the_faces_may_change():
    film = Film(lambda i: faces(10, 100) if i % 2 else faces(100, 10), 11)
    found = film.found()
    assert sorted(film.asked) == [0, 5, 10]
    for number, frame in enumerate(found):
        lefts = film.frames[number - number % 5].boxes[:, 0]
        np.testing.assert_array_equal(frame.boxes[:, 0], lefts)


def test_a_face_that_appears_is_found_to_the_frame():
    film = Film(lambda i: faces(10, 100) if i >= 13 else faces(10), 26)
    check_as_shown(film, film.found())
    assert {12, 13} <= set(film.asked)
    assert len(film.asked) == len(set(film.asked)) <= 9


def test_a_cut_is_never_bridged():
    """The next scene has a face at the same place."""
    film = Film(lambda i: faces(10), 26)
    film.found(cuts=[13])
    assert {12, 13} <= set(film.asked)
    whole = Film(lambda i: faces(10), 26)
    whole.found(cuts=[0])
    assert len(whole.asked) == 6


def test_every_frame():
    film = Film(lambda i: faces(10 + i), 12)
    check_as_shown(film, film.found(interval_s=0.0))
    assert film.asked == list(range(12))
    with pytest.raises(ValueError, match=r"interval_s -1\.0; expected 0"):
        film.found(interval_s=-1.0)


def test_a_doubtful_face_of_one_end_is_not_between():
    first = dataclasses.replace(faces(100, 10), scores=np.array([0.4, 0.9]))
    film = Film(lambda i: first if not i else faces(10 + 0.4 * i), 6)
    found = film.found()
    assert film.asked == [0, 5]
    np.testing.assert_allclose(
        [f.boxes[:, 0] for f in found[1:]], [[10.4], [10.8], [11.2], [11.6], [12.0]]
    )


def test_nothing_to_detect():
    assert faces_of_frames(np.zeros(0), [], lambda wanted: []) == []
    (only,) = faces_of_frames(np.zeros(1), [], lambda wanted: [faces()])
    assert only.is_detected
    empty = Film(lambda i: faces(), 30)
    assert all(not len(frame.boxes) for frame in empty.found())
    assert len(empty.asked) == 7


def test_frames_that_agree():
    assert agree(faces(), faces())
    assert agree(faces(10, 100), faces(102, 11))
    assert not agree(faces(10), faces(20))
    doubtful = dataclasses.replace(faces(10, 100), scores=np.array([0.9, 0.4]))
    assert agree(faces(10), doubtful)
    assert agree(doubtful, faces(10))
    assert not agree(faces(100), doubtful)
    assert not agree(faces(10), faces(10, 100))
    assert not agree(faces(10, 100), faces(10, 150))


@given(
    st.lists(st.floats(0.001, 1), min_size=1, max_size=40),
    st.sampled_from([0.0, 0.2, 1.0]),
)
@settings(deadline=None)
def test_grid_leaves_no_longer_gap(steps, interval_s):
    times_s = np.cumsum(steps)
    taken = grid(times_s, interval_s)
    assert taken[0] == 0
    assert taken[-1] == len(times_s) - 1
    for start, end in itertools.pairwise(taken):
        gap_s = times_s[end] - times_s[start]
        assert end == start + 1 or (end > start and gap_s <= interval_s + 2e-4)


@given(st.lists(st.lists(st.integers(0, 4), max_size=3, unique=True), max_size=40))
@settings(deadline=None)
def test_frames_that_disagree_are_all_detected(places):
    """Next to each interpolated frame lie two that agree."""
    film = Film(lambda i: faces(*(100.0 * place for place in places[i])), len(places))
    found = film.found()
    assert len(found) == len(places)
    asked = sorted(film.asked)
    for start, end in itertools.pairwise(asked):
        assert end == start + 1 or set(places[start]) == set(places[end])
