"""The flags of ``extract``, ``extractors``, ``check-crops``, and what all share."""

import argparse

from avemo_jax.extraction.face_flags import add_detect, add_faces, add_template
from avemo_jax.extraction.shards import check_shard
from avemo_jax.runtime import flags
from avemo_jax.runtime.command_line import CommandParser, command_parser

ALIGNED, UNALIGNED = "cropped_aligned", "cropped"
_DESCRIPTION = "Extract features of a folder of face crops, videos or sound."
_EXAMPLE = r"""avemo extract --videos videos --faces largest --visual enet_b2_8_best \
    --out features
avemo extract --crops crops --visual enet_b2_8_best --out features
avemo extract --videos videos --audio wav2vec2_base,vggish --out features
avemo extract --audio-dir wavs --audio vggish --out features"""


_CHECK = """Compare our face crops with official ones.

Faces are found in the videos and cut out as avemo extract --faces does, and the crops
of the same frames are compared: grey pictures, points, and embeddings."""
_CHECK_EXAMPLE = r"""avemo check-crops --root AffWild2 --max-videos 20 \
    --extractor enet_b0_8_va_mtl --write-template template.json"""


def parser() -> CommandParser:
    """The parser of ``avemo extract``."""
    parser = command_parser("extract", _DESCRIPTION, example=_EXAMPLE)
    group = parser.add_argument_group("input")
    group.add_argument(
        "--crops",
        metavar="DIR",
        help="face crops: folders VIDEO of pictures 00001.jpg, 00002.jpg, ...",
    )
    group.add_argument(
        "--videos",
        metavar="DIR",
        help="video and sound files; a sound file is taken for the sound of the video "
        "of its name, or alone; --visual sees their faces with --faces, else whole "
        "pictures",
    )
    add_material_flags(group)
    group.add_argument(
        "--names",
        choices=("file", "path"),
        default="file",
        help="what names a video: its file, or crops' folder; or with the folders "
        "above, P01--IMG_0001 for P01/IMG_0001.mov (default: %(default)s)",
    )
    _add_face_flags(parser)
    add_extractor_flags(parser)
    group = parser.add_argument_group("output")
    flags.add_out(group, "folder that gets a folder for each feature set")
    add_run_flags(parser)
    parser.check = check_part
    return parser


