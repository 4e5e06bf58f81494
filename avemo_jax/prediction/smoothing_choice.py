"""How scores are to be smoothed: by seconds, as the model was trained, or not at all.

Loads no JAX.
"""

import math
from typing import Literal

from avemo_jax.postprocess.seconds import SHORT_S

# Seconds of the window, or what the model's card says, or no smoothing.
Smooth = float | Literal["none", "as-trained"]
MAX_S = 600.0


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
            f"--smooth {text}; expected seconds from 0 to {MAX_S:g}, as {SHORT_S:g}, "
            "or none, or as-trained: correct the flag"
        )
    return seconds or "none"
