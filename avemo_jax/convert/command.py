"""The command that converts weights: ``avemo convert``."""

import argparse
from collections.abc import Sequence

from avemo_jax.convert.conversion import convert
from avemo_jax.convert.flags import parser
from avemo_jax.runtime.errors import guarded


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``avemo convert``: 0, or 1 after an error, which is told on stderr."""
    flags = parser()
    args = flags.parse_args(argv)
    return guarded(
        lambda: _run(args),
        prog=flags.prog,
        kept="weights are written at the end, so nothing was",
    )


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
