"""Sound tracks -> audio feature files, a row for each frame of the video."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from avemo_jax.data.features.writer import RowSpool
from avemo_jax.embed import AnyExtractor, ImageExtractor, Wav2Vec2Extractor
from avemo_jax.extraction.feature_set import ExtractedSet
from avemo_jax.extraction.frame_times import (
    KeptFrameTimes,
    assumed_times,
    with_one_more,
)
from avemo_jax.extraction.outcomes import NOT_STORABLE, VideoOutcome
from avemo_jax.media.alignment import (
    AlignmentRule,
    align_by_time,
    align_original,
    count_beyond,
)
from avemo_jax.media.audio import SoundFile, open_sound
from avemo_jax.media.video import FrameTimes, VideoError, open_video

_ROWS = 4096  # rows that are gathered at a time
_UNEQUAL_S = 0.5  # sound longer or shorter than the pictures by so much is noted


@dataclasses.dataclass(frozen=True)
class SoundJob:
    """One video of an audio set.

    Attributes:
        video: Name of the base video.
        source: What the features are made from, for the feature file: names, sizes and
            their ``digest``.
        file: The video file; None where there is none.
        sound: A sound file to use instead; None: the video's first track.
        num_frames: Number of frames, from labels and crops, if there is no video file.
        fps: Frames per second to assume if there is no video file; NaN if unknown.
    """

    video: str
    source: Mapping[str, Any]
    file: pathlib.Path | None
    sound: pathlib.Path | None = None
    num_frames: int = 0
    fps: float = float("nan")


def embed_sound(
    extractor: AnyExtractor,
    feature_set: ExtractedSet,
    job: SoundJob,
    kept: KeptFrameTimes,
) -> VideoOutcome:
    """Write one video's feature file, and return what came of the video.

    A video without sound gets a file without rows. Otherwise the rows are those of
    frames 1 .. n + 1, where n frames were decoded. Only some seconds of sound are in
    memory.

    Args:
        extractor: The network that embeds the sound.
        feature_set: The feature set whose file is written.
        job: The video to extract.
        kept: Frame times of the videos, kept on disk.

    Raises:
        OSError: If the feature file cannot be written.
    """
    try:
        return _embedded(extractor, feature_set, job, kept)
    except ValueError as error:
        reason = str(error)
        for path in (job.file, job.sound):
            if path is not None:
                reason = reason.replace(str(path), path.name)
        return VideoOutcome(feature_set.name, job.video, error=reason)


def _embedded(
    extractor: AnyExtractor,
    feature_set: ExtractedSet,
    job: SoundJob,
    kept: KeptFrameTimes,
) -> VideoOutcome:
    times = _times(job, kept)
    sound = _sound(job)
    notes, losses = list(times.notes), times.losses
    failed: list[tuple[int, str]] = []
    with feature_set.writer(job.video) as writer:
        if sound is None:
            notes.append("no sound track")
        else:
            if sound.num_streams > 1:
                notes.append(f"the first of {sound.num_streams} sound tracks")
            for frame, features in _rows(extractor, sound, feature_set, times, notes):
                good = writer.storable(features)
                failed += [(int(number), NOT_STORABLE) for number in frame[~good]]
                writer.append(frame[good], features[good])
            notes += [*sound.notes, *_lengths(sound, times)]
            losses += sound.losses
        count = len(writer)
        meta = feature_set.meta_of(
            job.source,
            failed,
            notes,
            losses=list(losses),
            num_frames=times.num_frames,
            fps=times.fps,
        )
        writer.finish(meta)
    return VideoOutcome(
        feature_set.name,
        job.video,
        rows=count,
        failed=tuple(failed),
        notes=tuple(notes),
        losses=losses,
    )


def _times(job: SoundJob, kept: KeptFrameTimes) -> FrameTimes:
    """When each frame is shown, from the video file or else from an assumed rate.

    Raises:
        VideoError: If the video cannot be decoded, or there is none and the number of
            frames or their rate is unknown.
    """
    if job.file is not None:
        return kept.of(job.video, job.file)
    if not (job.num_frames and job.fps > 0):
        raise VideoError(
            f"{job.sound}: no video {job.video!r} for this sound, with "
            f"{job.num_frames} known frames at {job.fps} per second; expected the "
            "video's file, or a name such as 7-30-1280x720 that tells the rate: add "
            "the video"
        )
    return assumed_times(job.num_frames, job.fps)


def _sound(job: SoundJob) -> SoundFile | None:
    """The sound of a job; None where a video has no track.

    Raises:
        SoundError: If there is a track that cannot be opened.
        VideoError: If the video cannot be opened.
    """
    if job.sound is not None:
        return open_sound(job.sound)
    assert job.file is not None
    if not open_video(job.file).num_sound_tracks:
        return None
    return open_sound(job.file)


def _rows(
    extractor: AnyExtractor,
    sound: SoundFile,
    feature_set: ExtractedSet,
    times: FrameTimes,
    notes: list[str],
) -> Iterator[tuple[Int[np.ndarray, " rows"], Float[np.ndarray, "rows dim"]]]:
    """Frame numbers and vectors, some thousands at a time; none without any hop."""
    assert not isinstance(extractor, ImageExtractor)
    with contextlib.closing(
        RowSpool(feature_set.folder, feature_set.dim, np.float32)
    ) as spool:
        middles = [np.zeros(0)]
        for piece in extractor.stream(sound):
            assert piece.times_s is not None
            spool.append(piece.features)
            middles.append(piece.times_s)
        if not len(spool):
            notes.append("a sound track without sound")
            return
        notes += _seams(extractor)
        hops = _hops_of_frames(np.concatenate(middles), times, feature_set, notes)
        for start in range(0, len(hops), _ROWS):
            wanted = hops[start : start + _ROWS]
            first = int(wanted[0])
            vectors = spool.read(first, int(wanted[-1]) + 1)[wanted - first]
            frame = np.arange(start + 1, start + 1 + len(wanted), dtype=np.int32)
            yield frame, vectors


def _hops_of_frames(
    middles: Float[np.ndarray, " hops"],
    times: FrameTimes,
    feature_set: ExtractedSet,
    notes: list[str],
) -> Int[np.ndarray, " rows"]:
    """The index of the hop of each frame and of one frame more, by the set's rule."""
    seconds = with_one_more(times)
    rule: AlignmentRule = feature_set.meta["alignment"]
    if rule == "original":
        return align_original(len(middles), len(seconds))
    hop_s = float(np.median(np.diff(middles))) if len(middles) > 1 else 1.0
    if beyond := count_beyond(middles, times.times_s, hop_s=hop_s):
        notes.append(
            f"{beyond} frames are shown over {hop_s:.3g} s before the first or after "
            "the last sound, and take that"
        )
    return align_by_time(middles, seconds)


def _seams(extractor: AnyExtractor) -> list[str]:
    """A note on how far the Transformer's windows disagreed, if it ran on several."""
    if not isinstance(extractor, Wav2Vec2Extractor) or not extractor.seams.count:
        return []
    seams = extractor.seams
    return [
        f"windows disagree at {seams.count} seams by {seams.rms:.3f} of the deviation "
        f"(at worst {seams.worst:.3f})"
    ]


def _lengths(sound: SoundFile, times: FrameTimes) -> list[str]:
    """A note if sound and pictures differ in length."""
    pictures_s = float(with_one_more(times)[-1])
    sound_s = sound.duration_s
    if sound_s is None or abs(sound_s - pictures_s) <= _UNEQUAL_S:
        return []
    return [f"{sound_s:.2f} s of sound to {pictures_s:.2f} s of pictures"]
