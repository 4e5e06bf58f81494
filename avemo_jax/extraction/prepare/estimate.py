"""What an extraction will take: time, from a short trial, and room on the disk."""

import dataclasses
import itertools
import math
import pathlib
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from avemo_jax.data.corpus.crop_folders import CropFolder
from avemo_jax.data.store.layout import config_folder
from avemo_jax.embed import AnyExtractor, ImageExtractor
from avemo_jax.extraction.faces import embed_faces
from avemo_jax.extraction.feature_set import ExtractedSet
from avemo_jax.extraction.frame_times import KeptFrameTimes
from avemo_jax.extraction.image_decoding import decode_all
from avemo_jax.extraction.jobs import Material, Work
from avemo_jax.extraction.prepare.inventory import VideoFacts, hours
from avemo_jax.extraction.settings import Settings
from avemo_jax.extractors import Extractor
from avemo_jax.media.audio import Sound, SoundError, SoundFile, open_sound
from avemo_jax.media.video import open_video

_BATCHES = 3  # batches of pictures that are timed, after one that compiles
_VIDEOS = 5  # videos that are tried until one has a face
_SOUND_S = 20.0  # length of the sound that is tried
Facts = Mapping[str, VideoFacts]
_META_BYTES = 4_000  # a feature file's size without its rows


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What one feature set, or the frame times, will take.

    Attributes:
        name: Name of the feature set, or "frame times".
        videos: Number of videos to be done.
        stand: Number of videos whose files are there already.
        amount: Number of pictures, seconds of sound, or frames to be done.
        unit: Unit of ``amount``: "images", "s of sound" or "frames".
        per_s: Amount done in a second in the trial; None: there was nothing to try.
        num_bytes: Size of the files to be written.
        packed_bytes: Size of the set in the store; 0 if it is not packed.
        untried: Why there was no trial, although there is something to try; "": there
            was one.
    """

    name: str
    videos: int
    stand: int
    amount: float
    unit: str
    per_s: float | None
    num_bytes: int
    packed_bytes: int = 0
    untried: str = ""

    @property
    def seconds(self) -> float:
        """Seconds that the work will take; 0 if unknown."""
        return self.amount / self.per_s if self.per_s else 0.0

    def line(self) -> str:
        """The estimate as a line of text."""
        text = f"{self.name}: {self.videos} videos to extract, {self.stand} stand"
        if not self.videos:
            return text
        if self.untried:
            return f"{text}; {self.amount:,.0f} {self.unit}; no trial: {self.untried}"
        if self.per_s is None:
            return f"{text}; no trial, since nothing could be read"
        return (
            f"{text}; {self.amount:,.0f} {self.unit} at {self.per_s:,.1f}/s: "
            f"{duration(self.seconds)}"
        )


def estimate(
    extractor: AnyExtractor,
    feature_set: ExtractedSet,
    material: Material,
    work: Work,
    facts: Facts,
    *,
    packs: bool,
) -> Estimate:
    """What one feature set will take, from a trial on the first pictures or sound.

    Args:
        extractor: The set's extractor; it stays compiled for the extraction.
        feature_set: The feature set whose files are to be written.
        material: The files to extract from.
        work: The jobs to be done, and those already done.
        facts: Declared frames, seconds and sound, by base video.
        packs: Whether the set is packed into the store afterwards.
    """
    videos = [job.video for job in work.todo]
    known = extractor.extractor
    if isinstance(extractor, ImageExtractor):
        folders = [material.crops[video] for video in videos if video in material.crops]
        per_s = _images_per_s(extractor, folders) if folders else None
        if not material.crops:
            per_s = _frames_per_s(extractor, feature_set, work)
        size, amount, unit = _amount(known, material, videos, facts, hop_s=math.nan)
    else:
        per_s = _sound_per_s(extractor, material, videos) if videos else None
        hop_s = extractor.hop_s
        size, amount, unit = _amount(known, material, videos, facts, hop_s=hop_s)
    packed = packed_bytes(feature_set, work, size) if packs else 0
    return Estimate(
        name=feature_set.name,
        videos=len(videos),
        stand=len(work.standing),
        amount=amount,
        unit=unit,
        per_s=per_s,
        num_bytes=size,
        packed_bytes=packed,
    )


def estimate_untried(
    known: Extractor, material: Material, videos: Sequence[str], facts: Facts
) -> Estimate:
    """What a feature set whose weights are missing will take, but for the time.

    Args:
        known: The extractor's entry in the table.
        material: The files to extract from.
        videos: All videos that have pictures or sound for it.
        facts: Declared frames, seconds and sound, by base video.
    """
    hop_s = known.sound.hop_s if known.kind == "audio" else math.nan
    size, amount, unit = _amount(known, material, videos, facts, hop_s=hop_s)
    return Estimate(
        name=known.name,
        videos=len(videos),
        stand=0,
        amount=amount,
        unit=unit,
        per_s=None,
        num_bytes=size,
        packed_bytes=size,
        untried="its weights are missing",
    )


def _amount(
    known: Extractor,
    material: Material,
    videos: Sequence[str],
    facts: Facts,
    *,
    hop_s: float,
) -> tuple[int, float, str]:
    """Bytes of an extractor's feature files, and how much of what it runs on."""
    if known.kind == "visual":
        folders = [material.crops[video] for video in videos if video in material.crops]
        rows = sum(len(one.frame) for one in folders)
        amount, unit = float(rows), "images"
        if not material.crops:
            rows = sum(facts[video].frames for video in videos if video in facts)
            amount, unit = float(rows), "frames"
    else:
        each = {video: facts.get(video, VideoFacts()) for video in videos}
        rate = 1 / hop_s if math.isnan(material.fps) else material.fps
        rows = sum(
            one.frames or material.num_frames.get(video) or round(one.sound_s * rate)
            for video, one in each.items()
        )
        amount, unit = sum((one.sound_s for one in each.values()), 0.0), "s of sound"
    row = 4 + 2 * known.dim + 4 * known.output_dim
    return rows * row + len(videos) * _META_BYTES, amount, unit


