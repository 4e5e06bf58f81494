"""annotations.vtt: what faces show, as subtitles that any player lays over the video.

WebVTT: The Web Video Text Tracks Format, W3C. There is one cue for each stretch of time
in which nothing changes, with a line for each face; so cues do not overlap, and serve
as chapters too.
"""

import pathlib
from collections.abc import Iterator

from avemo_jax.prediction.predicted import Predicted
from avemo_jax.prediction.tiers import Span, Tier, tiers

_ESCAPED = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def write_subtitles(predicted: Predicted, path: pathlib.Path) -> tuple[str, ...]:
    """Write the classes and active units of an input's faces as subtitles.

    Args:
        predicted: What is predicted of the input.
        path: The file.

    Returns:
        What a user should know of the file, in words.

    Raises:
        OSError: If the file cannot be written.
    """
    found = list(cues(tiers(predicted)))
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write("WEBVTT\n")
        for number, cue in enumerate(found, start=1):
            times = f"{_clock(cue.begin_ms)} --> {_clock(cue.end_ms)}"
            file.write(f"\n{number}\n{times}\n{cue.label}\n")
    return () if found else ("annotations.vtt is empty: there is nothing to show",)


def cues(made: list[Tier]) -> Iterator[Span]:
    """The text of each stretch of time in which it stays the same.

    Args:
        made: The tiers; those of values are left out.
    """
    changes: list[tuple[int, int, str]] = []  # when, number of the tier, its label
    labelled = [tier for tier in made if tier.labels]
    for number, tier in enumerate(labelled):
        for span in tier.spans:
            changes.append((span.begin_ms, number, span.label))
            changes.append((span.end_ms, number, ""))
    # Of one tier and moment, what ends comes before what begins.
    changes.sort(key=lambda change: (change[0], change[1], change[2] != ""))
    now = [""] * len(labelled)
    begun, shown = 0, ""
    for place, (at, number, label) in enumerate(changes):
        now[number] = label
        if place + 1 < len(changes) and changes[place + 1][0] == at:
            continue
        text = _text(labelled, now)
        if text != shown:
            if shown:
                yield Span(begun, at, shown)
            begun, shown = at, text


def _text(labelled: list[Tier], now: list[str]) -> str:
    """A line for each face: its number, its classes, its active units."""
    lines: dict[int, list[str]] = {}
    for tier, label in zip(labelled, now, strict=True):
        if label:
            lines.setdefault(tier.face_id, []).append(label)
    return "\n".join(
        _escaped(f"{face_id}: {' '.join(labels)}") for face_id, labels in lines.items()
    )


def _escaped(text: str) -> str:
    return "".join(_ESCAPED.get(letter, letter) for letter in text)


def _clock(ms: int) -> str:
    seconds, rest = divmod(ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}.{rest:03d}"
