"""Faces of every frame, detected on few: on a grid, and more where two frames disagree.

Two frames agree if they show the same faces nearly where they were and no cut lies
between them. Then the faces of the frames between are interpolated, since both ends are
known; else the frame in the middle is detected too, and so on down to single frames.
"""

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from avemo_jax.faces.boxes import overlaps
from avemo_jax.faces.tracks import HIGH_SCORE, matches

INTERVAL_S = 0.2  # of the grid: five detections a second
# Intersection over union of the same face in two frames that agree; a box that moves
# evenly over the frames between by a tenth of its side has .82.
AGREEING_OVERLAP = 0.8
_ROUNDING_S = 1e-4  # time stamps are rounded by less


@dataclasses.dataclass(frozen=True, eq=False)
class FrameFaces:
    """The faces of a frame.

    Attributes:
        boxes: Left, top, width and height in pixels.
        points: x and y in pixels of the five points of each.
        scores: What the detector gives them, 0 to 1.
        is_detected: Whether the frame was detected, not interpolated.
    """

    boxes: Float[np.ndarray, "faces 4"]
    points: Float[np.ndarray, "faces 5 2"]
    scores: Float[np.ndarray, " faces"]
    is_detected: bool = True


# The faces of the frames of these indices, in order.
Detect = Callable[[Sequence[int]], Sequence[FrameFaces]]


def faces_of_frames(
    times_s: Float[np.ndarray, " frames"],
    cuts: Sequence[int],
    detect: Detect,
    *,
    interval_s: float = INTERVAL_S,
) -> list[FrameFaces]:
    """The faces of each of a run of frames, detected or interpolated.

    Args:
        times_s: When each frame is shown, ascending.
        cuts: Indices of the frames that begin a scene.
        detect: Detects frames; it is asked for several at once, each at most once.
        interval_s: Seconds from a frame of the grid to the next; 0 detects every frame.

    Raises:
        ValueError: If ``interval_s`` is negative.
    """
    if interval_s < 0:
        raise ValueError(
            f"interval_s {interval_s}; expected 0 (every frame) or more; correct it"
        )
    if not len(times_s):
        return []
    wanted = grid(times_s, interval_s)
    known: dict[int, FrameFaces] = {}
    while wanted:
        known |= zip(wanted, detect(wanted), strict=True)
        wanted = _in_doubt(sorted(known), known, cuts)
    frames = sorted(known)
    found = [known[0]]
    for start, end in itertools.pairwise(frames):
        span = times_s[end] - times_s[start]
        for i in range(start + 1, end):
            share = (times_s[i] - times_s[start]) / span
            found.append(_between(known[start], known[end], share))
        found.append(known[end])
    return found


def grid(times_s: Float[np.ndarray, " frames"], interval_s: float) -> list[int]:
    """The first and the last frame, and between them as few as leave no longer gap.

    A gap of two frames is as long as it is.
    """
    taken, last = [0], len(times_s) - 1
    while taken[-1] < last:
        limit = times_s[taken[-1]] + interval_s + _ROUNDING_S
        furthest = int(np.searchsorted(times_s, limit, side="right")) - 1
        taken.append(min(max(furthest, taken[-1] + 1), last))
    return taken


def agree(a: FrameFaces, b: FrameFaces) -> bool:
    """Whether two frames show the same faces, each nearly where it is in the other.

    A face with a low score in the one may lack in the other.
    """
    pairs = matches(list(a.boxes), b.boxes)
    rows, columns = ({pair[axis] for pair in pairs} for axis in (0, 1))
    for frame, paired in ((a, rows), (b, columns)):
        if not paired.issuperset(np.flatnonzero(frame.scores >= HIGH_SCORE).tolist()):
            return False
    overlap = overlaps(a.boxes, b.boxes)
    return all(overlap[pair] >= AGREEING_OVERLAP for pair in pairs)


def _in_doubt(
    frames: Sequence[int], known: Mapping[int, FrameFaces], cuts: Sequence[int]
) -> list[int]:
    """The frames in the middle between those that disagree."""
    begins = np.asarray(sorted(cuts), int)
    middles = []
    for start, end in itertools.pairwise(frames):
        if end - start < 2:
            continue
        is_cut = np.searchsorted(begins, end, "right") > np.searchsorted(
            begins, start, "right"
        )
        if is_cut or not agree(known[start], known[end]):
            middles.append((start + end) // 2)
    return middles


def _between(a: FrameFaces, b: FrameFaces, share: float) -> FrameFaces:
    """The faces of a frame between two that agree: those that are in both."""
    pairs = np.array(matches(list(a.boxes), b.boxes), int).reshape(-1, 2)
    first, second = pairs.T
    return FrameFaces(
        boxes=a.boxes[first] + share * (b.boxes[second] - a.boxes[first]),
        points=a.points[first] + share * (b.points[second] - a.points[first]),
        scores=np.minimum(a.scores[first], b.scores[second]),
        is_detected=False,
    )
