"""Sound features at their native rate -> one row for each frame of the video."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from avemo_jax.data.corpus.splits import base_video, nominal_fps
from avemo_jax.data.importing.source import ImportSource
from avemo_jax.data.records import VideoAnnotations, VideoFeatures
from avemo_jax.media.alignment import (
    align_by_time,
    count_beyond,
    frame_times,
    reach_of,
)

RULE = "time"
MAX_FPS = 1000


def at_frames(
    source: ImportSource,
    rate_hz: float,
    *,
    records: Mapping[str, VideoAnnotations],
    fps: float | None,
    rates: Mapping[str, float],
) -> tuple[ImportSource, dict[str, int]]:
    """A source that has, for each frame, the row of the hop nearest in time.

    Hop i (from 0) is taken to have its middle at (i + 0.5) / rate. A video has as many
    frames as its longest annotation; without one, as many as its sound lasts.

    Args:
        source: A source whose rows are hops, in order.
        rate_hz: Hops per second.
        records: Annotations by subject-video.
        fps: Frames per second of all videos; None: they are taken from ``rates`` or,
            for others, from the name ``ID-FPS-WxH``.
        rates: Frames per second by video.

    Returns:
        The source, and how many frames lie beyond the sound, farther than is usual, by
        video.

    Raises:
        ValueError: If a video's frames per second are not known, or hops are missing.
    """
    lengths = _annotated_lengths(records)
    hops_of: dict[str, np.ndarray] = {}
    beyond: dict[str, int] = {}
    unknown = []
    for video, hops in source.frames.items():
        rate = fps or rates.get(video) or nominal_fps(video)
        if not rate > 0:
            unknown.append(video)
            continue
        if (hops != np.arange(1, len(hops) + 1)).any() or not len(hops):
            raise ValueError(
                f"video {video!r} has the hops {hops[:3].tolist()} ... of sound; "
                "expected all from the first on: extract this video again"
            )
        frames = lengths.get(video) or int(len(hops) / rate_hz * rate)
        middles = (np.arange(len(hops)) + 0.5) / rate_hz
        times = frame_times(max(frames, 1), float(rate))
        hops_of[video] = align_by_time(middles, times)
        if far := count_beyond(middles, times, reach_s=reach_of(1 / rate_hz)):
            beyond[video] = far
    if unknown:
        raise ValueError(
            f"frames per second of {len(unknown)} videos ({', '.join(unknown[:5])}) "
            "are not known, as the names do not tell them; expected them: pass "
            "--fps N, or --fps-file with lines VIDEO,FPS"
        )

    form = f"{source.form}, {rate_hz:g} Hz"
    return _at_hops(source, hops_of, form), beyond


def _annotated_lengths(records: Mapping[str, VideoAnnotations]) -> dict[str, int]:
    """Frames of the longest annotation of each subject-video and each base video."""
    lengths: dict[str, int] = {}
    for record in records.values():
        longest = max(map(len, record.labels.values()), default=0)
        for name in {record.video, base_video(record.video)}:
            lengths[name] = max(lengths.get(name, 0), longest)
    return lengths


def _at_hops(
    source: ImportSource, hops_of: Mapping[str, np.ndarray], form: str
) -> ImportSource:
    """The source with one row a frame: that of the frame's hop.

    Args:
        source: A source whose rows are hops.
        hops_of: Index of each frame's hop, by video.
        form: What kind of file the new source is said to be.
    """
    frames = {
        video: np.arange(1, len(hops) + 1, dtype=np.int32)
        for video, hops in hops_of.items()
    }

    def read(video: str) -> VideoFeatures:
        rows = source.read(video)
        hops = hops_of[video]
        outputs = None if rows.outputs is None else rows.outputs[hops]
        return VideoFeatures(frames[video], rows.features[hops], outputs)

    return dataclasses.replace(
        source, form=form, frames=frames, numbered=True, read=read
    )
