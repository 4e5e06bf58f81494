"""The flags of ``avemo import-features``."""

import argparse
import pathlib


def import_parser(description: str) -> argparse.ArgumentParser:
    """The parser of all flags; ``description`` is shown by ``--help``."""
    parser = argparse.ArgumentParser(
        prog="avemo import-features",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar="SRC", type=pathlib.Path)
    parser.add_argument(
        "--as",
        dest="name",
        required=True,
        metavar="NAME",
        help="any name, with what it saw: dinov2_b@cropped-224; without, @imported",
    )
    parser.add_argument("--kind", required=True, choices=("visual", "audio"))
    parser.add_argument(
        "--out", required=True, type=pathlib.Path, help="gets NAME/VIDEO.npz"
    )
    parser.add_argument(
        "--annotations",
        metavar="DIR",
        help="folder of the official task folders; with it the command tells which "
        "frames are covered, and whether they are likely to be off by one",
    )
    parser.add_argument(
        "--mtl", action="store_true", help="read the multi-task annotation files"
    )
    parser.add_argument(
        "--first-frame",
        type=int,
        choices=(0, 1),
        default=1,
        help="number that SRC gives to the first frame (default: %(default)s)",
    )
    parser.add_argument(
        "--accept-offsets",
        action="store_true",
        help="import although frames seem to be off by one",
    )
    _add_sound(parser)
    _add_content(parser)
    parser.add_argument(
        "--overwrite", action="store_true", help="replace videos of other imports"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    return parser


def _add_sound(parser: argparse.ArgumentParser) -> None:
    """Add the flags for sound at its native rate."""
    parser.add_argument(
        "--rate-hz",
        type=float,
        metavar="HZ",
        help="rows are hops of sound, as many a second; each frame gets the nearest",
    )
    parser.add_argument(
        "--fps", type=float, help="frames per second of all videos, with --rate-hz"
    )
    parser.add_argument(
        "--fps-file",
        type=pathlib.Path,
        metavar="FILE",
        help="lines VIDEO,FPS under the header video,fps, with --rate-hz",
    )


def _add_content(parser: argparse.ArgumentParser) -> None:
    """Add the flags for what the feature files hold."""
    parser.add_argument(
        "--outputs",
        choices=("keep", "drop"),
        default="keep",
        help="scores beside embeddings: 8 logits in AffectNet's order (and valence, "
        "arousal) are the extractor's own outputs (default: %(default)s)",
    )
    parser.add_argument(
        "--dtype",
        choices=("float16", "float32"),
        default="float16",
        help="type of the values in files; stores have float16 (default: %(default)s)",
    )
    parser.add_argument(
        "--made-by",
        default="",
        metavar="TEXT",
        help="which network and weights; features of different texts never mix",
    )
