import io
import os
import pathlib
import struct
import tracemalloc
import wave
from fractions import Fraction

import av
import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from avemo_jax.media import audio, audio_decoding
from avemo_jax.media.audio import Sound, SoundError, open_sound

RATE = 48_000
CLICK = 24_000  # where a click is, in samples
LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}


def tones(count: int, channels: int = 1) -> np.ndarray:
    """Another tone on each channel, quiet, with a click on all: (n, channels)."""
    times = np.arange(count)[:, None] / RATE
    waves = 0.1 * np.sin(2 * np.pi * 110 * (1 + np.arange(channels)) * times)
    waves[CLICK : CLICK + 20] = 0.9
    return waves.astype(np.float32)


def add_pictures(container, codec: str, count: int, start: int) -> None:
    video = container.add_stream(codec, rate=25)
    video.width, video.height, video.pix_fmt = 32, 32, "yuv420p"
    for i in range(count):
        picture = av.VideoFrame.from_ndarray(np.full((32, 32, 3), i, np.uint8))
        picture.pts, picture.time_base = start + i, Fraction(1, 25)
        container.mux(video.encode(picture))
    container.mux(video.encode(None))


def encode(
    path: pathlib.Path,
    waves: np.ndarray,
    codec: str,
    form: str | None = None,
    *,
    rate: int = RATE,
    picture_start: int | None = None,
    start: int = 0,
    hole: tuple[int, int] = (0, 0),
    tracks: int = 1,
) -> pathlib.Path:
    """A file made of ``waves``; pictures from ``picture_start`` on, 25 a second."""
    layout = LAYOUTS[waves.shape[1]]
    with av.open(os.fspath(path), "w") as container:
        sounds = [
            container.add_stream(codec, rate=rate, layout=layout) for _ in range(tracks)
        ]
        if picture_start is not None:
            add_pictures(container, "mpeg4", len(waves) * 25 // rate, picture_start)
        for i, sound in enumerate(sounds):
            if form is not None:
                sound.codec_context.format = form
            if form == "s32" and codec == "flac":
                sound.codec_context.options = {"bits_per_raw_sample": "24"}
            resampler = av.AudioResampler(sound.codec_context.format, layout, rate)
            size = sound.codec_context.frame_size or 1024
            for at in range(0, len(waves), size):
                part = np.ascontiguousarray(waves[at : at + size].T) / (i + 1)
                frame = av.AudioFrame.from_ndarray(part.astype("f4"), "fltp", layout)
                frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
                for made in resampler.resample(frame):
                    made.pts = start + at + (hole[1] if at >= hole[0] else 0)
                    made.time_base = Fraction(1, rate)
                    container.mux(sound.encode(made))
            container.mux(sound.encode(None))
    return path


def whole(sound, rate: int = RATE) -> np.ndarray:
    empty = np.zeros((0, sound.num_channels), np.float32)
    return np.concatenate([empty, *sound.blocks(rate)])


def click_of(samples: np.ndarray) -> int:
    return int(np.argmax(np.abs(samples[:, 0]) > 0.5))


@pytest.fixture
def warned(monkeypatch) -> list[str]:
    """What is logged as a warning."""
    found: list[str] = []
    monkeypatch.setattr(
        audio.logging, "warning", lambda text, *values: found.append(text % values)
    )
    return found


LOSSLESS = [
    ("wav", "pcm_u8", None, 2.0**-7),
    ("wav", "pcm_s16le", None, 2.0**-15),
    ("wav", "pcm_s24le", None, 2.0**-23),
    ("wav", "pcm_s32le", None, 1e-7),
    ("wav", "pcm_f32le", None, 0),
    ("wav", "pcm_f64le", None, 0),
    ("flac", "flac", "s16", 2.0**-15),
    ("flac", "flac", "s32", 2.0**-23),
    ("m4a", "alac", "s16p", 2.0**-15),
]


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize(("ending", "codec", "form", "step"), LOSSLESS)
def test_lossless_sound_comes_as_written(
    ending, codec, form, step, channels, tmp_path, warned
):
    waves = tones(RATE + 777, channels)
    sound = open_sound(encode(tmp_path / f"a.{ending}", waves, codec, form))
    assert (sound.num_channels, sound.sample_rate_hz) == (channels, RATE)
    assert sound.num_streams == 1
    assert sound.duration_s == pytest.approx(len(waves) / RATE, abs=2e-3)
    for _ in range(2):
        samples = whole(sound)
        assert samples.dtype == np.float32
        # Some samples are cut where MP4 states the end in milliseconds.
        short = RATE // 1000 if ending == "m4a" else 0
        assert 0 <= len(waves) - len(samples) <= short
        np.testing.assert_allclose(samples, waves[: len(samples)], rtol=0, atol=step)
    assert sound.duration_s == len(samples) / RATE
    assert not warned


LOSSY = [
    ("mp3", "libmp3lame", None),
    ("m4a", "aac", None),
    ("ogg", "libopus", None),
    ("mp4", "aac", 0),
    ("mkv", "aac", 0),
    ("mkv", "libopus", 0),
    ("ts", "aac", 0),
]


@pytest.mark.parametrize(("ending", "codec", "picture_start"), LOSSY)
def test_what_encoders_add_is_left_out(ending, codec, picture_start, tmp_path, warned):
    waves = tones(RATE + 777, 2)
    path = encode(tmp_path / f"a.{ending}", waves, codec, picture_start=picture_start)
    samples = whole(open_sound(path))
    assert abs(click_of(samples) - CLICK) <= 3
    padded = 0 if ending in ("mp3", "m4a", "mp4") or codec == "libopus" else 2048
    assert -RATE // 1000 <= len(samples) - len(waves) <= padded
    quiet = np.abs(samples[5000:20000] - waves[5000:20000])
    assert quiet.max() < 0.02
    assert not warned


@pytest.mark.parametrize("ending", ["mkv", "mp4", "ts"])
@pytest.mark.parametrize(("start", "picture_start"), [(12_000, 0), (0, 5), (9_600, 5)])
def test_time_0_is_the_first_picture(ending, start, picture_start, tmp_path, warned):
    path = encode(
        tmp_path / f"a.{ending}",
        tones(RATE + 777),
        "aac",
        start=start,
        picture_start=picture_start,
    )
    sound = open_sound(path)
    shift = start - picture_start * RATE // 25
    for rate in (RATE, 16_000):
        samples = whole(sound, rate)
        at = (CLICK + shift) * rate // RATE
        # A container may state times in milliseconds.
        assert abs(click_of(samples) - at) <= 1 + rate // 1000
    assert sound.duration_s == pytest.approx((RATE + 777 + shift) / RATE, abs=0.05)
    left_out = [text for text in warned if "sound before the first picture" in text]
    assert len(warned) == len(left_out) == (shift < 0)


def test_late_sound_alone_starts_at_once(tmp_path):
    path = encode(tmp_path / "a.mka", tones(RATE), "pcm_s16le", start=30_000)
    assert click_of(whole(open_sound(path))) == CLICK


def test_holes_become_silence(tmp_path, warned):
    waves = tones(RATE)
    at = 10_240
    path = encode(tmp_path / "a.mka", waves, "pcm_s16le", hole=(at, 14_400))
    samples = whole(open_sound(path))
    # The container states times in milliseconds.
    length = len(samples) - len(waves)
    assert abs(length - 14_400) < RATE // 1000
    assert not samples[at : at + length].any()
    np.testing.assert_allclose(samples[at + length :], waves[at:], atol=1e-4)
    assert not warned


def test_time_stamps_that_leap_are_refused(tmp_path):
    leap = RATE * 7200
    path = encode(tmp_path / "a.mka", tones(RATE), "pcm_s16le", hole=(10_240, leap))
    with pytest.raises(SoundError, match=r"a\.mka: time stamps leap by 7200 s"):
        whole(open_sound(path))


def test_holes_have_a_limit_in_all(tmp_path, monkeypatch):
    """Many of them would make hours of silence of a small file."""
    monkeypatch.setattr(audio_decoding, "_LONGEST_SILENCE_S", 0.5)
    waves, form = tones(RATE), {"start": 14_400, "picture_start": 0}
    once = encode(tmp_path / "a.mkv", waves, "pcm_s16le", **form)
    whole(open_sound(once))
    twice = encode(
        tmp_path / "b.mkv", waves, "pcm_s16le", hole=(10_240, 14_400), **form
    )
    with pytest.raises(SoundError, match=r"b\.mkv: time stamps leap by \d s in all"):
        whole(open_sound(twice))


def test_cover_art_is_no_picture(tmp_path):
    path = tmp_path / "a.mp3"
    with av.open(os.fspath(path), "w") as container:
        sound = container.add_stream("libmp3lame", rate=RATE, layout="mono")
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 32, 32, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))
        picture = picture.reformat(format="yuvj420p")
        picture.pts = 0
        covers = [*cover.encode(picture), *cover.encode(None)]
        waves = np.ascontiguousarray(tones(RATE).T)
        frame = av.AudioFrame.from_ndarray(waves, "fltp", "mono")
        frame.sample_rate = RATE
        container.mux(covers)
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    with av.open(os.fspath(path)) as container:
        assert len(container.streams.video) == 1
    assert abs(click_of(whole(open_sound(path))) - CLICK) <= 3


