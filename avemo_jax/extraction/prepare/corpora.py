"""A public corpus as it is prepared: its clips, their labels, and its protocols."""

import argparse
import functools
import pathlib
from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from avemo_jax.data.corpus.official_trees import Corpus
from avemo_jax.data.corpus.protocols import (
    Protocol,
    fold_splits_of,
    without_clips,
    write_protocols,
)
from avemo_jax.data.corpus.public.clips import Clip, FoundClips, find_clips
from avemo_jax.data.corpus.public.definition import Definition, read_definition
from avemo_jax.data.corpus.splits import grouped_folds
from avemo_jax.data.features import folders
from avemo_jax.data.listing import first_of
from avemo_jax.data.records import VideoAnnotations
from avemo_jax.extraction.flag_values import existing_folder, rate_of, said_of_faces
from avemo_jax.extraction.given_faces import given_tables
from avemo_jax.extraction.jobs import Material
from avemo_jax.extraction.outcomes import Outcomes
from avemo_jax.extraction.prepare.inventory import VideoFacts, take_inventory
from avemo_jax.extraction.prepare.packing import FEATURES, measured_records, recorded
from avemo_jax.extraction.prepare.preparation import Preparation
from avemo_jax.extraction.settings import Settings
from avemo_jax.extraction.video_faces import FaceRule
from avemo_jax.packing import build
from avemo_jax.packing.report import BuildReport
from avemo_jax.packing.row_rates import rates_of
from avemo_jax.runtime.atomic_files import whole_file
from avemo_jax.runtime.tables.writing import csv_writer
from avemo_jax.tasks import EXPR

CLIPS_FILE = "clips.csv"
_OFFICIAL = "annotations video crop_folder audio_dir split_dir test_list mtl"
_OFFICIAL += " ungrouped_dev"
_OWN = ("part", "labels", "protocol")
_TOLD = 10  # speakers in a line


def check_flags(args: argparse.Namespace) -> None:
    """Check that flags of public corpora and of Aff-Wild2 do not meet.

    Raises:
        ValueError: If flags of the one are given for the other.
    """
    if args.corpus:
        names = _OFFICIAL.split()
    else:
        names = list(_OWN)
    said = [f"--{name.replace('_', '-')}" for name in names if getattr(args, name)]
    said += [] if args.corpus else said_of_faces(args)
    if said and args.corpus:
        raise ValueError(
            f"{' '.join(said)} with --corpus; expected them for Aff-Wild2 alone, since "
            "a corpus' names tell its labels and speakers: leave them out"
        )
    if said:
        raise ValueError(
            f"{' '.join(said)} without --corpus; expected them with a public corpus: "
            "add --corpus ravdess, or another, or leave them out"
        )
    if args.corpus and said_of_faces(args) and not args.visual:
        raise ValueError(
            f"{' '.join(said_of_faces(args))} without --visual; expected them with "
            "extractors of faces: add --visual, or leave them out"
        )


def public_corpus(args: argparse.Namespace, faces: FaceRule | None) -> Preparation:
    """What a folder holds of the public corpus that the flags name.

    Args:
        args: Parsed flags of ``avemo prepare``.
        faces: How the faces of its videos are cut out; None: no faces are wanted.

    Raises:
        ValueError: If the corpus is unknown, its folder has no clips of it, or what is
            asked for is not there.
    """
    corpus = read_definition(args.corpus)
    root = existing_folder(args.root, "--root")
    labels = args.labels or next(iter(corpus.labels))
    found = find_clips(
        corpus,
        root,
        parts=[one.strip() for one in args.part.split(",") if one.strip()],
        labels=labels,
        sound_alone=not args.visual,
        follow_links=args.follow_links,
    )
    videos = {clip.name: clip.video for clip in found.clips if clip.video is not None}
    sounds = {clip.name: clip.sound for clip in found.clips if clip.sound is not None}
    boxes = given_tables(args.boxes, [*videos]) if args.boxes and videos else {}
    material = Material({}, videos, sounds, fps=rate_of(args), faces=faces, boxes=boxes)
    tree = Corpus(root, None, videos, {}, ())
    inventory = take_inventory(tree, sounds)
    protocols, said = _protocols(corpus, found)
    chosen = _chosen(args, corpus, protocols)
    splits = _splits(found, protocols, chosen)
    lines = [
        f"{corpus.title}, {corpus.licence}: {corpus.link}",
        *found.lines,
        *inventory.video_lines(),
        *said,
        _reported(found, splits, chosen),
    ]
    return Preparation(
        inventory,
        material,
        tuple(lines),
        functools.partial(_check, args, corpus, inventory.facts),
        functools.partial(
            _pack, args, corpus, labels, found, material, protocols, splits
        ),
    )


