"""Ctrl-C in real processes: one line, status 130, and no process left behind."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

pytestmark = pytest.mark.usefixtures("hears_ctrl_c")
ROOT = pathlib.Path(__file__).parents[2]
LIMIT_S = 120.0
LINE = "stopped: what was done is kept; the same command goes on\n"

# Each says "ready" when the signal may come.
FRAME = """
import hashlib, os, pathlib, sys, threading, time
from avemo_jax.runtime.errors import guarded, run_program

class Swallowing:
    def __del__(self):
        ready()
        time.sleep(60)

def ready():
    print("ready", flush=True)

def failing():
    try:
        while True:
            time.sleep(0.01)
            if pathlib.Path(sys.argv[1]).exists():
                raise RuntimeError("a consequence")
    finally:
        pathlib.Path(sys.argv[1]).touch()

def work():
    {work}

if __name__ == "__main__":
    run_program(lambda: guarded(work, prog="p", kept="what was done is kept"))
"""
WORK = {
    "sleeping": "ready(); time.sleep(60)",
    "a callback swallows it": "Swallowing(); time.sleep(60)",
    "turned into another error": (
        "try: ready(); time.sleep(60)"
        "\n    except KeyboardInterrupt: raise RuntimeError('INTERNAL\\nmore')"
    ),
    "a thread goes on, and one fails": (
        "threading.Thread(target=time.sleep, args=(60,)).start()"
        "\n    threading.Thread(target=failing).start()"
        "\n    ready()\n    try: time.sleep(60)"
        "\n    finally: pathlib.Path(sys.argv[1]).touch(); time.sleep(0.2)"
    ),
    "processes decode": (
        "from avemo_jax.extraction.image_decoding import Decoders"
        "\n    endless = ((i, pathlib.Path(sys.argv[1])) for i in range(10**9))"
        "\n    with Decoders(2, 'processes') as decoders:"
        "\n        for i, _ in decoders.decode(endless):"
        "\n            if i == 200: ready()"
    ),
}


@contextlib.contextmanager
def started(folder: pathlib.Path, *arguments: str) -> Iterator[subprocess.Popen]:
    """A program that is ready, as the leader of a group, as a shell starts it."""
    with (
        (folder / "stderr").open("wb") as stderr,
        subprocess.Popen(
            [sys.executable, *arguments],
            stdout=subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        ) as process,
    ):
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n", (folder / "stderr").read_text()
        yield process


def left_of(group: int) -> bool:
    """Whether a process of the group is still there, after a moment."""
    end = time.monotonic() + 5
    while time.monotonic() < end:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return False
        time.sleep(0.02)
    return True


def interrupted(folder: pathlib.Path, *arguments: str) -> str:
    """What a program says after a Ctrl-C, which a terminal sends to its group."""
    with started(folder, *arguments) as process:
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(LIMIT_S) == 130, (folder / "stderr").read_text()
    assert not left_of(process.pid)
    return (folder / "stderr").read_text()


@pytest.mark.parametrize("work", WORK)
def test_one_line(tmp_path, work):
    program = tmp_path / "program.py"
    program.write_text(FRAME.format(work=WORK[work]))
    said = interrupted(tmp_path, str(program), str(tmp_path / "flag"))
    if work == "turned into another error":
        told = "(while it stopped: RuntimeError INTERNAL); the same"
        assert said == LINE.replace("; the same", f" {told}")
    else:
        assert said == LINE


def test_while_modules_load(tmp_path):
    """Which turn it into errors of their own."""
    program = tmp_path / "program.py"
    failing = "try: ready(); time.sleep(60)\n    except BaseException: import nowhere"
    frame = FRAME.replace(
        'guarded(work, prog="p", kept="what was done is kept")', "work()"
    )
    program.write_text(frame.format(work=failing))
    said = interrupted(tmp_path, str(program), "")
    assert said == "stopped: nothing had begun; the same command goes on\n"


def test_in_the_background_it_is_ignored(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(FRAME.format(work="ready(); time.sleep(0.5)"))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell does
    with started(tmp_path, str(program), "") as process:
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT_S) == 0
    assert (tmp_path / "stderr").read_text() == ""


def test_the_second_ends_compiled_code_at_once(tmp_path):
    """Where the first one waits for minutes until Python has the word again."""
    program = tmp_path / "program.py"
    endless = (
        "threading.Timer(0.3, ready).start()"
        "\n    hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)"
    )
    program.write_text(FRAME.format(work=endless))
    with started(tmp_path, str(program), "") as process:
        process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)
        process.send_signal(signal.SIGINT)
        assert process.wait(2) == 130
    assert (tmp_path / "stderr").read_text() == "stopped at once\n"
