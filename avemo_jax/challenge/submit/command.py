"""``avemo submit``: the text files of the ABAW challenge, written or checked."""

import argparse
import collections
import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from avemo_jax.challenge.submit.checking import FileReport, check_submission
from avemo_jax.challenge.submit.decisions import Decisions, decide_rows
from avemo_jax.challenge.submit.flags import by_task, parser, target
from avemo_jax.challenge.submit.predictions import load_predictions, tasks_of
from avemo_jax.challenge.submit.rows import (
    SubmissionRows,
    check_same_videos,
    every_frame,
    lengths_of,
    listed,
    read_example,
    read_frame_counts,
    read_list,
)
from avemo_jax.challenge.submit.sources import MOST, load_submission, parse_submissions
from avemo_jax.challenge.submit.writing import write_submission
from avemo_jax.challenge.thresholds import thresholds_of_flag
from avemo_jax.data.predictions.frames import FramePredictions
from avemo_jax.runtime.errors import guarded
from avemo_jax.runtime.output_places import check_out
from avemo_jax.runtime.regular_files import sha256_of
from avemo_jax.tasks import AU, TASKS


def main(argv: Sequence[str] | None = None) -> int:
    """Write and check files, or check one only.

    Returns:
        0 if the files are there and have no faults; 1 if a file has faults, told on
        stdout, or after an error, told on stderr.
    """
    flags = parser()
    args = flags.parse_args(argv)
    return guarded(
        lambda: _check(args) if args.check else _write(args),
        prog=flags.prog,
        kept="files that were written are whole",
    )


# --- writing --------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Input:
    """One file to be written, with its predictions and what tells its rows."""

    predictions: FramePredictions
    path: pathlib.Path
    test_list: str | None
    example: str | None


@dataclasses.dataclass(frozen=True)
class _Output:
    """One file to be written, with the decided values of its rows."""

    source: _Input
    rows: SubmissionRows
    lengths_from: str
    decisions: Decisions


def _inputs(
    args: argparse.Namespace, thresholds: Float[np.ndarray, " units"] | None
) -> list[_Input]:
    """The files to be written, in the order of the tasks; nothing is written here.

    Raises:
        ValueError: If flags do not fit each other, or predictions are unreadable.
    """
    given = bool(args.predictions) + bool(args.submission)
    if given != 1 or not args.out or (args.task and not args.submission):
        raise ValueError(
            f"--predictions {args.predictions}, --submission {args.submission}, --out "
            f"{args.out}, --task {args.task}; expected --predictions FILE (or "
            "--submission NAME=SOURCE) --test-list TASK=FILE --out DIR, or --check "
            "FILE --task TASK: correct the flags"
        )
    load = _submissions if args.submission else _predictions
    loaded = load(args, thresholds)
    tasks = {one.task.name for _, one in loaded}
    only = loaded[0][1].task if len(tasks) == 1 else None
    lists = by_task(args.test_list, "--test-list", only)
    examples = by_task(args.example, "--example", only)
    names = by_task(args.name, "--name", only)
    for flag, listed_for in (("--test-list", lists), ("--example", examples)):
        if other := sorted(set(listed_for) - tasks):
            raise ValueError(
                f"{flag} of {', '.join(other)}, but the predictions are of "
                f"{', '.join(sorted(tasks))}; expected predictions of the same tasks: "
                f"add --predictions FILE, or leave the {flag} out"
            )
    if bare := sorted(tasks - set(lists) - set(examples)):
        raise ValueError(
            f"no list of videos for {', '.join(bare)}; expected --test-list TASK=FILE "
            "or --example TASK=FILE for each task with predictions: add one"
        )
    return [
        _Input(
            one,
            target(args.out, folder, names.get(task, f"{task}.txt")),
            lists.get(task),
            examples.get(task),
        )
        for task in TASKS
        for folder, one in loaded
        if one.task.name == task
    ]


def _predictions(
    args: argparse.Namespace, thresholds: Float[np.ndarray, " units"] | None
) -> list[tuple[str, FramePredictions]]:
    """The predictions of ``--predictions``, for a file in ``--out`` for each task."""
    loaded: dict[str, FramePredictions] = {}
    for path in args.predictions:
        for task in tasks_of(pathlib.Path(path)) or (None,):
            one = load_predictions(path, task, thresholds=thresholds)
            if one.task.name in loaded:
                raise ValueError(
                    f"{path} has predictions of {one.task.name}, as "
                    f"{loaded[one.task.name].path} has; expected one file a task "
                    "(several: --submission NAME=FILE): leave one out"
                )
            loaded[one.task.name] = one
    return [("", one) for one in loaded.values()]


