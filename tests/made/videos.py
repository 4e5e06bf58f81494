"""Small videos whose pictures tell their number by how bright they are."""

import os
import pathlib
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import av
import numpy as np

SIZE = (64, 48)  # width, height
_SOUND_HZ = 16_000


def brightness(number: int) -> int:
    """Of picture ``number``, from 0; neighbours differ by 35 or more."""
    return 20 + 5 * (number * 7 % 41)


def numbers_of(pictures: Sequence[np.ndarray], candidates: int) -> list[int]:
    """Which of ``candidates`` pictures each is, by its middle."""
    known = np.array([brightness(i) for i in range(candidates)])
    found = []
    for picture in pictures:
        height, width, _ = picture.shape
        middle = picture[height // 3 : -height // 3, width // 3 : -width // 3]
        found.append(int(np.abs(known - middle.mean()).argmin()))
    return found


def encode(
    path: pathlib.Path,
    codec: str,
    count: int = 30,
    *,
    fps: int = 25,
    stamps: Sequence[int] | None = None,
    ticks: int = 1000,
    size: tuple[int, int] = SIZE,
    options: dict[str, str] | None = None,
    form: dict[str, str] | None = None,
    noise: int = 0,
    sound_start_s: float | None = None,
    turned: dict | None = None,
) -> pathlib.Path:
    """A video of ``count`` pictures at ``fps``, or at ``stamps`` in 1 / ``ticks`` s.

    Args:
        path: To write to.
        codec: libav's name of the encoder.
        count: How many pictures; without stamps.
        fps: Pictures a second; without stamps.
        stamps: One time for each picture.
        ticks: A second's.
        size: Width and height.
        options: Of the encoder.
        form: Options of the container.
        noise: Of the outer parts, so that a picture has many bytes.
        sound_start_s: When a track of sound starts. None: there is none.
        turned: For the display matrix, as PyAV takes it.
    """
    base = Fraction(1, fps if stamps is None else ticks)
    numbers = range(count) if stamps is None else stamps
    random = np.random.default_rng(0)
    with av.open(os.fspath(path), "w", options=form or {}) as container:
        video = container.add_stream(codec, rate=fps, options=options or {})
        video.width, video.height = size
        video.bit_rate = 4_000_000
        video.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        video.codec_context.time_base = base
        if turned is not None:
            video.set_display_rotation(**turned)
        sound = None
        if sound_start_s is not None:
            sound = container.add_stream("pcm_s16le", rate=_SOUND_HZ, layout="mono")
        for i, stamp in enumerate(numbers):
            image = np.full((size[1], size[0], 3), brightness(i), np.uint8)
            if noise:
                edge = image[: size[1] // 3]
                edge[:] = random.integers(0, noise, edge.shape)
            picture = av.VideoFrame.from_ndarray(image)
            picture.pts, picture.time_base = stamp, base
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
        if sound is not None:
            frame = av.AudioFrame.from_ndarray(
                np.ones((1, _SOUND_HZ), np.int16), "s16", "mono"
            )
            frame.sample_rate, frame.time_base = _SOUND_HZ, Fraction(1, _SOUND_HZ)
            frame.pts = round(sound_start_s * _SOUND_HZ)
            container.mux(sound.encode(frame))
            container.mux(sound.encode(None))
    return path


def encode_frames(
    path: pathlib.Path,
    codec: str,
    frames: Sequence[av.VideoFrame],
    *,
    aspect: Fraction | None = None,
    told: Mapping[str, int] | None = None,
    options: Mapping[str, str] | None = None,
    turned: Mapping[str, Any] | None = None,
) -> pathlib.Path:
    """A video of these pictures in their own format, 25 a second.

    Args:
        path: File to write.
        codec: libav's name of the encoder.
        frames: The pictures, all of the size and format of the first.
        aspect: Width of a pixel by its height, told by container and codec.
        told: What the file tells of its colours: attributes of the encoder such as
            ``color_trc``, with their numbers.
        options: Options of the encoder.
        turned: The display matrix, as PyAV takes it.
    """
    with av.open(os.fspath(path), "w") as container:
        video = container.add_stream(codec, rate=25, options=dict(options or {}))
        video.width, video.height = frames[0].width, frames[0].height
        video.pix_fmt = frames[0].format.name
        if aspect is not None:
            video.codec_context.sample_aspect_ratio = aspect
        for name, number in (told or {}).items():
            setattr(video.codec_context, name, number)
        if turned is not None:
            video.set_display_rotation(**turned)
        for number, frame in enumerate(frames):
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    return path


def ten_bits(codes: np.ndarray) -> av.VideoFrame:
    """A picture in 10 bits, 4:2:0, limited range, of Y, Cb, Cr: (height, width, 3).

    Args:
        codes: Y in [0, 1], Cb and Cr in [-0.5, 0.5]; even sizes.
    """
    height, width, _ = codes.shape
    frame = av.VideoFrame(width, height, "yuv420p10le")
    luma = 64 + 876 * codes[..., 0]
    chroma = 512 + 896 * codes[::2, ::2, 1:]
    for plane, values in zip(
        frame.planes, (luma, chroma[..., 0], chroma[..., 1]), strict=True
    ):
        rows = np.zeros((plane.height, plane.line_size // 2), "<u2")
        rows[:, : plane.width] = np.round(values)
        plane.update(rows.tobytes())
    return frame
