"""Pixels, samples and times of fixed files, as this decoding version has them.

The files lie in ``tests/golden/decoding.npz``, so that no encoder's release changes
them. A decoder that gives other numbers makes other features: where a test here fails
with a new release, that release either stays out (setup.cfg), or ``DECODING_VERSIONS``
is raised and ``PYTHONPATH=.:tests python tests/media/test_decoding.py`` writes the
numbers anew.
"""

import pathlib
from fractions import Fraction

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace
from PIL import Image

from avemo_jax.media.audio import open_sound
from avemo_jax.media.decoding import DECODING_VERSIONS, decoders
from avemo_jax.media.images import read_image
from avemo_jax.media.video import open_video

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "decoding.npz"
SIZE = (64, 48)  # width, height
TAKEN_HZ = 16_000  # the rate that sound is resampled to
RED = (200, 60, 40)  # BT.709 read as BT.601 is (186, 46, 41)
# Of 255. The colour models' rounding takes 3, the instructions of a processor 2.
COLOUR, PIXEL = 3, 2
SAMPLE = 1e-4  # of full scale
VIDEOS = ("h264_709.mp4", "h264_601.mp4", "h264_untold.mp4", "mjpeg_full.avi")
MORE_VIDEOS = ("vp9_709.webm", "hevc_10_bits.mkv", "mpeg4_untold.avi")
SOUNDS = ("pcm.wav", "flac.flac", "mp3.mp3", "aac.m4a", "opus.mkv")
PICTURES = ("plain.jpg", "turned.jpg", "grey_16_bits.png")


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN) as file:
        return dict(file)


@pytest.fixture
def place(golden, tmp_path):
    """Writes a file of the golden ones, and gives its path."""

    def written(name: str) -> pathlib.Path:
        (tmp_path / name).write_bytes(golden[f"{name}/file"].tobytes())
        return tmp_path / name

    return written


def test_the_numbers_here_are_those_of_these_versions():
    assert DECODING_VERSIONS == {"pictures": 0, "video": 2, "sound": 1}


@pytest.mark.parametrize("name", [*VIDEOS, *MORE_VIDEOS])
def test_pixels_and_times_of_videos(name, place, golden):
    video = open_video(place(name))
    found = np.stack(list(video.pictures()))
    np.testing.assert_allclose(
        found[[0, -1]].astype(float), golden[f"{name}/pictures"], rtol=0, atol=PIXEL
    )
    times = video.frame_times().times_s
    np.testing.assert_allclose(times, golden[f"{name}/times_s"], rtol=0, atol=1e-9)
    # What was drawn, apart from all decoders.
    red = found[:, 28:36, 8:24].astype(float)
    np.testing.assert_allclose(red.mean(axis=(1, 2)), [RED] * len(red), atol=COLOUR)


