"""Videos of drawn faces that move and hum, with their boxes and labels.

Whoever has no video and no weights at hand can walk the whole way with them, from
videos to a table of predictions. The drawing follows two curves, so what a model should
find is known: valence bends the mouth and tilts the brows, arousal opens the eyes and
lifts and strengthens the hum. A model trained on drawings knows drawings alone, and
what it says of a real face means nothing.
"""

import dataclasses
import math
import os
import pathlib
from fractions import Fraction

import av
import numpy as np
from jaxtyping import Float, Int16, UInt8
from PIL import Image, ImageDraw

SIZE_PX = (320, 240)  # width, height
FPS = 25
_SOUND_HZ = 16_000
_PER_PX = 2  # drawn larger, then reduced, so that lines are smooth
_SKINS = ("#f1c9a5", "#c68863", "#8d5a3b", "#e0ac7e", "#5c3a28")
_WALLS = ("#d8e2dc", "#cddafd", "#fff1e6", "#e2ece9", "#eae4e9")
_HEADER = "valence,arousal"


@dataclasses.dataclass(frozen=True, eq=False)
class DrawnVideo:
    """A video that was drawn, and what it shows.

    Attributes:
        path: The video, H.264 and AAC in MP4.
        faces: The table of its face in each frame, for ``--boxes``.
        valence: What the mouth and the brows show in each frame, -1 to 1.
        arousal: What the eyes and the sound show in each frame, -1 to 1.
    """

    path: pathlib.Path
    faces: pathlib.Path
    valence: Float[np.ndarray, " frames"]
    arousal: Float[np.ndarray, " frames"]


def write_drawn_videos(
    folder: str | os.PathLike[str],
    *,
    count: int = 8,
    num_validation: int = 2,
    duration_s: float = 8.0,
    seed: int = 0,
) -> list[DrawnVideo]:
    """Draw videos, each of another face, as a small corpus with official annotations.

    Written are ``videos/NAME.mp4``, ``faces/NAME.csv`` and
    ``Annotations/VA_Estimation_Challenge/{Train,Validation}_Set/NAME.txt``. The same
    arguments give the same pictures, sound and labels.

    Args:
        folder: Where all comes; made if missing.
        count: Number of videos, called ``drawn1``, ``drawn2``, ...
        num_validation: How many of them, the last ones, are the validation set.
        duration_s: Length of each, in seconds.
        seed: Seed of the faces and of the curves.

    Raises:
        ValueError: If there is no video or no frame to draw, or more of validation than
            there are.
        OSError: If a file cannot be written.
    """
    num_frames = round(duration_s * FPS)
    if count < 1 or not 0 <= num_validation <= count or num_frames < 1:
        raise ValueError(
            f"{count} videos of {duration_s:g} s, {num_validation} of them of "
            "validation; expected one or more of a frame or longer, and no more of "
            "validation than there are: correct the numbers"
        )
    root = pathlib.Path(folder)
    labels = root / "Annotations" / "VA_Estimation_Challenge"
    for place in (root / "videos", root / "faces"):
        place.mkdir(parents=True, exist_ok=True)
    done = []
    for index in range(count):
        name = f"drawn{index + 1}"
        rng = np.random.default_rng([seed, index])
        valence, arousal = _curve(rng, num_frames), _curve(rng, num_frames)
        points = _landmarks(rng, valence, arousal)
        one = DrawnVideo(
            root / "videos" / f"{name}.mp4",
            root / "faces" / f"{name}.csv",
            valence,
            arousal,
        )
        _write_video(one.path, points, _hum(rng, arousal), index)
        _write_faces(one.faces, points)
        is_validation = index >= count - num_validation
        split = labels / ("Validation_Set" if is_validation else "Train_Set")
        split.mkdir(parents=True, exist_ok=True)
        rows = [f"{v:.4f},{a:.4f}" for v, a in zip(valence, arousal, strict=True)]
        (split / f"{name}.txt").write_text("\n".join([_HEADER, *rows, ""]), "utf-8")
        done.append(one)
    return done


