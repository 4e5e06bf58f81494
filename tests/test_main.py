"""The command line as a user meets it."""

import dataclasses
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest
from made.tiny_store import FRAMES, build_tiny_store

ROOT = pathlib.Path(__file__).parents[1]
CONFIG = str(ROOT / "configs" / "expr_mlp.py")

# Configuration files are loaded by a method of importlib that is to go.
_STRICT = ("-W", "error", "-W", "ignore:the load_module() method:DeprecationWarning")
# Of protobuf 6, to which apache-beam holds it.
_STRICT += ("-W", "ignore:label() is deprecated:DeprecationWarning")
# Each command in a process of its own, but for the imports, which take seconds.
_RUN_EACH = """
import json, os, sys, traceback
from avemo_jax import cli, experiment, main

for number, arguments in enumerate(json.loads(sys.argv[1])):
    process = os.fork()
    if process == 0:
        for stream in (1, 2):
            file = os.open(f"{number}.{stream}", os.O_CREAT | os.O_WRONLY)
            os.dup2(file, stream)
        sys.argv = arguments
        try:
            cli.main() if arguments[0] == "avemo" else main.run()
            code = 0
        except SystemExit as error:
            code = error.code
            if isinstance(code, str):
                print(code, file=sys.stderr)
                code = 1
        except BaseException:
            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code or 0)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    with open(f"{number}.code", "w") as file:
        file.write(str(code))
"""

