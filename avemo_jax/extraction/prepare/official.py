"""The official Aff-Wild2 folders as they are prepared: their files and labels."""

import argparse
import functools
from collections.abc import Iterator, Mapping

from avemo_jax.data.corpus import annotations
from avemo_jax.data.corpus.coverage import coverage_of
from avemo_jax.data.corpus.found_instead import SOUNDS, found_instead
from avemo_jax.data.corpus.official_trees import (
    Corpus,
    find_corpus,
    find_sounds,
)
from avemo_jax.data.records import VideoAnnotations
from avemo_jax.extraction.flag_values import existing_folder, rate_of
from avemo_jax.extraction.jobs import Material, known_frames
from avemo_jax.extraction.prepare.inventory import Inventory, take_inventory
from avemo_jax.extraction.prepare.packing import check_split_flags, pack_official
from avemo_jax.extraction.prepare.preparation import Preparation
from avemo_jax.packing.command import add_test_videos

# Where other files than sound belong.
_PLACES = {"crops": "they belong under --root", "videos": "they belong under --root"}


def official_folders(args: argparse.Namespace) -> Preparation:
    """What the official folders hold that the flags name.

    Args:
        args: Parsed flags of ``avemo prepare``.

    Raises:
        ValueError: If a folder is not there, holds nothing of use, or what is asked for
            is not in it.
    """
    records, inventory, material = _find_material(args)
    return Preparation(
        inventory,
        material,
        tuple(_lines(inventory, records)),
        functools.partial(_check, args, records, material),
        functools.partial(pack_official, args, records, material),
    )


def _check(
    args: argparse.Namespace,
    records: Mapping[str, VideoAnnotations],
    material: Material,
) -> None:
    _check_material(args, material)
    check_split_flags(records, material, args)


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


def _lines(
    inventory: Inventory, records: Mapping[str, VideoAnnotations]
) -> Iterator[str]:
    """What was found, in lines for people to read."""
    yield from inventory.lines()
    yield from coverage_of(inventory.corpus, list(records.values())).lines()
    yield from inventory.sound_lines(records.values())
