"""Time and memory of the evaluation's sweep: all smoothings, all candidates.

Made-up scores of the size of Aff-Wild2's EXPR validation set go through gap filling,
the 13 smoothings and the metrics, as in ``avemo evaluate``. In the same run a plain
loop over frames (numpy's median of each window, one candidate, half width 200) is timed
on a stated number of frames. Nothing is extrapolated.
"""

import argparse
import json
import pathlib
import resource
import sys
import time

import jax
import numpy as np

from avemo_jax.postprocess.gaps import FillMap, fill, make_fill_map
from avemo_jax.postprocess.smoothing import smooth
from avemo_jax.postprocess.smoothing_sweep import SMOOTHINGS, score_smoothings
from avemo_jax.tasks import TASKS, Task

_VIDEO_FRAMES = 4_000  # about the mean of the 70 validation videos
_HALF_WIDTH = 200
# At most this much memory beyond what was in use before the sweep.
_MAX_GROWTH_MB = 1_500
_MIN_SPEEDUP = 10


def main() -> None:
    """Runs the sweep twice and the loop once, prints what was measured."""
    flags = _flags()
    task = TASKS[flags.task]
    fill_map, labels, scores = _made_split(task, flags.frames, flags.candidates)
    before_mb = _peak_mb()
    first_s, second_s = (_sweep_s(task, scores, fill_map, labels) for _ in range(2))
    growth_mb = _peak_mb() - before_mb
    loop_frames = min(flags.loop_frames, fill_map.num_frames)
    loop_s, ours_s, equal = _median_s(scores[0], fill_map, loop_frames)
    windows = fill_map.num_frames * flags.candidates * len(SMOOTHINGS)
    result = {
        "task": task.name,
        "frames": fill_map.num_frames,
        "outputs": task.num_outputs,
        "candidates": flags.candidates,
        "settings": len(SMOOTHINGS),
        "devices": [str(device) for device in jax.devices()],
        "sweep_first_s": first_s,
        "sweep_s": second_s,
        "sweep_windows_per_s": windows / second_s,
        "peak_mb": _peak_mb(),
        "sweep_growth_mb": growth_mb,
        "loop_frames": loop_frames,
        "loop_s": loop_s,
        "loop_windows_per_s": loop_frames / loop_s,
        "same_windows_s": ours_s,
        "equal": equal,
    }
    _print(result)
    if flags.json:
        pathlib.Path(flags.json).write_text(
            json.dumps(result, indent=2) + "\n", "utf-8"
        )
    if flags.check:
        _check(result)


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--task", choices=sorted(TASKS), default="EXPR")
    parser.add_argument("--frames", type=int, default=280_000)
    parser.add_argument("--candidates", type=int, default=10)
    parser.add_argument(
        "--loop-frames", type=int, default=20_000, help="frames of the plain loop"
    )
    parser.add_argument("--json", help="file for the numbers")
    parser.add_argument(
        "--check",
        action="store_true",
        help="fail unless the loop's medians are ours bit for bit, the sweep takes at "
        f"most {_MAX_GROWTH_MB} MB and one setting is {_MIN_SPEEDUP}x the loop's speed",
    )
    return parser.parse_args()


def _made_split(
    task: Task, num_frames: int, num_candidates: int
) -> tuple[FillMap, np.ndarray, np.ndarray]:
    """Fill map, labels and scores of videos in which one frame in ten has no row."""
    rng = np.random.default_rng(0)
    lengths = np.full(-(-num_frames // _VIDEO_FRAMES), _VIDEO_FRAMES)
    lengths[-1] -= lengths.sum() - num_frames
    present = [np.flatnonzero(rng.random(length) > 0.1) + 1 for length in lengths]
    offsets = np.concatenate([[0], np.cumsum([len(frames) for frames in present])])
    fill_map = make_fill_map(np.concatenate(present), offsets, lengths)
    labels = task.empty_labels(num_frames)
    if task.name == "VA":
        labels[:] = rng.uniform(-1, 1, labels.shape)
    else:
        labels[:] = rng.integers(0, 8 if task.name == "EXPR" else 2, labels.shape)
    low, high = task.score_range
    size = (num_candidates, int(offsets[-1]), task.num_outputs)
    return fill_map, labels, rng.uniform(low, high, size).astype(np.float32)


def _sweep_s(
    task: Task, scores: np.ndarray, fill_map: FillMap, labels: np.ndarray
) -> float:
    start = time.perf_counter()
    score_smoothings(task, scores, fill_map, labels)
    return time.perf_counter() - start


def _median_s(
    rows: np.ndarray, fill_map: FillMap, num_frames: int
) -> tuple[float, float, bool]:
    """Seconds of the loop, and of ours (median of 3); whether their medians agree."""
    dense = np.asarray(fill(rows, fill_map))[:num_frames]
    lo, hi = fill_map.lo[:num_frames], np.minimum(fill_map.hi[:num_frames], num_frames)
    start = time.perf_counter()
    expected = np.empty_like(dense)
    for i in range(num_frames):
        window = dense[max(i - _HALF_WIDTH, lo[i]) : min(i + _HALF_WIDTH + 1, hi[i])]
        expected[i] = np.median(window, axis=0)
    loop_s = time.perf_counter() - start
    ours_s = []
    for _ in range(4):  # the first call compiles
        start = time.perf_counter()
        got = smooth(dense, lo, hi, half_width=_HALF_WIDTH, mode="median")
        got.block_until_ready()
        ours_s.append(time.perf_counter() - start)
    equal = bool((np.asarray(got) == expected).all())
    return loop_s, sorted(ours_s[1:])[1], equal


def _peak_mb() -> float:
    """The most memory that the process has held so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


def _print(result: dict) -> None:
    print(
        f"{result['task']}: {result['frames']:,} frames x {result['outputs']} outputs "
        f"x {result['candidates']} candidates x {result['settings']} settings on "
        f"{', '.join(result['devices'])}\n"
        f"sweep, first call with compilation   {result['sweep_first_s']:8.2f} s\n"
        f"sweep, again                         {result['sweep_s']:8.2f} s, "
        f"{result['sweep_windows_per_s']:,.0f} windows/s\n"
        f"peak memory                          {result['peak_mb']:8.0f} MB, of which "
        f"the sweep {result['sweep_growth_mb']:.0f} MB\n"
        f"loop over {result['loop_frames']:,} frames, 1 seed, median ±{_HALF_WIDTH}: "
        f"{result['loop_s']:.2f} s, {result['loop_windows_per_s']:,.0f} windows/s\n"
        f"ours on the same windows: {result['same_windows_s']:.3f} s, "
        f"{result['loop_s'] / result['same_windows_s']:.0f}x; "
        f"{'bit for bit equal' if result['equal'] else 'NOT EQUAL'}"
    )


def _check(result: dict) -> None:
    """Exits with an error unless the bars of ``--check`` are passed."""
    failures = []
    if not result["equal"]:
        failures.append("medians differ from the loop's")
    if result["sweep_growth_mb"] > _MAX_GROWTH_MB:
        failures.append(f"the sweep took more than {_MAX_GROWTH_MB} MB")
    if result["loop_s"] / result["same_windows_s"] < _MIN_SPEEDUP:
        failures.append(f"less than {_MIN_SPEEDUP}x the loop's speed")
    if failures:
        sys.exit("check failed: " + "; ".join(failures))
    print("check passed")


if __name__ == "__main__":
    main()
