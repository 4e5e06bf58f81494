import os
import pathlib
import shutil
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made.videos import SIZE, encode, numbers_of

from avemo_jax.media import video_decoding
from avemo_jax.media.audio import SoundError, open_sound
from avemo_jax.media.video import VideoError, open_video

B_FRAMES = {"bf": "2", "b_strategy": "0"}
KINDS = [
    ("mp4", "libx264", {}),
    ("mp4", "mpeg4", B_FRAMES),
    ("mov", "libx264", {}),
    ("mkv", "libx264", {}),
    ("mkv", "libx265", {"x265-params": "log-level=none"}),
    ("webm", "libvpx-vp9", {"lag-in-frames": "12"}),
    ("webm", "libvpx", {"auto-alt-ref": "1", "lag-in-frames": "12"}),
    ("avi", "mpeg4", {}),
    ("avi", "mpeg4", B_FRAMES),
    ("avi", "libx264", {}),  # pictures out of order, where AVI keeps no times
    ("avi", "mjpeg", {}),
    ("flv", "libx264", {}),
    ("ts", "libx264", {}),
    ("mpg", "mpeg2video", B_FRAMES),
    ("wmv", "wmv2", {}),
]
VARYING = [0, 40, 80, 200, 210, 250, 290, 1000, 1040, 1100]  # ms


@pytest.mark.parametrize("num_threads", [1, 3])
@pytest.mark.parametrize(("ending", "codec", "options"), KINDS)
def test_pictures_and_times_are_those_encoded(
    ending, codec, options, num_threads, tmp_path
):
    path = encode(tmp_path / f"a.{ending}", codec, options=options)
    video = open_video(path, num_threads=num_threads)
    assert (video.width, video.height, video.fps) == (*SIZE, 25)
    assert (video.num_sound_tracks, video.sound_s) == (0, None)
    times = video.frame_times()
    np.testing.assert_allclose(times.times_s, np.arange(30) / 25, rtol=0, atol=1e-9)
    assert (times.num_frames, times.fps) == (30, 25)
    assert times.constant_rate
    assert times.notes == ()
    pictures = list(video.pictures())
    assert {(p.shape, p.dtype.name) for p in pictures} == {((48, 64, 3), "uint8")}
    assert numbers_of(pictures, 30) == list(range(30))
    assert video.notes == ()
    told = video.packet_times()
    assert (told is None) == (ending == "avi")
    if told is not None:
        np.testing.assert_array_equal(told.times_s, times.times_s)
        assert video.shown_at(told)
    if ending not in ("flv", "mpg"):  # they state no length that is right
        assert video.declared_frames == 30
        assert video.declared_s == pytest.approx(1.2)


def test_times_are_compared_with_pictures_that_were_read_to_their_end(tmp_path):
    video = open_video(encode(tmp_path / "a.mp4", "libx264"))
    told = video.packet_times()
    assert not video.shown_at(told)
    pictures = video.pictures()
    next(pictures)
    pictures.close()
    assert not video.shown_at(told)
    assert len(list(video.pictures())) == 30
    assert video.shown_at(told)
    other = encode(tmp_path / "b.mp4", "libx264", stamps=[*range(0, 1200, 40), 1210])
    assert not video.shown_at(open_video(other).packet_times())


@pytest.mark.parametrize(
    ("ending", "codec"),
    [("mp4", "libx264"), ("mp4", "mpeg4"), ("mkv", "libx264"), ("webm", "libvpx-vp9")],
)
def test_a_varying_rate_is_kept(ending, codec, tmp_path):
    options = B_FRAMES if codec == "mpeg4" else {}
    path = encode(tmp_path / f"a.{ending}", codec, stamps=VARYING, options=options)
    times = open_video(path).frame_times()
    np.testing.assert_allclose(times.times_s, np.array(VARYING) / 1000, atol=1e-9)
    assert not times.constant_rate
    assert times.fps == pytest.approx(25)
    assert times.notes == ()


def test_a_picture_left_out_in_avi_is_a_hole(tmp_path):
    path = encode(tmp_path / "a.avi", "mjpeg", stamps=[0, 1, 2, 6, 7, 8], ticks=25)
    video = open_video(path)
    times = video.frame_times()
    assert (25 * times.times_s).round(9).tolist() == [0, 1, 2, 6, 7, 8]
    assert times.fps == pytest.approx(25)
    assert not times.constant_rate
    # The file declares 9 places, and nothing is lost.
    assert video.declared_frames == 9
    assert times.losses == ()
    assert len(list(video.pictures())) == 6
    assert video.notes == ()


