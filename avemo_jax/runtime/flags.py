"""The flags that several commands have."""

import argparse
from collections.abc import Callable

MOST_PROCESSES = 100_000  # and devices, and parts of a job
_Group = argparse._ActionsContainer  # a parser, or a group of its flags


def whole(least: int, most: int) -> Callable[[str], int]:
    """The ``type`` of a flag that takes a whole number of a range.

    Args:
        least: Least number.
        most: Largest number.
    """

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(
                f"{text!r}; expected a whole number from {least} to {most}: correct it"
            )
        return number

    return read


def word_or_whole(*words: str, least: int, most: int) -> Callable[[str], str | int]:
    """The ``type`` of a flag that takes one of some words, or a whole number.

    Args:
        *words: The words.
        least: Least number.
        most: Largest number.
    """
    number = whole(least, most)

    def read(text: str) -> str | int:
        if text in words:
            return text
        try:
            return number(text)
        except argparse.ArgumentTypeError as error:
            raise argparse.ArgumentTypeError(
                f"{text!r}; expected {', '.join(words)} or a whole number from {least} "
                f"to {most}: correct it"
            ) from error

    return read


seed = whole(0, 2**31 - 1)  # of draws by NumPy


def face(text: str) -> int | str:
    """The ``type`` of ``--face``: the number of a face, or "all"."""
    return text if text == "all" else whole(1, 10**6)(text)


def add_data_dir(to: _Group, help_text: str = "the store") -> None:
    """Add ``--data-dir``, the store that is read."""
    to.add_argument(
        "--data-dir", metavar="DIR", help=f"{help_text}; default: the demo corpus"
    )


def add_out(to: _Group, help_text: str, *, required: bool = True) -> None:
    """Add ``--out``, the folder or file that is written."""
    to.add_argument("--out", required=required, metavar="PATH", help=help_text)


def add_overwrite(to: _Group, what: str) -> None:
    """Add ``--overwrite``; ``what`` is replaced."""
    to.add_argument("--overwrite", action="store_true", help=f"replace {what}")


def add_quiet(to: _Group) -> None:
    """Add ``--quiet``."""
    to.add_argument("--quiet", action="store_true", help="no progress bars")


def add_annotations(to: _Group, help_text: str, *, required: bool = False) -> None:
    """Add ``--annotations``, a folder of the official files."""
    to.add_argument("--annotations", required=required, metavar="DIR", help=help_text)


def add_mtl(to: _Group) -> None:
    """Add ``--mtl``, the other form of the official annotations."""
    to.add_argument(
        "--mtl", action="store_true", help="read the multi-task annotation files"
    )


def add_test_list(to: _Group, help_text: str) -> None:
    """Add ``--test-list``, once for a task."""
    to.add_argument(
        "--test-list", action="append", default=[], metavar="TASK=FILE", help=help_text
    )


def add_first_frame(to: _Group) -> None:
    """Add ``--first-frame``, where files made elsewhere begin to count."""
    to.add_argument(
        "--first-frame",
        type=int,
        choices=(0, 1),
        default=1,
        help="number that the files give to the first frame (default: %(default)s)",
    )


def add_thresholds(to: _Group, help_text: str) -> None:
    """Add ``--thresholds`` of AU: a file, or one number."""
    to.add_argument("--thresholds", metavar="0.5|FILE", help=help_text)


def add_ensemble(to: _Group) -> None:
    """Add ``--ensemble``, of a model."""
    to.add_argument(
        "--ensemble",
        choices=("seeds", "folds"),
        help="mean scores of all seeds of a checkpoint, or of all folds of a run, "
        "which is then what is named (RUN for RUN/best_model)",
    )


def add_compilation_cache(to: _Group) -> None:
    """Add ``--compilation-cache``, for ``compilation.keep_compiled``."""
    to.add_argument(
        "--compilation-cache",
        default="on",
        metavar="on|off|DIR",
        help="where compiled programs are kept for the next start; on: in the cache "
        "directory, AVEMO_CACHE (default: %(default)s)",
    )


def add_shards(to: _Group, what: str) -> None:
    """Adds ``--num-shards`` and ``--shard-index``, the part of a job array.

    Args:
        to: The group or parser.
        what: Words for the parts.
    """
    to.add_argument(
        "--num-shards", type=whole(1, MOST_PROCESSES), default=1, metavar="N", help=what
    )
    to.add_argument(
        "--shard-index",
        type=whole(0, MOST_PROCESSES - 1),
        default=0,
        metavar="I",
        help="this part, from 0",
    )


def add_beam(to: _Group, what: str) -> None:
    """Add the flags of Apache Beam, whose workers share ``what``."""
    to.add_argument(
        "--beam-runner",
        metavar="NAME",
        help=f"let Apache Beam share {what} out: DirectRunner, DataflowRunner, ...",
    )
    to.add_argument(
        "--beam-options",
        default="",
        metavar="TEXT",
        help="options of the pipeline, as --beam-options='--direct_num_workers=2'",
    )
