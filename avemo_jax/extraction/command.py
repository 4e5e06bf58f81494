"""The command that extracts features of a folder of crops or of videos."""

import argparse
import pathlib
from collections.abc import Collection, Mapping, Sequence

from avemo_jax.data.corpus.crop_folders import CropFolder
from avemo_jax.data.corpus.found_instead import CROPS, SOUNDS, VIDEOS, found_instead
from avemo_jax.data.corpus.official_trees import (
    find_crops,
    find_recordings,
    find_sounds,
)
from avemo_jax.data.listing import first_of, said_of_many
from avemo_jax.extraction.extractor_choice import FULL_FRAME, ExtractorChoice
from avemo_jax.extraction.flag_values import (
    choices_of,
    existing_folder,
    face_rule_of,
    rate_of,
    settings_of,
    source_of,
)
from avemo_jax.extraction.flags import parser
from avemo_jax.extraction.given_faces import given_tables
from avemo_jax.extraction.jobs import Material, known_frames
from avemo_jax.extraction.outcomes import Outcomes
from avemo_jax.extraction.run import SetSummary, extract, held
from avemo_jax.extraction.video_faces import FaceRule
from avemo_jax.extractors import get_extractor
from avemo_jax.runtime import compilation
from avemo_jax.runtime.errors import SOME_FAILED, guarded
from avemo_jax.runtime.output_places import check_out

# Where each kind of file belongs.
_FLAGS = {
    "crops": "give them with --crops",
    "videos": "give them with --videos",
    "sounds": "give them with --audio-dir",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``avemo extract``.

    Returns:
        0: all features are there. 3: the run is complete, but videos or frames failed,
        which ``failures.jsonl`` lists. 1: an error, told on stderr. 130: stopped.
    """
    flags = parser()
    args = flags.parse_args(argv)
    return guarded(
        lambda: _run(args),
        prog=flags.prog,
        kept="features of the videos that were done are kept",
    )


def _run(args: argparse.Namespace) -> int:
    check_out("--out", args.out, args.crops, args.videos, args.audio_dir)
    settings = settings_of(args)
    faces = face_rule_of(args)
    choices = choices_of(args, source=_source_of(args, faces), faces=faces)
    material = _material(args, faces)
    kinds = {choice.kind for choice in choices}
    if "visual" in kinds and not (material.crops or material.videos):
        raise ValueError(
            "--visual without pictures; expected --crops, or --videos with a video: "
            "give one"
        )
    if "audio" in kinds and not (material.videos or material.sounds):
        raise ValueError(
            "--audio without sound; expected --videos or --audio-dir: give one"
        )
    out = pathlib.Path(args.out)
    check_one_rate(choices, material)
    compilation.keep_compiled(args.compilation_cache)
    with held(out, shared=settings.num_shards > 1):
        summaries, outcomes = extract(out, choices, material, settings)
    print_summaries(summaries, outcomes)
    return SOME_FAILED if outcomes.failures else 0


def _source_of(args: argparse.Namespace, faces: FaceRule | None) -> str:
    """The kind of pictures, which begins the input's name."""
    if faces is not None:
        return source_of(faces)
    return args.crops_are if args.crops else FULL_FRAME


def _material(args: argparse.Namespace, faces: FaceRule | None) -> Material:
    """The files in the folders that the flags name.

    Raises:
        ValueError: If a folder is not there or holds nothing of use.
    """
    follow = args.follow_links
    crops: Mapping[str, CropFolder] = {}
    videos: Mapping[str, pathlib.Path] = {}
    beside: Mapping[str, pathlib.Path] = {}
    sounds: Mapping[str, pathlib.Path] = {}
    if args.crops:
        folder = existing_folder(args.crops, "--crops")
        crops = find_crops(folder, follow_links=follow, names=args.names)
    if args.videos:
        folder = existing_folder(args.videos, "--videos")
        videos, beside = find_recordings(folder, follow_links=follow, names=args.names)
    if args.audio_dir:
        folder = existing_folder(args.audio_dir, "--audio-dir")
        sounds = find_sounds(folder, follow_links=follow, names=args.names)
    for flag, wanted, found, what, expected in (
        ("--crops", args.crops, crops, "face crops", CROPS),
        ("--videos", args.videos, videos or beside, "videos and no sound", VIDEOS),
        ("--audio-dir", args.audio_dir, sounds, "sound files", SOUNDS),
    ):
        if wanted and not found:
            seen = found_instead(wanted, _FLAGS, follow_links=follow)
            raise ValueError(
                f"{flag} {wanted} has no {what}, only {seen}; expected {expected}: "
                "correct the path, or move or rename the files"
            )
    sounds = {**beside, **sounds}
    frames = known_frames(crops, {})
    _say_sounds(sounds, seen={*videos, *frames})
    boxes = given_tables(args.boxes, [*videos]) if args.boxes else {}
    return Material(crops, videos, sounds, frames, rate_of(args), faces, boxes)


def _say_sounds(sounds: Mapping[str, pathlib.Path], *, seen: Collection[str]) -> None:
    """Print which sound files are taken for the sound of videos, and which alone."""
    for what, names in (
        ("sound of the videos of their names", [v for v in sounds if v in seen]),
        ("sound alone", [v for v in sounds if v not in seen]),
    ):
        if names:
            some = first_of([sounds[video].name for video in names], 5)
            print(f"{len(names)} files taken for {what}: {some}")


def check_one_rate(choices: Sequence[ExtractorChoice], material: Material) -> None:
    """Check that sound alone gets the same rows from all extractors.

    Raises:
        ValueError: If their hops differ, and no rate is given or known.
    """
    hops = {
        choice.name: get_extractor(choice.name).sound.hop_s
        for choice in choices
        if choice.kind == "audio"
    }
    if len(set(hops.values())) < 2:
        return
    alone = [job for job, _ in material.sound_jobs().values() if job.rows_are_hops]
    if alone:
        steps = ", ".join(f"{hop_s:g} s ({name})" for name, hop_s in hops.items())
        raise ValueError(
            f"sound alone ({alone[0].video}, ...) with rows every {steps}; expected "
            "rows of one rate, by which sets are joined: give --fps, as --fps 10"
        )


def print_summaries(summaries: Sequence[SetSummary], outcomes: Outcomes) -> None:
    """Print the results of a run: a line for each set, its notes, and failures."""
    for one in summaries:
        line = f"{one.name}: {one.made} videos extracted, {one.stood} stood already"
        if one.made and one.seconds > 0:
            per_s = one.rows / one.seconds
            what = "images" if one.unit == "images" else "frames"
            line += f"; {one.rows:,} {what} in {one.seconds:.0f} s ({per_s:.1f}/s)"
        print(line)
        for text in said_of_many(one.notes):
            print(f"    {text}")
        if one.others:
            some = first_of(one.others, 5)
            print(f"    {len(one.others)} more lie there from other runs: {some}")
    if outcomes.failures:
        # A faulty file fails once in each set, and is counted once.
        failed = [one for one in outcomes.all if one.failures]
        whole = {one.video for one in failed if one.error or one.losses}
        frames = {(one.video, frame) for one in failed for frame, _ in one.failed}
        print(f"failed: {len(whole)} videos, {len(frames)} frames; see {outcomes.path}")
