"""A rule that embeds few frames: one grid for all windows, refined where in doubt.

Frames that are not embedded are interpolated between those that are, so that windows
of every kind and width work as ever. Nothing looks at the score of a skipped frame.
"""

from functools import partial
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from avemo_jax.postprocess.smoothing import Smoothing, smooth

Confidence = Literal["top", "margin", "variation"]


class Refined(NamedTuple):
    """What a grid rule gives.

    Attributes:
        scores: Smoothed scores of every frame.
        embedded: Frames whose own scores were used.
    """

    scores: Float[Array, "frames outputs"]
    embedded: Bool[Array, " frames"]


@partial(jax.jit, static_argnames=("stride", "smoothing"))
def fixed_grid(
    scores: Float[Array, "frames outputs"],
    lo: Int[Array, " frames"],
    hi: Int[Array, " frames"],
    *,
    stride: int,
    smoothing: Smoothing,
) -> Refined:
    """Every ``stride``-th frame of each video from its first one: the plain rule.

    Args:
        scores: Scores of consecutive frames, one video after the other.
        lo: Where the video of each frame begins.
        hi: One past the end of each frame's video.
        stride: Frames from one embedded frame to the next, 1 or more.
        smoothing: (mode, half width) of the smoothing.
    """
    embedded = _grid(lo, stride)
    dense, _ = _interpolated(scores, lo, hi, embedded)
    mode, half_width = smoothing
    return Refined(smooth(dense, lo, hi, half_width=half_width, mode=mode), embedded)


@partial(jax.jit, static_argnames=("strides", "smoothing", "confidence", "reach"))
def refined_grid(
    scores: Float[Array, "frames outputs"],
    lo: Int[Array, " frames"],
    hi: Int[Array, " frames"],
    limits: Float[Array, " refinements"],
    thresholds: Float[Array, "..."] | float = 0.5,
    *,
    strides: tuple[int, ...],
    smoothing: Smoothing,
    confidence: Confidence,
    reach: int | None = None,
) -> Refined:
    """The coarsest grid, then finer ones around frames that are not yet sure.

    Args:
        scores: Scores of consecutive frames, one video after the other.
        lo: Where the video of each frame begins.
        hi: One past the end of each frame's video.
        limits: Confidence from which a frame is sure, before each refinement.
        thresholds: Thresholds of the action units, for "margin".
        strides: Frames between embedded frames, coarse to fine, one more than limits.
        smoothing: (mode, half width) of the smoothing.
        confidence: "top" (EXPR): the highest smoothed score; "margin" (AU): the least
            distance of a smoothed score to its threshold; "variation" (VA): minus the
            largest step of an output between the embedded frames around the frame.
        reach: The finer grid goes up to so many frames from one that is not sure. None
            is the half width: farther frames cannot change that one.

    Raises:
        ValueError: If strides do not descend, or do not fit the limits, or the
            confidence is unknown.
    """
    _check(strides, limits.shape[0], confidence)
    refined, _ = refine(
        scores,
        lo,
        hi,
        jnp.asarray(strides),
        jnp.append(limits, -jnp.inf),
        len(strides),
        smoothing[1] if reach is None else reach,
        thresholds,
        smoothing=smoothing,
        confidence=confidence,
    )
    return refined


