"""Sliding means and medians over the frames of many videos, exact and compiled.

Nothing here loops over frames or calls back to the host: all of it lowers for CPU,
GPU and TPU. The mean is a difference of integer cumulative sums; for the median see
``medians.py``.
"""

from collections.abc import Sequence
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from avemo_jax.postprocess.medians import MAX_HALF_WIDTH, sliding_medians

Mode = Literal["none", "mean", "median"]
Setting = tuple[Mode, int]


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
        medians = iter(sliding_medians(one, lo, hi, widths) if widths else ())
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
    if mode == "median" and min(half_width, num_frames) > MAX_HALF_WIDTH:
        raise ValueError(
            f"half width {half_width} is too large for a median; expected at most "
            f"{MAX_HALF_WIDTH} frames; use the mean, or a narrower window"
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
