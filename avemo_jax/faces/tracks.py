"""Tracks: which boxes of successive frames are one face.

Boxes of a frame are matched with the tracks by their overlap, the sum of all overlaps
being largest (the Hungarian method), first those that score high, then the others with
what is left (Y. Zhang et al., ByteTrack, ECCV 2022, arXiv:2110.06864). A low score
begins no track, but is remembered for a moment: one who comes out from behind another
scores low at first. Where one box comes in the place of two faces that were seen apart
before, and fits both about as well, it shows a part of each and is nobody's. A track
waits for a while for its face to come back where it was, and ends at a cut.
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
UNSURE_GAP_S = 0.2  # what scored low all along is forgotten after this
# Of the overlap of a box with the track that it fits best: a track that has as much
# or more claims it too.
RIVAL_SHARE = 0.6
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
        last_turn: In which of the frames that were told its last box is, from 0.
        is_sure: Whether a high score has begun it; else it has no frames yet.
    """

    frames: list[int]
    picks: list[int]
    last_box: Float[np.ndarray, " 4"]
    last_s: float
    last_turn: int
    is_sure: bool


class Tracker:
    """Tracks of the faces in a video's frames, which are told in order."""

    def __init__(self, *, leaves_shared: bool = True) -> None:
        """No track yet.

        Args:
            leaves_shared: Whether a box in the place of two faces is nobody's; else
                whom it fits best has it.
        """
        self._leaves_shared = leaves_shared
        self._tracks: list[Track] = []
        self._open: list[Track] = []
        self._turn = -1

    @property
    def tracks(self) -> list[Track]:
        """All tracks, in the order in which they began."""
        return self._tracks

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
        self._turn += 1
        self._open = [t for t in self._open if time_s - t.last_s <= _wait_s(t)]
        is_high = scores >= HIGH_SCORE
        is_taken = np.zeros(len(boxes), bool)
        waiting = list(self._open)
        for level in (np.flatnonzero(is_high), np.flatnonzero(~is_high)):
            taken = matches([t.last_box for t in waiting], boxes[level])
            is_taken[level[[column for _, column in taken]]] = True
            done = {row for row, _ in taken}
            for row, column in taken:
                pick = int(level[column])
                track, box = waiting[row], boxes[pick]
                left = [i for i in range(len(waiting)) if i not in done]
                others = [waiting[i] for i in left]
                if rivals := self._rivals(track, others, box, boxes[~is_taken]):
                    done |= {left[i] for i in rivals}
                    continue
                self._extend(track, frame, time_s, box, pick, bool(is_high[pick]))
            waiting = [t for i, t in enumerate(waiting) if i not in done]
        for new in np.flatnonzero(~is_taken).tolist():
            track = Track([], [], boxes[new], time_s, self._turn, is_sure=False)
            self._open.append(track)
            self._extend(track, frame, time_s, boxes[new], new, bool(is_high[new]))

    def seen(self, frame: int) -> list[Track]:
        """The tracks that have a box of the frame that was added last.

        Args:
            frame: Number of that frame.
        """
        return [t for t in self._open if t.is_sure and t.frames[-1] == frame]

    def _rivals(
        self,
        track: Track,
        others: Sequence[Track],
        box: Float[np.ndarray, " 4"],
        free: Boxes,
    ) -> list[int]:
        """Which others claim a box about as well as the track that it fits best.

        Only faces that were seen apart in the frame before are rivals: where one box
        comes in the place of two, it may show both.

        Args:
            track: The track.
            others: Those that have no box in this frame.
            box: The box.
            free: Boxes that no track has; who fits one of these better is no rival.
        """
        was_seen = track.last_turn == self._turn - 1
        if not (self._leaves_shared and was_seen and others):
            return []
        claims = overlaps(np.stack([t.last_box for t in (track, *others)]), box[None])
        least = max(MIN_OVERLAP, RIVAL_SHARE * float(claims[0, 0]))
        elsewhere = overlaps(np.stack([t.last_box for t in others]), free)
        return [
            i
            for i, other in enumerate(others)
            if other.last_turn == self._turn - 1
            and claims[i + 1, 0] >= max(least, elsewhere[i].max(initial=0.0))
        ]

    def _extend(
        self,
        track: Track,
        frame: int,
        time_s: float,
        box: Float[np.ndarray, " 4"],
        pick: int,
        is_high: bool,
    ) -> None:
        """Give a track its box of this frame; a high score begins it."""
        if is_high and not track.is_sure:
            track.is_sure = True
            self._tracks.append(track)
        if track.is_sure:
            track.frames.append(frame)
            track.picks.append(pick)
        track.last_box, track.last_s, track.last_turn = box, time_s, self._turn


def _wait_s(track: Track) -> float:
    """Seconds that a track waits for its face to come back."""
    return LONGEST_GAP_S if track.is_sure else UNSURE_GAP_S


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
