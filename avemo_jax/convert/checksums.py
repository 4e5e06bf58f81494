"""Checksums of files."""

import hashlib
import os
import pathlib

_BLOCK = 2**20


def digests(path: str | os.PathLike[str]) -> tuple[str, str]:
    """Sha256 of a file, and the sha1 of git for its content, as hex digits.

    Raises:
        OSError: If the file cannot be read.
    """
    sha256 = hashlib.sha256()
    with pathlib.Path(path).open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        git_blob = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
        while block := file.read(_BLOCK):
            sha256.update(block)
            git_blob.update(block)
    return sha256.hexdigest(), git_blob.hexdigest()
