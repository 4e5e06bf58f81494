"""Smoothing: ours against a loop over frames, scipy.ndimage and bottleneck.

Made-up scores of the size of Aff-Wild2's EXPR validation set, 280,000 frames x 8
outputs in 70 videos, half width 200, on two CPU cores. Rates are compared: the loop
runs on the first videos only, on a stated number of frames; all others on everything.

The loop is the original's: one call of numpy for each frame's window (it has no
Gaussian; ours is what it would be). scipy comes with JAX; bottleneck does not, and is
needed for this comparison only: ``pip install bottleneck``. scipy repeats the last
frame beyond a video's ends, where all others cut the window: its results differ there.

At the end the intervals of scores are timed: 1,000 resamples of videos, at the sizes of
the three tasks' validation sets.
"""

import argparse
import os
import sys
from collections.abc import Callable

import jax
import jax.numpy as jnp
import measuring
import numpy as np
import scipy.ndimage
from made_validation import SIZES, made_labels

from avemo_jax.postprocess.bootstrap import bootstrap
from avemo_jax.postprocess.smoothing import SmoothingMode, smooth
from avemo_jax.tasks import TASKS, Task

MODES: tuple[SmoothingMode, ...] = ("mean", "median", "gaussian")
BARS = {
    "mean, times the loop's rate": (">=", 60.0),
    "median, times the loop's rate": (">=", 20.0),
    "mean, largest error": ("<=", 1e-6),
    "gaussian, largest error": ("<=", 1e-6),
    "median, windows that differ": ("<=", 0.0),
    "interval, EXPR, seconds": ("<=", 10.0),
    "interval, AU, seconds": ("<=", 10.0),
    "interval, VA, seconds": ("<=", 10.0),
}
Smoothing = Callable[[np.ndarray], np.ndarray]