@pytest.mark.parametrize("to", [16_000, 44_100, 96_000])
@pytest.mark.parametrize("block", [997, 4096, 2**16, 2**20])
def test_resampling_is_that_of_the_whole(to, block, monkeypatch, tmp_path):
    waves = tones(RATE + 777, 2)
    expected = soxr.resample(waves, RATE, to, quality=audio.QUALITY)
    path = encode(tmp_path / "a.wav", waves, "pcm_f32le")
    monkeypatch.setattr(audio, "_BLOCK", block)
    for sound in (Sound(waves, RATE), open_sound(path)):
        samples = whole(sound, to)
        assert samples.shape == expected.shape
        np.testing.assert_allclose(samples, expected, rtol=0, atol=1e-6)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 5000), st.integers(8000, 96_000), st.integers(8000, 96_000))
def test_any_length_and_rates(count, from_hz, to_hz):
    waves = np.linspace(-1, 1, count, dtype=np.float32)[:, None]
    expected = waves
    if count and from_hz != to_hz:
        expected = soxr.resample(waves, from_hz, to_hz, quality=audio.QUALITY)
    samples = whole(Sound(waves, from_hz), to_hz)
    assert samples.shape == expected.shape
    np.testing.assert_allclose(samples, expected, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_memory_is_bounded(tmp_path):
    waves = np.tile(tones(RATE, 2), (60, 1))
    path = encode(tmp_path / "a.wav", waves, "pcm_s16le")
    sound, size = open_sound(path), waves.nbytes
    del waves
    tracemalloc.start()
    total = sum(len(block) for block in sound.blocks(16_000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 60 * 16_000
    assert peak < size / 5


def test_tracks(tmp_path):
    path = encode(tmp_path / "a.mka", tones(RATE), "pcm_s16le", tracks=2)
    first, second = open_sound(path), open_sound(path, stream=1)
    assert (first.num_streams, second.stream) == (2, 1)
    np.testing.assert_allclose(whole(first) / 2, whole(second), atol=1e-4)
    with pytest.raises(SoundError, match=r"a\.mka: has no sound track 2; .* 0 to 1"):
        open_sound(path, stream=2)


def test_without_sound_track(tmp_path):
    path = tmp_path / "silent.mp4"
    with av.open(os.fspath(path), "w") as container:
        add_pictures(container, "mpeg4", 5, 0)
    with pytest.raises(SoundError, match=r"silent\.mp4: has no sound track; expected"):
        open_sound(path)


@pytest.mark.parametrize("content", [b"", b"junk" * 100, b"RIFF\0\0\0\0WAVE"])
def test_no_sound_file(content, tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    with pytest.raises(SoundError, match=r"a\.wav: "):
        whole(open_sound(path))


def test_no_file(tmp_path):
    with pytest.raises(SoundError, match="no such file; expected a file with"):
        open_sound(tmp_path / "none.wav")


def test_a_name_is_no_protocol(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    encode(tmp_path / "a.wav", tones(RATE), "pcm_s16le").rename("concat:a|b.wav")
    assert len(whole(open_sound("concat:a|b.wav"))) == RATE


def test_empty_sound(tmp_path, warned):
    with wave.open(os.fspath(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
    sound = open_sound(tmp_path / "a.wav")
    assert (sound.num_channels, sound.sample_rate_hz) == (1, RATE)
    assert whole(sound, 16_000).shape == (0, 1)
    assert sound.duration_s == 0
    assert whole(Sound(np.zeros((0, 2)), 8000), 16_000).shape == (0, 2)
    assert not warned


@pytest.mark.parametrize(
    ("ending", "codec", "picture_start"),
    [
        ("wav", "pcm_s16le", None),
        ("mp3", "libmp3lame", None),
        ("flac", "flac", None),
        ("mkv", "aac", 0),
    ],
)
def test_a_lost_tail_is_reported(ending, codec, picture_start, tmp_path, warned):
    waves = tones(2 * RATE)
    path = encode(tmp_path / f"a.{ending}", waves, codec, picture_start=picture_start)
    data = path.read_bytes()
    path.write_bytes(data[: int(0.6 * len(data))])
    sound = open_sound(path)
    assert sound.declared_s == pytest.approx(2, abs=0.03)
    samples = whole(sound)
    whole(sound)
    assert 0.5 < sound.duration_s < 1.5
    assert sound.duration_s == len(samples) / RATE
    assert click_of(samples) == pytest.approx(CLICK, abs=3)
    lost = [text for text in warned if "the file declares 2.0" in text]
    assert len(lost) == 1
    assert f"{path}: sound of {sound.duration_s:.2f} s" in lost[0]


def test_an_estimated_length_is_no_loss(tmp_path, warned):
    """ADTS states no length: libav divides the file's size by the first bit rate."""
    waves = np.random.default_rng(0).uniform(-0.5, 0.5, (4 * RATE, 1))
    waves[:RATE] = 0
    sound = open_sound(encode(tmp_path / "a.aac", waves.astype(np.float32), "aac"))
    assert sound.declared_s > 8
    whole(sound)
    assert sound.duration_s == pytest.approx(4, abs=0.1)
    assert not warned


@pytest.mark.parametrize(
    "tag", [b"ab:cd:ef.", b"nan:00:00", b"inf:00:00", b"-9:00:000", b"\xff\xff:00:00"]
)
def test_a_length_that_is_none(tag, tmp_path, warned):
    path = encode(tmp_path / "a.mka", tones(RATE), "pcm_s16le")
    data = path.read_bytes()
    at = data.index(b"00:00:01.")
    path.write_bytes(data[:at] + tag + data[at + len(tag) :])
    sound = open_sound(path)
    assert sound.declared_s == pytest.approx(1, abs=0.01)
    assert len(whole(sound)) == RATE
    assert not warned


def test_tags_in_any_encoding(tmp_path):
    path = encode(tmp_path / "a.wav", tones(RATE), "pcm_s16le")
    artist = b"INFOIART" + struct.pack("<I", 4) + "José".encode("latin-1")
    data = path.read_bytes() + b"LIST" + struct.pack("<I", len(artist)) + artist
    path.write_bytes(data[:4] + struct.pack("<I", len(data) - 8) + data[8:])
    assert len(whole(open_sound(path))) == RATE


def test_a_codec_that_nobody_knows(tmp_path):
    path = encode(tmp_path / "a.wav", tones(RATE), "pcm_s16le")
    data = path.read_bytes()
    assert data[20:22] == b"\1\0"
    path.write_bytes(data[:20] + b"\x99\x99" + data[22:])
    with pytest.raises(
        SoundError, match=r"a\.wav: sound of a codec that libav does no"
    ):
        open_sound(path)


@pytest.mark.parametrize("rate", [1, 999])
def test_a_rate_that_would_fill_the_memory(rate, tmp_path):
    with wave.open(os.fspath(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes(bytes(2000))
    with pytest.raises(SoundError, match=rf"at {rate} Hz; expected .* 1000 Hz or more"):
        open_sound(tmp_path / "a.wav")


def test_damage_inside_keeps_the_time(tmp_path, warned):
    waves = tones(2 * RATE)
    waves[CLICK : CLICK + 20] = 0
    waves[-RATE // 2 : -RATE // 2 + 20] = 0.9
    path = encode(tmp_path / "a.m4a", waves, "aac")
    data = bytearray(path.read_bytes())
    data[len(data) // 4 : len(data) // 4 + 400] = b"\x55" * 400
    path.write_bytes(data)
    samples = whole(open_sound(path))
    assert abs(click_of(samples[RATE:]) - RATE // 2) <= 3
    assert len([text for text in warned if "could not be decoded" in text]) == 1


def test_all_damaged(tmp_path):
    path = encode(tmp_path / "a.m4a", tones(RATE), "aac")
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + 4
    data[start : data.index(b"moov") - 4] = b"\x55" * (data.index(b"moov") - 4 - start)
    path.write_bytes(data)
    with pytest.raises(SoundError, match=r"a\.m4a: its sound cannot be decoded"):
        open_sound(path)


@pytest.fixture(scope="module")
def small_files(tmp_path_factory) -> list[pathlib.Path]:
    folder, waves = tmp_path_factory.mktemp("small"), tones(RATE // 10)
    waves[:] = tones(CLICK + len(waves))[CLICK:]
    forms = [("wav", "pcm_s16le"), ("flac", "flac"), ("mp3", "libmp3lame")]
    forms += [("m4a", "aac"), ("mkv", "libopus"), ("ts", "aac")]
    return [encode(folder / f"a.{end}", waves, codec) for end, codec in forms]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_files_raise_their_own_error_only(small_files, data):
    path = data.draw(st.sampled_from(small_files))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.sampled_from([0, 1, 127, 128, 153, 255]))
    damaged = path.with_name(f"damaged{path.suffix}")
    damaged.write_bytes(content)
    message = str(damaged)
    try:
        blocks = list(open_sound(damaged).blocks(16_000))
    except SoundError as error:
        blocks, message = [], str(error)
    assert str(damaged) in message
    assert max((np.abs(block).max() for block in blocks), default=0) < 16


def test_truncated_mp4_without_its_index(tmp_path):
    path = encode(tmp_path / "a.mp4", tones(RATE), "aac", picture_start=0)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(SoundError, match=r"a\.mp4: cannot be opened as sound or video"):
        open_sound(path)


def test_a_change_of_form_is_refused(tmp_path):
    one = encode(tmp_path / "a.mp3", tones(RATE), "libmp3lame")
    two = encode(tmp_path / "b.mp3", tones(RATE, 2), "libmp3lame", rate=44_100)
    one.write_bytes(one.read_bytes() + two.read_bytes())
    with pytest.raises(SoundError, match=r"a\.mp3: the sound changes from "):
        whole(open_sound(one))


@pytest.mark.parametrize("codec", ["pcm_f32le", "pcm_f64le"])
def test_samples_that_are_no_number_become_silence(codec, tmp_path, warned):
    waves = tones(RATE, 2)
    waves[777:779, 1] = np.nan, -np.inf
    waves[10_000, 0] = np.inf
    sound = open_sound(encode(tmp_path / "a.wav", waves, codec))
    samples = whole(sound)
    expected = np.where(np.isfinite(waves), waves, 0)
    np.testing.assert_allclose(samples, expected, atol=1e-7)
    assert sound.losses == ("3 samples that are no number became silence",)
    assert warned == [f"{sound.path}: {sound.losses[0]}"]
    with pytest.raises(SoundError, match="not finite"):
        Sound(waves, RATE)


def test_peaks_over_the_bound_are_clipped(tmp_path, warned):
    waves = tones(RATE)
    waves[[5, 700, 701], 0] = 3.5, -1e30, 1.9
    sound = open_sound(encode(tmp_path / "a.wav", waves, "pcm_f32le"))
    np.testing.assert_array_equal(whole(sound), waves.clip(-2, 2))
    assert (sound.losses, sound.notes) == (
        (),
        ("2 samples of up to 1e+30 were clipped to 2",),
    )
    assert warned == [f"{sound.path}: {sound.notes[0]}"]


def test_a_track_that_is_mostly_no_number_is_refused(tmp_path):
    waves = tones(RATE)
    waves[: RATE // 50] = np.nan
    path = encode(tmp_path / "a.wav", waves, "pcm_f32le")
    with pytest.raises(
        SoundError, match=r"a\.wav: 960 of 48000 samples are no number; ex.*write the"
    ):
        whole(open_sound(path))


@pytest.mark.parametrize("codec", ["pcm_f32le", "pcm_f64le"])
@pytest.mark.parametrize("silent", [0, 9 * RATE])
def test_files_of_floats_that_were_not_scaled(codec, silent, tmp_path):
    """However long the recording is silent."""
    waves = np.pad(tones(RATE) * 32_768, ((silent, 0), (0, 0)))
    path = encode(tmp_path / "a.wav", waves, codec)
    with pytest.raises(
        SoundError, match=r"a\.wav: values of up to 29491.* beyond 2; .* by 32768"
    ):
        whole(open_sound(path))


def test_what_a_decoder_makes_of_damage_is_silence(tmp_path, warned, monkeypatch):
    """Damaged AAC and MP3 may become values of millions."""
    path = encode(tmp_path / "a.m4a", tones(RATE), "aac")
    decoded = audio_decoding._float32

    def damaged(frame):
        samples = decoded(frame)
        return samples * (1e6 if np.abs(samples).max() > 0.5 else 1)

    monkeypatch.setattr(audio_decoding, "_float32", damaged)
    samples = whole(open_sound(path))
    assert len(samples) == RATE
    assert not samples[CLICK : CLICK + 20].any()
    assert 0.05 < np.abs(samples).max() < 0.5
    assert len(warned) == 1
    assert "packets of sound could not be decoded (values of up to " in warned[0]


def test_arrays():
    whole_range = np.array([-32768, 0, 16384], np.int16)
    sound = Sound(whole_range, 16_000)
    assert (sound.num_channels, sound.duration_s) == (1, 3 / 16_000)
    assert whole(sound, 16_000)[:, 0].tolist() == [-1, 0, 0.5]
    assert whole(Sound(np.array([-(2**31), 2**30], np.int32), 8), 8)[:, 0].tolist() == [
        -1,
        0.5,
    ]
    assert Sound(np.full((5, 2), 1.1), 8).num_channels == 2


@pytest.mark.parametrize(
    ("samples", "rate", "match"),
    [
        (np.zeros((3, 4, 5)), 8000, r"shape \(3, 4, 5\)"),
        (np.zeros((2, 48_000)), 8000, "put time on axis 0"),
        (np.zeros((5, 0)), 8000, r"shape \(5, 0\)"),
        (np.zeros(5, np.uint8), 8000, "dtype uint8"),
        (np.zeros(5, bool), 8000, "dtype bool"),
        (np.full(5, 20_000.0), 8000, "of up to 20000"),
        (np.zeros(5), 0, "sample_rate_hz 0"),
    ],
)
def test_arrays_that_are_refused(samples, rate, match):
    with pytest.raises(SoundError, match=match):
        Sound(samples, rate)


def test_rates_that_are_refused(tmp_path):
    path = encode(tmp_path / "a.wav", tones(RATE), "pcm_s16le")
    for sound in (Sound(np.zeros(5), 8000), open_sound(path)):
        with pytest.raises(SoundError, match="sample_rate_hz -1"):
            sound.blocks(-1)


def test_real_sound(shared_data, warned):
    speech = open_sound(shared_data / "media" / "speech.wav")
    samples = whole(speech, 16_000)
    assert len(samples) / 16_000 == pytest.approx(speech.declared_s, abs=1e-3)
    assert 0.05 < np.abs(samples).max() <= 1.1
    with_sound = 0
    for path in sorted((shared_data / "affwild2_mini" / "videos").rglob("*.*")):
        with av.open(os.fspath(path)) as container:
            tracks = len(container.streams.audio)
        if not tracks:
            with pytest.raises(SoundError, match="has no sound track"):
                open_sound(path)
            continue
        sound = open_sound(path)
        seconds = sum(map(len, sound.blocks(16_000))) / 16_000
        assert seconds == pytest.approx(sound.duration_s, abs=1e-3)
        assert seconds == pytest.approx(sound.declared_s, abs=1e-3)
        with_sound += 1
    assert with_sound >= 4
    assert not warned


# --- lengths that are not known

UNKNOWN = [0x7FFFF024, 0x80000024, 0x7FFFFFFF, 0x80000000, 0, 0xFFFFFFFF, 0xFFFFFFDB]


@pytest.mark.parametrize("codec", ["pcm_s16le", "pcm_f32le", "adpcm_ima_wav"])
@pytest.mark.parametrize("whole_size", [None, 36, *UNKNOWN])
@pytest.mark.parametrize("sound_size", [*UNKNOWN, 0x7FFFF000])
def test_wav_of_unknown_length_is_read_to_its_end(
    whole_size, sound_size, codec, tmp_path, warned
):
    waves = tones(RATE // 2)
    path = encode(tmp_path / "a.wav", waves, codec)
    data = bytearray(path.read_bytes())
    expected = whole(open_sound(path))
    at = data.index(b"data") + 4
    data[at : at + 4] = struct.pack("<I", sound_size)
    if whole_size is not None:
        data[4:8] = struct.pack("<I", whole_size)
    if b"fact" in data and whole_size in (0, 0xFFFFFFFF):
        fact = data.index(b"fact") + 8
        data[fact : fact + 4] = struct.pack("<I", whole_size)
    path.write_bytes(data)
    sound = open_sound(path)
    np.testing.assert_array_equal(whole(sound), expected)
    assert sound.declared_s == pytest.approx(len(expected) / RATE, abs=0.05)
    assert not warned


class Pipe(io.RawIOBase):
    """Takes what is written, and cannot go back."""

    def __init__(self):
        self.data = b""

    def writable(self):
        return True

    def write(self, data):
        self.data += bytes(data)
        return len(data)


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("wav", {}),
        ("wav", {"rf64": "always"}),
        ("wav", {"rf64": "auto"}),
        ("w64", {}),
        ("caf", {}),
        ("au", {}),
    ],
)
def test_sound_that_went_through_a_pipe(form, options, tmp_path, warned):
    pipe, waves = Pipe(), tones(RATE)
    codec = "pcm_s16be" if form == "au" else "pcm_s16le"
    with av.open(pipe, "w", format=form, options=options) as container:
        track = container.add_stream(codec, rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(
            (waves.T * 2**15).astype(np.int16), "s16", "mono"
        )
        frame.sample_rate = RATE
        container.mux(track.encode(frame))
    path = tmp_path / f"a.{form}"
    path.write_bytes(pipe.data)
    sound = open_sound(path)
    for _ in range(2):
        np.testing.assert_allclose(whole(sound), waves, atol=2.0**-14)
    assert sound.declared_s == pytest.approx(1, abs=1e-3)
    assert not warned


@pytest.mark.parametrize(
    ("form", "codec", "options"),
    [
        ("wav", "pcm_f32le", {}),
        ("wav", "pcm_mulaw", {}),
        ("wav", "pcm_s16le", {"rf64": "always"}),
        ("w64", "pcm_s16le", {}),
        ("w64", "pcm_f32le", {}),
        ("caf", "pcm_s16le", {}),
        ("aiff", "pcm_s16be", {}),
    ],
)
def test_what_a_header_states_twice_is_one_loss(form, codec, options, tmp_path, warned):
    path, waves = tmp_path / f"a.{form}", tones(2 * RATE)
    with av.open(os.fspath(path), "w", options=options) as container:
        track = container.add_stream(codec, rate=RATE, layout="mono")
        resampler = av.AudioResampler(track.codec_context.format, "mono", RATE)
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(waves.T), "fltp", "mono"
        )
        frame.sample_rate = RATE
        for made in resampler.resample(frame):
            container.mux(track.encode(made))
    data = path.read_bytes()
    path.write_bytes(data[: int(0.6 * len(data))])
    sound = open_sound(path)
    whole(sound)
    assert sound.declared_s == pytest.approx(2, abs=1e-3)
    # PyAV 17 tells the packet that is cut as well.
    told = [text for text in warned if "packets of sound" not in text]
    assert len(told) == 1
    assert "s where the file declares 2.00 s" in told[0]
