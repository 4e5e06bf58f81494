"""The program behind ``avemo train``, ``evaluate`` and ``blend``: flags and devices.

python -m avemo_jax.main --config configs/expr_mlp.py
python -m avemo_jax.main --mode=evaluate --checkpoint=RUN/best_model --split=validation
python -m avemo_jax.main --mode=evaluate --checkpoint=RUN --ensemble=folds
python -m avemo_jax.main --mode=blend --checkpoint=A/best_model,B/best_model --workdir=W

In this form flags may be written with underscores as well, as absl's are.
"""

import argparse
import functools
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, get_args

from absl import logging

from avemo_jax.config.flags import add_config, read_config
from avemo_jax.config.recipe_files import file_and_argument
from avemo_jax.postprocess.names import RuleName
from avemo_jax.runtime import flags
from avemo_jax.runtime.command_line import CommandParser, command_parser, program
from avemo_jax.runtime.errors import guarded, run_program
from avemo_jax.runtime.output_places import check_out
from avemo_jax.runtime.versions import VERSION

# Flags of one command, and what stands for them in another's configuration.
_ONLY = {
    "--frame-rate": ("evaluate", "config.postprocess.frame_rate.rule"),
    "--ensemble": ("evaluate", ""),
    "--trust-extractor": ("blend", "config.blend.trust_extractor"),
}


def train_parser() -> CommandParser:
    """The parser of ``avemo train``."""
    parser = _parser(
        "train",
        "Train a head, choose on dev, and evaluate the best epoch. The same command "
        "goes on\nwhere a run that was stopped has ended.",
        example="avemo train --config expr_mlp\n"
        "avemo train --config va_mlp --config.data.dir=store --config.num_seeds=5",
    )
    add_config(parser, listed=True)
    parser.bare = "--config expr_mlp"
    group = parser.add_argument_group("input and output")
    flags.add_data_dir(group, "store, as --config.data.dir names it")
    _add_workdir(group, "; default: runs/<config>-<identity>")
    _add_devices(parser)
    return parser


def evaluate_parser() -> CommandParser:
    """The parser of ``avemo evaluate``."""
    parser = _parser(
        "evaluate",
        "Score a trained head, or an ensemble, on a split.",
        example="avemo evaluate --checkpoint=RUN/best_model --split=dev\n"
        "avemo evaluate --checkpoint=RUN --ensemble=folds --data-dir=store",
    )
    parser.bare = "--checkpoint=RUN/best_model"
    group = parser.add_argument_group("model")
    _add_checkpoint(group, "DIR", "head checkpoint, as RUN/best_model")
    flags.add_ensemble(group)
    group.add_argument(
        "--frame-rate",
        choices=get_args(RuleName),
        help="frames whose scores are used, chosen on dev anew; replaces "
        "config.postprocess.frame_rate.rule",
    )
    group.add_argument(
        "--frame-rate-stride",
        type=flags.whole(0, 1_000_000),
        default=0,
        metavar="N",
        help="with --frame-rate: frames from one embedded frame to the next (stride, "
        "sliding), or the coarsest such number (sequential, refine); 0: chosen on dev",
    )
    _add_evaluation(
        parser,
        "; default: RUN/evaluation-<split> of RUN/best_model, "
        "HEADS/evaluation-<name>-<split> of HEADS/<name>",
    )
    return parser


def blend_parser() -> CommandParser:
    """The parser of ``avemo blend``."""
    parser = _parser(
        "blend",
        "Weight several models, chosen on dev, and score the blend on a split.",
        example="avemo blend --checkpoint=A/best_model,B/best_model --workdir=W",
    )
    parser.bare = "--checkpoint=A/best_model,B/best_model"
    group = parser.add_argument_group("models")
    _add_checkpoint(
        group,
        "DIR,DIR,...",
        "head checkpoints with commas between them, after the first also files of "
        "predictions made elsewhere",
    )
    group.add_argument(
        "--trust-extractor",
        action="store_true",
        help="EXPR: the extractor's own probabilities stand where confident",
    )
    group.add_argument(
        "--trained-on",
        metavar="FILE",
        help="list of the videos, one a line, that models behind files of predictions "
        "were trained on; else nothing is chosen",
    )
    _add_evaluation(parser, ", which is needed")
    return parser


_PARSERS = {"train": train_parser, "evaluate": evaluate_parser, "blend": blend_parser}


