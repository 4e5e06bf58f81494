"""Sliding means, medians and Gaussian means over the frames of many videos.

Nothing here loops over frames or calls back to the host: all of it lowers for CPU,
GPU and TPU. The mean is a difference of integer cumulative sums; for the others see
``medians.py`` and ``gaussians.py``.
"""

from collections.abc import Sequence
from functools import partial
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from avemo_jax.postprocess.gaussians import sliding_gaussians
from avemo_jax.postprocess.medians import sliding_medians
from avemo_jax.postprocess.names import MAX_HALF_WIDTH

SmoothingMode = Literal["none", "mean", "median", "gaussian"]
Smoothing = tuple[SmoothingMode, int]

# With so many bits for the largest score its rounding is at most 2^-21 of it (4.8e-7).
_ENOUGH_BITS = 21


def smooth(
    scores: Float[Array | np.ndarray, "*seeds frames outputs"],
    lo: Int[Array | np.ndarray, " frames"],
    hi: Int[Array | np.ndarray, " frames"],
    *,
    half_width: int,
    mode: SmoothingMode = "mean",
    causal: bool = False,
) -> Float[Array, "*seeds frames outputs"]:
    """Scores of each frame averaged over the frames around it, within its video.

    The window is ``[i - half_width, i + half_width]``, cut at both ends of the video.
    Gaussian weights are ``exp(-k^2 / (2 (half_width / 2)^2))`` at distance k within the
    window, divided by their sum over what the cut leaves. Relative to an output's
    largest score, means are within 1e-6 of the exact ones and Gaussian means within
    ``gaussians.rounding_bound`` of their window's frames (1e-5 for half width 200);
    medians are numpy's of float32, bit for bit.

    Args:
        scores: Finite scores of consecutive frames without gaps, one video after the
            other.
        lo: Where the video of each frame begins (``FillMap.lo``).
        hi: One past the end of the video of each frame (``FillMap.hi``).
        half_width: Frames on each side; 0 returns ``scores``. At 30 frames/s, 15 is
            half a second.
        mode: "median" averages the two middle values where the window is even, "none"
            returns ``scores``.
        causal: The window is ``[i - half_width, i]``, for use while frames arrive.

    Raises:
        ValueError: If the mode is unknown, ``half_width`` is negative or, for a median
            or Gaussian, too large, a score is NaN or infinite, or the bounds do not
            enclose their frames. Scores and bounds that are traced by an enclosing
            ``jax.jit`` are not looked at; NaN then spreads over the whole output it
            occurs in.
    """
    return smooth_all(scores, lo, hi, [(mode, half_width)], causal=causal)[0]


def smooth_all(
    scores: Float[Array | np.ndarray, "*seeds frames outputs"],
    lo: Int[Array | np.ndarray, " frames"],
    hi: Int[Array | np.ndarray, " frames"],
    smoothings: Sequence[Smoothing],
    *,
    causal: bool = False,
) -> tuple[Float[Array, "*seeds frames outputs"], ...]:
    """``smooth`` for several smoothings at once: the scores are sorted only once.

    Args:
        scores: Finite scores of consecutive frames without gaps, one video after the
            other.
        lo: Where the video of each frame begins (``FillMap.lo``).
        hi: One past the end of the video of each frame (``FillMap.hi``).
        smoothings: Pairs (mode, half width in frames).
        causal: Windows end with their own frame.

    Returns:
        The smoothed scores of each smoothing, in their order. Every seed's scores are
        bit for bit those of a call with this seed and this smoothing alone.

    Raises:
        ValueError: If ``smooth`` would refuse one of the smoothings, the scores or the
            bounds.
    """
    num_frames = scores.shape[-2]
    for mode, half_width in smoothings:
        _check_smoothing(mode, half_width, num_frames)
    _check_arrays(scores, lo, hi)
    return _smooth_all(
        jnp.asarray(scores, jnp.float32),
        jnp.asarray(lo, jnp.int32),
        jnp.asarray(hi, jnp.int32),
        smoothings=tuple(_narrowed(smoothing, num_frames) for smoothing in smoothings),
        causal=causal,
    )


def _narrowed(smoothing: Smoothing, num_frames: int) -> Smoothing:
    """The same smoothing by the narrowest window, so that less is compiled anew."""
    mode, half = smoothing
    # the half width of a Gaussian is also its shape
    return smoothing if mode == "gaussian" else (mode, min(half, num_frames))


