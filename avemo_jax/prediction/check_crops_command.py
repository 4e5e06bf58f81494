"""The command that compares our crops with official ones: ``avemo check-crops``."""

import argparse
import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from avemo_jax.data.corpus.crop_folders import CropFolder
from avemo_jax.data.corpus.official_trees import Corpus, find_corpus
from avemo_jax.data.corpus.splits import base_video
from avemo_jax.extraction.crop_check import (
    ALIKE,
    CropCheck,
    Embed,
    check_crops,
    measured_template,
    summary,
    together,
)
from avemo_jax.extraction.crop_template import read_template, write_template
from avemo_jax.extraction.extractor_choice import (
    ExtractorChoice,
    check_weights,
    choose_visual,
)
from avemo_jax.extraction.face_detector import detector_facts, load_face_detector
from avemo_jax.extraction.face_tracks import find_faces
from avemo_jax.extraction.flags import check_crops_parser
from avemo_jax.faces.crops import ARCFACE_TEMPLATE
from avemo_jax.faces.detector import FaceDetector
from avemo_jax.faces.keyframes import INTERVAL_S
from avemo_jax.media.video import VideoError, open_video
from avemo_jax.prediction.crop_scores import CropScores, head_over_crops
from avemo_jax.prediction.feature_check import check_features
from avemo_jax.runtime.atomic_files import write_json
from avemo_jax.runtime.errors import SOME_FAILED, guarded
from avemo_jax.runtime.output_places import check_out
from avemo_jax.runtime.progress import progress_bar

_COLUMNS = ("VIDEO", "CROPS", "FOUND", "MATCH", "MEDIAN", "5 %", "POINTS", "COSINE")

