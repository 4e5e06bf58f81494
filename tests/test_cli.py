"""The ``avemo`` command: its parsers, their help and their style."""

import argparse
import re
import subprocess
import sys

import pytest

from avemo_jax import cli, main
from avemo_jax.config.flags import parse

PARSERS = cli.parsers()
FLAGS = {
    flag: action
    for parser in PARSERS.values()
    for action in parser._actions
    for flag in action.option_strings
}
_HELP = """
import sys
from avemo_jax import cli, main
from avemo_jax.config.flags import parse
for parser in cli.parsers().values():
    parser.format_help()
heavy = ("jax", "flax", "optax", "orbax", "pyarrow", "tensorflow_datasets", "av")
sys.exit(", ".join(name for name in heavy if name in sys.modules) or 0)
"""


def test_help_of_all_commands_loads_no_jax():
    command = [sys.executable, "-W", "error", "-c", _HELP]
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
    writes = {"prepare", "extract", "import-features", "build-store", "submit"}
    assert {n for n, p in PARSERS.items() if _has(p, "--out")} == writes | {"convert"}


def _has(parser: argparse.ArgumentParser, flag: str) -> bool:
    return flag in parser._option_string_actions


def test_the_list_of_commands_is_in_groups(monkeypatch, capsys):
    for arguments in ([], ["--help"], ["-h"], ["help"]):
        monkeypatch.setattr(sys, "argv", ["avemo", *arguments])
        cli.main()
        text = capsys.readouterr().out
        for title, commands in cli.GROUPS.items():
            assert f"\n{title}:\n  {commands[0].name} " in text
        assert len(re.findall(r"^  \S", text, re.M)) == len(PARSERS) == 13


def test_an_unknown_command_and_an_unknown_flag_end_with_2(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["avemo", "trian"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    assert "unknown command 'trian'\n\nusage: avemo" in capsys.readouterr().err
    for name, parser in PARSERS.items():
        with pytest.raises(SystemExit) as end:
            parser.parse_args(["--nonesuch=1"])
        assert end.value.code == 2
        assert f"avemo {name}: error: " in capsys.readouterr().err


def test_help_is_of_the_command(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["avemo", "train", "--config", "x.py", "--help"])
    cli.main()
    text = capsys.readouterr().out
    assert "--data-dir DIR" in text
    assert "--config.FIELD VALUE" in text


def test_fields_of_the_configuration_are_kept_apart():
    line = ["--config", "a.py:b", "--config.x=1", "--config.y", "-2", "--config.z"]
    args = parse(cli.parsers()["train"], [*line, "--deterministic", "--workdir", "w"])
    assert (args.config, args.deterministic, args.workdir) == ("a.py:b", True, "w")
    assert args.fields == ["--config.x=1", "--config.y", "-2", "--config.z"]
    with pytest.raises(SystemExit) as end:
        parse(cli.parsers()["train"], ["--config=a.py", "--config.x=1", "2"])
    assert end.value.code == 2


def test_underscores_are_dashes_in_the_program_itself(monkeypatch):
    called = []
    monkeypatch.setattr(main, "run_command", lambda *given: called.append(given) or 0)
    line = ["--checkpoint=a_b", "--mode=evaluate", "--data_dir", "my_store"]
    with pytest.raises(SystemExit) as end:
        main.run([*line, "--config.num_seeds=2"])
    assert end.value.code == 0
    rest = ["--checkpoint=a_b", "--data-dir", "my_store", "--config.num_seeds=2"]
    assert called == [("evaluate", rest)]