def test_without_time_stamps_the_stated_rate_tells(tmp_path):
    path = encode(tmp_path / "a.h264", "libx264", fps=50)
    times = open_video(path).frame_times()
    stated = float(open_video(path).fps)
    np.testing.assert_allclose(times.times_s, np.arange(30) / stated)
    assert times.notes == (
        "30 of 30 pictures have no time stamp; put at even distances",
    )


@pytest.mark.parametrize("sound_start_s", [0.0, 0.4])
@pytest.mark.parametrize(("ending", "codec"), [("mkv", "libx264"), ("avi", "mpeg4")])
def test_sound_does_not_move_the_pictures(ending, codec, sound_start_s, tmp_path):
    path = encode(tmp_path / f"a.{ending}", codec, sound_start_s=sound_start_s)
    video = open_video(path)
    assert video.num_sound_tracks == 1
    assert video.sound_s == pytest.approx(1.0, abs=0.01 + (ending == "avi"))
    times = video.frame_times()
    np.testing.assert_allclose(times.times_s, np.arange(30) / 25, atol=1e-9)


def test_late_pictures_start_at_0_as_their_sound_has_it(tmp_path):
    stamps = [200 + 40 * i for i in range(20)]
    path = encode(tmp_path / "a.mkv", "libx264", stamps=stamps, sound_start_s=0.0)
    times = open_video(path).frame_times()
    np.testing.assert_allclose(times.times_s, np.arange(20) / 25, atol=1e-9)
    sound = sum(len(block) for block in open_sound(path).blocks(16_000))
    assert sound == pytest.approx(0.8 * 16_000, abs=32)


@pytest.mark.parametrize("size", [(65, 49), (1, 1), (127, 3)])
def test_odd_sizes(size, tmp_path):
    path = encode(tmp_path / "a.avi", "mjpeg", 3, size=size)
    video = open_video(path)
    assert (video.width, video.height) == size
    assert {p.shape for p in video.pictures()} == {(size[1], size[0], 3)}


@pytest.mark.parametrize(
    ("turned", "corner"),
    [
        ({"degrees": 0}, (0, 0)),
        ({"degrees": 90}, (1, 0)),  # counterclockwise: upper left to lower left
        ({"degrees": 180}, (1, 1)),
        ({"degrees": -90}, (0, 1)),
        ({"degrees": 0, "hflip": True}, (0, 1)),
        ({"degrees": 0, "vflip": True}, (1, 0)),
    ],
)
@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_pictures_are_upright(turned, corner, ending, tmp_path):
    path = tmp_path / f"a.{ending}"
    image = np.zeros((48, 64, 3), np.uint8)
    image[:16, :24] = 255
    with av.open(os.fspath(path), "w") as container:
        track = container.add_stream("mpeg4", rate=25)
        track.width, track.height = SIZE
        track.set_display_rotation(**turned)
        container.mux(track.encode(av.VideoFrame.from_ndarray(image)))
        container.mux(track.encode(None))
    video = open_video(path)
    (picture,) = video.pictures()
    assert picture.shape == (video.height, video.width, 3)
    assert (video.width > video.height) == (abs(turned["degrees"]) != 90)
    corners = picture[:: picture.shape[0] - 1, :: picture.shape[1] - 1, 0]
    assert np.argwhere(corners > 128).tolist() == [list(corner)]


def test_colours_are_red_green_blue(tmp_path):
    path = tmp_path / "a.mkv"
    with av.open(os.fspath(path), "w") as container:
        track = container.add_stream("ffv1", rate=25)
        track.width, track.height, track.pix_fmt = 16, 16, "bgr0"
        image = np.full((16, 16, 3), (200, 100, 50), np.uint8)
        container.mux(track.encode(av.VideoFrame.from_ndarray(image)))
        container.mux(track.encode(None))
    (picture,) = open_video(path).pictures()
    assert (picture == (200, 100, 50)).all()