def _parser(command: str, description: str, *, example: str) -> CommandParser:
    """A parser that knows the other two commands' flags, and which fit each other."""
    parser = command_parser(command, description, example=example)
    parser.check = functools.partial(_check, command)
    parser.elsewhere = {
        flag: f"expected it with avemo {other} (--mode={other})"
        + (f"; to train, --{field}={{value}}" if field else "")
        for flag, (other, field) in _ONLY.items()
    }
    return parser


def _add_checkpoint(to: Any, metavar: str, help_text: str) -> None:
    to.add_argument(
        "--checkpoint",
        type=lambda text: text.split(","),
        default=[],
        metavar=metavar,
        help=help_text,
    )


def _add_evaluation(parser: CommandParser, workdir: str) -> None:
    """Add the flags of what is evaluated and where it goes."""
    group = parser.add_argument_group("input and output")
    flags.add_data_dir(group, "store to evaluate on, where --config names none")
    group.add_argument(
        "--split",
        choices=("validation", "dev", "train", "test"),
        default="validation",
        help="videos to evaluate on (default: %(default)s)",
    )
    _add_workdir(group, workdir)
    group.add_argument(
        "--no-report",
        dest="report",
        action="store_false",
        help="no report.html of the scores",
    )
    add_config(parser)
    _add_devices(parser)


def _add_workdir(to: Any, default: str) -> None:
    to.add_argument(
        "--workdir",
        metavar="DIR",
        help=f"where results go, a folder or gs://BUCKET/FOLDER{default}",
    )


def _add_devices(parser: CommandParser) -> None:
    """Add the flags of devices, processes and messages."""
    group = parser.add_argument_group("devices and processes")
    group.add_argument(
        "--deterministic",
        action="store_true",
        help="bit-identical results on GPU too; slower there",
    )
    flags.add_compilation_cache(group)
    group.add_argument(
        "--distributed",
        choices=("auto", "on", "off"),
        default="auto",
        help="several processes: where srun, mpirun or a Cloud TPU shows them; "
        "always; never (default: %(default)s)",
    )
    group.add_argument(
        "--coordinator",
        metavar="HOST:PORT",
        help="address of process 0, where nothing shows it",
    )
    group.add_argument(
        "--num-processes",
        type=flags.whole(1, flags.MOST_PROCESSES),
        metavar="N",
        help="processes of the whole program, with --coordinator",
    )
    group.add_argument(
        "--process-id",
        type=flags.whole(0, flags.MOST_PROCESSES - 1),
        metavar="I",
        help="number of this process, from 0, with --coordinator",
    )
    group.add_argument(
        "--verbosity",
        type=int,
        default=logging.INFO,
        metavar="N",
        help="1: also messages for developers, and errors with their traceback "
        "(default: %(default)s)",
    )


def _prepare_devices(args: argparse.Namespace, config: Any) -> None:
    """Sets flags of XLA and joins the other processes, before JAX starts."""
    if args.deterministic:
        old = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{old} --xla_gpu_deterministic_ops=true".strip()
    from avemo_jax.config.field_table import HEARTBEAT_S
    from avemo_jax.runtime import distributed, logs

    logs.speak_plainly()
    processes = distributed.find_processes(
        args.distributed, args.coordinator, args.num_processes, args.process_id
    )
    if processes is not None:
        heartbeat = config.distributed.heartbeat_s if config else HEARTBEAT_S
        distributed.start(processes, heartbeat)
        logs.speak_plainly(distributed.index())
    from avemo_jax.runtime import compilation

    compilation.keep_compiled(args.compilation_cache)


def _train(args: argparse.Namespace, config: Any) -> None:
    from avemo_jax import experiment

    if args.workdir:
        config.workdir = args.workdir
    if args.data_dir:
        config.data.dir = args.data_dir
    if config.workdir:
        check_out("--workdir", config.workdir, config.data.dir or None)
    name = pathlib.Path(file_and_argument(args.config)[0]).stem
    experiment.run_experiment(config, name=name)


def _evaluate(args: argparse.Namespace, config: Any) -> None:
    from avemo_jax import experiment
    from avemo_jax.postprocess.frame_rate.rules import FrameRate

    rule = args.frame_rate
    if args.workdir:
        # In the folder of a run with folds results of them all have their place.
        heads = [] if args.ensemble == "folds" else args.checkpoint
        check_out("--workdir", args.workdir, _data_dir(args, config), *heads)
    experiment.evaluate_checkpoint(
        pathlib.Path(args.checkpoint[0]),
        data_dir=_data_dir(args, config),
        split=args.split,
        workdir=args.workdir,
        ensemble=args.ensemble,
        frame_rate=FrameRate(rule, args.frame_rate_stride) if rule else None,
        report=args.report,
    )