def main() -> None:
    """Prints rates, ratios and errors."""
    options = _options()
    bottleneck = _bottleneck()
    half = options.half_width
    cores = _use_cores(options.cores)
    scores = np.random.default_rng(0).random(
        (options.videos, options.frames // options.videos, 8), np.float32
    )
    num_frames = scores.shape[0] * scores.shape[1]
    part = scores[: max(1, options.loop_frames // scores.shape[1])]
    part_frames = part.shape[0] * part.shape[1]
    print(
        f"{num_frames:,} frames x 8 in {len(scores)} videos, half width {half}, "
        f"{cores} cores, {jax.devices()[0].platform}; loop: {part_frames:,} frames"
    )
    found: dict[str, float | str] = {"frames": num_frames, "loop frames": part_frames}
    ours = {mode: _ours(scores, mode, half) for mode in MODES}
    others = {
        "scipy": _by_video(_scipy(half), scores),
        "bottleneck": _by_video(_bottleneck_windows(bottleneck, half), scores),
    }
    for mode in MODES:
        entries = {"ours": ours[mode], "loop": lambda m=mode: _loop(part, m, half)}
        for name, functions in others.items():
            if mode in functions:
                entries[name] = functions[mode]
        exact = np.float32 if mode == "median" else np.float64
        expected = _loop(part.astype(exact), mode, half)
        got = np.asarray(entries["ours"]()).reshape(scores.shape)[: len(part)]
        if mode == "median":
            found["median, windows that differ"] = int((got != expected).sum())
        else:
            found[f"{mode}, largest error"] = float(np.abs(got - expected).max())
        print(mode)
        times = measuring.alternating(entries, options.rounds)
        rates = {
            name: (part_frames if name == "loop" else num_frames) / time
            for name, time in times.items()
        }
        for name, rate in rates.items():
            found[f"{mode}, {name}, frames/s"] = rate
        found[f"{mode}, ours, seconds"] = times["ours"]
        found[f"{mode}, times the loop's rate"] = rates["ours"] / rates["loop"]
        for name in [*others]:
            if name in rates:
                found[f"{mode}, times {name}'s rate"] = rates["ours"] / rates[name]
    found |= _intervals(options.rounds)
    measuring.report(found, BARS, options)


def _intervals(rounds: int) -> dict[str, float]:
    """Seconds of 1,000 resamples, and of the compilation before, for each task."""
    calls = {name: _interval_call(TASKS[name], *SIZES[name]) for name in SIZES}
    first = {name: measuring.seconds(call) for name, call in calls.items()}
    print("intervals")
    found = {}
    for name, time in measuring.alternating(calls, rounds).items():
        found[f"interval, {name}, seconds"] = time
        found[f"interval, {name}, compilation, seconds"] = first[name] - time
    return found


def _interval_call(task: Task, frames: int, videos: int) -> Callable[[], object]:
    """A call that resamples the videos of made-up scores 1,000 times."""
    rng = np.random.default_rng(0)
    scores = rng.random((frames, task.num_outputs), np.float32)
    labels = made_labels(task, frames)
    offsets = np.linspace(0, frames, videos + 1).astype(np.int32)
    mask = rng.random(frames) < 0.95
    arrays = [jnp.asarray(a) for a in (scores[None], labels, mask, offsets)]
    return lambda: jax.block_until_ready(bootstrap(task.name, *arrays))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--frames", type=int, default=280_000)
    parser.add_argument("--videos", type=int, default=70)
    parser.add_argument("--half-width", type=int, default=200)
    parser.add_argument("--loop-frames", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cores", type=int, default=2)
    measuring.add_options(parser)
    return parser.parse_args()


def _bottleneck():
    """The module ``bottleneck``; where it is missing, exits with how to install it."""
    try:
        import bottleneck
    except ImportError:
        sys.exit(
            "bottleneck is not installed; expected it for the comparison; run pip "
            "install bottleneck"
        )
    return bottleneck


def _use_cores(number: int) -> int:
    """Keeps to ``number`` cores where the system can; returns how many there are."""
    if not hasattr(os, "sched_setaffinity"):
        return os.cpu_count() or 1
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:number])
    return len(os.sched_getaffinity(0))


def _ours(
    scores: np.ndarray, mode: SmoothingMode, half: int
) -> Callable[[], jax.Array]:
    """A call of the public function on host arrays, copies and checks included."""
    num_videos, length, num_outputs = scores.shape
    flat = scores.reshape(-1, num_outputs)
    lo = np.repeat(np.arange(num_videos, dtype=np.int32) * length, length)
    hi = lo + np.int32(length)

    def run() -> jax.Array:
        got = smooth(flat, lo, hi, half_width=half, mode=mode)
        return jax.block_until_ready(got)

    run()  # compiles
    return run


def _loop(videos: np.ndarray, mode: SmoothingMode, half: int) -> np.ndarray:
    """Smoothed videos, computed frame by frame in the videos' type."""
    return np.stack([_loop_of_video(video, mode, half) for video in videos])


def _loop_of_video(video: np.ndarray, mode: SmoothingMode, half: int) -> np.ndarray:
    distance = np.arange(-half, half + 1)
    weights = np.exp(-(distance**2) / (2 * (half / 2) ** 2))[:, None]
    weights = weights.astype(video.dtype)
    out = []
    for i in range(len(video)):
        window = video[max(i - half, 0) : i + half + 1]
        if mode == "mean":
            out.append(np.mean(window, axis=0))
        elif mode == "median":
            out.append(np.median(window, axis=0))
        else:
            begin = max(half - i, 0)
            here = weights[begin : begin + len(window)]
            out.append((here * window).sum(axis=0) / here.sum())
    return np.array(out)


def _by_video(
    functions: dict[SmoothingMode, Smoothing], scores: np.ndarray
) -> dict[SmoothingMode, Callable[[], list[np.ndarray]]]:
    """Calls that smooth one video after another by each of the functions."""
    return {
        mode: lambda f=function: [f(video) for video in scores]
        for mode, function in functions.items()
    }


def _scipy(half: int) -> dict[SmoothingMode, Smoothing]:
    size = 2 * half + 1

    def median(video: np.ndarray) -> np.ndarray:
        # The fast way of median_filter is for one axis only.
        columns = [
            scipy.ndimage.median_filter(column, size, mode="nearest")
            for column in video.T
        ]
        return np.stack(columns, axis=1)

    return {
        "mean": lambda video: scipy.ndimage.uniform_filter1d(
            video, size, axis=0, mode="nearest"
        ),
        "median": median,
        "gaussian": lambda video: scipy.ndimage.gaussian_filter1d(
            video, half / 2, axis=0, radius=half, mode="nearest"
        ),
    }


def _bottleneck_windows(bottleneck, half: int) -> dict[SmoothingMode, Smoothing]:
    """Smoothing by bottleneck, its windows centred and cut at the ends of the video.

    Windows of bottleneck end at their frame: NaN appended to the video centres them.
    """
    behind = np.full((half, 8), np.nan, np.float32)

    def centred(function: Callable) -> Smoothing:
        return lambda video: function(
            np.concatenate([video, behind]), 2 * half + 1, min_count=1, axis=0
        )[half:]

    return {
        "mean": centred(bottleneck.move_mean),
        "median": centred(bottleneck.move_median),
    }


if __name__ == "__main__":
    main()
