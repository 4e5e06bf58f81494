"""Faces in pictures: boxes, points and scores, from the detector's raw outputs."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Real

from avemo_jax.faces import yunet
from avemo_jax.faces.boxes import overlaps

MAX_FACES = 64  # faces of a picture, the best first
_CANDIDATES = 256  # places that are looked at: each face has several
MIN_SCORE = 0.3  # what scores less is no face
MAX_OVERLAP = 0.3  # of two boxes that overlap more, the one with the lower score goes


class Detections(NamedTuple):
    """The faces of each picture, by falling score.

    Attributes:
        boxes: Left, top, width and height in pixels; they may reach over the edges.
        points: x and y in pixels of the eyes, the nose and the corners of the mouth,
            the picture's left before its right.
        scores: 0 to 1; 0 where there is no further face.
    """

    boxes: Float[Array, "batch faces 4"]
    points: Float[Array, "batch faces 5 2"]
    scores: Float[Array, "batch faces"]


def detect(
    params: dict[str, Any],
    images: Real[Array, "batch height width 3"],
    *,
    min_score: float = MIN_SCORE,
) -> Detections:
    """The faces of each image, at most :data:`MAX_FACES`.

    The function is pure, to be jitted by the caller.

    Args:
        params: Parameters from :func:`yunet.prepare`.
        images: RGB, 0 to 255; sides are multiples of 32. The detector finds faces of 10
            to 300 pixels, so larger pictures are reduced before.
        min_score: Faces that score less are left out.

    Raises:
        ValueError: If the images have other axes, channels or sides.
    """
    _, height, width, _ = images.shape
    found = decoded(yunet.apply(params, images), (height, width))
    return jax.vmap(lambda one: _without_doubles(one, min_score))(found)


def decoded(raw: yunet.Raw, size_px: tuple[int, int]) -> Detections:
    """A box, points and a score at each place, in pixels, all of them.

    Args:
        raw: Outputs of the network.
        size_px: Height and width of the images.
    """
    corners, strides = map(jnp.asarray, _places(size_px))
    centres = corners + raw.box[..., :2] * strides
    sizes = jnp.exp(raw.box[..., 2:]) * strides
    points = raw.points.reshape(*raw.points.shape[:-1], yunet.NUM_POINTS, 2)
    return Detections(
        jnp.concatenate([centres - sizes / 2, sizes], axis=-1),
        corners[:, None] + points * strides[:, None],
        jnp.sqrt(raw.cls * raw.obj),
    )


def _places(
    size_px: tuple[int, int],
) -> tuple[Float[np.ndarray, "places 2"], Float[np.ndarray, "places 1"]]:
    """Left upper corner and stride of each place, in pixels."""
    corners, strides = [], []
    for stride in yunet.STRIDES:
        rows, columns = (side // stride for side in size_px)
        y, x = np.mgrid[:rows, :columns] * stride
        corners.append(np.stack([x.ravel(), y.ravel()], axis=1))
        strides.append(np.full((rows * columns, 1), stride))
    return (
        np.concatenate(corners).astype(np.float32),
        np.concatenate(strides).astype(np.float32),
    )


def _without_doubles(found: Detections, min_score: float) -> Detections:
    """The best faces of one picture, of which no two overlap much."""
    count = min(_CANDIDATES, len(found.scores))
    scores, best = jax.lax.top_k(found.scores, count)
    boxes, points = found.boxes[best], found.points[best]
    clash = overlaps(boxes, boxes) > MAX_OVERLAP

    def next_kept(
        i: Int[Array, ""], kept: Bool[Array, " faces"]
    ) -> Bool[Array, " faces"]:
        is_later = jnp.arange(count) > i
        return kept & ~(kept[i] & clash[i] & is_later)

    kept = jax.lax.fori_loop(0, count, next_kept, scores >= min_score)
    order = jnp.argsort(~kept, stable=True)[:MAX_FACES]
    scores = jnp.where(kept, scores, 0)
    return Detections(boxes[order], points[order], scores[order])
