"""Pictures are upright, of square pixels and one size, on black, and it is said."""

import os
from fractions import Fraction

import av
import numpy as np
import pytest
from av.bitstream import BitStreamFilterContext
from made.videos import encode, encode_frames

from avemo_jax.media.rgb_pictures import _orientation
from avemo_jax.media.video import open_video

SIZE = (64, 48)  # width, height
COLOUR = (200, 100, 50)


def corner(width: int = SIZE[0], height: int = SIZE[1]) -> np.ndarray:
    """A dark picture, its upper left corner white."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 3, : 3 * width // 8] = 255
    return image


def frames_of(image: np.ndarray, form: str, count: int = 1) -> list[av.VideoFrame]:
    kind = "rgba" if image.shape[-1] == 4 else "rgb24"
    return [
        av.VideoFrame.from_ndarray(image, kind).reformat(format=form)
        for _ in range(count)
    ]


def bright_part(picture: np.ndarray) -> tuple[float, float, float, float]:
    """Where the bright corner lies: top, bottom, left, right as parts of the sides."""
    rows, columns = np.nonzero(picture[..., 0] > 128)
    height, width, _ = picture.shape
    return (
        rows.min() / height,
        (rows.max() + 1) / height,
        columns.min() / width,
        (columns.max() + 1) / width,
    )


ASPECTS = [
    (Fraction(16, 11), (93, 48)),
    (Fraction(2), (128, 48)),
    (Fraction(8, 9), (64, 54)),
    (Fraction(1, 2), (64, 96)),
]
KINDS = [("mp4", "libx264"), ("mkv", "mpeg4"), ("avi", "mpeg4"), ("h264", "libx264")]


@pytest.mark.parametrize(("aspect", "size"), ASPECTS)
@pytest.mark.parametrize(("ending", "codec"), KINDS)
def test_pixels_become_square_and_nothing_is_lost(
    ending, codec, aspect, size, tmp_path
):
    path = encode_frames(
        tmp_path / f"a.{ending}",
        codec,
        frames_of(corner(), "yuv420p", 12),
        aspect=aspect,
    )
    video = open_video(path)
    pictures = list(video.pictures())
    assert (video.width, video.height) == size
    assert {picture.shape for picture in pictures} == {(size[1], size[0], 3)}
    np.testing.assert_allclose(
        bright_part(pictures[0]), (0, 1 / 3, 0, 3 / 8), atol=0.05
    )
    assert video.notes == (
        f"pixels of {aspect.numerator}:{aspect.denominator} made square: 64 x 48 "
        f"stretched to {size[0]} x {size[1]}",
    )
    assert video.losses == video.frame_times().notes[12:] == ()


def test_square_pixels_and_rounding_are_left(tmp_path):
    for aspect in (Fraction(1), Fraction(1280, 1279), None):
        path = encode_frames(
            tmp_path / "a.mkv", "mpeg4", frames_of(corner(), "yuv420p"), aspect=aspect
        )
        video = open_video(path)
        assert [p.shape for p in video.pictures()] == [(48, 64, 3)]
        assert video.notes == ()


@pytest.mark.parametrize("aspect", [Fraction(1, 8), Fraction(5)])
def test_pixels_that_cannot_be_are_left_and_said(aspect, tmp_path):
    path = encode_frames(
        tmp_path / "a.mkv", "mpeg4", frames_of(corner(), "yuv420p"), aspect=aspect
    )
    video = open_video(path)
    assert [p.shape for p in video.pictures()] == [(48, 64, 3)]
    (note,) = video.notes
    told = f"pixels of {aspect.numerator}:{aspect.denominator} are taken for square"
    assert note.startswith(told)


def test_dv_is_wide_and_interlaced(tmp_path):
    path = encode_frames(
        tmp_path / "a.dv", "dvvideo", frames_of(corner(720, 576), "yuv420p", 3)
    )
    video = open_video(path)
    assert {p.shape for p in video.pictures()} == {(576, 768, 3)}
    assert video.notes == (
        "pixels of 16:15 made square: 720 x 576 stretched to 768 x 576",
        "interlaced: a picture has lines of two moments",
    )


def test_pixels_are_made_square_before_they_are_turned(tmp_path):
    path = encode_frames(
        tmp_path / "a.mp4",
        "libx264",
        frames_of(corner(), "yuv420p", 3),
        aspect=Fraction(3, 2),
        turned={"degrees": 90},
    )
    video = open_video(path)
    picture = next(video.pictures())
    assert picture.shape == (96, 48, 3)
    assert (video.width, video.height) == (48, 96)
    # Counterclockwise: the upper left corner is now the lower left one.
    np.testing.assert_allclose(bright_part(picture), (5 / 8, 1, 0, 1 / 3), atol=0.05)


@pytest.mark.parametrize(
    ("turn", "part"),
    [
        ({"rotate": "90"}, (5 / 8, 1, 0, 1 / 3)),  # counterclockwise, by H.264
        ({"rotate": "180"}, (2 / 3, 1, 5 / 8, 1)),
        ({"flip": "horizontal"}, (0, 1 / 3, 5 / 8, 1)),
        ({"flip": "vertical"}, (2 / 3, 1, 0, 3 / 8)),
    ],
)
def test_a_turn_that_only_the_codec_states(turn, part, tmp_path):
    source = encode_frames(
        tmp_path / "a.mkv",
        "libx264",
        frames_of(corner(), "yuv420p", 12),
        options={"bf": "0"},
    )
    path = tmp_path / "b.mkv"
    how = ":".join(f"{name}={value}" for name, value in turn.items())
    with av.open(os.fspath(source)) as given, av.open(os.fspath(path), "w") as out:
        track = out.add_stream_from_template(given.streams.video[0])
        inserts = BitStreamFilterContext(
            f"h264_metadata=display_orientation=insert:{how}", given.streams.video[0]
        )
        for packet in given.demux():
            for made in inserts.filter(packet if packet.size else None):
                made.stream = track
                out.mux(made)
    video = open_video(path)
    pictures = list(video.pictures())
    assert len(pictures) == 12
    for picture in pictures:
        np.testing.assert_allclose(bright_part(picture), part, atol=0.05)
    assert (video.height > video.width) == (turn.get("rotate") == "90")
    assert video.notes == ()


MATRICES = [
    ((1, 0, 0, 1), (False, False, False)),
    ((-1, 0, 0, 1), (False, True, False)),
    ((1, 0, 0, -1), (False, False, True)),
    ((-1, 0, 0, -1), (False, True, True)),
    ((0, 1, 1, 0), (True, False, False)),
    ((0, 1, -1, 0), (True, True, False)),
    ((0, -1, 1, 0), (True, False, True)),
    ((0, -1, -1, 0), (True, True, True)),
    ((0, 0, 0, 0), (False, False, False)),
]


@pytest.mark.parametrize(("numbers", "expected"), MATRICES)
def test_all_eight_orientations(numbers, expected):
    """A point (x, y) goes to (a x + c y, b x + d y), within a centred picture."""
    a, b, c, d = numbers
    how = _orientation(np.array([[a, b], [c, d]], float), ())
    assert (how.is_turned, how.flips_x, how.flips_y) == expected
    assert how.notes == ()
    image = np.arange(9).reshape(3, 3)
    if not any(numbers):
        return
    shown = np.zeros_like(image)
    for y in (-1, 0, 1):
        for x in (-1, 0, 1):
            shown[b * x + d * y + 1, a * x + c * y + 1] = image[y + 1, x + 1]
    found = image.T if how.is_turned else image
    found = found[:: -1 if how.flips_y else 1, :: -1 if how.flips_x else 1]
    np.testing.assert_array_equal(found, shown)


@pytest.mark.parametrize(("degrees", "is_turned"), [(30, False), (-60, True)])
def test_pictures_that_are_askew_are_said(degrees, is_turned, tmp_path):
    path = encode_frames(
        tmp_path / "a.mp4",
        "mpeg4",
        frames_of(corner(), "yuv420p", 2),
        turned={"degrees": degrees},
    )
    video = open_video(path)
    assert [p.shape for p in video.pictures()] == [
        (64, 48, 3) if is_turned else (48, 64, 3)
    ] * 2
    assert video.notes == (
        "pictures are 30 degrees askew; only quarter turns are applied",
    )


@pytest.mark.parametrize("size", [(66, 50), (62, 46), (102, 34)])
@pytest.mark.parametrize(
    ("codec", "options"),
    [("libx264", {}), ("libx265", {"x265-params": "log-level=none"})],
)
def test_what_a_codec_crops_is_cropped(codec, options, size, tmp_path):
    """Both store whole blocks of 8 or 16 pixels, and state what to cut."""
    path = encode_frames(
        tmp_path / "a.mp4",
        codec,
        frames_of(corner(*size), "yuv420p", 3),
        options=options,
    )
    video = open_video(path)
    pictures = list(video.pictures())
    assert {picture.shape for picture in pictures} == {(size[1], size[0], 3)}
    np.testing.assert_allclose(
        bright_part(pictures[0]), (0, 1 / 3, 0, 3 / 8), atol=0.05
    )
    assert video.notes == ()


@pytest.mark.parametrize("num_threads", [1, 3])
def test_a_size_that_changes_on_the_way(num_threads, tmp_path):
    first = encode(tmp_path / "a.h264", "libx264", 10)
    second = encode(tmp_path / "b.h264", "libx264", 10, size=(96, 80))
    first.write_bytes(first.read_bytes() + second.read_bytes())
    video = open_video(first, num_threads=num_threads)
    pictures = list(video.pictures())
    assert len(pictures) == 20
    assert {picture.shape for picture in pictures} == {(48, 64, 3)}
    told = "the size changes on the way; all pictures are scaled to that of the first"
    assert told in video.notes
    assert video.losses == ()


@pytest.mark.parametrize("num_threads", [1, 3])
def test_a_shape_of_pixels_that_changes_on_the_way(num_threads, tmp_path):
    paths = [
        encode_frames(
            tmp_path / f"{number}.h264",
            "libx264",
            frames_of(corner(), "yuv420p", 10),
            aspect=aspect,
        )
        for number, aspect in enumerate((Fraction(4, 3), Fraction(1)))
    ]
    whole = tmp_path / "a.h264"
    whole.write_bytes(b"".join(path.read_bytes() for path in paths))
    video = open_video(whole, num_threads=num_threads)
    assert {picture.shape for picture in video.pictures()} == {(48, 85, 3)}
    assert (
        "the shape of pixels changes on the way; that of the first picture is kept"
    ) in video.notes


TRANSPARENT = [
    ("mov", "qtrle", "argb"),
    ("mov", "png", "rgba"),
    ("mov", "prores_ks", "yuva444p10le"),
    ("mkv", "ffv1", "yuva420p"),
    ("avi", "rawvideo", "bgra"),
]


@pytest.mark.parametrize(("ending", "codec", "form"), TRANSPARENT)
def test_transparency_lies_on_black(ending, codec, form, tmp_path):
    image = np.full((48, 64, 4), 255, np.uint8)
    image[..., :3] = COLOUR
    image[:16, :, 3], image[16:32, :, 3] = 0, 128
    path = encode_frames(tmp_path / f"a.{ending}", codec, frames_of(image, form, 2))
    video = open_video(path)
    for picture in video.pictures():
        np.testing.assert_allclose(
            picture[[8, 24, 40], 30],
            [(0, 0, 0), np.array(COLOUR) * 128 / 255, COLOUR],
            rtol=0,
            atol=3,
        )
    assert video.notes == ("transparency, composed on black",)


@pytest.mark.parametrize(("ending", "codec", "form"), TRANSPARENT)
def test_opaque_pictures_are_left(ending, codec, form, tmp_path):
    image = np.full((48, 64, 4), 255, np.uint8)
    image[..., :3] = COLOUR
    path = encode_frames(tmp_path / f"a.{ending}", codec, frames_of(image, form, 2))
    video = open_video(path)
    for picture in video.pictures():
        np.testing.assert_allclose(
            picture, np.broadcast_to(COLOUR, picture.shape), rtol=0, atol=3
        )
    assert video.notes == ()


def test_transparency_that_is_not_decoded_is_said(tmp_path):
    image = np.full((48, 64, 4), 128, np.uint8)
    path = encode_frames(
        tmp_path / "a.webm", "libvpx-vp9", frames_of(image, "yuva420p", 3)
    )
    video = open_video(path)
    for _ in video.pictures():
        pass
    assert video.notes == (
        "transparency, which is not decoded and shows what is beneath",
    )


def test_interlaced_pictures_are_said(tmp_path):
    path = encode_frames(
        tmp_path / "a.mkv",
        "mpeg2video",
        frames_of(corner(), "yuv420p", 12),
        options={"flags": "+ildct+ilme"},
    )
    video = open_video(path)
    assert len(list(video.pictures())) == 12
    assert video.notes == ("interlaced: a picture has lines of two moments",)
    assert video.frame_times().losses == ()
