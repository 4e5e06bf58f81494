"""The ``avemo`` command: its parsers, their help and their style."""

import argparse
import contextlib
import re
import subprocess
import sys
import types

import pytest

from avemo_jax import cli, main
from avemo_jax.runtime import command_line
from avemo_jax.runtime.command_line import CommandParser, command_parser
from avemo_jax.runtime.versions import VERSION

PARSERS = cli.parsers()
FLAGS = {
    flag: action
    for parser in PARSERS.values()
    for action in parser._actions
    for flag in action.option_strings
}
# Each command's help, and what it says of a flag that no command has.
_LIGHT = """
import contextlib, io, sys
from avemo_jax import cli
said = io.StringIO()
with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
    for name in cli.COMMANDS:
        for flag, status in (("--help", 0), ("--nonesuch=1", 2)):
            sys.argv = ["avemo", name, flag]
            try:
                cli.main()
            except SystemExit as end:
                assert end.code == status, (name, flag, end.code)
            else:
                assert status == 0, (name, flag)
heavy = ("jax", "flax", "optax", "orbax", "pyarrow", "tensorflow_datasets", "av")
heavy += ("scipy", "PIL", "librosa", "requests")
sys.exit(", ".join(name for name in heavy if name in sys.modules) or 0)
"""


def test_help_and_unknown_flags_of_all_commands_load_no_jax():
    command = [sys.executable, "-W", "error", "-c", _LIGHT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", PARSERS)
def test_help_has_an_example_groups_and_a_word_on_each_flag(name):
    parser = PARSERS[name]
    assert parser.prog == f"avemo {name}"
    text = parser.format_help()
    assert f"example:\n  avemo {name}" in text
    assert max(map(len, text.splitlines())) <= 88 or "{" in text
    (options,) = [g for g in parser._action_groups if g.title == "options"]
    assert [action.dest for action in options._group_actions] == ["help"]
    for action in parser._actions:
        assert action.help or action.choices or not action.option_strings


def test_flags_are_spelled_alike():
    assert {flag for flag in FLAGS if not re.fullmatch(r"-h|--[a-z\d-]+", flag)} == {
        "--config.FIELD"
    }
    # A store is read from --data-dir, and what comes out goes to --out.
    assert not {"--data", "--store", "--output", "--output-dir"} & FLAGS.keys()
    reads_a_store = {"train", "evaluate", "blend", "plan", "submit"}
    assert {n for n, p in PARSERS.items() if _has(p, "--data-dir")} == reads_a_store
    writes = {
        "predict",
        "prepare",
        "extract",
        "import-features",
        "build-store",
        "submit",
    }
    assert {n for n, p in PARSERS.items() if _has(p, "--out")} == writes | {
        "convert",
        "check-crops",
    }


def _has(parser: argparse.ArgumentParser, flag: str) -> bool:
    return flag in parser._option_string_actions


def test_the_list_of_commands_is_in_groups(monkeypatch, capsys):
    for arguments in ([], ["--help"], ["-h"], ["help"]):
        monkeypatch.setattr(sys, "argv", ["avemo", *arguments])
        cli.main()
        text = capsys.readouterr().out
        for title, commands in cli.GROUPS.items():
            assert f"\n{title}:\n  {commands[0].name} " in text
        assert len(re.findall(r"^  \S", text, re.M)) == len(PARSERS) == 16


def test_an_unknown_command_and_an_unknown_flag_end_with_2(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["avemo", "trian"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("avemo: error: unknown command 'trian'; did you mean train?")
    for name, parser in PARSERS.items():
        assert refused(parser, ["--nonesuch=1"], capsys) == (
            f"avemo {name}: error: unknown flag --nonesuch; expected one that avemo "
            f"{name} --help lists: correct it\n"
        )


def test_help_is_of_the_command(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["avemo", "train", "--config", "x.py", "--help"])
    cli.main()
    text = capsys.readouterr().out
    assert "--data-dir DIR" in text
    assert "--config.FIELD VALUE" in text


def test_the_version_is_told(monkeypatch, capsys):
    for run, flag in (
        (cli.main, "--version"),
        (main.run, "--version"),
        (cli.main, "-V"),
    ):
        monkeypatch.setattr(sys, "argv", ["avemo", flag])
        with contextlib.suppress(SystemExit):
            run()
        assert capsys.readouterr().out == f"avemo_jax {VERSION}\n"


@pytest.mark.parametrize(
    ("module", "prog"),
    [
        (None, "avemo train"),
        ("pytest.__main__", "avemo train"),
        ("avemo_jax.cli", "python -m avemo_jax.cli train"),
        ("avemo_jax.main", "python -m avemo_jax.main --mode=train"),
    ],
)
def test_usage_names_the_command_as_it_was_called(module, prog, monkeypatch):
    started = types.SimpleNamespace(
        __spec__=module and types.SimpleNamespace(name=module)
    )
    monkeypatch.setitem(sys.modules, "__main__", started)
    assert main.train_parser().format_usage().startswith(f"usage: {prog} [-h]")


# --- what people type ----------------------------------------------------------------


def refused(parser: argparse.ArgumentParser, words: list[str], capsys) -> str:
    """What a parser says of a wrong command line, which is one line."""
    with pytest.raises(SystemExit) as end:
        parser.parse_args(words)
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


def made_parser() -> CommandParser:
    """A parser with a flag of each kind."""
    parser = command_parser("made", "Make.", example="avemo made")
    parser.add_argument("files", nargs="*")
    parser.add_argument("--data-dir", metavar="DIR")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--video", action="append", default=[], metavar="FILE")
    parser.add_argument("--quiet", action="store_true")
    parser.add_argument("--config")
    parser.fields = ("learning_rate", "data.dir")
    parser.bare = "--config made"
    return parser


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--data_dri=x"],
            "unknown flag --data_dri; did you mean --data-dir? expected",
        ),
        (["-data-dir", "x"], "unknown flag -data-dir; did you mean --data-dir?"),
        (["--Seed", "1"], "unknown flag --Seed; did you mean --seed?"),
        (["--learning-rate=1"], "; did you mean --config.learning_rate? expected one"),
        (["--data-dir="], "--data-dir= is empty; expected a value: give one, or leave"),
        (["--data-dir", ""], "an argument is empty; expected a value: is a variable"),
        (["--config=x", "--config.data.dir="], "--config.data.dir= is empty; expected"),
        (["--data-dir"], "--data-dir without a value; expected DIR: give it"),
        (
            ["--data-dir", "--quiet"],
            "--data-dir without a value; expected DIR: give it",
        ),
        (["--data-dir", "-1,1"], "behind an equals sign: write --data-dir=-1,1"),
        (["--quiet=yes"], "--quiet=yes; expected --quiet alone: leave the value out"),
        (["\N{EM DASH}seed=1"], "begins with a dash of a text editor; expected two"),
        (["--seed", "x"], "argument --seed: invalid int value: 'x'; avemo made --help"),
        (["--config.learning_rate=1"], "--config.learning_rate=1 without --config;"),
    ],
)
def test_what_misleads_is_refused(words, said, capsys):
    assert "avemo made: error: " in (error := refused(made_parser(), words, capsys))
    assert said in error


