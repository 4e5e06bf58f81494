"""The sequential rule of strides: few entries of a window first, more where in doubt.

A window's entries with one stride are neighbours once the frames of a video are laid
out by residue class. Medians with a stride are then plain sliding medians of another
width (``medians.py``), each computed once for all lists of strides.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from avemo_jax.postprocess.medians import sliding_medians
from avemo_jax.postprocess.names import MAX_HALF_WIDTH

Strides = tuple[int, ...]

# The lists that the original reports for EXPR with half width 200.
REPORTED_LISTS: tuple[Strides, ...] = (
    (200, 100, 50, 10, 1),
    (50, 25, 1),
    (50, 10, 1),
    (200, 50, 1),
    (100, 50, 1),
    (200, 1),
    (100, 1),
    (50, 1),
    (200,),
    (100,),
    (50,),
    (25,),
    (10,),
    (1,),
)


# Windows of at most so many entries are sorted by exchanges, a hundred times faster.
_FEW = 17


class StrideEntries(NamedTuple):
    """Where the windows with one stride lie; a pytree of arrays.

    The entries are all frames of the split, by video and residue class, and after
    them, for each video, the first entries of its first class once more, backwards:
    windows cut at the video's beginning start there.

    Attributes:
        source: The frame of each entry.
        stop: One past the last entry of the class of each entry.
        anchor: The first entry of each frame's window.
    """

    source: Int[Array | np.ndarray, " entries"]
    stop: Int[Array | np.ndarray, " entries"]
    anchor: Int[Array | np.ndarray, " frames"]


class Sequential(NamedTuple):
    """What the rule decides with each list, and what that costs.

    Attributes:
        stage: Index (in ``all_strides(lists)``) of the stride that decided the frame.
        classes: The class that this stride decided for.
        entries: Window entries looked at, by stride; their sum over the strides is
            the original's count.
        embedded: Frames that any window looked at: an extractor must embed them.
    """

    stage: Int[Array, "lists frames"]
    classes: Int[Array, "lists frames"]
    entries: Int[Array, "lists strides"]
    embedded: Bool[Array, "lists frames"]


def all_strides(lists: Sequence[Strides]) -> Strides:
    """Every stride of any list once, coarse to fine.

    Raises:
        ValueError: If there is no list, or one does not descend to 1 or more.
    """
    for each in lists:
        if not each or min(each) < 1 or list(each) != sorted(set(each), reverse=True):
            raise ValueError(
                f"strides {list(each)}; expected descending numbers of frames, 1 or "
                "more; sort them and leave out what occurs twice"
            )
    if not lists:
        raise ValueError("no list of strides; expected one or more; pass e.g. [(1,)]")
    return tuple(sorted({s for each in lists for s in each}, reverse=True))


def entries_per_window(stride: int, half_width: int) -> int:
    """Entries of a window that no end of a video cuts."""
    return 2 * half_width // stride + 1


def stride_entries(
    lo: Int[np.ndarray, " frames"],
    hi: Int[np.ndarray, " frames"],
    strides: Sequence[int],
    half_width: int,
) -> tuple[StrideEntries, ...]:
    """The layout for each stride, made once by numpy.

    Args:
        lo: Where the sequence of each frame begins (``FillMap.lo``).
        hi: One past the end of each frame's sequence (``FillMap.hi``).
        strides: Frames from one entry to the next, 1 or more.
        half_width: Frames on each side of a window.

    Raises:
        ValueError: If a stride, the half width or the bounds are out of range.
    """
    finest = min(strides, default=0)
    widest = entries_per_window(max(finest, 1), half_width)
    if finest < 1 or half_width < 0 or widest - 1 > MAX_HALF_WIDTH:
        raise ValueError(
            f"strides {list(strides)} with half width {half_width}; expected strides "
            f"of 1 or more and windows of at most {MAX_HALF_WIDTH + 1} entries; choose "
            "a narrower window or a coarser stride"
        )
    lo, hi = np.asarray(lo, np.int64), np.asarray(hi, np.int64)
    _check_bounds(lo, hi)
    if len(lo) * widest > np.iinfo(np.int32).max:
        raise ValueError(
            f"{len(lo)} frames with windows of {widest} entries; expected at most "
            "2^31 - 1 entries in all; split the videos"
        )
    return tuple(_entries_of_stride(lo, hi, stride, half_width) for stride in strides)


def _entries_of_stride(
    lo: Int[np.ndarray, " frames"],
    hi: Int[np.ndarray, " frames"],
    stride: int,
    half_width: int,
) -> StrideEntries:
    """The layout for one stride."""
    index = np.arange(len(lo))
    width = entries_per_window(stride, half_width)
    residue = (index - lo) % stride
    order = np.lexsort((index, residue, lo))
    place = np.empty_like(order)
    place[order] = index
    # frames of the same class that follow, itself included
    stop = place + (hi - 1 - index) // stride + 1
    # the first entries of each video's first class, backwards
    starts = index[index == lo]
    longest = np.minimum(width, (hi[starts] - 1 - starts) // stride + 1)
    ends = len(lo) + np.cumsum(longest)
    video = np.repeat(np.arange(len(starts)), longest)
    backwards = ends[video] - 1 - (len(lo) + np.arange(len(video)))
    # windows: cut at the beginning, or from their left edge on
    cut = index - half_width < lo
    length = (np.minimum(index + half_width, hi - 1) - lo) // stride + 1
    video_of_frame = np.searchsorted(starts, lo)
    left = place[np.maximum(index - half_width, 0)]
    anchor = np.where(cut, ends[video_of_frame] - length, left)
    return StrideEntries(
        source=np.concatenate([order, starts[video] + stride * backwards]).astype(
            np.int32
        ),
        stop=np.concatenate([stop[order], ends[video]]).astype(np.int32),
        anchor=anchor.astype(np.int32),
    )


def strided_medians(
    scores: Float[Array | np.ndarray, "frames outputs"],
    of_stride: StrideEntries,
    stride: int,
    half_width: int,
) -> Float[Array, "frames outputs"]:
    """Median of each frame's window sampled from its left edge; numpy's, bit for bit.

    Args:
        scores: Finite scores of consecutive frames; NaN makes the whole output NaN.
        of_stride: Layout for the same stride and half width.
        stride: Frames from one entry to the next.
        half_width: Frames on each side.
    """
    width = entries_per_window(stride, half_width)
    laid_out = jnp.asarray(scores, jnp.float32)[jnp.asarray(of_stride.source)]
    stop = jnp.asarray(of_stride.stop)
    if width <= _FEW:
        medians = _medians_of_few(laid_out, stop, width)
    else:
        begin = jnp.arange(len(laid_out), dtype=jnp.int32)
        medians = sliding_medians(laid_out, begin, stop, (width - 1,))[0]
    return medians[jnp.asarray(of_stride.anchor)]


def _medians_of_few(
    laid_out: Float[Array, "entries outputs"], stop: Int[Array, " entries"], width: int
) -> Float[Array, "entries outputs"]:
    """Median of each entry and those after it, sorted by exchanges of neighbours."""
    num_entries = len(laid_out)
    count = jnp.minimum(stop - jnp.arange(num_entries), width)[:, None]
    padded = jnp.pad(laid_out, ((0, width), (0, 0)))
    values = [
        jnp.where(k < count, padded[k : k + num_entries], jnp.inf) for k in range(width)
    ]
    for turn in range(width):
        for a in range(turn % 2, width - 1, 2):
            pair = values[a], values[a + 1]
            values[a], values[a + 1] = jnp.minimum(*pair), jnp.maximum(*pair)
    lower = upper = values[0]
    for k in range(1, width // 2 + 1):
        lower = jnp.where((count - 1) // 2 == k, values[k], lower)
        upper = jnp.where(count // 2 == k, values[k], upper)
    medians = jnp.where(count % 2 == 1, lower, (lower + upper) * 0.5)
    return jnp.where(jnp.isfinite(laid_out).all(axis=0), medians, jnp.nan)


@partial(jax.jit, static_argnames=("strides", "half_width"))
def all_medians(
    scores: Float[Array, "frames outputs"],
    by_stride: tuple[StrideEntries, ...],
    *,
    strides: Strides,
    half_width: int,
) -> Float[Array, "strides frames outputs"]:
    """``strided_medians`` for every stride in one program."""
    pairs = zip(by_stride, strides, strict=True)
    return jnp.stack([strided_medians(scores, p, s, half_width) for p, s in pairs])


@partial(jax.jit, static_argnames=("lists", "half_width"))
def sequential(
    scores: Float[Array, "frames classes"],
    by_stride: tuple[StrideEntries, ...],
    thresholds: Float[Array, "lists strides"],
    *,
    lists: tuple[Strides, ...],
    half_width: int,
) -> Sequential:
    """The rule for all lists at once, each stride's medians computed once.

    A frame is decided by the first stride of the list whose winning score is at least
    its threshold, or by the last one.

    Args:
        scores: Probabilities of consecutive frames without gaps.
        by_stride: ``stride_entries`` of ``all_strides(lists)``, in that order.
        thresholds: Winning score from which a stride decides, for each list and each of
            ``all_strides(lists)``; not looked at for strides that a list does not have,
            and for its last one.
        lists: Strides, coarse to fine.
        half_width: Frames on each side of a window.
    """
    strides = all_strides(lists)
    num_frames = len(scores)
    pairs = list(zip(by_stride, strides, strict=True))
    medians = [strided_medians(scores, p, s, half_width) for p, s in pairs]
    tops = [each.max(axis=-1) for each in medians]
    winners = jnp.stack([jnp.argmax(m, axis=-1).astype(jnp.int8) for m in medians])
    ends = [
        jnp.minimum(p.anchor + entries_per_window(s, half_width), p.stop[p.anchor])
        for p, s in pairs
    ]
    out = []
    for number, each in enumerate(lists):
        undecided = jnp.ones(num_frames, bool)
        stage = jnp.zeros(num_frames, jnp.int8)
        embedded = jnp.zeros(num_frames, bool)
        entries = jnp.zeros(len(strides), jnp.int32)
        for stride in each:
            k = strides.index(stride)
            looked = jnp.where(undecided, ends[k] - by_stride[k].anchor, 0)
            entries = entries.at[k].set(looked.sum(dtype=jnp.int32))
            embedded |= _covered(by_stride[k], ends[k], undecided)
            accepted = undecided & (
                (stride == each[-1]) | (tops[k] >= thresholds[number, k])
            )
            stage = jnp.where(accepted, jnp.int8(k), stage)
            undecided &= ~accepted
        classes = jnp.take_along_axis(winners, stage[None].astype(jnp.int32), 0)[0]
        out.append(Sequential(stage, classes, entries, embedded))
    return Sequential(*map(jnp.stack, zip(*out, strict=True)))


def _covered(
    of_stride: StrideEntries,
    end: Int[Array, " frames"],
    visited: Bool[Array, " frames"],
) -> Bool[Array, " frames"]:
    """Frames inside the windows of the visited frames."""
    num_entries = len(of_stride.source)
    change = jnp.zeros(num_entries + 1, jnp.int32)
    step = visited.astype(jnp.int32)
    change = change.at[of_stride.anchor].add(step).at[end].add(-step)
    inside = jnp.cumsum(change)[:-1] > 0
    return jnp.zeros(len(visited), bool).at[of_stride.source].max(inside)


def _check_bounds(
    lo: Int[np.ndarray, " frames"], hi: Int[np.ndarray, " frames"]
) -> None:
    """Raise ValueError unless the bounds are of sequences that follow each other."""
    index = np.arange(len(lo))
    starts = index[index == lo]
    ends = np.append(starts[1:], len(lo))
    video = np.cumsum(index == lo) - 1
    wrong = (
        (video < 0)
        if not len(starts)
        else (video < 0) | (lo != starts[video]) | (hi != ends[video])
    )
    if not len(lo) or wrong.any():
        frame = int(np.argmax(wrong)) if len(lo) else 0
        bounds = f"{lo[frame]} to {hi[frame]}" if len(lo) else "none"
        raise ValueError(
            f"frame {frame} of {len(lo)} has the bounds {bounds}; expected those of "
            "sequences that follow each other; take lo and hi from the fill map of "
            "these frames"
        )
