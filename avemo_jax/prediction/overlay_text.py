"""Text on pictures: a font that is surely there, and widths in it."""

import functools
import pathlib

from absl import logging
from PIL import Image, ImageDraw, ImageFont

_DOTS = "…"
ASCENT = 0.73  # height of capital letters for the size of DejaVu Sans


@functools.cache
def font_of(size_px: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib.

    Args:
        size_px: Height of a line's letters in pixels.
        bold: Whether its strokes are thick.
    """
    from matplotlib import get_data_path

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    path = pathlib.Path(get_data_path()) / "fonts" / "ttf" / name
    return ImageFont.truetype(path, size_px, layout_engine=ImageFont.Layout.BASIC)


@functools.cache
def font_for(text: str, size_px: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, or a font of this machine where that lacks letters of ``text``.

    Args:
        text: What is to be written.
        size_px: Height of a line's letters in pixels.
        bold: Whether strokes are thick, where DejaVu Sans is taken.
    """
    letters = frozenset(text) - {" "}
    if letters <= _own_letters():
        return font_of(size_px, bold=bold)
    path = _path_for(letters)
    return font_of(size_px, bold=bold) if path is None else _other(path, size_px)


@functools.cache
def _own_letters() -> frozenset[str]:
    """The letters that DejaVu Sans has."""
    from matplotlib.ft2font import FT2Font

    return frozenset(map(chr, FT2Font(font_of(10).path).get_charmap()))


@functools.cache
def _other(path: str, size_px: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size_px, layout_engine=ImageFont.Layout.BASIC)


@functools.cache
def _path_for(letters: frozenset[str]) -> str | None:
    """A font of this machine with these letters; None: there is none."""
    from matplotlib import font_manager
    from matplotlib.ft2font import FT2Font

    wanted = {ord(letter) for letter in letters}
    for path in sorted(font_manager.findSystemFonts()):
        try:
            if wanted <= FT2Font(path).get_charmap().keys():
                return path
        except RuntimeError as error:  # a file that is no font that FreeType knows
            logging.debug("%s: %s", path, error)
    logging.warning(
        "no font of this machine has all of %r; boxes are drawn for those that lack",
        "".join(sorted(letters)),
    )
    return None


@functools.lru_cache(2048)
def mask_of(
    text: str, size_px: int, *, bold: bool = False
) -> tuple[Image.Image, tuple[int, int]]:
    """A line of text in shades of grey, white where it is.

    Args:
        text: What is to be written.
        size_px: Height of a line's letters in pixels.
        bold: Whether strokes are thick.

    Returns:
        The picture, and where its left top lies from the left end of the base line.
    """
    font = font_for(text, size_px, bold=bold)
    left, top, right, bottom = map(round, font.getbbox(text, anchor="ls"))
    mask = Image.new("L", (max(right - left, 1), max(bottom - top, 1)))
    ImageDraw.Draw(mask).text((-left, -top), text, 255, font, anchor="ls")
    return mask, (left, top)


@functools.lru_cache(4096)
def width_of(text: str, size_px: int, *, bold: bool = False) -> int:
    """Width of a line of text in pixels."""
    return round(font_for(text, size_px, bold=bold).getlength(text))


@functools.lru_cache(4096)
def fitted(text: str, size_px: int, most_px: int, *, bold: bool = False) -> str:
    """The text, its end replaced by dots where it is wider than so many pixels."""
    if width_of(text, size_px, bold=bold) <= most_px:
        return text
    while text and width_of(text + _DOTS, size_px, bold=bold) > most_px:
        text = text[:-1]
    return text.rstrip() + _DOTS
