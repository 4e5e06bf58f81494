"""The flags that ``avemo extract`` and ``avemo prepare`` have in common."""

import argparse
import pathlib
import shlex

from avemo_jax.extraction.extractor_choice import (
    ExtractorChoice,
    choose_audio,
    choose_visual,
)
from avemo_jax.extraction.settings import Settings
from avemo_jax.runtime import compilation
from avemo_jax.runtime.beam import checked_options

ALIGNED, UNALIGNED = "cropped_aligned", "cropped"


def add_extractor_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that name the extractors, their weights and their input."""
    parser.add_argument(
        "--visual",
        default="",
        metavar="NAMES",
        help="extractors of faces, as enet_b2_8_best,enet_b0_8_va_mtl; avemo "
        "extractors lists all",
    )
    parser.add_argument(
        "--audio",
        default="",
        metavar="NAMES",
        help="extractors of sound, as wav2vec2_base,vggish",
    )
    parser.add_argument(
        "--weights",
        metavar="DIR",
        help="folder of NAME.safetensors, as avemo convert writes them; default: what "
        "avemo fetch keeps in the cache directory",
    )
    parser.add_argument("--size-px", type=int, help="side that faces are resized to")
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        default="float32",
        help="precision of the arithmetic; bfloat16 is for GPU and TPU",
    )
    parser.add_argument(
        "--sound",
        choices=("ours", "original"),
        default="ours",
        help="original: channels, chunks and alignment as in the original system",
    )


def add_run_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say how the work is carried out."""
    parser.add_argument("--batch-size", type=int, help="faces that run at once")
    parser.add_argument(
        "--num-shards", type=int, default=1, metavar="N", help="parts of a job array"
    )
    parser.add_argument(
        "--shard-index", type=int, default=0, metavar="I", help="this part, from 0"
    )
    parser.add_argument(
        "--beam-runner",
        metavar="NAME",
        help="let Apache Beam share the videos out: DirectRunner, DataflowRunner, ...",
    )
    parser.add_argument(
        "--beam-options",
        default="",
        metavar="TEXT",
        help="options of the pipeline, as '--direct_num_workers=2'",
    )
    parser.add_argument(
        "--decode-workers", type=int, help="threads or processes that decode pictures"
    )
    parser.add_argument(
        "--decode-in",
        choices=("threads", "processes"),
        help="default: threads on a CPU, processes beside an accelerator",
    )
    parser.add_argument(
        "--max-failures",
        type=int,
        metavar="N",
        help="stop when more videos and frames than N failed (on Beam when a set is "
        "done); default: never",
    )
    parser.add_argument(
        "--retry-failed",
        action="store_true",
        help="extract videos again that had failed frames or had lost a part",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    compilation.add_flag(parser)


def add_link_flag(parser: argparse.ArgumentParser) -> None:
    """Add the flag that says whether symbolic links are followed."""
    parser.add_argument(
        "--follow-links",
        action="store_true",
        help="follow links that lead out of the folders, which are refused otherwise",
    )


def choices_of(args: argparse.Namespace, *, source: str) -> list[ExtractorChoice]:
    """The extractors that the flags name.

    Args:
        args: The parsed flags.
        source: Kind of the pictures: "cropped_aligned", "cropped" or "full_frame".

    Raises:
        ValueError: If none is named, or a name is wrong.
    """
    visual, audio = _names(args.visual), _names(args.audio)
    if not (visual or audio):
        raise ValueError(
            "no extractor; expected --visual, --audio or both: give names, as "
            "--visual enet_b2_8_best --audio wav2vec2_base,vggish"
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
            audio, weights_dir=args.weights, sound=args.sound, dtype=args.dtype
        ),
    ]


def settings_of(args: argparse.Namespace) -> Settings:
    """The settings of the extraction that the flags name.

    Raises:
        ValueError: If numbers are out of range or do not go together, or the Beam
            runner or its options are wrong.
        ImportError: If Beam is asked for and not installed.
    """
    if args.num_shards < 1 or not 0 <= args.shard_index < args.num_shards:
        raise ValueError(
            f"--num-shards {args.num_shards} --shard-index {args.shard_index}; "
            "expected an index from 0 to num-shards - 1: correct the flags"
        )
    for flag, value, least in (
        ("--decode-workers", args.decode_workers, 1),
        ("--batch-size", args.batch_size, 1),
        ("--size-px", args.size_px, 1),
        ("--max-failures", args.max_failures, 0),
    ):
        if value is not None and value < least:
            raise ValueError(
                f"{flag} {value}; expected {least} or more: correct the flag"
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
        beam_options=_beam_options(args.beam_runner, args.beam_options),
    )


def _beam_options(runner: str | None, text: str) -> tuple[str, ...]:
    """The options of the Beam pipeline, split as a shell does and checked."""
    try:
        options = tuple(shlex.split(text))
    except ValueError as error:
        raise ValueError(
            f"--beam-options {text!r}: {str(error).lower()}; expected options as in a "
            "shell, as '--direct_num_workers=2': close the quotation"
        ) from error
    if runner is not None:
        checked_options(runner, options)
    elif options:
        raise ValueError(
            f"--beam-options {text!r} without a runner; expected both or neither: name "
            "a --beam-runner, as DirectRunner"
        )
    return options


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
