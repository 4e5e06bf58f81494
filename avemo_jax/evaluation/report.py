"""The scores of a run as a small table of plain text."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from avemo_jax.metrics.ceilings import ceiling_notes, metric_titles
from avemo_jax.metrics.intervals import few_words
from avemo_jax.packing.demo.demo import DEMO_TITLE
from avemo_jax.tasks import get_task

_BLOCKS = ("raw", "smoothed", "tuned_on_reported", "per_video")
Row = tuple[str, ...]


def data_title(results: Mapping[str, Any], *, whole: bool = True) -> str:
    """What titles and tables call the data: the demo corpus, or the store's path.

    Args:
        results: Content of results.json; ``data`` is "demo", a path, or a mapping with
            ``path`` and ``fingerprint``.
        whole: Give the whole path; False: the name of the store's folder.
    """
    if results["synthetic"]:
        return DEMO_TITLE
    data = results["data"]
    path = str(data["path"] if isinstance(data, Mapping) else data)
    name = path if whole else pathlib.PurePath(path).name or path
    if isinstance(data, Mapping):
        return f"{name} ({str(data['fingerprint'])[:8]})"
    return name


def model_title(head: str, features: Sequence[str]) -> str:
    """What titles and tables call a model: "mlp on SET + SET".

    Args:
        head: Kind of the head, or of all heads of a blend, joined by " + ".
        features: Full names of its feature sets.
    """
    return f"{head} on {' + '.join(features)}"


def frame_sets(results: Mapping[str, Any]) -> dict[str, str]:
    """Titles of the sets of frames that are scored, by their names.

    Args:
        results: Content of results.json. Without ``faces``, as in heads of sound alone,
            the frames that have features have no crops.
    """
    first = "with crop" if results.get("faces", True) else "with features"
    return {"with_crop": first, "all_labelled": "all labelled"}


def scores_table(results: Mapping[str, Any]) -> str:
    """The scores of results.json, a row for each way of post-processing.

    Names the data, the split, and on what smoothing and thresholds were chosen. Behind
    a mean over seeds stands their standard deviation.

    Args:
        results: Content of results.json. ``mode`` and ``half_width_frames`` stand
            beside the sets of frames in each block of ``metrics``, one value or one per
            seed. A block that is missing has no row, a score that is missing is "-".
            ``chosen_on`` is "dev", or None where nothing was chosen;
            ``chosen_on_reason`` may say why.
    """
    task = get_task(results["task"])
    features = results["features"]
    names = [features] if isinstance(features, str) else features
    about = [model_title(results["head"], names), *legend_of(results)]
    sets = frame_sets(results)
    rows: list[Row] = [("", *sets.values())]
    scores, counts = score_rows(results)
    for title, by_block in scores.items():
        rows.append((title, *[""] * len(sets)))
        rows += [(f"  {name}", *cells) for name, *cells in by_block]
    lines = [
        f"{task.full_title}: {data_title(results)}, {results['split']}",
        "; ".join(about),
        "",
    ]
    return "\n".join([*lines, *_aligned([*rows, *counts]), "", *notes_of(results)])


def score_rows(
    results: Mapping[str, Any],
) -> tuple[dict[str, list[Row]], list[Row]]:
    """The rows of a table of scores, with a cell for each set of frames.

    Args:
        results: Content of results.json, as :func:`scores_table` takes it.

    Returns:
        By the title of each score a row for each way of post-processing, which begins
        with its name; and rows with the numbers of frames and videos.
    """
    task, metrics = get_task(results["task"]), results["metrics"]
    blocks = {name: metrics[name] for name in _BLOCKS if metrics.get(name)}
    sets = frame_sets(results)
    scores: dict[str, list[Row]] = {}
    for metric, title in metric_titles(task).items():
        scores[title] = [
            (
                f"{name}{_smoothing(block)}",
                *(score_words(block.get(frames) or {}, metric) for frames in sets),
            )
            for name, block in blocks.items()
        ]
    counted = ("frames", "videos") if "per_video" in blocks else ("frames",)
    counts = [
        (name, *(_count(blocks, frames, f"num_{name}") for frames in sets))
        for name in counted
    ]
    return scores, counts


def legend_of(results: Mapping[str, Any]) -> list[str]:
    """What the numbers of a table of scores are: means, deviations, intervals."""
    seeds, ensemble = results["num_seeds"], results.get("ensemble")
    words = []
    if ensemble is not None:
        heads, over = ensemble["heads"], ensemble["over"]
        words.append(f"mean scores of {heads} heads, over {over}")
    if seeds > 1:
        words.append(f"mean ± standard deviation of {seeds} seeds")
    if _has_intervals(results["metrics"]):
        words.append("[95 % interval over videos]")
    return words


def sweep_table(rows: Sequence[Mapping[str, Any]], criterion: str) -> str:
    """What each setting of a sweep scored on dev, the best marked.

    Args:
        rows: Settings with ``dev_mean`` and ``dev_std``.
        criterion: Name of the score.
    """
    names = list(rows[0])[:-2]
    lines = ["  ".join([f"{n:>13}" for n in names] + [f"dev {criterion}"])]
    best = max(rows, key=lambda row: row["dev_mean"])
    for row in rows:
        cells = [f"{row[name]:>13g}" for name in names]
        mark = "  <- best" if row is best else ""
        cells.append(f"{row['dev_mean']:.4f} ± {row['dev_std']:.4f}{mark}")
        lines.append("  ".join(cells))
    return "\n".join(lines)


def score_words(scores: Mapping[str, Any], metric: str) -> str:
    """One score, with its deviation and its interval where it has them.

    Args:
        scores: Scores of a set of frames.
        metric: Name of the score; "-" stands for one that is missing.
    """
    if metric not in scores:
        return "-"
    deviation = scores.get(f"{metric}_std")
    behind = "" if deviation is None else f" ± {deviation:.3f}"
    if interval := scores.get(f"{metric}_ci95"):
        behind += f" [{interval[0]:.3f}, {interval[1]:.3f}]"
    return f"{scores[metric]:.3f}{behind}"


def _has_intervals(metrics: Mapping[str, Any]) -> bool:
    """Whether any score has an interval."""
    names = ("with_crop", "all_labelled")
    sets = [metrics[b].get(f) or {} for b in _BLOCKS if b in metrics for f in names]
    return any(name.endswith("_ci95") for scores in sets for name in scores)


def _few(results: Mapping[str, Any]) -> list[str]:
    """The headline's BCa intervals over the first set of frames, of few videos."""
    task, metrics = get_task(results["task"]), results["metrics"]
    first, title = next(iter(frame_sets(results))), metric_titles(task)[task.headline]
    told = {}
    for name in ("raw", "smoothed", "per_video"):
        block = (metrics.get(name) or {}).get(first) or {}
        told[f"{title}, {name}"] = (block, task.headline)
    words = few_words(told)
    return [f"{words}."] if words else []


