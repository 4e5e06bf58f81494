"""The faces of pictures of any size, in few compiled programs."""

import dataclasses
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from avemo_jax.faces import detection, yunet
from avemo_jax.faces.keyframes import FrameFaces
from avemo_jax.faces.second_look import PATCH_PX, patch_around, with_points, worth_it

# The longer side that pictures are reduced to; faces have 10 to 300 pixels then.
# At 320 points are less exact: crops of seven people correlate with those of another
# detector by .87 in the median, at 640 by .98.
LONG_SIDE_PX = 640
# The longer side of the pictures in which small faces are looked at again. Of crops of
# two people whose faces have 24 to 56 pixels in pictures that were reduced by 1.5, 78 %
# correlate by over .8 with those of another detector; with the second look 94 %.
SHARP_LONG_SIDE_PX = 1920
# Height and width that reduced pictures are padded to: small, wide, upright, others.
CANVASES = ((PATCH_PX, PATCH_PX), (384, 640), (640, 384), (640, 640))
_BATCH = 16  # pictures at once on an accelerator; on a CPU they run one by one

Picture = UInt8[np.ndarray, "_ _ 3"]


class FaceDetector:
    """YuNet on pictures of any size.

    Pictures whose longer side has more than 640 pixels are reduced, and small faces are
    looked at again in the picture itself. All are put on one of four canvases, so
    that a folder of videos of many sizes compiles four programs.
    """

    def __init__(self, tensors: Mapping[str, np.ndarray]):
        """Puts the network on the device; it compiles with the first picture.

        Args:
            tensors: YuNet's tensors by the published file's names.

        Raises:
            ValueError: If they are those of another network.
        """
        self._params = jax.device_put(yunet.prepare(tensors))
        self._detect = jax.jit(detection.detect)
        self._batch = 1 if jax.default_backend() == "cpu" else _BATCH

    def __call__(self, pictures: Sequence[Picture]) -> list[FrameFaces]:
        """The faces of each picture, by falling score, in its own pixels.

        Args:
            pictures: RGB, as :func:`reduced` gives them or larger.
        """
        found = []
        for start in range(0, len(pictures), self._batch):
            found += self._of_batch(pictures[start : start + self._batch])
        return found

    def _of_batch(self, pictures: Sequence[Picture]) -> list[FrameFaces]:
        small = [reduced(picture) for picture in pictures]
        first = self._detected(small, canvas([one.shape[:2] for one in small]))
        found = [
            scaled(faces, one.shape[:2], picture.shape[:2])
            for faces, one, picture in zip(first, small, pictures, strict=True)
        ]
        rows = [
            worth_it(faces, max(one.shape) / max(picture.shape))
            for faces, one, picture in zip(found, small, pictures, strict=True)
        ]
        patches = [
            patch_around(picture, faces.boxes[row])
            for picture, faces, of in zip(pictures, found, rows, strict=True)
            for row in of
        ]
        again: list[FrameFaces] = []
        for start in range(0, len(patches), self._batch):
            part = patches[start : start + self._batch]
            seen = self._detected([one.pixels for one in part], (PATCH_PX, PATCH_PX))
            again += [one.in_picture(f) for one, f in zip(part, seen, strict=True)]
        looks = iter(again)
        return [
            with_points(faces, of, [next(looks) for _ in of])
            for faces, of in zip(found, rows, strict=True)
        ]

    def _detected(
        self, pictures: Sequence[Picture], shape: tuple[int, int]
    ) -> list[FrameFaces]:
        """The faces of at most a batch of pictures, in their own pixels."""
        batch = np.zeros((self._batch, *shape, 3), np.uint8)
        for row, picture in zip(batch, pictures, strict=False):
            row[: picture.shape[0], : picture.shape[1]] = picture
        faces = jax.device_get(self._detect(self._params, jnp.asarray(batch)))
        found = []
        for i in range(len(pictures)):
            kept = faces.scores[i] > 0
            boxes, points, scores = (
                part[i, kept].astype(np.float64)
                for part in (faces.boxes, faces.points, faces.scores)
            )
            found.append(FrameFaces(boxes, points, scores))
        return found


def scaled(
    faces: FrameFaces, size: tuple[int, ...], other: tuple[int, ...]
) -> FrameFaces:
    """The faces of a picture in the pixels of the same picture of another size.

    Args:
        faces: The faces, the centres of whose pixels are whole numbers.
        size: Height and width of the picture.
        other: Height and width of the other one.
    """
    scale = np.array(other[::-1]) / np.array(size[::-1])
    corners = (faces.boxes[:, :2] + 0.5) * scale - 0.5
    boxes = np.concatenate([corners, faces.boxes[:, 2:] * scale], axis=1)
    points = (faces.points + 0.5) * scale - 0.5
    return dataclasses.replace(faces, boxes=boxes, points=points)


def reduced(picture: Picture, long_side_px: int | None = None) -> Picture:
    """The picture, its longer side at most so long.

    Args:
        picture: RGB.
        long_side_px: Pixels of the longer side; None: as the detector sees pictures.
    """
    rows, columns, _ = picture.shape
    height, width = reduced_size(rows, columns, long_side_px)
    if (height, width) == (rows, columns):
        return picture
    image = Image.fromarray(picture)
    small = image.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return np.asarray(small)


def reduced_size(
    height: int, width: int, long_side_px: int | None = None
) -> tuple[int, int]:
    """Height and width of a picture of this size once it is reduced.

    Args:
        height: Pixels.
        width: Pixels.
        long_side_px: Pixels of the longer side; None: as the detector sees pictures.
    """
    scale = (long_side_px or LONG_SIDE_PX) / max(height, width)
    if scale >= 1:
        return height, width
    return max(1, round(height * scale)), max(1, round(width * scale))


def canvas(sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The smallest canvas that holds pictures of all these heights and widths."""
    height, width = np.max(sizes, axis=0)
    return next(c for c in CANVASES if c[0] >= height and c[1] >= width)
