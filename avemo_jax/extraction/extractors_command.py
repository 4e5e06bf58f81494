"""The command that lists all extractors, of this package and of plug-ins."""

from collections.abc import Sequence

from avemo_jax.extraction.flags import extractors_parser
from avemo_jax.extractors import EXTRACTORS, Extractor, PluginError, plugins
from avemo_jax.runtime.errors import SOME_FAILED, guarded


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``avemo extractors``.

    Returns:
        0: all are usable. 3: some plug-ins are faulty, and their errors are listed.
    """
    flags = extractors_parser()
    flags.parse_args(argv)
    return guarded(_run, prog=flags.prog, kept="the list writes nothing")


def _run() -> int:
    rows = [("NAME", "KIND", "DIM", "INPUT", "FROM")]
    rows += [_row(known, "avemo_jax") for known in EXTRACTORS.values()]
    faulty = []
    for name in plugins.plugin_names():
        try:
            known = plugins.load_plugin(name, ours=EXTRACTORS)
        except PluginError as error:
            faulty.append(str(error))
        else:
            assert known is not None
            origin = known.origin
            rows.append(_row(known, f"{origin.distribution} {origin.version}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())
    for text in faulty:
        print(f"not usable: {text}")
    return SOME_FAILED if faulty else 0


def _row(known: Extractor, place: str) -> tuple[str, str, str, str, str]:
    return known.name, known.kind, str(known.dim), known.default_input, place
