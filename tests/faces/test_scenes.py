"""Tracks of several scenes joined by their mean embeddings."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avemo_jax.faces.scenes import join_scenes


def frames(*spans: tuple[int, int]) -> list[np.ndarray]:
    return [np.arange(first, last + 1) for first, last in spans]


def directions(*degrees: float) -> np.ndarray:
    return np.array([[np.cos(d), np.sin(d)] for d in np.radians(degrees)])


def test_scenes_of_one_person_are_joined():
    """Two people in turn, as in an interview; who is seen for longest comes first."""
    spans = frames((1, 50), (51, 200), (201, 230), (231, 300))
    means = directions(0, 90, 2, 91) * [[1], [5], [0.1], [2]]
    assert join_scenes(spans, means) == [[1, 3], [0, 2]]
    assert join_scenes(spans, means, min_cosine=1.5) == [[1], [3], [0], [2]]


def test_who_is_seen_at_the_same_time_stays_apart():
    spans = frames((1, 100), (50, 60), (101, 110))
    assert join_scenes(spans, directions(0, 0, 1)) == [[0, 2], [1]]
    # A gap of a track is its own.
    gap = [np.array([1, 2, 9, 10]), np.array([4, 5])]
    assert join_scenes(gap, directions(0, 0)) == [[0], [1]]
    # The third is most like the second, and then the first is left.
    assert join_scenes(frames((1, 9), (5, 8), (20, 29)), directions(0, 4, 3)) == [
        [1, 2],
        [0],
    ]


def test_a_chain_of_likeness_is_no_person():
    """Each is like the next; the first and the last are not alike."""
    spans = frames(*((10 * i + 1, 10 * i + 9) for i in range(8)))
    groups = join_scenes(spans, directions(*range(0, 120, 15)))
    assert len(groups) >= 4


def test_tracks_without_an_embedding_are_joined_with_nothing():
    means = np.array([[np.nan, np.nan], [1, 0], [0, 0], [1, 0]], np.float32)
    spans = frames((1, 2), (3, 4), (5, 6), (7, 8))
    assert join_scenes(spans, means) == [[1, 3], [0], [2]]
    assert join_scenes([], np.zeros((0, 4))) == []


def test_wrong_tracks():
    with pytest.raises(ValueError, match="1 mean embeddings of 2 tracks of"):
        join_scenes(frames((1, 2), (3, 4)), directions(0))
    with pytest.raises(ValueError, match="no empty track"):
        join_scenes([np.zeros(0, int)], directions(0))


@given(
    st.lists(
        st.tuples(st.integers(1, 60), st.integers(0, 20), st.integers(0, 90)),
        max_size=12,
    )
)
@settings(deadline=None, max_examples=40)
def test_every_track_is_in_one_group_and_nobody_is_twice_in_a_frame(tracks):
    spans = frames(*((first, first + more) for first, more, _ in tracks))
    groups = join_scenes(spans, directions(*(d for _, _, d in tracks)).reshape(-1, 2))
    assert sorted(itertools.chain(*groups)) == list(range(len(tracks)))
    for group in groups:
        shown = np.concatenate([spans[i] for i in group])
        assert len(set(shown.tolist())) == len(shown)
