"""``avemo prepare``: a store of the official Aff-Wild2 folders."""

import argparse
import functools
import pathlib
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from avemo_jax.data.corpus import annotations
from avemo_jax.data.corpus.coverage import coverage_of
from avemo_jax.data.corpus.found_instead import SOUNDS, found_instead
from avemo_jax.data.corpus.official_trees import (
    Corpus,
    find_corpus,
    find_sounds,
)
from avemo_jax.data.records import VideoAnnotations
from avemo_jax.data.store import folder, tfds
from avemo_jax.embed import AnyExtractor
from avemo_jax.extraction.command import print_summaries
from avemo_jax.extraction.extractor_choice import ExtractorChoice, check_weights
from avemo_jax.extraction.flag_values import (
    choices_of,
    existing_folder,
    rate_of,
    settings_of,
)
from avemo_jax.extraction.frame_times import KeptFrameTimes
from avemo_jax.extraction.jobs import Material, find_work, known_frames
from avemo_jax.extraction.prepare.estimate import (
    disk_line,
    duration,
    estimate,
    estimate_frame_times,
    estimate_untried,
)
from avemo_jax.extraction.prepare.flags import parser
from avemo_jax.extraction.prepare.inventory import Inventory, take_inventory
from avemo_jax.extraction.prepare.packing import check_split_flags, pack_store
from avemo_jax.extraction.run import extract, held
from avemo_jax.extraction.settings import Settings
from avemo_jax.extractors import get_extractor
from avemo_jax.packing.command import add_test_videos, print_report
from avemo_jax.runtime import compilation
from avemo_jax.runtime.errors import SOME_FAILED, guarded
from avemo_jax.runtime.output_places import check_out

