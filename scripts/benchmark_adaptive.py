"""Time of the sequential rule of strides: all reported lists on a whole split.

Made-up scores of the size of Aff-Wild2's EXPR validation set go through one compiled
program for the 14 lists that the original reports. In the same run a plain loop over
frames and lists does the same on the first videos, a stated number of frames. Frames
per second are compared, and the stride and class decided for each of these frames.
"""

import argparse
import time

import jax
import numpy as np
from measuring import add_options, report, seconds

from avemo_jax.postprocess.frame_rate.sequential import (
    REPORTED_LISTS,
    Sequential,
    all_strides,
    sequential,
    stride_entries,
)

_VIDEO_FRAMES = 4_000  # about the mean of the 70 validation videos
_HALF_WIDTH = 200
# The thresholds that the original reports.
_THRESHOLDS = {200: 0.5777, 100: 0.5595, 50: 0.5447, 25: 0.5388, 10: 0.5334, 1: 0.0}
_BARS = {"times_the_loop": (">=", 50.0), "equal": (">=", 1.0)}


def main() -> None:
    """Runs the program and the loop, prints what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--videos", type=int, default=70)
    parser.add_argument("--loop-videos", type=int, default=1, help="of the plain loop")
    parser.add_argument("--rounds", type=int, default=3)
    add_options(parser)
    flags = parser.parse_args()
    scores, lo, hi = _made_split(flags.videos)
    strides = all_strides(REPORTED_LISTS)
    rows = np.array([[_THRESHOLDS[s] for s in strides]] * len(REPORTED_LISTS))
    rows = rows.astype(np.float32)
    began = time.perf_counter()
    by_stride = stride_entries(lo, hi, strides, _HALF_WIDTH)
    entries_s = time.perf_counter() - began

    def ours() -> Sequential:
        return jax.block_until_ready(
            sequential(
                scores, by_stride, rows, lists=REPORTED_LISTS, half_width=_HALF_WIDTH
            )
        )

    first_s = seconds(ours)
    times = sorted(seconds(ours) for _ in range(flags.rounds))
    ours_s = times[len(times) // 2]
    loop_frames = flags.loop_videos * _VIDEO_FRAMES
    began = time.perf_counter()
    expected = _loop(scores[:loop_frames], lo, hi)
    loop_s = time.perf_counter() - began
    found = ours()
    equal = _equal(found, expected, strides, loop_frames)
    entries = np.asarray(found.entries, np.int64).sum(axis=1)
    # The entries count as ours, for the loop needs none.
    rate = len(scores) / (ours_s + entries_s)
    result = {
        "frames": len(scores),
        "lists": len(REPORTED_LISTS),
        "first_s": first_s,
        "entries_s": entries_s,
        "ours_s": ours_s,
        "loop_frames": loop_frames,
        "loop_s": loop_s,
        "times_the_loop": rate * loop_s / loop_frames,
        "equal": float(equal),
        "devices": [str(device) for device in jax.devices()],
        "entries_share": (entries / entries[-1]).tolist(),
        "embedded_share": np.asarray(found.embedded).mean(axis=1).tolist(),
    }
    shares = zip(
        REPORTED_LISTS, result["entries_share"], result["embedded_share"], strict=True
    )
    for each, entry, embedded in shares:
        name = ",".join(map(str, each))
        print(f"{name:<18} entries {entry:.3f}, distinct frames {embedded:.3f}")
    report(result, _BARS, flags)


def _made_split(num_videos: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities of slowly changing classes under noise, and bounds of the videos.

    Returns:
        Scores (frames, 8), and the first frame and the end of each frame's video.
    """
    rng = np.random.default_rng(0)
    classes = np.repeat(rng.integers(0, 8, num_videos * _VIDEO_FRAMES // 200), 200)
    logits = rng.normal(size=(len(classes), 8)) * 0.7
    logits += 2.2 * np.eye(8)[classes]
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    lo = np.repeat(np.arange(num_videos) * _VIDEO_FRAMES, _VIDEO_FRAMES)
    return scores.astype(np.float32), lo, lo + _VIDEO_FRAMES


def _loop(
    scores: np.ndarray, lo: np.ndarray, hi: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Stride and class of each frame, for each list, computed frame after frame."""
    out = []
    for strides in REPORTED_LISTS:
        decided = np.zeros(len(scores), int)
        classes = np.zeros(len(scores), int)
        for i in range(len(scores)):
            begin = max(i - _HALF_WIDTH, lo[i])
            end = min(i + _HALF_WIDTH + 1, hi[i])
            for stride in strides:
                median = np.median(scores[begin:end:stride], axis=0)
                best = median.argmax()
                limit = np.float32(_THRESHOLDS[stride])
                if median[best] >= limit or stride == strides[-1]:
                    decided[i], classes[i] = stride, best
                    break
        out.append((decided, classes))
    return out


def _equal(
    found: Sequential,
    expected: list[tuple[np.ndarray, np.ndarray]],
    strides: tuple[int, ...],
    num_frames: int,
) -> bool:
    """Whether strides and classes are those of the loop."""
    return all(
        (np.array(strides)[np.asarray(found.stage[k, :num_frames])] == decided).all()
        and (np.asarray(found.classes[k, :num_frames]) == classes).all()
        for k, (decided, classes) in enumerate(expected)
    )


if __name__ == "__main__":
    main()
