"""Decoded pictures as RGB of 8 bits: upright, of square pixels, all of one size.

What libav leaves as it is stored is applied here, and said: pixels that are not square,
a display matrix (turned, mirrored), high dynamic range, transparency, other sizes later
in the file. Codecs' cropping is libav's own, containers' is only said.
"""

import dataclasses
import functools
from fractions import Fraction

import numpy as np
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from jaxtyping import Float64, UInt8

from avemo_jax.media.tone_mapping import conversion_of

Size = tuple[int, int]  # width, height
# Writers round sizes and state the rest as a pixel's shape; so little is left as it is.
_ROUNDING = 0.01
_FLATTEST = 4  # pixels that are longer than this for their width, or reverse, are wrong
# libav's names of formats, by whether there is alpha and whether 16 bits are wanted.
_FORMATS = {
    (False, False): "rgb24",
    (True, False): "rgba",
    (False, True): "rgb48le",
    (True, True): "rgba64le",
}
_ASKEW_DEG = 1.0  # matrices within this of a quarter turn are quarter turns


@dataclasses.dataclass(frozen=True)
class Orientation:
    """How a picture is turned before it is shown.

    Attributes:
        is_turned: Whether rows become columns, before anything is mirrored.
        flips_x: Whether left and right then change places.
        flips_y: Whether top and bottom then change places.
        notes: What of it could not be applied, in words.
    """

    is_turned: bool = False
    flips_x: bool = False
    flips_y: bool = False
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Shape:
    """The shape of a video's pictures, as its first one has it.

    Attributes:
        stored: Width and height as it is stored.
        scaled: The same in square pixels, before it is turned.
        shown: The same when it is upright.
        notes: What was changed, in words.
    """

    stored: Size
    scaled: Size
    shown: Size
    notes: tuple[str, ...]


def shape_of(first: VideoFrame, track: VideoStream) -> Shape:
    """The shape of a video's pictures.

    The shorter side of a pixel is stretched to the longer one, so that nothing is lost.

    Args:
        first: The first picture.
        track: Its track, which has decoded it.
    """
    stored = width, height = first.width, first.height
    stated = track.sample_aspect_ratio or track.codec_context.sample_aspect_ratio
    # Not stated it is None, and from PyAV 19 on a number that counts as False.
    aspect = Fraction(stated) if stated else Fraction(1)
    notes: tuple[str, ...] = ()
    is_square = abs(aspect - 1) < _ROUNDING
    if not is_square:
        told = f"pixels of {aspect.numerator}:{aspect.denominator}"
        if not Fraction(1, _FLATTEST) <= aspect <= _FLATTEST:
            notes = (f"{told} are taken for square, for no camera has such",)
        else:
            if aspect > 1:
                width = round(width * aspect)
            else:
                height = round(height / aspect)
            notes = (
                f"{told} made square: {stored[0]} x {stored[1]} stretched to "
                f"{width} x {height}",
            )
    scaled = (width, height)
    how = orientation_of(first)
    shown = scaled[::-1] if how is not None and how.is_turned else scaled
    return Shape(stored, scaled, shown, notes)


class ToRGB:
    """The conversion of a video's pictures, one after another."""

    def __init__(self, shape: Shape):
        """Keeps the shape that all pictures get; nothing is converted yet."""
        self._shape = shape
        # One for all pictures: its tables cost more than a picture's conversion.
        self._reformatter = VideoReformatter()
        self._how = Orientation()
        self._notes = dict.fromkeys(shape.notes)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was changed or left so far, in words, each once."""
        return tuple(self._notes)

    def __call__(self, frame: VideoFrame) -> UInt8[np.ndarray, "height width 3"]:
        """The picture as RGB, of the size that the first one is shown in."""
        self._how = how = orientation_of(frame) or self._how
        self._note_form(frame, how)
        size = self._shape.shown[::-1] if how.is_turned else self._shape.shown
        image = self._rgb(frame, size)
        if how.is_turned:
            image = image.transpose(1, 0, 2)
        image = image[:: -1 if how.flips_y else 1, :: -1 if how.flips_x else 1]
        return np.ascontiguousarray(image)

    def _note_form(self, frame: VideoFrame, how: Orientation) -> None:
        self._notes |= dict.fromkeys(how.notes)
        if frame.interlaced_frame:
            self._notes["interlaced: a picture has lines of two moments"] = None
        if (frame.width, frame.height) != self._shape.stored:
            self._notes[
                "the size changes on the way; all pictures are scaled to that of the "
                "first"
            ] = None
        was_turned = self._shape.shown != self._shape.scaled
        width, height = self._shape.shown
        if how.is_turned != was_turned and width != height:
            self._notes[
                "pictures are turned otherwise on the way; all are scaled to the size "
                "of the first"
            ] = None

    def _rgb(
        self, frame: VideoFrame, size: Size
    ) -> UInt8[np.ndarray, "height width 3"]:
        """The picture in 8 bits of standard range, as it lies, on black."""
        conversion = conversion_of(frame.color_trc, frame.color_primaries)
        has_alpha = _has_alpha(frame.format.name)
        name = _FORMATS[has_alpha, conversion is not None]
        # One thread: two take longer for pictures of usual sizes.
        made = self._reformatter.reformat(frame, *size, format=name, threads=1)
        image = made.to_ndarray()
        alpha = image[..., 3:]
        image = image[..., :3]
        if conversion is not None:
            self._notes[conversion.note] = None
            image = conversion(image)
        if has_alpha:
            full = 255 if conversion is None else 65535
            if (alpha < full).any():
                self._notes["transparency, composed on black"] = None
                image = (image * (alpha / np.float32(full)) + 0.5).astype(np.uint8)
        return image


@functools.cache
def _has_alpha(name: str) -> bool:
    """Whether pictures of libav's format of this name may be transparent."""
    known = VideoFormat(name)
    return known.has_palette or any(one.is_alpha for one in known.components)


def orientation_of(frame: VideoFrame) -> Orientation | None:
    """How a picture is turned and mirrored, by its display matrix; None: it has none.

    The matrix is the file's, or that of the picture where the codec states one. Codecs
    state it with key frames, for all pictures that follow.
    """
    notes: tuple[str, ...] = ()
    try:
        side_data = frame.side_data["DISPLAYMATRIX"]  # type: ignore[typeddict-item]
    except KeyError:
        return None
    except ValueError:
        # Other side data is there, of a kind that is newer than PyAV. The rotation can
        # be had even so.
        angle = np.deg2rad(frame.rotation)
        cos, sin = np.cos(angle), np.sin(angle)
        matrix = np.array([[cos, -sin], [sin, cos]])
        notes = ("whether pictures are mirrored cannot be read",)
    else:
        numbers = np.frombuffer(bytes(side_data), np.int32).reshape(3, 3)
        matrix = numbers[:2, :2] / 65536
    return _orientation(matrix, notes)


def _orientation(
    matrix: Float64[np.ndarray, "2 2"], notes: tuple[str, ...]
) -> Orientation:
    # A point (x, y) goes to (a x + c y, b x + d y); y is downwards.
    (a, b), (c, d) = matrix.tolist()
    askew = np.rad2deg(np.arctan2(min(abs(a), abs(b)), max(abs(a), abs(b))))
    if askew > _ASKEW_DEG:
        notes += (
            f"pictures are {askew:.0f} degrees askew; only quarter turns are applied",
        )
    is_turned = abs(b) > abs(a)
    if is_turned:
        a, d = c, b
    return Orientation(is_turned, a < 0, d < 0, notes)
