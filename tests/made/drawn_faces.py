"""Drawn faces that act: a video of them, and what a network would predict of it."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import av
import numpy as np
from PIL import Image, ImageDraw

from avemo_jax.prediction.predicted import Predicted, PredictedFace
from avemo_jax.tasks import AU, EXPR, VA, Task

SIZE = (640, 360)  # width, height
FPS = 25
_SCRIPT = (
    "Neutral",
    "Happiness",
    "Surprise",
    "Neutral",
    "Sadness",
    "Anger",
    "Happiness",
)
_SCRIPT += ("Fear", "Neutral", "Disgust", "Other")
# Valence and arousal of each expression, and the units that go with it.
_VALUES = {
    "Neutral": (0.05, -0.1),
    "Anger": (-0.55, 0.6),
    "Disgust": (-0.6, 0.25),
    "Fear": (-0.5, 0.75),
    "Happiness": (0.75, 0.4),
    "Sadness": (-0.6, -0.4),
    "Surprise": (0.2, 0.8),
    "Other": (0.1, 0.2),
}
_UNITS = {
    "Neutral": (),
    "Anger": (4, 7, 23, 24),
    "Disgust": (4, 7, 10),
    "Fear": (1, 2, 4, 7, 25),
    "Happiness": (6, 12, 25),
    "Sadness": (1, 4, 15),
    "Surprise": (1, 2, 25, 26),
    "Other": (24,),
}


def acted(
    count: int,
    faces: int = 1,
    *,
    tasks: Sequence[Task] = (EXPR, AU, VA),
    spread: bool = True,
    seed: int = 0,
    size: tuple[int, int] = SIZE,
    **changes: Any,
) -> Predicted:
    """What is predicted of so many frames in which faces act.

    Args:
        count: Number of frames, 25 a second.
        faces: Number of faces; the second comes later and goes earlier, and so on.
        tasks: Of EXPR, AU and VA.
        spread: Whether there are several seeds.
        seed: Seed of the acting.
        size: Width and height in pixels.
        **changes: Fields that are otherwise.
    """
    values = {
        "name": "conversation",
        "path": pathlib.Path("conversation.mp4"),
        "times_s": np.arange(count) / FPS,
        "fps": float(FPS),
        "width": size[0],
        "height": size[1],
        "tasks": tuple(tasks),
        "thresholds": {"AU": np.full(12, 0.5)} if AU in tasks else {},
        "faces": tuple(
            _face(i, count, faces, tasks, spread, seed, size) for i in range(faces)
        ),
        "audio_used": True,
        "with_spread": tuple(task.name for task in tasks) if spread else (),
        "settings": {"models": ["drawn"], "smooth": 0.5},
    }
    return Predicted(**(values | changes))


def _face(
    number: int,
    count: int,
    faces: int,
    tasks: Sequence[Task],
    spread: bool,
    seed: int,
    size: tuple[int, int],
) -> PredictedFace:
    rng = np.random.default_rng([seed, number])
    first = 1 + int(number * count * 0.07)
    last = max(first + 1, count - int(number * count * 0.05))
    frame = np.arange(first, last + 1, dtype=np.int32)
    rows = len(frame)
    acts = _acts(rows, rng)
    scores = {
        "EXPR": acts,
        "AU": _blended(acts, _units_of()) * 0.9 + 0.04,
        "VA": _blended(acts, np.array([_VALUES[name] for name in EXPR.columns])),
    }
    for name, noise in (("AU", 0.06), ("VA", 0.05)):
        low = 0.0 if name == "AU" else -1.0
        wave = _wave(rows, scores[name].shape[1], rng, FPS)
        scores[name] = np.clip(scores[name] + noise * wave, low, 1.0)
    found = np.ones(rows, bool)
    filled = np.zeros(rows, bool)
    for _ in range(max(1, rows // 300)):  # the face turns away
        begin = int(rng.integers(0, max(1, rows - 30)))
        found[begin : begin + 20] = False
        filled[begin : begin + 8] = True
    lost = ~found & ~filled
    boxes = _boxes(frame, number, faces, size, rng)
    boxes[~found] = np.nan
    kept = {}
    for task in tasks:
        kept[task.name] = scores[task.name].astype(np.float32)
        kept[task.name][lost] = np.nan
    wide = {
        task.name: np.float32(0.03)
        + np.float32(0.09) * np.abs(_wave(rows, task.num_outputs, rng, 60)).astype("f4")
        for task in tasks
        if spread
    }
    audio = (np.sin(frame / 90 + number) > -0.5) & ~lost
    return PredictedFace(
        number + 1,
        frame,
        success=found,
        confidence=np.where(found, 0.93, np.nan),
        boxes=boxes,
        embedded=found,
        filled=filled,
        raw=kept,
        scores=kept,
        spread=wide,
        audio_used=audio,
    )


def _acts(rows: int, rng: np.random.Generator) -> np.ndarray:
    """Probabilities of the eight expressions, one after another."""
    logits = np.zeros((rows, 8))
    at, turn = 0, int(rng.integers(0, 3))
    while at < rows:
        length = int(rng.integers(30, 90))
        code = EXPR.columns.index(_SCRIPT[turn % len(_SCRIPT)])
        logits[at : at + length, code] = rng.uniform(2.5, 4.5)
        at, turn = at + length, turn + 1
    kernel = np.hanning(25) / np.hanning(25).sum()
    padded = np.pad(logits, ((12, 12), (0, 0)), mode="edge")
    smooth = np.stack([np.convolve(c, kernel, "valid") for c in padded.T], axis=1)
    smooth += 0.25 * _wave(rows, 8, rng, 12)
    powers = np.exp(smooth)
    return powers / powers.sum(axis=1, keepdims=True)


def _wave(rows: int, columns: int, rng: np.random.Generator, length: int) -> np.ndarray:
    """Slow noise of unit size."""
    knots = rows // length + 3
    at = np.arange(rows) / length
    made = rng.normal(size=(knots, columns))
    return np.stack([np.interp(at, np.arange(knots), c) for c in made.T], axis=1)


def _units_of() -> np.ndarray:
    units = [int(name[2:]) for name in AU.columns]
    return np.array([[float(u in _UNITS[n]) for u in units] for n in EXPR.columns])


def _blended(acts: np.ndarray, of_class: np.ndarray) -> np.ndarray:
    return acts @ of_class


def _boxes(
    frame: np.ndarray,
    number: int,
    faces: int,
    size: tuple[int, int],
    rng: np.random.Generator,
) -> np.ndarray:
    columns = min(faces, 4)
    lines = -(-faces // columns)
    width, height = size[0] / columns, size[1] / lines
    side = 0.52 * min(width, height)
    x = width * (number % columns + 0.5) + 0.12 * width * np.sin(frame / 45 + number)
    y = height * (number // columns + 0.5) + 0.07 * height * np.cos(frame / 31 + number)
    jitter = rng.normal(scale=side * 0.004, size=(len(frame), 2))
    corners = np.stack([x, y], axis=1) - side / 2 + jitter
    return np.concatenate([corners, np.full((len(frame), 2), side)], axis=1)


def drawn(
    predicted: Predicted, index: int, size: tuple[int, int] | None = None
) -> np.ndarray:
    """The picture of a frame, by its place: each face at its box, as it is scored."""
    width, height = size or (predicted.width, predicted.height)
    scale = width / predicted.width
    big = Image.new("RGB", (2 * width, 2 * height), "#c9d6df")
    drawing = ImageDraw.Draw(big)
    drawing.rectangle((0, 1.56 * height, 2 * width, 2 * height), fill="#8fa3b1")
    for face in predicted.faces:
        row = index + predicted.first_frame - int(face.frame[0])
        if not 0 <= row < len(face.frame) or np.isnan(face.boxes[row, 0]):
            continue
        values = face.scores.get("VA")
        valence, arousal = (0.0, 0.0) if values is None else values[row].tolist()
        _draw_face(drawing, face.boxes[row] * 2 * scale, face.face_id, valence, arousal)
    return np.asarray(big.resize((width, height), Image.Resampling.BILINEAR))


def _draw_face(
    drawing: ImageDraw.ImageDraw,
    box: np.ndarray,
    face_id: int,
    valence: float,
    arousal: float,
) -> None:
    x, y, side, _ = box.tolist()
    skin = ("#f2c9a1", "#8d5b3f", "#e3b08a", "#5f3d2b")[face_id % 4]
    hair = ("#4b3222", "#1d1512", "#c9a227", "#777777")[face_id % 4]
    at = lambda u, v: (x + u * side, y + v * side)  # noqa: E731
    drawing.ellipse((*at(-0.03, -0.14), *at(1.03, 0.8)), fill=hair)
    drawing.rectangle((*at(0.36, 0.95), *at(0.64, 1.35)), fill=skin)
    drawing.ellipse((*at(-0.35, 1.2), *at(1.35, 2.6)), fill="#38618c")
    drawing.ellipse((*at(0.04, -0.02), *at(0.96, 1.12)), fill=skin)
    opened = 0.035 + 0.06 * max(0.0, arousal)
    for u in (0.32, 0.68):
        drawing.ellipse(
            (*at(u - 0.08, 0.42 - opened), *at(u + 0.08, 0.42 + opened)), fill="white"
        )
        drawing.ellipse(
            (*at(u - 0.032, 0.42 - 0.032), *at(u + 0.032, 0.42 + 0.032)), fill="#222222"
        )
        inner = 0.28 + 0.05 * min(0.0, valence) * (1 if arousal < 0 else -1.3)
        outer = 0.28 - 0.05 * max(0.0, arousal)
        ends = (inner, outer) if u > 0.5 else (outer, inner)
        line = (*at(u - 0.1, ends[0]), *at(u + 0.1, ends[1]))
        drawing.line(line, fill=hair, width=max(2, int(side * 0.035)))
    drawing.line(
        (*at(0.5, 0.48), *at(0.47, 0.64), *at(0.52, 0.65)),
        fill="#00000055",
        width=max(1, int(side * 0.015)),
    )
    curve = 0.16 * valence
    gap = 0.09 * max(0.0, arousal - 0.2)
    u = np.linspace(0.3, 0.7, 21)
    bow = 1 - ((u - 0.5) / 0.2) ** 2
    upper = [
        at(a, 0.82 + curve * (b - 0.5) - gap * b * 0.4)
        for a, b in zip(u, bow, strict=True)
    ]
    lower = [
        at(a, 0.84 + curve * (b - 0.5) + gap * b) for a, b in zip(u, bow, strict=True)
    ]
    drawing.polygon([*upper, *reversed(lower)], fill="#8c2f39")
    drawing.line(upper, fill="#6d1f2a", width=max(2, int(side * 0.025)), joint="curve")


def write_acted_video(
    path: pathlib.Path,
    predicted: Predicted,
    codec: str = "libx264",
    *,
    size: tuple[int, int] | None = None,
    every: int = 1,
) -> Predicted:
    """Write the video of acting faces; what is predicted of it, then with this path.

    Args:
        path: File to write.
        predicted: As of :func:`acted`.
        codec: libav's name of the encoder.
        size: Width and height of the video's pictures; None: as predicted.
        every: A picture is drawn every so many frames and stays.
    """
    with av.open(os.fspath(path), "w") as container:
        options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
        video = container.add_stream(codec, rate=FPS, options={"g": "25", **options})
        video.width, video.height = size or (predicted.width, predicted.height)
        video.pix_fmt = "yuv420p"
        for index in range(predicted.num_frames):
            if index % every == 0:
                image = drawn(predicted, index, size)
            picture = av.VideoFrame.from_ndarray(image)
            picture.pts, picture.time_base = index, Fraction(1, FPS)
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
    return dataclasses.replace(predicted, path=path)