def _check(
    args: argparse.Namespace,
    corpus: Definition,
    facts: Mapping[str, VideoFacts],
) -> None:
    """Check that there is sound where it is asked for; faces are looked for later.

    Raises:
        ValueError: If there is none.
    """
    with_sound = any(one.sound_s for one in facts.values())
    if args.audio and not with_sound:
        raise ValueError(
            f"--audio {args.audio} and no sound in {args.root}; expected videos with "
            f"sound, or sound files beside them: download them ({corpus.link}), or "
            "leave --audio out"
        )


def _protocols(
    corpus: Definition, found: FoundClips
) -> tuple[dict[str, Protocol], list[str]]:
    """The protocols that the speakers who are there allow, and lines on the others."""
    protocols, lines = {}, []
    for name, one in corpus.protocols_of(found.speakers).items():
        if empty := without_clips(one, found.speakers):
            lines.append(
                f"protocol {name} is left out: nobody is there of its fold "
                f"{', '.join(map(str, empty))}"
            )
            continue
        protocols[name] = one
        told = f"protocol {name}: {len(one.folds)} folds of speakers ({one.source})"
        named = {speaker for fold in one.folds for speaker in fold}
        if missing := sorted(named - set(found.speakers)):
            told += f"; without {first_of(missing, _TOLD)}, so not comparable"
        lines.append(told)
    return protocols, lines


def _chosen(
    args: argparse.Namespace, corpus: Definition, protocols: Mapping[str, Protocol]
) -> str | None:
    """The protocol whose first fold is the store's validation; None: a drawn fifth.

    Raises:
        ValueError: If the one that is asked for is not there.
    """
    if args.protocol is not None:
        if args.protocol not in protocols:
            known = ", ".join(protocols) or "none, for want of speakers"
            raise ValueError(
                f"--protocol {args.protocol}: not among those of {corpus.title} that "
                f"its speakers here allow; expected {known}: correct the flag"
            )
        return str(args.protocol)
    if corpus.default_protocol in protocols:
        return corpus.default_protocol
    return next(iter(protocols), None)


def _splits(
    found: FoundClips, protocols: Mapping[str, Protocol], chosen: str | None
) -> dict[str, str]:
    """The store's own split of each clip.

    Raises:
        ValueError: If there are too few speakers to train, choose and report by.
    """
    sources = {clip.name: clip.speaker for clip in found.clips}
    if len(found.speakers) < 3:
        raise ValueError(
            f"clips of {len(found.speakers)} speakers ({', '.join(found.speakers)}); "
            "expected three or more, to train, to choose and to report by: download "
            "more of the corpus"
        )
    if chosen is not None:
        return fold_splits_of(protocols[chosen], 0, sources)
    count = max(3, min(5, len(found.speakers)))
    folds = grouped_folds(found.speakers, count, sources={s: s for s in found.speakers})
    return fold_splits_of(Protocol(tuple(map(tuple, folds)), "drawn"), 0, sources)


def _reported(found: FoundClips, splits: Mapping[str, str], chosen: str | None) -> str:
    """A line on who is in the store's validation."""
    held = sorted({c.speaker for c in found.clips if splits[c.name] == "validation"})
    by = "drawn" if chosen is None else f"fold 0 of {chosen}"
    return f"validation of the store: speakers {first_of(held, _TOLD)} ({by})"