@partial(jax.jit, static_argnames=("smoothings", "causal"))
def _smooth_all(
    scores: Float[Array, "*seeds frames outputs"],
    lo: Int[Array, " frames"],
    hi: Int[Array, " frames"],
    smoothings: tuple[Smoothing, ...],
    causal: bool,
) -> tuple[Float[Array, "*seeds frames outputs"], ...]:
    """``smooth_all`` of checked arguments, one seed after the other."""
    if scores.size == 0:
        return (scores,) * len(smoothings)

    def one_seed(
        one: Float[Array, "frames outputs"],
    ) -> tuple[Float[Array, "frames outputs"], ...]:
        widths = {
            which: tuple(half for mode, half in smoothings if mode == which and half)
            for which in ("mean", "median")
        }
        means = iter(_means(one, lo, hi, widths["mean"], causal=causal))
        medians = iter(
            sliding_medians(one, lo, hi, widths["median"], causal=causal)
            if widths["median"]
            else ()
        )
        out = []
        for mode, half in smoothings:
            if mode == "none" or half == 0:
                out.append(one)
            elif mode == "gaussian":
                out.append(sliding_gaussians(one, lo, hi, half, causal=causal))
            else:
                out.append(next(means if mode == "mean" else medians))
        return tuple(out)

    flat = scores.reshape(-1, *scores.shape[-2:])
    return tuple(each.reshape(scores.shape) for each in lax.map(one_seed, flat))


def _means(
    scores: Float[Array, "frames outputs"],
    lo: Int[Array, " frames"],
    hi: Int[Array, " frames"],
    half_widths: Sequence[int],
    *,
    causal: bool,
) -> list[Float[Array, "frames outputs"]]:
    """Window means from cumulative sums of integers, within 6e-7 of the largest score.

    Each output is scaled by the power of two at which no window's sum leaves int32;
    the running total may wrap around, but its differences are right. What rounding to
    integers cut off is summed the same way where it matters, which takes as long again.
    One loop over the widths is compiled, not each width for itself.
    """
    halves = np.asarray(half_widths, np.int32)
    sides = 1 if causal else 2
    longest = np.minimum(halves * sides + 1, scores.shape[0])
    rooms = np.floor(np.log2((2**31 - 1) / longest - 1)).astype(np.int32)
    index = jnp.arange(scores.shape[0])
    largest = jnp.abs(scores).max(axis=0)
    fraction, exponent = jnp.frexp(largest)
    exponent = jnp.where(fraction == 0.5, exponent - 1, exponent)  # largest <= 2^e

    def mean(
        window: tuple[Int[Array, ""], Int[Array, ""]], *, with_rest: bool
    ) -> Float[Array, "frames outputs"]:
        half, room = window
        begin = jnp.maximum(index - half, lo)
        end = jnp.minimum(index + (0 if causal else half) + 1, hi)

        def window_sums(
            whole: Float[Array, "frames outputs"],
        ) -> Float[Array, "frames outputs"]:
            total = jnp.cumsum(whole.astype(jnp.int32), axis=0)
            total = jnp.pad(total, ((1, 0), (0, 0)))
            sums = _rows(total, end) - _rows(total, begin)
            return sums.astype(jnp.float32)

        shift = jnp.clip(room - exponent, -120, 120)
        scaled = jnp.ldexp(scores, shift)
        whole = jnp.round(scaled)
        sums = window_sums(whole)
        if with_rest:
            rest = window_sums(jnp.round(jnp.ldexp(scaled - whole, room)))
            sums = sums + jnp.ldexp(rest, -room)
        means = jnp.ldexp(sums, -shift) / (end - begin).astype(jnp.float32)[:, None]
        return jnp.where(jnp.isfinite(largest), means, jnp.nan)

    out: dict[int, Float[Array, "frames outputs"]] = {}
    for with_rest in (False, True):
        (which,) = np.nonzero((rooms < _ENOUGH_BITS) == with_rest)
        if len(which):
            windows = jnp.asarray(halves[which]), jnp.asarray(rooms[which])
            found = lax.map(partial(mean, with_rest=with_rest), windows)
            out |= dict(zip(which.tolist(), found, strict=True))
    return [out[i] for i in range(len(halves))]


def _rows(
    total: Int[Array, "rows outputs"], index: Int[Array, " frames"]
) -> Int[Array, "frames outputs"]:
    """Rows at indices that are known to be inside."""
    return total.at[index].get(mode="promise_in_bounds")


def _check_smoothing(mode: str, half_width: int, num_frames: int) -> None:
    """Raise ValueError unless the smoothing can be computed."""
    if mode not in get_args(SmoothingMode):
        raise ValueError(
            f"unknown smoothing mode {mode!r}; expected one of "
            f"{', '.join(get_args(SmoothingMode))}; choose one of these"
        )
    if half_width < 0:
        raise ValueError(
            f"half width {half_width} is negative; expected frames on each side of "
            "the frame, 0 or more; pass 0 for no smoothing"
        )
    if mode in ("median", "gaussian") and (
        min(half_width, num_frames) > MAX_HALF_WIDTH
    ):
        raise ValueError(
            f"half width {half_width} is too large for a {mode}; expected at most "
            f"{MAX_HALF_WIDTH} frames; use the mean, or a narrower window"
        )


def _check_arrays(
    scores: Float[Array | np.ndarray, "*seeds frames outputs"],
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
                "take lo and hi from the fill map of these frames"
            )