def packed_bytes(feature_set: ExtractedSet, work: Work, num_bytes: int) -> int:
    """Size of the whole set in the store; 0 if it is packed already and complete.

    Args:
        feature_set: The feature set to be packed.
        work: Its jobs to be done, and those already done.
        num_bytes: Size of the feature files to be written.
    """
    store = feature_set.folder.parent.parent
    if not work.todo and config_folder(store, feature_set.name).is_dir():
        return 0
    there = (feature_set.path_of(one.video) for one in work.standing)
    return num_bytes + sum(path.stat().st_size for path in there)


def estimate_frame_times(
    kept: KeptFrameTimes, videos: Mapping[str, pathlib.Path], facts: Facts
) -> Estimate:
    """What decoding the videos for their frame times will take.

    Args:
        kept: The times that are on disk already.
        videos: Video files, by base video.
        facts: Declared frames and size of a picture, by base video.
    """
    new = [video for video, path in videos.items() if not kept.stands(video, path)]
    todo = [video for video in new if facts[video].pixels]
    per_s = pixels_per_s = None
    frames = sum(facts[video].frames for video in todo)
    pixels = sum(facts[video].frames * facts[video].pixels for video in todo)
    if todo:
        # One video of middling size is timed; the others take time by their pixels.
        tried = sorted(todo, key=lambda video: facts[video].pixels)[len(todo) // 2]
        rate = open_video(videos[tried]).decoding_rate()
        pixels_per_s = rate * facts[tried].pixels
        per_s = frames * pixels_per_s / pixels if pixels else rate
    stand = len(videos) - len(new)
    size = len(todo) * _META_BYTES + 8 * frames
    return Estimate(
        name="frame times",
        videos=len(todo),
        stand=stand,
        amount=float(frames),
        unit="frames",
        per_s=per_s,
        num_bytes=size,
    )


def _images_per_s(
    extractor: ImageExtractor, folders: Sequence[CropFolder]
) -> float | None:
    """Pictures decoded and embedded in a second, without what compiling takes."""
    every = (path for one in folders for _, path in one.paths())
    size = extractor.batch_size

    def images(count: int) -> Iterator[np.ndarray]:
        for decoded in decode_all(list(itertools.islice(every, count))):
            if not isinstance(decoded, str):
                yield decoded

    if not sum(len(batch.features) for batch in extractor.stream(images(size))):
        return None
    start = time.perf_counter()
    pieces = extractor.stream(images(_BATCHES * size))
    done = sum(len(batch.features) for batch in pieces)
    seconds = time.perf_counter() - start
    if done:
        return done / seconds
    # All pictures were in the first batch.
    again = list(itertools.islice((p for f in folders for _, p in f.paths()), size))
    start = time.perf_counter()
    decoded = [one for one in decode_all(again) if not isinstance(one, str)]
    done = len(extractor.extract(decoded).features)
    return done / (time.perf_counter() - start)


def _frames_per_s(
    extractor: ImageExtractor, feature_set: ExtractedSet, work: Work
) -> float | None:
    """Frames of videos whose faces are found, cut out and embedded in a second.

    The first video that has a face is done twice, and the second time, in which nothing
    is compiled, is taken; what the trial writes is removed.
    """
    for job in work.todo[:_VIDEOS]:
        with tempfile.TemporaryDirectory() as folder:
            for number in range(2):
                place = pathlib.Path(folder) / str(number) / feature_set.name
                place.mkdir(parents=True)
                trial = dataclasses.replace(feature_set, folder=place)
                start = time.perf_counter()
                with Settings().decoders() as decoders:
                    outcomes = list(embed_faces(extractor, trial, [job], decoders))
                seconds = time.perf_counter() - start
                if any(one.error for one in outcomes):
                    break  # the extraction will say so
            else:
                times = KeptFrameTimes(place.parent).of(job.video, job.file)
                return times.num_frames / seconds
    return None


def _sound_per_s(
    extractor: AnyExtractor, material: Material, videos: Sequence[str]
) -> float | None:
    """Seconds of sound embedded in a second, without what compiling takes."""
    assert not isinstance(extractor, ImageExtractor)
    rate = extractor.extractor.sound.sample_rate_hz
    for video in videos:
        path = material.sounds.get(video) or material.videos.get(video)
        if path is None:
            continue
        try:
            sound = _beginning(open_sound(path), rate)
        except SoundError:
            continue  # the extraction will say so
        if not sound.duration_s:
            continue
        extractor.extract(sound)
        start = time.perf_counter()
        extractor.extract(sound)
        return sound.duration_s / (time.perf_counter() - start)
    return None


def _beginning(sound: SoundFile, rate: int) -> Sound:
    """The first seconds of a track."""
    blocks, count = [np.zeros((0, sound.num_channels), np.float32)], 0
    for block in sound.blocks(rate):
        blocks.append(np.clip(block, -1, 1))
        count += len(block)
        if count >= _SOUND_S * rate:
            break
    return Sound(np.concatenate(blocks)[: int(_SOUND_S * rate)], rate)


def disk_line(estimates: Sequence[Estimate], out: pathlib.Path) -> tuple[str, bool]:
    """A line on the disk space needed and free, and whether it is enough.

    The features take space twice: as files, and packed in the store.
    """
    needed = sum(one.num_bytes + one.packed_bytes for one in estimates)
    there = next(path for path in (out, *out.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    text = f"disk: {needed / 1e9:.2f} GB needed, {free / 1e9:.2f} GB free at {there}"
    return text, needed <= free


def duration(seconds: float) -> str:
    """A duration as text, in seconds, minutes or hours."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{hours(seconds)} h"