def test_pictures_come_one_by_one(tmp_path):
    video = open_video(encode(tmp_path / "a.mp4", "libx264"))
    pictures = video.pictures()
    assert numbers_of([next(pictures), next(pictures)], 30) == [0, 1]
    pictures.close()
    assert len(list(video.pictures())) == 30


NAMES = ["with spaces.mp4", "-i.mp4", "Zoë Видео 视频.mp4", "concat:a|b.mp4", "a:b.avi"]


@pytest.mark.parametrize("name", [*NAMES, "%d.mp4", "no_ending", "wrong.txt"])
def test_unusual_names(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    encode(tmp_path / "x.mp4", "libx264", 3).rename(tmp_path / name)
    for path in (name, tmp_path / name):
        assert open_video(path).frame_times().num_frames == 3


def cut(path: pathlib.Path, share: float) -> pathlib.Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    return path


@pytest.mark.parametrize("num_threads", [1, 3])
@pytest.mark.parametrize(
    ("ending", "codec", "form"),
    [
        ("mp4", "libx264", {"movflags": "faststart"}),
        ("avi", "mpeg4", {}),
        ("avi", "mjpeg", {}),
        ("mkv", "libx264", {}),
        ("ts", "libx264", {}),
    ],
)
def test_of_a_file_cut_short_the_head_remains(
    ending, codec, form, num_threads, tmp_path
):
    path = encode(tmp_path / f"a.{ending}", codec, 60, form=form, noise=200)
    cut(path, 0.6)
    video = open_video(path, num_threads=num_threads)
    times = video.frame_times()
    assert 20 < times.num_frames < 45
    step = np.diff(times.times_s)
    np.testing.assert_allclose(step[:-4], 1 / 25, atol=1e-6)
    pictures = list(video.pictures())
    assert len(pictures) == times.num_frames
    right = len(pictures) - 4  # the last may be damaged, or lack a reference
    assert numbers_of(pictures, 60)[:right] == list(range(right))
    if ending != "ts":  # its length is that of what is there
        assert any("cut short" in note for note in times.notes)
    assert all(str(tmp_path) not in note for note in times.notes)


@pytest.mark.parametrize("num_threads", [1, 3])
def test_damage_inside_costs_what_it_hits(num_threads, tmp_path):
    """Pictures of their own, so that damage does not spread."""
    path = encode(tmp_path / "a.mkv", "libx264", 40, options={"g": "1"}, noise=200)
    data = bytearray(path.read_bytes())
    with av.open(os.fspath(path)) as container:
        hit = list(container.demux(video=0))[20]
        at = data.index(bytes(hit))
    data[at : at + hit.size] = b"\xff" * hit.size
    path.write_bytes(data)
    video = open_video(path, num_threads=num_threads)
    times = video.frame_times()
    assert times.num_frames == 39
    expected = np.delete(np.arange(40) / 25, 20)
    np.testing.assert_allclose(times.times_s, expected, atol=1e-9)
    assert times.notes[0].startswith("1 packets of pictures could not be decoded (")
    pictures = list(video.pictures())
    assert numbers_of(pictures, 40) == [i for i in range(40) if i != 20]
    assert video.notes == times.notes[:1]
    told = video.packet_times()
    assert told.num_frames == 40
    assert not video.shown_at(told)


def test_a_lost_start_does_not_move_time_0(tmp_path):
    options = {"g": "10", "bf": "0"}
    path = encode(tmp_path / "a.mkv", "libx264", 30, options=options, noise=200)
    data = bytearray(path.read_bytes())
    with av.open(os.fspath(path)) as container:
        for hit in list(container.demux(video=0))[:10]:
            at = data.index(bytes(hit))
            data[at : at + hit.size] = b"\xff" * hit.size
    path.write_bytes(data)
    times = open_video(path).frame_times()
    np.testing.assert_allclose(times.times_s, np.arange(10, 30) / 25, atol=1e-9)


@pytest.fixture(scope="module")
def small_files(tmp_path_factory) -> list[pathlib.Path]:
    folder = tmp_path_factory.mktemp("small")
    kinds = [kind for kind in KINDS if kind[1] not in ("libx265", "wmv2")]
    return [
        encode(folder / f"{i}.{ending}", codec, 12, options=options, noise=100)
        for i, (ending, codec, options) in enumerate(kinds)
    ]


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_damaged_files_count_alike_however_read(small_files, data):
    """Whatever is hit: one number of pictures, times that ascend, own errors only."""
    path = data.draw(st.sampled_from(small_files))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        length = data.draw(st.sampled_from([1, 8, 64]))
        byte = data.draw(st.sampled_from([0, 85, 255]))
        content[at : at + length] = bytes([byte]) * len(content[at : at + length])
    damaged = path.with_name(f"damaged{path.suffix}")
    damaged.write_bytes(content[: data.draw(st.integers(1, 2 * len(content)))])
    counts, messages = set(), []
    for num_threads in (1, 3):
        try:
            video = open_video(damaged, num_threads=num_threads)
            times = video.frame_times()
        except VideoError as error:
            counts.add(None)
            messages.append(str(error))
            continue
        assert (np.diff(times.times_s) > 0).all()
        counts |= {times.num_frames, sum(1 for _ in video.pictures())}
    assert len(counts) == 1
    assert all(str(damaged) in message for message in messages)


def test_no_video(tmp_path):
    for path in (tmp_path / "none.mp4", tmp_path):
        with pytest.raises(VideoError, match=r"(no such file|is a folder); expected a"):
            open_video(path)
    path = tmp_path / "a.mp4"
    path.write_bytes(b"")
    with pytest.raises(VideoError, match=r"a\.mp4: empty, 0 bytes; expected a video"):
        open_video(path)
    for content in (b"This is a text.\n" * 50, b"\x89PNG\r\n\x1a\n", bytes(5000)):
        path.write_bytes(content)
        with pytest.raises(VideoError, match=r"a\.mp4: cannot be opened as video \("):
            open_video(path)


def test_no_pictures(tmp_path):
    path = tmp_path / "a.mkv"
    with av.open(os.fspath(path), "w") as container:
        sound = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), "i2"), "s16", "mono")
        frame.sample_rate = 8000
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    with pytest.raises(VideoError, match=r"a\.mkv: has no pictures .* expected a vid"):
        open_video(path)


