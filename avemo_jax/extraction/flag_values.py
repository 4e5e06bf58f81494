"""Extractors, settings and folders that the flags of an extraction name."""

import argparse
import math
import pathlib

from avemo_jax.extraction.crop_template import template_of
from avemo_jax.extraction.extractor_choice import (
    ExtractorChoice,
    choose_audio,
    choose_visual,
)
from avemo_jax.extraction.flags import ALIGNED, UNALIGNED
from avemo_jax.extraction.settings import Settings
from avemo_jax.extraction.video_faces import FaceRule
from avemo_jax.faces.boxes import MIN_FACE_PX
from avemo_jax.faces.keyframes import INTERVAL_S
from avemo_jax.faces.published import DETECTOR
from avemo_jax.media.video import MAX_FPS
from avemo_jax.runtime.beam import read_options

_FACE_FLAGS = ("faces", "boxes", "crop", "detect", "min_face", "template")


def choices_of(
    args: argparse.Namespace, *, source: str, faces: FaceRule | None = None
) -> list[ExtractorChoice]:
    """The extractors that the flags name.

    Args:
        args: The parsed flags.
        source: Kind of the pictures: "cropped_aligned", "cropped" or "full_frame".
        faces: How faces are cut out of videos; None: pictures are there already.

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
            faces=faces,
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


def face_rule_of(args: argparse.Namespace) -> FaceRule | None:
    """How faces are cut out of the videos, as the flags say; None: they are not.

    Raises:
        ValueError: If a value is wrong, or the flags do not go with the others.
    """
    said = said_of_faces(args)
    if not said:
        return None
    if args.crops or not args.videos or not args.visual:
        where = "with --crops" if args.crops else "without --videos and --visual"
        raise ValueError(
            f"{' '.join(said)} {where}; expected them with --videos and --visual "
            "alone, since they are about the faces of videos: correct the flags"
        )
    return face_rule(args)


def said_of_faces(args: argparse.Namespace) -> list[str]:
    """The flags on faces that are given."""
    given = [name for name in _FACE_FLAGS if getattr(args, name, None) is not None]
    return [f"--{name.replace('_', '-')}" for name in given]


def face_rule(args: argparse.Namespace) -> FaceRule:
    """How faces are cut out of videos, as the flags say; without flags the largest.

    Args:
        args: Parsed flags on faces, with or without ``--faces``.

    Raises:
        ValueError: If a value is wrong, or flags do not go together.
    """
    if args.boxes is not None and args.detect is not None:
        raise ValueError(
            "--detect with --boxes; expected one of the two, since faces that are "
            "given are not looked for: leave one out"
        )
    if args.template is not None and args.crop == "tight":
        raise ValueError(
            "--template with --crop tight; expected aligned crops, since a template "
            "says where the points of a face come: leave one out"
        )
    weights = None
    if args.weights is not None:
        own = (
            existing_folder(args.weights, "--weights") / f"{DETECTOR.name}.safetensors"
        )
        weights = str(own) if own.is_file() else None
    faces = getattr(args, "faces", None)
    return FaceRule(
        faces=faces or "largest",
        kind=args.crop or "aligned",
        interval_s=INTERVAL_S if args.detect is None else args.detect,
        are_given=args.boxes is not None,
        min_face_px=args.min_face or MIN_FACE_PX,
        weights=weights,
        template=template_of(args.template),
    )


def source_of(faces: FaceRule) -> str:
    """The kind of pictures that faces are cut out as, which begins the input's name."""
    return ALIGNED if faces.kind == "aligned" else UNALIGNED


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
