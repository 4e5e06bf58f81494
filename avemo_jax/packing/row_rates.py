"""Rates of sound alone: sets and labels of one file must count its rows alike."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import Int

from avemo_jax.data.corpus.splits import base_video
from avemo_jax.data.records import FeatureSource, RowRate, VideoAnnotations

_LIKE = 1e-3  # rates that differ by less than this part are the same
# Labels that end later than the sound by less are taken: raters round to seconds.
_BEYOND_S, _BEYOND = 1.0, 0.05


def rates_of(sources: Iterable[FeatureSource]) -> dict[str, RowRate]:
    """The rate of the rows of each file of sound alone, by video.

    Raises:
        ValueError: If two feature sets have rows of different rates, or one of them
            has hops and another frames of pictures.
    """
    found: dict[str, tuple[str, RowRate]] = {}
    sources = tuple(sources)
    for source in sources:
        for video, rate in source.rates.items():
            name, before = found.setdefault(video, (source.name, rate))
            if not alike(before.fps, rate.fps):
                raise ValueError(
                    f"{video!r} has a row every {1 / before.fps:.4g} s in {name} and "
                    f"every {1 / rate.fps:.4g} s in {source.name}; expected one rate, "
                    "by which sets are joined: extract both with the same --fps, or "
                    "build a store of each"
                )
    for source in sources:
        for video in source.videos:
            if base_video(video) not in found or video in source.rates:
                continue
            name, rate = found[base_video(video)]
            if rate.by_hop:
                raise ValueError(
                    f"{video!r} has a row for each frame in {source.name} and for each "
                    f"{1 / rate.fps:.4g} s of sound in {name}; expected rows of the "
                    "same frames: extract the sound again, with the video or with "
                    "--fps, the frames per second of the pictures"
                )
    return {video: rate for video, (_, rate) in found.items()}


def with_rates(
    records: Mapping[str, VideoAnnotations], rates: Mapping[str, RowRate]
) -> dict[str, VideoAnnotations]:
    """The records, by video; those of sound alone have the rate of its rows.

    Raises:
        ValueError: If labels are of another rate than the rows, or go on for long after
            the sound.
    """
    found = dict(records)
    for video, record in records.items():
        rate = rates.get(base_video(video), rates.get(video))
        if rate is None:
            continue
        check_rate(video, record.fps, rate)
        length = max((len(labels) for labels in record.labels.values()), default=0)
        beyond = max(_BEYOND_S * rate.fps, _BEYOND * rate.num_rows, 1)
        if length > rate.num_rows + beyond:
            raise ValueError(
                f"{video!r} has labels up to frame {length} and sound of "
                f"{rate.num_rows} rows, {rate.fps:.4g} a second; expected labels "
                "within the sound: give times or frames at that rate, or extract the "
                "sound with --fps, the rate of the labels"
            )
        found[video] = dataclasses.replace(record, fps=rate.fps)
    return found


def check_rate(video: str, fps: float, rate: RowRate) -> None:
    """Check that a stated rate, NaN where none is stated, is that of the rows.

    Raises:
        ValueError: If it is another one.
    """
    if not (math.isnan(fps) or alike(fps, rate.fps)):
        raise ValueError(
            f"{video!r} has {fps:.4g} frames per second, by the manifest or its name, "
            f"and sound of {rate.fps:.4g} rows per second; expected one rate: leave "
            f"the fps out, or extract the sound with --fps {fps:g}"
        )


def last_frames(sources: Sequence[FeatureSource]) -> Callable[[str], int]:
    """A function that gives the last frame of a video with a vector; 0: there is none.

    Sound runs one frame past the pictures, so faces tell it where there are some.
    """
    having: dict[str, dict[str, list[FeatureSource]]] = {"visual": {}, "audio": {}}
    for source in sources:
        for video in source.videos:
            having[source.kind].setdefault(video, []).append(source)

    def last_frame(video: str) -> int:
        for by_video in having.values():
            frames = [_frames(one, video) for one in by_video.get(video, ())]
            if last := max((int(f.max()) for f in frames if len(f)), default=0):
                return last
        return 0

    return last_frame


def _frames(source: FeatureSource, video: str) -> Int[np.ndarray, " rows"]:
    if source.read_frames is None:
        return source.read(video).frame
    return source.read_frames(video)


def alike(one: float, other: float) -> bool:
    """Whether two rates are the same, but for rounding."""
    return math.isclose(one, other, rel_tol=_LIKE)
