"""Which frames a video has, as runs of consecutive numbers: a few bytes a video."""

import numpy as np
from jaxtyping import Int


def to_runs(frame: Int[np.ndarray, " rows"]) -> list[int]:
    """First and last number of each run of consecutive frames, in turn.

    Args:
        frame: Ascending frame numbers.
    """
    if not len(frame):
        return []
    ends = np.flatnonzero(np.diff(frame) != 1)
    first = frame[np.concatenate([[0], ends + 1])]
    last = frame[np.concatenate([ends, [len(frame) - 1]])]
    return np.stack([first, last], axis=1).reshape(-1).tolist()


def from_runs(runs: list[int]) -> Int[np.ndarray, " rows"]:
    """The frame numbers that ``to_runs`` was given, as int32."""
    parts = [
        np.arange(first, last + 1, dtype=np.int32)
        for first, last in zip(runs[::2], runs[1::2], strict=True)
    ]
    return np.concatenate(parts) if parts else np.zeros(0, np.int32)
