"""Scores as text for people to read, and as CSV."""

import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

from avemo_jax.challenge.score.scores import SCORED_FRAMES, TITLES
from avemo_jax.data.listing import first_of
from avemo_jax.metrics.intervals import ENDS, SAID, ends_in_csv, few_words
from avemo_jax.runtime.plain_text import in_csv, one_line
from avemo_jax.runtime.tables.writing import csv_lines

_FIELDS = (
    "predictions",
    "frames",
    "video",
    "score",
    "part",
    "value",
    "ci95_low",
    "ci95_high",
    "bca95_low",
    "bca95_high",
    "num_frames",
)
_NAMED = 5  # videos in a line


def text(block: dict[str, Any], *, per_video: bool) -> str:
    """The scores of one file as text; ``per_video`` adds those of each video."""
    lines = [f"{block['predictions']}: {block['form']}"]
    if "threshold" in block:
        lines.append(f"  threshold: {_threshold(block['threshold'])}")
    if "lacking" in block:
        count, lacking = block["num_outputs"], block["lacking"]
        lines.append(
            f"  over {count} of {count + len(lacking)}, as the file has no "
            f"{', '.join(lacking)}, which is left out of the mean"
        )
    lines += _table(block["scores"])
    lines += _few(block["scores"])
    lines += _coverage(block["coverage"])
    if per_video:
        lines += _videos(block["per_video"])
    return "\n".join(lines + [f"  note: {note}" for note in block["notes"]])


def difference_text(names: Sequence[str], block: dict[str, Any]) -> str:
    """The difference of two files' scores as text."""
    lines = [f"difference: {names[0]} less {names[1]}, on the same frames"]
    return "\n".join(lines + _table(block) + _few(block))


def write_csv(path: pathlib.Path, report: dict[str, Any]) -> None:
    """Write a line for each score of each set of frames, overall and by video."""
    with csv_lines(path, _FIELDS) as writer:
        for one in report["files"]:
            for name in SCORED_FRAMES:
                writer.writerows(
                    _rows(one["predictions"], name, "", one["scores"][name])
                )
            for row in one["per_video"]:
                for name in SCORED_FRAMES:
                    found = _rows(one["predictions"], name, row["video"], row[name])
                    writer.writerows(found)
        for name in SCORED_FRAMES if "difference" in report else ():
            writer.writerows(_rows("difference", name, "", report["difference"][name]))


def _scores(block: dict[str, Any]) -> Iterator[tuple[str, str, float, Any, Any]]:
    """Name, output (or ""), value and intervals (or None) of each score."""
    beside = (*ENDS, "_share_above")
    for name, value in block.items():
        if name in ("num_frames", SAID) or name.endswith(beside):
            continue
        ends = [block.get(name + ending) for ending in ENDS]
        if isinstance(value, dict):
            for part, each in value.items():
                yield name, part, each, *(one and one[part] for one in ends)
        else:
            yield name, "", value, *ends


def _rows(
    predictions: str, frames: str, video: str, block: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    for name, part, value, *ends in _scores(block):
        of = {"predictions": predictions, "frames": frames, "video": video}
        row = {name: in_csv(value) for name, value in of.items()}
        row |= {"score": name, "part": part, "value": repr(value)}
        row |= ends_in_csv(*ends)
        yield row | {"num_frames": block["num_frames"]}


def _table(scores: dict[str, Any]) -> list[str]:
    """Lines with the scores of both sets of frames side by side."""
    wide = any(name.endswith("_ci95") for one in scores.values() for name in one)
    column = 26 if wide else 18
    head = "".join(f"{TITLES[name]:>{column}}" for name in SCORED_FRAMES)
    count = "".join(
        f"{scores[name]['num_frames']:>{column},}" for name in SCORED_FRAMES
    )
    lines = [f"  {'':<18}{head}", f"  {'frames':<18}{count}"]
    both = [
        {(n, p): (v, e) for n, p, v, e, _ in _scores(scores[s])} for s in SCORED_FRAMES
    ]
    for name, part in both[0]:
        cells = [_cell(*each[name, part]) for each in both]
        label = f"  {part}" if part else name
        lines.append(f"  {label:<18}" + "".join(f"{cell:>{column}}" for cell in cells))
    return lines


def _few(scores: dict[str, Any]) -> list[str]:
    """A line for each set of few videos with the BCa intervals of its whole scores."""
    lines = []
    for name, block in scores.items():
        whole = {n: (block, n) for n, part, *_ in _scores(block) if not part}
        if words := few_words(whole):
            lines.append(f"  {TITLES[name]}: {words}")
    return lines


def _cell(value: float, ends: Any) -> str:
    shown = f"{value:.4f}"
    return shown if ends is None else f"{shown} [{ends[0]:.4f}, {ends[1]:.4f}]"


def _threshold(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {each:g}" for name, each in value.items())
    return str(value)


def _coverage(found: dict[str, Any]) -> list[str]:
    """Lines on what fits the annotations, and what does not."""
    labelled, predicted = found["labelled_frames"], found["labelled_frames_predicted"]
    share = 100 * predicted / labelled if labelled else 0.0
    lines = [
        f"  videos: {found['videos_predicted']} of {found['videos']} predicted; "
        f"labelled frames: {predicted:,} of {labelled:,} ({share:.2f} %)"
    ]
    for key, words in (
        ("videos_missing", "videos without any prediction, counted as neutral"),
        ("videos_surplus", "predicted, but not among the annotated ones"),
        ("videos_one_frame_longer", "last prediction one frame after the last label"),
        ("videos_one_frame_shorter", "last prediction one frame before the last label"),
        (
            "videos_longer_by_more",
            "predictions more than one frame after the last label",
        ),
    ):
        if names := found[key]:
            lines.append(f"  {words}: {len(names)} ({first_of(names, _NAMED)})")
    for key, words in (
        ("labelled_frames_missing", "labelled frames filled from their neighbours"),
        ("frames_after_the_last_label", "predictions after the last label, unused"),
        ("filled_in_the_file", "frames that the file says are filled, filled anew"),
    ):
        if found[key]:
            lines.append(f"  {words}: {found[key]:,}")
    return lines


def _videos(rows: list[dict[str, Any]]) -> list[str]:
    """A line for each video, with its scores over all labelled frames."""
    lines = []
    for row in rows:
        block = row["all_labelled"]
        scores = [f"{n} {v:.4f}" for n, part, v, *_ in _scores(block) if not part]
        shown = ", ".join(scores) or "no labels"
        video = one_line(row["video"])
        lines.append(f"  {video}: {block['num_frames']:,} frames, {shown}")
    return ["  by video, over all labelled frames:", *(f"  {line}" for line in lines)]
