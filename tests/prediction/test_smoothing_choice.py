"""Seconds of smoothing and the frames that they are."""

import pytest

from avemo_jax.postprocess.seconds import half_width
from avemo_jax.prediction.smoothing_choice import smooth_of


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.5", 0.5),
        ("2s", 2.0),
        ("0", "none"),
        *((o, o) for o in ("none", "as-trained")),
    ],
)
def test_values_of_the_flag(text, value):
    assert smooth_of(text) == value


@pytest.mark.parametrize("text", ["", "-1", "nan", "half", "601", "inf"])
def test_values_that_are_refused(text):
    with pytest.raises(ValueError, match="expected seconds from 0 to 600"):
        smooth_of(text)


@pytest.mark.parametrize(
    ("window_s", "fps", "half"),
    [(0.5, 30.0, 7), (0.5, 25.0, 6), (0.5, 60.0, 14), (2.0, 25.0, 24), (0.5, 1.0, 0)],
)
def test_half_widths(window_s, fps, half):
    assert half_width(window_s, fps) == half
    assert half_width(window_s, 0.0) == half_width(window_s, float("nan")) == 0
