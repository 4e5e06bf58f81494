"""The report's part on how far probabilities mean what they say."""

from typing import Any

import numpy as np

from avemo_jax.evaluation.report import frame_sets, score_words
from avemo_jax.evaluation.run_report.charts import reliability_chart
from avemo_jax.evaluation.run_report.contents import TaskContents
from avemo_jax.evaluation.run_report.elements import (
    NOTHING,
    Html,
    figure,
    legend,
    paragraph,
    section,
    table,
)
from avemo_jax.metrics.calibration import task_reliability
from avemo_jax.models.certainty import Certainty

_MOST_CHARTS = 16  # of outputs
_ERRORS = {
    "ece": "ECE of the predicted class",
    "ece_classwise": "mean ECE of each class",
    "ece_mean": "mean ECE of each unit",
    "nll": "negative log-likelihood",
    "nll_mean": "negative log-likelihood",
    "brier": "Brier score",
    "brier_mean": "Brier score",
}
_BLOCKS = {
    "raw": "raw",
    "smoothed": "smoothed",
    "smoothed_scaled": "smoothed, calibrated",
    "per_video": "per_video",
    "per_video_scaled": "per_video, calibrated",
}
_OF_SETS = {
    "coverage": "share of frames whose set holds the right class",
    "size": "classes in a set",
    "share_added": "share of sets that have the decided class alone, being empty else",
}


def calibration_section(contents: TaskContents, level: int) -> Html:
    """Whether probabilities mean what they say; empty for values.

    Args:
        contents: The evaluation.
        level: Level of the heading.
    """
    found = contents.found.get("calibration")
    task, frames = contents.task, contents.frames
    if not found or frames.labels is None:
        return NOTHING
    blocks = [name for name in _BLOCKS if name in found]
    titles, rows = frame_sets(contents.found), []
    for name in blocks:
        for frame_set, errors in found[name].items():
            cells = [_deviating(errors, key) for key in _ERRORS if key in errors]
            rows.append((f"{_BLOCKS[name]}, {titles[frame_set]}", *cells))
    first = found[blocks[0]]["with_crop"]
    head = ["", *(words for key, words in _ERRORS.items() if key in first)]
    each = "ece_per_class" if task.kind == "multiclass" else "ece_per_unit"
    by_block = {
        name: task_reliability(task, scores, frames.labels, frames.counted)
        for name, scores in probabilities_of(contents).items()
    }
    charts = []
    if task.kind == "multiclass":
        name = "probability of the predicted class"
        pair = [
            reliability_chart(states["ece"], 0, title=_titled(name, block, by_block))
            for block, states in by_block.items()
        ]
        charts.append(figure(_joined(by_block, name), *pair))
    small = [
        reliability_chart(
            states[each],
            i,
            title=f"{_titled(name, block, by_block)}: ECE "
            f"{found[block]['with_crop'][each][name]:.3f}",
            small=True,
        )
        for i, name in list(enumerate(task.columns))[:_MOST_CHARTS]
        for block, states in by_block.items()
    ]
    what = "class for itself" if task.kind == "multiclass" else "unit"
    more = ""
    if task.num_outputs > _MOST_CHARTS:
        more = f"; the first {_MOST_CHARTS} of {task.num_outputs}"
    charts.append(figure(f"Each {what}{more}", *small, kind="small"))
    return section(
        level,
        "Calibration",
        paragraph(
            "Where a model is calibrated, of the frames to which it gives a "
            "probability of 0.7 seven in ten come true. The expected calibration error "
            f"(ECE) is the mean distance from that, over {found['num_bins']} bins of "
            "equal width; 0 is best. Where points are over the diagonal, the model is "
            "too modest; under it too sure. Means over time make probabilities modest."
        ),
        _said(contents),
        table("Expected calibration error; smaller is better", head, rows),
        paragraph(
            f"Smoothed probabilities, {contents.counted}{contents.by_seed}.", "muted"
        ),
        *charts,
        legend(
            {
                "point": "share that came true in a bin; larger: more frames",
                "ideal": "calibrated",
                "share": "share of frames in the bin",
            }
        ),
        within=task.name,
    )


