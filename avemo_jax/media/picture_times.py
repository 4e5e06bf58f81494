"""Time stamps of pictures, mended where they are missing or do not ascend."""

import bisect
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64

ASSUMED_FPS = 25.0  # where neither time stamps nor the file say anything
_TICK_S = 1e-6  # time stamps that rise by less a picture are taken for repeated
_LONGEST_HOLE_S = 3600.0
_LONGEST_S = 1e7  # four months; a time stamp beyond counts as missing
_FEW = 8  # more wrong time stamps than this in a row mean that the clock was reset
_NEAR_S = 1.0  # time stamps wrong by less than this never mean a reset clock
# Steps that differ by less are the same: containers round to milliseconds.
_JITTER_S, _JITTER = 2e-3, 0.05

Times = Float64[np.ndarray, " frames"]
# The time stamps of those pictures that have one, and the pictures' numbers.
Known = Float64[np.ndarray, " known"]
Numbers = Int64[np.ndarray, " known"]
Kept = Bool[np.ndarray, " known"]


class Mended(NamedTuple):
    """Times that ascend.

    Attributes:
        times_s: float64, strictly ascending, as many as there were time stamps.
        notes: What was mended, in words.
    """

    times_s: Times
    notes: tuple[str, ...]


class Rate(NamedTuple):
    """The rate at which pictures follow each other.

    Attributes:
        fps: Pictures a second: the inverse of the mean of all steps that are like the
            median step.
        is_constant: Whether all steps are like the median one, within 5 % or 2 ms.
    """

    fps: float
    is_constant: bool


def mend(stamps_s: Times, fps: float | None) -> Mended:
    """Strictly ascending times, equal to the time stamps wherever these can be kept.

    Wrong stamps are those that repeat, the fewest of the others without which the rest
    ascends, and a few that lie over an hour from many others. Missing and wrong ones
    are placed evenly between their neighbours, and at both ends at the frame rate. If
    many in a row are wrong, or a hole is longer than an hour, the clock was reset on
    the way: then each leap becomes one step of the rate, and all later stamps shift
    with it. A shorter hole stays.

    Args:
        stamps_s: Seconds, in the order of the pictures; NaN: the picture has none.
        fps: Stated pictures a second, used if the stamps show no step; None: unknown.
    """
    count = len(stamps_s)
    usable = np.isfinite(stamps_s) & (np.abs(stamps_s) < _LONGEST_S)
    known = np.flatnonzero(usable)
    notes = []
    missing = count - len(known)
    if missing:
        notes.append(
            f"{missing} of {count} pictures have no time stamp; put at even distances"
        )
    step_s = _step_s(stamps_s[known], known)
    if step_s is None and fps is None and count > 1:
        notes.append(
            f"no rate is stated either; {ASSUMED_FPS:g} pictures a second are assumed"
        )
    step_s = step_s or 1 / (fps or ASSUMED_FPS)
    if not len(known):
        return Mended(np.arange(count) * step_s, tuple(notes))
    known_s = stamps_s[known]
    kept = np.diff(known_s, prepend=-np.inf) != 0
    kept[kept] = _longest_ascent(_order(known_s, known)[kept])
    kept[kept] = _not_few_far_ones(known_s[kept], known[kept])
    wrong = int((~kept).sum())
    if _is_one_clock(known_s, known, kept):
        if wrong:
            notes.append(
                f"the time stamps of {wrong} of {count} pictures repeat or "
                "leap; put at even distances"
            )
        known, known_s = known[kept], known_s[kept]
    else:
        known_s, leaps = _on_one_clock(known_s, known, step_s)
        notes.append(
            f"time stamps leap or repeat at {leaps} of {count} pictures, as "
            "if the clock was set anew; each made one step of the rate"
        )
    return Mended(_filled(known_s, known, count, step_s), tuple(notes))


