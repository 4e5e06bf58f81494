"""Sliding means and medians over the frames of many videos, exact and compiled.

Nothing here loops over frames or calls back to the host: all of it lowers for CPU,
GPU and TPU. The mean is a difference of integer cumulative sums; the median descends
a wavelet matrix (Claude, Navarro and Ordonez, "The wavelet matrix", 2015), which is
built once and then serves every width.
"""

from collections.abc import Sequence
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, Integer

Mode = Literal["none", "mean", "median"]
Setting = tuple[Mode, int]

# Positions of a block, as a power of two: its matrix (96 kB an output) stays in cache.
_BLOCK_BITS = 12
# Positions and half a score's bits are sorted together in 32 bits.
_MAX_BLOCK_BITS = 16
MAX_MEDIAN_HALF_WIDTH = 1 << (_MAX_BLOCK_BITS - 3)


def smooth(
    scores: Float[Array | np.ndarray, "*members frames outputs"],
    lo: Int[Array | np.ndarray, " frames"],
    hi: Int[Array | np.ndarray, " frames"],
    *,
    half_width: int,
    mode: Mode = "mean",
) -> Float[Array, "*members frames outputs"]:
    """Scores of each frame averaged over the frames around it, within its video.

    The window is ``[i - half_width, i + half_width]``, cut at both ends of the video.

    Args:
        scores: Of consecutive frames without gaps, one video after the other; finite.
        lo: Where the video of each frame begins (``FillPlan.lo``).
        hi: One past the end of the video of each frame (``FillPlan.hi``).
        half_width: Frames on each side; 0 returns ``scores``. At 30 frames/s, 15 is
            half a second.
        mode: "median" averages the two middle values where the window is even, "none"
            returns ``scores``.

    Raises:
        ValueError: If ``half_width`` is negative or too large for a median, a score
            is NaN or infinite, or the bounds do not enclose their frames. Scores and
            bounds that are traced by an enclosing ``jax.jit`` are not looked at; NaN
            then spreads over the whole output it occurs in.
    """
    return smooth_all(scores, lo, hi, [(mode, half_width)])[0]


def smooth_all(
    scores: Float[Array | np.ndarray, "*members frames outputs"],
    lo: Int[Array | np.ndarray, " frames"],
    hi: Int[Array | np.ndarray, " frames"],
    settings: Sequence[Setting],
) -> tuple[Float[Array, "*members frames outputs"], ...]:
    """``smooth`` for several settings at once: the scores are sorted only once.

    Args:
        scores: As in ``smooth``.
        lo: As in ``smooth``.
        hi: As in ``smooth``.
        settings: Pairs (mode, half width in frames).

    Returns:
        The smoothed scores of each setting, in their order. Every member's scores are
        bit for bit those of a call with this member and this setting alone.

    Raises:
        ValueError: As ``smooth``.
    """
    num_frames = scores.shape[-2]
    for mode, half_width in settings:
        _check_setting(mode, half_width, num_frames)
    _check_arrays(scores, lo, hi)
    return _smooth_all(
        jnp.asarray(scores, jnp.float32),
        jnp.asarray(lo, jnp.int32),
        jnp.asarray(hi, jnp.int32),
        # wider than the whole is the whole
        settings=tuple((mode, min(half, num_frames)) for mode, half in settings),
    )


@partial(jax.jit, static_argnames="settings")
def _smooth_all(
    scores: Float[Array, "*members frames outputs"],
    lo: Int[Array, " frames"],
    hi: Int[Array, " frames"],
    settings: tuple[Setting, ...],
) -> tuple[Float[Array, "*members frames outputs"], ...]:
    """``smooth_all`` of checked arguments, one member after the other."""
    if scores.size == 0:
        return (scores,) * len(settings)

    def member(
        one: Float[Array, "frames outputs"],
    ) -> tuple[Float[Array, "frames outputs"], ...]:
        widths = tuple(half for mode, half in settings if mode == "median" and half)
        medians = iter(_medians(one, lo, hi, widths) if widths else ())
        out = []
        for mode, half in settings:
            if mode == "none" or half == 0:
                out.append(one)
            elif mode == "mean":
                out.append(_mean(one, lo, hi, half))
            else:
                out.append(next(medians))
        return tuple(out)

    flat = scores.reshape(-1, *scores.shape[-2:])
    return tuple(each.reshape(scores.shape) for each in lax.map(member, flat))