def test_a_cover_is_no_video(tmp_path):
    path = tmp_path / "a.mp4"
    with av.open(os.fspath(path), "w") as container:
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 32, 32, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))
        picture = picture.reformat(format="yuvj420p")
        container.mux(cover.encode(picture))
        container.mux(cover.encode(None))
    with pytest.raises(VideoError, match=r"a\.mp4: has no pictures \(a cover is none"):
        open_video(path)


def test_nothing_that_can_be_decoded(tmp_path):
    path = encode(tmp_path / "a.mp4", "libx264", noise=200)
    data = bytearray(path.read_bytes())
    start, end = data.index(b"mdat") + 4, data.index(b"moov") - 4
    data[start:end] = b"\xff" * (end - start)
    path.write_bytes(data)
    with pytest.raises(VideoError, match=r"a\.mp4: no picture can be decoded"):
        open_video(path)
    cut(encode(path, "libx264", noise=200), 0.6)  # its index was at the end
    with pytest.raises(VideoError, match=r"a\.mp4: cannot be opened as video"):
        open_video(path)


def test_a_file_that_goes_away(tmp_path):
    path = encode(tmp_path / "a.mp4", "libx264")
    video = open_video(path)
    path.unlink()
    for read in (video.frame_times, lambda: list(video.pictures())):
        with pytest.raises(VideoError, match="no such file"):
            read()


def lists_of(other: pathlib.Path) -> dict[str, str]:
    """Files that are but lists of another, by the name under which libav reads them."""
    return {
        "concat.mp4": f"ffconcat version 1.0\nfile {other.name}\n",
        "concat.avi": f"ffconcat version 1.0\nfile {other.name}\n",
        "hls.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-PLAYLIST-TYPE:VOD\n"
        f"#EXTINF:1.2,\n{other.name}\n#EXT-X-ENDLIST\n",
    }


@pytest.mark.parametrize("name", ["concat.mp4", "concat.avi", "hls.m3u8"])
def test_lists_of_other_files_are_refused(name, tmp_path):
    other = encode(tmp_path / "other.ts", "libx264", 5)
    path = tmp_path / name
    path.write_text(lists_of(other)[name], encoding="utf-8")
    with av.open(os.fspath(path)) as container:  # as libav would have it
        assert len(list(container.decode(video=0))) == 5
    with pytest.raises(VideoError, match=r"cannot be opened as video .* no list of ot"):
        open_video(path)


