"""The flags of ``avemo score``."""

from avemo_jax.metrics.intervals import MOST_RESAMPLES, NUM_RESAMPLES
from avemo_jax.runtime import flags
from avemo_jax.runtime.command_line import CommandParser, command_parser

_DESCRIPTION = """Score predictions made anywhere against the official annotations.

PREDICTIONS: our predictions.csv, a folder of avemo predict, a submission, a table (CSV,
TSV, Parquet) with video and frame (or image_location) and the outputs by name, a table
of OpenFace or py-feat or a folder of them, arrays (.npz, .npy), a pickled dict by image
or by video (.pkl; nothing of it is run), or a folder with VIDEO.txt or VIDEO.npy. Two
files give their difference as well."""


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
    group.add_argument("--task", required=True, help="expr, au or va")
    flags.add_annotations(
        group,
        "folder of the official task folders, a task's own, or one of VIDEO.txt",
        required=True,
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
    group = parser.add_argument_group("intervals")
    group.add_argument(
        "--ci", action="store_true", help="95 %% intervals, from drawing videos again"
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
    return parser
