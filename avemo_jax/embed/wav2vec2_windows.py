"""The windows of a track that a Transformer runs on, and the kept part of each."""

import dataclasses

import numpy as np
from jaxtyping import Float


@dataclasses.dataclass(frozen=True)
class Window:
    """Frames of a track, by their numbers from its start.

    Attributes:
        start: First frame.
        stop: Frame after the last.
        keep_from: First frame whose output is kept.
        keep_to: Frame after the last whose output is kept.
    """

    start: int
    stop: int
    keep_from: int
    keep_to: int


def windows_of(frames: int, *, window: int, overlap: int) -> list[Window]:
    """Windows whose kept parts make up the track.

    All are ``window`` frames long unless the track is shorter; the last one starts
    early enough for that. A kept frame has at least ``overlap`` frames of its window
    on either side, or all that the track has.
    """
    if frames <= window:
        return [Window(0, frames, 0, frames)] if frames else []
    starts = [*range(0, frames - window, window - 2 * overlap), frames - window]
    found, kept = [], 0
    for start in starts:
        stop = start + window
        keep_to = stop - overlap if stop < frames else frames
        found.append(Window(start, stop, kept, keep_to))
        kept = keep_to
    return found


def sizes_of(window: int, longest: int) -> list[int]:
    """Lengths that windows are padded to, so that few programs are compiled.

    They are sixths of a window; halves, quarters and eighths of a sixth; and beyond a
    window its doublings, up to ``longest``.
    """
    sixth = -(-window // 6)
    sizes = {-(-sixth // part) for part in (8, 4, 2)}
    sizes |= {sixth * i for i in range(1, 6)} | {window}
    size = 2 * window
    while size < longest:
        sizes.add(size)
        size *= 2
    return sorted({min(size, longest) for size in sizes} | {longest})


def padded_size(frames: int, sizes: list[int]) -> int:
    """The smallest of ``sizes`` that holds ``frames``."""
    return next(size for size in sizes if size >= frames)


@dataclasses.dataclass(frozen=True)
class Seams:
    """How far neighbouring windows disagree at the seams between their kept parts.

    The frames up to half an overlap before and after a seam are compared.

    Attributes:
        count: Number of seams in the track.
        rms: Root mean square of the differences, divided by the values' standard
            deviation.
        worst: Largest difference, divided by the same.
    """

    count: int = 0
    rms: float = 0.0
    worst: float = 0.0


class SeamMeter:
    """Gathers :class:`Seams` of a track, window by window."""

    def __init__(self, overlap: int):
        self._half = overlap // 2
        self._before: tuple[Window, np.ndarray] | None = None
        self._seams = 0
        self._values = self._kept = 0
        self._sum = self._squares = self._differences = self._worst = 0.0

    def add(self, window: Window, output: Float[np.ndarray, "frames dim"]) -> None:
        """Add the next window's output for all of its frames."""
        if self._before is not None:
            before, tail = self._before
            self._seams += 1
            start = max(window.start, before.keep_to - self._half)
            stop = min(before.stop, before.keep_to + self._half)
            one = tail[start - before.start : stop - before.start]
            two = output[start - window.start : stop - window.start]
            difference = np.abs(one.astype(np.float64) - two)
            self._differences += float(np.square(difference).sum())
            self._values += difference.size
            if difference.size:
                self._worst = max(self._worst, float(difference.max()))
        self._before = window, output
        kept = output[window.keep_from - window.start : window.keep_to - window.start]
        wide = kept.astype(np.float64)
        self._sum += float(wide.sum())
        self._squares += float(np.square(wide).sum())
        self._kept += wide.size

    def result(self) -> Seams:
        """The seams of all windows so far."""
        if not self._values:
            return Seams(self._seams)
        mean = self._sum / self._kept
        deviation = max(self._squares / self._kept - mean * mean, 0.0) ** 0.5
        if deviation == 0:
            return Seams(self._seams)
        rms = (self._differences / self._values) ** 0.5
        return Seams(self._seams, rms / deviation, self._worst / deviation)
