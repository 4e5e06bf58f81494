"""Files that are written whole or not at all.

Whoever may write into a folder could put a link where a file will be written, so the
names of temporary files cannot be guessed, and one that is there is never taken.
"""

import contextlib
import json
import os
import pathlib
import re
import secrets
import stat
from collections.abc import Iterator
from typing import Any

# What a killed process leaves: .NAME.RANDOM.tmp, and .NAME.RANDOM.old of a folder.
LEFTOVER = re.compile(r"\.(.+)\.[0-9a-f]+\.(tmp|old)")


def temporary_name(name: str, kind: str = "tmp", number: int | None = None) -> str:
    """A name for what will be renamed to ``name``, or was called so.

    Args:
        name: The name in the end, or before.
        kind: "tmp", or "old" for what is replaced.
        number: Number in the name, below 2 ** 31, where processes agree on one; None: a
            random one.
    """
    number = random_number() if number is None else number
    return f".{name}.{number:08x}.{kind}"


def random_number() -> int:
    """A number for :func:`temporary_name` that nobody can guess."""
    return secrets.randbits(31)


@contextlib.contextmanager
def whole_file(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A temporary file beside ``path`` to write to, renamed to ``path`` at the end.

    Its content is on the disk before the rename, and who may read it is as the user's
    umask says, whatever program wrote it. After an exception the temporary file is
    removed and ``path`` unchanged; a killed process leaves what :data:`LEFTOVER` fits.

    Raises:
        OSError: If the file cannot be written.
    """
    temporary = path.with_name(temporary_name(path.name))
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    descriptor = os.open(temporary, flags, 0o666)
    try:
        mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
        os.close(descriptor)
        yield temporary
        os.chmod(temporary, mode)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: pathlib.Path) -> None:
    """Make a rename in ``folder`` outlast a power cut."""
    if os.name == "nt":
        return  # Windows opens no folders; renames are in the file system's journal
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: pathlib.Path, content: Any) -> None:
    """Write a file of JSON whole or not at all; NaN is refused."""
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