# What is typed (STORE, EMPTY and HERE are folders), and what the answer says.
WRONG = {
    "no configuration": ([], r"--config configs/expr_mlp.py"),
    "no such configuration": (
        ["--config=nowhere.py"],
        r"no configuration 'nowhere.py'; name one: configs/expr_mlp.py",
    ),
    "no such configuration, apart": (
        ["--config", "nowhere.py", "--config.seed=1"],
        r"no configuration 'nowhere.py'",
    ),
    "a checkpoint in a bucket": (
        ["--mode=evaluate", "--checkpoint=gs://b/run/best_model"],
        r"is not on this machine; .* gcloud storage cp -r gs://b/run/best_model \.",
    ),
    "data in a bucket": (
        [f"--config={CONFIG}", "--config.data.dir=gs://b/store"],
        r"data directory 'gs://b/store' is not on this machine; .* gcloud storage cp",
    ),
    "several processes that nothing shows": (
        [f"--config={CONFIG}", "--distributed=on"],
        r"--distributed=on and the environment shows no other process; .*--coordinator",
    ),
    "a process without its number": (
        [f"--config={CONFIG}", "--coordinator=a:8476", "--num-processes=2"],
        r"--coordinator, --num_processes without --process_id; expected all three",
    ),
    "typing error in a field": (
        [f"--config={CONFIG}", "--config.learnin_rate=1"],
        r"no such field in the configuration: .*learnin_rate.*learning_rate",
    ),
    "no such group of fields": (
        [f"--config={CONFIG}", "--config.trian.warmup=1"],
        r"no such field in the configuration: 'trian'",
    ),
    "word for a number": (
        [f"--config={CONFIG}", "--config.num_epochs=many"],
        r"config.num_epochs=many",
    ),
    "value out of range": (
        [f"--config={CONFIG}", "--config.num_epochs=0"],
        r"config.num_epochs is 0; it is to be >= 1",
    ),
    "no such task": (
        [f"--config={CONFIG}", "--config.task=MOOD"],
        r"unknown task 'MOOD'; config.task may be EXPR, AU, VA",
    ),
    "folder that is no store": (
        [f"--config={CONFIG}", "--config.data.dir=EMPTY"],
        r"no store in '.*empty'; .*build_store.py",
    ),
    "no such folder": (
        [f"--config={CONFIG}", "--config.data.dir=HERE/nowhere"],
        r"no store in '.*nowhere'",
    ),
    "no such features": (
        [f"--config={CONFIG}:nonesuch", "--config.data.dir=STORE"],
        r"nonesuch.*enet_b2_8_best@cropped_aligned-224, wav2vec2_base@16k",
    ),
    "no videos of the task": (
        [
            f"--config={CONFIG}",
            "--config.task=AU",
            "--config.data.dir=STORE",
            "--workdir=HERE/AU",
        ],
        r"no rows for AU dev .*the store has 0 train",
    ),
    "word without dashes": (
        [f"--config={CONFIG}", "fast"],
        r"unexpected 'fast'; options are written --config=FILE",
    ),
    "no such flag": (["--speed=3"], r"Unknown command line flag 'speed'"),
    "no such mode": (["--mode=think"], r"train\|evaluate"),
    "no such split": (["--split=val"], r"validation\|dev\|train\|test"),
    "no checkpoint": (["--mode=evaluate"], r"--checkpoint=DIR, e.g. RUN/best_model"),
    "no such checkpoint": (
        ["--mode=evaluate", "--checkpoint=nowhere"],
        r"nowhere is no head checkpoint.*best_model",
    ),
    "several to evaluate": (
        ["--mode=evaluate", "--checkpoint=A,B"],
        r"needs one --checkpoint=DIR.*to blend several, --mode=blend",
    ),
    "nowhere to blend to": (
        ["--mode=blend", "--checkpoint=A,B"],
        r"--mode=blend needs --workdir=DIR",
    ),
    "nothing to blend": (
        ["--mode=blend", "--workdir=HERE/blend"],
        r"0 checkpoint to blend; expected two or more",
    ),
    "no such checkpoint to blend": (
        ["--mode=blend", "--checkpoint=A,B", "--workdir=HERE/blend"],
        r"A is no head checkpoint.*best_model",
    ),
    "a rule for frames to train": (
        [f"--config={CONFIG}", "--frame_rate=refine"],
        r"--frame_rate=refine with --mode=train; expected --mode=evaluate; to train, "
        r"--config.postprocess.frame_rate.rule=refine",
    ),
    "a stride without its rule": (
        ["--mode=evaluate", "--checkpoint=A", "--frame_rate_stride=5"],
        r"--frame_rate_stride=5 without --frame_rate; expected .* --frame_rate=stride",
    ),
    "a rule that is not for the task": (
        [
            f"--config={CONFIG}",
            "--config.task=VA",
            "--config.postprocess.frame_rate.rule=sequential",
        ],
        r"frame_rate.rule is 'sequential' for VA; expected a task of one class",
    ),
    "an ensemble to train": (
        [f"--config={CONFIG}", "--ensemble=seeds"],
        r"--ensemble=seeds with --mode=train; expected --mode=evaluate",
    ),
    "trust without a blend": (
        [f"--config={CONFIG}", "--trust_extractor"],
        r"--trust_extractor with --mode=train; expected --mode=blend",
    ),
    "a blend's set that is none": (
        [
            f"--config={CONFIG}",
            "--config.data.dir=STORE",
            "--config.blend.features=('nonesuch@1',)",
            "--workdir=HERE/blend",
        ],
        r"nonesuch@1.*enet_b2_8_best@cropped_aligned-224, wav2vec2_base@16k",
    ),
}
AVEMO = {
    "nothing": ([], 0),
    "--help": (["--help"], 0),
    "-h": (["-h"], 0),
    "unknown": (["trian"], 2),
    "train": (["train"], 1),
    "evaluate": (["evaluate"], 1),
    "blend": (["blend", "--checkpoint=A,B"], 1),
}