def _mean(
    scores: Float[Array, "frames outputs"],
    lo: Int[Array, " frames"],
    hi: Int[Array, " frames"],
    half_width: int,
) -> Float[Array, "frames outputs"]:
    """Window means from cumulative sums of integers, right to float32's rounding.

    Each output is scaled by the power of two at which no window's sum leaves int32;
    the running total may wrap around, differences of it do not mind. What rounding to
    integers cut off is summed likewise where it matters.
    """
    num_frames = scores.shape[0]
    longest = min(2 * half_width + 1, num_frames)
    room = int(np.floor(np.log2((2**31 - 1) / longest - 1)))
    index = jnp.arange(num_frames)
    begin = jnp.maximum(index - half_width, lo)
    end = jnp.minimum(index + half_width + 1, hi)

    def window_sums(
        whole: Float[Array, "frames outputs"],
    ) -> Float[Array, "frames outputs"]:
        total = jnp.cumsum(whole.astype(jnp.int32), axis=0)
        total = jnp.pad(total, ((1, 0), (0, 0)))
        return (total[end] - total[begin]).astype(jnp.float32)

    largest = jnp.abs(scores).max(axis=0)
    fraction, exponent = jnp.frexp(largest)
    exponent = jnp.where(fraction == 0.5, exponent - 1, exponent)  # largest <= 2^e
    shift = jnp.clip(room - exponent, -120, 120)
    scaled = jnp.ldexp(scores, shift)
    whole = jnp.round(scaled)
    sums = window_sums(whole)
    if room < 24:  # float32 has 24 bits
        rest = window_sums(jnp.round(jnp.ldexp(scaled - whole, room)))
        sums = sums + jnp.ldexp(rest, -room)
    means = jnp.ldexp(sums, -shift) / (end - begin).astype(jnp.float32)[:, None]
    return means + 0 * largest  # NaN or infinity where there is any


