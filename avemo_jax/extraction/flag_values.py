"""Extractors, settings and folders that the flags of an extraction name."""

import argparse
import math
import pathlib

from avemo_jax.extraction.extractor_choice import (
    ExtractorChoice,
    choose_audio,
    choose_visual,
)
from avemo_jax.extraction.settings import Settings
from avemo_jax.media.video import MAX_FPS
from avemo_jax.runtime.beam import read_options


def choices_of(args: argparse.Namespace, *, source: str) -> list[ExtractorChoice]:
    """The extractors that the flags name.

    Args:
        args: The parsed flags.
        source: Kind of the pictures: "cropped_aligned", "cropped" or "full_frame".

    Raises:
        ValueError: If none is named, or a name is wrong.
    """
    visual, audio = _names(args.visual), _names(args.audio)
    if args.weights is not None:
        existing_folder(args.weights, "--weights")
    if not (visual or audio):
        raise ValueError(
            "no extractor; expected --visual, --audio or both: give names, as "
            "--visual enet_b2_8_best --audio wav2vec2_base,vggish, or --visual "
            "face_hog --audio acoustic, which need no weights"
        )
    return [
        *choose_visual(
            visual,
            weights_dir=args.weights,
            source=source,
            size_px=args.size_px,
            batch_size=args.batch_size,
            dtype=args.dtype,
        ),
        *choose_audio(
            audio,
            weights_dir=args.weights,
            sound=args.sound,
            dtype=args.dtype,
            hop_s=args.hop_s,
            context_s=args.context_s,
        ),
    ]


def settings_of(args: argparse.Namespace) -> Settings:
    """The settings of the extraction that the flags name.

    Raises:
        ValueError: If numbers are out of range or do not go together, or the Beam
            runner or its options are wrong.
        ImportError: If Beam is asked for and not installed.
    """
    if args.shard_index >= args.num_shards:
        raise ValueError(
            f"--num-shards {args.num_shards} --shard-index {args.shard_index}; "
            "expected an index from 0 to num-shards - 1: correct the flags"
        )
    if args.beam_runner and args.num_shards > 1:
        raise ValueError(
            f"--beam-runner with --num-shards {args.num_shards}; expected one of the "
            "two: the engine shares the videos out itself"
        )
    return Settings(
        num_shards=args.num_shards,
        shard_index=args.shard_index,
        decode_workers=args.decode_workers,
        decode_in=args.decode_in,
        max_failures=args.max_failures,
        retry_failed=args.retry_failed,
        show_progress=not args.quiet,
        beam_runner=args.beam_runner,
        beam_options=read_options(args.beam_runner, args.beam_options),
    )


def rate_of(args: argparse.Namespace) -> float:
    """Rows per second of sound without pictures that ``--fps`` names; NaN: none.

    Raises:
        ValueError: If it is not a number over 0, up to 1000.
    """
    if args.fps is None:
        return math.nan
    if not 0 < args.fps <= MAX_FPS:
        raise ValueError(
            f"--fps {args.fps:g}; expected rows per second, over 0 and up to "
            f"{MAX_FPS}: correct the flag"
        )
    return args.fps


def existing_folder(text: str, flag: str) -> pathlib.Path:
    """The folder that a flag names.

    Raises:
        ValueError: If there is no such folder, or the path is a file.
    """
    path = pathlib.Path(text)
    if not path.is_dir():
        state = "a file" if path.exists() else "not there"
        raise ValueError(
            f"{flag} {text} is {state}; expected a folder: correct the path"
        )
    return path


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
