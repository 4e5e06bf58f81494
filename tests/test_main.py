"""The command line as a user meets it."""

import contextlib
import dataclasses
import io
import os
import pathlib
import re
import subprocess
import sys

import pytest
from made.tiny_store import FRAMES, build_tiny_store

from avemo_jax import main

ROOT = pathlib.Path(__file__).parents[1]
CONFIG = str(ROOT / "configs" / "expr_mlp.py")

# The second is of protobuf 6, to which apache-beam holds it.
_STRICT = ("-W", "error", "-W", "ignore:label() is deprecated:DeprecationWarning")

# What is typed (STORE, EMPTY and HERE are folders), and what the answer says.
WRONG = {
    "no configuration": ([], r"--config expr_mlp"),
    "no such configuration": (
        ["--config=nowhere.py"],
        r"no configuration 'nowhere.py'; .* expr_mlp, .*; name one: --config expr_mlp",
    ),
    "a typing error in a recipe's name": (
        ["--config=expr_mpl"],
        r"no configuration 'expr_mpl'; did you mean expr_mlp\? expected a file or one",
    ),
    "a recipe by its file, outside of the checkout": (
        ["--config=configs/own_mlp.py"],
        r"no configuration 'configs/own_mlp.py'; did you mean own_mlp\? expected",
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
        r"--coordinator, --num-processes without --process-id; expected all three",
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
        r"config.num_epochs is 0; expected a whole number from 1 to 1000000; correct",
    ),
    "no such task": (
        [f"--config={CONFIG}", "--config.task=MOOD"],
        r"unknown task 'MOOD'; config.task may be EXPR, AU, VA",
    ),
    "folder that is no store": (
        [f"--config={CONFIG}", "--config.data.dir=EMPTY"],
        r"no store in '.*empty'; .*avemo build-store",
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
        r"unexpected 'fast'; expected a flag before it: --config expr_mlp",
    ),
    "no such flag": (
        ["--speed=3"],
        r"unknown flag --speed; did you mean --config.seed\? expected one that",
    ),
    "no such mode": (["--mode=think"], r"'train', 'evaluate', 'blend'"),
    "no such split": (
        ["--mode=evaluate", "--split=val"],
        r"'validation', 'dev', 'train', 'test'",
    ),
    "no checkpoint": (["--mode=evaluate"], r"--checkpoint=DIR, e.g. RUN/best_model"),
    "no such checkpoint": (
        ["--mode=evaluate", "--checkpoint=nowhere"],
        r"nowhere is no head checkpoint.*best_model",
    ),
    "several to evaluate": (
        ["--mode=evaluate", "--checkpoint=A,B"],
        r"2 checkpoints; .* one --checkpoint=DIR.*to blend several: avemo blend",
    ),
    "nowhere to blend to": (
        ["--mode=blend", "--checkpoint=A,B"],
        r"no --workdir; expected --workdir=DIR",
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
        r"--frame-rate=refine with avemo train; .* avemo evaluate .*; to train, "
        r"--config.postprocess.frame_rate.rule=refine",
    ),
    "a stride without its rule": (
        ["--mode=evaluate", "--checkpoint=A", "--frame_rate_stride=5"],
        r"--frame-rate-stride=5 without --frame-rate; expected .* --frame-rate=stride",
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
        r"--ensemble=seeds with avemo train; expected it with avemo evaluate",
    ),
    "trust without a blend": (
        [f"--config={CONFIG}", "--trust_extractor"],
        r"--trust-extractor with avemo train; .* avemo blend .*trust_extractor=True",
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
    found = {}
    for name, (arguments, _) in WRONG.items():
        line = "\n".join(arguments)
        line = line.replace("STORE", str(store)).replace("HERE", str(here))
        line = line.replace("EMPTY", str(here / "empty"))
        out, err = io.StringIO(), io.StringIO()
        with (
            contextlib.chdir(here),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            pytest.raises(SystemExit) as end,
        ):
            main.run([argument for argument in line.split("\n") if argument])
        found[name] = Answer(end.value.code, out.getvalue(), err.getvalue())
    return found


@pytest.mark.parametrize("name", WRONG)
def test_mistake_is_answered_by_what_to_do(answers, name):
    answer = answers[name]
    assert answer.code in (1, 2), answer
    assert "Traceback" not in answer.out + answer.err
    text = " ".join((answer.out + answer.err).split())
    assert re.search(WRONG[name][1], text), text


def test_mistakes_leave_nothing_behind(answers, here):
    assert answers
    names = {path.name for path in here.iterdir()}
    assert names == {"empty"}
    assert not list((here / "empty").iterdir())


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
    # One width of smoothing: fewer programs to compile.
    options += ["--config.postprocess.half_widths=(5,)"]
    options += ["--config.postprocess.gaussian=False"]
    return folder, run(folder, "avemo_jax.main", "--config=expr_mlp", *options)


@pytest.mark.slow
def test_default_workdir_is_named_by_the_configuration(trained):
    folder, answer = trained
    assert answer.code == 0, answer.err
    (workdir,) = (folder / "runs").iterdir()
    name, identity = workdir.name.rsplit("-", 1)
    assert name == "expr_mlp"
    assert len(identity) == 8
    assert {path.name for path in workdir.iterdir()} >= {"results.json", "best_model"}


@pytest.mark.slow
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


@pytest.mark.slow
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
        f"--data-dir={store}",
        f"--workdir={out}",
    )
    assert answer.code == 0, answer.err
    for name in ("results.json", "predictions.csv"):
        assert (out / name).read_bytes() == (workdir / name).read_bytes()
    rows = (out / "predictions.csv").read_text().splitlines()
    assert len(rows) == 1 + 3 * FRAMES
    assert "smoothed: window chosen on dev." in answer.out
