"""Videos with a flash and a beep at one time, trimmed without encoding them anew."""

import os
import pathlib
import struct
from collections.abc import Mapping
from fractions import Fraction

import av
import numpy as np

FPS, RATE_HZ = 25, 16_000
BEEP_S = 1.2  # when the flash and the beep begin
_SIZE = (64, 48)  # width, height


def flash_and_beep(
    path: pathlib.Path,
    codecs: tuple[str, str] = ("libx264", "aac"),
    *,
    pictures_s: float = 2.0,
    sound_s: float = 2.0,
    form: Mapping[str, str] | None = None,
) -> pathlib.Path:
    """A video, dark and silent but for one white picture and 0.04 s of noise.

    Args:
        path: File to write.
        codecs: libav's names of the encoders of pictures and sound.
        pictures_s: Length of the pictures, 25 a second, a key frame each 12.
        sound_s: Length of the sound.
        form: Options of the container.
    """
    rate_hz = 44_100 if codecs[1] == "mp2" else RATE_HZ
    with av.open(os.fspath(path), "w", options=dict(form or {})) as container:
        video = container.add_stream(codecs[0], rate=FPS, options={"g": "12"})
        video.width, video.height = _SIZE
        video.pix_fmt = "yuv420p"
        sound = container.add_stream(codecs[1], rate=rate_hz, layout="mono")
        for number in range(round(pictures_s * FPS)):
            value = 255 if number == round(BEEP_S * FPS) else 16
            image = np.full((_SIZE[1], _SIZE[0], 3), value, np.uint8)
            picture = av.VideoFrame.from_ndarray(image)
            picture.pts, picture.time_base = number, Fraction(1, FPS)
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
        wave = np.zeros(round(sound_s * rate_hz), np.float32)
        start = round(BEEP_S * rate_hz)
        noise = np.random.default_rng(0).uniform(-0.9, 0.9, rate_hz // 25)
        wave[start : start + len(noise)] = noise
        resampler = av.AudioResampler(sound.codec_context.format, "mono", rate_hz)
        size = sound.codec_context.frame_size or 1024
        for at in range(0, len(wave), size):
            frame = av.AudioFrame.from_ndarray(
                wave[None, at : at + size], "fltp", "mono"
            )
            frame.sample_rate, frame.time_base = rate_hz, Fraction(1, rate_hz)
            frame.pts = at
            for made in resampler.resample(frame):
                container.mux(sound.encode(made))
        container.mux(sound.encode(None))
    return path


def shifted(
    path: pathlib.Path, out: pathlib.Path, *, pictures_s: float, sound_s: float
) -> pathlib.Path:
    """The same packets, so many seconds earlier; in MP4 an edit list hides some.

    Args:
        path: The video.
        out: File to write, of any format.
        pictures_s: Seconds by which pictures are shown earlier; below 0: later.
        sound_s: The same of the sound.
    """
    with av.open(os.fspath(path)) as source, av.open(os.fspath(out), "w") as container:
        tracks = [container.add_stream_from_template(one) for one in source.streams]
        for packet in source.demux():
            if packet.dts is None or packet.pts is None:
                continue
            earlier_s = pictures_s if packet.stream.type == "video" else sound_s
            ticks = round(earlier_s / packet.time_base)
            packet.pts -= ticks
            packet.dts -= ticks
            packet.stream = tracks[packet.stream_index]
            container.mux(packet)
    return out


def ended_early(
    path: pathlib.Path, out: pathlib.Path, *, pictures_s: float, sound_s: float
) -> pathlib.Path:
    """An MP4 whose edit lists end after so many seconds; no byte else is changed.

    Args:
        path: An MP4 with one edit for each track.
        out: File to write.
        pictures_s: Seconds of pictures that are shown.
        sound_s: Seconds of sound that are heard.
    """
    data = bytearray(path.read_bytes())
    (ticks,) = struct.unpack_from(">I", data, data.index(b"mvhd") + 16)
    at = data.find(b"elst")
    while at >= 0:
        kind = data.find(b"hdlr", at) + 12
        shown_s = pictures_s if data[kind : kind + 4] == b"vide" else sound_s
        assert struct.unpack_from(">I", data, at + 8) == (1,)
        struct.pack_into(">I", data, at + 12, round(shown_s * ticks))
        at = data.find(b"elst", at + 4)
    out.write_bytes(data)
    return out


def without_lengths(path: pathlib.Path) -> pathlib.Path:
    """The Matroska file, its tags of the tracks' lengths made unreadable in place."""
    data = path.read_bytes()
    assert data.count(b"DURATION") >= 2
    path.write_bytes(data.replace(b"DURATION", b"NO_DURAT"))
    return path
