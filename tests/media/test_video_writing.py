"""Videos that are written: times, sizes, colours, and sound packet for packet."""

import errno
import os
import pathlib
from fractions import Fraction

import av
import numpy as np
import pytest
from made.videos import SIZE, brightness, encode

from avemo_jax.media.sound_tracks import CopiedSound, EncodedSound, sound_track
from avemo_jax.media.video import open_video
from avemo_jax.media.video_writing import ticks_of, write_video

HZ = 16_000
COPIED = {"aac": "mp4", "libmp3lame": "mkv", "flac": "mkv", "ac3": "ts"}


def made_pictures(count: int, size: tuple[int, int] = SIZE) -> list[np.ndarray]:
    width, height = size
    return [np.full((height, width, 3), brightness(i), np.uint8) for i in range(count)]


def with_sound(
    path: pathlib.Path, codec: str, *, seconds: float = 2.0, late_s: float = 0.0
) -> pathlib.Path:
    """A video of as many seconds with a rising tone, all of it ``late_s`` later."""
    rate = 48_000 if codec == "libopus" else HZ if codec != "ac3" else 48_000
    with av.open(os.fspath(path), "w") as out:
        video = out.add_stream("mpeg4", rate=25)
        video.width, video.height = SIZE
        sound = out.add_stream(codec, rate=rate, layout="mono")
        for number, picture in enumerate(made_pictures(round(25 * seconds))):
            frame = av.VideoFrame.from_ndarray(picture)
            frame.pts, frame.time_base = number, Fraction(1, 25)
            frame.pts += round(25 * late_s)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        t = np.arange(round(rate * seconds)) / rate
        wave = (8000 * np.sin(2 * np.pi * (300 + 200 * t) * t)).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(wave[None], "s16", "mono")
        frame.sample_rate, frame.pts = rate, round(late_s * rate)
        out.mux(sound.encode(frame))
        out.mux(sound.encode(None))
    return path


def packets_of(path: pathlib.Path) -> list[tuple[bytes, float]]:
    """The packets of sound, and when each is heard after the first picture."""
    with av.open(os.fspath(path)) as container:
        video, sound = container.streams.video[0], container.streams.audio[0]
        zero_s = (video.start_time or 0) * video.time_base
        return [
            (bytes(packet), float(packet.pts * packet.time_base - zero_s))
            for packet in container.demux(sound)
            if packet.size
        ]


def copied(path: pathlib.Path, to: pathlib.Path, **part: float) -> tuple[str, ...]:
    """The video with its own pictures and sound."""
    video = open_video(path)
    times = video.frame_times()
    return write_video(
        to,
        video.pictures(),
        times.times_s,
        last_s=0.04,
        tick_s=video.tick_s,
        sound=sound_track(path, **part),
    )


@pytest.mark.parametrize(("codec", "ending"), COPIED.items())
@pytest.mark.parametrize("late_s", [0.0, 3.0])
def test_packets_of_sound_are_the_same(codec, ending, late_s, tmp_path):
    path = with_sound(tmp_path / f"a.{ending}", codec, late_s=late_s)
    assert isinstance(sound_track(path), CopiedSound)
    assert copied(path, tmp_path / "b.mp4") == ()
    before, after = packets_of(path), packets_of(tmp_path / "b.mp4")
    assert len(before) > 20
    assert [packet for packet, _ in after] == [packet for packet, _ in before]
    times = [[at for _, at in packets] for packets in (before, after)]
    # Matroska counts in milliseconds.
    np.testing.assert_allclose(times[1], times[0], atol=1.1e-3)
    videos = open_video(path).pictures(), open_video(tmp_path / "b.mp4").pictures()
    for one, two in zip(*videos, strict=True):
        assert abs(one.mean() - two.mean()) < 3


@pytest.mark.parametrize("codec", ["pcm_s16le", "mp2"])
def test_other_sound_is_encoded_and_that_is_said(codec, tmp_path):
    path = with_sound(tmp_path / "a.mkv", codec)
    assert isinstance(sound_track(path), EncodedSound)
    name = codec.split("_s16")[0]
    (note,) = copied(path, tmp_path / "b.mp4")
    assert note.startswith("sound encoded as AAC: an MP4 file has none of its kind")
    assert name in note
    before, after = (decoded(p) for p in (path, tmp_path / "b.mp4"))
    assert abs(len(after) - len(before)) < 2048
    count = min(len(before), len(after))
    # The tone rises, so that a shift of 2 ms would halve this.
    assert np.corrcoef(before[:count], after[:count])[0, 1] > 0.99


def decoded(path: pathlib.Path) -> np.ndarray:
    with av.open(os.fspath(path)) as container:
        resampler = av.AudioResampler("flt", "mono", HZ)
        frames = [
            made.to_ndarray()[0]
            for frame in container.decode(audio=0)
            for made in resampler.resample(frame)
        ]
    return np.concatenate(frames)


def test_sound_whose_times_do_not_rise(tmp_path, monkeypatch):
    path = with_sound(tmp_path / "a.mp4", "aac")
    read = CopiedSound._read

    def leaping(self, container, track):
        for number, packet in enumerate(read(self, container, track)):
            if number == 5:
                packet.pts = packet.dts = packet.pts - 5000
            if number == 7:
                packet.pts = None
            yield packet

    monkeypatch.setattr(CopiedSound, "_read", leaping)
    (note,) = copied(path, tmp_path / "b.mp4")
    assert note == "2 packets of sound have no times that rise, and are left out"
    assert len(packets_of(tmp_path / "b.mp4")) == len(packets_of(path)) - 2


