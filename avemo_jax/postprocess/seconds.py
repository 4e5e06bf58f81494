"""Smoothing by seconds, as predictions of videos are smoothed; imports no JAX."""

from typing import Literal

SHORT_S = 0.5  # the window that predictions of videos have unless asked otherwise
# By means the probabilities of a frame still add up to 1; where something lasts shorter
# than half a window, a median would lose it altogether, a mean shows it lower.
SECONDS_MODE: Literal["mean"] = "mean"
USUAL_FPS = 30.0  # where no rate is known: that of most videos of Aff-Wild2


def half_width(window_s: float, fps: float) -> int:
    """Frames on each side that make a window nearest to so many seconds.

    Args:
        window_s: Seconds of the whole window.
        fps: Frames per second; 0 or NaN for an image, whose window is one frame.
    """
    if not fps > 0:
        return 0
    return max(round((window_s * fps - 1) / 2), 0)
