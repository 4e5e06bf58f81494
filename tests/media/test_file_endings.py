"""Endings of files: all that libav reads and that is allowed, found and opened."""

import os
import pathlib
from fractions import Fraction

import av
import numpy as np
import pytest

from avemo_jax.data.corpus.official_trees import find_recordings
from avemo_jax.media import file_endings
from avemo_jax.media.audio import open_sound
from avemo_jax.media.file_endings import (
    FORMATS,
    PICTURE_ENDINGS,
    SOUND_ENDINGS,
    USUAL_SOUND,
    USUAL_VIDEO,
    VIDEO_ENDINGS,
    ending_of,
    without_endings,
)
from avemo_jax.media.video import open_video

RATE = 48_000
# Of formats that are opened, but of no video or sound: pictures, subtitles, lists.
OTHERS = {"avif", "gif", "heic", "heif", "j2k", "mpo"} | {"mks", "ism", "apl", "mac"}
OTHERS |= {"avs"}  # also what AviSynth calls its scripts


def test_what_libav_reads_is_found():
    known = set()
    for name in FORMATS:
        known |= set(av.format.ContainerFormat(name, "r").extensions)
    ours = {ending[1:] for ending in SOUND_ENDINGS | VIDEO_ENDINGS}
    assert known - ours <= OTHERS
    assert not ours & OTHERS


def test_an_ending_is_of_one_kind():
    kinds = (SOUND_ENDINGS, VIDEO_ENDINGS, PICTURE_ENDINGS)
    assert sum(map(len, kinds)) == len(frozenset().union(*kinds))
    assert set(USUAL_SOUND) <= SOUND_ENDINGS
    assert set(USUAL_VIDEO) <= VIDEO_ENDINGS


@pytest.mark.parametrize(
    ("name", "ending", "without"),
    [
        ("a.MTS", ".mts", "a"),
        ("a", "", "a"),
        (".mp4", "", ".mp4"),
        ("a.b", ".b", "a"),
        ("a.mp4.b", ".b", "a"),
        ("a.b.mp4", ".mp4", "a.b"),
    ],
)
def test_endings_of_names(name, ending, without):
    assert (ending_of(name), without_endings(name)) == (ending, without)


SOUNDS = {
    "aif": ("aiff", "pcm_s16be"),
    "aiff": ("aiff", "pcm_s16be"),
    "wma": ("asf", "wmav2"),
    "caf": ("caf", "pcm_s16le"),
    "mka": ("matroska", "libopus"),
    "oga": ("ogg", "libopus"),
    "w64": ("w64", "pcm_s16le"),
    "au": ("au", "pcm_s16be"),
    "mp2": ("mp2", "mp2"),
    "ac3": ("ac3", "ac3"),
    "m4b": ("ipod", "aac"),
    "weba": ("webm", "libopus"),
    "voc": ("voc", "pcm_s16le"),
    "tta": ("tta", "tta"),
    "wv": ("wv", "wavpack"),
}
VIDEOS = {
    "MTS": ("mpegts", "libx264"),
    "m2ts": ("mpegts", "libx264"),
    "ts": ("mpegts", "mpeg2video"),
    "3gp": ("3gp", "mpeg4"),
    "asf": ("asf", "msmpeg4"),
    "wmv": ("asf", "wmv2"),
    "vob": ("vob", "mpeg2video"),
    "mxf": ("mxf", "mpeg2video"),
    "flv": ("flv", "flv"),
    "mpg": ("mpeg", "mpeg1video"),
    "mjpg": ("mjpeg", "mjpeg"),
    "y4m": ("yuv4mpegpipe", "rawvideo"),
    "m2v": ("mpeg2video", "mpeg2video"),
    "264": ("h264", "libx264"),
    "qt": ("mov", "mpeg4"),
    "dv": ("dv", "dvvideo"),
    "nut": ("nut", "mpeg4"),
}


def write_sound(path: pathlib.Path, form: str, codec: str) -> None:
    with av.open(os.fspath(path), "w", format=form) as container:
        track = container.add_stream(codec, rate=RATE, layout="mono")
        track.bit_rate = 64_000
        resampler = av.AudioResampler(track.codec_context.format, "mono", RATE)
        wave = 0.3 * np.sin(np.arange(RATE // 2, dtype=np.float32) / 9)[None]
        size = track.codec_context.frame_size or 1024
        for start in range(0, wave.shape[1], size):
            part = np.ascontiguousarray(wave[:, start : start + size])
            frame = av.AudioFrame.from_ndarray(part, "fltp", "mono")
            frame.sample_rate, frame.pts = RATE, start
            frame.time_base = Fraction(1, RATE)
            for made in resampler.resample(frame):
                container.mux(track.encode(made))
        container.mux(track.encode(None))


def write_video(path: pathlib.Path, form: str, codec: str) -> None:
    size = (720, 576) if codec == "dvvideo" else (64, 48)
    with av.open(os.fspath(path), "w", format=form) as container:
        track = container.add_stream(codec, rate=25)
        track.width, track.height = size
        track.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        rng = np.random.default_rng(0)
        for number in range(5):
            image = rng.integers(0, 256, (size[1], size[0], 3), np.uint8)
            frame = av.VideoFrame.from_ndarray(image).reformat(format=track.pix_fmt)
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(track.encode(frame))
        container.mux(track.encode(None))


@pytest.mark.parametrize("ending", SOUNDS)
def test_sound_of_other_endings_is_found_and_read(ending, tmp_path):
    path = tmp_path / f"a.{ending}"
    write_sound(path, *SOUNDS[ending])
    assert find_recordings(tmp_path) == ({}, {"a": path})
    count = sum(map(len, open_sound(path).blocks(RATE)))
    assert count == pytest.approx(RATE / 2, rel=0.15)


@pytest.mark.parametrize("ending", VIDEOS)
def test_videos_of_other_endings_are_found_and_read(ending, tmp_path):
    path = tmp_path / f"a.{ending}"
    write_video(path, *VIDEOS[ending])
    assert find_recordings(tmp_path) == ({"a": path}, {})
    assert len(list(open_video(path).pictures())) >= 4


def test_the_documentation_lists_all_endings():
    text = (pathlib.Path(__file__).parents[2] / "docs/ways_in/sound.md").read_text()
    for kind in (SOUND_ENDINGS, VIDEO_ENDINGS, PICTURE_ENDINGS):
        assert f"`{' '.join(sorted(kind))}`".replace("\n", " ") in " ".join(
            text.split()
        )


def test_formats_are_listed_once():
    assert len(FORMATS) == len(set(FORMATS))
    assert set(FORMATS) == {*file_endings._SOUND, *file_endings._VIDEO}
