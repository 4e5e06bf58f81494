"""Several real processes on this machine train as one, stop together, and go on."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from made.several_processes import HEARTBEAT_S, LIMIT_S, Run, bits, free_port, history
from made.tiny_store import build_tiny_store

from avemo_jax.runtime.distributed import LOST
from avemo_jax.runtime.errors import PREEMPTED, STOPPED

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> pathlib.Path:
    return build_tiny_store(tmp_path_factory.mktemp("tiny"))


LONG = ("--config.num_epochs=30",)


@pytest.fixture(scope="module")
def whole(store, tmp_path_factory) -> pathlib.Path:
    """A run of two processes that nothing disturbs."""
    return Run(store, tmp_path_factory.mktemp("runs") / "whole").finish()


@pytest.fixture(scope="module")
def long_whole(store, tmp_path_factory) -> pathlib.Path:
    return Run(store, tmp_path_factory.mktemp("runs") / "long", *LONG).finish()


def test_two_processes_are_one_program(store, whole, tmp_path):
    """Four devices in one process, or in two, are the same; one is to rounding."""
    four = Run(store, tmp_path / "four", processes=1, devices=4).finish()
    one = Run(store, tmp_path / "one", processes=1, devices=1).finish()
    for other, tolerance in ((four, 1e-4), (one, 3e-3)):
        for a, b in zip(history(whole), history(other), strict=True):
            assert a.keys() == b.keys()
            assert abs(a["dev_f1_macro"] - b["dev_f1_macro"]) < tolerance
            np.testing.assert_allclose(a["loss"], b["loss"], rtol=1e-4)
    found = json.loads((whole / "results.json").read_text())
    assert found["num_seeds"] == 2
    environment = json.loads((whole / "environment.json").read_text())
    assert environment["processes"] == 2
    assert len(environment["devices"]) == 4
    assert {p.name for p in whole.iterdir()} == {p.name for p in one.iterdir()}


@pytest.mark.release
def test_streamed_tables_of_two_processes_give_the_same_bits(store, whole, tmp_path):
    streamed = Run(store, tmp_path / "run", "--config.data.device_budget_gb=0")
    assert bits(streamed.finish()) == bits(whole)
    assert "streamed from" in streamed.said()


@pytest.mark.release
def test_sigterm_saves_on_all_and_the_run_goes_on(store, long_whole, tmp_path):
    workdir = tmp_path / "run"
    run = Run(store, workdir, *LONG).after(3)
    run.parts[1].send_signal(signal.SIGTERM)
    assert run.codes() == [PREEMPTED] * 2, run.said()
    assert "the same command goes on" in run.said()
    done = len(history(workdir))
    assert 3 <= done < 30
    saved = max(int(path.name) for path in (workdir / "checkpoints").iterdir())
    assert saved >= history(workdir)[-1]["step"]
    Run(store, workdir, *LONG).finish()
    assert history(workdir) == history(long_whole)
    assert bits(workdir) == bits(long_whole)


@pytest.mark.usefixtures("hears_ctrl_c")
@pytest.mark.release
def test_a_stopped_run_goes_on_with_other_devices(store, long_whole, tmp_path):
    """Two processes' checkpoint on one device, then that one's on eight.

    The two are stopped by a Ctrl-C in the first one alone.
    """
    workdir = tmp_path / "run"
    two, one = {"processes": 2, "devices": 2}, {"processes": 1, "devices": 1}
    for stop, topology, number, codes in (
        (2, two, signal.SIGINT, [STOPPED, PREEMPTED]),
        (12, one, signal.SIGTERM, [PREEMPTED]),
    ):
        run = Run(store, workdir, *LONG, **topology).after(stop)
        run.parts[0].send_signal(number)
        assert run.codes() == codes, run.said()
    Run(store, workdir, *LONG, processes=1, devices=8).finish()
    assert [line["epoch"] for line in history(workdir)] == list(range(1, 31))
    first = history(long_whole)[1], history(workdir)[1]
    assert first[0] == first[1]
    last = history(long_whole)[-1], history(workdir)[-1]
    np.testing.assert_allclose(last[0]["loss"], last[1]["loss"], rtol=0.05)


@pytest.mark.release
def test_a_killed_process_ends_the_others_soon(store, long_whole, tmp_path):
    workdir = tmp_path / "run"
    run = Run(store, workdir, *LONG).after(3)
    run.parts[1].kill()
    began = time.monotonic()
    codes = run.codes(4 * HEARTBEAT_S)
    assert time.monotonic() - began < 3 * HEARTBEAT_S
    assert codes == [LOST if codes[0] == LOST else -signal.SIGABRT, -signal.SIGKILL]
    assert re.search(r"should one be lost, .*start all again", run.said())
    assert len(history(workdir)) < 30
    Run(store, workdir, *LONG).finish()
    assert history(workdir) == history(long_whole)
    assert bits(workdir) == bits(long_whole)


@pytest.mark.release
def test_damaged_newest_checkpoint_is_reported_to_all(store, long_whole, tmp_path):
    workdir = tmp_path / "run"
    run = Run(store, workdir, *LONG).after(3)
    run.parts[0].send_signal(signal.SIGTERM)
    assert run.codes() == [PREEMPTED] * 2, run.said()
    steps = sorted(int(path.name) for path in (workdir / "checkpoints").iterdir())
    newest = workdir / "checkpoints" / str(steps[-1])
    files = [path for path in newest.rglob("*") if path.is_file()]
    largest = max(files, key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(bytes(content))
    run = Run(store, workdir, *LONG)
    run.finish()
    assert f"checkpoints/{steps[-1]}: " in run.said()
    assert "the one before it is taken" in run.said()
    assert history(workdir) == history(long_whole)
    assert bits(workdir) == bits(long_whole)


@pytest.mark.release
def test_a_workdir_that_is_not_shared_is_refused(store, tmp_path):
    folders = tmp_path / "a", tmp_path / "b"
    for folder in folders:
        folder.mkdir()
    run = Run(store, pathlib.Path("run"), folders=folders)
    assert run.codes() == [1, 1], run.said()
    assert "is not seen by process 1; expected one folder" in run.said()


@pytest.mark.release
def test_processes_with_other_configurations_are_refused(store, tmp_path):
    run = Run(store, tmp_path / "run", own=("", "--config.seed=7"))
    assert run.codes() == [1, 1], run.said()
    assert "the configuration of process 1 differs from that of process 0" in run.said()


@pytest.mark.release
def test_a_process_that_waits_alone_says_so(tmp_path):
    program = (
        "from avemo_jax.runtime import distributed as d; d.start(d.Processes("
        f"'127.0.0.1:{free_port()}', 2, 0, 'deactivate', 'flags'), 10, wait_s=3)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )
    assert done.returncode == -signal.SIGABRT
    assert "not all of 2 processes came to 127.0.0.1:" in done.stderr