def test_a_sequence_of_images_is_refused(tmp_path):
    image = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8))
    for number in (1, 2):
        image.save(os.fspath(tmp_path / f"i{number}.png"))
    pattern = tmp_path / "i%d.png"
    shutil.copy(tmp_path / "i1.png", pattern)
    with av.open(os.fspath(pattern)) as container:
        assert len(list(container.decode(video=0))) == 2
    for path in (pattern, tmp_path / "i1.png"):
        with pytest.raises(VideoError, match="cannot be opened as video"):
            open_video(path)


@pytest.mark.parametrize("name", ["concat.wav", "concat.mp3"])
def test_lists_of_sound_files_are_refused(name, tmp_path):
    encode(tmp_path / "other.mkv", "libx264", 3, sound_start_s=0.0)
    path = tmp_path / name
    path.write_text("ffconcat version 1.0\nfile other.mkv\n", encoding="utf-8")
    with av.open(os.fspath(path)) as container:
        assert len(container.streams.audio) == 1
    with pytest.raises(
        SoundError, match=r"cannot be opened as sound .* no list of oth"
    ):
        open_sound(path)


def test_nonsense_rates_are_none(tmp_path):
    stamps = list(range(0, 20))
    path = encode(
        tmp_path / "a.mp4", "libx264", stamps=stamps, ticks=12_000, fps=12_000
    )
    video = open_video(path)
    assert video.fps is None
    times = video.frame_times()
    np.testing.assert_allclose(times.times_s, np.arange(20) / 12_000, atol=1e-9)
    assert times.fps == pytest.approx(12_000)


@pytest.mark.slow
def test_real_videos(shared_data):
    paths = sorted((shared_data / "affwild2_mini" / "videos").rglob("*.*"))
    assert len(paths) == 6
    for path in paths:
        video = open_video(path)
        times = video.frame_times()
        with av.open(os.fspath(path)) as container:
            frames = container.decode(video=0)
            stamps = [Fraction(frame.pts) * frame.time_base for frame in frames]
        assert times.num_frames == len(stamps) == sum(1 for _ in video.pictures())
        expected = [float(stamp - stamps[0]) for stamp in stamps]
        np.testing.assert_allclose(times.times_s, expected, rtol=0, atol=1e-9)
        assert (np.diff(times.times_s) > 0).all()
        assert abs(video.declared_frames - times.num_frames) <= 1
        assert times.fps == pytest.approx(float(video.fps), rel=1e-6)
        assert times.notes == ()


def test_a_file_of_damaged_packets_alone_ends_early(tmp_path, monkeypatch):
    """So many in a row; a few less are what the file lost."""
    path = encode(tmp_path / "a.mkv", "libx264", 40, options={"g": "1"}, noise=200)
    data = bytearray(path.read_bytes())
    with av.open(os.fspath(path)) as container:
        hit = list(container.demux(video=0))[10:16]
    for packet in hit:
        at = data.index(bytes(packet))
        data[at : at + packet.size] = b"\xff" * packet.size
    path.write_bytes(data)
    monkeypatch.setattr(video_decoding, "MAX_FAULTS", 7)
    assert open_video(path, num_threads=1).frame_times().num_frames == 34
    monkeypatch.setattr(video_decoding, "MAX_FAULTS", 6)
    with pytest.raises(VideoError, match=r"a\.mkv: .*packets in a row cannot be dec"):
        open_video(path, num_threads=1).frame_times()


@pytest.mark.parametrize("stated", ["by the file", "by its pictures"])
def test_pictures_that_would_fill_the_memory_are_refused(stated, tmp_path, monkeypatch):
    path = encode(tmp_path / "a.mp4", "libx264", 3)
    most = SIZE[0] * SIZE[1] - 1
    monkeypatch.setattr(video_decoding, "MAX_PIXELS", most)
    message = "no picture can be decoded"
    if stated == "by the file":
        monkeypatch.setattr("avemo_jax.media.video.MAX_PIXELS", most)
        message = f"of 64 x 48 pixels; expected at most {most} pixels"
    with pytest.raises(VideoError, match=message):
        open_video(path)