def test_a_part_has_the_sound_of_the_part(tmp_path):
    path = with_sound(tmp_path / "a.mp4", "aac")
    video = open_video(path)
    pictures = list(video.pictures())[20:40]
    track = sound_track(path, 0.8, 1.6)
    write_video(
        tmp_path / "b.mp4", pictures, np.arange(20) / 25, last_s=0.04, sound=track
    )
    whole, part = packets_of(path), packets_of(tmp_path / "b.mp4")
    wanted = {packet: at - 0.8 for packet, at in whole if 0.8 <= at < 1.6}
    found = dict(part)
    assert wanted.keys() <= found.keys()
    assert all(abs(found[one] - wanted[one]) < 1e-3 for one in wanted)
    # Those before are hidden; a decoder needs them to be right from the start.
    assert -0.17 < min(found.values()) <= 0
    assert max(found.values()) < 0.8
    heard, there = decoded(tmp_path / "b.mp4"), decoded(path)[round(0.8 * HZ) :]
    assert np.corrcoef(heard[:12_000], there[:12_000])[0, 1] > 0.99


def test_a_part_of_sound_that_is_encoded(tmp_path):
    path = with_sound(tmp_path / "a.mkv", "pcm_s16le")
    track = sound_track(path, 0.8, 1.6)
    pictures = made_pictures(20)
    write_video(
        tmp_path / "b.mp4", pictures, np.arange(20) / 25, last_s=0.04, sound=track
    )
    heard, there = decoded(tmp_path / "b.mp4"), decoded(path)[round(0.8 * HZ) :]
    assert abs(len(heard) - 0.8 * HZ) < 2048
    assert np.corrcoef(heard[:12_000], there[:12_000])[0, 1] > 0.99


@pytest.mark.parametrize(
    "stamps", [[0, 40, 41, 200, 1000, 1033], [7, 8, 900], [0, 33, 67, 100, 133]]
)
def test_times_of_a_varying_rate_are_kept(stamps, tmp_path):
    path = encode(tmp_path / "a.mkv", "libx264", stamps=stamps)
    copied(path, tmp_path / "b.mp4")
    before, after = (
        open_video(p).frame_times().times_s for p in (path, tmp_path / "b.mp4")
    )
    assert np.array_equal(after, before)
    assert len(after) == len(stamps)


def test_times_that_are_no_ticks_of_the_source():
    times_s = np.array([0.0, 0.011, 0.1234567])
    ticks = ticks_of(times_s, Fraction(1, 25))
    assert ticks.base == Fraction(1, 1_000_000)
    assert ticks.at.tolist() == [0, 11000, 123457]
    assert ticks_of(np.arange(5) / 25, Fraction(1, 25)).at.tolist() == [0, 1, 2, 3, 4]
    assert ticks_of(np.arange(3) / 30, None).base == Fraction(1, 90_000)


@pytest.mark.parametrize("size", [(63, 48), (64, 47), (63, 47), (1, 1)])
def test_odd_sizes_are_made_even(size, tmp_path):
    pictures = made_pictures(3, size)
    (note,) = write_video(tmp_path / "a.mp4", pictures, np.arange(3) / 25, last_s=0.04)
    assert f"{size[0]} x {size[1]} pixels made even" in note
    video = open_video(tmp_path / "a.mp4")
    assert (video.width, video.height) == (size[0] + size[0] % 2, size[1] + size[1] % 2)
    for before, after in zip(pictures, video.pictures(), strict=True):
        assert abs(after.astype(int) - before[0, 0, 0]).max() <= 3


def test_colours_and_form_are_those_of_players(tmp_path):
    colours = ((200, 30, 40), (20, 180, 60), (30, 60, 220))
    pictures = [np.full((48, 64, 3), colour, np.uint8) for colour in colours]
    path = tmp_path / "a.mp4"
    assert write_video(path, pictures, np.arange(3) / 2, last_s=1.5) == ()
    for colour, picture in zip(colours, open_video(path).pictures(), strict=True):
        assert abs(picture.mean(axis=(0, 1)) - colour).max() < 4
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    with av.open(os.fspath(path)) as container:
        track = container.streams.video[0]
        context = track.codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
        assert (context.colorspace, context.color_range) == (1, 1)
        assert float(track.duration * track.time_base) == pytest.approx(2.5)


def test_pictures_and_times_that_do_not_fit(tmp_path):
    for count in (2, 4):
        with pytest.raises(ValueError, match="expected one for each"):
            write_video(
                tmp_path / "a.mp4", made_pictures(count), np.arange(3) / 25, last_s=0.04
            )
    with pytest.raises(ValueError, match="no pictures"):
        write_video(tmp_path / "a.mp4", [], np.arange(0.0), last_s=0.04)


@pytest.mark.skipif(not pathlib.Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_is_an_error_of_the_system():
    with pytest.raises(OSError, match="No space left on device") as found:
        write_video("/dev/full", made_pictures(3), np.arange(3) / 25, last_s=0.04)
    assert found.value.errno == errno.ENOSPC
