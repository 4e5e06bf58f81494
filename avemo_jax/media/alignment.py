"""Which hop of sound a video frame takes: by time, or as in the original system.

"time" (the default): frame f at (f - 1) / fps takes the hop whose middle is nearest,
that is at most half a hop away. If hops are shorter than frames, some are not taken.

"original": frame f of F takes hop floor((f - 1) * hops / F), as if the hops filled the
pictures' duration evenly and each stood for what follows its start. This rule knows no
times, so its hop is off by more than half a hop wherever that assumption fails. By how
much, for frame time t, pictures of T seconds and hops of h seconds:
t * (1 - hops * h / T), which grows to T - hops * h at the end. Where sound and pictures
are equally long this is the rest after the last whole hop, under one hop (up to 0.96 s
with VGGish, 0.02 s with wav2vec 2.0); where one is longer, their whole difference.
"""

from fractions import Fraction
from typing import Literal

import numpy as np
from jaxtyping import Float, Int32

AlignmentRule = Literal["time", "original"]

# Sound that ends so much before the pictures, or after them, is usual: encoders work in
# pieces, and cameras stop one track after the other.
UNEQUAL_S = 0.5


def align_original(num_hops: int, num_frames: int) -> Int32[np.ndarray, " num_frames"]:
    """The hop of each frame: frame f (from 1) takes floor((f - 1) * num_hops / F).

    Args:
        num_hops: Number of hops, at least 1.
        num_frames: Number of frames, F. The original counted one more than it decoded:
            for exactly its rows pass one more and leave out the last.

    Raises:
        ValueError: If there are no hops or a negative number of frames.
    """
    _check_counts(num_hops, num_frames)
    frames = np.arange(num_frames, dtype=np.int64)
    return (frames * num_hops // max(num_frames, 1)).astype(np.int32)


def align_by_time(
    hop_times_s: Float[np.ndarray, " hops"], frame_times_s: Float[np.ndarray, " frames"]
) -> Int32[np.ndarray, " frames"]:
    """The hop of each frame: the one whose middle is nearest, or the earlier of two.

    Frames before the first middle take the first hop, those after the last middle the
    last hop; :func:`count_beyond` counts the frames that are far from both.

    Args:
        hop_times_s: Middles of the receptive fields, ascending, from the same time 0
            as the frames.
        frame_times_s: Seconds at which the frames are shown, ascending.

    Raises:
        ValueError: If there are no hops, or times are not finite or do not ascend.
    """
    _check_counts(len(hop_times_s), len(frame_times_s))
    for name, times in (("hop", hop_times_s), ("frame", frame_times_s)):
        if not (np.isfinite(times).all() and (np.diff(times) > 0).all()):
            raise ValueError(
                f"{name} times that are not finite or do not ascend; expected seconds, "
                "each later than the one before; correct them"
            )
    # In float64, since half-way between two float32 is seldom a float32.
    hops = hop_times_s.astype(np.float64)
    half_way = (hops[:-1] + hops[1:]) / 2
    return np.searchsorted(half_way, frame_times_s, side="left").astype(np.int32)


def count_beyond(
    hop_times_s: Float[np.ndarray, " hops"],
    frame_times_s: Float[np.ndarray, " frames"],
    *,
    reach_s: float,
) -> int:
    """Number of frames farther than a reach before the first middle or after the last.

    Args:
        hop_times_s: Middles of the receptive fields in seconds, ascending.
        frame_times_s: Seconds at which the frames are shown.
        reach_s: Seconds from a hop's middle to the farthest frame that may well take
            it, see :func:`reach_of`.

    Raises:
        ValueError: If there are no hops.
    """
    _check_counts(len(hop_times_s), len(frame_times_s))
    early = frame_times_s < hop_times_s[0] - reach_s
    late = frame_times_s > hop_times_s[-1] + reach_s
    return int((early | late).sum())


def reach_of(hop_s: float, receptive_field_s: float = 0.0) -> float:
    """Seconds from a hop's middle within which a faultless video's frames lie.

    Half the receptive field is heard by the hop, less than a hop of sound is left after
    the last whole one, and sound may end ``UNEQUAL_S`` before the pictures.

    Args:
        hop_s: Seconds from one hop to the next.
        receptive_field_s: Seconds of sound that make one vector; 0: not known.
    """
    return receptive_field_s / 2 + hop_s + UNEQUAL_S


def frame_times(
    num_frames: int, fps: int | float | Fraction
) -> Float[np.ndarray, " num_frames"]:
    """When each frame is shown, in seconds: (f - 1) / fps for f from 1.

    Args:
        num_frames: Number of frames, 0 or more.
        fps: Frames per second; a ratio such as 30000/1001 is kept exact.

    Raises:
        ValueError: If fps is not a positive number, or num_frames is negative.
    """
    if not (np.isfinite(float(fps)) and fps > 0):
        raise ValueError(
            f"fps {fps}; expected a positive number; pass the video's frame rate"
        )
    _check_counts(1, num_frames)
    frames = np.arange(num_frames, dtype=np.float64)
    if isinstance(fps, Fraction):
        return frames * fps.denominator / fps.numerator
    return frames / fps


def _check_counts(num_hops: int, num_frames: int) -> None:
    if num_hops < 1 or num_frames < 0:
        raise ValueError(
            f"{num_hops} hops for {num_frames} frames; expected at least 1 hop and no "
            "negative number; leave out a video whose sound is shorter than one hop"
        )
