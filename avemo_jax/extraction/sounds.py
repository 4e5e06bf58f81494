"""Sound -> audio feature files, a row for each frame of its video, or by a rate."""

import contextlib
import dataclasses
import math
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from avemo_jax.data.features.writer import RowSpool
from avemo_jax.embed import AcousticExtractor, SoundExtractor, Wav2Vec2Extractor
from avemo_jax.extraction.feature_set import ExtractedSet
from avemo_jax.extraction.frame_times import (
    KeptFrameTimes,
    assumed_times,
    with_one_more,
)
from avemo_jax.extraction.outcomes import NOT_STORABLE, VideoOutcome
from avemo_jax.media.alignment import (
    UNEQUAL_S,
    AlignmentRule,
    align_by_time,
    align_original,
    count_beyond,
    frame_times,
    reach_of,
)
from avemo_jax.media.audio import SoundError, SoundFile, open_sound
from avemo_jax.media.video import (
    FrameTimes,
    NoPicturesError,
    VideoError,
    open_video,
)

# What decides the rows of sound alone: the extractor's hops, or a rate.
RowsAt = Literal["hops", "fps"]
_ROWS = 4096  # rows that are gathered at a time


@dataclasses.dataclass(frozen=True)
class SoundJob:
    """One video of an audio set.

    Attributes:
        video: Name of the base video.
        source: What the features are made from, for the feature file: names, sizes and
            their ``digest``.
        file: The video file; None where there is none.
        sound: A sound file to use instead; None: the video's first track.
        num_frames: Number of frames, from labels and crops, if there is no video file;
            0: unknown.
        fps: Frames per second to assume where there are no pictures; NaN: unknown.
    """

    video: str
    source: Mapping[str, Any]
    file: pathlib.Path | None
    sound: pathlib.Path | None = None
    num_frames: int = 0
    fps: float = math.nan

    @property
    def rows_are_hops(self) -> bool:
        """Whether this is sound alone whose rows no rate decides."""
        return self.file is None and not self.num_frames and math.isnan(self.fps)