FEATURES = "features"  # the folder of all sets in the folder of the store
# Where other files than sound belong.
_PLACES = {"crops": "they belong under --root", "videos": "they belong under --root"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``avemo prepare``.

    Returns:
        0: the store is built. 3: it is built, but videos or frames failed, which
        ``failures.jsonl`` lists. 1: an error, told on stderr. 130: stopped.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    command = shlex.join(["avemo", "prepare", *arguments])
    flags = parser()
    args = flags.parse_args(arguments)
    return guarded(
        lambda: _run(args, command),
        prog=flags.prog,
        kept="features of the videos that were done are kept, and sets packed whole",
    )


def _run(args: argparse.Namespace, command: str) -> int:
    tfds.check_installed()
    inputs = (*args.video, *args.crop_folder, args.annotations, args.audio_dir)
    check_out("--out", args.out, args.root, *inputs)
    settings = settings_of(args)
    choices = choices_of(args, source=args.crops_are)
    features = folder.checked_folder(pathlib.Path(args.out)) / FEATURES
    records, inventory, material = _find_material(args)
    _print_inventory(args.root, inventory, records)
    _check_material(args, material)
    check_split_flags(records, material, args)
    if not args.dry_run:
        check_weights(choices)
    compilation.keep_compiled(args.compilation_cache)
    load = functools.cache(ExtractorChoice.load)
    enough = _print_estimates(choices, load, features, material, settings, inventory)
    if args.dry_run:
        print("dry run: nothing was extracted")
        check_weights(choices)
        return 0
    if not enough and not args.ignore_disk:
        raise ValueError(
            f"{args.out} is on a disk with too little room (see above); expected "
            "enough for the features and the store: make room, give another --out, or "
            "pass --ignore-disk"
        )
    with held(features, shared=settings.num_shards > 1):
        summaries, outcomes = extract(
            features,
            choices,
            material,
            settings,
            failures=features.parent / settings.failures_name,
            load=load,
        )
        print_summaries(summaries, outcomes)
        if settings.num_shards > 1:
            print(
                f"part {settings.shard_index} of {settings.num_shards} is done; when "
                "all are, the same command without the shard flags packs the store"
            )
        else:
            report = pack_store(
                features.parent,
                features,
                records,
                material,
                args,
                settings,
                outcomes,
                command=command,
            )
            print_report(args.out, report)
    return SOME_FAILED if outcomes.failures else 0


def _find_material(
    args: argparse.Namespace,
) -> tuple[dict[str, VideoAnnotations], Inventory, Material]:
    """The annotations by video, the inventory of the tree, and the files to extract."""
    corpus = find_corpus(
        existing_folder(args.root, "--root"),
        crops=args.crops_are,
        videos=args.video,
        crop_folders=args.crop_folder,
        annotations=args.annotations,
        follow_links=args.follow_links,
    )
    sounds = {}
    if args.audio_dir:
        sounds = find_sounds(
            existing_folder(args.audio_dir, "--audio-dir"),
            follow_links=args.follow_links,
        )
        if not sounds:
            seen = found_instead(
                args.audio_dir, _PLACES, follow_links=args.follow_links
            )
            raise ValueError(
                f"--audio-dir {args.audio_dir} has no sound files, only {seen}; "
                f"expected {SOUNDS}: correct the path, or move or rename the files"
            )
    records = _records(args, corpus)
    labelled = {
        video: max([record.num_frames, *map(len, record.labels.values())])
        for video, record in records.items()
    }
    frames = known_frames(corpus.crops, labelled)
    material = Material(corpus.crops, corpus.videos, sounds, frames, rate_of(args))
    return records, take_inventory(corpus, sounds), material


def _check_material(args: argparse.Namespace, material: Material) -> None:
    """Check that there are files to extract from for each kind of extractor."""
    if args.visual and not material.crops:
        seen = found_instead(args.root, {}, follow_links=args.follow_links)
        raise ValueError(
            f"--visual {args.visual} and no face crops in {args.root}, only "
            f"{seen}; expected {args.crops_are}/VIDEO/00001.jpg, ...: unpack them "
            "there, or leave --visual out"
        )
    if args.audio and not (material.videos or material.sounds):
        raise ValueError(
            f"--audio {args.audio} and no sound in {args.root}; expected videos there, "
            "as batch1/VIDEO.mp4, or --audio-dir: add them, or leave --audio out"
        )


def _records(args: argparse.Namespace, corpus: Corpus) -> dict[str, VideoAnnotations]:
    """The annotations by video, test videos that flags list included."""
    records: dict[str, VideoAnnotations] = {}
    if corpus.annotations is not None:
        read = annotations.read_annotations(corpus.annotations, mtl=args.mtl)
        records = {record.video: record for record in read}
    for text in args.test_list:
        add_test_videos(records, text)
    return records


def _print_inventory(
    root: str, inventory: Inventory, records: Mapping[str, VideoAnnotations]
) -> None:
    print(f"found in {root}")
    for line in inventory.lines():
        print(f"  {line}")
    for line in (
        *coverage_of(inventory.corpus, list(records.values())).lines(),
        *inventory.sound_lines(records.values()),
    ):
        print(f"  {line}")


def _print_estimates(
    choices: Sequence[ExtractorChoice],
    load: "functools._lru_cache_wrapper[AnyExtractor]",
    features: pathlib.Path,
    material: Material,
    settings: Settings,
    inventory: Inventory,
) -> bool:
    """Try each extractor and print what it will take; whether the disk has room."""
    print("to be done")
    found = []
    alone = settings.num_shards == 1
    # Packing needs the frame times of all videos; one part needs those of its sound.
    timed = dict(material.videos) if alone else {}
    for choice in choices:
        jobs: Any = (
            material.face_jobs() if choice.kind == "visual" else material.sound_jobs()
        )
        if choice.missing_weights is not None:
            known = get_extractor(choice.name)
            found.append(estimate_untried(known, material, list(jobs), inventory.facts))
            print(f"  {found[-1].line()}", flush=True)
            continue
        extractor = load(choice)
        feature_set = choice.feature_set(extractor, features)
        work = find_work(
            feature_set,
            jobs,
            num_shards=settings.num_shards,
            shard_index=settings.shard_index,
            retry_failed=settings.retry_failed,
        )
        found.append(
            estimate(
                extractor,
                feature_set,
                material,
                work,
                inventory.facts,
                packs=alone,
            )
        )
        print(f"  {found[-1].line()}", flush=True)
        if choice.kind == "audio":
            timed |= {job.video: job.file for job in work.todo if job.file is not None}
    found.append(estimate_frame_times(KeptFrameTimes(features), timed, inventory.facts))
    print(f"  {found[-1].line()}", flush=True)
    together = duration(sum((one.seconds for one in found), 0.0))
    untried = [one.name for one in found if one.untried]
    more = f", and what {', '.join(untried)} will take" if untried else ""
    print(f"  together: {together}{more}")
    text, enough = disk_line(found, features)
    print(f"  {text}", flush=True)
    return enough
