"""Matrices in flat files that are mapped into memory, not loaded.

A file is the matrix, row after row, and behind it the 64 characters of a fingerprint of
what it was made from. It is written under another name and renamed when it is whole, so
a file of the right size with the right fingerprint is the right one.
"""

import contextlib
import dataclasses
import pathlib
from collections.abc import Callable, Sequence

import numpy as np
from absl import logging

from avemo_jax.runtime.atomic_files import whole_file


@dataclasses.dataclass(frozen=True)
class FlatFile:
    """A matrix in a flat file.

    Attributes:
        path: The file.
        shape: Rows and columns.
        dtype: Type of the values.
    """

    path: pathlib.Path
    shape: tuple[int, int]
    dtype: type

    @property
    def num_bytes(self) -> int:
        """Bytes of the matrix, without the fingerprint."""
        return self.shape[0] * self.shape[1] * np.dtype(self.dtype).itemsize

    def stands(self, fingerprint: str) -> bool:
        """Whether the file is there and whole, with this fingerprint."""
        if not self.path.is_file():
            return False
        if self.path.stat().st_size != self.num_bytes + len(fingerprint):
            return False
        with self.path.open("rb") as file:
            file.seek(self.num_bytes)
            return file.read() == fingerprint.encode()

    def open(self) -> np.ndarray:
        """The matrix, read-only and memory-mapped."""
        if not self.num_bytes:
            return np.zeros(self.shape, self.dtype)
        return np.memmap(self.path, self.dtype, "r", shape=self.shape)


def open_or_write(
    files: Sequence[FlatFile], fingerprint: str, fill: Callable[..., None]
) -> list[np.ndarray]:
    """The matrices, read-only and memory-mapped; written first if one is not there.

    Args:
        files: The matrices' files; one with another fingerprint is replaced.
        fingerprint: Digest of all that decides the content.
        fill: Writes the content into matrices of zeros, given in the order of
            ``files``; called only if a file is not there with this fingerprint.
    """
    if all(file.stands(fingerprint) for file in files):
        logging.info("%s stands already", files[0].path)
        return [file.open() for file in files]
    with contextlib.ExitStack() as written:
        matrices = []
        paths = []
        for file in files:
            file.path.parent.mkdir(parents=True, exist_ok=True)
            paths.append(written.enter_context(whole_file(file.path)))
            matrices.append(_new(paths[-1], file))
        fill(*matrices)
        for matrix in matrices:
            if isinstance(matrix, np.memmap):
                matrix.flush()
        del matrices
        for path, file in zip(paths, files, strict=True):
            with path.open("rb+") as stream:
                stream.seek(file.num_bytes)
                stream.write(fingerprint.encode())
    return [file.open() for file in files]


def _new(path: pathlib.Path, file: FlatFile) -> np.ndarray:
    """A matrix of zeros in an empty file; rows never written take no room on disk."""
    with path.open("rb+") as stream:
        stream.truncate(file.num_bytes)
    if not file.num_bytes:
        return np.zeros(file.shape, file.dtype)
    return np.memmap(path, file.dtype, "r+", shape=file.shape)