def embed_sound(
    extractor: SoundExtractor,
    feature_set: ExtractedSet,
    job: SoundJob,
    kept: KeptFrameTimes,
) -> VideoOutcome:
    """Write one video's feature file, and return what came of the video.

    A video without sound gets a file without rows. Otherwise the rows are those of
    frames 1 .. n + 1, where n frames were decoded. Sound alone has rows up to its end,
    at the job's rate, or else one for each hop. Only some seconds of sound are in
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
    extractor: SoundExtractor,
    feature_set: ExtractedSet,
    job: SoundJob,
    kept: KeptFrameTimes,
) -> VideoOutcome:
    times = _times(job, kept)
    sound = _sound(job, alone=times is None)
    notes: list[str] = []
    failed: list[tuple[int, str]] = []
    with (
        feature_set.writer(job.video) as writer,
        contextlib.closing(
            RowSpool(feature_set.folder, feature_set.dim, np.float32)
        ) as spool,
    ):
        middles = spooled_hops(extractor, sound, spool) if sound else np.zeros(0)
        rows_at: RowsAt | None = None
        if times is None:
            assert sound is not None
            times, rows_at = _times_alone(extractor, sound, len(middles), job)
        notes += times.notes
        losses = times.losses
        if sound is None:
            notes.append("no sound track")
        else:
            notes += notes_on_sound(extractor, sound)
            reach_s = reach_of(extractor.hop_s, receptive_field_s(extractor))
            hops = _hops_of_rows(middles, times, rows_at, feature_set, reach_s, notes)
            for frame, features in _rows(spool, hops):
                good = writer.storable(features)
                failed += [(int(number), NOT_STORABLE) for number in frame[~good]]
                writer.append(frame[good], features[good])
            notes += [*sound.notes, *([] if rows_at else unequal_lengths(sound, times))]
            losses += sound.losses
        count = len(writer)
        meta = feature_set.meta_of(
            job.source,
            failed,
            notes,
            losses=list(losses),
            num_frames=times.num_frames,
            fps=times.fps,
            **({"rows_at": rows_at} if rows_at else {}),
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


def _times(job: SoundJob, kept: KeptFrameTimes) -> FrameTimes | None:
    """When each frame is shown, from the video file or else from an assumed rate.

    None stands for sound alone: there are no pictures, and none are known of.

    Raises:
        VideoError: If the video cannot be decoded, or there is none and the rate of
            its frames is unknown.
    """
    if job.file is not None:
        try:
            return kept.of(job.video, job.file)
        except NoPicturesError:
            return None
    if not job.num_frames:
        return None
    if not job.fps > 0:
        raise VideoError(
            f"{job.sound}: no video {job.video!r} for this sound, with "
            f"{job.num_frames} known frames at a rate that its name does not tell, as "
            "ID-FPS-WIDTHxHEIGHT would; expected the video's file, or the rate: add "
            "the video, or give --fps"
        )
    return assumed_times(job.num_frames, job.fps)


def _times_alone(
    extractor: SoundExtractor, sound: SoundFile, num_hops: int, job: SoundJob
) -> tuple[FrameTimes, RowsAt]:
    """Times of the rows of sound alone, and what decides their rate.

    The rows cover the sound to its end: those after the last whole hop have a row too.

    Args:
        extractor: The extractor, whose hop is the rate unless the job has one.
        sound: The sound, read to its end.
        num_hops: Number of hops that the extractor gave.
        job: The file, with its rate.

    Raises:
        SoundError: If there is no sound in the file.
    """
    if not num_hops:
        raise SoundError(
            f"{sound.path}: has no sound in it; expected some; get it again, or remove "
            "it"
        )
    by_hop = math.isnan(job.fps)
    fps = 1 / extractor.hop_s if by_hop else job.fps
    # Less than a thousandth of a row is rounding.
    count = max(1, math.ceil((sound.duration_s or 0.0) * fps - 1e-3))
    return FrameTimes(
        times_s=frame_times(max(count, num_hops) if by_hop else count, fps),
        fps=fps,
        constant_rate=True,
        notes=() if job.file is None else ("no pictures: taken for sound alone",),
    ), ("hops" if by_hop else "fps")


def _sound(job: SoundJob, *, alone: bool) -> SoundFile | None:
    """The sound of a job; None where a video has no track.

    Raises:
        SoundError: If there is a track that cannot be opened, or sound alone has none.
        VideoError: If the video cannot be opened.
    """
    if job.sound is not None:
        return open_sound(job.sound)
    assert job.file is not None
    if not alone and not open_video(job.file).num_sound_tracks:
        return None
    return open_sound(job.file)


def spooled_hops(
    extractor: SoundExtractor, sound: SoundFile, spool: RowSpool
) -> Float[np.ndarray, " hops"]:
    """The middles of all hops, whose vectors are put into the spool."""
    middles = [np.zeros(0)]
    for piece in extractor.stream(sound):
        assert piece.times_s is not None
        spool.append(piece.features)
        middles.append(piece.times_s)
    return np.concatenate(middles)


def notes_on_sound(extractor: SoundExtractor, sound: SoundFile) -> list[str]:
    """Notes on the choice of the track, and on seams between windows."""
    notes = []
    if sound.num_streams > 1:
        notes.append(f"the first of {sound.num_streams} sound tracks")
    if isinstance(extractor, Wav2Vec2Extractor) and extractor.seams.count:
        seams = extractor.seams
        notes.append(
            f"windows disagree at {seams.count} seams by {seams.rms:.3f} of the "
            f"deviation (at worst {seams.worst:.3f})"
        )
    return notes


def _rows(
    spool: RowSpool, hops: Int[np.ndarray, " rows"]
) -> Iterator[tuple[Int[np.ndarray, " rows"], Float[np.ndarray, "rows dim"]]]:
    """Frame numbers and vectors, some thousands at a time."""
    for start in range(0, len(hops), _ROWS):
        wanted = hops[start : start + _ROWS]
        first = int(wanted[0])
        vectors = spool.read(first, int(wanted[-1]) + 1)[wanted - first]
        frame = np.arange(start + 1, start + 1 + len(wanted), dtype=np.int32)
        yield frame, vectors


def _hops_of_rows(
    middles: Float[np.ndarray, " hops"],
    times: FrameTimes,
    rows_at: RowsAt | None,
    feature_set: ExtractedSet,
    reach_s: float,
    notes: list[str],
) -> Int[np.ndarray, " rows"]:
    """The index of the hop of each row.

    Rows of sound alone are the hops themselves, or frames at its rate. A video has a
    row for each frame and for one more, by the set's rule.

    Args:
        middles: Middles of the hops.
        times: When the rows, or frames, are.
        rows_at: What decides the rows of sound alone; None: those of a video.
        feature_set: The set, with its rule of alignment.
        reach_s: Frames farther than this from all hops are noted.
        notes: Notes of the video, to which those on its sound are added.
    """
    if not len(middles):
        notes.append("a sound track without sound")
        return np.zeros(0, np.int32)
    if rows_at == "hops":
        rows = np.arange(times.num_frames, dtype=np.int32)
        return np.minimum(rows, np.int32(len(middles) - 1))
    seconds = times.times_s if rows_at else with_one_more(times)
    rule: AlignmentRule = feature_set.meta["alignment"]
    if rule == "original":
        return align_original(len(middles), len(seconds))
    if beyond := count_beyond(middles, times.times_s, reach_s=reach_s):
        notes.append(
            f"{beyond} frames are shown over {reach_s:.3g} s before the first or after "
            "the last sound, and take that"
        )
    return align_by_time(middles, seconds)


def receptive_field_s(extractor: SoundExtractor) -> float:
    """Seconds of sound that make one vector."""
    if isinstance(extractor, AcousticExtractor):
        return extractor.context_s
    return extractor.extractor.sound.receptive_field_s


def unequal_lengths(sound: SoundFile, times: FrameTimes) -> list[str]:
    """A note if sound and pictures differ in length."""
    pictures_s = float(with_one_more(times)[-1])
    sound_s = sound.duration_s
    if sound_s is None or abs(sound_s - pictures_s) <= UNEQUAL_S:
        return []
    return [f"{sound_s:.2f} s of sound to {pictures_s:.2f} s of pictures"]
