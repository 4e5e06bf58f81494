"""``avemo prepare``: a store of the official Aff-Wild2 folders, or of a corpus."""

import argparse
import functools
import pathlib
import shlex
import sys
from collections.abc import Sequence
from typing import Any

from avemo_jax.data.store import folder, tfds
from avemo_jax.embed import AnyExtractor
from avemo_jax.extraction.command import check_one_rate, print_summaries
from avemo_jax.extraction.extractor_choice import ExtractorChoice, check_weights
from avemo_jax.extraction.flag_values import (
    choices_of,
    face_rule,
    settings_of,
    source_of,
)
from avemo_jax.extraction.frame_times import KeptFrameTimes
from avemo_jax.extraction.jobs import Material, find_work
from avemo_jax.extraction.prepare.corpora import check_flags, public_corpus
from avemo_jax.extraction.prepare.estimate import (
    disk_line,
    duration,
    estimate,
    estimate_frame_times,
    estimate_untried,
)
from avemo_jax.extraction.prepare.flags import parser
from avemo_jax.extraction.prepare.inventory import Inventory
from avemo_jax.extraction.prepare.official import official_folders
from avemo_jax.extraction.prepare.packing import FEATURES
from avemo_jax.extraction.run import extract, held
from avemo_jax.extraction.settings import Settings
from avemo_jax.extractors import get_extractor
from avemo_jax.packing.command import print_report
from avemo_jax.runtime import compilation
from avemo_jax.runtime.errors import SOME_FAILED, guarded
from avemo_jax.runtime.output_places import check_out


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
    check_flags(args)
    inputs = (*args.video, *args.crop_folder, args.annotations, args.audio_dir)
    check_out("--out", args.out, args.root, *inputs)
    settings = settings_of(args)
    faces = face_rule(args) if args.corpus and args.visual else None
    source = args.crops_are if faces is None else source_of(faces)
    choices = choices_of(args, source=source, faces=faces)
    features = folder.checked_folder(pathlib.Path(args.out)) / FEATURES
    if args.corpus:
        prepared = public_corpus(args, faces)
    else:
        prepared = official_folders(args)
    print(f"found in {args.root}")
    for line in prepared.lines:
        print(f"  {line}")
    prepared.check()
    material = prepared.material
    if args.corpus:
        check_one_rate(choices, material)
    if not args.dry_run:
        check_weights(choices)
    compilation.keep_compiled(args.compilation_cache)
    load = functools.cache(ExtractorChoice.load)
    enough = _print_estimates(
        choices, load, features, material, settings, prepared.inventory
    )
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
            report = prepared.pack(settings, outcomes, command)
            print_report(args.out, report)
    return SOME_FAILED if outcomes.failures else 0


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
