"""The flags of ``avemo score``."""

import argparse

from avemo_jax.metrics.intervals import MOST_RESAMPLES, NUM_RESAMPLES
from avemo_jax.runtime import flags
from avemo_jax.runtime.command_line import CommandParser, command_parser
from avemo_jax.runtime.plain_text import is_number

# Flags that have no meaning beside --against.
_NOT_AGAINST = (
    *("task", "annotations", "split", "split_list", "columns", "thresholds"),
    "first_frame",
)
_MOST_FPS = 1000

_DESCRIPTION = """Score predictions made anywhere against the official annotations, or
tell how far they, or a person's coding, agree with another coding (--against).

PREDICTIONS: our predictions.csv, a folder of avemo predict, a submission, a table (CSV,
TSV, Parquet) with video and frame (or image_location) and the outputs by name, a table
of OpenFace or py-feat or a folder of them, arrays (.npz, .npy), a pickled dict by image
or by video (.pkl; nothing of it is run), or a folder with VIDEO.txt or VIDEO.npy. Two
files give their difference as well.

With --against, PREDICTIONS and FILE are codings: tables of frames (frame or timestamp)
or intervals (onset_s, offset_s), with label and perhaps tier, or a column for each
variable; ELAN's tab-delimited text, segments.csv, OpenFace and py-feat among them; or
folders of such tables, named by their videos."""


def parser() -> CommandParser:
    """The parser of ``avemo score``."""
    parser = command_parser(
        "score",
        _DESCRIPTION,
        example="avemo score predictions.csv --task expr --annotations Annotations "
        "--ci",
    )
    group = parser.add_argument_group("predictions")
    group.add_argument("predictions", nargs="+", metavar="PREDICTIONS")
    flags.add_first_frame(group)
    group.add_argument(
        "--columns",
        metavar="NAME,NAME,...",
        help="what each value of a frame is, for files that do not name them; a name "
        "that is no output of the task drops the value",
    )
    group.add_argument(
        "--face",
        type=flags.face,
        metavar="N|all",
        help="which face of each input of avemo predict, OpenFace or py-feat: 1 is the "
        "one seen longest; all: each as the video INPUT--face1, ...; default: each "
        "input must have one",
    )
    flags.add_thresholds(
        group,
        "AU: one threshold for all units, or the head.json that has theirs; default: "
        "the file's own decisions, or 0.5",
    )
    group = parser.add_argument_group("annotations")
    group.add_argument("--task", help="expr, au or va")
    flags.add_annotations(
        group,
        "folder of the official task folders, a task's own, or one of VIDEO.txt",
    )
    group.add_argument(
        "--split",
        choices=("validation", "train", "all"),
        default="validation",
        help="which of the official sets (default: %(default)s)",
    )
    group.add_argument(
        "--split-list", metavar="FILE", help="the videos to score instead, one a line"
    )
    _add_agreement(parser.add_argument_group("agreement with another coding"))
    group = parser.add_argument_group("intervals")
    group.add_argument(
        "--ci",
        action="store_true",
        help="95 %% intervals, from drawing videos again; agreement has them always",
    )
    group.add_argument("--seed", type=flags.seed, default=0, help="seed of the draws")
    group.add_argument(
        "--resamples",
        type=flags.whole(1, MOST_RESAMPLES),
        default=NUM_RESAMPLES,
        metavar="N",
        help="draws (default: %(default)s)",
    )
    group = parser.add_argument_group("output")
    group.add_argument(
        "--per-video", action="store_true", help="print each video's scores"
    )
    group.add_argument("--json", metavar="FILE", help="write all scores as JSON")
    group.add_argument("--csv", metavar="FILE", help="write all scores as CSV")
    parser.check = _check
    return parser


def _add_agreement(to: argparse._ArgumentGroup) -> None:
    """Add the flags for two codings."""
    to.add_argument(
        "--against", metavar="FILE", help="the coding to compare PREDICTIONS with"
    )
    to.add_argument(
        "--map",
        action="append",
        default=[],
        type=_renaming,
        metavar="NAME=OTHER",
        help="what a column, tier or label of either file is called in the other; "
        "NAME= leaves it out; may be given several times",
    )
    to.add_argument(
        "--gaps",
        metavar="LABEL",
        help="the class of frames between intervals; default: they are not coded",
    )
    to.add_argument(
        "--span",
        type=_span,
        metavar="START,END",
        help="seconds that were coded; frames outside are left out",
    )
    to.add_argument(
        "--fps",
        type=_rate,
        help="frames per second, where a table has frames without times; of intervals "
        "alone as many moments are compared (default: 25)",
    )


def _renaming(text: str) -> tuple[str, str]:
    """The type of ``--map``."""
    name, equals, other = text.rpartition("=")
    if not equals or not name.strip():
        raise argparse.ArgumentTypeError(
            f"{text!r}; expected NAME=OTHER, as smile=Happiness, or NAME= to leave it "
            "out: correct it"
        )
    return name.strip(), other.strip()


def _span(text: str) -> tuple[float, float]:
    """The type of ``--span``."""
    parts = text.split(",")
    good = len(parts) == 2 and all(map(is_number, parts))
    if not good or not 0 <= float(parts[0]) < float(parts[1]):
        raise argparse.ArgumentTypeError(
            f"{text!r}; expected START,END in seconds, the first smaller: as 0,60"
        )
    return float(parts[0]), float(parts[1])


def _rate(text: str) -> float:
    """The type of ``--fps``."""
    if not is_number(text) or not 0 < float(text) <= _MOST_FPS:
        raise argparse.ArgumentTypeError(
            f"{text!r}; expected a number over 0, up to {_MOST_FPS}: correct it"
        )
    return float(text)


def _check(parser: CommandParser, args: argparse.Namespace) -> None:
    """End the program where flags do not fit each other."""
    if args.against is None:
        lacking = [f"--{n}" for n in ("task", "annotations") if not getattr(args, n)]
        if lacking:
            parser.error(
                f"the following arguments are required: {', '.join(lacking)}; or "
                "--against FILE, to compare with another coding"
            )
        given = [f"--{n}" for n in ("map", "gaps", "span", "fps") if getattr(args, n)]
        if given:
            parser.error(f"{given[0]} without --against; expected both: give a coding")
        return
    defaults = {name: parser.get_default(name) for name in _NOT_AGAINST}
    given = [name for name, value in defaults.items() if getattr(args, name) != value]
    if given:
        flag = given[0].replace("_", "-")
        parser.error(
            f"--{flag} with --against; expected it with --annotations: leave one out"
        )
    if len(args.predictions) != 1:
        parser.error(
            f"{len(args.predictions)} files and --against; expected one file that is "
            "compared with it: leave the others out"
        )