def _submissions(
    args: argparse.Namespace, thresholds: Float[np.ndarray, " units"] | None
) -> list[tuple[str, FramePredictions]]:
    """The predictions of ``--submission``, each with its folder in ``--out``."""
    task = TASKS.get(str(args.task).upper())
    if args.task and task is None:
        raise ValueError(
            f"--task {args.task}; expected one of {', '.join(TASKS)}: correct the flag"
        )
    loaded = []
    for wanted in parse_submissions(args.submission):
        for one in load_submission(
            wanted,
            pathlib.Path(args.out) / wanted.name,
            task=task,
            data_dir=args.data_dir,
            ensemble=args.ensemble,
            thresholds=thresholds,
        ):
            loaded.append((wanted.name, one))
    counts = collections.Counter(one.task.name for _, one in loaded)
    if many := [name for name, count in counts.items() if count > MOST]:
        raise ValueError(
            f"{counts[many[0]]} submissions of {many[0]}; expected {MOST} at most, as "
            "many as the challenge takes from a team: leave some out"
        )
    return loaded


def _write(args: argparse.Namespace) -> int:
    """Write and check all files, or none if one of them cannot be written."""
    if args.out:
        wanted = parse_submissions(args.submission)
        read = [source.path for one in wanted for source in one.sources]
        check_out("--out", args.out, *args.predictions, args.data_dir, *read)
    thresholds = thresholds_of_flag("--thresholds", args.thresholds)
    inputs = _inputs(args, thresholds)
    if thresholds is not None and all(i.predictions.task is not AU for i in inputs):
        raise ValueError(
            "--thresholds without predictions of AU; expected some: leave the flag out"
        )
    _refuse_replacing(args, inputs)
    outputs = []
    for one in inputs:
        rows, lengths_from = _rows(one, args.frames)
        decisions = decide_rows(
            one.predictions,
            rows,
            thresholds=thresholds if one.predictions.task is AU else None,
            fill_missing_videos=args.fill_missing_videos,
        )
        outputs.append(_Output(one, rows, lengths_from, decisions))
    _check_same_rows(outputs)
    faults = False
    for each in outputs:
        task, path = each.source.predictions.task, each.source.path
        write_submission(path, task, each.rows, each.decisions.values)
        report = check_submission(
            path,
            task,
            videos=each.rows.videos,
            frames=dict(
                zip(each.rows.videos, _counts(each.rows).tolist(), strict=True)
            ),
            example=each.source.example,
        )
        _tell(each, report)
        faults = faults or not report.ok
    _tell_same(outputs)
    return int(faults)


def _check_same_rows(outputs: Sequence[_Output]) -> None:
    """Check that all submissions of a task have equally many frames of each video."""
    first: dict[str, _Output] = {}
    for one in outputs:
        other = first.setdefault(one.source.predictions.task.name, one)
        counts, others = _counts(one.rows), _counts(other.rows)
        if (counts != others).any():
            i = int(np.argmax(counts != others))
            raise ValueError(
                f"{one.source.path} would have {counts[i]} frames of "
                f"{one.rows.videos[i]!r} and {other.source.path} {others[i]}, as far "
                "as each is predicted; expected the same: give --frames or --example"
            )


def _tell_same(outputs: Sequence[_Output]) -> None:
    """Print which files are the same, since a second one would waste a submission."""
    first: dict[str, pathlib.Path] = {}
    for one in outputs:
        path = one.source.path
        digest = sha256_of(path)
        if digest in first:
            print(f"{path} says the very same as {first[digest]}")
        first.setdefault(digest, path)


def _refuse_replacing(args: argparse.Namespace, inputs: Sequence[_Input]) -> None:
    """Check that the files to be written differ, and that none of them is read."""
    read = [args.frames, *(i.predictions.path for i in inputs)]
    read += [path for i in inputs for path in (i.test_list, i.example)]
    taken = {pathlib.Path(path).resolve() for path in read if path}
    for one in inputs:
        if one.path.resolve() in taken:
            raise ValueError(
                f"{one.path} would be written, and is read or written for another "
                "task as well; expected files of their own: change --out or --name"
            )
        taken.add(one.path.resolve())


