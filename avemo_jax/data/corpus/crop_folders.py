"""Folders of face crops, one picture a frame, named by the frame's number."""

import dataclasses
import hashlib
import os
import pathlib
import re
from collections.abc import Iterator

import numpy as np
from jaxtyping import Int32, Int64, Shaped

from avemo_jax.data.records import MAX_FRAME
from avemo_jax.media.file_endings import PICTURE_ENDINGS

# Digits are 0 to 9; Python would take those of other scripts for numbers too.
_NUMBER = re.compile("[0-9]+")


@dataclasses.dataclass(frozen=True, eq=False)
class CropFolder:
    """The face crops of one subject-video; arrays, since there may be millions.

    Two are compared by their ``digest``.

    Attributes:
        video: Name of the subject-video.
        path: The folder.
        frame: Official frame numbers, ascending, each once.
        names: File name of each frame, as ASCII bytes.
        sizes: Size of each file, in bytes.
    """

    video: str
    path: pathlib.Path
    frame: Int32[np.ndarray, " crops"]
    names: Shaped[np.ndarray, " crops"]
    sizes: Int64[np.ndarray, " crops"]

    @property
    def num_bytes(self) -> int:
        """Size of all files together."""
        return int(self.sizes.sum())

    def paths(self) -> Iterator[tuple[int, pathlib.Path]]:
        """Number and file of each frame, in order."""
        folder = os.fspath(self.path)
        for frame, name in zip(self.frame, self.names, strict=True):
            yield int(frame), pathlib.Path(folder, name.decode())

    def digest(self) -> str:
        """Sha256 (hex) of names and sizes; changes when the folder does."""
        digest = hashlib.sha256(str(self.names.dtype).encode())
        for array in (self.names, self.sizes.astype("<i8")):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def is_picture(name: str) -> bool:
    """Whether a file's name is a frame number and the ending of a picture."""
    number, _, ending = name.partition(".")
    return f".{ending}".lower() in PICTURE_ENDINGS and bool(_NUMBER.fullmatch(number))


def crop_folder(video: str, path: pathlib.Path, pictures: dict[str, int]) -> CropFolder:
    """The crops of a folder.

    Args:
        video: Name of the subject-video.
        path: The folder.
        pictures: Sizes in bytes by file name, at least one; every name is one that
            :func:`is_picture` accepts.

    Raises:
        ValueError: If a frame is there twice, or a number is out of range.
    """
    # Names have up to 250 digits: numbers beyond int64 become one that is refused.
    large = MAX_FRAME + 1
    found = (min(int(name.partition(".")[0]), large) for name in pictures)
    numbers = np.fromiter(found, np.int64, len(pictures))
    names = np.array([name.encode() for name in pictures])
    sizes = np.fromiter(pictures.values(), np.int64, len(pictures))
    order = np.lexsort((names, numbers))
    numbers, names, sizes = numbers[order], names[order], sizes[order]
    wrong = names[(numbers < 1) | (numbers > MAX_FRAME)]
    if len(wrong):
        first = wrong[0].decode()
        raise ValueError(
            f"{path / first}: frame {first.partition('.')[0]}; expected 1 to "
            f"{MAX_FRAME}, since frames count from 1: number the crops of this folder "
            "anew"
        )
    twice = np.flatnonzero(np.diff(numbers) == 0)
    if len(twice):
        one, two = names[twice[0]].decode(), names[twice[0] + 1].decode()
        raise ValueError(
            f"{path} has {one} and {two} ({len(twice)} such pairs); expected one "
            "picture a frame: remove one of each"
        )
    return CropFolder(video, path, numbers.astype(np.int32), names, sizes)
