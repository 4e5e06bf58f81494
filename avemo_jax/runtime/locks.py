"""Locks between processes, by lock files that say who holds them.

The system frees a lock when its process ends, killed or not; the lock file that a
killed process leaves stops nobody. On network file systems the locks hold between
machines where the file system has locks at all.
"""

import contextlib
import errno
import itertools
import math
import os
import pathlib
import platform
import time
from collections.abc import Iterable, Iterator

import filelock
from absl import logging

# Errors on file systems that have no locks, such as some network ones.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
_POLL_S = 0.1
# How long those that share wait for one that only looks whether anybody is alone.
_LOOK_S = 1.0


class HeldError(RuntimeError):
    """A lock that another process holds."""


def open_for_writing(path: pathlib.Path) -> int:
    """The descriptor of a file, made if missing and not emptied, to read and write.

    Bytes are as given on every system, and a symbolic link is refused where the system
    can (not on Windows).

    Raises:
        OSError: If the file cannot be opened.
    """
    only_here = getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
    return os.open(path, os.O_RDWR | os.O_CREAT | only_here, 0o666)


@contextlib.contextmanager
def held(path: pathlib.Path, *, what: str, wait: bool = False) -> Iterator[None]:
    """Hold the lock file ``path`` alone; it is removed at the end.

    On a file system without locks nothing is held, and a warning says so.

    Args:
        path: The lock file; its folder must exist.
        what: What is locked, as messages name it, such as the path of a folder.
        wait: Wait for the process that holds it, which a warning names.

    Raises:
        HeldError: If another process holds it and ``wait`` is False, or others
            share it; the message names the process, its machine and since when.
        OSError: If the lock file cannot be made.
    """
    descriptor = _acquire(path, what, math.inf if wait else 0.0)
    try:
        for part in sorted(path.parent.iterdir()):
            if part.name.startswith(f"{path.name}."):
                _release(_acquire(part, what, 0.0), part)
        yield
    finally:
        _release(descriptor, path)


@contextlib.contextmanager
def shared(path: pathlib.Path, *, what: str) -> Iterator[None]:
    """Hold the lock file ``path`` together with all others that share it.

    Each holds a file of its own beside it, ``NAME.NUMBER``, removed at the end.

    Args:
        path: The lock file; its folder must exist.
        what: What is locked, as messages name it.

    Raises:
        HeldError: If another process holds it alone.
        OSError: If the lock file cannot be made.
    """
    parts = (path.with_name(f"{path.name}.{n}") for n in itertools.count())
    with first_held(parts, what=what):
        _release(_acquire(path, what, _LOOK_S), path)
        yield


@contextlib.contextmanager
def first_held(paths: Iterable[pathlib.Path], *, what: str) -> Iterator[pathlib.Path]:
    """Hold the first of ``paths`` that no other process holds, and give it.

    Args:
        paths: Lock files, without end.
        what: What is locked, as messages name it.

    Raises:
        OSError: If a lock file cannot be made.
    """
    for path in paths:
        with contextlib.suppress(HeldError):
            descriptor = _acquire(path, what, 0.0)
            break
    try:
        yield path
    finally:
        _release(descriptor, path)


def _acquire(path: pathlib.Path, what: str, wait_s: float) -> int:
    """The descriptor of the lock file, locked."""
    end = time.monotonic() + wait_s
    told = wait_s <= _LOOK_S
    while (descriptor := _locked(path, what)) is None:
        if time.monotonic() >= end:
            raise HeldError(
                f"{what} is in use by {_holder(path)}; expected to be alone: wait "
                "until that process ends, stop it, or choose another place"
            )
        if not told:
            logging.warning("%s is in use by %s; waiting", what, _holder(path))
            told = True
        time.sleep(_POLL_S)
    return descriptor


def _locked(path: pathlib.Path, what: str) -> int | None:
    """The descriptor of the lock file, locked; None if another process holds it."""
    while True:
        descriptor = open_for_writing(path)
        try:
            if not _lock(descriptor, what):
                os.close(descriptor)
                return None
            # Who held it may have removed the file after it was opened here.
            if _is(descriptor, path):
                _write_holder(descriptor)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _lock(descriptor: int, what: str) -> bool:
    try:
        return filelock.lock_descriptor(descriptor, blocking=False)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        logging.warning(
            "%s is on a file system without locks (%s): see to it that no other "
            "process uses it at the same time",
            what,
            error.strerror,
        )
        return True


def _is(descriptor: int, path: pathlib.Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _write_holder(descriptor: int) -> None:
    # Windows lets nobody else read the byte that is locked, which is the first.
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    text = f"\nprocess {os.getpid()} on {platform.node()} since {since}\n"
    data = text.encode("utf-8", "replace")
    os.write(descriptor, data)
    os.ftruncate(descriptor, len(data))


def _holder(path: pathlib.Path) -> str:
    """Who holds the lock, in words."""
    try:
        with path.open("rb", buffering=0) as file:
            file.seek(1)
            text = file.read()
    except OSError:
        text = b""  # gone between the look at its lock and this one
    return text.decode("utf-8", "replace").strip() or "another process"


def _release(descriptor: int, path: pathlib.Path) -> None:
    if os.name == "nt":
        # Windows removes no file that is open, here or in a process that waits for it.
        os.close(descriptor)
        with contextlib.suppress(PermissionError, FileNotFoundError):
            path.unlink()
        return
    try:
        path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)
