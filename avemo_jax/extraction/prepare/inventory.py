"""What a tree of files holds, as far as the headers of the files tell."""

import collections
import dataclasses
import pathlib
from collections.abc import Iterable, Mapping

from avemo_jax.data.corpus.official_trees import Corpus
from avemo_jax.data.corpus.splits import SPLITS, base_video
from avemo_jax.data.records import VideoAnnotations
from avemo_jax.media.audio import SoundError, open_sound
from avemo_jax.media.video import VideoError, open_video
from avemo_jax.tasks import TASKS


@dataclasses.dataclass(frozen=True)
class VideoFacts:
    """What the headers of one video and of its sound file declare.

    Attributes:
        frames: Declared number of frames; 0 if unknown.
        seconds: Declared length of the pictures; 0 if unknown.
        pixels: Pixels of a picture; 0: there is no video that can be opened.
        sound_s: Declared seconds of the sound that will be used; 0 for none.
        error: Why the video or the sound file cannot be opened; None if they can.
    """

    frames: int = 0
    seconds: float = 0.0
    pixels: int = 0
    sound_s: float = 0.0
    error: str | None = None


@dataclasses.dataclass(frozen=True)
class Inventory:
    """The files to extract from, and what their headers declare.

    Attributes:
        corpus: The files that were found.
        facts: What is declared, by base video that has a video or sound file.
    """

    corpus: Corpus
    facts: Mapping[str, VideoFacts]

    @property
    def frames(self) -> int:
        """Declared number of frames of all videos."""
        return sum(one.frames for one in self.facts.values())

    def sound_of(self, videos: Iterable[str]) -> float:
        """Declared seconds of these videos' sound."""
        return sum((self.facts[video].sound_s for video in videos), 0.0)

    def lines(self) -> list[str]:
        """The inventory as lines of text, to be read before anything is extracted."""
        found = [*self.video_lines(), *self._crop_lines()]
        where = self.corpus.annotations
        found.append(f"annotations: {where or 'none found'}")
        found += [f"not used: {text}" for text in self.corpus.ignored[:10]]
        if len(self.corpus.ignored) > 10:
            found.append(f"not used: ... ({len(self.corpus.ignored)} in all)")
        return found

    def sound_lines(self, records: Iterable[VideoAnnotations]) -> list[str]:
        """For each task, the video files of each split and hours of their sound."""
        videos: dict[str, dict[str, set[str]]] = {task: {} for task in TASKS}
        for record in records:
            for task, split in record.splits.items():
                there = videos[task].setdefault(split, set())
                there |= {base_video(record.video)} & set(self.facts)
        found = []
        for task, of_split in videos.items():
            texts = [
                f"{len(of_split[split])} of {split} "
                f"({hours(self.sound_of(of_split[split]))} h)"
                for split in SPLITS
                if split in of_split
            ]
            if texts:
                found.append(f"{task} video files, and their sound: {', '.join(texts)}")
        return found

    def video_lines(self) -> list[str]:
        """What the headers of the videos declare, and which have faults or no sound."""
        paths = self.corpus.videos.values()
        kinds = collections.Counter(path.suffix.lower() for path in paths)
        endings = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        with_sound = [one for one in self.facts.values() if one.sound_s]
        seconds = sum((one.seconds for one in self.facts.values()), 0.0)
        found = [
            f"videos: {len(self.corpus.videos)} files ({endings or 'none'}), "
            f"{self.frames:,} frames and {hours(seconds)} h as they declare; "
            f"{hours(self.sound_of(self.facts))} h of sound in {len(with_sound)} files"
        ]
        bad = {video: one.error for video, one in self.facts.items() if one.error}
        found += [f"cannot be read: {error}" for error in bad.values()]
        silent = [
            v for v, one in self.facts.items() if not one.sound_s and v not in bad
        ]
        if silent:
            found.append(f"without sound: {some(silent)}")
        return found

    def _crop_lines(self) -> list[str]:
        crops = self.corpus.crops.values()
        pictures = sum(len(one.frame) for one in crops)
        size = sum(one.num_bytes for one in crops)
        return [
            f"face crops: {len(self.corpus.crops)} subject-videos, {pictures:,} "
            f"pictures, {size / 1e9:.2f} GB"
        ]


def take_inventory(
    corpus: Corpus, sounds: Mapping[str, pathlib.Path] | None = None
) -> Inventory:
    """The inventory of a tree; every video is opened, and none is decoded.

    Args:
        corpus: The files that were found in the tree.
        sounds: Sound files by base video, used instead of the videos' own tracks.
    """
    sounds = sounds or {}
    facts = {
        video: _facts(corpus.videos.get(video), sounds.get(video))
        for video in sorted({*corpus.videos, *sounds})
    }
    return Inventory(corpus, facts)


def _facts(path: pathlib.Path | None, sound: pathlib.Path | None) -> VideoFacts:
    frames, seconds, pixels, sound_s = 0, 0.0, 0, 0.0
    errors = []
    try:
        if path is not None:
            video = open_video(path)
            frames = video.declared_frames or 0
            seconds = video.declared_s or 0.0
            pixels = video.width * video.height
            sound_s = (video.sound_s or seconds) if video.num_sound_tracks else 0.0
    except VideoError as error:
        errors.append(str(error))
    try:
        if sound is not None:
            sound_s = 0.0
            sound_s = open_sound(sound).duration_s or seconds
    except SoundError as error:
        errors.append(str(error))
    return VideoFacts(frames, seconds, pixels, sound_s, "; ".join(errors) or None)


def hours(seconds: float) -> str:
    """Seconds as text in hours, to 3 digits below 10 hours and to 1 above."""
    value = seconds / 3600
    return f"{value:.1f}" if value >= 10 else f"{value:.3f}"


def some(names: list[str], most: int = 5) -> str:
    """The first names, and how many there are if there are more, as text."""
    text = ", ".join(names[:most])
    return text if len(names) <= most else f"{text}, ... ({len(names)} in all)"