def refine(
    scores: Float[Array, "frames outputs"],
    lo: Int[Array, " frames"],
    hi: Int[Array, " frames"],
    strides: Int[Array, " levels"],
    limits: Float[Array, " levels"],
    num_levels: Int[Array, ""] | int,
    reach: Int[Array, ""] | int,
    thresholds: Float[Array, "..."] | float = 0.5,
    *,
    smoothing: Smoothing,
    confidence: Confidence,
) -> tuple[Refined, Float[Array, " frames"]]:
    """``refined_grid`` for use inside ``jax.jit``: one program for many rules.

    Args:
        scores: Scores of consecutive frames, one video after the other.
        lo: Where the video of each frame begins.
        hi: One past the end of each frame's video.
        strides: Frames between embedded frames, coarse to fine; those from
            ``num_levels`` on are not looked at.
        limits: Confidence from which a frame is sure with each stride; that of the last
            stride is not looked at.
        num_levels: Number of strides that are used, from 1, which is the fixed grid.
        reach: The finer grid goes up to so many frames from one that is not sure.
        thresholds: Thresholds of the action units, for "margin".
        smoothing: (mode, half width) of the smoothing.
        confidence: How sure a frame is, by one of the measures of ``refined_grid``.

    Returns:
        The rule's scores and embedded frames, and the confidence of every frame with
        the last stride.
    """
    mode, half_width = smoothing

    def level(
        k: Array, state: tuple[Refined, Float[Array, " frames"], Array]
    ) -> tuple[Refined, Float[Array, " frames"], Array]:
        refined, sure, limit = state
        near = _near(sure < limit, lo, hi, reach)
        embedded = refined.embedded | (near & _grid(lo, strides[k]))
        dense, step = _interpolated(scores, lo, hi, embedded)
        smoothed = smooth(dense, lo, hi, half_width=half_width, mode=mode)
        if confidence == "top":
            sure = smoothed.max(axis=-1)
        elif confidence == "margin":
            sure = jnp.abs(smoothed - thresholds).min(axis=-1)
        else:
            sure = -step.max(axis=-1)
        return Refined(smoothed, embedded), sure, limits[k]

    # before the first grid no frame is sure
    nothing = Refined(jnp.zeros_like(scores), jnp.zeros(len(lo), bool))
    none_sure = jnp.full(len(lo), -jnp.inf)
    start = nothing, none_sure, jnp.full((), jnp.inf, limits.dtype)
    refined, sure, _ = jax.lax.fori_loop(0, num_levels, level, start)
    return refined, sure


def _grid(
    lo: Int[Array, " frames"], stride: Int[Array, ""] | int
) -> Bool[Array, " frames"]:
    """Every ``stride``-th frame of each video."""
    return (jnp.arange(len(lo)) - lo) % stride == 0


def _near(
    unsure: Bool[Array, " frames"],
    lo: Int[Array, " frames"],
    hi: Int[Array, " frames"],
    reach: Int[Array, ""] | int,
) -> Bool[Array, " frames"]:
    """Frames at most ``reach`` from an unsure one of the same video."""
    total = jnp.pad(jnp.cumsum(unsure.astype(jnp.int32)), (1, 0))
    index = jnp.arange(len(lo))
    begin = jnp.maximum(index - reach, lo)
    return total[jnp.minimum(index + reach + 1, hi)] > total[begin]


def _interpolated(
    scores: Float[Array, "frames outputs"],
    lo: Int[Array, " frames"],
    hi: Int[Array, " frames"],
    embedded: Bool[Array, " frames"],
) -> tuple[Float[Array, "frames outputs"], Float[Array, "frames outputs"]]:
    """Scores between embedded frames, and the size of the step over each frame.

    The first frame of each video must be embedded. After the last one scores are held.
    An embedded frame has the larger of the steps on its two sides.
    """
    index = jnp.arange(len(lo))
    num_frames = len(lo)
    before = jax.lax.cummax(jnp.where(embedded, index, 0))
    after = jax.lax.cummin(jnp.where(embedded, index, num_frames), reverse=True)
    after = jnp.where(after < hi, after, before)
    gap = after - before
    weight = jnp.where(gap > 0, (index - before) / jnp.maximum(gap, 1), 0.0)
    rise = scores[after] - scores[before]
    dense = scores[before] + weight.astype(jnp.float32)[:, None] * rise
    # one frame to the left and to the right, inside the video
    last, following = jnp.maximum(index - 1, lo), jnp.minimum(index + 1, hi - 1)
    step = jnp.abs(scores[after[following]] - scores[before])
    step = jnp.maximum(step, jnp.abs(scores[after] - scores[before[last]]))
    return dense, step


def _check(strides: tuple[int, ...], num_limits: int, confidence: str) -> None:
    """Raise ValueError unless ``refined_grid`` can run."""
    descending = list(strides) == sorted(set(strides), reverse=True)
    if not descending or len(strides) != num_limits + 1 or min(strides) < 1:
        raise ValueError(
            f"strides {list(strides)} with {num_limits} limits; expected descending "
            "ones of 1 or more and one limit fewer; pass a limit for each refinement"
        )
    if confidence not in get_args(Confidence):
        raise ValueError(
            f"unknown confidence {confidence!r}; expected one of "
            f"{', '.join(get_args(Confidence))}; choose one of these"
        )
