"""The agreement of two codings as text for people to read, and as CSV."""

import pathlib
from collections.abc import Iterator
from typing import Any

from avemo_jax.agreement.compare import SCORES
from avemo_jax.data.listing import first_of
from avemo_jax.metrics.intervals import ENDS, ends_in_csv, few_words
from avemo_jax.runtime.plain_text import in_csv, one_line
from avemo_jax.runtime.tables.writing import csv_lines

_TITLES = {
    "agreement": "agreement",
    "kappa": "kappa",
    "agreement_present": "when present",
    "icc": "ICC(2,1)",
    "ccc": "CCC",
    "difference": "difference",
}
_HEADS = {"classes": "classes", "unit": "present or absent", "values": "values"}
_FIELDS = (
    *("variable", "kind", "label", "video", "score", "value"),
    *("ci95_low", "ci95_high", "bca95_low", "bca95_high", "num_frames"),
)
_WIDE, _NARROW = 24, 14  # characters of a column, with and without intervals
_NAMED = 5  # names in a line


def text(report: dict[str, Any], *, per_video: bool) -> str:
    """The report for people.

    Args:
        report: What ``compare`` found.
        per_video: Add the scores of each video.
    """
    count = len(report["videos"])
    videos = f"{count} video{'s' * (count != 1)}"
    lines = [f"{report['first']} against {report['second']}: {videos}"]
    blocks = report["variables"]
    wide = any(name.endswith("_ci95") for one in blocks for name in one)
    for kind, names in SCORES.items():
        own = [one for one in blocks if one["kind"] == kind]
        if own:
            column = _WIDE if wide else _NARROW
            head = "".join(f"{_TITLES[name]:>{column}}" for name in names)
            lines.append(f"  {_HEADS[kind]:<20}{'frames':>9}{head}")
        for one in own:
            lines += _rows(one, names, _WIDE if wide else _NARROW)
    for one in blocks:
        scores = {_TITLES[name]: (one, name) for name in SCORES[one["kind"]]}
        if words := few_words(scores):
            lines.append(f"  {one_line(one['name'])}: {words}")
    lines += _left_out(report)
    if not wide:
        lines.append(
            "  no intervals: they are over videos, of which two or more are needed"
        )
    if per_video:
        lines += _videos(blocks)
    return "\n".join(lines + [f"  note: {note}" for note in report["notes"]])


def write_csv(path: pathlib.Path, report: dict[str, Any]) -> None:
    """Write a line for each score of each variable, over all and by video."""
    with csv_lines(path, _FIELDS) as writer:
        for one in report["variables"]:
            for block in (one, *one["per_video"]):
                for name, label, value, *ends in _scores(block, one["kind"]):
                    row = {"variable": one["name"], "kind": one["kind"]}
                    row |= {"label": label, "video": block.get("video", "")}
                    row = {key: in_csv(text) for key, text in row.items()}
                    row |= {"score": name, "num_frames": block["num_frames"]}
                    row["value"] = "" if value is None else repr(value)
                    writer.writerow(row | ends_in_csv(*ends))


def _scores(
    block: dict[str, Any], kind: str
) -> Iterator[tuple[str, str, float | None, Any, Any]]:
    """Name, label (or ""), value and intervals (or None) of each score."""
    names = SCORES[kind]
    per_class = ("kappa_per_class", "agreement_per_class") if kind == "classes" else ()
    for name in names:
        yield name, "", block[name], *(block.get(name + ending) for ending in ENDS)
    for name in per_class:
        ends = [block.get(name + ending, {}) for ending in ENDS]
        for label, value in block[name].items():
            yield name, label, value, *(one.get(label) for one in ends)


def _rows(block: dict[str, Any], names: tuple[str, ...], column: int) -> list[str]:
    """Lines of one variable; of classes, one for each of them too."""
    cells = [_cell(block[name], block.get(f"{name}_ci95")) for name in names]
    shown = "".join(f"{cell:>{column}}" for cell in cells)
    lines = [f"  {one_line(block['name']):<20}{block['num_frames']:>9,}{shown}"]
    if block["kind"] != "classes":
        return lines
    for label, frames in block["frames_first"].items():
        cells = [
            _cell(block[name][label], block.get(f"{name}_ci95", {}).get(label))
            for name in ("agreement_per_class", "kappa_per_class")
        ]
        shown = "".join(f"{cell:>{column}}" for cell in cells)
        both = f"{frames:,}/{block['frames_second'][label]:,}"
        lines.append(f"    {one_line(label):<16}{both:>11}{shown}")
    return lines


def _cell(value: float | None, ends: Any) -> str:
    if value is None:
        return "-"
    shown = f"{value:.3f}"
    return shown if ends is None else f"{shown} [{ends[0]:.3f}, {ends[1]:.3f}]"


def _left_out(report: dict[str, Any]) -> list[str]:
    """Lines on what only one coding has."""
    lines = []
    for which in ("first", "second"):
        path = report[which]
        counts = {
            one["name"]: one[f"frames_only_{which}"]
            for one in report["variables"]
            if one[f"frames_only_{which}"]
        }
        if counts:
            told = first_of([f"{name} {n:,}" for name, n in counts.items()], _NAMED)
            lines.append(f"  frames that only {path} has coded, left out: {told}")
        for key, words in (
            ("videos_only_in", "videos"),
            ("variables_only_in", "variables"),
        ):
            if names := report[f"{key}_{which}"]:
                told = first_of(names, _NAMED)
                lines.append(f"  {words} that only {path} has: {len(names)} ({told})")
    return lines


def _videos(blocks: list[dict[str, Any]]) -> list[str]:
    """A line for each variable of each video."""
    lines = ["  by video:"]
    for one in blocks:
        for row in one["per_video"]:
            names = SCORES[one["kind"]]
            told = ", ".join(f"{_TITLES[n]} {_cell(row[n], None)}" for n in names)
            video = one_line(row["video"])
            frames = f"{row['num_frames']:,} frames"
            lines.append(f"    {video}, {one_line(one['name'])}: {frames}, {told}")
    return lines
