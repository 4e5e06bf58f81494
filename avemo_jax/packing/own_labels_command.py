"""The part of ``avemo build-store`` that reads a user's own labels.

A manifest of test videos alone needs no labels: the store is one to predict, and its
task is that of the head.
"""

import argparse
import dataclasses
import math
from collections.abc import Mapping, Sequence

from avemo_jax.data.corpus.manifest import Entry, read_manifest
from avemo_jax.data.corpus.own_labels import Wish, read_labels, unlabelled
from avemo_jax.data.records import FeatureSource, RowRate, VideoAnnotations
from avemo_jax.packing.row_rates import check_rate, last_frames, rates_of
from avemo_jax.tasks import Task, TaskKind

_KINDS: tuple[TaskKind, ...] = ("multiclass", "multilabel", "regression")
_OFFICIAL = ("annotations", "split_dir", "test_list", "mtl")


def read_own(
    args: argparse.Namespace, sources: Sequence[FeatureSource]
) -> tuple[dict[str, Task], list[VideoAnnotations]]:
    """Tasks and records of ``--manifest`` and ``--labels``; says what the tasks are.

    There are no tasks where no label is given and all videos are test videos.

    Args:
        args: The parsed flags.
        sources: The feature sets, which tell the rate of sound alone, and how many
            frames a wholly labelled video has.

    Raises:
        ValueError: If a flag or a file is wrong.
    """
    rates = rates_of(sources)
    manifest = {
        video: _with_rate(entry, rates.get(video))
        for video, entry in read_manifest(args.manifest).items()
    }

    _check_names(args.manifest, manifest, sources)
    last_frame = last_frames(sources)

    def frames_of(entry: Entry) -> int:
        rate = rates.get(entry.video)
        return last_frame(entry.video) if rate is None else rate.num_rows

    if not args.labels:
        _check_to_predict(args.manifest, manifest)
        print(f"no labels: a store to predict, with {len(manifest)} videos")
        return {}, unlabelled(manifest)
    return read_labels(
        args.labels,
        manifest,
        _wishes(args),
        fps_of=_fps_of,
        frames_of=frames_of,
        told=print,
    )


def check_flags(args: argparse.Namespace) -> None:
    """Check that the files of a user's own labels are given, and no official ones.

    Raises:
        ValueError: If the manifest is missing, flags of both kinds are given, or flags
            on labels without these.
    """
    official = [name for name in _OFFICIAL if getattr(args, name)]
    said = [name for name in ("task", "classes", "range") if getattr(args, name)]
    if args.manifest and said and not args.labels:
        raise ValueError(
            f"--{', --'.join(said)} without --labels; expected it with them: add "
            "--labels, or leave it out, since a store to predict has the head's task"
        )
    if not args.manifest or official:
        given = [f"--{name}" for name in ("manifest", "labels") if getattr(args, name)]
        flags = [*given, *(f"--{name.replace('_', '-')}" for name in official)]
        raise ValueError(
            f"{' '.join(flags) or 'no labels are named'}; expected --manifest with "
            "--labels, or alone to predict, or --annotations of the challenge: give "
            "the one or the other"
        )


def _check_names(
    path: str, manifest: Mapping[str, Entry], sources: Sequence[FeatureSource]
) -> None:
    """Check that no video is called by its file's name, where features are not.

    Raises:
        ValueError: If one is, and its name without the ending has features.
    """
    known = {video for source in sources for video in source.videos}
    for video, entry in manifest.items():
        name, dot, ending = video.rpartition(".")
        if video not in known and name in known:
            raise ValueError(
                f"{path}, {entry.place}, column 'video': {video!r} has no features, "
                f"but {name!r} has; expected names as feature files have them: leave "
                f"the ending {dot + ending} out"
            )


def _check_to_predict(path: str, manifest: Mapping[str, Entry]) -> None:
    """Check that all videos are test videos.

    Raises:
        ValueError: If one is not, as its labels are missing.
    """
    for video, entry in manifest.items():
        if entry.split != "test":
            raise ValueError(
                f"{path}, {entry.place}: {video!r} is in {entry.split!r} and there "
                "are no --labels; expected labels, or test videos alone: add --labels "
                "FILE, or write test"
            )


def _with_rate(entry: Entry, rate: RowRate | None) -> Entry:
    """The entry with the rate of its rows, where it is sound alone."""
    if rate is None:
        return entry
    check_rate(entry.video, entry.fps, rate)
    return dataclasses.replace(entry, fps=rate.fps)


def _fps_of(entry: Entry) -> float:
    """Frames per second that the manifest or the name tells, else the video's own."""
    if math.isnan(entry.fps) and entry.path is not None:
        from avemo_jax.media.video import open_video

        return open_video(entry.path).frame_times().fps
    return entry.fps


def _wishes(args: argparse.Namespace) -> list[Wish]:
    """What the flags say about each task."""
    named = [_named(text) for text in args.task] or [("", None, ())]
    names = [name for name, _, _ in named]
    classes = dict(_of_task(text, names, "--classes") for text in args.classes)
    ranges = dict(_of_task(text, names, "--range") for text in args.range)
    return [
        Wish(name, kind, columns, classes.get(name, ()), _bounds(ranges.get(name)))
        for name, kind, columns in named
    ]


def _named(text: str) -> tuple[str, TaskKind | None, tuple[str, ...]]:
    """The parts of ``NAME=KIND:COLUMN,COLUMN``."""
    name, _, rest = text.partition("=")
    said, _, columns = rest.partition(":")
    kinds = [kind for kind in _KINDS if kind == said]
    if not name or (said and not kinds):
        raise ValueError(
            f"--task {text!r}; expected NAME=KIND with KIND one of "
            f"{', '.join(_KINDS)}, as mood=multiclass, or mood=multiclass:COLUMN: "
            "correct the flag"
        )
    split = tuple(one.strip() for one in columns.split(",") if one.strip())
    return name, kinds[0] if kinds else None, split


def _of_task(text: str, names: Sequence[str], flag: str) -> tuple[str, tuple[str, ...]]:
    """The task and the values of a flag ``[TASK=]A,B,...``."""
    task, equals, values = text.rpartition("=")
    if not equals and len(names) == 1:
        task = names[0]
    if task not in names:
        raise ValueError(
            f"{flag} {text!r} is for task {task!r}; expected one of "
            f"{', '.join(names)}: write {flag}={names[0]}={values}"
        )
    return task, tuple(one.strip() for one in values.split(",") if one.strip())


def _bounds(values: tuple[str, ...] | None) -> tuple[float, float] | None:
    if values is None:
        return None
    try:
        low, high = map(float, values)
    except ValueError as error:
        raise ValueError(
            f"--range {','.join(values)!r}; expected two numbers LOW,HIGH, as "
            "--range=0,100: correct the flag"
        ) from error
    return low, high