def sets_section(contents: TaskContents, level: int) -> Html:
    """How often sets of classes hold the right one; empty where none were asked for.

    Args:
        contents: The evaluation.
        level: Level of the heading.
    """
    found, task = contents.found.get("class_sets"), contents.task
    if not found:
        return NOTHING
    sets = frame_sets(contents.found)
    by_frames = {name: found[name] for name in sets if "coverage" in found[name]}
    rows = [
        (words, *(score_words(scores, name) for scores in by_frames.values()))
        for name, words in _OF_SETS.items()
    ]
    each = [
        (column, *(own["coverage_per_class"][column] for own in by_frames.values()))
        for column in task.columns
    ]
    heads = [sets[name] for name in by_frames]
    on = contents.found["chosen_on"]
    more = "; with fewer every set is all classes." if found["all_classes"] else "."
    return section(
        level,
        "Sets of classes",
        paragraph(
            f"A set is to hold the right class in {found['level']:.0%} of the frames "
            f"of a new video, and always has the decided one. Its limit is from {on}, "
            f"{found['num_videos_chosen_on']} videos, of which the level needs "
            f"{found['least_videos']}{more}"
        ),
        table("Sets of classes, means over videos", ["", *heads], rows),
        table(
            "Share of the frames of each class whose set holds it, means over videos",
            ["class", *heads],
            each,
        ),
        within=task.name,
    )


def probabilities_of(contents: TaskContents) -> dict[str, np.ndarray]:
    """Probabilities of the frames without calibration, and with it where it is known.

    One of both is that of predictions.csv, the other is computed from it.

    Args:
        contents: The evaluation of a task with probabilities.

    Returns:
        The probabilities, by the names that blocks of results.json have.
    """
    found, frames = contents.found["calibration"], contents.frames
    if "fitted" not in found:
        return {"smoothed": frames.scores}
    fitted = Certainty.from_dict(found["fitted"]["frames"])
    if found["written"] == "smoothed":
        after, _ = fitted.scaled(frames.scores, contents.best)
        return {"smoothed": frames.scores, "smoothed_scaled": after}
    before, _ = fitted.inverse.scaled(frames.scores, contents.best)
    return {"smoothed": before, "smoothed_scaled": frames.scores}


def _titled(name: str, block: str, by_block: dict[str, Any]) -> str:
    """What a chart is of, and of which probabilities where there are two kinds."""
    if len(by_block) < 2:
        return name
    return f"{name}, {'before' if block == 'smoothed' else 'after'}"


def _joined(by_block: dict[str, Any], name: str) -> str:
    return name if len(by_block) < 2 else f"{name}, before and after calibration"


def _said(contents: TaskContents) -> Html:
    """What calibration did to the probabilities; empty where nothing was fitted."""
    found = contents.found["calibration"]
    if "fitted" not in found:
        return NOTHING
    fitted = Certainty.from_dict(found["fitted"]["frames"])
    if fitted.intercepts is None:
        each = ", ".join(f"{1 / own:.2f}" for own in fitted.slopes[:, 0])
        what = f"one temperature of all classes: {each}"
    else:
        what = "a slope and an intercept of each unit's logit"
    on = contents.found["chosen_on"]
    where = "predictions.csv has the probabilities "
    where += "as smoothed" if found["written"] == "smoothed" else "after calibration"
    return paragraph(
        f"Calibrated: with {what}, fitted on {on} ({fitted.num_videos} videos), which "
        f"changes no decision; {where}."
    )


def _deviating(errors: dict[str, Any], key: str) -> str:
    deviation = errors.get(f"{key}_std")
    behind = "" if deviation is None else f" ± {deviation:.3f}"
    return f"{errors[key]:.3f}{behind}"
