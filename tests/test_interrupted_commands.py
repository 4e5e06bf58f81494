"""Ctrl-C while the real commands are at work: what they say, and that they go on."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
from made.tiny_store import build_tiny_store

pytestmark = pytest.mark.usefixtures("hears_ctrl_c")
ROOT = pathlib.Path(__file__).parents[1]
LIMIT_S = 300.0
EPOCHS = 400

# Runs `avemo ARGUMENTS`, where the function at PLACE says "ready" and waits.
STOPPING = """
import pkgutil, sys, time
from avemo_jax import cli

place, *sys.argv[1:] = sys.argv[1:]
module, _, name = place.partition(":")

def wait(*args, **kwargs):
    print("ready", flush=True)
    time.sleep(60)

setattr(pkgutil.resolve_name(module), name, wait)
cli.main()
"""
MIDDLE = {
    "score": (
        ["predictions.csv", "--task=expr", "--annotations=Annotations"],
        "avemo_jax.challenge.score.command:read_truth",
        "scores are written at the end, so nothing was",
    ),
    "submit": (
        ["--task=EXPR", "--predictions=a.csv", "--out=a.txt"],
        "avemo_jax.challenge.submit.command:_write",
        "files that were written are whole",
    ),
    "import-features": (
        ["given", "--as=a", "--kind=visual", "--out=out"],
        "avemo_jax.data.importing.command:import_folder",
        "videos that were written whole are kept",
    ),
    "build-store": (
        ["--annotations=given", "--features=given", "--out=out"],
        "avemo_jax.data.corpus.annotations:read_annotations",
        "feature sets that were packed whole are kept",
    ),
    "extract": (
        ["--crops=given", "--visual=enet_b0_8_va_mtl", "--out=out"],
        "avemo_jax.extraction.command:find_crops",
        "features of the videos that were done are kept",
    ),
    "prepare": (
        ["--root=given", "--visual=enet_b0_8_va_mtl", "--out=out"],
        "avemo_jax.extraction.prepare.official:find_corpus",
        "features of the videos that were done are kept, and sets packed whole",
    ),
    "fetch": (
        ["vggish"],
        "avemo_jax.convert.fetch:download",
        "what was downloaded and converted is kept",
    ),
    "convert": (
        ["vggish", "a.pth", "--out=a.safetensors"],
        "avemo_jax.convert.command:_run",
        "weights are written at the end, so nothing was",
    ),
    "plan": (
        ["--config=expr_mlp"],
        "avemo_jax.training.plan.command:_run",
        "a plan writes nothing",
    ),
    "evaluate": (
        ["--checkpoint=."],
        "avemo_jax.experiment:evaluate_checkpoint",
        "what is chosen and scored is written at the end, so nothing was",
    ),
}


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(c, marks=() if c == "score" else pytest.mark.release)
        for c in MIDDLE
    ],
)
def test_each_command_says_what_is_kept(tmp_path, command):
    arguments, place, kept = MIDDLE[command]
    (tmp_path / "given").mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", STOPPING, place, command, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        start_new_session=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "AVEMO_CACHE": str(tmp_path)},
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        lines = iter(process.stdout.readline, "")
        assert "ready\n" in lines, process.stderr.read()
        os.killpg(process.pid, signal.SIGINT)
        said = process.stderr.read()
        assert process.wait(LIMIT_S) == 130
    assert said.splitlines()[-1] == f"stopped: {kept}; the same command goes on"
    assert "Traceback" not in said


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> pathlib.Path:
    return build_tiny_store(tmp_path_factory.mktemp("tiny"))


def started(store: pathlib.Path, workdir: pathlib.Path, *more: str) -> subprocess.Popen:
    """A training of many short epochs; what it says is added to ``log``."""
    command = [sys.executable, "-m", "avemo_jax.cli", "train", "--config=expr_mlp"]
    command += [f"--config.data.dir={store}", f"--workdir={workdir}"]
    command += [f"--config.num_epochs={EPOCHS}", "--config.train.early_stop_epochs=0"]
    command += ["--config.batch_size=16", "--config.log.tensorboard=false", *more]
    with (workdir.parent / "log").open("ab") as output:
        return subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )


def waited(
    process: subprocess.Popen, workdir: pathlib.Path, reached: Callable[[], bool]
) -> str:
    """What was said when ``reached`` is true, which it is before the process ends."""
    log = workdir.parent / "log"
    end = time.monotonic() + LIMIT_S
    while not reached():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.01)
    return log.read_text()


def interrupted(
    store: pathlib.Path, workdir: pathlib.Path, reached: Callable[[], bool], *more: str
) -> list[str]:
    """What ``avemo train`` says from a Ctrl-C on; it ends by status 130."""
    log = workdir.parent / "log"
    process = started(store, workdir, *more)
    before = len(waited(process, workdir, reached).splitlines())
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(LIMIT_S) == 130, log.read_text()
    return log.read_text().splitlines()[before:]


@pytest.mark.release
def test_two_trainings_in_one_workdir(store, tmp_path):
    run = tmp_path / "run"
    first = started(store, run)
    waited(first, run, lambda: len(history(run)) >= 2)
    epochs = len(history(run))
    second = started(store, run)
    assert second.wait(LIMIT_S) == 1
    last = (tmp_path / "log").read_text().splitlines()[-1]
    told = f"error: {run} is in use by process {first.pid} on "
    assert last.startswith(f"python -m avemo_jax.cli train: {told}")
    assert first.poll() is None
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    assert history(run) == list(range(1, len(history(run)) + 1))
    # The lock went with its process.
    before = len(history(run))
    interrupted(store, run, lambda: len(history(run)) > before)
    assert before >= epochs


def history(workdir: pathlib.Path) -> list[int]:
    path = workdir / "metrics.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [json.loads(line)["epoch"] for line in lines]


@pytest.mark.slow
def test_a_training_saves_and_goes_on(store, tmp_path):
    run = tmp_path / "run"
    said = interrupted(store, run, lambda: len(history(run)) >= 3)
    assert len(said) == 2, said  # that it saves, and what is kept
    assert "Ctrl-C: saving at the next boundary" in said[0]
    assert f"steps are saved in {run}; the same command goes on" in said[1]
    epoch = int(said[1].partition("stopped: epoch ")[2].split()[0])
    assert history(run) == list(range(1, epoch + 1))
    newest = max(int(path.name) for path in (run / "checkpoints").iterdir())
    assert newest >= epoch


@pytest.mark.release
@pytest.mark.parametrize("stage", ["config.json", "environment.json", "best_model"])
def test_a_training_is_interrupted_elsewhere(store, tmp_path, stage):
    """While tables load and programs compile; and when it is evaluated."""
    run = tmp_path / "run"
    epochs = f"--config.num_epochs={2 if stage == 'best_model' else EPOCHS}"
    said = interrupted(store, run, (run / stage).exists, epochs)
    stopped = "stopped: epochs and results that were written are kept; the same command"
    assert [line for line in said if stopped in line] == [said[-1]], said
    assert len(said) < 5, said  # what it told of its work before
    assert not any("Traceback" in line for line in said)
    if stage != "best_model":
        assert len(interrupted(store, run, lambda: bool(history(run)), epochs)) < 9
