"""Folders of face crops, one picture a frame, named by the frame's number."""

import dataclasses
import hashlib
import os
import pathlib
import re
from collections.abc import Iterator

import numpy as np
from jaxtyping import Int32, Int64, Shaped

from avemo_jax.data.sources import MAX_FRAME

_PICTURE = re.compile(r"(\d+)\.(?:jpg|jpeg|png)", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class CropFolder:
    """The face crops of one subject-video; arrays, since there may be millions.

    Attributes:
        video: Name of the subject-video.
        path: The folder.
        frame: Official frame numbers, ascending, each once.
        names: The file of each frame, as bytes.
        sizes: Of each file, in bytes.
    """

    video: str
    path: pathlib.Path
    frame: Int32[np.ndarray, " crops"]
    names: Shaped[np.ndarray, " crops"]
    sizes: Int64[np.ndarray, " crops"]

    @property
    def num_bytes(self) -> int:
        """Of all files."""
        return int(self.sizes.sum())

    def paths(self) -> Iterator[tuple[int, pathlib.Path]]:
        """Frame number and file, in order."""
        folder = os.fspath(self.path)
        for frame, name in zip(self.frame, self.names, strict=True):
            yield int(frame), pathlib.Path(folder, name.decode())

    def digest(self) -> str:
        """Sha256 (hex) of names and sizes: tells whether the folder has changed."""
        digest = hashlib.sha256(str(self.names.dtype).encode())
        for array in (self.names, self.sizes.astype("<i8")):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def is_picture(name: str) -> bool:
    """Whether a file's name is a frame number and the ending of a picture."""
    return _PICTURE.fullmatch(name) is not None


def crop_folder(video: str, path: pathlib.Path, pictures: dict[str, int]) -> CropFolder:
    """The crops of a folder.

    Args:
        video: Whose.
        path: The folder.
        pictures: Sizes in bytes by name, as :func:`is_picture` allows.

    Raises:
        ValueError: If a frame is there twice, or a number is out of range.
    """
    numbers = np.array([int(re.match(r"\d+", name)[0]) for name in pictures])  # type: ignore[index]
    names = np.array([name.encode() for name in pictures])
    sizes = np.array(list(pictures.values()), np.int64)
    order = np.argsort(numbers, kind="stable")
    numbers, names, sizes = numbers[order], names[order], sizes[order]
    if numbers[0] < 1 or numbers[-1] > MAX_FRAME:
        wrong = names[0] if numbers[0] < 1 else names[-1]
        raise ValueError(
            f"{path / wrong.decode()}: frame {wrong.decode().split('.')[0]}; expected "
            f"1 to {MAX_FRAME}, since frames count from 1: number the crops anew"
        )
    twice = np.flatnonzero(np.diff(numbers) == 0)
    if len(twice):
        one, two = names[twice[0]].decode(), names[twice[0] + 1].decode()
        raise ValueError(
            f"{path} has {one} and {two} ({len(twice)} such pairs); expected one "
            "picture a frame: remove one of each"
        )
    return CropFolder(video, path, numbers.astype(np.int32), names, sizes)
