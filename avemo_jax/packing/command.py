"""The command that builds a store from annotation and feature folders."""

import argparse
import dataclasses
import functools
import pathlib
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from absl import logging

from avemo_jax.data import listing
from avemo_jax.data.corpus import annotations, splits
from avemo_jax.data.features import folders
from avemo_jax.data.records import KINDS, FeatureSource, Modality, VideoAnnotations
from avemo_jax.packing import build, own_labels_command
from avemo_jax.packing.flags import parser
from avemo_jax.packing.report import BuildReport
from avemo_jax.runtime.beam import read_options
from avemo_jax.runtime.errors import guarded
from avemo_jax.runtime.output_places import check_out
from avemo_jax.tasks import TASKS


def main(argv: Sequence[str] | None = None) -> int:
    """Build or complete a store; returns 0, or 1 after an error, told on stderr."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    command = shlex.join(["avemo", "build-store", *arguments])
    flags = parser()
    args = flags.parse_args(arguments)
    return guarded(
        lambda: _run(args, command),
        prog=flags.prog,
        kept="feature sets that were packed whole are kept",
    )


def _run(args: argparse.Namespace, command: str) -> int:
    inputs = (args.annotations, args.manifest, args.labels, args.split_dir)
    check_out("--out", args.out, *args.features, *inputs)
    find_sources = functools.partial(
        folders.find_feature_sources,
        args.features,
        kinds=_kinds(args.kind),
        quiet=args.quiet,
    )
    own: dict[str, Any] = {}
    if args.manifest or args.labels or not args.annotations:
        own_labels_command.check_flags(args)
        sources = find_sources()
        tasks, found = own_labels_command.read_own(args, sources)
        own["tasks"] = tasks
    else:
        _check_flags(args)
        found = annotations.read_annotations(args.annotations, mtl=args.mtl)
        sources = find_sources()
    records = {record.video: record for record in found}
    for text in args.test_list:
        add_test_videos(records, text)
    report = build.build_store(
        args.out,
        records.values(),
        sources,
        splits=given_splits(args.split_dir, records, sources),
        split_seed=args.split_seed,
        grouped_dev=not args.ungrouped_dev,
        overwrite=args.overwrite,
        show_progress=not args.quiet,
        beam_runner=args.beam_runner,
        beam_options=read_options(args.beam_runner, args.beam_options),
        command=command,
        allow_shared_groups=args.allow_shared_groups,
        **own,
    )
    print_report(args.out, report)
    return 0


def _check_flags(args: argparse.Namespace) -> None:
    """Refuse flags of a user's own labels where the official ones are read."""
    names = ("task", "classes", "range", "allow_shared_groups")
    if said := [name.replace("_", "-") for name in names if getattr(args, name)]:
        raise ValueError(
            f"--{', --'.join(said)} with --annotations; expected them with --manifest "
            "and --labels: remove them"
        )


def _pair(text: str, flag: str, values: Sequence[str] | None) -> tuple[str, str]:
    """Both sides of ``A=B``."""
    left, equals, right = text.partition("=")
    if not left or not equals or not right or (values and right not in values):
        raise ValueError(
            f"{flag} {text!r}; expected NAME=VALUE"
            + (f" with one of {', '.join(values)}" if values else "")
            + ": correct the flag"
        )
    return left, right


def _kinds(texts: Sequence[str]) -> dict[str, Modality]:
    """The kind of each set, by its name, from ``SET=KIND`` texts."""
    pairs = dict(_pair(text, "--kind", KINDS) for text in texts)
    return {name: kind for name in pairs for kind in KINDS if kind == pairs[name]}


def add_test_videos(records: dict[str, VideoAnnotations], text: str) -> None:
    """Put the videos of ``TASK=FILE`` into that task's test split."""
    task, path = _pair(text, "--test-list", None)
    if task not in TASKS:
        raise ValueError(
            f"--test-list {text!r}: unknown task {task!r}; expected one of "
            f"{', '.join(TASKS)}: correct the flag"
        )
    for number, video in listing.read_names(path):
        record = records.get(video, VideoAnnotations(video, {}, {}))
        if record.splits.get(task, "test") != "test":
            raise ValueError(
                f"{path}, line {number}: video {video!r} is in {task} "
                f"{record.splits[task]!r} already; expected one without labels: "
                "remove the line"
            )
        records[video] = dataclasses.replace(
            record, splits={**record.splits, task: "test"}
        )


def given_splits(
    split_dir: str | None,
    records: Mapping[str, VideoAnnotations],
    sources: Sequence[FeatureSource],
) -> dict[str, dict[str, str]] | None:
    """Splits by task, then by video: the user's lists and the records' test videos.

    Args:
        split_dir: Folder of the user's lists; None: there are none, and neither is
            there a result.
        records: Annotations by video.
        sources: Feature sets, whose videos the lists may name too.

    Raises:
        ValueError: If the lists are wrong.
    """
    if split_dir is None:
        return None
    folder = pathlib.Path(split_dir)
    known = set(records).union(*(source.videos for source in sources))
    own = [task for task in TASKS if (folder / task).is_dir()]
    given = {t: splits.read_split_lists(folder / t, known) for t in own}
    if not own:
        lists = splits.read_split_lists(folder, known)
        given = {task: dict(lists) for task in TASKS}
    for task, by_video in given.items():
        if "dev" not in by_video.values():
            logging.warning(
                "%s: the lists in %s have no dev video, so that nothing can be chosen "
                "on dev (epoch, thresholds, smoothing): add dev.txt",
                task,
                folder,
            )
    for video, record in records.items():
        for task, split in record.splits.items():
            if split == "test":  # from --test-list
                given.setdefault(task, {})[video] = split
    return given


def print_report(out: str, report: Mapping[str, BuildReport]) -> None:
    """Print a line per config, and under it what was missing or dropped."""
    print(f"store {out}")
    for name, counts in report.items():
        print(f"  {name}: {counts['videos']} videos, {counts['frames']} frames")
        for key, value in counts.items():
            if key in ("videos", "frames") or not value:
                continue
            words = key.replace("_", " ")
            if isinstance(value, list) and key.startswith("first_"):
                text = "".join(f"\n      {line}" for line in value)
            elif isinstance(value, list):
                text = f" {len(value)} ({listing.first_of(value, 5)})"
            else:
                text = f" {value}"
            print(f"    {words}:{text}")
