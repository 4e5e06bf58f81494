"""Feature files and annotations of a tree -> the store, and a record of the run."""

import argparse
import dataclasses
import json
import pathlib
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypedDict

from absl import logging

from avemo_jax.data.corpus.splits import base_video, draw_splits
from avemo_jax.data.features import folders
from avemo_jax.data.records import VideoAnnotations
from avemo_jax.data.store import layout
from avemo_jax.extraction.frame_times import KeptFrameTimes
from avemo_jax.extraction.jobs import Material
from avemo_jax.extraction.outcomes import Outcomes
from avemo_jax.extraction.settings import Settings
from avemo_jax.media.video import VideoError
from avemo_jax.packing import build
from avemo_jax.packing.command import given_splits
from avemo_jax.runtime.atomic_files import whole_file
from avemo_jax.runtime.json_files import read_json
from avemo_jax.runtime.progress import progress_bar
from avemo_jax.runtime.versions import VERSION
from avemo_jax.tasks import TASKS

STATE = "prepare.json"
FEATURES = "features"  # the folder of all sets in the folder of the store


class _State(TypedDict):
    """What is read of :data:`STATE`: whether the last run ended without failures."""

    complete: bool


def check_split_flags(
    records: Mapping[str, VideoAnnotations],
    material: Material,
    args: argparse.Namespace,
) -> None:
    """Check that splits can be made of these videos, before hours of work.

    Args:
        records: Annotations by video.
        material: The files that the features are made from.
        args: Parsed flags of the store.

    Raises:
        ValueError: If the user's lists are wrong, or too few videos can be drawn from.
    """
    known = dict.fromkeys([*material.crops, *material.videos, *material.sounds])
    unlabelled = {video: VideoAnnotations(video, {}, {}) for video in known}
    if given_splits(args.split_dir, {**unlabelled, **records}, []) is not None:
        return
    official = {
        task: {v: one.splits[task] for v, one in records.items() if task in one.splits}
        for task in TASKS
    }
    draw_splits(official, seed=args.split_seed, grouped=not args.ungrouped_dev)


def pack_official(
    args: argparse.Namespace,
    records: Mapping[str, VideoAnnotations],
    material: Material,
    settings: Settings,
    outcomes: Outcomes,
    command: str,
) -> dict[str, build.BuildReport]:
    """Build the store of the official folders, of what was extracted.

    Args:
        args: Parsed flags of the store.
        records: Annotations by video.
        material: The files that the features were made from.
        settings: How the extraction was carried out; packing goes the same way.
        outcomes: The outcomes of the extraction.
        command: Command line for the store's card.

    Raises:
        ValueError: If a complete store with other content is there.
        OSError: If the store cannot be written.
    """

    def packed(overwrite: bool) -> dict[str, build.BuildReport]:
        features = pathlib.Path(args.out) / FEATURES
        videos = {*records, *material.crops}
        measured = measured_records(features, records, videos, material, settings)
        sources = folders.find_feature_sources([features], quiet=args.quiet)
        return build.build_store(
            args.out,
            measured.values(),
            sources,
            splits=given_splits(args.split_dir, measured, sources),
            split_seed=args.split_seed,
            grouped_dev=not args.ungrouped_dev,
            overwrite=overwrite,
            show_progress=not args.quiet,
            beam_runner=settings.beam_runner,
            beam_options=settings.beam_options,
            command=command,
        )

    return recorded(args, outcomes, command, packed)


def recorded(
    args: argparse.Namespace,
    outcomes: Outcomes,
    command: str,
    packed: Callable[[bool], dict[str, build.BuildReport]],
) -> dict[str, build.BuildReport]:
    """The report of a packing, with a record of the run beside the store.

    A store that a run with failures, or a run cut short, has packed is replaced: it
    lacks what failed. A store of a complete run is replaced only with ``--overwrite``.

    Args:
        args: Parsed flags of the store.
        outcomes: The outcomes of the extraction.
        command: Command line for the record.
        packed: Builds the store; told whether one that is there may be replaced.

    Raises:
        ValueError: If a complete store with other content is there.
        OSError: If the store cannot be written.
    """
    out = pathlib.Path(args.out)
    complete = _was_complete(out)
    if args.overwrite or not (complete and (out / layout.DATASET).is_dir()):
        _write_state(out, complete=False, command=command, failures=outcomes.failures)
    report = packed(args.overwrite or not complete)
    _write_state(
        out,
        complete=not outcomes.failures,
        command=command,
        failures=outcomes.failures,
    )
    return report


def measured_records(
    features: pathlib.Path,
    records: Mapping[str, VideoAnnotations],
    videos: Collection[str],
    material: Material,
    settings: Settings,
) -> dict[str, VideoAnnotations]:
    """The annotations with decoded lengths and rates; unlabelled videos are test.

    Args:
        features: The folder of all sets, where frame times are kept.
        records: Annotations by video.
        videos: The videos of which there shall be a record.
        material: The files that the features were made from.
        settings: How the extraction was carried out.
    """
    kept = KeptFrameTimes(features)
    times = {}
    wanted = {base_video(video) for video in videos}
    there = sorted(wanted & set(material.videos))
    files = {video: material.videos[video] for video in there}
    quiet = not settings.show_progress
    with kept.ahead(files, settings.workers):
        with progress_bar(len(there), "frame times", "video", quiet=quiet) as bar:
            for video in there:
                try:
                    times[video] = kept.of(video, files[video])
                except VideoError as error:
                    logging.warning(
                        "%s; its length is taken from labels and crops", error
                    )
                bar.update()
    found = {}
    for video in sorted(videos):
        test = dict.fromkeys(TASKS, "test")
        record = records.get(video, VideoAnnotations(video, {}, test))
        own = times.get(base_video(video))
        if own is not None:
            frames = max(own.num_frames, record.num_frames)
            record = dataclasses.replace(record, num_frames=frames, fps=own.fps)
        found[video] = record
    return found


def _was_complete(out: pathlib.Path) -> bool:
    """Whether the last run ended without failures, or there was none."""
    path = out / STATE
    if not path.is_file():
        return True
    remedy = (
        "an earlier run's record is damaged; remove it, and the store is kept unless "
        "you pass --overwrite"
    )
    state: _State = read_json(path, _State, remedy=remedy)
    return state["complete"]


def _write_state(out: pathlib.Path, **facts: Any) -> None:
    content = {"schema_version": 1, "version": VERSION, **facts}
    with whole_file(out / STATE) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
