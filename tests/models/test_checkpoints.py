"""Checkpoints that orbax itself writes to a bucket, on a server on this machine."""

import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator

import pytest
from made.bucket_server import BUCKET, BucketServer, running
from made.several_processes import free_port

pytestmark = pytest.mark.release

ADDRESS = f"gs://{BUCKET}/runs/a"
PROCESS = pathlib.Path(__file__).parents[1] / "made" / "workdir_process.py"
TWO_DEVICES = "--xla_force_host_platform_device_count=2"
_COMMON = """
import sys
import jax
import numpy as np
from avemo_jax.batches import sharding
from avemo_jax.models.checkpoints import RunCheckpoints
from avemo_jax.runtime.workdir import open_workdir

def tree(step):
    values = np.arange(6000, dtype=np.float32).reshape(2, 3000) * (step + 1)
    return sharding.replicate({"w": values, "n": np.int32(step)}, mesh)

workdir = open_workdir(sys.argv[1])
mesh = sharding.make_mesh()
checkpoints = RunCheckpoints(workdir.checkpoints, mesh)
"""
_SAVE = f"""{_COMMON}
for step in map(int, sys.argv[2:]):
    checkpoints.save(step, tree(step), {{"epoch": step}})
    print("saved", step, flush=True)
checkpoints.close()
"""
_RESTORE = f"""{_COMMON}
progress, state = checkpoints.restore(tree(0))
expected = tree(progress["epoch"])
np.testing.assert_array_equal(state["w"], expected["w"])
assert state["n"] == progress["epoch"]
checkpoints.close()
assert "tensorflow" not in sys.modules
print("restored", progress["epoch"])
"""


@pytest.fixture
def server() -> Iterator[BucketServer]:
    with running() as server:
        yield server


class Program:
    """Runs code in a process of its own, where TensorFlow is installed but breaks."""

    def __init__(self, server: BucketServer, folder: pathlib.Path):
        broken = folder / "tensorflow"
        broken.mkdir()
        (broken / "__init__.py").write_text("raise RuntimeError('was imported')")
        self.environment = {
            **os.environ,
            **server.environment(),
            "AVEMO_CACHE": str(folder / "cache"),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(folder),
        }

    def start(self, code: str, *arguments: object) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-c", code, ADDRESS, *map(str, arguments)],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, code: str, *arguments: object) -> tuple[list[str], str]:
        """Lines of the output, and what it logged."""
        process = self.start(code, *arguments)
        output, errors = process.communicate()
        assert process.returncode == 0, errors[-3000:]
        return output.splitlines(), errors


@pytest.fixture
def program(server, tmp_path) -> Program:
    return Program(server, tmp_path)


def steps(server: BucketServer) -> set[str]:
    return {
        name.split("/")[3]
        for name in server.objects()
        if name.startswith("runs/a/checkpoints/") and name.count("/") > 3
    }


def test_saved_in_one_process_restored_in_another(server, program):
    output, _ = program.run(_SAVE, 1, 2, 3)
    assert output == ["saved 1", "saved 2", "saved 3"]
    assert steps(server) == {"2", "3"}
    assert all(name.startswith("runs/a/checkpoints/") for name in server.objects())
    output, _ = program.run(_RESTORE)
    assert output == ["restored 3"]
    data = [name for name in server.objects() if "/3/" in name and "/d/" in name]
    for name in data:  # flipped bits
        server.put(name, bytes(byte ^ 1 for byte in server.objects()[name]))
    assert data
    output, errors = program.run(_RESTORE)
    assert output == ["restored 2"]
    assert f"checkpoint {ADDRESS}/checkpoints/3: " in errors
    assert steps(server) == {"2"}


def test_a_killed_save_leaves_the_one_before(server, program):
    program.run(_SAVE, 1)
    server.requests.clear()
    writes = []

    def fault(method: str, name: str) -> int:
        if method == "GET" or "checkpoints/2/" not in name:
            return 0
        writes.append(name)
        if len(writes) < 4:
            return 0
        process.kill()
        return 503

    server.fault = fault
    process = program.start(_SAVE, 2)
    output, _ = process.communicate()
    assert (process.returncode, output) == (-9, "")
    server.fault = lambda method, name: 0
    assert steps(server) == {"1", "2"}
    output, _ = program.run(_RESTORE)
    assert output == ["restored 1"]
    assert steps(server) == {"1"}


def test_two_processes_write_together(server, program):
    port = str(free_port())
    processes = [
        subprocess.Popen(
            [sys.executable, str(PROCESS), str(index), port, ADDRESS],
            env=program.environment | {"XLA_FLAGS": TWO_DEVICES},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]
    for process in processes:
        output, errors = process.communicate(timeout=100)
        assert process.returncode == 0, errors[-3000:]
        assert output.endswith("done\n")
    assert steps(server) == {"2", "3"}
    others = {n for n in server.objects() if not n.startswith("runs/a/checkpoints/")}
    assert "runs/a/best_model/head.json" in others
    assert all(name.startswith("runs/a/best_model/") for name in others)
    assert any("ocdbt.process_1" in name for name in others)