def _smoothing(block: Mapping[str, Any]) -> str:
    """The smoothing of a block, for its row; empty where it has none."""
    if "mode" not in block:
        return ""
    modes, widths = block["mode"], block["half_width_frames"]
    if isinstance(modes, str):
        return f", {in_words(modes, widths)}"
    pairs = list(
        dict.fromkeys(in_words(*pair) for pair in zip(modes, widths, strict=True))
    )
    return f", {pairs[0]}" if len(pairs) == 1 else f", {len(pairs)} windows by seed"


def in_words(mode: str, half_width: int) -> str:
    """One smoothing as text.

    Args:
        mode: "mean", "median", "gaussian" or "none".
        half_width: Frames on each side.
    """
    return "no window" if mode == "none" else f"{mode} ±{half_width}"


def _count(blocks: Mapping[str, Any], frames: str, name: str) -> str:
    """How many frames, or videos, were scored."""
    for block in blocks.values():
        if name in (block.get(frames) or {}):
            return f"{block[frames][name]:,}"
    return "-"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines with the first column at the left, the others at the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for name, *cells in rows:
        right = [
            cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)
        ]
        lines.append("   ".join([name.ljust(widths[0]), *right]).rstrip())
    return lines


def notes_of(results: Mapping[str, Any]) -> list[str]:
    """Sentences on what was chosen, and on which split.

    Args:
        results: Content of results.json, as :func:`scores_table` takes it.
    """
    blocks = {name for name in _BLOCKS if results["metrics"].get(name)}
    chosen_on, notes = results.get("chosen_on"), []
    au = get_task(results["task"]).kind == "multilabel"
    what = "window and thresholds" if au else "window"
    fitted = f"raw: thresholds, smoothed: {what}" if au else f"smoothed: {what}"
    if "smoothed" in blocks and chosen_on:
        by = ", by whole videos" if results.get("chosen_by") == "video" else ""
        notes.append(f"{fitted} chosen on {chosen_on}{by}.")
        notes += _more_chosen(results)
    elif "smoothed" in blocks:
        reason = results.get("chosen_on_reason")
        because = f": {reason}" if reason else ""
        notes.append(f"smoothed: fixed {what}, nothing was chosen{because}.")
        notes += _weights(results)
    notes += _few(results)
    if "per_video" in blocks:
        notes.append("per_video: mean of each video's smoothed scores, scored once.")
    if "smoothed" in blocks and "frame_rate" in results:
        notes.append(rate_words(results))
    if "tuned_on_reported" in blocks:
        notes.append(
            f"tuned_on_reported: {what} chosen on {results['split']} itself, "
            "so too good to report."
        )
    notes += [f"{words}." for words in calibration_words(results)]
    notes += [f"{words}." for words in sets_words(results)]
    return [*notes, *(f"{words}." for words in ceilings_of(results))]


