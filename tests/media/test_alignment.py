from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avemo_jax.extractors import EXTRACTORS
from avemo_jax.media.alignment import (
    align_by_time,
    align_original,
    count_beyond,
    frame_times,
    reach_of,
)

SECONDS = 20.0
RATES = (25, 30, Fraction(30_000, 1001))
TIMES = st.lists(st.integers(-1000, 1000), min_size=1, max_size=30, unique=True).map(
    lambda values: np.array(sorted(values)) / 8
)


def middles(num_hops: int, name: str) -> np.ndarray:
    takes = EXTRACTORS[name].sound
    return np.arange(num_hops) * takes.hop_s + takes.receptive_field_s / 2


def energies(waves: np.ndarray, name: str) -> np.ndarray:
    """Of each hop's receptive field: a network that hears clicks only."""
    takes = EXTRACTORS[name].sound
    size = round(takes.receptive_field_s * takes.sample_rate_hz)
    hop = round(takes.hop_s * takes.sample_rate_hz)
    num_hops = (len(waves) - size) // hop + 1
    parts = np.lib.stride_tricks.sliding_window_view(waves, size)[::hop][:num_hops]
    return (parts**2).sum(-1)


def hears(name: str, click_s: float, seconds: float = SECONDS) -> np.ndarray:
    """Energies of a track that is silent but for a click."""
    rate = EXTRACTORS[name].sound.sample_rate_hz
    waves = np.zeros(round(seconds * rate))
    waves[round(click_s * rate)] = 1
    return energies(waves, name)


def frames_that_hear(energy, hops, fps) -> np.ndarray:
    """Times of the frames whose hop has the click."""
    return frame_times(len(hops), fps)[energy[hops] > 0]


@pytest.mark.parametrize("fps", RATES)
@pytest.mark.parametrize("click_s", [0.01, 3.1, 10.003, 17.77])
@pytest.mark.parametrize("name", ["wav2vec2_base", "vggish"])
def test_a_click_is_heard_by_the_frames_around_it(name, click_s, fps):
    takes = EXTRACTORS[name].sound
    energy = hears(name, click_s)
    num_frames = int(SECONDS * fps)
    hop_times = middles(len(energy), name)
    hops = align_by_time(hop_times, frame_times(num_frames, fps))
    heard = frames_that_hear(energy, hops, fps)
    # A hop's middle is within half a field of the click, its frames within half a hop
    # of the middle; only the first frames may lie farther from their middle.
    reach = takes.receptive_field_s / 2 + takes.hop_s / 2
    assert (np.abs(heard - click_s) <= reach + 1e-9).all()
    # A frame that is near enough to be sure hears it.
    sure = (takes.receptive_field_s - takes.hop_s) / 2
    near = np.abs(frame_times(num_frames, fps) - click_s) < sure - 1e-4
    assert (energy[hops[near]] > 0).all()
    # Hops that are longer than a frame reach the one on show or the next; of shorter
    # ones some are no frame's.
    shown = int(click_s * fps)
    if takes.hop_s > 1 / fps:
        assert (energy[hops[shown : shown + 2]] > 0).any()
    else:
        assert len(np.unique(hops)) == num_frames < len(energy)


@pytest.mark.parametrize("fps", RATES)
def test_the_frame_of_a_click_by_both_rules(fps):
    """Named frames, so that a change of the rules shows."""
    energy = hears("vggish", 17.77)
    assert len(energy) == 20  # 20 s hold 20 whole examples and 0.785 s more
    num_frames = int(SECONDS * fps)
    by_time = align_by_time(middles(20, "vggish"), frame_times(num_frames, fps))
    original = align_original(20, num_frames)
    # The click is in example 18 alone: 17.28 to 18.255 s.
    assert np.flatnonzero(energy).tolist() == [18]
    first, last = frames_that_hear(energy, by_time, fps)[[0, -1]]
    # Nearest to 17.7675 s, between 16.8075 and 18.7275 s.
    assert 17.2875 < first < 17.2875 + 1 / fps
    assert 18.2475 - 1 / fps <= last < 18.2475
    first, last = frames_that_hear(energy, original, fps)[[0, -1]]
    # The hops are spread over 20 s, 1 s each: 18 to 19 s, after the click.
    assert 18 <= first < 18 + 2 / fps
    assert 19 - 1 / fps <= last < 19 + 1 / fps


