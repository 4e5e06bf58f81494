"""Pictures of any sizes, as uint8, resized to one size and normalised on the device.

The results equal those of Pillow's bilinear resizing with antialiasing to the bit: a
triangle filter that widens on reduction, columns first, then rows, weights of 22 bits,
rounded to 8 bits after each pass. Pillow up to 12 always has this order. Pillow 13
resizes rows first where the height is reduced more than the width (its pull request
9549), which changes values by at most 1; the order here is always the same.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int32, UInt8
from PIL import Image

SMALLEST_CANVAS_PX = 112
# Larger pictures are reduced on the host, lest the whole batch's canvas be large.
LARGEST_CANVAS_PX = 896
_WEIGHT_BITS = 22  # weights sum to 2**22, as in Pillow


def canvas_size(height: int, width: int) -> int:
    """Side of the square canvas that a picture is put on: 112, 224, 448, 896, ...

    There are few sizes, since a program is compiled for each.
    """
    side = SMALLEST_CANVAS_PX
    while side < max(height, width):
        side *= 2
    return side


def pack_images(
    images: Sequence[UInt8[np.ndarray, "_ _ 3"]],
    *,
    rows: int | None = None,
    size_px: int | None = None,
) -> tuple[
    UInt8[np.ndarray, "rows side side 3"],
    Int32[np.ndarray, " rows"],
    Int32[np.ndarray, " rows"],
]:
    """One batch of pictures on canvases, their heights and their widths.

    Each picture lies in the upper left of its canvas; the rest is zero.

    Args:
        images: The pictures, at least one, none empty.
        rows: Number of canvases; those beyond ``images`` get a black picture of 1 x 1.
            None: as many as images.
        size_px: Side that the pictures will be resized to. If given, those with a side
            over ``LARGEST_CANVAS_PX`` are resized here, by Pillow, so that one of them
            does not make the whole batch large.

    Raises:
        ValueError: If there are no images, more than ``rows``, or one that is empty or
            not of the stated form.
    """
    rows = len(images) if rows is None else rows
    if not images or len(images) > rows:
        raise ValueError(
            f"{len(images)} pictures for a batch of {rows}; expected 1 to {rows}; "
            "divide them"
        )
    for image in images:
        form = image.ndim == 3 and image.shape[-1] == 3 and image.size > 0
        if image.dtype != np.uint8 or not form:
            raise ValueError(
                f"a picture of dtype {image.dtype} and shape {image.shape}; expected "
                "uint8, (height, width, 3), at least 1 x 1; read it with read_image()"
            )
    if size_px is not None:
        images = [reduced(image, size_px) for image in images]
    heights, widths = np.ones((2, rows), np.int32)
    heights[: len(images)] = [image.shape[0] for image in images]
    widths[: len(images)] = [image.shape[1] for image in images]
    side = canvas_size(int(heights.max()), int(widths.max()))
    canvas = np.zeros((rows, side, side, 3), np.uint8)
    for row, image in zip(canvas, images, strict=False):
        row[: image.shape[0], : image.shape[1]] = image
    return canvas, heights, widths


def reduced(
    image: UInt8[np.ndarray, "_ _ 3"], size_px: int
) -> UInt8[np.ndarray, "_ _ 3"]:
    """The picture, resized here if a side is over ``LARGEST_CANVAS_PX``.

    Args:
        image: RGB.
        size_px: Side that the picture will be resized to.
    """
    if max(image.shape) <= LARGEST_CANVAS_PX:
        return image
    return resized_here(image, size_px)


def pack_resized(
    images: Sequence[UInt8[np.ndarray, "_ _ 3"]], *, rows: int, size_px: int
) -> tuple[
    UInt8[np.ndarray, "rows size size 3"],
    Int32[np.ndarray, " rows"],
    Int32[np.ndarray, " rows"],
]:
    """One batch of pictures as :func:`pack_images` gives them, but resized already.

    A CPU's program resizes in two to three times the time that Pillow takes.

    Args:
        images: The pictures, at least one, none empty.
        rows: Number of canvases; those beyond ``images`` are black.
        size_px: Side of the squares, which are the canvases.
    """
    canvas = np.zeros((rows, size_px, size_px, 3), np.uint8)
    for row, image in zip(canvas, images, strict=False):
        row[:] = resized_here(image, size_px)
    sides = np.full(rows, size_px, np.int32)
    return canvas, sides, sides


def resized_here(
    image: UInt8[np.ndarray, "_ _ 3"], size_px: int
) -> UInt8[np.ndarray, "size size 3"]:
    """The picture as :func:`resize` gives it, made by Pillow.

    Args:
        image: RGB.
        size_px: Side of the square.
    """
    if image.shape[:2] == (size_px, size_px):
        return image
    # In two steps, so that columns come first whatever the version of Pillow.
    narrow = (size_px, image.shape[0])
    small = Image.fromarray(image).resize(narrow, Image.Resampling.BILINEAR)
    small = small.resize((size_px, size_px), Image.Resampling.BILINEAR)
    return np.asarray(small)


def resize(
    images: UInt8[Array | np.ndarray, "n hmax wmax 3"],
    heights: Int32[Array | np.ndarray, " n"],
    widths: Int32[Array | np.ndarray, " n"],
    *,
    size_px: int,
) -> UInt8[Array, "n size size 3"]:
    """The pictures as squares of ``size_px``.

    The same as ``PIL.Image.resize((size_px, size_px), BILINEAR)``; the module's
    docstring says to what bit. A program is compiled for each shape of ``images``,
    whatever the sizes of the pictures on their canvases.

    Args:
        images: Each in the upper left of its canvas, as :func:`pack_images` gives them.
        heights: Heights of the pictures on their canvases, 1 to hmax.
        widths: Widths of the pictures on their canvases, 1 to wmax.
        size_px: Side of the squares.

    Raises:
        ValueError: If the canvas is too large for whole numbers of 32 bits.
    """
    n, canvas_height, canvas_width, _ = images.shape
    if 2 * max(canvas_height, canvas_width, size_px) ** 2 // size_px >= 2**20:
        raise ValueError(
            f"a canvas of {canvas_height} x {canvas_width} to {size_px} px; expected "
            f"a side under {int((2**19 * size_px) ** 0.5)}; pass size_px to "
            "pack_images()"
        )

    def resized() -> UInt8[Array, "n size size 3"]:
        # Columns: (n, w, h, 3) -> (n, size, h, 3); then rows -> (n, size, size, 3).
        x = jnp.swapaxes(jnp.asarray(images), 1, 2).reshape(n, canvas_width, -1)
        x = _filtered(x, widths, size_px).reshape(n, size_px, canvas_height, 3)
        x = jnp.swapaxes(x, 1, 2).reshape(n, canvas_height, -1)
        return _filtered(x, heights, size_px).reshape(n, size_px, size_px, 3)

    if min(canvas_height, canvas_width) < size_px:
        return resized()
    as_they_are = jnp.all(heights == size_px) & jnp.all(widths == size_px)
    same = jnp.asarray(images[:, :size_px, :size_px])
    return jax.lax.cond(as_they_are, lambda: same, resized)


def resize_and_normalise(
    images: UInt8[Array | np.ndarray, "n hmax wmax 3"],
    heights: Int32[Array | np.ndarray, " n"],
    widths: Int32[Array | np.ndarray, " n"],
    *,
    size_px: int,
    mean: Sequence[float],
    std: Sequence[float],
    dtype: DTypeLike = jnp.float32,
) -> Float[Array, "n size size 3"]:
    """The pictures as squares of ``size_px``, ``(x / 255 - mean) / std``.

    Args:
        images: Each in the upper left of its canvas, as :func:`pack_images` gives them.
        heights: Heights of the pictures on their canvases, 1 to hmax.
        widths: Widths of the pictures on their canvases, 1 to wmax.
        size_px: Side of the squares.
        mean: Mean of each channel, for values in [0, 1].
        std: Standard deviation of each channel, for values in [0, 1].
        dtype: Type of the result.
    """
    scale = np.asarray([1 / (255 * s) for s in std], np.float32)
    shift = np.asarray([m / s for m, s in zip(mean, std, strict=True)], np.float32)
    x = resize(images, heights, widths, size_px=size_px)
    return (x * scale - shift).astype(dtype)


def _filtered(
    x: UInt8[Array, "n from rest"], lengths: Int32[Array | np.ndarray, " n"], to: int
) -> UInt8[Array, "n to rest"]:
    """Axis 1 resized from ``lengths`` to ``to``: weighted sums of a few rows each."""
    taps = -(-2 * max(x.shape[1], to) // to)
    source, weights = _taps(jnp.asarray(lengths)[:, None], to, taps)
    rows_of = jax.vmap(lambda one, rows: jnp.take(one, rows, axis=0, mode="clip"))
    total = jnp.int32(1 << (_WEIGHT_BITS - 1))
    for tap in range(taps):
        rows = rows_of(x, source[..., tap]).astype(jnp.int32)
        total = total + rows * weights[..., tap, None]
    return (total >> _WEIGHT_BITS).astype(jnp.uint8)


def _taps(
    length: Int32[Array, "n 1"], to: int, taps: int
) -> tuple[Int32[Array, "n to taps"], Int32[Array, "n to taps"]]:
    """The elements that each of ``to`` results is made of; their weights times 2^22.

    Element s of ``length`` and t of ``to`` have their middles at s + 1/2 and (t + 1/2)
    * length / to; the weight falls linearly with their distance, to 0 at one step of
    the coarser side. All of it times 2 * to is whole. A surplus tap has weight 0 and
    may lie outside.
    """
    middle = (2 * jnp.arange(to, dtype=jnp.int32) + 1) * length
    reach = 2 * jnp.maximum(length, to)
    first = (middle - reach - to) // (2 * to) + 1
    source = first[..., None] + jnp.arange(taps, dtype=jnp.int32)
    distance = jnp.abs((2 * source + 1) * to - middle[..., None])
    inside = (source >= 0) & (source < length[..., None])
    weights = jnp.where(inside, jnp.maximum(reach[..., None] - distance, 0), 0)
    whole = weights.sum(-1, keepdims=True)
    # round(2^22 * weights / whole), in two halves that fit into 32 bits.
    half = _WEIGHT_BITS // 2
    high, rest = jnp.divmod(weights << half, whole)
    low, rest = jnp.divmod(rest << half, whole)
    return source, (high << half) + low + (2 * rest >= whole)