def test_what_is_meant_is_read(monkeypatch):
    monkeypatch.setattr(command_line.os.path, "expanduser", lambda name: f"<{name}>")
    words = ["~/p.csv,~/q.csv", "EXPR=~/list", "C:\\p.csv", "a~b", "--data_dir=~/store"]
    words += [
        "--video=~",
        "--video",
        "v~1.mp4",
        "--seed",
        "7",
        "--seed",
        "-2",
        "--quiet",
    ]
    words += [
        "--config",
        "x",
        "--config.learning-rate=1e-3",
        "--config.data.dir=~you/d",
    ]
    args = made_parser().parse_args(words)
    assert args.files == ["<~>/p.csv,<~>/q.csv", "EXPR=<~>/list", "C:\\p.csv", "a~b"]
    assert (args.data_dir, args.video) == ("<~>/store", ["<~>", "v~1.mp4"])
    assert (args.seed, args.quiet) == (-2, True)
    assert args.fields == ["--config.learning_rate=1e-3", "--config.data.dir=<~you>/d"]


def test_a_word_without_its_flag(capsys):
    said = refused(main.train_parser(), ["expr_mlp"], capsys)
    assert "unexpected 'expr_mlp'; expected a flag before it: --config expr_mlp" in said


def test_fields_of_the_configuration_are_kept_apart():
    line = ["--config", "a.py:b", "--config.x=1", "--config.y", "-2", "--config.z"]
    args = PARSERS["train"].parse_args([*line, "--deterministic", "--workdir", "w"])
    assert (args.config, args.deterministic, args.workdir) == ("a.py:b", True, "w")
    assert args.fields == ["--config.x=1", "--config.y", "-2", "--config.z"]
    with pytest.raises(SystemExit) as end:
        PARSERS["train"].parse_args(["--config=a.py", "--config.x=1", "2"])
    assert end.value.code == 2


def test_the_program_itself_takes_its_command_by_a_flag(monkeypatch):
    called = []
    monkeypatch.setattr(main, "run_command", lambda *given: called.append(given) or 0)
    line = ["--checkpoint=a_b", "--mode=evaluate", "--data_dir", "my_store"]
    with pytest.raises(SystemExit) as end:
        main.run([*line, "--config.num_seeds=2"])
    assert end.value.code == 0
    rest = ["--checkpoint=a_b", "--data_dir", "my_store", "--config.num_seeds=2"]
    assert called == [("evaluate", rest)]