def _pack(
    args: argparse.Namespace,
    corpus: Definition,
    labels: str,
    found: FoundClips,
    material: Material,
    protocols: Mapping[str, Protocol],
    splits: Mapping[str, str],
    settings: Settings,
    outcomes: Outcomes,
    command: str,
) -> dict[str, BuildReport]:
    """Build the store: each clip's label for all of its frames, its speaker as source.

    Raises:
        ValueError: If a complete store with other content is there.
        OSError: If the store cannot be written.
    """
    out = pathlib.Path(args.out)
    features = out / FEATURES
    task = corpus.task(labels)
    tasks = {task.name: task} | ({EXPR.name: EXPR} if corpus.ours else {})

    def packed(overwrite: bool) -> dict[str, BuildReport]:
        records = {
            clip.name: VideoAnnotations(
                clip.name, {}, _splits_of(clip, splits, tasks), source=clip.speaker
            )
            for clip in found.clips
        }
        records = measured_records(features, records, records, material, settings)
        sources = folders.find_feature_sources([features], quiet=args.quiet)
        rows = {video: rate.num_rows for video, rate in rates_of(sources).items()}
        made = []
        for clip in found.clips:
            record = records[clip.name]
            length = record.num_frames or rows.get(clip.name, 0)
            dense = {task.name: task.columns.index(clip.label)}
            if ours := (corpus.ours or {}).get(clip.label):
                dense[EXPR.name] = EXPR.columns.index(ours)
            made.append(
                VideoAnnotations(
                    record.video,
                    {name: np.full(length, k, np.int8) for name, k in dense.items()},
                    record.splits,
                    length,
                    record.fps,
                    record.source,
                )
            )
        report = build.build_store(
            out,
            made,
            sources,
            split_seed=args.split_seed,
            overwrite=overwrite,
            show_progress=not args.quiet,
            beam_runner=settings.beam_runner,
            beam_options=settings.beam_options,
            command=command,
            tasks=tasks,
        )
        write_protocols(out, protocols)
        _write_clips(out / CLIPS_FILE, corpus, found, splits, protocols)
        return report

    return recorded(args, outcomes, command, packed)


def _splits_of(
    clip: Clip, splits: Mapping[str, str], tasks: Mapping[str, object]
) -> dict[str, str]:
    """A clip's split by task: all of a corpus is validation of models of Aff-Wild2."""
    own = splits[clip.name]
    by_task = {name: own for name in tasks if name != EXPR.name and own != "none"}
    return by_task | ({EXPR.name: "validation"} if EXPR.name in tasks else {})


def _write_clips(
    path: pathlib.Path,
    corpus: Definition,
    found: FoundClips,
    splits: Mapping[str, str],
    protocols: Mapping[str, Protocol],
) -> None:
    """Write a line for each clip: its files, speaker, label, splits, what it is called.

    Raises:
        OSError: If the file cannot be written.
    """
    rows = []
    for clip in found.clips:
        row = {
            "video": clip.name,
            "speaker": clip.speaker,
            corpus.name: clip.label,
            EXPR.decided: (corpus.ours or {}).get(clip.label, ""),
            "split": splits[clip.name],
        }
        for name, one in protocols.items():
            folds = [i for i, fold in enumerate(one.folds) if clip.speaker in fold]
            row[name] = str(folds[0]) if folds else ""
        row |= {name: text for name, text in clip.facts.items() if name not in row}
        row["video_file"], row["sound_file"] = (
            "" if file is None else str(file) for file in (clip.video, clip.sound)
        )
        rows.append(row)
    schema = pa.schema([(name, pa.string()) for name in rows[0]])
    with (
        whole_file(path) as temporary,
        csv_writer(temporary, schema, quoted=True) as to,
    ):
        to.write_batch(pa.RecordBatch.from_pylist(rows, schema))
