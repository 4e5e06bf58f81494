"""Tracks: which boxes of successive frames are one face.

Boxes of a frame are matched with the tracks by their overlap, the sum of all overlaps
being largest (the Hungarian method), first those that score high, then the others with
what is left (Y. Zhang et al., ByteTrack, ECCV 2022, arXiv:2110.06864). A low score
begins no track. A track waits for a while for its face to come back where it was, and
ends at a cut.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from avemo_jax.faces.boxes import overlaps

HIGH_SCORE = 0.6  # a box that scores this or more may begin a track
MIN_OVERLAP = 0.2  # intersection over union of a box with the track's last
LONGEST_GAP_S = 1.0  # a face that is away for longer is a new track
_CUT_SIZE = (32, 18)  # pixels of the pictures that are compared to find cuts
CUT_CHANGE = 30.0  # mean change of a grey level, of 255, from a frame to the next

Boxes = Float[np.ndarray, "faces 4"]


@dataclasses.dataclass
class Track:
    """One face over time.

    Attributes:
        frames: Numbers of the frames with its box, ascending.
        picks: Which of the frame's boxes is its own, one for each frame.
        last_box: Its last box: left, top, width and height in pixels.
        last_s: Time of its last box in seconds.
    """

    frames: list[int]
    picks: list[int]
    last_box: Float[np.ndarray, " 4"]
    last_s: float


class Tracker:
    """Tracks of the faces in a video's frames, which are told in order.

    Attributes:
        tracks: All tracks, in the order in which they began.
    """

    def __init__(self) -> None:
        self.tracks: list[Track] = []
        self._open: list[Track] = []

    def cut(self) -> None:
        """End all tracks: what follows is another scene."""
        self._open = []

    def add(
        self,
        frame: int,
        time_s: float,
        boxes: Boxes,
        scores: Float[np.ndarray, " faces"],
    ) -> None:
        """Take the boxes of the next frame.

        Args:
            frame: Number of the frame.
            time_s: When it is shown, in seconds.
            boxes: Left, top, width and height in pixels.
            scores: Their scores, 0 to 1.
        """
        self._open = [t for t in self._open if time_s - t.last_s <= LONGEST_GAP_S]
        is_high = scores >= HIGH_SCORE
        waiting = list(self._open)
        for level in (np.flatnonzero(is_high), np.flatnonzero(~is_high)):
            taken = matches([t.last_box for t in waiting], boxes[level])
            for row, column in taken:
                self._extend(waiting[row], frame, time_s, boxes, int(level[column]))
            rows = {row for row, _ in taken}
            waiting = [t for i, t in enumerate(waiting) if i not in rows]
        known = {track.picks[-1] for track in self.seen(frame)}
        for pick in np.flatnonzero(is_high):
            if pick not in known:
                track = Track([frame], [int(pick)], boxes[pick], time_s)
                self.tracks.append(track)
                self._open.append(track)

    def seen(self, frame: int) -> list[Track]:
        """The tracks that have a box of the frame that was added last.

        Args:
            frame: Number of that frame.
        """
        return [track for track in self._open if track.frames[-1] == frame]

    @staticmethod
    def _extend(
        track: Track, frame: int, time_s: float, boxes: Boxes, pick: int
    ) -> None:
        track.frames.append(frame)
        track.picks.append(pick)
        track.last_box, track.last_s = boxes[pick], time_s


def matches(tracked: Sequence[np.ndarray], boxes: Boxes) -> list[tuple[int, int]]:
    """Pairs of a tracked and a new box whose overlaps add up to most.

    Args:
        tracked: The last box of each track.
        boxes: The new boxes.

    Returns:
        Index of the track and of the box; only pairs that overlap by
        :data:`MIN_OVERLAP` or more.
    """
    if not len(tracked) or not len(boxes):
        return []
    overlap = overlaps(np.stack(tracked), boxes)
    # A pair that may not be counts as little as none.
    counted = np.where(overlap >= MIN_OVERLAP, overlap, 0)
    return [
        (row, column)
        for row, column in _best_pairs(counted)
        if overlap[row, column] >= MIN_OVERLAP
    ]


def _best_pairs(gains: Float[np.ndarray, "rows columns"]) -> list[tuple[int, int]]:
    """Pairs of a row and a column, each once, whose gains add up to most."""
    if len(gains) == 1:
        return [(0, int(gains[0].argmax()))]
    if gains.shape[1] == 1:
        return [(int(gains[:, 0].argmax()), 0)]
    # Takes long to load, and most videos show one face.
    from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]

    rows, columns = linear_sum_assignment(gains, maximize=True)
    return list(zip(rows.tolist(), columns.tolist(), strict=True))


def outline(picture: UInt8[np.ndarray, "_ _ 3"]) -> UInt8[np.ndarray, "18 32"]:
    """A picture as cuts are found by: small and grey."""
    small = Image.fromarray(picture).resize(
        _CUT_SIZE, Image.Resampling.BICUBIC, reducing_gap=2.0
    )
    return np.asarray(small.convert("L"))


def is_cut(
    before: UInt8[np.ndarray, "18 32"], after: UInt8[np.ndarray, "18 32"]
) -> bool:
    """Whether the scene changes between two successive pictures.

    Args:
        before: Outline of the one picture.
        after: Outline of the next.
    """
    change = np.abs(before.astype(np.float64) - after).mean()
    return bool(change > CUT_CHANGE)
