"""How scores are to be smoothed: by seconds, as the model was trained, or not at all.

Loads no JAX.
"""

import math
from typing import Literal

# Seconds of the window, or what the model's card says, or no smoothing.
Smooth = float | Literal["none", "as-trained"]
DEFAULT_S = 0.5
MAX_S = 600.0
# By means the probabilities of a frame still add up to 1; where something lasts shorter
# than half a window, a median would lose it altogether, a mean shows it lower.
MODE: Literal["mean"] = "mean"


def smooth_of(text: str) -> Smooth:
    """The value of ``--smooth``: seconds, "none" or "as-trained".

    Raises:
        ValueError: If it is something else.
    """
    if text == "none":
        return "none"
    if text == "as-trained":
        return "as-trained"
    try:
        seconds = float(text.removesuffix("s"))
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= MAX_S:
        raise ValueError(
            f"--smooth {text}; expected seconds from 0 to {MAX_S:g}, as {DEFAULT_S:g}, "
            "or none, or as-trained: correct the flag"
        )
    return seconds or "none"


def half_width(window_s: float, fps: float) -> int:
    """Frames on each side that make a window nearest to so many seconds.

    Args:
        window_s: Seconds of the whole window.
        fps: Frames per second; 0 or NaN for an image, whose window is one frame.
    """
    if not fps > 0:
        return 0
    return max(round((window_s * fps - 1) / 2), 0)
