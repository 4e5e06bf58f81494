"""Only regular files are opened, in each reader of media."""

import os
import pathlib
import socket

import pytest

from avemo_jax.media.audio import SoundError, open_sound
from avemo_jax.media.images import ImageError, read_image
from avemo_jax.media.video import VideoError, open_video
from avemo_jax.runtime.regular_files import fault_of

READERS = [
    (read_image, ImageError),
    (open_sound, SoundError),
    (open_video, VideoError),
]


@pytest.fixture
def place(tmp_path: pathlib.Path, monkeypatch):
    """Makes something that is no regular file, and gives its path."""

    def made(kind: str) -> str:
        path = tmp_path / "a.mp4"
        if kind == "folder":
            path.mkdir()
        elif kind == "pipe":
            os.mkfifo(path)
        elif kind == "socket":
            monkeypatch.chdir(tmp_path)  # a socket's path is short
            with socket.socket(socket.AF_UNIX) as one:
                one.bind(path.name)
        elif kind == "link to a pipe":
            os.mkfifo(tmp_path / "pipe")
            path.symlink_to("pipe")
        elif kind == "empty":
            path.touch()
        elif kind == "device":
            return "/dev/zero"
        elif kind == "a NUL":
            return "a\0b"
        return str(path)

    return made


@pytest.mark.parametrize(("read", "error"), READERS)
@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("folder", "is a folder"),
        ("pipe", "is a pipe"),
        ("link to a pipe", "is a pipe"),
        ("socket", "is a socket"),
        ("device", "is a device"),
        ("empty", "empty, 0 bytes"),
        ("nothing", "no such file"),
        ("a NUL", "has a NUL in its name"),
    ],
)
def test_what_is_no_regular_file_is_refused(read, error, kind, said, place):
    with pytest.raises(error, match=f"(?:{said}); expected ") as caught:
        read(place(kind))
    assert "\n" not in str(caught.value)


def test_a_file_and_a_link_to_it_may_be_opened(tmp_path):
    path = tmp_path / "a"
    path.write_text("x")
    (tmp_path / "b").symlink_to("a")
    assert fault_of(path) == fault_of(str(tmp_path / "b")) == ""
