"""Small pictures for a page: of the strongest moments, and a strip over the whole."""

import base64
import io
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from avemo_jax.media.chosen_pictures import key_pictures, pictures_at
from avemo_jax.media.images import read_image
from avemo_jax.prediction.page.moments import Moment
from avemo_jax.prediction.predicted import Predicted

FACE_PX = 144  # of a moment's still
STRIP_PX = 320  # width of a picture of the strip
MAX_BYTES = 1_200_000  # of all stills of moments together
MAX_FACES = 150  # stills of moments
STRIP_COUNT = 20
IMAGE_PX = 960  # longer side of the one picture of an image
_AROUND = 1.7  # side of a still over the longer side of the face's box
_QUALITY = 78

Picture = UInt8[np.ndarray, "_ _ 3"]


class Still(NamedTuple):
    """One picture of the strip.

    Attributes:
        time_s: When it is shown.
        jpeg: The picture, as the address of its bytes.
    """

    time_s: float
    jpeg: str


def stills_of_moments(
    predicted: Predicted, moments: Sequence[Moment]
) -> dict[Moment, str]:
    """A still of the face for each moment, as the address of its bytes.

    Those first in the list have one where there are too many for one page.

    Args:
        predicted: What is predicted of the input.
        moments: The moments, the most wanted first.

    Raises:
        ValueError: If the pictures cannot be read.
    """
    wanted = list(moments[:MAX_FACES])
    frames = sorted({one.frame for one in wanted})
    faces = {face.face_id: face for face in predicted.faces}
    of_frame: dict[int, list[Moment]] = {}
    for one in wanted:
        of_frame.setdefault(one.frame, []).append(one)
    made: dict[Moment, str] = {}
    for frame, picture in zip(frames, _pictures(predicted, frames), strict=True):
        for one in of_frame[frame]:
            face = faces[one.face_id]
            box = face.boxes[frame - int(face.frame[0])]
            made[one] = _address(_around(picture, box), FACE_PX, FACE_PX)
    kept, total = {}, 0
    for one in wanted:
        total += len(made[one])
        if total > MAX_BYTES:
            break
        kept[one] = made[one]
    return kept


def strip_of(predicted: Predicted) -> list[Still]:
    """Pictures over the whole length, at even distances or near; of an image the image.

    They stand in place of a player where a browser cannot play the video, or the page
    is somewhere without it.

    Args:
        predicted: What is predicted of the input.

    Raises:
        ValueError: If the pictures cannot be read.
    """
    if not predicted.num_frames:
        return []
    if predicted.num_frames == 1:
        (picture,) = _pictures(predicted, [predicted.first_frame])
        return [Still(float(predicted.times_s[0]), _fitted(picture, IMAGE_PX))]
    count = min(STRIP_COUNT, predicted.num_frames)
    at = np.linspace(0, predicted.num_frames - 1, count).round().astype(int)
    if predicted.files:
        times = predicted.times_s[at].tolist()
        pictures = _pictures(predicted, (at + predicted.first_frame).tolist())
        found = list(zip(times, pictures, strict=True))
        return [Still(t, _fitted(picture, STRIP_PX)) for t, picture in found]
    keys = key_pictures(predicted.path, predicted.times_s[at].tolist())
    return [Still(t, _fitted(picture, STRIP_PX)) for t, picture in keys]


def _pictures(predicted: Predicted, frames: Sequence[int]) -> Iterator[Picture]:
    """The pictures of these frames, whose numbers ascend."""
    at = np.array(frames, int) - predicted.first_frame
    if predicted.files:
        # Of a part the frames keep their numbers, from 1.
        for frame in frames:
            yield read_image(predicted.files[frame - 1])
    else:
        yield from pictures_at(predicted.path, predicted.times_s[at].tolist())


def _around(picture: Picture, box: Float[np.ndarray, "4"]) -> Picture:
    """The square around a face, cut at the picture's edges."""
    height, width, _ = picture.shape
    left, top, wide, high = box.tolist()
    side = max(1.0, min(_AROUND * max(wide, high), width, height))
    x = min(max(left + wide / 2 - side / 2, 0), width - side)
    y = min(max(top + high / 2 - side / 2, 0), height - side)
    whole = max(1, math.floor(side))
    return picture[int(y) : int(y) + whole, int(x) : int(x) + whole]


def _fitted(picture: Picture, longest_px: int) -> str:
    """The picture within a square of that size, never enlarged."""
    height, width, _ = picture.shape
    scale = min(1.0, longest_px / max(height, width))
    return _address(picture, round(width * scale) or 1, round(height * scale) or 1)


def _address(picture: Picture, width_px: int, height_px: int) -> str:
    """The picture as a JPEG file of that size, as an address that holds its bytes."""
    image = Image.fromarray(np.ascontiguousarray(picture))
    if image.size != (width_px, height_px):
        image = image.resize((width_px, height_px), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
