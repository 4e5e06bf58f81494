"""Frames to embed, chosen when a face is known and while it is searched."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avemo_jax.prediction.face_runs import runs_of
from avemo_jax.prediction.frame_choice import StridedOnTheWay, every_of, strided


@pytest.mark.slow
@given(
    seen=st.lists(st.integers(0, 3), min_size=1, max_size=120),
    stride=st.integers(1, 12),
    holes=st.lists(st.sampled_from([0.04, 0.04, 0.04, 0.3, 0.7]), min_size=120),
)
@settings(deadline=None)
def test_on_the_way_the_same_frames_are_taken(seen, stride, holes):
    times_s = np.cumsum(holes[: len(seen)])
    # Two tracks, each in some frames; a value has a bit for each.
    frames = {t: [i for i, v in enumerate(seen, 1) if v >> t & 1] for t in (0, 1)}
    chosen = StridedOnTheWay(stride, times_s)
    taken: dict[int, list[int]] = {0: [], 1: []}
    last = dict.fromkeys(taken, 0)
    for number, value in enumerate(seen, 1):
        for track in (0, 1):
            if value >> track & 1:
                taken[track] += chosen.see(track, number)
                last[track] = number
        for track in chosen.ended(number):
            taken[track].append(last[track])
    for track in chosen.left():
        taken[track].append(last[track])
    for track, own in frames.items():
        if own:
            expected = strided(runs_of(np.array(own), times_s), stride).tolist()
            assert taken[track] == expected
        else:
            assert taken[track] == []


@pytest.mark.parametrize("text", ["0", "10001", "1.5", "-1", "all", ""])
def test_other_strides_are_refused(text):
    with pytest.raises(ValueError, match=r"--every .*; expected a whole number of"):
        every_of(text)
    assert (every_of("1"), every_of("10000")) == (1, 10_000)
    assert every_of("adaptive") == "adaptive"
