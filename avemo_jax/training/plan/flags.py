"""The flags of ``avemo plan``."""

import argparse
import pathlib

from avemo_jax.config.flags import add_config
from avemo_jax.runtime import flags
from avemo_jax.runtime.command_line import CommandParser, command_parser

_DESCRIPTION = """Bytes per device and host, steps, and whether each table will lie on
the devices or be streamed, told from the store's counts and labels: no features are
read, nothing is trained.
"""


def parser() -> CommandParser:
    """The parser of ``avemo plan``."""
    parser = command_parser(
        "plan",
        _DESCRIPTION,
        example="avemo plan --config expr_mlp --config.num_seeds=10\n"
        "avemo plan --config expr_mlp --data-dir store --devices 8",
    )
    parser.check = _check
    parser.bare = "--config expr_mlp"
    add_config(parser)
    group = parser.add_argument_group("input and output")
    flags.add_data_dir(group, "store, as --config.data.dir names it")
    group.add_argument(
        "--json", type=pathlib.Path, metavar="FILE", help="write the plan as JSON"
    )
    group = parser.add_argument_group("devices")
    group.add_argument(
        "--devices",
        type=flags.whole(1, flags.MOST_PROCESSES),
        default=1,
        metavar="N",
        help="of all hosts; 1 by default",
    )
    group.add_argument(
        "--device-memory-gb",
        type=float,
        metavar="GB",
        help="of one device, in 10^9 bytes; by default this host's",
    )
    return parser


def _check(parser: CommandParser, args: argparse.Namespace) -> None:
    """Ends the program if there is no configuration."""
    if args.config is None:
        parser.error("no configuration; expected one: name it, --config expr_mlp")
