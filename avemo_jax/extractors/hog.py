"""Histograms of oriented gradients of a face: which way its edges run, and where.

The 31 channels of P. Felzenszwalb et al., "Object Detection with Discriminatively
Trained Part-Based Models", 2010, section 6 (OpenFace 2 takes them for faces, by dlib),
with votes that are shared between neighbouring orientations too, as N. Dalal and
B. Triggs share them in "Histograms of Oriented Gradients for Human Detection", 2005. So
a small movement changes the numbers a little, and none jumps. There are no weights.

The face is divided into 8 x 8 cells, of 14 px in a crop of 112. OpenFace's 12 x 12 of
8 px are 4464 numbers, which it reduces by a learned PCA; 1984 need none, and are about
as many as the networks' embeddings have.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

CELLS = 8  # along each side
ORIENTATIONS = 9  # without sign, 20 degrees apart; with sign twice as many
_BLOCKS = 4  # of 2 x 2 cells, that a cell lies in
CHANNELS = 3 * ORIENTATIONS + _BLOCKS
DIM = CELLS * CELLS * CHANNELS
MIN_SIZE_PX = 2 * CELLS

_LUMA = np.asarray([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
_CLIP = 0.2  # of a normalised vote, as in both papers
# As Felzenszwalb's program scales what it sums: four blocks, 18 orientations.
_ORIENTATION_SCALE, _BLOCK_SCALE = 0.5, 0.2357
# Squared votes of a block that hardly differs from a flat one, for pixels in [0, 1].
_FLAT = 1e-4


def apply(
    pixels: Float[Array, "n height width 3"],
) -> Float[Array, "n dim"]:
    """The histograms of each face: cells by rows, 31 channels each.

    The channels are 18 orientations with sign (dark to light), 9 without, each 0 to
    0.4, and the strength of the edges against that of four neighbourhoods, 0 to 0.85.
    The order of orientations is that of their angles from 0, to the right, by 20
    degrees, towards the lower edge. A flat crop gives zeros.

    Args:
        pixels: RGB in [0, 1], each side at least ``MIN_SIZE_PX``.

    Raises:
        ValueError: If the crops are no squares of that size.
    """
    size = pixels.shape[1]
    if pixels.shape[1:] != (size, size, 3) or size < MIN_SIZE_PX:
        raise ValueError(
            f"crops of shape {pixels.shape[1:]}; expected (size, size, 3), size at "
            f"least {MIN_SIZE_PX}; resize them with avemo_jax.media.resizing"
        )
    return jax.lax.platform_dependent(pixels, cpu=_one_by_one, default=_histograms)


def _one_by_one(pixels: Float[Array, "n size size 3"]) -> Float[Array, "n dim"]:
    """The histograms, crop after crop: its votes stay in the cache of a CPU.

    With several at once the last bits depend on a crop's place among them, and so on
    where an extraction was interrupted; eight at once are a tenth faster.
    """
    return jax.lax.map(lambda one: _histograms(one[None])[0], pixels)


def _histograms(pixels: Float[Array, "n size size 3"]) -> Float[Array, "n dim"]:
    n, size = pixels.shape[:2]
    # A product: XLA would fuse a sum into the votes, and compute it for each of them.
    grey = jnp.dot(pixels, _LUMA, precision="highest")
    inside = _shares(size)[1:-1]
    votes = _votes(
        grey[:, 1:-1, 2:] - grey[:, 1:-1, :-2], grey[:, 2:, 1:-1] - grey[:, :-2, 1:-1]
    )
    by_column = jnp.einsum("nohw,wc->nohc", votes, inside, precision="highest")
    cells = jnp.einsum("nohc,hr->nrco", by_column, inside, precision="highest")
    return _normalised(cells).reshape(n, DIM)


def _votes(
    right: Float[Array, "n height width"], down: Float[Array, "n height width"]
) -> Float[Array, "n orientations height width"]:
    """Each gradient as the sum of two, along the nearest of 18 directions.

    Args:
        right: Differences of the pixels to the right and to the left.
        down: Differences of the pixels below and above.

    Returns:
        The lengths of the two at their directions, and 0 at all others.
    """
    step = np.pi / ORIENTATIONS
    angles = np.arange(2 * ORIENTATIONS) * step
    # sin(angle - before) and sin(after - angle), times the length: the smaller is the
    # share of this direction, and is negative for gradients that are not between.
    before, after = (
        np.stack([np.cos(a), np.sin(a)])[..., None, None].astype(np.float32)
        for a in (angles - step, angles + step)
    )
    x, y = right[:, None], down[:, None]
    from_before = before[0] * y - before[1] * x
    to_after = after[1] * x - after[0] * y
    share = jnp.minimum(from_before, to_after) * np.float32(1 / np.sin(step))
    return jnp.maximum(share, 0)


def _shares(size: int) -> Float[np.ndarray, "size cells"]:
    """The shares of each pixel's vote that the cells get, along one side.

    They fall linearly with the distance from the cell's middle, to 0 at the next one's.
    What a cell beyond the edge would get is lost.
    """
    places = (np.arange(size) + 0.5) * CELLS / size - 0.5
    distance = np.abs(places[:, None] - np.arange(CELLS))
    return np.maximum(1 - distance, 0).astype(np.float32)


def _normalised(
    cells: Float[Array, "n rows columns orientations"],
) -> Float[Array, "n rows columns channels"]:
    """The channels of each cell, from its votes and those of its neighbourhoods.

    A cell at the edge stands in for its neighbours beyond.
    """
    unsigned = cells[..., :ORIENTATIONS] + cells[..., ORIENTATIONS:]
    energy = jnp.square(unsigned).sum(-1)
    energy = jnp.pad(energy, ((0, 0), (1, 1), (1, 1)), mode="edge")
    energy = energy[:, :-1] + energy[:, 1:]
    blocks = jax.lax.rsqrt(energy[..., :-1] + energy[..., 1:] + _FLAT)
    votes = jnp.concatenate([cells, unsigned], axis=-1)
    clipped = [
        jnp.minimum(votes * blocks[:, i : i + CELLS, j : j + CELLS, None], _CLIP)
        for i in (0, 1)
        for j in (0, 1)
    ]
    orientations = _ORIENTATION_SCALE * sum(clipped)
    strength = [one[..., : 2 * ORIENTATIONS].sum(-1) for one in clipped]
    return jnp.concatenate(
        [orientations, _BLOCK_SCALE * jnp.stack(strength, -1)], axis=-1
    )