def _blend(args: argparse.Namespace, config: Any) -> None:
    from avemo_jax import experiment
    from avemo_jax.data.listing import read_names

    read = (*args.checkpoint, args.trained_on, _data_dir(args, config))
    check_out("--workdir", args.workdir, *read)
    trained_on = None
    if args.trained_on:
        trained_on = [name for _, name in read_names(args.trained_on)]
    experiment.blend_checkpoints(
        [pathlib.Path(name) for name in args.checkpoint],
        data_dir=_data_dir(args, config),
        split=args.split,
        workdir=args.workdir,
        trust_extractor=args.trust_extractor,
        trained_on=trained_on,
        report=args.report,
    )


def _data_dir(args: argparse.Namespace, config: Any) -> str | None:
    if args.data_dir is None and config is not None:
        named: str | None = config.data.dir
        return named
    given: str | None = args.data_dir
    return given


# What is kept of a command that was stopped.
_KEPT = {
    "train": "epochs and results that were written are kept",
    "evaluate": "what is chosen and scored is written at the end, so nothing was",
    "blend": "what is chosen and scored is written at the end, so nothing was",
}
_PROGRAMS: dict[str, Callable[[argparse.Namespace, Any], None]]
_PROGRAMS = {"train": _train, "evaluate": _evaluate, "blend": _blend}


def _check(command: str, parser: CommandParser, args: argparse.Namespace) -> None:
    """Ends the program if flags are missing, or do not fit each other."""
    if command == "train":
        if args.config is None:
            parser.error(
                "no configuration; expected one; name an experiment: --config expr_mlp"
            )
        return
    for name in args.checkpoint:
        if "://" in name:
            parser.error(
                f"--checkpoint={name} is not on this machine; expected a folder; copy "
                f"it: gcloud storage cp -r {name} ."
            )
    if command == "evaluate" and len(args.checkpoint) != 1:
        parser.error(
            f"{len(args.checkpoint)} checkpoints; expected one --checkpoint=DIR, e.g. "
            "RUN/best_model; to blend several: avemo blend"
        )
    if command == "evaluate" and args.frame_rate_stride and not args.frame_rate:
        parser.error(
            f"--frame-rate-stride={args.frame_rate_stride} without --frame-rate; "
            "expected the rule that it is for: add --frame-rate=stride"
        )
    if command == "blend" and not args.workdir:
        parser.error("no --workdir; expected --workdir=DIR for what comes out: name it")


def _leave(error: Exception, message: str) -> None:
    """Ends this process without waiting for the others, where there are some."""
    from avemo_jax.runtime import distributed

    distributed.abandon(error, message)


def run_command(command: str, arguments: Sequence[str]) -> int:
    """Runs ``avemo train``, ``evaluate`` or ``blend``.

    Args:
        command: Which of the three.
        arguments: The command line after it.

    Returns:
        0; 1 after an error that a user can mend, told in one line on stderr; or as
        :mod:`avemo_jax.runtime.errors` says. A wrong command line ends the program
        with 2.
    """
    parser = _PARSERS[command]()
    args = parser.parse_args(arguments)
    logging.set_verbosity(args.verbosity)

    def work() -> None:
        config = args.config and read_config(args.config, args.fields)
        _prepare_devices(args, config)
        _PROGRAMS[command](args, config)

    return guarded(
        work,
        prog=parser.prog,
        kept=_KEPT[command],
        plainly=args.verbosity < logging.DEBUG,
        leave=_leave,
    )


train = functools.partial(run_command, "train")
evaluate = functools.partial(run_command, "evaluate")
blend = functools.partial(run_command, "blend")


def run(argv: Sequence[str] | None = None) -> None:
    """Runs the command line ``[--mode=MODE] ...`` and ends the program.

    Args:
        argv: The arguments; None: those of the process.
    """
    modes = CommandParser(prog=program(), add_help=False, allow_abbrev=False)
    modes.add_argument("--mode", choices=tuple(_PARSERS), default="train")
    modes.add_argument("--version", action="version", version=f"avemo_jax {VERSION}")
    args, rest = modes.parse_known_args(argv)
    run_program(lambda: run_command(args.mode, rest))


if __name__ == "__main__":
    run()