def _medians(
    scores: Float[Array, "frames outputs"],
    lo: Int[Array, " frames"],
    hi: Int[Array, " frames"],
    half_widths: tuple[int, ...],
) -> list[Float[Array, "frames outputs"]]:
    """Window medians for each half width, block by block over the frames."""
    num_frames, num_outputs = scores.shape
    halo = max(half_widths)
    bits = _block_bits(num_frames, halo)
    size = 1 << bits
    step = size - 2 * halo - 1  # the last position is never inside a window
    num_blocks = -(-num_frames // step)
    spare = num_blocks * step - num_frames
    padded = jnp.pad(scores.T, ((0, 0), (halo, spare + halo + 1)))
    index = jnp.arange(num_blocks * step)
    lo = jnp.concatenate([lo, index[num_frames:]])
    hi = jnp.concatenate([hi, index[num_frames:] + 1])

    def block(start: Int[Array, ""]) -> Float[Array, "widths outputs step"]:
        values = lax.dynamic_slice(padded, (0, start), (num_outputs, size))
        levels, ascending = _wavelet_matrix(values, bits)
        at, low, high = (
            lax.dynamic_slice(each, (start,), (step,)) for each in (index, lo, hi)
        )
        out = []
        for half in half_widths:
            begin = jnp.maximum(at - half, low)
            end = jnp.minimum(at + half + 1, high)
            count = end - begin
            begin, end = begin - start + halo, end - start + halo
            lower = _kth(levels, ascending, begin, end, (count - 1) // 2)
            upper = _kth(levels, ascending, begin, end, count // 2)
            out.append((lower + upper) * 0.5)
        return jnp.stack(out)

    blocks = lax.map(block, jnp.arange(num_blocks) * step)
    rows = jnp.transpose(blocks, (1, 0, 3, 2)).reshape(
        len(half_widths), -1, num_outputs
    )
    spoil = 0 * jnp.abs(scores).max(axis=0)  # NaN where there is NaN or infinity
    return [each[:num_frames] + spoil for each in rows]


def _wavelet_matrix(
    values: Float[Array, "outputs size"], bits: int
) -> tuple[Integer[Array, "bits outputs size"], Float[Array, "outputs size"]]:
    """The wavelet matrix of each output's ranks, and its values in ascending order.

    Level b holds, for each position, how many of the ranks before it have a 0 as
    their b-th highest bit; then the ranks are parted by that bit, zeros first, for
    the next level. The last position counts as the largest.
    """
    num_outputs, size = values.shape
    raw = lax.bitcast_convert_type(values, jnp.uint32)
    # the order of floats as unsigned integers
    key = raw ^ jnp.where(raw >> 31, jnp.uint32(0xFFFFFFFF), jnp.uint32(0x80000000))
    key = key.at[:, -1].set(jnp.uint32(0xFFFFFFFF))
    place = jnp.broadcast_to(jnp.arange(size, dtype=jnp.uint32), key.shape)

    def argsort16(
        digits: Integer[Array, "outputs size"],
    ) -> Integer[Array, "outputs size"]:
        # one sort of integers, several times faster in XLA than one of pairs
        packed = lax.sort((digits << bits) | place, is_stable=False)
        return (packed & jnp.uint32(size - 1)).astype(jnp.int32)

    first = argsort16(key & jnp.uint32(0xFFFF))
    second = argsort16(jnp.take_along_axis(key >> 16, first, axis=-1))
    order = jnp.take_along_axis(first, second, axis=-1)
    row = jnp.arange(num_outputs)[:, None]

    def scattered(
        where: Integer[Array, "outputs size"], what: Integer[Array, "outputs size"]
    ) -> Integer[Array, "outputs size"]:
        empty = jnp.zeros_like(what)
        return empty.at[row, where].set(
            what, unique_indices=True, mode="promise_in_bounds"
        )

    here = place.astype(jnp.int32)
    ranks = scattered(order, here)
    levels = []
    for bit in range(bits - 1, -1, -1):
        ones = (ranks >> bit) & 1
        ones_before = jnp.cumsum(ones, axis=-1) - ones
        zeros_before = here - ones_before
        levels.append(zeros_before.astype(jnp.uint16))
        ranks = scattered(
            jnp.where(ones == 1, size // 2 + ones_before, zeros_before), ranks
        )
    return jnp.stack(levels), jnp.take_along_axis(values, order, axis=-1)


def _kth(
    levels: Integer[Array, "bits outputs size"],
    ascending: Float[Array, "outputs size"],
    begin: Int[Array, " windows"],
    end: Int[Array, " windows"],
    k: Int[Array, " windows"],
) -> Float[Array, "outputs windows"]:
    """The k-th smallest value (from 0) of each window ``[begin, end)``.

    From the highest bit of its rank down: it is 0 where more than k ranks of the
    window have a 0 there, and the window follows those ranks to the next level.
    """
    bits, num_outputs, size = levels.shape
    shape = (num_outputs, begin.shape[0])
    column = jnp.arange(num_outputs)[:, None] * size
    flat = levels.reshape(-1)

    def level(
        bit: Int[Array, ""], state: tuple[Int[Array, "outputs windows"], ...]
    ) -> tuple[Int[Array, "outputs windows"], ...]:
        begin, end, k, rank = state
        base = column + bit * (num_outputs * size)
        zeros_begin = _take(flat, base + begin).astype(jnp.int32)
        zeros_end = _take(flat, base + end).astype(jnp.int32)
        zeros = zeros_end - zeros_begin
        one = k >= zeros
        return (
            jnp.where(one, size // 2 + begin - zeros_begin, zeros_begin),
            jnp.where(one, size // 2 + end - zeros_end, zeros_end),
            jnp.where(one, k - zeros, k),
            (rank << 1) | one,
        )

    start = tuple(jnp.broadcast_to(each, shape) for each in (begin, end, k))
    rank = lax.fori_loop(0, bits, level, (*start, jnp.zeros(shape, jnp.int32)))[3]
    return _take(ascending.reshape(-1), column + rank)


def _take(
    flat: Float[Array, " n"] | Integer[Array, " n"],
    index: Integer[Array, "rows columns"],
) -> Float[Array, "rows columns"] | Integer[Array, "rows columns"]:
    """Entries at indices that are known to be inside."""
    return flat.at[index].get(mode="promise_in_bounds")


def _block_bits(num_frames: int, halo: int) -> int:
    """Positions of a median's block, as a power of two: a whole number of bits."""
    everything = (num_frames + 2 * halo).bit_length()  # one block for short inputs
    return min(everything, max(_BLOCK_BITS, (8 * halo - 1).bit_length()))


def _check_setting(mode: str, half_width: int, num_frames: int) -> None:
    """Raise ValueError unless the setting can be computed."""
    if mode not in ("none", "mean", "median"):
        raise ValueError(
            f"unknown smoothing mode {mode!r}; expected 'none', 'mean' or 'median'; "
            "choose one of these"
        )
    if half_width < 0:
        raise ValueError(
            f"half width {half_width} is negative; expected frames on each side of "
            "the frame, 0 or more; pass 0 for no smoothing"
        )
    if mode == "median" and min(half_width, num_frames) > MAX_MEDIAN_HALF_WIDTH:
        raise ValueError(
            f"half width {half_width} is too large for a median; expected at most "
            f"{MAX_MEDIAN_HALF_WIDTH} frames; use the mean, or a narrower window"
        )


def _check_arrays(
    scores: Float[Array | np.ndarray, "*members frames outputs"],
    lo: Int[Array | np.ndarray, " frames"],
    hi: Int[Array | np.ndarray, " frames"],
) -> None:
    """Raise ValueError unless scores are finite and bounds enclose their frames."""
    if not isinstance(scores, jax.core.Tracer):
        bad = int(scores.size - jnp.isfinite(scores).sum())
        if bad:
            raise ValueError(
                f"{bad} of {scores.size} scores are NaN or infinite; expected finite "
                "ones; look for the step at which the head diverged"
            )
    if not isinstance(lo, jax.core.Tracer) and not isinstance(hi, jax.core.Tracer):
        index = np.arange(scores.shape[-2])
        wrong = (np.asarray(lo) > index) | (np.asarray(hi) <= index)
        wrong |= (np.asarray(lo) < 0) | (np.asarray(hi) > len(index))
        if wrong.any():
            frame = int(np.argmax(wrong))
            raise ValueError(
                f"frame {frame} of {len(index)} has the bounds {lo[frame]} to "
                f"{hi[frame]}; expected its video's beginning and one past its end; "
                "take lo and hi from the fill plan of these frames"
            )