def _rows(one: _Input, frames: str | None) -> tuple[SubmissionRows, str]:
    """The rows of a file, and, in words, where the numbers of frames come from."""
    task = one.predictions.task
    videos = read_list(one.test_list) if one.test_list else ()
    if one.example:
        rows = read_example(one.example, task)
        if one.test_list:
            check_same_videos(
                videos, rows, example=one.example, test_list=one.test_list
            )
        return rows, one.example
    if frames:
        lengths = lengths_of(videos, read_frame_counts(frames), where=frames)
        return every_frame(videos, lengths), frames
    last = np.zeros(len(one.predictions.videos), np.int64)
    np.maximum.at(last, one.predictions.video, one.predictions.frame)
    known = dict(zip(one.predictions.videos, last.tolist(), strict=True))
    if unknown := [video for video in videos if video not in known]:
        raise ValueError(
            f"{one.predictions.path} has no prediction of {listed(unknown)} of "
            f"{len(videos)} listed in {one.test_list}; expected every listed video: "
            "predict them first (avemo evaluate --split=test), correct the names, or "
            "give --example or --frames with --fill-missing-videos"
        )
    lengths = lengths_of(videos, known, where=str(one.predictions.path))
    return every_frame(videos, lengths), "the last predicted frame of each"


def _counts(rows: SubmissionRows) -> Int[np.ndarray, " videos"]:
    return np.bincount(rows.video, minlength=len(rows.videos))


def _tell(each: _Output, report: FileReport) -> None:
    """Print what was written, what had to be filled or clipped, and the report."""
    found, rows = each.decisions, each.rows
    task = each.source.predictions.task
    print(f"{each.source.path}: {task.name}, {len(rows.video) + 1} lines with header")
    print(f"  numbers of frames: {each.lengths_from}")
    for note in each.source.predictions.notes:
        print(f"  {note}")
    videos = len(np.unique(rows.video[found.filled]))
    print(f"  filled, as not predicted: {found.filled.sum()} rows of {videos} videos")
    for count, text in (
        (len(found.without), f"neutral, no prediction at all: {listed(found.without)}"),
        (len(found.unseen), f"predicted without features: {listed(found.unseen)}"),
        (len(found.surplus_videos), f"not listed: {listed(found.surplus_videos)}"),
        (found.surplus_frames, f"predictions without a row: {found.surplus_frames}"),
        (found.clipped, f"values clipped to [-1, 1]: {found.clipped}"),
    ):
        if count:
            print(f"  {text}")
    if found.crossing and found.thresholds is not None:
        by_name = zip(task.columns, found.thresholds, strict=True)
        text = ", ".join(f"{name} {t:.4f}" for name, t in by_name if np.isfinite(t))
        print(f"  {found.crossing} values decided between two frames, at {text}")
    elif found.crossing:
        print(f"  {found.crossing} values decided as in the nearer frame")
    print(f"checked: {report}")


# --- checking -------------------------------------------------------------------------


def _check(args: argparse.Namespace) -> int:
    """Print the report on one file; returns 1 if it has faults, else 0."""
    writing = (
        "predictions",
        "submission",
        "data_dir",
        "out",
        "name",
        "thresholds",
        "fill_missing_videos",
    )
    surplus = [f"--{name.replace('_', '-')}" for name in writing if getattr(args, name)]
    task = TASKS.get(str(args.task).upper())
    if surplus or task is None:
        raise ValueError(
            f"--check with --task {args.task} and {', '.join(surplus) or 'no more'}; "
            f"expected --task with one of {', '.join(TASKS)}, and of the others only "
            "--example, --test-list, --frames: correct the flags"
        )
    lists = by_task(args.test_list, "--test-list", task)
    examples = by_task(args.example, "--example", task)
    frames: Mapping[str, int] | None = (
        read_frame_counts(args.frames) if args.frames else None
    )
    report = check_submission(
        args.check,
        task,
        videos=read_list(lists[task.name]) if task.name in lists else None,
        frames=frames,
        example=examples.get(task.name),
    )
    print(report)
    return int(not report.ok)
