"""Cropping that a container asks for is said."""

import pathlib
import struct

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made.videos import encode_frames

from avemo_jax.media.container_cropping import _elements, _has_crops, is_cropped
from avemo_jax.media.video import open_video

CROPPED = "the container crops the pictures, which is not applied: they are whole"


def encoded(path: pathlib.Path) -> pathlib.Path:
    image = np.full((48, 64, 3), 128, np.uint8)
    frame = av.VideoFrame.from_ndarray(image).reformat(format="yuv420p")
    return encode_frames(path, "mpeg4", [frame])


def with_aperture(path: pathlib.Path, width: int, height: int) -> pathlib.Path:
    """The MP4 with a clean aperture in its first sample's description."""
    data = path.read_bytes()
    numbers = struct.pack(">IIIIiIiI", width, 1, height, 1, 0, 1, 0, 1)
    box = struct.pack(">I", 40) + b"clap" + numbers
    entry = data.index(b"mp4v", data.index(b"stsd")) - 4
    end = entry + int.from_bytes(data[entry : entry + 4])
    grown = bytearray(data[:end] + box + data[end:])
    for name in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"mp4v"):
        at = data.index(name, data.index(b"moov")) - 4
        size = int.from_bytes(data[at : at + 4]) + len(box)
        grown[at : at + 4] = size.to_bytes(4)
    path.write_bytes(grown)
    return path


def notes_of(path: pathlib.Path) -> tuple[str, ...]:
    video = open_video(path)
    assert [picture.shape[0] for picture in video.pictures()] == [video.height]
    return video.notes


@pytest.mark.parametrize(
    ("aperture", "notes"),
    [((56, 48), (CROPPED,)), ((64, 40), (CROPPED,)), ((64, 48), ())],
)
@pytest.mark.parametrize("ending", ["mp4", "mov"])
def test_a_clean_aperture_is_said(ending, aperture, notes, tmp_path):
    path = with_aperture(encoded(tmp_path / f"a.{ending}"), *aperture)
    assert notes_of(path) == notes


@pytest.mark.parametrize("number", [b"\x54\xaa", b"\x54\xbb", b"\x54\xcc", b"\x54\xdd"])
@pytest.mark.parametrize(("pixels", "notes"), [(8, (CROPPED,)), (0, ())])
def test_pixels_that_matroska_crops_are_said(number, pixels, notes, tmp_path):
    path = encoded(tmp_path / "a.mkv")
    data = path.read_bytes()
    unit = b"\x54\xb2\x81\x04"  # the unit of the size that is shown is unknown
    assert data.count(unit) == 1
    path.write_bytes(data.replace(unit, number + b"\x81" + bytes([pixels])))
    assert notes_of(path) == notes


def test_files_without_cropping(tmp_path):
    for ending in ("mp4", "mov", "mkv", "avi"):
        assert notes_of(encoded(tmp_path / f"a.{ending}")) == ()


def test_elements_of_ebml():
    data = b"\x42\x86\x81\x07" + b"\xae\x40\x02ab" + b"\xec\x80" + b"\xae\xffrest"
    assert list(_elements(data, {0xAE})) == [b"ab", b"rest"]
    assert list(_elements(data, {0x4286, 0xEC})) == [b"\x07", b""]


@given(st.binary(max_size=200), st.integers(0, 200))
def test_any_bytes_end(data, at):
    _has_crops(data)
    cut = (b"\x18\x53\x80\x67\xff\x16\x54\xae\x6b\xff" + data)[:at]
    assert _has_crops(cut) in (True, False)


@given(st.binary(max_size=64), st.integers(0, 2**33))
def test_any_boxes_end(tmp_path_factory, data, length):
    path = tmp_path_factory.getbasetemp() / "boxes.mp4"
    head = struct.pack(">I4sIQ", min(length, 2**32 - 1), b"free", 1, length)
    path.write_bytes(head + data + b"\0\0\0\0moov" + data)
    assert is_cropped(path, "mov,mp4", (64, 48)) in (True, False)
