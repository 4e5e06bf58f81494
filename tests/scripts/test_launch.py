"""The launchers: what they would run, what they refuse, machines that are this one."""

import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest
from made.several_processes import LIMIT_S, free_port, history
from made.tiny_store import build_tiny_store

ROOT = pathlib.Path(__file__).parents[2]
LAUNCH = ROOT / "scripts" / "launch"
SCRIPTS = ("two_machines.sh", "slurm.sh", "tpu_pod.sh")
GIVEN = {
    "two_machines.sh": ["--hosts", "a,b"],
    "slurm.sh": ["--nodes", "2"],
    "tpu_pod.sh": ["--tpu", "pod", "--zone", "z", "--skip-install"],
}
# Arguments that only survive where they are quoted.
PROGRAM = ["--config", "configs/expr_mlp.py", "--config.blend.features=('vggish',)"]
PROGRAM += ["--workdir=/nfs/my run"]


def launched(script: str, *arguments: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [LAUNCH / script, *arguments],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        **options,
    )


def shown(script: str, *options: str, program: list[str] = PROGRAM) -> list[str]:
    """Lines that --dry-run prints."""
    done = launched(script, *GIVEN[script], *options, "--dry-run", "--", *program)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_shellcheck_finds_nothing():
    files = sorted(LAUNCH.glob("*.sh"))
    assert len(files) == 4
    tool = shutil.which("shellcheck", path=pathlib.Path(sys.executable).parent)
    done = subprocess.run(
        [tool, "-x", *files], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_is_the_comment_at_the_head(script):
    done = launched(script, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(("Trains", "Submits"))
    assert "--dry-run" in done.stdout
    assert "#" not in done.stdout


def test_two_machines_get_the_same_command():
    lines = shown("two_machines.sh", "--port", "9000", "--dir", "/the code")
    assert len(lines) == 2
    for i, (line, host) in enumerate(zip(lines, "ab", strict=True)):
        *ssh, inner = shlex.split(line)
        assert ssh == ["ssh", "-o", "BatchMode=yes", host]
        words = shlex.split(inner)
        assert words[:3] == ["cd", "/the code", "&&"]
        start = words.index(".venv/bin/python")
        assert words[start + 1 :] == [
            *("-m", "avemo_jax.main", "--distributed=on", "--coordinator=a:9000"),
            *("--num-processes=2", f"--process-id={i}", *PROGRAM),
        ]


def test_a_job_has_a_process_for_each_gpu():
    command, *job = shown("slurm.sh", "--gpus", "4", "--partition", "p")
    words = shlex.split(command)
    assert words[0] == "sbatch"
    wanted = {"--nodes=2", "--ntasks-per-node=4", "--gpus-per-node=4", "--requeue"}
    assert wanted | {"--signal=TERM@120", "--partition=p"} <= set(words)
    (srun,) = [line for line in job if line.startswith("srun")]
    words = shlex.split(srun.removesuffix(" || status=$?"))
    start = words.index("--distributed=on")
    assert words[start + 1 :] == PROGRAM
    text = "\n".join(job)
    assert "-eq 75" in text
    assert 'scontrol requeue "$SLURM_JOB_ID"' in text
    checked = subprocess.run(["bash", "-n"], input=text, text=True, check=False)
    assert checked.returncode == 0


def test_a_job_of_one_process_waits_for_no_other():
    lines = shown("slurm.sh", "--nodes", "1")
    assert any("--distributed=off" in line for line in lines)


def test_a_pod_is_installed_gets_the_store_and_runs():
    options = ["--store", "gs://b/the store", "--project", "p"]
    copy, run = map(shlex.split, shown("tpu_pod.sh", *options))
    for words in (copy, run):
        assert words[:6] == ["gcloud", "compute", "tpus", "tpu-vm", "ssh", "pod"]
        assert words[6:11] == ["--zone", "z", "--project", "p", "--worker=all"]
    assert "gcloud storage cp -r gs://b/the\\ store/" in copy[-1]
    words = shlex.split(run[-1].removeprefix("--command="))
    assert words[words.index("--distributed=auto") + 1 :] == [
        *PROGRAM,
        "--config.data.dir=$HOME/store",
    ]
    done = launched(
        *("tpu_pod.sh", "--tpu", "pod", "--zone", "z", "--repository", "URL"),
        *("--revision", "abc", "--store", "host:/mnt/s", "--dry-run", "--", *PROGRAM),
    )
    install, run = map(shlex.split, done.stdout.splitlines())
    assert "git clone URL avemo_jax" in install[-1]
    assert "'.[tpu,gcs]'" in install[-1]
    assert run[-1].endswith("--config.data.dir=/mnt/s")


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--colour", "red"], "unknown option --colour"),
        (["--dir"], "has no value|unknown option"),
        (["--dry-run", "--"], "nothing after --"),
        (
            ["--dry-run", "--", *PROGRAM, "--config.data.dir=gs://b/s"],
            "gcloud storage cp -r gs://b/s DIR",
        ),
        (["--dry-run", "--", *PROGRAM, "--process-id=1"], "this script gives it"),
    ],
)
def test_careless_input(script, arguments, message):
    done = launched(script, *GIVEN[script], *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert any(part in done.stderr for part in message.split("|")), done.stderr


@pytest.mark.parametrize("script", SCRIPTS)
def test_what_must_be_given(script):
    done = launched(script, "--dry-run", "--", *PROGRAM)
    assert done.returncode == 2
    assert f"no {GIVEN[script][0]}; expected" in done.stderr


def test_a_pod_needs_a_shared_work_directory():
    done = launched("tpu_pod.sh", *GIVEN["tpu_pod.sh"], "--", "--config", "x.py")
    assert done.returncode == 2
    assert "no --workdir after --" in done.stderr


# --- Machines that are this one -------------------------------------------------------

STUB = """#!/usr/bin/env bash
# Stands in for Python: ends with the status that is asked for, or when it is told.
index=$(printf '%s\n' "$@" | sed -n 's/--process-id=//p')
trap 'exit 75' TERM
echo "process $index: $*"
case "$*" in
*--wait*) touch "started-$index"; while true; do sleep 0.05; done ;;
*--fail=$index*) exit 1 ;;
*--fail*) exit 134 ;;
esac
"""


@pytest.fixture
def stub(tmp_path) -> pathlib.Path:
    path = tmp_path / "python"
    path.write_text(STUB)
    path.chmod(0o755)
    return path


def here(stub: pathlib.Path, *program: str) -> list[str]:
    options = ["--hosts", "localhost,localhost", "--dir", str(stub.parent)]
    return [*options, "--python", str(stub), "--", *program]


def left() -> set[str]:
    return {path.name for path in pathlib.Path("/tmp").glob("avemo-*.pid")}


def test_all_well_is_status_0(stub):
    before = left()
    done = launched("two_machines.sh", *here(stub, "--config", "x.py"))
    assert done.returncode == 0, done.stderr
    for i in (0, 1):
        assert f"process {i}: -m avemo_jax.main --distributed=on" in done.stdout
    assert left() <= before


@pytest.mark.parametrize("bad", [0, 1])
def test_the_status_is_of_the_one_that_failed(stub, bad):
    """Not that of those who lost it."""
    done = launched("two_machines.sh", *here(stub, f"--fail={bad}"))
    assert done.returncode == 1
    assert "mend what the output says; the same command goes on" in done.stderr


def test_sigterm_reaches_all(stub):
    command = [LAUNCH / "two_machines.sh", *here(stub, "--wait")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + LIMIT_S
    while not all((stub.parent / f"started-{i}").exists() for i in (0, 1)):
        assert time.monotonic() < end
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 75
    assert "stopped and saved: the same command goes on" in errors


@pytest.mark.release
def test_two_machines_really_train(tmp_path):
    store = build_tiny_store(tmp_path / "tiny")
    done = launched(
        *("two_machines.sh", "--hosts", "localhost,localhost"),
        *("--address", "127.0.0.1", "--port", str(free_port())),
        *("--python", sys.executable, "--", "--config", "configs/expr_mlp.py"),
        *(f"--config.data.dir={store}", f"--workdir={tmp_path / 'run'}"),
        *("--config.batch_size=16", "--config.num_epochs=2"),
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )
    assert done.returncode == 0, done.stderr
    assert "process 1 of 2, 1 of 2 devices" in done.stderr
    assert [line["epoch"] for line in history(tmp_path / "run")] == [1, 2]
    assert (tmp_path / "run" / "results.json").exists()
