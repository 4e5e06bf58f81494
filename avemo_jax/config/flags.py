"""The configuration on a command line: ``--config FILE --config.FIELD=VALUE ...``."""

from collections.abc import Sequence

from absl import flags
from ml_collections import ConfigDict, config_flags

from avemo_jax.config.field_table import FIELDS
from avemo_jax.config.recipe_files import (
    file_and_argument,
    recipe_file,
    run_recipe,
)
from avemo_jax.config.reference import fields_text, recipes_text
from avemo_jax.config.workdir_config import kept_config
from avemo_jax.runtime.command_line import CommandParser


def add_config(parser: CommandParser, *, listed: bool = False) -> None:
    """Add ``--config`` and its fields, for :func:`read_config`.

    Args:
        parser: The command's parser.
        listed: Whether ``--help`` ends with all recipes and fields.
    """
    parser.fields = [field.name for field in FIELDS]
    group = parser.add_argument_group("configuration")
    group.add_argument(
        "--config",
        metavar="NAME",
        help="the experiment: a recipe's name, as expr_mlp, or a file of Python, each "
        "with its feature sets behind a colon if they are others: "
        "expr_mlp:dinov2+vggish; or the config.json of a run, to repeat it",
    )
    # For --help alone: the parser takes fields out before it looks for flags.
    group.add_argument(
        "--config.FIELD",
        metavar="VALUE",
        help="another value of a field, as --config.learning_rate=3e-4"
        + ("" if listed else "; avemo train --help lists all fields"),
    )
    if listed:
        texts = [parser.epilog or "", recipes_text(), fields_text()]
        parser.epilog = "\n\n".join(texts)


def read_config(name: str, fields: Sequence[str]) -> ConfigDict:
    """The configuration that a command line names.

    Args:
        name: Name of a recipe; path of a file of Python, which is run, and after a
            colon what it is called with; or of a run's ``config.json``, which is read.
        fields: Arguments ``--config.FIELD=VALUE`` that change it.

    Raises:
        ValueError: If there is no such file, or a field or its value is wrong.
    """
    file, argument = file_and_argument(name)
    path = recipe_file(file)
    if path.suffix != ".json":
        made = run_recipe(path, argument)
    elif argument is None:
        made = kept_config(path)
    else:
        raise ValueError(
            f"{name!r} gives a run's config.json an argument; expected none, since the "
            "file is only read: leave out the colon and what follows"
        )
    values, line = flags.FlagValues(), ["avemo", *fields]
    try:
        config_flags.DEFINE_config_dict(
            "config", made, flag_values=values, sys_argv=line
        )
        left = values(line)[1:]
    except (AttributeError, KeyError) as error:
        reason = error.args[0]
        reason = reason.args[0] if isinstance(reason, KeyError) else reason
        raise ValueError(
            f"no such field in the configuration: {' '.join(str(reason).split())}; "
            "expected one that avemo train --help lists; correct it"
        ) from error
    except flags.Error as error:
        raise ValueError(
            f"{error}; expected a value that fits the field; correct it"
        ) from error
    if left:
        raise ValueError(
            f"unexpected {' '.join(left)!r}; expected --config.FIELD=VALUE; write "
            "fields so"
        )
    config: ConfigDict = values["config"].value
    return config
