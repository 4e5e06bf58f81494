"""What an error of the operating system means, and what to do about it.

The system says neither whether a file was to be read or written, nor what to do; the
file's place and its permissions do.
"""

import errno
import os
import pathlib

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DENIED = {errno.EACCES, errno.EPERM}
_REMEDIES = {
    errno.EROFS: (
        "expected a place that can be written: name another for what is written"
    ),
    errno.EISDIR: "expected a file: name one, or leave out what is not to be read",
    errno.EEXIST: "expected none yet: remove it, or name another place",
    errno.ENAMETOOLONG: "expected a shorter name: rename it",
    errno.ELOOP: "expected links that lead to a file: remove the circle",
    errno.EMFILE: "expected leave to open more: raise it, as by ulimit -n 4096",
    errno.ENFILE: "expected leave to open more: end other programs",
    errno.ENOMEM: "expected free memory: end other programs",
    errno.EIO: "expected a sound disk: see the system's log, and copy it elsewhere",
}


def words(error: OSError) -> str:
    """What happened, what was expected, and what to do, in one line.

    Args:
        error: An error with a number of the system.
    """
    path = _path(error)
    if path is not None and error.errno in (errno.ENOENT, errno.ENOTDIR):
        return _missing(path)
    if path is not None and error.errno in _DENIED:
        return _denied(path)
    what = f"{path}: {error.strerror}" if path is not None else f"{error.strerror}"
    if error.errno in _FULL:
        return (
            f"{what}; expected room for what is written: make some, or name another "
            "place; the same command goes on"
        )
    if isinstance(error, ConnectionError | TimeoutError):
        return f"{what}; expected a connection: try again, the same command goes on"
    remedy = _REMEDIES.get(
        error.errno or 0, "expected the system to do it: mend that, and try again"
    )
    return f"{what}; {remedy}"


def _path(error: OSError) -> pathlib.Path | None:
    """The file that the error is of; of two, as in renaming, the second."""
    name = error.filename2 or error.filename
    if isinstance(name, str | bytes | os.PathLike):
        return pathlib.Path(os.fsdecode(name))
    return None


def _missing(path: pathlib.Path) -> str:
    """Which part of a path is not there, or is a file in the place of a folder."""
    for above in reversed(path.parents):
        if not above.exists():
            return (
                f"there is no folder {above}, in which {path.relative_to(above)} is to "
                "be; expected one: correct the path, or make it"
            )
        if not above.is_dir():
            return (
                f"{above} is a file, and {path} is to be in it; expected a folder: "
                "correct the path"
            )
    if path.is_symlink():
        return (
            f"{path} is a link to {os.readlink(path)}, which is not there; expected a "
            "file or a folder: correct the link"
        )
    return f"there is no {path}; expected a file or a folder: correct the path"


def _denied(path: pathlib.Path) -> str:
    """Which permission is missing."""
    for above in reversed(path.absolute().parents):
        if not os.access(above, os.X_OK):
            return _without(above, "entered", "x")
    if not path.exists():
        return _without(path.parent, "written in", "w")
    if not os.access(path, os.R_OK):
        return _without(path, "read", "r")
    if not os.access(path, os.W_OK):
        return _without(path, "written", "w")
    return (
        f"{path}: the system denies access; expected leave to use it: is it open in "
        "another program, or protected?"
    )


def _without(path: pathlib.Path, verb: str, mode: str) -> str:
    return (
        f"{path} may not be {verb} by this user; expected the permission: give it, "
        f"chmod u+{mode} {path}, or name another place"
    )
