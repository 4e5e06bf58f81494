"""The flags of ``avemo convert`` and ``avemo fetch``."""

import argparse
import pathlib

from avemo_jax.extractors import EXTRACTORS
from avemo_jax.runtime import flags

_WITH_WEIGHTS = [name for name, one in EXTRACTORS.items() if one.needs_weights]


def parser() -> argparse.ArgumentParser:
    """The parser of ``avemo convert``."""
    parser = flags.command_parser(
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


def fetch_parser() -> argparse.ArgumentParser:
    """The parser of ``avemo fetch``."""
    parser = flags.command_parser(
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
        help="an extractor; thesis: all heads of the original system; or one of them",
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
    return parser