def _curve(rng: np.random.Generator, num_frames: int) -> Float[np.ndarray, " frames"]:
    """A smooth curve that goes through much of -1 to 1, within 2 to 7 s a wave."""
    time_s = np.arange(num_frames) / FPS
    waves = [
        np.sin(2 * np.pi * (time_s / period_s + phase))
        for period_s, phase in zip(
            rng.uniform(2, 7, 3), rng.uniform(0, 1, 3), strict=True
        )
    ]
    return np.tanh(np.sum(waves, axis=0) * 0.9)


def _landmarks(
    rng: np.random.Generator,
    valence: Float[np.ndarray, " frames"],
    arousal: Float[np.ndarray, " frames"],
) -> Float[np.ndarray, "frames 68 2"]:
    """The 68 landmarks of a face that moves about, in pixels, ordered as iBUG's are."""
    count = len(valence)
    wide, long = rng.uniform(0.9, 1.1, 2)
    v, a = valence[:, None], (arousal[:, None] + 1) / 2
    still = np.zeros((count, 1))

    def line(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.stack(np.broadcast_arrays(x, y + still), axis=-1)

    angle = np.pi * (1 - np.linspace(0, 1, 17))
    jaw = line(wide * np.cos(angle), -0.15 + 1.15 * long * np.sin(angle))
    parts = [jaw]
    across = np.linspace(-1, 1, 5)
    tilt = 0.12 * np.minimum(v, 0)  # inner ends rise with low valence
    for side in (-1, 1):
        brow_y = -0.48 - 0.06 * (1 - across**2) - 0.12 * a - tilt * across * side
        parts.append(line(0.42 * side + 0.2 * across, brow_y))
    parts.append(line(np.zeros(4), np.linspace(-0.3, 0.1, 4)))
    parts.append(line(np.linspace(-0.13, 0.13, 5), 0.18 - 0.04 * (1 - across**2)))
    eye = np.pi * np.array([1, 2 / 3, 1 / 3, 0, -1 / 3, -2 / 3])
    for side in (-1, 1):
        lid = 0.04 + 0.09 * a
        parts.append(line(0.42 * side + 0.15 * np.cos(eye), -0.25 - lid * np.sin(eye)))
    for half, turns, gap in ((0.36, 12, 0.1), (0.3, 8, 0.04)):
        lip = np.pi * (1 - 2 * np.arange(turns) / turns)
        x = half * np.cos(lip) * (1 + 0.15 * v)
        bend = 0.16 * v * (1 - 2 * (x / half) ** 2)
        parts.append(line(x, 0.52 + bend - (gap + 0.05 * a) * np.sin(lip)))
    face = np.concatenate(parts, axis=1)
    return _moved(rng, face)


def _moved(
    rng: np.random.Generator, face: Float[np.ndarray, "frames points 2"]
) -> Float[np.ndarray, "frames points 2"]:
    """The face in the picture: it drifts, nods a little and comes nearer."""
    count = len(face)
    sway, nod, near = (_curve(rng, count) for _ in range(3))
    turn = 0.12 * _curve(rng, count)
    scale = 62 + 6 * near
    cosine, sine = np.cos(turn), np.sin(turn)
    turned = np.stack(
        [
            face[..., 0] * cosine[:, None] - face[..., 1] * sine[:, None],
            face[..., 0] * sine[:, None] + face[..., 1] * cosine[:, None],
        ],
        axis=-1,
    )
    middle = np.stack([SIZE_PX[0] / 2 + 40 * sway, SIZE_PX[1] / 2 + 8 * nod], axis=-1)
    return middle[:, None] + scale[:, None, None] * turned


def _hum(
    rng: np.random.Generator, arousal: Float[np.ndarray, " frames"]
) -> Int16[np.ndarray, " samples"]:
    """A voice-like hum that is higher and louder with arousal."""
    per_frame = _SOUND_HZ // FPS
    count = len(arousal) * per_frame
    level = np.interp(np.arange(count) / per_frame, np.arange(len(arousal)), arousal)
    pitch_hz = rng.uniform(110, 180) * 2 ** (0.5 * level)
    phase = 2 * np.pi * np.cumsum(pitch_hz) / _SOUND_HZ
    tone = sum(np.sin(k * phase) / k for k in range(1, 9))
    loud = 10 ** (0.5 * (level - 1))
    noise = rng.standard_normal(count)
    return np.round(6000 * loud * tone + 40 * noise).astype(np.int16)


def _picture(
    points: Float[np.ndarray, "68 2"], look: int
) -> UInt8[np.ndarray, "height width 3"]:
    """The drawing of a face.

    Args:
        points: Its landmarks in pixels.
        look: Which colours it has.
    """
    width, height = SIZE_PX
    image = Image.new(
        "RGB", (width * _PER_PX, height * _PER_PX), _WALLS[look % len(_WALLS)]
    )
    pen = ImageDraw.Draw(image)
    dots = [tuple(float(value) for value in _PER_PX * point) for point in points]
    line_px = 3 * _PER_PX
    # From ear to ear over the top of the head: the jaw's line turned about its middle.
    top = points[0] + points[16] - points[1:16]
    crown = [tuple(float(value) for value in _PER_PX * point) for point in top]
    pen.polygon([*dots[:17], *crown], fill=_SKINS[look % len(_SKINS)])
    pen.line(dots[:17], fill="#40302a", width=line_px // 2)
    pen.line([dots[16], *crown, dots[0]], fill="#40302a", width=line_px // 2)
    for first, last in ((17, 22), (22, 27)):
        pen.line(dots[first:last], fill="#2d1e18", width=2 * line_px, joint="curve")
    pen.line([dots[27], dots[30]], fill="#7a5544", width=line_px // 2)
    pen.line(dots[31:36], fill="#7a5544", width=line_px, joint="curve")
    for first, last in ((36, 42), (42, 48)):
        pen.polygon(dots[first:last], fill="white", outline="#2d1e18", width=_PER_PX)
        x, y = np.mean(dots[first:last], axis=0)
        r = 0.055 * math.dist(dots[0], dots[16]) / 2
        pen.ellipse((x - r, y - r, x + r, y + r), fill="#20130e")
    pen.polygon(dots[48:60], fill="#a8434b")
    pen.polygon(dots[60:68], fill="#3a0f14")
    return np.asarray(image.resize(SIZE_PX, Image.Resampling.BOX))


def _write_video(
    path: pathlib.Path,
    points: Float[np.ndarray, "frames 68 2"],
    sound: Int16[np.ndarray, " samples"],
    look: int,
) -> None:
    """Write the video of a face, with its sound."""
    with av.open(os.fspath(path), "w") as container:
        pictures = container.add_stream("libx264", rate=FPS, options={"crf": "18"})
        pictures.width, pictures.height = SIZE_PX
        pictures.pix_fmt = "yuv420p"
        track = container.add_stream("aac", rate=_SOUND_HZ, layout="mono")
        for number, face in enumerate(points):
            frame = av.VideoFrame.from_ndarray(_picture(face, look), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(pictures.encode(frame))
        container.mux(pictures.encode(None))
        samples = av.AudioFrame.from_ndarray(sound[None], "s16", "mono")
        samples.sample_rate, samples.pts = _SOUND_HZ, 0
        container.mux(track.encode(samples))
        container.mux(track.encode(None))


def _write_faces(path: pathlib.Path, points: Float[np.ndarray, "frames 68 2"]) -> None:
    """Write the box of a face in each frame, in the columns of predictions.csv."""
    lines = ["frame,timestamp,FaceRectX,FaceRectY,FaceRectWidth,FaceRectHeight"]
    near, far = points.min(axis=1), points.max(axis=1)
    for number, (corner, size) in enumerate(zip(near, far - near, strict=True)):
        cells = [f"{value:.2f}" for value in (*corner, *size)]
        lines.append(",".join([str(number + 1), f"{number / FPS:.2f}", *cells]))
    path.write_text("\n".join([*lines, ""]), "utf-8")
