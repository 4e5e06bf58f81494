"""The flags of ``avemo convert`` and ``avemo fetch``."""

import argparse
import pathlib

from avemo_jax.convert.published_networks import NETWORKS, TOGETHER
from avemo_jax.extractors.published import THESIS_HEADS
from avemo_jax.runtime import flags
from avemo_jax.runtime.command_line import CommandParser, command_parser, did_you_mean

THESIS = "thesis"  # all heads of the original system
_WITH_WEIGHTS = [name for name, one in NETWORKS.items() if one.needs_weights]


def parser() -> CommandParser:
    """The parser of ``avemo convert``."""
    parser = command_parser(
        "convert",
        "Weights of other programs to weights of avemo_jax. No code in them is run.",
        example="avemo convert vggish vggish.pth --pca vggish_pca_params.npz "
        "--out vggish.safetensors\n"
        "avemo convert head expr_mlp.pth --out expr_mlp",
    )
    group = parser.add_argument_group("input")
    group.add_argument(
        "name",
        metavar="NAME",
        help=f"one of {', '.join(_WITH_WEIGHTS)}; or head, for a head of the original",
    )
    group.add_argument(
        "source",
        metavar="SOURCE",
        help="the weights: .pt, .pth, .bin, .ckpt, .safetensors or .onnx",
    )
    group.add_argument(
        "--pca", metavar="FILE", help="vggish: vggish_pca_params.npz as published"
    )
    group.add_argument(
        "--features",
        metavar="A,B",
        help="head: its feature sets, where they cannot be inferred",
    )
    group.add_argument(
        "--faithful",
        action="store_true",
        help="head: evaluate with the original's gaps and smoothing of decisions",
    )
    group = parser.add_argument_group("output")
    flags.add_out(group, "NAME.safetensors; for a head a folder")
    flags.add_overwrite(group, "what stands at --out")
    return parser


def fetch_parser() -> CommandParser:
    """The parser of ``avemo fetch``."""
    parser = command_parser(
        "fetch",
        "Download published weights, check them and convert them.",
        example="avemo fetch enet_b2_8_best wav2vec2_base\n"
        "avemo fetch vggish --from Downloads",
    )
    group = parser.add_argument_group("input")
    group.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="an extractor; yunet_n, the face detector; hsemotion: all that this "
        "model needs; thesis: all heads of the original system; or one of them",
    )
    group.add_argument(
        "--list", action="store_true", help="show all names and what is there"
    )
    group.add_argument(
        "--from",
        dest="given",
        type=pathlib.Path,
        metavar="PATH",
        help="the published file, or a folder with it, instead of a download; "
        "checked in the same way",
    )
    group.add_argument(
        "--source",
        metavar="FILE",
        help="another of the published files, as --list names them",
    )
    group = parser.add_argument_group("output")
    flags.add_overwrite(group, "weights that are there")
    flags.add_quiet(group)
    parser.check = _check_fetch
    return parser


def _check_fetch(parser: CommandParser, args: argparse.Namespace) -> None:
    """Ends the program if names are unknown, or flags do not fit them."""
    if args.list:
        return
    known = [*NETWORKS, *TOGETHER, THESIS, *(head.name for head in THESIS_HEADS)]
    if unknown := [name for name in args.names if name not in known]:
        parser.error(
            f"unknown name {unknown[0]!r}; {did_you_mean(unknown[0], known)}expected "
            f"one of {', '.join((*NETWORKS, *TOGETHER))}, {THESIS}, or one of its "
            "heads: --list shows all"
        )
    args.names = [part for name in args.names for part in TOGETHER.get(name, (name,))]
    if not args.names:
        parser.error("nothing to fetch; expected a NAME: --list shows all")
    if len(args.names) > 1 and (args.given or args.source):
        parser.error(
            f"{len(args.names)} names; expected one with --from and --source: fetch "
            "one after the other"
        )
    if args.source and args.names[0] not in NETWORKS:
        parser.error(
            f"--source with {args.names[0]}, which has one source; expected it with an "
            "extractor: leave it out"
        )
    if args.names[0] == THESIS and args.given and not args.given.is_dir():
        parser.error(
            f"--from {args.given}; expected a folder for {THESIS}: name the folder of "
            "the files"
        )
