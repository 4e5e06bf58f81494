"""Pictures that are read like those of a video: of image files, and of a part.

A :class:`PictureSource` gives its pictures anew each time that it is read, all of one
size.
"""

import collections
import concurrent.futures
import itertools
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from avemo_jax.media.images import ImageError, read_image

Picture = UInt8[np.ndarray, "height width 3"]
_AHEAD = 4  # items that are made before they are asked for
_T = TypeVar("_T")


@runtime_checkable
class PictureSource(Protocol):
    """Pictures in the order in which they are shown, as a video file has them.

    Attributes:
        path: The file, or the folder of files, for messages.
        width: Width of the pictures in pixels.
        height: Height of the pictures in pixels.
        notes: After the pictures were read, what a user should know, in words.
        losses: Those of the notes that say that something is missing.
    """

    path: pathlib.Path
    width: int
    height: int

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of the pictures that were read."""
        ...

    @property
    def losses(self) -> tuple[str, ...]:
        """What of them is missing, in words."""
        ...

    def pictures(self) -> Iterator[UInt8[np.ndarray, "_ _ 3"]]:
        """The pictures from the first on, RGB, upright, all of one size."""
        ...


class ImageSequence:
    """Image files as the pictures of a video; one file is a sequence too.

    Attributes:
        path: The folder of the files, or the one file.
        files: The files, in the order in which they are shown.
        width: Width of the first picture, and so of all.
        height: Height of the first picture, and so of all.
    """

    def __init__(self, path: str | os.PathLike[str], files: Sequence[pathlib.Path]):
        """Reads the first picture.

        Args:
            path: The folder of the files, or the one file.
            files: The files, one or more, in the order in which they are shown.

        Raises:
            ImageError: If the first file cannot be read.
        """
        self.path = pathlib.Path(path)
        self.files = tuple(files)
        self.height, self.width = read_image(self.files[0]).shape[:2]
        self._losses: tuple[str, ...] = ()
        self._scaled = 0

    @property
    def notes(self) -> tuple[str, ...]:
        """The losses, and how many pictures were scaled."""
        if not self._scaled:
            return self._losses
        size = f"{self.width} x {self.height} pixels"
        return (
            *self._losses,
            f"{self._scaled} pictures of another size than the first, scaled to {size}",
        )

    @property
    def losses(self) -> tuple[str, ...]:
        """The files that could not be read the last time."""
        return self._losses

    def pictures(self) -> Iterator[Picture]:
        """The pictures; a black one where a file cannot be read.

        Raises:
            ImageError: If none of the files can be read.
        """
        faults: list[str] = []
        scaled = 0
        for file in self.files:
            try:
                picture = read_image(file)
            except ImageError as error:
                faults.append(str(error).replace(str(file), file.name))
                if len(faults) == len(self.files):
                    raise
                picture = np.zeros((self.height, self.width, 3), np.uint8)
            if picture.shape[:2] != (self.height, self.width):
                scaled += 1
                image = Image.fromarray(picture)
                picture = np.asarray(image.resize((self.width, self.height)))
            yield picture
        self._scaled = scaled
        self._losses = ()
        if faults:
            said = f"{len(faults)} of {len(self.files)} pictures cannot be read"
            self._losses = (f"{said} (first: {faults[0]})",)


class PartOfPictures:
    """Some pictures of a source: from one to another.

    Attributes:
        path: The source's file.
        width: Width of the pictures in pixels.
        height: Height of the pictures in pixels.
    """

    def __init__(self, whole: PictureSource, start: int, stop: int | None = None):
        """A part; nothing is read.

        Args:
            whole: The source, which is read from its start.
            start: Index of the first picture of the part.
            stop: Index of the first picture after the part; None: it ends with the
                source, which then says whether something is missing at the end.
        """
        self.path, self.width, self.height = whole.path, whole.width, whole.height
        self._whole, self._start, self._stop = whole, start, stop

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of the whole source."""
        return self._whole.notes

    @property
    def losses(self) -> tuple[str, ...]:
        """What of the whole source is missing, in words."""
        return self._whole.losses

    def pictures(self) -> Iterator[Picture]:
        """The pictures of the part.

        Raises:
            ValueError: If the file is gone or cannot be read.
        """
        return itertools.islice(self._whole.pictures(), self._start, self._stop)


def read_ahead(items: Iterator[_T], count: int = _AHEAD) -> Iterator[_T]:
    """The items, made in a thread of their own, a few before they are asked for.

    So pictures are decoded while networks run: libav and Pillow leave Python to others
    while they work.

    Args:
        items: The items, all made by one thread.
        count: Number of items that may wait.
    """
    end = object()
    pool = concurrent.futures.ThreadPoolExecutor(1)
    try:
        begun = collections.deque(pool.submit(next, items, end) for _ in range(count))
        while (item := begun.popleft().result()) is not end:
            begun.append(pool.submit(next, items, end))
            yield item  # type: ignore[misc]
    finally:
        pool.shutdown(cancel_futures=True)
