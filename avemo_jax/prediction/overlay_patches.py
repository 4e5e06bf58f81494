"""Small pictures that are laid over frames: a face's label and its panel of scores.

White on a dark ground that lets some of the frame through, so that they are read on
any; sizes go with the text's, which goes with the frame's.
"""

from PIL import Image, ImageDraw

from avemo_jax.prediction.face_marks import Bar, FaceMark
from avemo_jax.prediction.overlay_text import ASCENT, fitted, mask_of, width_of
from avemo_jax.tasks import VA

Colour = tuple[int, int, int]
_Point = tuple[int | float, int | float]
# Okabe and Ito's, which colour-blind readers tell apart, those first that are light.
COLOURS: tuple[Colour, ...] = (
    (86, 180, 233),
    (230, 159, 0),
    (240, 228, 66),
    (204, 121, 167),
    (0, 158, 115),
    (213, 94, 0),
)
_GROUND = (0, 0, 0, 195)
_WHITE, _DIM, _FAINT = (255, 255, 255), (190, 190, 190), (120, 120, 120)
_LONGEST_NAME = 10.5  # widths of text here are in ems
_LONGEST_TITLE = 20.0
_BAR, _PLOT, _LINE = 4.2, 5.6, 1.35
_MINUS = "\u2212"


def colour_of(face_id: int) -> Colour:
    """The colour of a face."""
    return COLOURS[(face_id - 1) % len(COLOURS)]


def label_patch(mark: FaceMark, em: int) -> Image.Image:
    """A face's number and class: the line at its box.

    The disc at its end is full where the network saw the frame, and a ring where the
    scores are taken from frames around.

    Args:
        mark: The face.
        em: Size of the text in pixels.
    """
    title = fitted(mark.title, em, round(_LONGEST_TITLE * em), bold=True)
    height, pad = round(1.5 * em), round(0.4 * em)
    badge = width_of(str(mark.face_id), em, bold=True) + 2 * pad
    text_width = width_of(title, em, bold=True)
    disc = round(0.5 * em)
    width = badge + (pad + text_width + pad + disc + pad if title else 0)
    patch = Image.new("RGBA", (width, height), _GROUND)
    draw = ImageDraw.Draw(patch)
    draw.rectangle((0, 0, badge - 1, height), colour_of(mark.face_id))
    _text(patch, (pad, height / 2), str(mark.face_id), em, (0, 0, 0), bold=True)
    if title:
        tone = _WHITE if mark.is_found else _DIM
        _text(patch, (badge + pad, height / 2), title, em, tone, bold=True)
        left, top = width - pad - disc, (height - disc) / 2
        place = (left, top, left + disc, top + disc)
        line = max(1, round(em / 12))
        draw.ellipse(place, tone if mark.is_seen else None, tone, line)
    return patch


def note_patch(text: str, em: int) -> Image.Image:
    """A line of text.

    Args:
        text: The text.
        em: Size of the text in pixels.
    """
    pad = round(0.4 * em)
    size = (width_of(text, em) + 2 * pad, round(1.5 * em))
    patch = Image.new("RGBA", size, _GROUND)
    _text(patch, (pad, size[1] / 2), text, em, _WHITE)
    return patch


