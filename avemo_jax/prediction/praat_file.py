"""annotations.TextGrid: tiers for Praat, in its long text format.

P. Boersma and D. Weenink, Praat: doing phonetics by computer, manual, "TextGrid file
formats". Intervals of a tier follow each other from the start to the end, so that
there are empty ones between the labels.
"""

import pathlib
from collections.abc import Iterator

from avemo_jax.prediction.predicted import Predicted
from avemo_jax.prediction.tiers import Span, Tier, end_ms, tiers


def write_praat(predicted: Predicted, path: pathlib.Path) -> tuple[str, ...]:
    """Write the tiers of an input as a TextGrid, from 0 s to its last frame's end.

    Args:
        predicted: What is predicted of the input.
        path: The file.

    Returns:
        Nothing that a user should know.

    Raises:
        OSError: If the file cannot be written.
    """
    made, end = tiers(predicted), end_ms(predicted)
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for line in _lines(made, end):
            file.write(line + "\n")
    return ()


def _lines(made: list[Tier], end: int) -> Iterator[str]:
    yield 'File type = "ooTextFile"'
    yield 'Object class = "TextGrid"'
    yield ""
    yield "xmin = 0"
    yield f"xmax = {_seconds(end)}"
    yield "tiers? <exists>"
    yield f"size = {len(made)}"
    yield "item []:"
    for number, tier in enumerate(made, start=1):
        spans = _without_gaps(tier.spans, end)
        yield f"    item [{number}]:"
        yield '        class = "IntervalTier"'
        yield f"        name = {_quoted(tier.name)}"
        yield "        xmin = 0"
        yield f"        xmax = {_seconds(end)}"
        yield f"        intervals: size = {len(spans)}"
        for place, span in enumerate(spans, start=1):
            yield f"        intervals [{place}]:"
            yield f"            xmin = {_seconds(span.begin_ms)}"
            yield f"            xmax = {_seconds(span.end_ms)}"
            yield f"            text = {_quoted(span.label)}"


def _without_gaps(spans: tuple[Span, ...], end: int) -> list[Span]:
    """The spans with empty ones between them, from 0 to the end."""
    made, at = [], 0
    for span in (*spans, Span(end, end, "")):
        if span.begin_ms > at:
            made.append(Span(at, span.begin_ms, ""))
        if span.end_ms > span.begin_ms:
            made.append(span)
        at = span.end_ms
    return made


def _seconds(ms: int) -> str:
    """Milliseconds as seconds, exact."""
    return f"{ms // 1000}.{ms % 1000:03d}"


def _quoted(text: str) -> str:
    """Text as Praat writes it, its quotes doubled."""
    doubled = text.replace('"', '""')
    return f'"{doubled}"'
