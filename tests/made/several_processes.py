"""The real command in several processes on this machine, as one program."""

import json
import os
import pathlib
import socket
import subprocess
import sys
import time
from collections.abc import Mapping

import pytest

from avemo_jax.models.card import read_card
from made.compiling import QUICK_CODE

ROOT = pathlib.Path(__file__).parents[2]
EPOCHS = 4
LIMIT_S = 150.0
HEARTBEAT_S = 10


class Run:
    """The command in ``processes`` processes of ``devices`` devices each."""

    def __init__(
        self,
        store: pathlib.Path,
        workdir: str | pathlib.Path,
        *options: str,
        processes: int = 2,
        devices: int = 2,
        folders: tuple[pathlib.Path, ...] | None = None,
        own: tuple[str, ...] = ("", ""),
        environment: Mapping[str, str] = os.environ,
    ):
        command = [sys.executable, "-m", "avemo_jax.main"]
        command += [f"--config={ROOT / 'configs' / 'expr_mlp.py'}"]
        command += [f"--config.data.dir={store}", f"--workdir={workdir}"]
        command += ["--config.batch_size=16", f"--config.num_epochs={EPOCHS}"]
        command += ["--config.dropout=0.1", "--config.num_seeds=2"]
        command += ["--config.train.early_stop_epochs=0"]
        command += ["--config.head.standardize=true"]
        command += ["--config.log.tensorboard=false", "--config.train.scan_steps=2"]
        command += [f"--config.distributed.heartbeat_s={HEARTBEAT_S}", *options]
        flags = f"{QUICK_CODE} --xla_force_host_platform_device_count={devices}"
        own_environment = {
            **environment,
            "XLA_FLAGS": flags,
            "JAX_PLATFORMS": "cpu",
            "AVEMO_CACHE": str(store.parent / "cache"),
            "PYTHONPATH": str(ROOT),
        }
        self.workdir = pathlib.Path(workdir)
        self._logs, self.parts = [], []
        several = ["--coordinator=127.0.0.1:" + str(free_port())]
        several += [f"--num-processes={processes}"]
        for i in range(processes):
            log = store.parent / f"{time.monotonic_ns()}.log"
            self._logs.append(log)
            mine = [*several, f"--process-id={i}"] if processes > 1 else []
            with log.open("wb") as file:
                part = subprocess.Popen(
                    [*command, *mine, *([own[i]] if own[i] else [])],
                    stdout=file,
                    stderr=file,
                    env=own_environment,
                    cwd=folders[i] if folders else None,
                )
            self.parts.append(part)

    def codes(self, limit_s: float = LIMIT_S) -> list[int]:
        """The exit statuses; what still runs then is killed and fails the test."""
        end = time.monotonic() + limit_s
        try:
            return [p.wait(max(end - time.monotonic(), 0.1)) for p in self.parts]
        except subprocess.TimeoutExpired:
            pytest.fail(f"still running after {limit_s} s:\n{self.said()}")
        finally:
            for part in self.parts:
                part.kill()

    def said(self) -> str:
        return "\n".join(log.read_text() for log in self._logs)

    def finish(self) -> pathlib.Path:
        assert self.codes() == [0] * len(self.parts), self.said()
        return self.workdir

    def after(self, epoch: int) -> "Run":
        """Waits until ``epoch`` epochs are written."""
        end = time.monotonic() + LIMIT_S
        while len(history(self.workdir)) < epoch:
            assert time.monotonic() < end, self.said()
            assert all(part.poll() is None for part in self.parts), self.said()
            time.sleep(0.005)
        return self


def free_port() -> int:
    with socket.socket() as here:
        here.bind(("127.0.0.1", 0))
        return int(here.getsockname()[1])


def history(workdir: pathlib.Path) -> list[dict]:
    """What the log says of each epoch, less its speed."""
    path = workdir / "metrics.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    records = [json.loads(line) for line in lines]
    return [{k: v for k, v in r.items() if k != "frames_per_s"} for r in records]


def bits(workdir: pathlib.Path) -> dict[str, str]:
    return dict(read_card(workdir / "best_model").sha256 or {})
