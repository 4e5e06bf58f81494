"""A second look at small faces: a piece of the large picture around each of them.

Where a picture was reduced before detection, the points of a small face are inexact,
for the network places them by pixels. So it sees the face again in a patch of the
picture itself, and the points it finds there replace the first ones.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from avemo_jax.faces.boxes import overlaps
from avemo_jax.faces.keyframes import FrameFaces

PATCH_PX = 256  # side of a patch
FACE_PX = 128  # a face larger than this is reduced to it in its patch
# How much larger the face must be in its patch than where it was found: less is not
# worth the time.
MIN_GAIN = 1.2
MIN_OVERLAP = 0.4  # of the box in the patch with the first one, to be the same face
# Patches begin at multiples of this, where the network's coarsest grid has its places
# in the whole picture too: a face that is not reduced gets the same points from both.
_STEP_PX = 32

Picture = UInt8[np.ndarray, "_ _ 3"]


@dataclasses.dataclass(frozen=True, eq=False)
class Patch:
    """A piece of a picture around a face.

    Attributes:
        pixels: RGB; what lies outside the picture is black.
        left: Where its first column begins in the picture, in pixels.
        top: Where its first row begins.
        scale: Its size over that of what it shows, at most 1.
    """

    pixels: UInt8[np.ndarray, "side side 3"]
    left: int
    top: int
    scale: float

    def in_picture(self, faces: FrameFaces) -> FrameFaces:
        """The patch's faces in pixels of the picture."""
        corner = np.array([self.left, self.top])
        return dataclasses.replace(
            faces,
            boxes=np.concatenate(
                [
                    (faces.boxes[:, :2] + 0.5) / self.scale - 0.5 + corner,
                    faces.boxes[:, 2:] / self.scale,
                ],
                axis=1,
            ),
            points=(faces.points + 0.5) / self.scale - 0.5 + corner,
        )


def patch_around(picture: Picture, box: Float[np.ndarray, " 4"]) -> Patch:
    """A square with a face in its middle, as large as the network sees faces well.

    Args:
        picture: RGB.
        box: Left, top, width and height of the face in pixels.
    """
    scale = scale_of(box)
    side = round(PATCH_PX / scale)
    middle = box[:2] + box[2:] / 2
    left, top = np.round((middle - side / 2) / _STEP_PX).astype(int) * _STEP_PX
    x, y = max(left, 0), max(top, 0)
    cut = picture[y : max(top + side, y), x : max(left + side, x)]
    pixels = np.zeros((side, side, 3), np.uint8)
    pixels[y - top :, x - left :][: cut.shape[0], : cut.shape[1]] = cut
    if side != PATCH_PX:
        image = Image.fromarray(pixels).resize(
            (PATCH_PX, PATCH_PX), Image.Resampling.BILINEAR, reducing_gap=2.0
        )
        pixels = np.asarray(image)
    return Patch(pixels, int(left), int(top), PATCH_PX / side)


def scale_of(box: Float[np.ndarray, " 4"]) -> float:
    """What a face is reduced by in its patch: its size there over that in the picture.

    Args:
        box: Left, top, width and height of the face in pixels of the picture.
    """
    return min(1.0, FACE_PX / max(float(box[2]), float(box[3]), 1.0))


def worth_it(faces: FrameFaces, reduced_by: float) -> list[int]:
    """Which faces of a picture are looked at again.

    Args:
        faces: The faces, in pixels of the picture.
        reduced_by: Size of the picture in which they were found over the picture's own.
    """
    return [
        row
        for row, box in enumerate(faces.boxes)
        if scale_of(box) >= MIN_GAIN * reduced_by
    ]


def with_points(
    faces: FrameFaces, rows: Sequence[int], found: Sequence[FrameFaces]
) -> FrameFaces:
    """The faces with the points that the second look gives; boxes and scores stay.

    Args:
        faces: The faces of a picture.
        rows: Those that were looked at again.
        found: What was found in the patch of each, in pixels of the picture.
    """
    points = faces.points.copy()
    for row, again in zip(rows, found, strict=True):
        if not len(again.boxes):
            continue
        alike = overlaps(faces.boxes[row : row + 1], again.boxes)[0]
        best = int(np.argmax(alike))
        if alike[best] >= MIN_OVERLAP:
            points[row] = again.points[best]
    return dataclasses.replace(faces, points=points)
