"""The flags of ``avemo predict``; nothing here loads JAX."""

import argparse
import math
import re
from collections.abc import Callable
from typing import Any

from avemo_jax.extraction.face_flags import add_detect, add_faces, add_template
from avemo_jax.extraction.flags import check_part
from avemo_jax.faces.boxes import MIN_FACE_PX
from avemo_jax.postprocess.seconds import SHORT_S
from avemo_jax.prediction.frame_choice import every_of
from avemo_jax.prediction.smoothing_choice import smooth_of
from avemo_jax.prediction.views import VIEWS, View
from avemo_jax.runtime import flags
from avemo_jax.runtime.command_line import CommandParser, command_parser

DEVICES = "auto, cpu, gpu, gpu:1 or tpu"
_DESCRIPTION = """Predict expressions, action units, valence and arousal of every face
in every frame of videos and images. The result is what observers would call the face,
not what a person feels."""
_EXAMPLE = r"""avemo predict interview.mp4
avemo predict videos --recursive --out predicted --faces largest
avemo predict clip.mp4 --model runs/my_run --start 1:30 --end 2:00"""
_TIME = re.compile(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d*)?|\.\d+)")


def parser() -> CommandParser:
    """The parser of ``avemo predict``."""
    parser = command_parser("predict", _DESCRIPTION, example=_EXAMPLE)
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="videos, images, or folders of them",
    )
    _add_inputs(parser)
    _add_faces(parser)
    _add_model(parser)
    _add_output(parser)
    _add_running(parser)
    parser.check = _check
    return parser


