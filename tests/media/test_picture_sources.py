"""Image files and parts of a video, read as a video's pictures are."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest
from made.videos import encode, numbers_of
from PIL import Image

from avemo_jax.media.images import ImageError
from avemo_jax.media.picture_sources import (
    ImageSequence,
    PartOfPictures,
    PictureSource,
    read_ahead,
)
from avemo_jax.media.video import open_video


@pytest.fixture
def files(tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(4)]
    for i, path in enumerate(paths):
        Image.fromarray(np.full((6, 8, 3), 10 * i, np.uint8)).save(path)
    return paths


def test_image_files_are_pictures_of_the_size_of_the_first(files, tmp_path):
    Image.fromarray(np.full((12, 16, 3), 90, np.uint8)).save(files[2])
    files[3].write_bytes(b"no picture")
    sequence = ImageSequence(tmp_path, files)
    assert isinstance(sequence, PictureSource)
    pictures = list(sequence.pictures())
    assert {picture.shape for picture in pictures} == {(6, 8, 3)}
    assert [int(picture.mean()) for picture in pictures] == [0, 10, 90, 0]
    (lost,) = sequence.losses
    assert lost.startswith("1 of 4 pictures cannot be read (first: 3.png: no picture")
    assert sequence.notes[1].startswith("1 pictures of another size than the first")


def test_one_image_that_cannot_be_read_is_an_error(files, tmp_path):
    files[0].write_bytes(b"")
    with pytest.raises(ImageError, match=r"0\.png: empty, 0 bytes"):
        ImageSequence(files[0], files[:1])
    sequence = ImageSequence(tmp_path, files[1:2])
    files[1].write_bytes(b"no picture")
    with pytest.raises(ImageError, match=r"1\.png: no picture"):
        list(sequence.pictures())


def test_a_part_of_a_video(tmp_path):
    video = open_video(encode(tmp_path / "clip.mp4", "libx264", 12))
    part = PartOfPictures(video, 3, 7)
    assert isinstance(video, PictureSource)
    assert isinstance(part, PictureSource)
    assert (part.path, part.width, part.height) == (video.path, 64, 48)
    assert numbers_of(list(part.pictures()), 12) == [3, 4, 5, 6]
    assert numbers_of(list(PartOfPictures(video, 9).pictures()), 12) == [9, 10, 11]
    assert (part.notes, part.losses) == ((), ())


def test_items_are_made_a_few_ahead_by_one_thread():
    made: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(10):
            made.append(threading.get_ident())
            yield number

    items = read_ahead(numbers(), 3)
    assert next(items) == 0
    assert len(made) <= 4
    assert [*items] == [*range(1, 10)]
    assert len(set(made)) == 1
    assert made[0] != threading.get_ident()


def test_an_error_comes_in_its_place():
    def numbers() -> Iterator[int]:
        yield 1
        raise ValueError("no more")

    items = read_ahead(numbers())
    assert next(items) == 1
    with pytest.raises(ValueError, match="no more"):
        next(items)


def test_what_is_not_asked_for_is_not_made():
    made = []
    items = read_ahead(map(made.append, range(1000)), 3)
    next(items)
    items.close()
    assert len(made) <= 4
