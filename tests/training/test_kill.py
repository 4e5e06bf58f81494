"""The real command, killed again and again, ends as if nothing had happened."""

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
from made.compiling import QUICK_CODE
from made.tiny_store import build_tiny_store

from avemo_jax.models.card import read_card

ROOT = pathlib.Path(__file__).parents[2]
EPOCHS = 12
LIMIT_S = 300.0


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> pathlib.Path:
    return build_tiny_store(tmp_path_factory.mktemp("tiny"))


def started(store: pathlib.Path, workdir: pathlib.Path) -> subprocess.Popen:
    environment = {**os.environ, "XLA_FLAGS": QUICK_CODE}
    command = [sys.executable, "-m", "avemo_jax.main"]
    command += [f"--config={ROOT / 'configs' / 'expr_mlp.py'}"]
    command += [f"--config.data.dir={store}", f"--workdir={workdir}"]
    command += ["--config.batch_size=16", f"--config.num_epochs={EPOCHS}"]
    command += ["--config.dropout=0.1", "--config.train.early_stop_epochs=0"]
    command += ["--config.num_seeds=2", "--config.log.tensorboard=false"]
    with (workdir.parent / f"{workdir.name}.log").open("ab") as log:
        return subprocess.Popen(
            command, stdout=log, stderr=log, env=environment, start_new_session=True
        )


def finish(store: pathlib.Path, workdir: pathlib.Path) -> None:
    code = started(store, workdir).wait(LIMIT_S)
    log = (workdir.parent / f"{workdir.name}.log").read_text()
    assert code == 0, log


def history(workdir: pathlib.Path) -> list[dict]:
    path = workdir / "metrics.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines]


def killed(
    store: pathlib.Path,
    workdir: pathlib.Path,
    reached: Callable[[], bool],
    delay_s: float,
) -> bool:
    """Whether the command was still running ``delay_s`` after ``reached``."""
    process = started(store, workdir)
    end = time.monotonic() + LIMIT_S
    while process.poll() is None and not reached():
        assert time.monotonic() < end, "the command hangs"
        time.sleep(0.002)
    time.sleep(delay_s)
    os.killpg(process.pid, signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.parametrize("kills", [1, pytest.param(10, marks=pytest.mark.release)])
def test_killed_at_any_stage_it_ends_in_the_same_bits(store, tmp_path, kills):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    finish(store, whole)
    rng = random.Random(0)

    def epoch(number: int) -> Callable[[], bool]:
        return lambda: len(history(broken)) >= number

    def written(name: str) -> Callable[[], bool]:
        return (broken / name).exists

    stages = [written("config.json"), written("checkpoints")]
    stages += [epoch(n) for n in (1, 3, 6, 9, EPOCHS)]
    stages += [written("best_model"), written("predictions.csv")]
    stages += [written("results.json")]
    assert len(stages) == 10
    stages = stages if kills == 10 else stages[3:4]
    alive, epochs = 0, []
    for reached in stages:
        # An epoch with its checkpoint takes about a tenth of a second.
        alive += killed(store, broken, reached, rng.uniform(0, 0.15))
        epochs.append(len(history(broken)))
    # The last stages may be over before the signal comes.
    assert alive >= (8 if kills == 10 else 1)
    within = {n for n in epochs if 0 < n < EPOCHS}
    assert len(within) >= (3 if kills == 10 else 1), epochs
    finish(store, broken)

    for name in ("results.json", "predictions.csv"):
        assert (whole / name).read_bytes() == (broken / name).read_bytes(), name
    first, second = (read_card(w / "best_model") for w in (whole, broken))
    assert first.sha256 == second.sha256
    assert first.selection.to_dict() == second.selection.to_dict()
    speed = "frames_per_s"
    lines = [
        [{k: v for k, v in line.items() if k != speed} for line in history(workdir)]
        for workdir in (whole, broken)
    ]
    assert [line["epoch"] for line in lines[1]] == list(range(1, EPOCHS + 1))
    assert lines[0] == lines[1]
    for folder in (".", "best_model", "plots"):
        names = [
            {path.name for path in (w / folder).iterdir()} for w in (whole, broken)
        ]
        assert names[0] == names[1], folder
    # One more than two may stand where the signal came before the oldest was removed.
    kept = {path.name for path in (broken / "checkpoints").iterdir()}
    steps = [str(line["step"]) for line in history(broken)]
    assert set(steps[-2:]) <= kept <= set(steps)
