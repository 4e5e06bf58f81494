"""The frames of a face: its span, and the runs in it between which it is long gone.

A run is a range of frames without a long gap. What is missing inside of a run is filled
from around; nothing is filled, smoothed or decided over the gap between two runs.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float64, Int

MAX_GAP_S = 0.5  # longer ones are not filled
_ROUNDING_S = 1e-6


@dataclasses.dataclass(frozen=True, eq=False)
class FaceRuns:
    """The span of a face, all frames from the first to the last that shows it.

    Attributes:
        first: Number of the span's first frame, from 1.
        length: Number of its frames.
        seen: Which frames of the span show the face.
        begin: Where each run begins in the span, from 0.
        end: One past the end of each run.
    """

    first: int
    length: int
    seen: Bool[np.ndarray, " frames"]
    begin: Int[np.ndarray, " runs"]
    end: Int[np.ndarray, " runs"]

    @property
    def frame(self) -> Int[np.ndarray, " frames"]:
        """Numbers of the span's frames."""
        return np.arange(self.first, self.first + self.length, dtype=np.int32)

    @property
    def inside(self) -> Bool[np.ndarray, " frames"]:
        """Which frames of the span lie in a run."""
        change = np.zeros(self.length + 1, np.int64)
        np.add.at(change, self.begin, 1)
        np.add.at(change, self.end, -1)
        return np.cumsum(change)[:-1] > 0


def runs_of(
    frame: Int[np.ndarray, " rows"],
    times_s: Float64[np.ndarray, " frames"],
    *,
    first_frame: int = 1,
    max_gap_s: float = MAX_GAP_S,
) -> FaceRuns:
    """The runs of a face.

    A gap lasts from the first frame without the face until the next one with it.

    Args:
        frame: Numbers of the frames that show the face, ascending, at least one.
        times_s: When each frame of the video is shown, in seconds, from
            ``first_frame`` on.
        first_frame: Number of the frame that the first time is of.
        max_gap_s: Seconds that a gap inside of a run may last.

    Raises:
        ValueError: If there is no frame, or numbers do not ascend within those that
            have times.
    """
    numbers = np.asarray(frame, np.int64)
    last_frame = first_frame + len(times_s) - 1
    if (
        not len(numbers)
        or (np.diff(numbers) < 1).any()
        or numbers[0] < first_frame
        or numbers[-1] > last_frame
    ):
        told = f"{numbers[0]} to {numbers[-1]}" if len(numbers) else "none"
        raise ValueError(
            f"frames of a face: {told}, in frames {first_frame} to {last_frame}; "
            "expected ascending numbers of these: find the faces in this video"
        )
    first, last = int(numbers[0]), int(numbers[-1])
    before, after = numbers[:-1], numbers[1:]
    is_long = long_gaps(
        times_s, before - first_frame, after - first_frame, max_gap_s=max_gap_s
    )
    seen = np.zeros(last - first + 1, bool)
    seen[numbers - first] = True
    return FaceRuns(
        first,
        len(seen),
        seen,
        np.append(first, after[is_long]) - first,
        np.append(before[is_long], last) - first + 1,
    )


def long_gaps(
    times_s: Float64[np.ndarray, " frames"],
    before: Int[np.ndarray, " gaps"],
    after: Int[np.ndarray, " gaps"],
    *,
    max_gap_s: float = MAX_GAP_S,
) -> Bool[np.ndarray, " gaps"]:
    """Whether a face is away for too long between two frames that show it.

    Args:
        times_s: When each frame is shown, in seconds.
        before: Indices of the last frames that show the face.
        after: Indices of the next ones.
        max_gap_s: Seconds that a gap inside of a run may last.
    """
    # The first frame without the face is the one after ``before``.
    gap_s = times_s[after] - times_s[np.minimum(before + 1, after)]
    return (after > before + 1) & (gap_s > max_gap_s + _ROUNDING_S)


def stacked(runs: Sequence[FaceRuns]) -> Int[np.ndarray, "runs 3"]:
    """Face, begin and end of every run of several faces, one face after the other."""
    rows = [
        (face, begin, end)
        for face, own in enumerate(runs)
        for begin, end in zip(own.begin, own.end, strict=True)
    ]
    return np.array(rows, np.int64).reshape(-1, 3)
