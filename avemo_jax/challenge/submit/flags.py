"""The flags of ``avemo submit``, and what their values mean."""

import argparse
import pathlib
from collections.abc import Sequence

from avemo_jax.tasks import TASKS, Task


def submission_parser(description: str) -> argparse.ArgumentParser:
    """The parser of all flags; ``description`` is shown by ``--help``."""
    parser = argparse.ArgumentParser(
        prog="avemo submit",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_sources(parser)
    parser.add_argument(
        "--test-list",
        action="append",
        default=[],
        metavar="TASK=FILE",
        help="names of a task's test videos, one a line; the rows are in this order",
    )
    parser.add_argument(
        "--example",
        action="append",
        default=[],
        metavar="TASK=FILE",
        help="official file of a task; exactly its rows are written, in its order",
    )
    parser.add_argument(
        "--frames",
        metavar="FILE",
        help="lines VIDEO,NUMBER under the header video,frames: frames of each video; "
        "without this and --example, the last predicted frame is a video's last one",
    )
    parser.add_argument("--out", metavar="DIR", help="gets EXPR.txt, AU.txt, VA.txt")
    parser.add_argument(
        "--name",
        action="append",
        default=[],
        metavar="TASK=NAME",
        help="another name for a task's file in --out",
    )
    parser.add_argument(
        "--thresholds",
        metavar="FILE",
        help="head.json of the AU head (or one number for all units), for frames that "
        "are filled; otherwise those of the .json file beside the predictions",
    )
    parser.add_argument(
        "--fill-missing-videos",
        action="store_true",
        help="a listed video without any prediction gets neutral rows (class 0, no "
        "unit active, 0.0); otherwise it is an error",
    )
    parser.add_argument("--check", metavar="FILE", help="check this file, write none")
    parser.add_argument(
        "--task", help="task of --check, and of files that do not tell theirs"
    )
    return parser


def _add_sources(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say what is submitted."""
    parser.add_argument(
        "--predictions",
        action="append",
        default=[],
        metavar="FILE",
        help="predictions.csv or .parquet; once a task",
    )
    parser.add_argument(
        "--submission",
        action="append",
        default=[],
        metavar="NAME=SOURCE[*WEIGHT][,SOURCE...]",
        help="in place of --predictions, up to five of a task, each in its folder "
        "OUT/NAME: the mean of its sources, which are predictions of any form that "
        "avemo score reads, or models (RUN/best_model) that predict the store's test "
        "videos",
    )
    parser.add_argument(
        "--data", metavar="DIR", help="store with the test videos, for models"
    )
    parser.add_argument(
        "--ensemble",
        choices=("seeds", "folds"),
        help="for models: the mean of a checkpoint's seeds, or of a run's folds",
    )


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
