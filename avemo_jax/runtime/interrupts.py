"""Ctrl-C in a process that runs one command: the first, the second, and workers.

The first one raises ``KeyboardInterrupt`` in the main thread, as Python does anyhow;
what threads and callbacks of libraries make of it is kept silent. The second one ends
the process at once.
"""

import contextlib
import logging
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any, NoReturn

STOPPED = 130  # exit status, as a shell gives it for SIGINT
_AGAIN_S = 0.1

_came = threading.Event()
_groups: set[int] = set()  # process groups of workers that end with this process
_own_signals: list[int] = []  # those that this process has sent itself


def came() -> bool:
    """Whether a Ctrl-C has interrupted this process, which then only ends."""
    return _came.is_set()


def hears_ctrl_c() -> bool:
    """Whether this thread may take Ctrl-C: the main one, unless it is to be ignored.

    Shells let what they start in the background ignore it.
    """
    main = threading.current_thread() is threading.main_thread()
    return main and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN


@contextlib.contextmanager
def sheltered() -> Iterator[None]:
    """Shelter from Ctrl-C the processes that start inside.

    A terminal sends the signal to all processes of a command. Workers leave it to the
    one that they work for; else each of them would tell of it.
    """
    mask = getattr(signal, "pthread_sigmask", None)  # not on Windows
    before = mask and mask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        if mask:
            mask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def workers_apart() -> Iterator[None]:
    """Keep Ctrl-C from the processes that a library starts inside, as sessions apart.

    This is for libraries that start workers by ``subprocess.Popen`` from threads of
    their own, and let nobody say how. Workers that outlive an interrupted command would
    tell of the connection that they lost; they are killed with it.
    """
    before = subprocess.Popen
    started: set[int] = set()

    class Apart(before):  # type: ignore[misc, valid-type]
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{**options, "start_new_session": True})
            started.add(self.pid)
            _groups.add(self.pid)

    subprocess.Popen = Apart  # type: ignore[misc]
    try:
        yield
    finally:
        subprocess.Popen = before  # type: ignore[misc]
        if not came():
            _groups.difference_update(started)


@contextlib.contextmanager
def second_ends_at_once() -> Iterator[None]:
    """Interrupt what runs inside by the first Ctrl-C, end the process by the second.

    Python tells its main thread of a signal when that comes back from compiled code,
    which may take minutes; a thread of its own hears of it at once.
    """
    if not hears_ctrl_c():
        yield
        return
    heard, told = socket.socketpair()
    told.setblocking(False)
    thread = threading.Thread(target=_listen, args=(heard,), daemon=True)
    thread.start()
    # asyncio puts its own handler in the place of Python's, but not of this one.
    handler = signal.signal(signal.SIGINT, _interrupt)
    fd = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
    hooks = sys.unraisablehook, threading.excepthook
    sys.unraisablehook, threading.excepthook = _unraisable, _in_thread
    try:
        yield
    finally:
        sys.unraisablehook, threading.excepthook = hooks
        signal.set_wakeup_fd(fd)
        signal.signal(signal.SIGINT, handler)
        told.close()
        thread.join()
        heard.close()


def end_at_once() -> NoReturn:
    """End this process and its workers, without waiting for threads, by status 130."""
    for child in multiprocessing.active_children():
        child.kill()
    for group in _groups:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(STOPPED)


def _interrupt(number: int, frame: FrameType | None) -> None:
    del number, frame
    _came.set()
    logging.disable()  # threads of libraries tell of it too
    raise KeyboardInterrupt


def _listen(heard: socket.socket) -> None:
    """Count the signals, until the other end is closed."""
    count = 0
    while numbers := heard.recv(64):
        count += numbers.count(signal.SIGINT)
        if count > 1 + len(_own_signals):
            os.write(2, b"stopped at once\n")
            end_at_once()


def _unraisable(unraisable: Any) -> None:
    """Interrupt again, where a callback has swallowed the interruption."""
    if unraisable.exc_type is not KeyboardInterrupt:
        if not came():
            sys.__unraisablehook__(unraisable)
        return
    _own_signals.append(signal.SIGINT)
    again = threading.Timer(_AGAIN_S, os.kill, (os.getpid(), signal.SIGINT))
    again.daemon = True
    again.start()


def _in_thread(args: Any) -> None:
    """Tell of a thread's error, unless it is a consequence of the interruption."""
    if not came():
        threading.__excepthook__(args)