def _add_face_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say which faces of videos are cut out, and how."""
    group = parser.add_argument_group("faces of --videos")
    add_faces(
        group,
        "cut faces out of the videos: largest, the one that most frames show, which "
        "has the video's name; or N or all, called VIDEO--face1, VIDEO--face2, ...; "
        "default: largest with any flag of these, else none",
    )
    add_crop_flags(group)


def add_crop_flags(group: argparse._ActionsContainer) -> None:
    """Add the flags that say how faces of videos are found and cut out."""
    group.add_argument(
        "--boxes",
        metavar="FILE|DIR",
        help="faces that were found elsewhere: predictions.csv of avemo predict, or a "
        "table of OpenFace or py-feat; or a folder of VIDEO.csv",
    )
    group.add_argument(
        "--crop",
        choices=("aligned", "tight"),
        help="aligned: turned and scaled by eyes, nose and mouth, as cropped_aligned "
        "is; tight: the face's box, as cropped (default: aligned)",
    )
    add_detect(
        group,
        "look for faces in every frame, or once in SECONDS and between where faces "
        "moved or changed (default: 0.2)",
    )
    add_template(group)
    group.add_argument(
        "--min-face",
        type=flags.whole(1, 10_000),
        metavar="PX",
        help="note faces that are smaller in most frames (default: 24)",
    )


def extractors_parser() -> CommandParser:
    """The parser of ``avemo extractors``, which has no flags."""
    return command_parser(
        "extractors",
        "List all extractors, of this package and of plug-ins.",
        example="avemo extractors",
    )


def check_crops_parser() -> CommandParser:
    """The parser of ``avemo check-crops``."""
    parser = command_parser("check-crops", _CHECK, example=_CHECK_EXAMPLE)
    group = parser.add_argument_group("input")
    group.add_argument(
        "--root", required=True, metavar="DIR", help="the official folders, anywhere in"
    )
    group.add_argument(
        "--max-videos",
        type=flags.whole(1, 1_000_000),
        metavar="N",
        help="compare N videos, spread evenly over their names; default: all",
    )
    group.add_argument(
        "--template",
        metavar="FILE",
        help="make our crops with this template; default: ArcFace's",
    )
    group.add_argument(
        "--extractor", metavar="NAME", help="embed both crops, and compare that too"
    )
    group.add_argument(
        "--checkpoint",
        metavar="DIR",
        help="a trained head over aligned crops, which is scored on both crops by the "
        "annotations in --root; its own extractor embeds them",
    )
    group.add_argument(
        "--weights",
        metavar="DIR",
        help="folder of NAME.safetensors of the extractor; default: what avemo fetch "
        "keeps in the cache directory",
    )
    group.add_argument(
        "--detector-weights",
        metavar="FILE",
        help="yunet_n.safetensors; default: what avemo fetch keeps",
    )
    group.add_argument(
        "--follow-links",
        action="store_true",
        help="follow links that lead out of the folders, which are refused otherwise",
    )
    group = parser.add_argument_group("output")
    group.add_argument("--out", metavar="FILE", help="write the numbers, as JSON")
    group.add_argument(
        "--write-template",
        metavar="FILE",
        help="write the template by which our crops come nearest to the given ones",
    )
    flags.add_quiet(group)
    parser.check = _check_one_network
    return parser


def _check_one_network(parser: CommandParser, args: argparse.Namespace) -> None:
    """End the program where two flags name a network."""
    if args.extractor is not None and args.checkpoint is not None:
        parser.error(
            "--extractor with --checkpoint; expected one of the two, since the head's "
            "own extractor embeds the crops: leave one out"
        )


def add_material_flags(to: argparse._ArgumentGroup) -> None:
    """Add the flags of face crops, sound files and links."""
    to.add_argument(
        "--crops-are",
        choices=(ALIGNED, UNALIGNED),
        default=ALIGNED,
        help="how faces were cropped; part of the feature set's name",
    )
    to.add_argument(
        "--audio-dir",
        metavar="DIR",
        help="sound files VIDEO.wav, before videos' own, or without videos",
    )
    to.add_argument(
        "--fps",
        type=float,
        metavar="N",
        help="rows a second of sound without pictures; default: what its name tells, "
        "as 7-30-1280x720, else a row for each step of its extractor",
    )
    to.add_argument(
        "--follow-links",
        action="store_true",
        help="follow links that lead out of the folders, which are refused otherwise",
    )


def add_extractor_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that name the extractors, their weights and their input."""
    group = parser.add_argument_group("extractors")
    group.add_argument(
        "--visual",
        default="",
        metavar="NAMES",
        help="extractors of faces, as enet_b2_8_best,enet_b0_8_va_mtl, or face_hog, "
        "which needs no weights; avemo extractors lists all",
    )
    group.add_argument(
        "--audio",
        default="",
        metavar="NAMES",
        help="extractors of sound, as wav2vec2_base,vggish; acoustic needs no weights",
    )
    group.add_argument(
        "--weights",
        metavar="DIR",
        help="folder of NAME.safetensors, as avemo convert writes them; default: what "
        "avemo fetch keeps in the cache directory",
    )
    group.add_argument(
        "--size-px",
        type=flags.whole(1, 4096),
        metavar="N",
        help="side that faces are resized to",
    )
    group.add_argument(
        "--hop-s",
        type=float,
        metavar="S",
        help="acoustic: seconds from one vector to the next; default: 0.25",
    )
    group.add_argument(
        "--context-s",
        type=float,
        metavar="S",
        help="acoustic: seconds of sound that a vector describes; default: 1.5",
    )
    group.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        default="float32",
        help="precision of the arithmetic; bfloat16 is for GPU and TPU",
    )
    group.add_argument(
        "--sound",
        choices=("ours", "original"),
        default="ours",
        help="original: channels, chunks and alignment as in the original system",
    )


def add_run_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say how the work is carried out."""
    group = parser.add_argument_group("running")
    group.add_argument(
        "--batch-size",
        type=flags.whole(1, 1_000_000),
        metavar="N",
        help="faces that run at once",
    )
    group.add_argument(
        "--decode-workers",
        type=flags.whole(1, 1024),
        metavar="N",
        help="threads or processes that decode pictures; on Beam of each worker",
    )
    group.add_argument(
        "--decode-in",
        choices=("threads", "processes"),
        help="default: threads on a CPU, processes beside an accelerator",
    )
    group.add_argument(
        "--max-failures",
        type=flags.whole(0, 1_000_000_000),
        metavar="N",
        help="stop when more videos and frames than N failed (on Beam when a set is "
        "done); default: never",
    )
    group.add_argument(
        "--retry-failed",
        action="store_true",
        help="extract videos again that had failed frames or had lost a part",
    )
    flags.add_quiet(group)
    flags.add_compilation_cache(group)
    group = parser.add_argument_group("many machines")
    flags.add_shards(group, "parts of a job array")
    flags.add_beam(group, "the videos")


def check_part(parser: CommandParser, args: argparse.Namespace) -> None:
    """End the program where the job has no such part."""
    try:
        check_shard(num_shards=args.num_shards, shard_index=args.shard_index)
    except ValueError as error:
        parser.error(str(error))