def _add_inputs(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("input")
    group.add_argument(
        "--recursive", action="store_true", help="look into folders within folders"
    )
    group.add_argument(
        "--as-video",
        action="store_true",
        help="take a folder of numbered pictures for one video; needs --fps",
    )
    group.add_argument(
        "--fps",
        type=_number("pictures a second", above=0.0, most=1000.0),
        metavar="N",
        help="pictures a second of --as-video",
    )
    group.add_argument(
        "--start",
        type=seconds_of,
        metavar="TIME",
        help="leave out what is shown before: seconds, or h:m:s; frames keep their "
        "numbers",
    )
    group.add_argument(
        "--end", type=seconds_of, metavar="TIME", help="leave out what is shown after"
    )
    group.add_argument(
        "--audio",
        default="auto",
        metavar="auto|none|FILE",
        help="sound, for models that hear; auto: where one face has most of the "
        "screen time; FILE: another recording of the sound (default: %(default)s)",
    )


def _add_faces(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("faces")
    add_faces(
        group,
        "all, or those that are shown the longest (default: %(default)s)",
        default="all",
    )
    group.add_argument(
        "--boxes",
        metavar="FILE",
        help="faces found elsewhere, instead of a search: a table of this command's, "
        "OpenFace's or py-feat's columns; for several inputs a folder of NAME.csv",
    )
    add_detect(
        group,
        "search every frame, or every SECONDS and where faces move in between "
        "(default: %(default)s)",
        default=0.2,
    )
    add_template(group)
    group.add_argument(
        "--min-face",
        type=flags.whole(0, 10_000),
        default=MIN_FACE_PX,
        metavar="PX",
        help="faces that are smaller are kept, and the summary says so (default: "
        "%(default)s)",
    )


def _add_model(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model",
        action="append",
        metavar="NAME|DIR",
        help="a published model, or a run or best_model of avemo train; may be given "
        "several times (default: hsemotion; avemo models lists them)",
    )
    group.add_argument(
        "--tasks",
        metavar="NAMES",
        help="only these, as EXPR,VA; default: all that the models have",
    )
    group.add_argument(
        "--every",
        type=_read_by(every_of),
        default=1,
        metavar="1|N|adaptive",
        help="let the network see every N-th frame, or those that the model's own rule "
        "asks for; the others are filled (default: %(default)s)",
    )
    group.add_argument(
        "--smooth",
        type=_read_by(smooth_of),
        default=SHORT_S,
        metavar="SECONDS|none|as-trained",
        help="seconds that scores are averaged over (default: %(default)s)",
    )
    group.add_argument(
        "--calibrated",
        action="store_true",
        help="give probabilities that come true as often as they say, as the model's "
        "card says how; it changes no decision",
    )
    group.add_argument(
        "--offline",
        action="store_true",
        help="fetch no weights that are missing; say how they are got",
    )


def _add_output(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("output")
    group.add_argument(
        "--out",
        default="predicted",
        metavar="DIR",
        help="folder that gets a folder for each input (default: %(default)s)",
    )
    flags.add_overwrite(group, "what was predicted before")
    for flag, view in {view.flag: view for view in VIEWS.values()}.items():
        group.add_argument(
            flag,
            dest=_wanted(view),
            action="store_false" if view.is_default else "store_true",
            help=view.told,
        )


def _add_running(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("running")
    group.add_argument(
        "--device",
        type=_device,
        default="auto",
        metavar="NAME",
        help=f"{DEVICES} (default: %(default)s)",
    )
    group.add_argument(
        "--batch-size",
        type=flags.word_or_whole("auto", least=1, most=1_000_000),
        default="auto",
        metavar="auto|N",
        help="faces that the network sees at once (default: %(default)s)",
    )
    flags.add_quiet(group)
    group.add_argument(
        "--debug", action="store_true", help="show where in the program errors come up"
    )
    flags.add_compilation_cache(group)
    group = parser.add_argument_group("many machines")
    flags.add_shards(group, "parts of a job array, one for each process or GPU")


def _wanted(view: View) -> str:
    """What the parsed flags call whether a view is wanted."""
    return view.flag.strip("-").replace("-", "_")


def wanted_views(args: argparse.Namespace) -> tuple[str, ...]:
    """Names of the views that the flags ask for."""
    return tuple(n for n, view in VIEWS.items() if getattr(args, _wanted(view)))


def _check(parser: CommandParser, args: argparse.Namespace) -> None:
    """End the program where flags do not fit each other."""
    for given in args.inputs:
        if "://" in given:
            parser.error(
                f"{given} is an address; expected a file or folder of this machine: "
                "download it first"
            )
    if args.as_video != (args.fps is not None):
        one, other = (
            ("--as-video", "--fps") if args.as_video else ("--fps", "--as-video")
        )
        parser.error(f"{one} without {other}; expected both or none: add {other}")
    if args.start is not None and args.end is not None and args.end <= args.start:
        parser.error(
            f"--end {args.end:g} s is not after --start {args.start:g} s; expected a "
            "later time: correct one"
        )
    check_part(parser, args)


def seconds_of(text: str) -> float:
    """A time of day's form, or a number of seconds, in seconds.

    Raises:
        argparse.ArgumentTypeError: If it has neither form, or 60 seconds or minutes
            after a colon.
    """
    found = _TIME.fullmatch(text)
    parts = text.split(":")
    if found is None or any(float(part) >= 60 for part in parts[1:]):
        raise argparse.ArgumentTypeError(
            f"{text!r}; expected seconds as 90.5, or h:m:s as 0:01:30.5: correct it"
        )
    hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return 3600 * hours + 60 * minutes + seconds


def _number(what: str, *, above: float, most: float) -> Callable[[str], float]:
    """The ``type`` of a flag that takes a number of a range."""

    def read(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not above < number <= most:
            raise argparse.ArgumentTypeError(
                f"{text!r}; expected {what}, a number above {above:g} and at most "
                f"{most:g}: correct it"
            )
        return number

    return read


def _read_by(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """The ``type`` of a flag whose values another module reads."""

    def tried(text: str) -> Any:
        try:
            return read(text)
        except ValueError as error:
            flag_and_value, _, expected = str(error).partition("; ")
            value = flag_and_value.partition(" ")[2]
            raise argparse.ArgumentTypeError(f"{value!r}; {expected}") from error

    return tried


def _device(text: str) -> str:
    if not re.fullmatch(r"auto|cpu|(?:gpu|tpu)(?::\d+)?", text):
        raise argparse.ArgumentTypeError(f"{text!r}; expected {DEVICES}: correct it")
    return text