def calibration_words(results: Mapping[str, Any]) -> list[str]:
    """The error of probabilities before and after calibration; empty without it.

    Args:
        results: Content of results.json, whose ``calibration`` may be missing.
    """
    found = results.get("calibration", {})
    if "fitted" not in found:
        return []
    name = "ece" if get_task(results["task"]).kind == "multiclass" else "ece_mean"
    before, after = (
        found[block]["with_crop"][name] for block in ("smoothed", "smoothed_scaled")
    )
    which = "those as smoothed"
    if found["written"] != "smoothed":
        which = "calibrated ones"
    return [
        f"probabilities: error of calibration (ECE) {before:.3f}, calibrated on "
        f"{results['chosen_on']} {after:.3f}; written are {which}"
    ]


def sets_words(results: Mapping[str, Any]) -> list[str]:
    """How often sets of classes hold the right one; empty where none were asked for.

    Args:
        results: Content of results.json, whose ``class_sets`` may be missing.
    """
    found = results.get("class_sets")
    if not found or "coverage" not in (scores := found["with_crop"]):
        return []
    begin = f"sets of classes at level {found['level']:g}"
    videos = f"{found['num_videos_chosen_on']} videos of {results['chosen_on']}"
    if found["all_classes"]:
        return [
            f"{begin}: all classes, as there are {videos}, and the level needs "
            f"{found['least_videos']}"
        ]
    return [
        f"{begin}, from {videos}: the right class is in "
        f"{score_words(scores, 'coverage')}, "
        f"{score_words(scores, 'size')} classes are in one; means over videos"
    ]


def ceilings_of(results: Mapping[str, Any]) -> list[str]:
    """What some outputs' lack of frames means for the scores; empty where none lacks.

    Args:
        results: Content of results.json, whose ``ceiling`` may be missing.
    """
    task = get_task(results["task"])
    return ceiling_notes(task, results.get("ceiling", {}), frame_sets(results))


def rate_words(results: Mapping[str, Any]) -> str:
    """Which frames were embedded, how many, and what all of them would have given.

    Args:
        results: Content of results.json, with the block ``frame_rate``.
    """
    rate = results["frame_rate"]
    lists = [one["strides"] for one in rate["per_seed"]]
    each = dict.fromkeys(", ".join(map(str, strides)) for strides in lists)
    what = f"rule {rate['rule']!r}, strides {' | '.join(each)}"
    words = f"{rate['share_embedded']:.1%} of the frames embedded ({what})"
    if (score := rate.get("score_of_all_frames")) is None:
        return f"{words}."
    headline = get_task(results["task"]).headline
    title = metric_titles(get_task(results["task"]))[headline]
    return f"smoothed: {words}; with all frames {title} {score:.3f}."


def _weights(results: Mapping[str, Any]) -> list[str]:
    """A line for each head of a blend, with its weight by each seed."""
    weights = results.get("weights")
    if not weights:
        return []
    heads = results.get("heads") or [{}] * len(weights[0])
    seeds = "" if len(weights) == 1 else f" by each of {len(weights)} seeds"
    lines = [f"weights of the {len(heads)} heads{seeds}, for all outputs alike:"]
    by_head = zip(heads, zip(*weights, strict=True), strict=True)
    for number, (head, own) in enumerate(by_head, start=1):
        parts = (head.get("head", ""), " + ".join(head.get("features", ())))
        named = " on ".join(filter(None, parts)) or f"head {number}"
        lines.append(f"  {', '.join(f'{weight:.2f}' for weight in own)}: {named}")
    return lines


def _more_chosen(results: Mapping[str, Any]) -> list[str]:
    """Sentences on weights, confidences and corrections, with one value per seed."""
    lines = _weights(results)
    if levels := results.get("confidences"):
        words = ", ".join("never" if v >= 1 else f"from {v:.2f}" for v in levels)
        lines.append(f"the extractor's own probabilities are taken {words}.")
    if temperatures := results.get("temperatures"):
        words = ", ".join(f"{t:g}" for t in temperatures)
        lines.append(f"classes corrected by their shares; temperatures {words}.")
    return lines
