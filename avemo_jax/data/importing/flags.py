"""The flags of ``avemo import-features``."""

import argparse
import pathlib

from avemo_jax.runtime import flags
from avemo_jax.runtime.command_line import CommandParser, command_parser

_DESCRIPTION = """Import features that were made elsewhere, as files that a store is
built from.

SRC is one of
  a pickled dict of all videos, of any size (nothing of it is run):
    {"VIDEO/00001.jpg": (embedding, scores)} as HSEmotion's, or embeddings alone
  a folder with VIDEO.npy (frames, dim): row i is frame i + 1, or as VIDEO.frames.npy
    or VIDEO.frames.txt beside it tells; or with VIDEO/00001.npy
  .h5: a dataset (frames, dim) a video, or groups with features and frame
  .parquet: video, frame, and a list of numbers or a column for each
  a table of OpenFace or py-feat, or a folder of them: a face's action units, pose and
    gaze, and py-feat's emotions"""
_EXAMPLE = r"""avemo import-features enet.pickle --as enet_b0_8_best_vgaf \
    --kind visual --annotations Annotations --out features
avemo build-store --annotations Annotations --features features --out store"""


def parser() -> CommandParser:
    """The parser of ``avemo import-features``."""
    parser = command_parser("import-features", _DESCRIPTION, example=_EXAMPLE)
    group = parser.add_argument_group("input")
    group.add_argument("source", metavar="SRC", type=pathlib.Path)
    group.add_argument(
        "--as",
        dest="name",
        required=True,
        metavar="NAME",
        help="any name, with what it saw: dinov2_b@cropped-224; without, @imported",
    )
    group.add_argument("--kind", required=True, choices=("visual", "audio"))
    flags.add_first_frame(group)
    group.add_argument(
        "--face",
        type=flags.face,
        metavar="N|all",
        help="which face of each video, of tables that tell them apart: 1 is the one "
        "seen longest; all: each as VIDEO--face1, ...; default: each must have one",
    )
    group.add_argument(
        "--columns",
        metavar="NAME,NAME,...",
        help="columns of OpenFace or py-feat to take, * standing for any letters: "
        "AU*_r,pose_*; default: those above",
    )
    _add_sound(parser.add_argument_group("sound at its native rate"))
    group = parser.add_argument_group("checking")
    flags.add_annotations(
        group,
        "folder of the official task folders, a task's own, or one of its sets; with "
        "it the command tells which frames are covered, and whether they are likely to "
        "be off by one",
    )
    flags.add_mtl(group)
    group.add_argument(
        "--accept-offsets",
        action="store_true",
        help="import although frames seem to be off by one",
    )
    group = parser.add_argument_group("output")
    flags.add_out(group, "folder that gets NAME/VIDEO.npz")
    _add_content(group)
    flags.add_overwrite(group, "videos of other imports")
    flags.add_quiet(group)
    return parser


def _add_sound(to: argparse._ArgumentGroup) -> None:
    """Add the flags for sound at its native rate."""
    to.add_argument(
        "--rate-hz",
        type=float,
        metavar="HZ",
        help="rows are hops of sound, as many a second; each frame gets the nearest",
    )
    to.add_argument(
        "--fps", type=float, help="frames per second of all videos, with --rate-hz"
    )
    to.add_argument(
        "--fps-file",
        type=pathlib.Path,
        metavar="FILE",
        help="table with the columns video and fps, with --rate-hz",
    )


def _add_content(to: argparse._ArgumentGroup) -> None:
    """Add the flags for what the feature files hold."""
    to.add_argument(
        "--outputs",
        choices=("keep", "drop"),
        default="keep",
        help="scores beside embeddings: 8 logits in AffectNet's order (and valence, "
        "arousal) are the extractor's own outputs (default: %(default)s)",
    )
    to.add_argument(
        "--dtype",
        choices=("float16", "float32"),
        default="float16",
        help="type of the values in files; stores have float16 (default: %(default)s)",
    )
    to.add_argument(
        "--made-by",
        default="",
        metavar="TEXT",
        help="which network and weights; features of different texts never mix, and "
        "without a text no two imports do, unless all their rows are the same",
    )
