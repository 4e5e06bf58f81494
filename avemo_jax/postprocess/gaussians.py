"""Sliding Gaussian means as products with one banded matrix.

Every block of frames, with its halo, is multiplied by the same matrix of weights.
Only a block with a window that is cut gets a matrix of its own. Products of matrices
are what all platforms do fast, and their rounding grows with the window's frames
(``rounding_bound``), not with the video's.
"""

import math

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

# Frames of a block: near the window's length, so that little of a row is zeros.
_MIN_BLOCK, _MAX_BLOCK = 64, 256


def sliding_gaussians(
    scores: Float[Array, "frames outputs"],
    lo: Int[Array, " frames"],
    hi: Int[Array, " frames"],
    half_width: int,
    *,
    causal: bool,
) -> Float[Array, "frames outputs"]:
    """Means of the windows around each frame, near frames weighted most.

    The frame at distance k has the weight ``exp(-k^2 / (2 (half_width / 2)^2))``, and
    0 beyond ``half_width``. A window that is cut is divided by the weight that is left.
    ``rounding_bound`` tells how far from the exact ones the means are.

    Args:
        scores: Finite scores; NaN or infinity makes the whole output NaN.
        lo: Where the frame's sequence begins; windows are cut there.
        hi: One past the end of the frame's sequence; windows are cut there.
        half_width: Frames on each side, from 1. What a window of this width has beyond
            the first and the last frame costs nothing.
        causal: Windows end with their own frame.
    """
    num_frames, num_outputs = scores.shape
    before = min(half_width, num_frames)
    after = 0 if causal else before
    step = min(max(before, _MIN_BLOCK), _MAX_BLOCK)
    size = step + before + after
    num_blocks = -(-num_frames // step)
    spare = num_blocks * step - num_frames
    finite = jnp.isfinite(scores).all(axis=0)
    # a column of ones sums the weights
    columns = jnp.pad(jnp.where(finite, scores, 0), ((0, 0), (0, 1)), constant_values=1)
    padded = jnp.pad(columns, ((before, spare + after), (0, 0)))
    index = jnp.arange(num_blocks * step)
    lo = jnp.concatenate([lo, index[num_frames:]])
    hi = jnp.concatenate([hi, index[num_frames:] + 1])
    band = _band(half_width, before, after, step)

    def block(start: Int[Array, ""]) -> Float[Array, "step outputs"]:
        values = lax.dynamic_slice(padded, (start, 0), (size, num_outputs + 1))
        at, low, high = (
            lax.dynamic_slice(each, (start,), (step,)) for each in (index, lo, hi)
        )
        other = start - before + jnp.arange(size)

        def cut() -> Float[Array, "step size"]:
            inside = (other >= low[:, None]) & (other < high[:, None])
            return jnp.where(inside, band, 0)

        whole = (low <= at - before).all() & (high > at + after).all()
        weights = lax.cond(whole, lambda: band, cut)
        sums = jnp.matmul(weights, values, precision=lax.Precision.HIGHEST)
        return sums[:, :-1] / sums[:, -1:]

    blocks = lax.map(block, jnp.arange(num_blocks) * step)
    means = blocks.reshape(-1, num_outputs)[:num_frames]
    return jnp.where(finite, means, jnp.nan)


def rounding_bound(num_frames: int) -> float:
    """Largest error of a Gaussian mean, relative to the largest score in its window.

    With n frames in the window, weights w, scores x and float32's u = 2^-24, the sum of
    the products has a factor 1 + d, d within ± u, on each term for the rounding of its
    weight, of its product and of n - 1 additions; so has the sum of the weights, less
    the product; the quotient has one more. Whatever the order of adding, the computed
    mean is the exact one with a factor 1 + e on each term, e within ± m u / (1 - m u),
    m = 2 n + 2 (Higham, Accuracy and Stability of Numerical Algorithms, 2002, lemmas
    3.1 and 3.3). The weights are positive, so the error is at most that times the
    largest score.

    That holds always, and is reached where all roundings point one way. Where none
    follows from those before, m of them, each at most u times the largest score, pass
    6 sqrt(m) u only once in 30 million means, by Hoeffding's inequality (2 exp(-6^2 /
    2); Higham and Mary, A New Approach to Probabilistic Rounding Error Analysis, 2019).
    The bound is the smaller of the two: 3.6e-5 for 5,001 frames. Adding one by one in
    float32, as CPUs do with up to some 2,000 frames, was seen to be off by at most
    1.01 sqrt(m) u (3.8e-6 for 2,001 frames), with 8 or 16 partial sums 0.2 sqrt(m) u.

    Args:
        num_frames: Number of frames in a window that is not cut, from 1.
    """
    unit = 2.0**-24
    most = 2 * num_frames + 2
    return min(most, 6 * math.sqrt(most)) * unit / (1 - most * unit)


def _band(
    half_width: int, before: int, after: int, step: int
) -> Float[Array, "step size"]:
    """Weight of each position of a block with its halo, for each of its frames."""
    distance = np.arange(-before, after + 1)
    weights = np.exp(-0.5 * (distance / (half_width / 2)) ** 2)
    # zeros on both sides, so that each row is a piece of one vector
    line = np.pad((weights / weights.sum()).astype(np.float32), step - 1)
    row, column = jnp.arange(step)[:, None], jnp.arange(step + before + after)
    # built when the program runs: as a constant it would be megabytes of program
    return jnp.take(
        lax.optimization_barrier(jnp.asarray(line)), column - row + step - 1
    )
