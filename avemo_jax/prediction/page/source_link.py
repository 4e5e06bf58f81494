"""Where a page finds its video, and whether browsers play it."""

import os
import pathlib
import shlex
import urllib.parse
from typing import NamedTuple

import av

from avemo_jax.media.containers import open_container, picture_tracks
from avemo_jax.prediction.predicted import Predicted

# What Chromium, Firefox and Safari play from a disk, by libav's names.
_CODECS = {"h264", "vp8", "vp9", "av1"}
_CONTAINERS = {"mp4", "mov", "webm"}
_FORMATS = {"yuv420p", "yuvj420p"}
_TEN_BITS = {"vp9", "av1"}  # plays those too


class SourceLink(NamedTuple):
    """The video as a page refers to it.

    Attributes:
        href: Its address from the page's folder.
        name: Name of the file.
        why_not: Why browsers do not play it, in words; "" where they should.
        command: What makes a copy that they play, as typed into a shell; "" where none
            is needed.
    """

    href: str
    name: str
    why_not: str
    command: str


def source_link(predicted: Predicted, folder: pathlib.Path) -> SourceLink | None:
    """How a page refers to the video of an input; None: it is none, but pictures.

    Args:
        predicted: What is predicted of the input.
        folder: The folder of the page.
    """
    if predicted.files:
        return None
    path = predicted.path
    why_not = _why_not(path)
    command = ""
    if why_not:
        copy = f"{path.stem}-h264.mp4"
        copied = "-c:v libx264 -pix_fmt yuv420p -c:a aac -movflags +faststart".split()
        command = shlex.join(["ffmpeg", "-i", str(path), *copied, copy])
    return SourceLink(_href(path, folder), path.name, why_not, command)


def _href(path: pathlib.Path, folder: pathlib.Path) -> str:
    """The file's address relative to a folder, where both are on one drive."""
    whole = pathlib.Path(os.path.abspath(path))
    try:
        near = os.path.relpath(whole, os.path.abspath(folder))
    except ValueError:  # another drive
        return whole.as_uri()
    parts = pathlib.Path(near).parts
    return "/".join(urllib.parse.quote(os.fsencode(part), safe="") for part in parts)


def _why_not(path: pathlib.Path) -> str:
    """Why browsers do not play a file; "" where they should, or it cannot be read."""
    try:
        with open_container(path) as container:
            tracks = picture_tracks(container)
            if not tracks or tracks[0].codec_context is None:
                return ""
            forms = set(container.format.name.split(","))
            codec = tracks[0].codec_context.name
            pixels = tracks[0].codec_context.pix_fmt or ""
    except (av.error.FFmpegError, OSError, ValueError):
        return ""  # gone or damaged, which the browser will tell
    codec = {"libdav1d": "av1", "libaom-av1": "av1"}.get(codec, codec)
    if codec.removeprefix("lib").split("-")[0] in {"vpx"}:
        codec = codec.removeprefix("libvpx-") if "-" in codec else "vp8"
    if codec not in _CODECS:
        return f"its pictures are in {codec.upper()}, which browsers do not play"
    if not forms & _CONTAINERS or (path.suffix.lower() == ".mkv"):
        return f"browsers do not play files of the kind {path.suffix or 'unknown'}"
    if pixels not in _FORMATS and codec not in _TEN_BITS:
        return (
            f"its pictures are {codec.upper()} in {pixels}, which browsers do not play"
        )
    return ""
