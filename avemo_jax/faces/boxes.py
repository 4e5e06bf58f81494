"""Boxes of faces: left, top, width and height in pixels."""

from typing import Any

from jaxtyping import Float

# Shorter side of a face, in the median of its frames; smaller ones are noted.
MIN_FACE_PX = 24


def overlaps(
    a: Float[Any, "faces 4"], b: Float[Any, "others 4"]
) -> Float[Any, "faces others"]:
    """Intersection over union of each box with each other: 0 to 1.

    Boxes without an area overlap nothing.

    Args:
        a: Boxes; arrays of NumPy or of JAX.
        b: The other boxes, of the same library.
    """
    xp = a.__array_namespace__()
    a, b = a[:, None], b[None]
    near = xp.maximum(a[..., :2], b[..., :2])
    far = xp.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:])
    shared = xp.prod(xp.maximum(far - near, 0), axis=-1)
    union = xp.prod(a[..., 2:], axis=-1) + xp.prod(b[..., 2:], axis=-1) - shared
    return shared / xp.maximum(union, xp.finfo(union.dtype).tiny)