class Panels:
    """Panels of one width, whatever units they show."""

    def __init__(self, bar_names: tuple[tuple[str, str], ...], em: int):
        """Measures the names.

        Args:
            bar_names: Number and name of all units and values that may be shown.
            em: Size of the text in pixels.
        """
        self._em, self._pad = em, round(0.6 * em)
        widest = max((width_of(name, em) for _, name in bar_names), default=0)
        self._name = min(widest, round(_LONGEST_NAME * em))
        has_numbers = any(number for number, _ in bar_names)
        self._number = width_of("AU00", em) + self._pad if has_numbers else 0
        self._bar = round(_BAR * em)

    def size_of(self, mark: FaceMark) -> tuple[int, int]:
        """Width and height of a face's panel; (0, 0) where it would be empty."""
        em, inner, height = self._em, 0, 0
        if mark.lines:
            inner = max(width_of(line, em) for line in mark.lines)
            inner = min(inner, round(_LONGEST_TITLE * em))
            height += round(_LINE * em) * len(mark.lines)
        if mark.bars:
            inner = max(inner, self._number + self._name + self._pad + self._bar)
            height += round(_LINE * em) * len(mark.bars)
        if mark.point is not None:
            words = max(*(width_of(f"{name} +0.00", em) for name in VA.columns))
            inner = max(inner, round(_PLOT * em) + self._pad + words)
            height += round(_PLOT * em) + (self._pad if height else 0)
        if not height:
            return 0, 0
        return inner + 2 * self._pad, height + 2 * self._pad

    def patch(self, mark: FaceMark) -> Image.Image:
        """A face's panel; empty ones have no pixels."""
        size = self.size_of(mark)
        patch = Image.new("RGBA", size, _GROUND)
        if not size[0]:
            return patch
        em, pad, top = self._em, self._pad, self._pad
        tone = _WHITE if mark.is_found and mark.is_seen else _DIM
        colour = colour_of(mark.face_id)
        stripe = (0, 0, max(2, pad // 2) - 1, size[1])
        ImageDraw.Draw(patch).rectangle(stripe, colour)
        line = round(_LINE * em)
        for words in mark.lines:
            shown = fitted(words, em, size[0] - 2 * pad)
            _text(patch, (pad, top + line / 2), shown, em, tone)
            top += line
        for bar in mark.bars:
            self._draw_bar(patch, bar, top + line / 2, size[0] - pad, tone, colour)
            top += line
        if mark.point is not None:
            top += pad if top > pad else 0
            self._draw_plot(patch, mark.point, top, tone, colour)
        return patch

    def _draw_bar(
        self,
        patch: Image.Image,
        bar: Bar,
        middle: float,
        right: int,
        tone: Colour,
        colour: Colour,
    ) -> None:
        em, pad, draw = self._em, self._pad, ImageDraw.Draw(patch)
        words = tone if bar.is_active else _DIM
        if bar.number:
            _text(patch, (pad, middle), bar.number, em, words)
        left = pad + (self._number if bar.number else 0)
        name = fitted(bar.name, em, self._name + pad // 2)
        _text(patch, (left, middle), name, em, words)
        begin, half = right - self._bar, 0.3 * em
        wide = self._bar
        draw.rectangle((begin, middle - half, right, middle + half), (60, 60, 60))
        low, high = sorted((bar.start, bar.part))
        fill = colour if bar.is_active else _FAINT
        place = (begin + low * wide, middle - half, begin + high * wide, middle + half)
        draw.rectangle(place, fill)
        if bar.limit is not None:
            at, line = begin + bar.limit * wide, max(1, round(em / 12))
            draw.line((at, middle - 0.42 * em, at, middle + 0.42 * em), _WHITE, line)
        if bar.text:
            small = round(0.8 * em)
            at = right - 0.2 * em - width_of(bar.text, small)
            _text(patch, (at, middle), bar.text, small, _WHITE)

    def _draw_plot(
        self,
        patch: Image.Image,
        point: tuple[float, float],
        top: int,
        tone: Colour,
        colour: Colour,
    ) -> None:
        em, pad, side = self._em, self._pad, round(_PLOT * self._em)
        draw = ImageDraw.Draw(patch)
        line = max(1, round(em / 12))
        x, y, half = pad + side / 2, top + side / 2, side / 2
        draw.rectangle((pad, top, pad + side, top + side), None, _FAINT, line)
        draw.line((pad, y, pad + side, y), _FAINT, line)
        draw.line((x, top, x, top + side), _FAINT, line)
        valence, arousal = (min(max(value, -1.0), 1.0) for value in point)
        at = (x + valence * half, y - arousal * half)
        _disc(draw, at, 0.42 * em, (0, 0, 0))
        _disc(draw, at, 0.34 * em, colour)
        left = pad + side + pad
        for name, value, shift in zip(VA.columns, point, (-0.7, 0.7), strict=True):
            text = f"{name} {value:+.2f}".replace("-", _MINUS)
            _text(patch, (left, y + shift * em), text, em, tone)


def _disc(draw: ImageDraw.ImageDraw, at: _Point, radius: float, colour: Colour) -> None:
    x, y = at
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), colour)


def _text(
    patch: Image.Image,
    at: _Point,
    text: str,
    size_px: int,
    colour: Colour,
    *,
    bold: bool = False,
) -> None:
    """Write a line, the left middle of its capital letters at a point."""
    mask, (left, top) = mask_of(text, size_px, bold=bold)
    # Letters' own middle, not that of this text, so that lines do not jump.
    base = round(at[1] + ASCENT * size_px / 2)
    patch.paste(colour, (round(at[0]) + left, base + top), mask)
