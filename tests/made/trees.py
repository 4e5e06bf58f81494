"""An official tree in small: videos with sound, face crops, annotations."""

import pathlib
from collections.abc import Mapping, Sequence
from fractions import Fraction

import av
import numpy as np
from PIL import Image

from avemo_jax.embed.weights import write_weights
from avemo_jax.extractors import get_extractor, vggish
from avemo_jax.tasks import TASKS
from made.weights import made_state, network_shapes

HEADERS = {
    "EXPR": "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other",
    "AU": "AU1,AU2,AU4,AU6,AU7,AU10,AU12,AU15,AU23,AU24,AU25,AU26",
    "VA": "valence,arousal",
}
# Subject-videos by official set, and their frames; the pair is of one video.
TRAIN = {"1-25-64x48": 30, "vidéo with spaces": 20, "3-25-64x48_left": 24}
VALIDATION = {"3-25-64x48_right": 24, "4-25-64x48": 12}
UNLABELLED = {"test 5": 10}
SILENT = "4-25-64x48"
WITHOUT_CROP = 5  # this frame of every video


def make_tree(root: pathlib.Path) -> pathlib.Path:
    """Six subject-videos in five videos, in the official arrangement."""
    rng = np.random.default_rng(0)
    for video, frames in {**TRAIN, **VALIDATION, **UNLABELLED}.items():
        base = video.removesuffix("_left").removesuffix("_right")
        batch = "new_vids" if video in UNLABELLED else "batch1"
        path = root / "videos" / batch / f"{base}.mp4"
        if not path.exists():
            write_video(path, frames, sound=base != SILENT)
        place = "cropped_aligned_new_50_vids" if video in UNLABELLED else None
        numbers = [n for n in range(1, frames + 1) if n != WITHOUT_CROP]
        write_crops(root / (place or "cropped_aligned") / video, numbers, rng)
    write_annotations(root / "Annotations", rng)
    return root


def write_video(
    path: pathlib.Path,
    frames: int,
    *,
    fps: int = 25,
    sound: bool = True,
    sound_s: float | None = None,
    sound_tracks: int = 1,
    stamps: Sequence[int] | None = None,
) -> None:
    """An mp4 of a moving pattern, with a rising tone for sound."""
    path.parent.mkdir(parents=True, exist_ok=True)
    seconds = frames / fps if sound_s is None else sound_s
    with av.open(str(path), "w") as container:
        pictures = container.add_stream("mpeg4", rate=fps)
        pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
        pictures.codec_context.time_base = Fraction(1, fps)
        tracks = [
            container.add_stream("aac", rate=16_000, layout="mono")
            for _ in range(sound_tracks if sound else 0)
        ]
        for i in range(frames):
            grid = np.add.outer(np.arange(48) * 5, np.arange(64) * 3) + 7 * i
            picture = np.repeat((grid % 256).astype(np.uint8)[..., None], 3, 2)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = i if stamps is None else stamps[i]
            frame.time_base = Fraction(1, fps)
            container.mux(pictures.encode(frame))
        container.mux(pictures.encode())
        for number, track in enumerate(tracks):
            time = np.arange(round(seconds * 16_000)) / 16_000
            wave = 0.3 * np.sin(2 * np.pi * (200 * (number + 1) + 100 * time) * time)
            for start in range(0, len(wave), 1024):
                piece = wave[start : start + 1024].astype(np.float32)[None]
                block = av.AudioFrame.from_ndarray(piece, format="fltp", layout="mono")
                block.sample_rate, block.pts = 16_000, start
                container.mux(track.encode(block))
            container.mux(track.encode())


def write_crops(
    folder: pathlib.Path, numbers: Sequence[int], rng: np.random.Generator
) -> None:
    """JPEG files of noise, 112 x 112."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        coarse = rng.integers(0, 256, (7, 7, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((112, 112)).save(folder / f"{number:05d}.jpg")


def write_annotations(folder: pathlib.Path, rng: np.random.Generator) -> None:
    """All three tasks of the labelled videos; some labels are invalid."""
    for name, task in TASKS.items():
        for set_name, videos in (("Train_Set", TRAIN), ("Validation_Set", VALIDATION)):
            place = folder / task.folders[0] / set_name
            place.mkdir(parents=True)
            for video, frames in videos.items():
                rows = [label_row(name, rng) for _ in range(frames)]
                text = "\n".join([HEADERS[name], *rows]) + "\n"
                (place / f"{video}.txt").write_text(text)


def label_row(task: str, rng: np.random.Generator) -> str:
    """One frame's labels as the official files have them."""
    if task == "EXPR":
        return str(rng.integers(-1, 8))
    if task == "AU":
        return ",".join(map(str, rng.integers(0, 2, 12)))
    return ",".join(f"{value:.3f}" for value in rng.uniform(-1, 1, 2))


def make_weights_dir(
    folder: pathlib.Path, names: Sequence[str], *, seed: int = 0
) -> pathlib.Path:
    """``NAME.safetensors`` of random weights, VGGish's with a PCA."""
    for name in names:
        known = get_extractor(name)
        shapes: dict[str, tuple[int, ...]] = network_shapes(known)
        if known.network == "vggish":
            shapes = {**shapes, **vggish.PCA_SHAPES}
        state = made_state(shapes, seed)
        write_weights(folder / f"{name}.safetensors", state, {"extractor": name})
    return folder


def contents_of(folder: pathlib.Path, pattern: str = "**/*") -> Mapping[str, bytes]:
    """Every file below, hidden ones too, by its path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.glob(pattern))
        if path.is_file()
    }