@pytest.mark.parametrize("fps", RATES)
@pytest.mark.parametrize("name", ["wav2vec2_base", "vggish"])
@pytest.mark.parametrize("sound_s", [20.0, 19.5, 17.0])
def test_how_far_off_each_rule_is(name, fps, sound_s):
    takes = EXTRACTORS[name].sound
    num_hops = len(hears(name, 1.0, sound_s))
    times = frame_times(int(SECONDS * fps), fps)
    hop_times = middles(num_hops, name)
    off = hop_times[align_by_time(hop_times, times)] - times
    inside = (times >= hop_times[0]) & (times <= hop_times[-1])
    assert np.abs(off[inside]).max() <= takes.hop_s / 2 + 1e-9
    # As the module's docstring has it: the drift, and what half a hop allows.
    original = hop_times[align_original(num_hops, len(times))] - times
    drift = times * (1 - num_hops * takes.hop_s / SECONDS)
    middle = (takes.receptive_field_s - takes.hop_s) / 2
    slack = takes.hop_s / 2 + num_hops * takes.hop_s / len(times) + 1e-9
    assert np.abs(original + drift - middle).max() <= slack
    if sound_s == 17.0:
        assert np.abs(original).max() > 2.9


def test_the_original_rule():
    assert align_original(3, 7).tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert align_original(7, 3).tolist() == [0, 2, 4]
    assert align_original(5, 0).tolist() == []
    assert align_original(1, 4).tolist() == [0, 0, 0, 0]
    # Products beyond 32 bits: an hour at 50 hops and 60 frames a second.
    hops = align_original(180_000, 216_000)
    assert (hops[-1], hops[108_000]) == (179_999, 90_000)


@given(st.integers(1, 10_000), st.integers(1, 2000))
def test_the_original_rule_is_its_formula(num_hops, num_frames):
    expected = [(f - 1) * num_hops // num_frames for f in range(1, num_frames + 1)]
    assert align_original(num_hops, num_frames).tolist() == expected


@settings(max_examples=300)
@given(TIMES, TIMES)
def test_nearest_and_of_two_the_earlier(hops, frames):
    distance = np.abs(hops - frames[:, None])
    expected = distance.argmin(1)  # the first of the least
    assert align_by_time(hops, frames).tolist() == expected.tolist()
    beyond = [min(t - hops[0], hops[-1] - t) < -0.5 for t in frames]
    assert count_beyond(hops, frames, reach_s=0.5) == sum(beyond)


def test_ends():
    hops, frames = np.array([1.0, 2.0, 3.0]), np.array([-1.0, 0.0, 2.5, 4.0, 4.1])
    assert align_by_time(hops, frames).tolist() == [0, 0, 1, 2, 2]
    assert count_beyond(hops, frames, reach_s=1.0) == 2
    assert align_by_time(hops[:1], frames).tolist() == [0] * 5
    assert align_by_time(hops, frames[:0]).tolist() == []


@pytest.mark.parametrize("name", ["acoustic", "vggish", "wav2vec2_base"])
def test_frames_of_faultless_videos_are_within_reach(name):
    """Sound ends anywhere, up to half a second before the pictures."""
    takes = EXTRACTORS[name].sound
    field_s = 0.0 if name == "acoustic" else takes.receptive_field_s
    reach_s = reach_of(takes.hop_s, takes.receptive_field_s)
    times = frame_times(250, 25)
    for sound_s in np.arange(9.5, 10.5, 0.01):
        num_hops = int((sound_s - field_s) / takes.hop_s) + 1
        hops = (np.arange(num_hops) + 0.5) * takes.hop_s
        assert count_beyond(hops, times, reach_s=reach_s) == 0
    # Where sound is missing, the frames after it are counted.
    late = count_beyond(hops[hops < 4], times, reach_s=reach_s)
    assert 249 - 25 * (4 + reach_s) <= late <= 250 - 25 * (4 + reach_s - 2)


def test_frame_times():
    assert frame_times(3, 25).tolist() == [0, 0.04, 0.08]
    exact = frame_times(30_001, Fraction(30_000, 1001))
    assert exact[-1] == 1001.0


@pytest.mark.parametrize("fps", [0, -25.0, np.nan, np.inf])
def test_frame_rates_that_are_refused(fps):
    with pytest.raises(ValueError, match=r"fps .*; expected a positive number"):
        frame_times(3, fps)


@pytest.mark.parametrize("bad", [[0, 2, 1], [0, 1, 1], [0, np.nan, 1], [0, np.inf]])
def test_times_that_are_refused(bad):
    times, good = np.array(bad, float), np.arange(3.0)
    with pytest.raises(ValueError, match="hop times that are not finite or do not"):
        align_by_time(times, good)
    with pytest.raises(ValueError, match="frame times that are not finite or do not"):
        align_by_time(good, times)


def test_no_hops():
    none, frames = np.zeros(0), np.arange(3.0)
    for wrong in (
        lambda: align_by_time(none, frames),
        lambda: align_original(0, 3),
        lambda: count_beyond(none, frames, reach_s=1.0),
    ):
        with pytest.raises(ValueError, match="0 hops for 3 frames; expected at least"):
            wrong()
    with pytest.raises(ValueError, match="for -1 frames"):
        align_original(3, -1)
    with pytest.raises(ValueError, match="for -1 frames"):
        frame_times(-1, 25)
