"""The flags of ``avemo build-store``, and what ``avemo prepare`` shares with it."""

import argparse

from avemo_jax.runtime import flags
from avemo_jax.runtime.command_line import CommandParser, command_parser

_EXAMPLE = r"""avemo build-store --annotations Annotations --features features \
    --out store
avemo build-store --manifest manifest.csv --labels labels.csv --features features \
    --out store"""


def parser() -> CommandParser:
    """The parser of ``avemo build-store``."""
    parser = command_parser(
        "build-store",
        "Build a store of feature files and annotations, or complete one.",
        example=_EXAMPLE,
    )
    group = parser.add_argument_group("input")
    flags.add_annotations(
        group, "folder of the official task folders, a task's own, or one of its sets"
    )
    group.add_argument(
        "--features",
        action="append",
        default=[],
        metavar="DIR",
        help="folder with one folder per feature set; may be given several times",
    )
    group.add_argument(
        "--kind",
        action="append",
        default=[],
        metavar="SET=KIND",
        help="visual or audio, for an extractor that is not known",
    )
    _add_own_labels(parser)
    group = parser.add_argument_group("output")
    flags.add_out(group, "folder of the store")
    add_store_flags(parser, group)
    group = parser.add_argument_group("running")
    flags.add_beam(group, "the feature sets")
    flags.add_quiet(group)
    return parser


def add_store_flags(
    parser: argparse.ArgumentParser, output: argparse._ArgumentGroup
) -> None:
    """Add the flags of splits, test videos, form of the annotations and replacing."""
    group = parser.add_argument_group("splits")
    group.add_argument(
        "--split-dir",
        metavar="DIR",
        help="your own lists: train.txt, dev.txt, validation.txt, test.txt, or the "
        "original's Train.txt, Val.txt, Test.txt; or folders EXPR, AU, VA of such",
    )
    group.add_argument(
        "--split-seed",
        type=flags.seed,
        default=0,
        metavar="N",
        help="seed of the draw of dev",
    )
    group.add_argument(
        "--ungrouped-dev",
        action="store_true",
        help="draw dev by subject-video, as the original did, not by recording",
    )
    flags.add_test_list(
        group, "names of the challenge's test videos of a task, one a line"
    )
    flags.add_mtl(group)
    flags.add_overwrite(output, "what has other content")


def _add_own_labels(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the manifest, the labels and the tasks."""
    group = parser.add_argument_group("labels of your own, in place of --annotations")
    group.add_argument(
        "--manifest",
        metavar="FILE",
        help="table (CSV, TSV, Parquet) with video, split (train, dev, validation, "
        "test) and, if any, path, group (recording or person), fps; without dev it is "
        "drawn from train",
    )
    group.add_argument(
        "--allow-shared-groups",
        action="store_true",
        help="accept a person or recording in several splits; scores are then partly "
        "on persons that the model knows, which the card and results.json tell",
    )
    group.add_argument(
        "--labels",
        metavar="FILE",
        help="table with video, frame (from 1) or start_s and end_s (neither: labels "
        "of whole videos), and the labels; a manifest of test videos alone needs none",
    )
    group.add_argument(
        "--task",
        action="append",
        default=[],
        metavar="NAME=KIND[:COLUMN,...]",
        help="multiclass, multilabel or regression; without it the kind is taken from "
        "the labels; of several tasks, each with its columns",
    )
    group.add_argument(
        "--classes",
        action="append",
        default=[],
        metavar="[TASK=]A,B,...",
        help="names of the classes in order; without it those that occur, sorted",
    )
    group.add_argument(
        "--range",
        action="append",
        default=[],
        metavar="[TASK=]LOW,HIGH",
        help="least and largest value, as --range=0,100; -1,1 without it",
    )
