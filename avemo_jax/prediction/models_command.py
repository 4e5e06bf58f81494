"""The command that lists the models of ``predict``: ``avemo models``."""

import json
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from avemo_jax.faces.published import DETECTOR
from avemo_jax.prediction.model_table import DEFAULT, PUBLISHED, PublishedModel
from avemo_jax.prediction.models_flags import parser
from avemo_jax.prediction.weights_at_hand import download_mb, missing_weights
from avemo_jax.runtime.errors import guarded

_WIDTH = 88
_OWN = (
    "A model of your own training is named by its folder: a run (--workdir of avemo "
    "train), its best_model/, a blend or a head that avemo convert wrote, as avemo "
    "predict VIDEO --model runs/expr_mlp. Its card says its tasks, features and "
    "thresholds. An extractor with outputs of its own is named by its name."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``avemo models``: 0, or 1 after an error, which is told on stderr."""
    flags = parser()
    args = flags.parse_args(argv)
    return guarded(
        lambda: _print_json() if args.json else _print_text(),
        prog=flags.prog,
        kept="the list writes nothing",
    )


def _print_json() -> None:
    print(json.dumps([_facts(model) for model in PUBLISHED.values()], indent=2))


def _facts(model: PublishedModel) -> dict[str, Any]:
    needs = _needs(model)
    return {
        "name": model.name,
        "default": model.name == DEFAULT,
        "what": model.what,
        "limits": model.limits,
        "tasks": list(model.tasks),
        "takes_sound": model.hears,
        "trained_on": model.data,
        "reported": [
            {"task": one.task, "score": one.score, "by": one.by} for one in model.scores
        ],
        "licence": model.licence,
        "extractors": list(model.extractors),
        "heads": list(model.head_names),
        "detector": DETECTOR.name,
        "download_mb": download_mb(needs),
        "missing": list(missing_weights(needs)),
    }


def _needs(model: PublishedModel) -> tuple[str, ...]:
    """Names of all weights that it needs, the face detector's first."""
    return (DETECTOR.name, *model.weights())


def _print_text() -> None:
    for line in _lines():
        print(line)


def _lines() -> Iterator[str]:
    rows = [("NAME", "TASKS", "SOUND", "DOWNLOAD", "THERE")]
    for model in PUBLISHED.values():
        needs = _needs(model)
        left = missing_weights(needs)
        there = f"{len(needs) - len(left)} of {len(needs)}" if left else "yes"
        sound = "yes" if model.hears else "no"
        size = f"{download_mb(needs)} MB"
        rows.append((model.name, ", ".join(model.tasks), sound, size, there))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()
    for model in PUBLISHED.values():
        yield ""
        yield from _details(model)
    yield ""
    yield from textwrap.wrap(_OWN, _WIDTH)


def _details(model: PublishedModel) -> Iterator[str]:
    yield f"{model.name}{' (default)' if model.name == DEFAULT else ''}"
    facts = [("what", model.what)]
    if model.limits:
        facts.append(("limits", model.limits))
    facts.append(("trained on", model.data))
    for one in model.scores:
        by = f"; reported by {one.by}" if one.by else ""
        facts.append((one.task, f"{one.score}{by}"))
    facts.append(("licence", model.licence))
    needs = ", ".join(_needs(model)[: 1 + len(model.extractors)])
    heads = f", and {len(model.head_names)} heads" if model.heads else ""
    facts.append(("needs", f"{needs}{heads}"))
    if left := missing_weights(_needs(model)):
        facts.append(("to fetch", f"avemo fetch {' '.join(left)}"))
    width = max(len(name) for name, _ in facts)
    for name, text in facts:
        yield from textwrap.wrap(
            text,
            _WIDTH,
            initial_indent=f"  {name:<{width}}  ",
            subsequent_indent=" " * (width + 4),
            break_long_words=False,
            break_on_hyphens=False,
        )
