"""The flags of ``avemo prepare``."""

import argparse

from avemo_jax.extraction.flags import (
    add_crop_flags,
    add_extractor_flags,
    add_material_flags,
    add_run_flags,
    check_part,
)
from avemo_jax.packing.flags import add_store_flags
from avemo_jax.runtime import flags
from avemo_jax.runtime.command_line import CommandParser, command_parser

_DESCRIPTION = """Make a store of the official Aff-Wild2 folders, or of a public corpus.

It finds videos, face crops and annotations, prints what is there, what is missing and
what the work will take, extracts the features, and packs the store. Killed, it goes on
where it was when it is started again."""
_EXAMPLE = r"""avemo prepare --root AffWild2 --visual enet_b2_8_best \
    --audio wav2vec2_base,vggish --out store
avemo prepare --corpus ravdess --root RAVDESS --visual enet_b0_8_va_mtl \
    --audio wav2vec2_base --out store"""


def parser() -> CommandParser:
    """The parser of ``avemo prepare``."""
    parser = command_parser("prepare", _DESCRIPTION, example=_EXAMPLE)
    group = parser.add_argument_group("input")
    group.add_argument(
        "--root",
        required=True,
        metavar="DIR",
        help="the official folders, or the corpus, anywhere in",
    )
    flags.add_annotations(
        group,
        "folder of the official task folders, a task's own, or one of its sets; "
        "default: the one in --root",
    )
    group.add_argument(
        "--video",
        action="append",
        default=[],
        metavar="FILE",
        help="one more video, such as an unlabelled test video; may be given often",
    )
    group.add_argument(
        "--crop-folder",
        action="append",
        default=[],
        metavar="DIR",
        help="one more subject-video's face crops; may be given often",
    )
    add_material_flags(group)
    _add_corpus_flags(parser)
    add_extractor_flags(parser)
    group = parser.add_argument_group("output")
    flags.add_out(group, "folder of the store, and of the features in it")
    add_store_flags(parser, group)
    group.add_argument(
        "--dry-run", action="store_true", help="print what would be done, and end"
    )
    group.add_argument(
        "--ignore-disk",
        action="store_true",
        help="begin even where the disk seems too small",
    )
    add_run_flags(parser)
    parser.check = check_part
    return parser


def _add_corpus_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of public corpora, and of the faces of their videos."""
    group = parser.add_argument_group("public corpora, in place of Aff-Wild2")
    group.add_argument(
        "--corpus",
        metavar="NAME|FILE",
        help="ravdess, cremad, or a TOML file that tells how a corpus' names read; "
        "its clips are videos whose largest face is used",
    )
    group.add_argument(
        "--part",
        default="",
        metavar="NAMES",
        help="parts of the corpus, as speech,song, or all; default: RAVDESS's speech, "
        "all of others",
    )
    group.add_argument(
        "--labels",
        metavar="NAME",
        help="kind of labels, as intended (by the actor) or CREMA-D's perceived (by "
        "raters); default: the first of the corpus",
    )
    group.add_argument(
        "--protocol",
        metavar="NAME",
        help="folds of speakers whose first is the store's validation, as ravdess_6; "
        "config.data.protocol runs all of any",
    )
    add_crop_flags(group)
