"""Which frames a video has, as runs of consecutive numbers: a few bytes a video."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int

from avemo_jax.data.records import MAX_FRAME

# Of a feature set: 4,600 hours at 30 frames/s, 2 GB of numbers.
MAX_FRAMES = 500_000_000


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


def from_runs(runs: Sequence[int]) -> Int[np.ndarray, " rows"]:
    """The frame numbers that ``to_runs`` was given, as int32."""
    parts = [
        np.arange(first, last + 1, dtype=np.int32)
        for first, last in zip(runs[::2], runs[1::2], strict=True)
    ]
    return np.concatenate(parts) if parts else np.zeros(0, np.int32)


def check_runs(by_video: Mapping[str, Sequence[int]], *, where: str) -> int:
    """How many frames runs from a file have, checked before arrays are made of them.

    Args:
        by_video: First and last number of each run, in turn, by video.
        where: The file, for errors.

    Raises:
        ValueError: If a video's numbers are no runs of frames in ascending order, or
            all videos have over :data:`MAX_FRAMES`.
    """
    total = 0
    for video, runs in by_video.items():
        steps = np.diff(np.array([0, *runs], np.float64))
        ascending = (steps[::2] >= 1).all() and (steps[1::2] >= 0).all()
        if len(runs) % 2 or not ascending or max(runs, default=1) > MAX_FRAME:
            raise ValueError(
                f"{where}: the runs of {video!r} are {[*runs[:6]]}; expected the first "
                f"and last of frames from 1 to {MAX_FRAME}, ascending: build the store "
                "again"
            )
        total += sum(runs[1::2]) - sum(runs[::2]) + len(runs) // 2
    if total > MAX_FRAMES:
        raise ValueError(
            f"{where}: {total:,} frames; expected at most {MAX_FRAMES:,}: the store is "
            "damaged, build it again, or divide it"
        )
    return int(total)
