"""Some pictures of a video: those that are shown then, and key frames near."""

import pytest
from made.videos import encode, numbers_of

from avemo_jax.media.chosen_pictures import key_pictures, pictures_at
from avemo_jax.media.video_decoding import VideoError

COUNT = 41  # as many as differ in brightness
WANTED = [0, 3, 4, 17, 40]
CODECS = {
    "mp4": ("libx264", {"g": "10"}),
    "mkv": ("libx264", {}),
    "avi": ("mpeg4", {}),
    "webm": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}),
}


@pytest.mark.parametrize("ending", CODECS)
def test_pictures_are_those_shown_then(tmp_path, ending):
    codec, options = CODECS[ending]
    path = encode(tmp_path / f"a.{ending}", codec, COUNT, options=options)
    found = pictures_at(path, [number / 25 for number in WANTED])
    assert numbers_of(list(found), COUNT) == WANTED
    between = pictures_at(path, [17.6 / 25])
    assert numbers_of(list(between), COUNT) == [17]


@pytest.mark.parametrize(
    ("codec", "key"), [("libx264", "x264-params"), ("libx265", "x265-params")]
)
def test_key_frames_before_the_times_each_once(tmp_path, codec, key):
    options = {key: "keyint=10:min-keyint=10:scenecut=0:log-level=none"}
    path = encode(tmp_path / "a.mp4", codec, COUNT, options=options)
    found = list(key_pictures(path, [number / 25 for number in (0, 4, 12, 18, 40)]))
    assert [round(time_s * 25) for time_s, _ in found] == [0, 10, 40]
    assert numbers_of([picture for _, picture in found], COUNT) == [0, 10, 40]


def test_a_file_that_is_no_video_is_told(tmp_path):
    with pytest.raises(VideoError, match=r"cannot be opened.*expected"):
        list(pictures_at(tmp_path / "gone.mp4", [0.0]))
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(VideoError, match="cannot be opened as video"):
        list(key_pictures(tmp_path / "text.mp4", [0.0]))
