"""Sliding medians for many widths at once, from one sort of the scores.

The frames are cut into blocks with a halo; each block's ranks go into a wavelet matrix
(Claude, Navarro and Ordonez, "The wavelet matrix", Information Systems 47, 2015), which
finds the k-th smallest of any window by as many look-ups as a rank has bits, whatever
the window's width.
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Integer

from avemo_jax.postprocess.names import MAX_HALF_WIDTH

# Positions of a block, as a power of two: its matrix (96 kB an output) stays in cache.
_BLOCK_BITS = 12
# Parts of a block: a part whose windows are all odd takes half the look-ups.
_GROUPS = 4
# Positions and half a score's bits are sorted together in 32 bits.
_MAX_BLOCK_BITS = 16
assert MAX_HALF_WIDTH == 1 << (_MAX_BLOCK_BITS - 3)  # a halo of half a block


def sliding_medians(
    scores: Float[Array, "frames outputs"],
    lo: Int[Array, " frames"],
    hi: Int[Array, " frames"],
    half_widths: tuple[int, ...],
    *,
    causal: bool = False,
) -> list[Float[Array, "frames outputs"]]:
    """Medians of the windows around each frame, for each half width; exact.

    A mean of two middle values that is below float32's smallest normal number, 1.2e-38,
    may come out as 0.

    Args:
        scores: Finite scores; NaN or infinity makes the whole output NaN.
        lo: Where the frame's sequence begins; windows are cut there.
        hi: One past the end of the frame's sequence; windows are cut there.
        half_widths: Frames on each side, from 1 to ``MAX_HALF_WIDTH``.
        causal: Windows end with their own frame.
    """
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

        def width(half: Int[Array, ""]) -> Float[Array, "outputs step"]:
            begin = jnp.maximum(at - half, low)
            end = jnp.minimum(at + (0 if causal else half) + 1, high)
            begin, end = begin - start + halo, end - start + halo
            return _medians(levels, ascending, begin, end)

        return lax.map(width, jnp.asarray(half_widths, jnp.int32))

    blocks = lax.map(block, jnp.arange(num_blocks) * step)
    rows = jnp.transpose(blocks, (1, 0, 3, 2)).reshape(
        len(half_widths), -1, num_outputs
    )
    finite = jnp.isfinite(scores).all(axis=0)
    return [jnp.where(finite, each[:num_frames], jnp.nan) for each in rows]


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

    def parted(
        ranks: Integer[Array, "outputs size"], bit: Int[Array, ""]
    ) -> tuple[Integer[Array, "outputs size"], Integer[Array, "outputs size"]]:
        ones = (ranks >> bit) & 1
        ones_before = jnp.cumsum(ones, axis=-1) - ones
        zeros_before = here - ones_before
        to = jnp.where(ones == 1, size // 2 + ones_before, zeros_before)
        return scattered(to, ranks), zeros_before.astype(jnp.uint16)

    # a loop, so that one level is compiled and not all
    _, levels = lax.scan(parted, ranks, jnp.arange(bits - 1, -1, -1))
    return levels, jnp.take_along_axis(values, order, axis=-1)


def _medians(
    levels: Integer[Array, "bits outputs size"],
    ascending: Float[Array, "outputs size"],
    begin: Int[Array, " windows"],
    end: Int[Array, " windows"],
) -> Float[Array, "outputs windows"]:
    """The median of each window ``[begin, end)``.

    Most groups of windows are of odd lengths only; they have one middle value to find.
    """
    num_windows = len(begin)
    spare = -num_windows % _GROUPS  # windows of the first position
    begin = jnp.pad(begin, (0, spare)).reshape(_GROUPS, -1)
    end = jnp.pad(end, (0, spare), constant_values=1).reshape(_GROUPS, -1)

    def group(
        bounds: tuple[Int[Array, " windows"], Int[Array, " windows"]],
    ) -> Float[Array, "outputs windows"]:
        begin, end = bounds
        count = end - begin
        lower = _kth(levels, ascending, begin, end, (count - 1) // 2)

        def with_upper() -> Float[Array, "outputs windows"]:
            upper = _kth(levels, ascending, begin, end, count // 2)
            # a middle value itself is copied, so that its last bits stay
            return jnp.where(count % 2 == 1, lower, (lower + upper) * 0.5)

        return lax.cond((count % 2 == 1).all(), lambda: lower, with_upper)

    groups = lax.map(group, (begin, end))
    return jnp.swapaxes(groups, 0, 1).reshape(len(ascending), -1)[:, :num_windows]


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
