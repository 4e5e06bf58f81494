"""The ``avemo`` command: each sub-command runs the program of one module."""

import dataclasses
import pkgutil
import sys
from typing import Any

from avemo_jax.runtime.command_line import CommandParser, did_you_mean, program
from avemo_jax.runtime.errors import run_program
from avemo_jax.runtime.versions import VERSION


@dataclasses.dataclass(frozen=True)
class Command:
    """A sub-command.

    Attributes:
        name: Name on the command line.
        does: What it does, in a line.
        parser: Place of the function that returns its parser, ``module:function``; the
            module loads no JAX.
        program: Place of the function that takes its arguments and returns the exit
            status.
    """

    name: str
    does: str
    parser: str
    program: str


def _command(name: str, does: str, folder: str) -> Command:
    """A command whose package has ``flags.parser()`` and ``command.main()``."""
    module = f"avemo_jax.{folder}"
    return Command(name, does, f"{module}.flags:parser", f"{module}.command:main")


def _of_main(name: str, does: str) -> Command:
    return Command(
        name, does, f"avemo_jax.main:{name}_parser", f"avemo_jax.main:{name}"
    )


GROUPS = {
    "Predict": (
        _command("predict", "videos and images to tables of every face", "prediction"),
    ),
    "Train and evaluate": (
        _of_main("train", "train a head and evaluate it"),
        _of_main("evaluate", "score a trained head or an ensemble on a split"),
        _of_main("blend", "weight several models, chosen on dev"),
        _command("plan", "what a training will take, before it", "training.plan"),
    ),
    "Make a store": (
        _command(
            "prepare",
            "the official Aff-Wild2 folders to a store",
            "extraction.prepare",
        ),
        _command(
            "extract", "face crops, videos or sound to feature files", "extraction"
        ),
        Command(
            "check-crops",
            "our face crops against official ones",
            "avemo_jax.extraction.flags:check_crops_parser",
            "avemo_jax.prediction.check_crops_command:main",
        ),
        _command(
            "import-features", "features made elsewhere to files", "data.importing"
        ),
        _command("build-store", "feature files and labels to a store", "packing"),
    ),
    "Take part in the challenge": (
        _command("score", "predictions against annotations", "challenge.score"),
        _command("submit", "predictions to the challenge's files", "challenge.submit"),
    ),
    "Networks and weights": (
        Command(
            "models",
            "list the models that predict without training",
            "avemo_jax.prediction.models_flags:parser",
            "avemo_jax.prediction.models_command:main",
        ),
        Command(
            "extractors",
            "list all extractors, of this package and of plug-ins",
            "avemo_jax.extraction.flags:extractors_parser",
            "avemo_jax.extraction.extractors_command:main",
        ),
        Command(
            "fetch",
            "download, check and convert published weights",
            "avemo_jax.convert.flags:fetch_parser",
            "avemo_jax.convert.fetch:main",
        ),
        _command("convert", "weights of PyTorch or ONNX to ours", "convert"),
    ),
}
COMMANDS = {one.name: one for group in GROUPS.values() for one in group}


def parsers() -> dict[str, CommandParser]:
    """The parser of each command, by its name, in the order of ``avemo --help``."""
    return {name: _resolve(one.parser)() for name, one in COMMANDS.items()}


def _resolve(place: str) -> Any:
    return pkgutil.resolve_name(place)


def _usage() -> str:
    """The commands in their groups, a line each."""
    width = max(map(len, COMMANDS))
    lines = [f"usage: {program()} COMMAND [OPTIONS]"]
    for title, commands in GROUPS.items():
        lines += ["", f"{title}:"]
        lines += [f"  {one.name:<{width}}  {one.does}" for one in commands]
    return "\n".join([*lines, "", f"{program()} COMMAND --help shows its flags."])


def main() -> None:
    """Runs the sub-command that the command line names."""
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("--version", "-V", "version"):
        print(f"avemo_jax {VERSION}")
        return
    if name in ("--help", "-h", "help"):
        if not arguments:
            print(_usage())
            return
        name, arguments = arguments[0], ["--help"]
    if name not in COMMANDS:
        print(
            f"{program()}: error: unknown command {name!r}; "
            f"{did_you_mean(name, COMMANDS)}expected one of {', '.join(COMMANDS)}: put "
            f"it before all flags; {program()} --help says what they do",
            file=sys.stderr,
        )
        sys.exit(2)
    command = COMMANDS[name]
    parser = _resolve(command.parser)()
    if {"--help", "-h"} & set(arguments):
        parser.print_help()
        return
    # A mistake in a flag ends the program here, before the command's modules load,
    # which takes seconds.
    parser.parse_args(arguments)
    run_program(lambda: _resolve(command.program)(arguments))


if __name__ == "__main__":
    main()
