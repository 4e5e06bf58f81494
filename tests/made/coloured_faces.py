"""A film of coloured squares in the place of faces, and what finds them."""

import pathlib
from collections.abc import Callable, Sequence

import av
import numpy as np

from avemo_jax.faces.crops import ARCFACE_TEMPLATE
from avemo_jax.faces.keyframes import FrameFaces

SIZE = (320, 240)
SIDE = 48
FPS = 25
NUM_FRAMES = 60
_SOUND_RATE = 16_000
COLOURS = {"red": (220, 30, 30), "blue": (30, 30, 220)}
# Where the points lie in a box, as in a crop.
INSIDE = ARCFACE_TEMPLATE / 112 * SIDE


def script(number: int) -> dict[str, tuple[int, int]]:
    """Left upper corners of the faces in frame ``number``, from 1, of 60."""
    shown = {"red": (10 + 2 * number, 40)}
    if 20 <= number < 45:
        shown["blue"] = (200 - number, 150)
    return shown if number <= 50 else {}


def write_film(
    path: pathlib.Path,
    shows: Callable[[int], dict[str, tuple[int, int]]] = script,
    *,
    sound_hz: float | None = None,
) -> pathlib.Path:
    """Squares that move evenly, one of which comes and goes, then none.

    Args:
        path: File to write; .mkv where there is sound.
        shows: Left upper corners of the faces in a frame.
        sound_hz: Pitch of a tone; None: there is no sound.
    """
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = (*SIZE, "yuv444p")
        sound = None
        if sound_hz is not None:
            sound = container.add_stream("pcm_s16le", rate=_SOUND_RATE, layout="mono")
        for number in range(1, NUM_FRAMES + 1):
            picture = np.full((SIZE[1], SIZE[0], 3), 128, np.uint8)
            for name, (left, top) in shows(number).items():
                picture[top : top + SIDE, left : left + SIDE] = COLOURS[name]
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound is not None:
            time_s = np.arange(_SOUND_RATE * NUM_FRAMES // FPS) / _SOUND_RATE
            tone = (8000 * np.sin(2 * np.pi * sound_hz * time_s)).astype(np.int16)
            samples = av.AudioFrame.from_ndarray(tone[None], "s16", "mono")
            samples.sample_rate, samples.pts = _SOUND_RATE, 0
            container.mux(sound.encode(samples))
            container.mux(sound.encode(None))
    return path


class ByColour:
    """Finds squares of the two colours.

    Attributes:
        pictures: Number of pictures that it was asked for.
    """

    def __init__(self) -> None:
        self.pictures = 0

    def __call__(self, pictures: Sequence[np.ndarray]) -> list[FrameFaces]:
        self.pictures += len(pictures)
        return [self._faces(picture) for picture in pictures]

    def _faces(self, picture: np.ndarray) -> FrameFaces:
        boxes = []
        for colour in COLOURS.values():
            y, x = np.nonzero((np.abs(picture.astype(int) - colour) < 60).all(axis=-1))
            if len(x) > 100:
                boxes.append([x.min(), y.min(), np.ptp(x) + 1, np.ptp(y) + 1])
        boxes = np.array(boxes, float).reshape(-1, 4)
        points = boxes[:, None, :2] + INSIDE / SIDE * boxes[:, None, 2:]
        return FrameFaces(boxes, points, np.full(len(boxes), 0.9))
