import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avemo_jax.media.picture_times import ASSUMED_FPS, mend, rate_of

NAN = np.nan


def stamps(*seconds: float) -> np.ndarray:
    return np.array(seconds, np.float64)


@pytest.mark.parametrize(
    ("given_s", "expected_s"),
    [
        # One repeats; one is early; one is late: the others stay.
        ((0, 1, 2, 2, 4, 5), (0, 1, 2, 3, 4, 5)),
        ((0, 1, 2, 0.5, 4, 5), (0, 1, 2, 3, 4, 5)),
        ((0, 1, 2, 99, 4, 5), (0, 1, 2, 3, 4, 5)),
        ((9, 1, 2, 3), (0, 1, 2, 3)),
        ((0, 1, 2, 1), (0, 1, 2, 3)),
        # None there: between neighbours, at the ends by the rate.
        ((NAN, 1, NAN, 3, 4, NAN), (0, 1, 2, 3, 4, 5)),
        # A hole stays.
        ((0, 1, 2, 60, 61, 62), (0, 1, 2, 60, 61, 62)),
        # The rate varies; one repeats.
        ((0, 1, 3, 3, 4, 8, 9), (0, 1, 3, 3.5, 4, 8, 9)),
    ],
)
def test_few_are_mended_between_their_neighbours(given_s, expected_s):
    times_s, notes = mend(stamps(*given_s), 2.0)
    np.testing.assert_allclose(times_s, expected_s, rtol=0, atol=1e-12)
    assert len(notes) == (list(given_s) != list(expected_s))


@pytest.mark.parametrize(("first", "second"), [(50, 50), (80, 20), (20, 80)])
def test_a_clock_set_anew_goes_on(first, second):
    clock = np.concatenate([np.arange(first), np.arange(second)]) / 25
    times_s, notes = mend(clock, None)
    np.testing.assert_allclose(times_s, np.arange(100) / 25, rtol=0, atol=1e-9)
    assert len(notes) == 1
    assert notes[0].startswith("time stamps leap or repeat at 1 of 100 pictures")


def test_a_leap_of_hours_is_no_hole():
    times_s, notes = mend(stamps(0, 1, 2, 8000, 8001, 8002), None)
    np.testing.assert_allclose(times_s, [0, 1, 2, 3, 4, 5])
    assert "leap or repeat at 1 of 6" in notes[0]


@pytest.mark.parametrize("at", [0, 1, 4, 7, 8])
@pytest.mark.parametrize("value", [-3597.0, 5000.0])
def test_one_that_is_hours_away_moves_no_other(at, value):
    right = np.cumsum([1.0, 3, 1, 1, 1, 1, 1, 1, 1])
    damaged = right.copy()
    damaged[at] = value
    times_s, notes = mend(damaged, None)
    # Beside it, its neighbour may have to go instead.
    far = np.abs(np.arange(9) - at) > 1
    np.testing.assert_array_equal(times_s[far], right[far])
    assert len(notes) == 1


def test_many_that_repeat_keep_the_others():
    """A picture shown for long, written many times at one time."""
    given_s = stamps(0, 1, *[2] * 20, 3, 4)
    times_s, notes = mend(given_s, None)
    assert times_s[[0, 1, -2, -1]].tolist() == [0, 1, 3, 4]
    assert "of 19 of 24 pictures repeat" in notes[0]


@pytest.mark.parametrize(("fps", "expected"), [(10.0, 10.0), (None, ASSUMED_FPS)])
def test_without_any_the_rate_tells(fps, expected):
    for none in (np.full(5, NAN), np.full(5, 1e12)):
        times_s, notes = mend(none, fps)
        np.testing.assert_allclose(times_s, np.arange(5) / expected)
        assert notes[0].startswith("5 of 5 pictures have no time stamp")
        assert len(notes) == (1 if fps else 2)
    times_s, _ = mend(np.zeros(5), fps)
    np.testing.assert_allclose(times_s, np.arange(5) / expected)


def test_one_picture_and_none():
    assert mend(stamps(0.25), None) == (stamps(0.25), ())
    assert len(mend(stamps(), None).times_s) == 0


# Anything that a container may hold, and what is nearly right.
ANY = st.one_of(
    st.floats(-1e9, 1e9), st.integers(-5, 200).map(lambda i: i / 25), st.just(NAN)
)


@settings(max_examples=400, deadline=None)
@given(st.lists(ANY, max_size=80), st.one_of(st.none(), st.floats(0.1, 1000)))
def test_times_ascend_whatever_the_stamps(values, fps):
    times_s, notes = mend(stamps(*values), fps)
    assert len(times_s) == len(values)
    assert np.isfinite(times_s).all()
    assert (np.diff(times_s) > 0).all()
    if not notes:
        np.testing.assert_array_equal(times_s, values)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_few_wrong_ones_do_no_harm(data):
    """Of ascending stamps some are overwritten; the others are kept as they are."""
    steps = data.draw(st.lists(st.floats(0.005, 5), min_size=9, max_size=60))
    right = np.cumsum(steps)
    wrong = data.draw(st.integers(0, len(right) - 1))
    value = data.draw(st.one_of(st.just(NAN), st.floats(-1e4, 1e4)))
    damaged = right.copy()
    damaged[wrong] = value
    times_s, _ = mend(damaged, 25.0)
    same = np.arange(len(right)) != wrong
    # Where the wrong one fits, the neighbour that it hides may have to go instead.
    assert (times_s[same] == right[same]).sum() >= same.sum() - 1


@pytest.mark.parametrize("fps", [23.976, 25.0, 29.97, 60.0])
def test_rate_of_rounded_times(fps):
    times_s = np.round(np.arange(300) / fps, 3)
    assert rate_of(times_s, None).fps == pytest.approx(fps, rel=1e-4)
    assert rate_of(times_s, fps) == (fps, True)
    # Stated wrong: the times tell.
    assert rate_of(times_s, 2 * fps).fps == pytest.approx(fps, rel=1e-4)


def test_rate_with_a_hole_or_varying():
    times_s = np.arange(100) / 25
    times_s[50:] += 7
    fps, is_constant = rate_of(times_s, 24.0)
    assert fps == pytest.approx(25)
    assert not is_constant
    assert not rate_of(np.cumsum([1, 1, 3, 1, 3]) / 25, None).is_constant
    assert rate_of(stamps(0, 1, 11), None).fps == pytest.approx(2 / 11)
    assert rate_of(stamps(0), 24.0) == (24.0, True)
