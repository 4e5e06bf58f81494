"""Faces' boxes and scores drawn over frames, in place.

A box is solid where its face was found in the frame, else dashed and the text dim.
Panels stand beside their faces, where they cover little of any, and stay on one side
as long as they can; where there is no room, a face has its label alone.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from avemo_jax.prediction.face_marks import Box, FaceMark
from avemo_jax.prediction.overlay_patches import (
    Colour,
    Panels,
    colour_of,
    label_patch,
    note_patch,
)

_TEXT, _LEAST_TEXT_PX = 0.026, 11  # text's size for the shorter side; the least
_MOST_OF_PICTURE = 0.35  # of its pixels that a panel may take
_MOST_OF_FACE = 0.12  # of a face's box that a panel may cover
_FACES = 6  # how much worse it is to cover a face than a label
_STAYS = 0.5  # how much better, in panels, another place must be to be taken

Picture = UInt8[np.ndarray, "height width 3"]


class Place(NamedTuple):
    """A rectangle in pixels.

    Attributes:
        left: Its left side.
        top: Its top.
        width: Its width.
        height: Its height.
    """

    left: float
    top: float
    width: float
    height: float

    def shared(self, other: "Place | Box") -> float:
        """Pixels that it shares with another one."""
        left, top, width, height = other
        x = min(self.left + self.width, left + width) - max(self.left, left)
        y = min(self.top + self.height, top + height) - max(self.top, top)
        return float(max(x, 0) * max(y, 0))


class Overlay:
    """Draws over the frames of one input, one after another."""

    def __init__(self, width: int, height: int, bar_names: tuple[tuple[str, str], ...]):
        """Chooses sizes; nothing is drawn yet.

        Args:
            width: Width of the frames in pixels.
            height: Height of the frames in pixels.
            bar_names: Number and name of all units and values that may be shown.
        """
        self._size = (width, height)
        self.em = max(_LEAST_TEXT_PX, round(_TEXT * min(width, height)))
        self._line = max(1, round(self.em / 7))
        self._panels = Panels(bar_names, self.em)
        self._sides: dict[int, int] = {}

    def draw(self, picture: Picture, marks: list[FaceMark], note: str) -> None:
        """Draw over a frame.

        Args:
            picture: RGB, changed in place.
            marks: The faces in it.
            note: A line for its lower left; "" for none.
        """
        for mark in marks:
            self._draw_box(picture, mark)
        labels = [label_patch(mark, self.em) for mark in marks]
        places = [
            self._label_place(mark, label)
            for mark, label in zip(marks, labels, strict=True)
        ]
        taken = list(places)
        if note:
            patch = note_patch(note, max(_LEAST_TEXT_PX, round(0.85 * self.em)))
            place = Place(0, self._size[1] - patch.height, *patch.size)
            _lay(picture, patch, place)
            taken.append(place)
        for mark in marks:
            beside = self._panel_place(mark, marks, taken)
            if beside is not None:
                _lay(picture, self._panels.patch(mark), beside)
                taken.append(beside)
        for label, place in zip(labels, places, strict=True):
            _lay(picture, label, place)

    def _label_place(self, mark: FaceMark, label: Image.Image) -> Place:
        """Above the box, or inside at its top; never outside of the frame."""
        left, top, _, _ = mark.box
        line = self._line
        above = top - line - label.height
        return Place(
            min(max(left - line, 0), max(self._size[0] - label.width, 0)),
            min(max(above if above >= 0 else top, 0), self._size[1] - label.height),
            *label.size,
        )

    def _panel_place(
        self, mark: FaceMark, marks: list[FaceMark], taken: list[Place]
    ) -> Place | None:
        """Where a face's panel comes; None: it has none, or there is no room."""
        width, height = self._panels.size_of(mark)
        pixels = width * height
        if not pixels or pixels > _MOST_OF_PICTURE * self._size[0] * self._size[1]:
            return None
        before = self._sides.pop(mark.face_id, None)
        best: tuple[float, int, Place] | None = None
        for side, place in enumerate(self._candidates(mark.box, width, height)):
            if place is None:
                continue
            covered = [place.shared(one.box) for one in marks]
            allowed = [_MOST_OF_FACE * one.box[2] * one.box[3] for one in marks]
            others = sum(place.shared(one) for one in taken)
            if others > 0.02 * pixels or any(
                a > b for a, b in zip(covered, allowed, strict=True)
            ):
                continue
            cost = (_FACES * sum(covered) + others) / pixels + 0.05 * side
            cost -= _STAYS if side == before else 0
            if best is None or cost < best[0]:
                best = cost, side, place
        if best is None:
            return None
        self._sides[mark.face_id] = best[1]
        return best[2]

    def _candidates(self, box: Box, width: int, height: int) -> list[Place | None]:
        """Beside the box, below, above, and the frame's corners; None: outside."""
        left, top, wide, high = box
        most_x, most_y = self._size[0] - width, self._size[1] - height
        if most_x < 0 or most_y < 0:
            return []
        gap = 3 * self._line
        x, y = (min(max(at, 0), most) for at, most in ((left, most_x), (top, most_y)))
        beside = ((left + wide + gap, y), (left - width - gap, y))
        label = 1.5 * self.em + gap
        foot = max(most_y - round(1.5 * self.em), 0)
        # A little of the box may be covered where there is nearly room.
        under = (
            (x, min(top + high + gap, foot)),
            (x, max(top - height - gap - label, 0)),
        )
        corners = ((0, 0), (most_x, 0), (most_x, most_y), (0, foot))
        return [
            Place(at_x, at_y, width, height)
            if 0 <= at_x <= most_x and 0 <= at_y <= most_y
            else None
            for at_x, at_y in (*beside, *under, *corners)
        ]

    def _draw_box(self, picture: Picture, mark: FaceMark) -> None:
        left, top, width, height = map(round, mark.box)
        line, edge = self._line, max(1, self._line // 3)
        outer = (left - line, top - line, left + width + line, top + height + line)
        dark = tuple(
            at + by for at, by in zip(outer, (-edge, -edge, edge, edge), strict=True)
        )
        dash = None if mark.is_found else 5 * line
        if dash is None:
            _rectangle(picture, dark, line + 2 * edge, (0, 0, 0), None)
        _rectangle(picture, outer, line, colour_of(mark.face_id), dash)


def _rectangle(
    picture: Picture,
    sides: tuple[int, ...],
    line: int,
    colour: Colour,
    dash: int | None,
) -> None:
    """Draw the sides of a rectangle, inwards.

    Args:
        picture: RGB, changed in place.
        sides: Left, top, right and bottom, the last two behind the last pixel.
        line: Thickness in pixels.
        colour: Colour of the sides.
        dash: Length of a dash and of the gap after it; None: no gaps.
    """
    left, top, right, bottom = sides
    for begin in (top, bottom - line):
        for at, end in _dashes(left, right, dash):
            _fill(picture, at, begin, end, begin + line, colour)
    for begin in (left, right - line):
        for at, end in _dashes(top, bottom, dash):
            _fill(picture, begin, at, begin + line, end, colour)


def _dashes(begin: int, end: int, dash: int | None) -> list[tuple[int, int]]:
    if dash is None:
        return [(begin, end)]
    return [(at, min(at + dash, end)) for at in range(begin, end, 2 * dash)]


def _fill(
    picture: Picture, left: int, top: int, right: int, bottom: int, colour: Colour
) -> None:
    rows = slice(max(top, 0), max(bottom, 0))
    picture[rows, max(left, 0) : max(right, 0)] = colour


def _lay(picture: Picture, patch: Image.Image, place: Place) -> None:
    """Lay a patch over the part of a frame that it covers."""
    left, top = round(place.left), round(place.top)
    rows = slice(max(top, 0), max(top + patch.height, 0))
    columns = slice(max(left, 0), max(left + patch.width, 0))
    under = np.ascontiguousarray(picture[rows, columns])
    if under.size:
        ground = Image.fromarray(under)
        ground.paste(patch, (min(left, 0), min(top, 0)), patch)
        picture[rows, columns] = np.asarray(ground)
