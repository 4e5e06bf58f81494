"""``avemo score``: predictions made anywhere against the official annotations."""

import argparse
import json
import pathlib
from collections.abc import Sequence
from typing import Any

from avemo_jax.agreement import report as agreement_report
from avemo_jax.agreement.compare import Options, compare
from avemo_jax.challenge.score.flags import parser
from avemo_jax.challenge.score.report import difference_text, text, write_csv
from avemo_jax.challenge.score.scores import Resamples, compare_predictions, score_file
from avemo_jax.challenge.score.truth import Truth, read_truth
from avemo_jax.challenge.thresholds import thresholds_of_flag
from avemo_jax.data.predictions.reading import read_frame_predictions
from avemo_jax.runtime.atomic_files import whole_file
from avemo_jax.runtime.errors import guarded
from avemo_jax.runtime.output_places import check_out
from avemo_jax.runtime.versions import VERSION
from avemo_jax.tasks import AU, TASKS

SCORE_SCHEMA_VERSION = 1
AGREEMENT_SCHEMA_VERSION = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Print the scores; returns 0, or 1 after an error, told on stderr."""
    flags = parser()
    args = flags.parse_args(argv)
    return guarded(
        lambda: _run(args),
        prog=flags.prog,
        kept="scores are written at the end, so nothing was",
    )


def _run(args: argparse.Namespace) -> int:
    if args.against is not None:
        return _agreement(args)
    task = TASKS.get(args.task.upper())
    if task is None:
        raise ValueError(
            f"--task {args.task!r}; expected expr, au or va: correct the flag"
        )
    if len(args.predictions) > 2:
        raise ValueError(
            f"{len(args.predictions)} files; expected one file or two: leave the "
            "others out"
        )
    for flag, out in (("--json", args.json), ("--csv", args.csv)):
        if out:
            check_out(flag, out, *args.predictions, args.annotations, args.split_list)
    thresholds = thresholds_of_flag("--thresholds", args.thresholds)
    if thresholds is not None and task is not AU:
        raise ValueError(
            f"--thresholds with --task {args.task}; expected it with au alone: "
            "leave it out"
        )
    columns = None
    if args.columns is not None:
        columns = tuple(name.strip() for name in args.columns.split(","))
    truth = read_truth(
        args.annotations, task, split=args.split, split_list=args.split_list
    )
    resamples = Resamples(args.resamples if args.ci else 0, args.seed)
    scores = [
        score_file(
            truth,
            read_frame_predictions(
                path,
                task,
                first_frame=args.first_frame,
                columns=columns,
                face=args.face,
                partial=True,
            ),
            thresholds=thresholds,
            resamples=resamples,
        )
        for path in args.predictions
    ]
    report = _report(args, truth, [each.block for each in scores])
    videos = "those of the list" if args.split_list else args.split
    print(
        f"{task.name} against {args.annotations}: {len(truth.videos)} videos, {videos}"
    )
    for block in report["files"]:
        print(text(block, per_video=args.per_video))
    if len(scores) == 2:
        drawn = Resamples(args.resamples, args.seed)
        report["difference"] = compare_predictions(truth, scores[0], scores[1], drawn)
        print(difference_text(args.predictions, report["difference"]))
    _write_json(args.json, report)
    if args.csv:
        write_csv(pathlib.Path(args.csv), report)
    return 0


def _agreement(args: argparse.Namespace) -> int:
    """Print how far two codings agree."""
    (first,) = args.predictions
    for flag, out in (("--json", args.json), ("--csv", args.csv)):
        if out:
            check_out(flag, out, first, args.against)
    for path in (first, args.against):
        if not pathlib.Path(path).exists():
            raise ValueError(f"there is no {path}; expected a coding: correct the path")
    options = Options(
        mapped=dict(args.map),
        face=None if args.face == "all" else args.face,
        fps=args.fps,
        gaps=args.gaps,
        span_s=args.span,
        num_resamples=args.resamples,
        seed=args.seed,
    )
    found = compare(first, args.against, options)
    print(agreement_report.text(found, per_video=args.per_video))
    head = {"schema_version": AGREEMENT_SCHEMA_VERSION, "version": VERSION}
    how = {"seed": args.seed, "num_resamples": args.resamples, "map": dict(args.map)}
    how |= {name: getattr(args, name) for name in ("face", "fps", "gaps", "span")}
    _write_json(args.json, {**head, **how, **found})
    if args.csv:
        agreement_report.write_csv(pathlib.Path(args.csv), found)
    return 0


def _write_json(out: str | None, report: dict[str, Any]) -> None:
    """Write what ``--json`` asks for, if it does."""
    if out is None:
        return
    path = pathlib.Path(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def _report(
    args: argparse.Namespace, truth: Truth, blocks: list[dict[str, Any]]
) -> dict[str, Any]:
    """The content of ``--json``."""
    return {
        "schema_version": SCORE_SCHEMA_VERSION,
        "version": VERSION,
        "task": truth.task.name,
        "annotations": str(args.annotations),
        "split": truth.split,
        "split_list": args.split_list,
        "seed": args.seed,
        "num_resamples": args.resamples if args.ci else 0,
        "files": blocks,
    }