@pytest.mark.parametrize("name", SOUNDS)
def test_samples_of_sounds(name, place, golden):
    found = np.concatenate(list(open_sound(place(name)).blocks(TAKEN_HZ)))
    expected = golden[f"{name}/samples"]
    assert len(found) == len(expected)
    np.testing.assert_allclose(found, expected, rtol=0, atol=SAMPLE)
    # What was drawn, apart from all decoders; lossy ones change its 0.3 by a tenth.
    drawn, middle = tone(TAKEN_HZ), slice(TAKEN_HZ // 50, TAKEN_HZ // 8)
    assert np.abs(found[middle] - drawn[middle]).max() < 0.03


@pytest.mark.parametrize("name", PICTURES)
def test_pixels_of_pictures(name, place, golden):
    found = read_image(place(name)).astype(float)
    np.testing.assert_allclose(found, golden[f"{name}/pixels"], rtol=0, atol=PIXEL)


@pytest.mark.parametrize(
    ("medium", "names"),
    [
        ("pictures", {"Pillow"}),
        ("video", {"av", "libavcodec", "libavformat", "libswscale"}),
        ("sound", {"av", "libavcodec", "libavformat", "libswresample", "soxr"}),
    ],
)
def test_decoders_are_named_with_exact_versions(medium, names):
    found = decoders(medium)
    assert names <= set(found)
    assert all(version.count(".") >= 1 for version in found.values())


def drawing(number: int) -> np.ndarray:
    """RGB of one picture: ramps above, red to the left below, coloured squares."""
    y, x = np.mgrid[: SIZE[1], : SIZE[0]]
    image = np.stack([4 * x, 5 * y, 2 * (x + y) + 20 * number], -1) % 256
    image[20:, :32] = RED
    squares = np.random.default_rng(number).integers(0, 256, (7, 8, 3))
    image[20:, 32:] = squares.repeat(4, 0).repeat(4, 1)
    return image.astype(np.uint8)


def tone(rate_hz: int) -> np.ndarray:
    """0.15 s of a rising tone: (samples, 1)."""
    time_s = np.arange(round(0.15 * rate_hz)) / rate_hz
    wave = 0.3 * np.sin(2 * np.pi * (200 + 800 * time_s) * time_s)
    return wave.astype(np.float32)[:, None]


def write_video(
    path: pathlib.Path,
    codec: str,
    form: str = "yuv420p",
    space: Colorspace | None = None,
    options: dict[str, str] | None = None,
) -> None:
    """Four pictures at 25 a second; ``space`` is told in the file, unless None."""
    with av.open(str(path), "w") as container:
        track = container.add_stream(codec, rate=25, options=options or {})
        track.width, track.height = SIZE
        track.pix_fmt, track.bit_rate = form, 1_000_000
        if space is not None:
            track.codec_context.colorspace = space
            track.codec_context.color_range = ColorRange.MPEG
        for number in range(4):
            picture = av.VideoFrame.from_ndarray(drawing(number)).reformat(
                format=form, dst_colorspace=space or Colorspace.ITU601
            )
            picture.pts, picture.time_base = number, Fraction(1, 25)
            container.mux(track.encode(picture))
        container.mux(track.encode(None))


def write_sound(path: pathlib.Path, codec: str, rate_hz: int = 48_000) -> None:
    """The tone, mono, at a rate that every codec takes."""
    with av.open(str(path), "w") as container:
        track = container.add_stream(codec, rate=rate_hz, layout="mono")
        resampler = av.AudioResampler(track.codec_context.format, "mono", rate_hz)
        size = track.codec_context.frame_size or 1024
        wave = tone(rate_hz).T
        for start in range(0, wave.shape[1], size):
            piece = np.ascontiguousarray(wave[:, start : start + size])
            frame = av.AudioFrame.from_ndarray(piece, "fltp", "mono")
            frame.sample_rate, frame.pts = rate_hz, start
            frame.time_base = Fraction(1, rate_hz)
            for made in resampler.resample(frame):
                container.mux(track.encode(made))
        container.mux(track.encode(None))


def write_golden(folder: pathlib.Path) -> None:
    """Write the files anew into ``folder``, and with their numbers into ``GOLDEN``."""
    fine = {"qp": "8"}
    bt709, bt601 = Colorspace.ITU709, Colorspace.ITU601
    write_video(folder / "h264_709.mp4", "libx264", space=bt709, options=fine)
    write_video(folder / "h264_601.mp4", "libx264", space=bt601, options=fine)
    write_video(folder / "h264_untold.mp4", "libx264", options=fine)
    write_video(folder / "mjpeg_full.avi", "mjpeg", "yuvj420p")
    write_video(folder / "vp9_709.webm", "libvpx-vp9", space=bt709)
    hevc = {"x265-params": "log-level=none:qp=8"}
    write_video(
        folder / "hevc_10_bits.mkv", "libx265", "yuv420p10le", bt709, options=hevc
    )
    write_video(folder / "mpeg4_untold.avi", "mpeg4")
    codecs = ("pcm_s16le", "flac", "libmp3lame", "aac", "libopus")
    for name, codec in zip(SOUNDS, codecs, strict=True):
        write_sound(folder / name, codec)
    image = Image.fromarray(drawing(0))
    image.save(folder / "plain.jpg", quality=90)
    tags = Image.Exif()
    tags[0x0112] = 6  # turned by a quarter
    image.save(folder / "turned.jpg", quality=75, exif=tags, progressive=True)
    grey = drawing(1)[..., 0].astype(np.uint16) * 257
    Image.fromarray(grey).save(folder / "grey_16_bits.png")
    arrays: dict[str, np.ndarray] = {}
    for path in sorted(folder.iterdir()):
        name = path.name
        arrays[f"{name}/file"] = np.frombuffer(path.read_bytes(), np.uint8)
        if name in SOUNDS:
            pieces = list(open_sound(path).blocks(TAKEN_HZ))
            arrays[f"{name}/samples"] = np.concatenate(pieces)
        elif name in PICTURES:
            arrays[f"{name}/pixels"] = read_image(path)
        else:
            video = open_video(path)
            arrays[f"{name}/pictures"] = np.stack(list(video.pictures()))[[0, -1]]
            arrays[f"{name}/times_s"] = video.frame_times().times_s
    np.savez_compressed(GOLDEN, **arrays)


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as made:
        write_golden(pathlib.Path(made))
