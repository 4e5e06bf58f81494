"""The command that converts weights: ``avemo convert NAME SOURCE OUT``."""

import argparse
from collections.abc import Sequence

from avemo_jax.convert.conversion import convert
from avemo_jax.extractors import EXTRACTORS
from avemo_jax.runtime.errors import guarded


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``avemo convert``: 0, or 1 after an error, which is told on stderr."""
    args = _parser().parse_args(argv)
    return guarded(lambda: _run(args))


def _run(args: argparse.Namespace) -> None:
    """Convert one file, and say what came out."""
    features = None
    if args.features is not None:
        features = [name.strip() for name in args.features.split(",")]
    done = convert(
        args.name,
        args.source,
        args.out,
        pca=args.pca,
        features=features,
        faithful=args.faithful,
        overwrite=args.overwrite,
    )
    print(f"{done.out}: {done.name} ({done.what})")
    print(f"  {done.num_tensors} tensors, {done.num_parameters:,} values")
    for note in done.notes:
        print(f"  {note}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="avemo convert",
        description="Weights of other programs to weights of avemo_jax. No code in "
        "them is run.",
    )
    parser.add_argument(
        "name",
        metavar="NAME",
        help=f"one of {', '.join(EXTRACTORS)}; or head, for a head of the original",
    )
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="the weights: .pt, .pth, .bin, .ckpt, .safetensors or .onnx",
    )
    parser.add_argument(
        "out", metavar="OUT", help="name.safetensors; for a head a folder"
    )
    parser.add_argument(
        "--pca", metavar="FILE", help="vggish: vggish_pca_params.npz as published"
    )
    parser.add_argument(
        "--features",
        metavar="A,B",
        help="head: its feature sets, where they cannot be inferred",
    )
    parser.add_argument(
        "--faithful",
        action="store_true",
        help="head: evaluate with the original's gaps and smoothing of decisions",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace what stands at OUT"
    )
    return parser
