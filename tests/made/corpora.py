"""Public corpora as they are downloaded: all names by their published rules."""

import itertools
import pathlib
import shutil
from collections.abc import Iterable, Iterator

import av
import numpy as np

from made.coloured_faces import COLOURS, SIDE
from made.sounds import write_wav

FPS = 25
NUM_FRAMES = 10
SIZE = (160, 120)
RATE_HZ = 16_000


def ravdess_trials(channel: str) -> Iterator[tuple[str, ...]]:
    """Channel, emotion, intensity, statement, repetition and actor of each trial."""
    emotions = range(1, 9) if channel == "01" else range(1, 7)
    for actor in range(1, 25):
        if channel == "02" and actor == 18:
            continue
        for emotion, intensity, statement, repetition in itertools.product(
            emotions, (1, 2), (1, 2), (1, 2)
        ):
            if emotion == 1 and intensity == 2:
                continue
            numbers = (emotion, intensity, statement, repetition, actor)
            yield (channel, *(f"{number:02}" for number in numbers))


def ravdess_paths() -> Iterator[str]:
    """The 7,356 files in the folders that its archives unpack to."""
    for channel, what in (("01", "Speech"), ("02", "Song")):
        for trial in ravdess_trials(channel):
            name, actor = "-".join(trial), f"Actor_{trial[-1]}"
            for modality in ("01", "02"):
                yield f"Video_{what}_{actor}/{actor}/{modality}-{name}.mp4"
            yield f"Audio_{what}_Actors_01-24/{actor}/03-{name}.wav"


SENTENCES = "DFA IEO IOM ITH ITS IWL IWW MTI TAI TIE TSI WSI".split()
EMOTIONS = "ANG DIS FEA HAP NEU SAD".split()


def cremad_names() -> Iterator[str]:
    """All 7,462 names that the rules allow; the corpus has 7,442 of them."""
    for actor, sentence, emotion in itertools.product(
        range(1001, 1092), SENTENCES, EMOTIONS
    ):
        levels = (
            ("LO", "MD", "HI") if sentence == "IEO" and emotion != "NEU" else ("XX",)
        )
        for level in levels:
            yield f"{actor}_{sentence}_{emotion}_{level}"


def write_names(root: pathlib.Path, paths: Iterable[str]) -> pathlib.Path:
    """Empty files."""
    paths = list(paths)
    for folder in {pathlib.PurePath(path).parent for path in paths}:
        (root / folder).mkdir(parents=True, exist_ok=True)
    for path in paths:
        (root / path).touch()
    return root


def write_clip(
    path: pathlib.Path, number: int, *, sound: bool = True, frames: int = NUM_FRAMES
) -> pathlib.Path:
    """A red square whose brightness and tone tell a class, for a moment.

    Args:
        path: File to write.
        number: The class, from 0 to 7.
        sound: Whether there is a tone.
        frames: Number of frames.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "12"})
        stream.width, stream.height, stream.pix_fmt = (*SIZE, "yuv444p")
        track = None
        if sound:
            track = container.add_stream("aac", rate=RATE_HZ, layout="mono")
        for i in range(frames):
            picture = np.full((SIZE[1], SIZE[0], 3), 128, np.uint8)
            left, top = 40 + i, 30
            picture[top : top + SIDE, left : left + SIDE] = COLOURS["red"]
            # What a face would show: bars, as many as the class.
            for bar in range(number + 1):
                at = top + 4 + 5 * bar
                picture[at : at + 2, left + 8 : left + 40] = (180, 70, 70)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if track is not None:
            samples = av.AudioFrame.from_ndarray(
                tone(number, frames)[None], "fltp", "mono"
            )
            samples.sample_rate, samples.pts = RATE_HZ, 0
            container.mux(track.encode(samples))
            container.mux(track.encode(None))
    return path


def tone(number: int, frames: int = NUM_FRAMES) -> np.ndarray:
    """The sound of a class."""
    time_s = np.arange(RATE_HZ * frames // FPS) / RATE_HZ
    return (0.3 * np.sin(2 * np.pi * 150 * (number + 1) * time_s)).astype(np.float32)


def write_ravdess(
    root: pathlib.Path,
    actors: Iterable[int],
    emotions: Iterable[int],
    *,
    modalities: Iterable[str] = ("01",),
    channel: str = "01",
) -> pathlib.Path:
    """Some real, tiny trials in the folders of the download: one per emotion."""
    once: dict[tuple[int, str], pathlib.Path] = {}
    for actor, emotion, modality in itertools.product(actors, emotions, modalities):
        name = f"{modality}-{channel}-{emotion:02}-01-01-01-{actor:02}"
        what = "Speech" if channel == "01" else "Song"
        folder = root / f"Video_{what}_Actor_{actor:02}" / f"Actor_{actor:02}"
        path = folder / f"{name}.mp4"
        if modality == "03":
            folder = root / f"Audio_{what}_Actors_01-24" / f"Actor_{actor:02}"
            path = folder / f"{name}.wav"
        folder.mkdir(parents=True, exist_ok=True)
        if (emotion, modality) in once:
            shutil.copy(once[emotion, modality], path)
        elif modality == "03":
            write_wav(path, NUM_FRAMES / FPS, hz=150 * emotion)
        else:
            write_clip(path, emotion - 1, sound=modality == "01")
        once.setdefault((emotion, modality), path)
    return root
