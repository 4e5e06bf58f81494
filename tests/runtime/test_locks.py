"""Locks between processes: who is refused, who waits, and what a kill leaves."""

import contextlib
import os
import pathlib
import platform
import re
import signal
import subprocess
import sys
import threading
import time

import pytest

from avemo_jax.runtime import locks

ROOT = pathlib.Path(__file__).parents[2]
HOLDS = """
import pathlib, sys, time
from avemo_jax.runtime import locks
with getattr(locks, sys.argv[1])(pathlib.Path(sys.argv[2]), what="it"):
    print("held", flush=True)
    time.sleep(60)
"""


@contextlib.contextmanager
def holder(kind: str, path: pathlib.Path):
    """Another process that holds ``path``; killed at the end."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, kind, str(path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_the_second_is_refused_by_the_name_of_the_first(tmp_path):
    path = tmp_path / ".lock"
    with locks.held(path, what="runs/x"):
        since = time.strftime(r"%Y-%m-%d \d\d:\d\d:\d\d")
        who = f"process {os.getpid()} on {re.escape(platform.node())} since {since}"
        with pytest.raises(locks.HeldError, match=f"^runs/x is in use by {who}; exp"):
            with locks.held(path, what="runs/x"):
                pytest.fail("held twice")
    assert not list(tmp_path.iterdir())
    with locks.held(path, what="runs/x"):
        pass


def test_those_who_share_and_one_alone(tmp_path):
    path = tmp_path / ".lock"
    refused = pytest.raises(locks.HeldError, match=f"process {os.getpid()} on ")
    with locks.shared(path, what="x"), locks.shared(path, what="x"):
        assert len(list(tmp_path.iterdir())) == 2
        with refused, locks.held(path, what="x"):
            pytest.fail("held twice")
    with locks.held(path, what="x"):
        with refused, locks.shared(path, what="x"):
            pytest.fail("held twice")
    assert not list(tmp_path.iterdir())


def test_a_kill_frees_the_lock(tmp_path):
    path = tmp_path / ".lock"
    with holder("held", path) as process:
        with pytest.raises(locks.HeldError, match=f"process {process.pid} on "):
            with locks.held(path, what="x"):
                pytest.fail("held twice")
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert path.exists()
    with locks.held(path, what="x"):
        pass
    with holder("shared", path):
        pass
    assert path.with_name(".lock.0").exists()
    with locks.held(path, what="x"):
        pass
    assert not list(tmp_path.iterdir())


def test_waiting_names_the_holder(tmp_path, caplog):
    path = tmp_path / ".lock"
    entered = threading.Event()

    def waits():
        with locks.held(path, what="x", wait=True):
            entered.set()

    thread = threading.Thread(target=waits)
    with locks.held(path, what="x"):
        thread.start()
        assert not entered.wait(0.3)
    thread.join(10)
    assert entered.is_set()
    assert f"x is in use by process {os.getpid()}" in caplog.text
    assert not list(tmp_path.iterdir())


def test_no_two_are_inside_at_once(tmp_path, monkeypatch):
    """Each removes the lock file at the end, which others may have opened already."""
    monkeypatch.setattr(locks, "_POLL_S", 0)
    inside, faults = tmp_path / "inside", []

    def works():
        for _ in range(100):
            with locks.held(tmp_path / ".lock", what="x", wait=True):
                faults.extend(inside.parent.glob("inside"))
                inside.touch()
                inside.unlink()

    threads = [threading.Thread(target=works) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    assert not list(tmp_path.iterdir())


def test_the_first_that_is_free(tmp_path):
    def numbers():
        return (tmp_path / f"{number}.lock" for number in range(3))

    with locks.first_held(numbers(), what="x") as first:
        with locks.first_held(numbers(), what="x") as second:
            assert (first.name, second.name) == ("0.lock", "1.lock")
    assert not list(tmp_path.iterdir())
