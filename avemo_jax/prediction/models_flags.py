"""The flags of ``avemo models``."""

from avemo_jax.runtime.command_line import CommandParser, command_parser


def parser() -> CommandParser:
    """The parser of ``avemo models``."""
    parser = command_parser(
        "models",
        "List the models that predict without any training, and what is there of them.",
        example="avemo models\navemo models --json",
    )
    group = parser.add_argument_group("output")
    group.add_argument("--json", action="store_true", help="as JSON, for programs")
    return parser
