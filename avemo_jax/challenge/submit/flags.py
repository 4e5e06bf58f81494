"""The flags of ``avemo submit``, and what their values mean."""

import argparse
import pathlib
from collections.abc import Sequence

from avemo_jax.runtime import flags
from avemo_jax.runtime.command_line import CommandParser, command_parser
from avemo_jax.tasks import TASKS, Task

_DESCRIPTION = """Write the text files of the ABAW challenge from predictions, or check
one.

A row is written for every frame of every listed test video, and what was written is
read back and checked. Predictions come from avemo evaluate --split=test."""
_EXAMPLE = r"""avemo submit --predictions runs/expr/evaluation-test/predictions.csv \
    --test-list EXPR=expr_test.txt --out submission
avemo submit --submission first=runs/expr/best_model --data-dir store \
    --submission "mean=a.csv,b.npz*0.5" --test-list EXPR=expr_test.txt --out s
avemo submit --check submission/EXPR.txt --task EXPR --example EXPR_example.txt"""


def parser() -> CommandParser:
    """The parser of ``avemo submit``."""
    parser = command_parser("submit", _DESCRIPTION, example=_EXAMPLE)
    _add_sources(parser.add_argument_group("what is submitted"))
    group = parser.add_argument_group("rows")
    flags.add_test_list(
        group,
        "names of a task's test videos, one a line; the rows are in this order",
    )
    group.add_argument(
        "--example",
        action="append",
        default=[],
        metavar="TASK=FILE",
        help="official file of a task; exactly its rows are written, in its order",
    )
    group.add_argument(
        "--frames",
        metavar="FILE|DIR",
        help="frames of each video: lines VIDEO,NUMBER under the header video,frames, "
        "or the folder of Test_Set; without this and --example, the last predicted "
        "frame is a video's last one",
    )
    group.add_argument(
        "--fill-missing-videos",
        action="store_true",
        help="a listed video without any prediction gets neutral rows (class 0, no "
        "unit active, 0.0); otherwise it is an error",
    )
    flags.add_thresholds(
        group,
        "head.json of the AU head (or one number for all units), for frames that are "
        "filled; otherwise those of the .json file beside the predictions",
    )
    group = parser.add_argument_group("output")
    flags.add_out(group, "folder that gets EXPR.txt, AU.txt, VA.txt", required=False)
    group.add_argument(
        "--name",
        action="append",
        default=[],
        metavar="TASK=NAME",
        help="another name for a task's file in --out",
    )
    group = parser.add_argument_group("checking")
    group.add_argument("--check", metavar="FILE", help="check this file, write none")
    group.add_argument(
        "--task", help="task of --check, and of files that do not tell theirs"
    )
    return parser


def _add_sources(to: argparse._ArgumentGroup) -> None:
    """Add the flags that say what is submitted."""
    to.add_argument(
        "--predictions",
        action="append",
        default=[],
        metavar="FILE",
        help="predictions.csv or .parquet, once a task, or a folder of avemo predict "
        "with all of its tasks",
    )
    to.add_argument(
        "--submission",
        action="append",
        default=[],
        metavar="NAME=SOURCE[*WEIGHT][,SOURCE...]",
        help="in place of --predictions, up to five of a task, each in its folder "
        "OUT/NAME: the mean of its sources, which are predictions of any form that "
        "avemo score reads, or models (RUN/best_model) that predict the store's test "
        "videos",
    )
    flags.add_data_dir(to, "store with the test videos, for models")
    flags.add_ensemble(to)


def by_task(texts: Sequence[str], flag: str, only: Task | None) -> dict[str, str]:
    """The values of a flag by task.

    Args:
        texts: Texts ``TASK=VALUE``, the task in any case; where there is only one task,
            also ``VALUE``.
        flag: Name of the flag, for errors.
        only: The only task that there is; None: there are several.

    Raises:
        ValueError: If a task is unknown or there twice, or a value is empty.
    """
    found: dict[str, str] = {}
    for text in texts:
        left, equals, right = text.partition("=")
        task, value = left.upper(), right
        if not equals or task not in TASKS:
            if only is None:
                raise ValueError(
                    f"{flag} {text!r}; expected TASK=VALUE with one of "
                    f"{', '.join(TASKS)}: correct the flag"
                )
            task, value = only.name, text
        if not value or task in found:
            raise ValueError(
                f"{flag} {text!r} {'again ' if value else ''}for {task}; expected one "
                "value for each task: correct the flags"
            )
        found[task] = value
    return found


def target(out: str, folder: str, name: str) -> pathlib.Path:
    """The file ``OUT/FOLDER/NAME``, or ``OUT/NAME`` where ``folder`` is empty.

    Raises:
        ValueError: If ``name`` is a path.
    """
    if pathlib.Path(name).name != name:
        raise ValueError(
            f"--name {name!r}; expected the name of a file in --out, without a folder: "
            "correct the flag"
        )
    return pathlib.Path(out) / folder / name
