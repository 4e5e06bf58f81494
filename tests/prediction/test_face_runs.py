"""Spans and runs of faces."""

import numpy as np
import pytest

from avemo_jax.prediction.face_runs import runs_of, stacked

TIMES = np.arange(100) / 25  # 25 frames a second


def ranges(runs):
    return list(zip(runs.begin.tolist(), runs.end.tolist(), strict=True))


def test_gaps_up_to_half_a_second_are_inside_of_a_run():
    # 12 frames without the face last .48 s, 13 last .52 s
    face = [5, 6, 7, *range(20, 23), *range(36, 40)]
    runs = runs_of(np.array(face), TIMES)
    assert (runs.first, runs.length) == (5, 35)
    assert ranges(runs) == [(0, 18), (31, 35)]
    np.testing.assert_array_equal(runs.frame[runs.seen], face)
    np.testing.assert_array_equal(np.flatnonzero(~runs.inside), range(18, 31))


def test_times_decide_and_not_numbers_of_frames():
    times = np.concatenate([np.arange(10) / 25, 10 + np.arange(10) / 25])
    assert ranges(runs_of(np.array([9, 10, 12]), times)) == [(0, 4)]
    # Frame 10 is shown until 10 s.
    assert ranges(runs_of(np.array([9, 11, 12]), times)) == [(0, 1), (2, 4)]


def test_a_part_of_a_video_keeps_its_numbers():
    runs = runs_of(np.array([1001, 1002]), TIMES, first_frame=1000)
    assert (runs.first, runs.length, ranges(runs)) == (1001, 2, [(0, 2)])


def test_one_frame_and_several_faces():
    one, two = runs_of(np.array([1]), TIMES[:1]), runs_of(np.array([3, 50]), TIMES)
    np.testing.assert_array_equal(
        stacked([one, two]), [[0, 0, 1], [1, 0, 1], [1, 47, 48]]
    )


@pytest.mark.parametrize("frames", [[], [0, 1], [3, 3], [99, 101]])
def test_frames_that_are_not_of_the_video(frames):
    with pytest.raises(ValueError, match="expected ascending numbers"):
        runs_of(np.array(frames, np.int32), TIMES)
