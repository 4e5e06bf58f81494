"""Every n-th frame of a face, or all of them: the choice that looks at no score.

Loads no JAX.
"""

import dataclasses
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64, Int

from avemo_jax.prediction.face_runs import MAX_GAP_S, FaceRuns, long_gaps

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


@dataclasses.dataclass
class _Run:
    """A run of a track so far: its first frame, its last, whether that is taken."""

    begin: int
    last: int
    is_taken: bool = True


class StridedOnTheWay:
    """The frames of :func:`strided`, told while faces are searched."""

    def __init__(
        self,
        stride: int,
        times_s: Float64[np.ndarray, " frames"],
        *,
        max_gap_s: float = MAX_GAP_S,
    ):
        """Knows no track yet.

        Args:
            stride: Frames from one to the next.
            times_s: When each frame is shown, in seconds, from frame 1 on.
            max_gap_s: Seconds that a gap inside of a run may last.
        """
        self._stride, self._times_s, self._max_gap_s = stride, times_s, max_gap_s
        self._runs: dict[int, _Run] = {}

    def see(self, track: int, frame: int) -> list[int]:
        """Frames of a track to take now that it is seen in one more.

        Args:
            track: Number of the track.
            frame: Number of the frame; those of a track ascend.
        """
        run = self._runs.get(track)
        if run is None or self._is_over(run, frame):
            self._runs[track] = _Run(frame, frame)
            return [frame] if run is None or run.is_taken else [run.last, frame]
        offset = frame - run.begin
        # Whether a frame that would be taken does not show the face.
        is_missed = (offset - 1) // self._stride > (
            run.last - run.begin
        ) // self._stride
        taken = [run.last] if is_missed and not run.is_taken else []
        run.is_taken = is_missed or offset % self._stride == 0
        run.last = frame
        return [*taken, frame] if run.is_taken else taken

    def ended(self, frame: int) -> list[int]:
        """Tracks whose last frame is to be taken, since their run is over.

        Args:
            frame: Number of the frame that was searched last.
        """
        over = [track for track, run in self._runs.items() if self._is_over(run, frame)]
        return [track for track in over if not self._runs.pop(track).is_taken]

    def left(self) -> list[int]:
        """Tracks whose last frame is to be taken, since the video has ended."""
        return [track for track, run in self._runs.items() if not run.is_taken]

    def _is_over(self, run: _Run, frame: int) -> bool:
        before, after = np.array([run.last - 1]), np.array([frame - 1])
        gaps = long_gaps(self._times_s, before, after, max_gap_s=self._max_gap_s)
        return bool(gaps[0])