@dataclasses.dataclass(frozen=True)
class Answer:
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> pathlib.Path:
    return build_tiny_store(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def here(tmp_path_factory) -> pathlib.Path:
    return tmp_path_factory.mktemp("here")


@pytest.fixture(scope="module")
def answers(store, here) -> dict[str, Answer]:
    (here / "empty").mkdir()
    names, commands = [], []
    for name, (arguments, _) in WRONG.items():
        names.append(name)
        line = "\n".join(["avemo_jax.main", *arguments])
        line = line.replace("STORE", str(store)).replace("HERE", str(here))
        commands.append(line.replace("EMPTY", str(here / "empty")).split("\n"))
    for name, (arguments, _) in AVEMO.items():
        names.append(f"avemo {name}")
        commands.append(["avemo", *arguments])
    program = [sys.executable, "-c", _RUN_EACH, json.dumps(commands)]
    subprocess.run(program, cwd=here, check=True, timeout=300)
    return {
        name: Answer(
            int((here / f"{i}.code").read_text()),
            (here / f"{i}.1").read_text(),
            (here / f"{i}.2").read_text(),
        )
        for i, name in enumerate(names)
    }


@pytest.mark.parametrize("name", WRONG)
def test_mistake_is_answered_by_what_to_do(answers, name):
    answer = answers[name]
    assert answer.code in (1, 2), answer
    assert "Traceback" not in answer.out + answer.err
    text = " ".join((answer.out + answer.err).split())
    assert re.search(WRONG[name][1], text), text


def test_mistakes_leave_nothing_behind(answers, here):
    assert answers
    names = {path.name for path in here.iterdir() if not path.name[0].isdigit()}
    assert names == {"empty", "AU"}  # the one whose videos had to be looked for
    assert not list((here / "empty").iterdir())


@pytest.mark.parametrize("name", AVEMO)
def test_avemo(answers, name):
    answer = answers[f"avemo {name}"]
    assert answer.code == AVEMO[name][1], answer
    assert "Traceback" not in answer.out + answer.err
    if answer.code == 0:
        assert "avemo train --config configs/expr_mlp.py" in answer.out
        assert "avemo evaluate --checkpoint=" in answer.out
        assert "avemo blend --checkpoint=" in answer.out
    elif name == "unknown":
        assert "unknown command 'trian'" in answer.err
        assert "usage: avemo" in answer.err
    elif name == "train":
        assert "name an experiment" in answer.out + answer.err
    elif name == "blend":
        assert "--mode=blend needs --workdir=DIR" in answer.out + answer.err
    else:
        assert "--checkpoint=DIR" in answer.out + answer.err


# --- Commands that work --------------------------------------------------------------


def run(here: pathlib.Path, *arguments: str) -> Answer:
    done = subprocess.run(
        [sys.executable, *_STRICT, "-m", *arguments],
        cwd=here,
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ,
    )
    return Answer(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def trained(store, tmp_path_factory) -> tuple[pathlib.Path, Answer]:
    """The folder in which a run was started without a workdir, and its output."""
    folder = tmp_path_factory.mktemp("trained")
    options = ["--config.batch_size=16", "--config.num_epochs=2"]
    options += [f"--config.data.dir={store}"]
    return folder, run(folder, "avemo_jax.main", f"--config={CONFIG}", *options)


def test_default_workdir_is_named_by_the_configuration(trained):
    folder, answer = trained
    assert answer.code == 0, answer.err
    (workdir,) = (folder / "runs").iterdir()
    name, identity = workdir.name.rsplit("-", 1)
    assert name == "expr_mlp"
    assert len(identity) == 8
    assert {path.name for path in workdir.iterdir()} >= {"results.json", "best_model"}


def test_last_lines_are_the_scores(trained):
    _, answer = trained
    assert answer.code == 0, answer.err
    lines = answer.out.splitlines()
    assert lines[0] == "Expressions (EXPR): demo corpus (synthetic), validation"
    assert any(line.startswith("  smoothed, ") for line in lines)
    assert "smoothed: window chosen on dev." in lines
    assert lines[-1].startswith("Written to runs/expr_mlp-")
    assert "Warning" not in answer.err
    assert "tensorflow" not in (answer.out + answer.err).lower()


def test_checkpoint_is_evaluated_in_a_new_process_without_a_configuration(
    trained, store
):
    folder, _ = trained
    (workdir,) = (folder / "runs").iterdir()
    out = folder / "again"
    answer = run(
        folder,
        "avemo_jax.cli",
        "evaluate",
        f"--checkpoint={workdir / 'best_model'}",
        f"--data_dir={store}",
        f"--workdir={out}",
    )
    assert answer.code == 0, answer.err
    for name in ("results.json", "predictions.csv"):
        assert (out / name).read_bytes() == (workdir / name).read_bytes()
    rows = (out / "predictions.csv").read_text().splitlines()
    assert len(rows) == 1 + 3 * FRAMES
    assert "smoothed: window chosen on dev." in answer.out
