"""What may be opened: regular files, and links to them, that can be read.

Reading a pipe or a socket waits for somebody who writes into it, and a device may have
no end, so they are refused before they are opened.
"""

import hashlib
import os
import pathlib
import stat

_KINDS = {
    stat.S_IFDIR: "is a folder",
    stat.S_IFIFO: "is a pipe",
    stat.S_IFSOCK: "is a socket",
    stat.S_IFCHR: "is a device",
    stat.S_IFBLK: "is a device",
}


def is_special(path: pathlib.Path) -> bool:
    """Whether there is something that is no regular file; False: nothing is there."""
    return path.exists() and not path.is_file()


def fault_of(path: str | os.PathLike[str]) -> str:
    """Why a path is not opened, in words such as "is a folder"; empty: it may be."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return "no such file"
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    except ValueError:
        return "has a NUL in its name"
    if not stat.S_ISREG(found.st_mode):
        return _KINDS.get(stat.S_IFMT(found.st_mode), "is no regular file")
    if not found.st_size:
        return "empty, 0 bytes"
    return ""


def sha256_of(path: str | os.PathLike[str]) -> str:
    """Sha256 of a file's bytes, as hex digits; memory does not grow with the file.

    Raises:
        OSError: If the file cannot be read.
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