# The columns after the shares: names in the numbers, and digits.
_NUMBERS = (
    ("likeness_median", 3),
    ("likeness_5", 3),
    ("points_px", 1),
    ("cosine_median", 4),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``avemo check-crops``.

    Returns:
        0: all was compared. 1: an error, which is told on stderr. 3: some videos or
        crops could not be read, and are listed.
    """
    flags = check_crops_parser()
    args = flags.parse_args(argv)
    return guarded(
        lambda: _run(args),
        prog=flags.prog,
        kept="files are written at the end, so nothing was",
    )


def _run(args: argparse.Namespace) -> int:
    """Compare, print the table, and write what is asked for."""
    for flag, file in (("--out", args.out), ("--write-template", args.write_template)):
        if file is not None:
            check_out(flag, file, args.root)
    template = ARCFACE_TEMPLATE
    if args.template is not None:
        template = read_template(args.template)
    detector = load_face_detector(args.detector_weights)
    corpus = find_corpus(args.root, follow_links=args.follow_links)
    embed, scores = _networks(args, corpus, template)
    folders: dict[str, list[CropFolder]] = {}
    lost = []
    for video, folder in corpus.crops.items():
        base = base_video(video)
        if base in corpus.videos:
            folders.setdefault(base, []).append(folder)
        else:
            lost.append(f"{video}: crops without a video {base}")
    if not folders:
        raise ValueError(
            f"{args.root}: {len(corpus.crops)} folders of crops and "
            f"{len(corpus.videos)} videos, none of one name; expected videos with "
            "their aligned crops: correct --root"
        )
    names = _chosen(sorted(folders), args.max_videos)
    checks: list[CropCheck] = []
    with progress_bar(len(names), "checked", "video", quiet=args.quiet) as bar:
        for name in names:
            try:
                checks += _checked(
                    corpus.videos[name],
                    folders[name],
                    detector,
                    embed,
                    template,
                    scores,
                )
            except VideoError as error:
                lost.append(str(error))
            bar.update(1)
    lost += [fault for one in checks for fault in one.faults]
    _print(checks, len(names), len(folders))
    if scores is not None:
        _print_scores(scores)
    facts = detector_facts(args.detector_weights)["fingerprint"]
    if args.write_template is not None:
        points = measured_template(checks, template)
        crops = sum(len(one.shifts) for one in checks)
        write_template(args.write_template, points, detector=facts, crops=crops)
        print(f"{args.write_template}: {np.round(points, 2).tolist()}, {crops} crops")
    if args.out is not None:
        told = _told(args, checks, template, facts, lost)
        if scores is not None:
            told["checkpoint"] = args.checkpoint
            told["scores"] = [dataclasses.asdict(one) for one in scores.scores()]
            told["notes"] = list(scores.notes)
        write_json(pathlib.Path(args.out), told)
    for text in lost:
        print(f"not compared: {text}")
    return SOME_FAILED if lost else 0


def _chosen(names: list[str], at_most: int | None) -> list[str]:
    """Names, as many as asked for, spread evenly."""
    count = min(at_most or len(names), len(names))
    picks = np.round(np.linspace(0, len(names) - 1, count)).astype(int)
    return [names[i] for i in picks]


def _networks(
    args: argparse.Namespace, corpus: Corpus, template: np.ndarray
) -> tuple[Embed | None, CropScores | None]:
    """What embeds crops, if an extractor or a head is named, and what scores them.

    Raises:
        ValueError: If the head does not fit, or there are no annotations for it.
    """
    if args.extractor is not None:
        (choice,) = choose_visual(
            [args.extractor],
            weights_dir=args.weights,
            source="cropped_aligned",
            batch_size=32,
        )
        return _loaded(choice)[1], None
    if args.checkpoint is None:
        return None, None
    model, wanted = head_over_crops(args.checkpoint)
    if corpus.annotations is None:
        raise ValueError(
            f"{args.root}: no annotations in it; expected those of "
            f"{model.tasks[0].name} for --checkpoint: correct --root, or leave "
            "--checkpoint out"
        )
    scores = CropScores(model, wanted.name, corpus.annotations)
    extractor, embed = _loaded(wanted.choice(weights_dir=args.weights, batch_size=32))
    own = None if args.template is None else tuple(map(tuple, template.tolist()))
    for note in (*model.notes, *check_features(model, {wanted.name: extractor}, own)):
        print(note)
    return embed, scores


def _loaded(choice: ExtractorChoice) -> tuple[Any, Embed]:
    """An extractor with its weights, and what embeds crops by it."""
    check_weights([choice])
    extractor: Any = choice.load()
    return extractor, lambda crops: extractor.extract(list(crops))


def _checked(
    file: pathlib.Path,
    folders: Sequence[CropFolder],
    detector: FaceDetector,
    embed: Embed | None,
    template: np.ndarray,
    scores: CropScores | None,
) -> list[CropCheck]:
    """The comparisons of one video's subject-videos, which are scored and forgotten."""
    video = open_video(file)
    times_s = video.frame_times().times_s
    tracks = find_faces(video, detector, times_s, interval_s=INTERVAL_S)
    checks = check_crops(
        video,
        tracks,
        folders,
        detector,
        embed=embed,
        template=template,
        keeps_rows=scores is not None,
    )
    for one in checks:
        if scores is not None and one.rows is not None:
            scores.add(one.video, one.rows, times_s)
    return [dataclasses.replace(one, rows=None) for one in checks]


def _print(checks: Sequence[CropCheck], done: int, of: int) -> None:
    """The table, a line for each subject-video and one for all."""
    rows: list[tuple[str, ...]] = [_COLUMNS]
    for one in (*checks, together(checks)):
        told = summary(one)
        crops = told["crops"] or 0
        shares = (
            f"{100 * (told[name] or 0) / crops:.1f} %" if crops else "-"
            for name in ("found", "matching")
        )
        numbers = (
            "-" if told[name] is None else f"{told[name]:.{digits}f}"
            for name, digits in _NUMBERS
        )
        rows.append((one.video, str(crops), *shares, *numbers))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        first, *others = (
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        print("  ".join([first, *others]).rstrip())
    print(
        f"{done} of {of} videos. MATCH: grey crops correlate by over {ALIKE}. MEDIAN, "
        "5 %: of the\ncorrelation. POINTS: median distance of the five points, in "
        "pixels of 112. COSINE:\nmedian, of embeddings."
    )


def _print_scores(scores: CropScores) -> None:
    """The score of each task by both crops, without smoothing."""
    for one in scores.scores():
        if one.given is None or one.ours is None:
            print(f"{one.task}: no labelled frame with both crops")
            continue
        print(
            f"{one.task}: {one.score} {one.given:.4f} on the given crops, "
            f"{one.ours:.4f} on ours ({one.frames:,} labelled frames of {one.videos} "
            "subject-videos, not smoothed)"
        )
    for note in scores.notes:
        print(note)


def _told(
    args: argparse.Namespace,
    checks: Sequence[CropCheck],
    template: np.ndarray,
    detector: str,
    lost: Sequence[str],
) -> dict[str, Any]:
    """What ``--out`` holds."""
    return {
        "schema": 1,
        "root": str(args.root),
        "detector": detector,
        "extractor": args.extractor,
        "template": template.tolist(),
        "videos": {one.video: summary(one) for one in checks},
        "all": summary(together(checks)),
        "not_compared": list(lost),
    }
