"""From ``results.json`` of the rows to the table's cells, and effects between rows."""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from avemo_jax.evaluation.intervals import LEFT_OUT, RESAMPLES
from avemo_jax.metrics.bca import bca_ends
from avemo_jax.metrics.ceilings import ceiling_words
from avemo_jax.results_table.contents import Cell, Effect
from avemo_jax.results_table.rows import RowSpec
from avemo_jax.runtime.array_files import read_npz
from avemo_jax.tasks import get_task

# Name, first row, second row: the first is expected to be better.
_EFFECTS = (
    ("sound helps (wav2vec 2.0)", "mlp-b2-wav2vec2", "mlp-b2"),
    ("sound helps (VGGish)", "mlp-b2-vggish", "mlp-b2"),
    (
        "the temporal Transformer beats the MLP",
        "transformer-b2-wav2vec2",
        "mlp-b2-wav2vec2",
    ),
    (
        "attention over time beats attention across the batch",
        "transformer-b2-wav2vec2",
        "batch-transformer-b2-wav2vec2",
    ),
    (
        "with windows too the temporal Transformer beats the MLP",
        "transformer-b2-wav2vec2-smooth",
        "mlp-b2-wav2vec2-smooth",
    ),
    ("windows help", "mlp-b2-wav2vec2-smooth", "mlp-b2-wav2vec2"),
    (
        "the blend of two sounds beats wav2vec 2.0 alone",
        "blend-wav2vec2-vggish",
        "mlp-b2-wav2vec2-smooth",
    ),
)


def cell_of(row: RowSpec, found: Mapping[str, Any]) -> Cell:
    """The cell of one row.

    Args:
        row: The row.
        found: Content of its ``results.json``.
    """
    task = get_task(found["task"])
    name = task.headline
    if "metrics" not in found:
        return Cell(task.name, row.id, name, None, note="the split has no labels")
    block, metrics = _block(row), found["metrics"]
    scores, rate = metrics[block]["with_crop"], found.get("frame_rate")
    tuned = metrics["tuned_on_reported"]["with_crop"]
    if row.post == "none":  # then there is nothing but thresholds to tune
        tuned = metrics["raw"].get("tuned_on_reported", scores)
    notes = []
    if weights := found.get("weights"):
        means = " : ".join(f"{mean:.2f}" for mean in np.mean(weights, axis=0))
        notes.append(f"mean weights {means}, chosen on {found['chosen_on']}")
    if reason := found["chosen_on_reason"]:
        notes.append(f"nothing was chosen: {reason}")
    if ceiling := found.get("ceiling", {}).get("with_crop"):
        notes.append(ceiling_words(task, ceiling))
    return Cell(
        task=task.name,
        row=row.id,
        metric=name,
        score=scores[name],
        std=scores.get(f"{name}_std"),
        ci95=_pair(scores.get(f"{name}_ci95")),
        bca95=_pair(scores.get(f"{name}_bca95")),
        per_seed=tuple(one[block]["with_crop"][name] for one in found["per_seed"]),
        tuned_on_reported=None if rate else tuned[name],
        smoothing=_smoothing(row, found),
        chosen_on=found["chosen_on"],
        share_embedded=rate and rate["share_embedded"],
        share_entries=rate and rate["share_of_window_entries"],
        note="; ".join(notes),
    )


def _block(row: RowSpec) -> str:
    """The block of ``metrics`` that a row shows."""
    return "raw" if row.post == "none" else "smoothed"


def _smoothing(row: RowSpec, found: Mapping[str, Any]) -> str:
    """The smoothings and strides of all seeds, each once, in words."""
    if row.post == "none":
        return "no window"
    words = []
    for i, one in enumerate(found["per_seed"]):
        mode, half = (one["smoothed"][n] for n in ("mode", "half_width_frames"))
        word = "no window" if mode == "none" else f"{mode} ±{half}"
        if rate := found.get("frame_rate"):
            strides = rate["per_seed"][i]["strides"]
            word += f", strides {', '.join(map(str, strides))}"
        words.append(word)
    return ("; " if "frame_rate" in found else ", ").join(dict.fromkeys(words))


def effects_of(
    rows: Mapping[str, RowSpec],
    cells: Mapping[str, Cell],
    folders: Mapping[str, pathlib.Path],
) -> list[Effect]:
    """The effects of one task whose rows both have a score.

    Args:
        rows: Rows by their ids.
        cells: Their cells.
        folders: Their folders, with ``resamples.npz``.
    """
    found = []
    for name, *pair in _EFFECTS:
        first, second = (cells.get(each) for each in pair)
        if first is None or second is None:
            continue
        if first.score is None or second.score is None:
            continue
        resamples = [resampled(folders[each], _block(rows[each])) for each in pair]
        difference = first.score - second.score
        ends = paired_ends(difference, *resamples)
        found.append(Effect(first.task, name, difference, *ends))
    return found


def resampled(folder: pathlib.Path, block: str) -> dict[str, np.ndarray]:
    """The score on every resample, and the videos that are drawn; or nothing.

    Few videos come with the score without each of them.

    Args:
        folder: Folder of a run's or an evaluation's results.
        block: Block of ``metrics`` that the score is in: "raw" or "smoothed".

    Raises:
        ValueError: If the file is damaged or lacks the block.
    """
    path = folder / RESAMPLES
    if not path.exists():
        return {}
    expected = "expected the file that evaluate writes: evaluate the run again"
    stored = read_npz(path, expected=expected)
    names = {"scores": block, "videos": "videos"}
    if lacking := set(names.values()) - set(stored):
        raise ValueError(f"{path} has no {', '.join(sorted(lacking))}; {expected}")
    if (left_out := names["scores"] + LEFT_OUT) in stored:
        names["left_out"] = left_out
    return {name: stored[own] for name, own in names.items()}


def paired_ends(
    difference: float, first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray]
) -> tuple[tuple[float, float] | None, tuple[float, float] | None]:
    """Intervals of the difference, by percentiles and, of few videos, by BCa.

    Equal videos are drawn alike, so they are paired.

    Args:
        difference: The first score less the second.
        first: What :func:`resampled` found of the first score.
        second: What it found of the second.
    """
    if not first or not second:
        return None, None
    if not np.array_equal(first["videos"], second["videos"]):
        return None, None
    drawn = first["scores"] - second["scores"]
    percentiles = _pair(np.quantile(drawn, (0.025, 0.975)))
    if "left_out" not in first or "left_out" not in second:
        return percentiles, None
    left_out = first["left_out"] - second["left_out"]
    return percentiles, _pair(bca_ends(difference, drawn, left_out))


def _pair(ends: Any) -> tuple[float, float] | None:
    return None if ends is None else (float(ends[0]), float(ends[1]))
