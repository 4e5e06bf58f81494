"""Every n-th frame of a face, or all of them: the choice that looks at no score.

Loads no JAX.
"""

from typing import Literal

import numpy as np
from jaxtyping import Bool, Int

from avemo_jax.prediction.face_runs import FaceRuns

# Frames from one that is embedded to the next, or the rule in the model's card.
Every = int | Literal["adaptive"]
MAX_STRIDE = 10_000


def every_of(text: str) -> Every:
    """The value of ``--every``: a number of frames, or "adaptive".

    Raises:
        ValueError: If it is something else.
    """
    if text == "adaptive":
        return "adaptive"
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MAX_STRIDE:
        raise ValueError(
            f"--every {text}; expected a whole number of frames from 1 to "
            f"{MAX_STRIDE}, or adaptive: correct the flag"
        )
    return int(text)


def strided(span: FaceRuns, stride: int) -> Int[np.ndarray, " frames"]:
    """Numbers of every n-th frame of each run of a face, with its first and last one.

    Where the n-th frame does not show the face, the last one before it and the next
    one after it that do are taken, between which it is interpolated.

    Args:
        span: The face's span and runs.
        stride: Frames from one to the next.
    """
    wanted = np.zeros(span.length, bool)
    for begin, end in zip(span.begin, span.end, strict=True):
        wanted[begin:end:stride] = True
        wanted[end - 1] = True
    return shown(span, wanted)


def shown(span: FaceRuns, wanted: Bool[np.ndarray, " frames"]) -> Int[np.ndarray, " _"]:
    """Numbers of the frames that show the face and decide those that are wanted.

    Args:
        span: The face's span and runs.
        wanted: Which frames of the span are wanted, all of them inside of runs.
    """
    seen = np.flatnonzero(span.seen)
    at = np.flatnonzero(wanted)
    before = seen[np.searchsorted(seen, at, side="right") - 1]
    after = seen[np.searchsorted(seen, at)]
    return (np.union1d(before, after) + span.first).astype(np.int32)