def rate_of(times_s: Times, fps: float | None) -> Rate:
    """The rate of pictures with these times.

    Args:
        times_s: Seconds, strictly ascending.
        fps: Stated pictures a second, taken if all times agree with it (they are
            rounded) or there is only one picture; None: not stated.
    """
    steps = np.diff(times_s)
    if not len(steps):
        return Rate(fps or ASSUMED_FPS, True)
    median = np.median(steps)
    like = np.abs(steps - median) <= max(_JITTER_S, _JITTER * median)
    is_constant = bool(like.all())
    if is_constant and fps is not None:
        stated_s = np.arange(len(times_s)) / fps
        if np.abs(times_s - times_s[0] - stated_s).max() <= _JITTER_S:
            return Rate(fps, True)
    # The median of an even number of very different steps may be like none of them.
    mean = steps[like].mean() if like.any() else median
    return Rate(float(1 / mean), is_constant)


def _order(known_s: Known, known: Numbers) -> Known:
    """Whole numbers that fall where stamps rise by less than a tick a picture."""
    return np.floor(known_s / _TICK_S) - known


def _step_s(known_s: Known, known: Numbers) -> float | None:
    """The median seconds from a picture to the next; None: no two stamps tell."""
    rises = np.diff(known_s)
    is_step = (np.diff(_order(known_s, known)) >= 0) & (rises <= _LONGEST_HOLE_S)
    if not is_step.any():
        return None
    step_s = float(np.median((rises / np.diff(known))[is_step]))
    return max(step_s, _TICK_S)


def _longest_ascent(values: Known) -> Kept:
    """Which values to keep, so that those kept never fall and are as many as can be."""
    if (np.diff(values) >= 0).all():
        return np.ones(len(values), bool)
    # The lowest end of all ascents of each length, its index, and each index's
    # predecessor.
    ends: list[float] = []
    of_ends: list[int] = []
    previous = np.full(len(values), -1)
    for i, value in enumerate(values.tolist()):
        length = bisect.bisect_right(ends, value)
        previous[i] = of_ends[length - 1] if length else -1
        ends[length : length + 1] = [value]
        of_ends[length : length + 1] = [i]
    kept = np.zeros(len(values), bool)
    i = of_ends[-1]
    while i >= 0:
        kept[i] = True
        i = previous[i]
    return kept


def _not_few_far_ones(known_s: Known, known: Numbers) -> Kept:
    """Which ascending stamps to keep: all but a few that lie over an hour from many."""
    lengths = np.diff([0, *np.flatnonzero(_is_endless(known_s, known)) + 1, len(known)])
    is_few = (lengths <= _FEW) & (2 * lengths <= lengths.max())
    return np.repeat(~is_few, lengths)


def _is_endless(known_s: Known, known: Numbers) -> Bool[np.ndarray, " steps"]:
    """Whether a step lasts over an hour for each picture between two stamps."""
    return np.diff(known_s) > _LONGEST_HOLE_S * np.diff(known)


def _is_one_clock(
    known_s: Known,
    known: Numbers,
    kept: Kept,
) -> bool:
    """Whether the kept stamps have no endless hole, and the others are few or near."""
    at = np.flatnonzero(kept)
    if _is_endless(known_s[at], known[at]).any():
        return False
    wrong = np.flatnonzero(~kept)
    if not len(wrong):
        return True
    after = np.searchsorted(at, wrong)
    numbers, lengths = np.unique(after, return_counts=True)
    in_long = np.isin(after, numbers[lengths > _FEW])
    bounds = np.concatenate([[-np.inf], known_s[at], [np.inf]])
    stamps = known_s[wrong]
    is_far = (after == 0) | (stamps < bounds[after] - _NEAR_S)
    is_far |= stamps > bounds[after + 1] + _NEAR_S
    return not (in_long & is_far).any()


def _on_one_clock(known_s: Known, known: Numbers, step_s: float) -> tuple[Known, int]:
    """Stamps with each leap replaced by steps of the rate; the number of leaps."""
    rises, distance = np.diff(known_s), np.diff(known)
    is_leap = np.diff(_order(known_s, known)) < 0
    is_leap |= _is_endless(known_s, known)
    rises = np.where(is_leap, step_s * distance, np.maximum(rises, _TICK_S))
    return np.cumsum([known_s[0], *rises]), int(is_leap.sum())


def _filled(known_s: Known, known: Numbers, count: int, step_s: float) -> Times:
    """A time for each of ``count`` pictures."""
    numbers = np.arange(count)
    times = np.interp(numbers, known, known_s)
    times -= step_s * np.maximum(known[0] - numbers, 0)
    times += step_s * np.maximum(numbers - known[-1], 0)
    return times
