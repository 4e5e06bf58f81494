"""The command that extracts features of a folder of crops or of videos."""

import argparse
import pathlib
from collections.abc import Mapping, Sequence

from avemo_jax.data.corpus.crop_folders import CropFolder
from avemo_jax.data.corpus.official_trees import find_crops, find_sounds, find_videos
from avemo_jax.extraction.flag_values import choices_of, existing_folder, settings_of
from avemo_jax.extraction.flags import parser
from avemo_jax.extraction.jobs import Material, known_frames
from avemo_jax.extraction.outcomes import Outcomes
from avemo_jax.extraction.run import SetSummary, extract, held
from avemo_jax.runtime import compilation
from avemo_jax.runtime.errors import SOME_FAILED, guarded


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``avemo extract``.

    Returns:
        0: all features are there. 3: the run is complete, but videos or frames failed,
        which ``failures.jsonl`` lists. 1: an error, told on stderr. 130: stopped.
    """
    return guarded(lambda: _run(parser().parse_args(argv)))


def _run(args: argparse.Namespace) -> int:
    settings = settings_of(args)
    choices = choices_of(args, source=args.crops_are if args.crops else "full_frame")
    material = _material(args)
    kinds = {choice.kind for choice in choices}
    if "visual" in kinds and not (material.crops or material.videos):
        raise ValueError(
            "--visual without pictures; expected --crops or --videos: give one"
        )
    if "audio" in kinds and not (material.videos or material.sounds):
        raise ValueError(
            "--audio without sound; expected --videos or --audio-dir: give one"
        )
    out = pathlib.Path(args.out)
    compilation.keep_compiled(args.compilation_cache)
    with held(out, shared=settings.num_shards > 1):
        summaries, outcomes = extract(out, choices, material, settings)
    print_summaries(summaries, outcomes)
    return SOME_FAILED if outcomes.failures else 0


def _material(args: argparse.Namespace) -> Material:
    """The files in the folders that the flags name."""
    follow = args.follow_links
    crops: Mapping[str, CropFolder] = {}
    if args.crops:
        crops = find_crops(existing_folder(args.crops, "--crops"), follow_links=follow)
    videos, sounds = (
        find(existing_folder(given, flag), follow_links=follow) if given else {}
        for find, given, flag in (
            (find_videos, args.videos, "--videos"),
            (find_sounds, args.audio_dir, "--audio-dir"),
        )
    )
    for flag, wanted, found in (
        ("--crops", args.crops, crops),
        ("--videos", args.videos, videos),
        ("--audio-dir", args.audio_dir, sounds),
    ):
        if wanted and not found:
            raise ValueError(
                f"{flag} {wanted} has none; expected what --help says: correct the path"
            )
    return Material(crops, videos, sounds, known_frames(crops, {}))


def print_summaries(summaries: Sequence[SetSummary], outcomes: Outcomes) -> None:
    """Print the results of a run: a line for each set, its notes, and failures."""
    for one in summaries:
        line = f"{one.name}: {one.made} videos extracted, {one.stood} stood already"
        if one.made and one.seconds > 0:
            per_s = one.rows / one.seconds
            what = "images" if one.unit == "images" else "frames"
            line += f"; {one.rows:,} {what} in {one.seconds:.0f} s ({per_s:.1f}/s)"
        print(line)
        for text, videos in sorted(_by_note(one.notes).items()):
            names = ", ".join(videos[:5])
            more = f", ... ({len(videos)} videos)" if len(videos) > 5 else ""
            print(f"    {text}: {names}{more}")
        if one.others:
            names = ", ".join(one.others[:5]) + (", ..." if one.others[5:] else "")
            print(f"    {len(one.others)} more lie there from other runs: {names}")
    if outcomes.failures:
        # A faulty file fails once in each set, and is counted once.
        failed = [one for one in outcomes.all if one.failures]
        whole = {one.video for one in failed if one.error or one.losses}
        frames = {(one.video, frame) for one in failed for frame, _ in one.failed}
        print(f"failed: {len(whole)} videos, {len(frames)} frames; see {outcomes.path}")


def _by_note(notes: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """The videos that have each note, by its text."""
    found: dict[str, list[str]] = {}
    for video, texts in sorted(notes.items()):
        for text in texts:
            found.setdefault(text, []).append(video)
    return found
