"""What the report says of each output: classes, units, values, and unlabelled ones."""

from typing import Any

import numpy as np
from jaxtyping import Float, Int

from avemo_jax.evaluation.report import score_words
from avemo_jax.evaluation.run_report.charts import score_bar, values_chart
from avemo_jax.evaluation.run_report.contents import TaskContents
from avemo_jax.evaluation.run_report.elements import (
    Html,
    figure,
    joined,
    legend,
    paragraph,
    section,
    shown,
    table,
)
from avemo_jax.metrics.numpy_states import video_states
from avemo_jax.metrics.states import Confusion, Hits

_NUMBERED = 16  # classes; with more of them a matrix has shares alone
_MATRIX = 40  # classes; with more of them there are the most frequent confusions alone


def outputs_section(contents: TaskContents, level: int) -> Html:
    """F1 or CCC of each output, and what is taken for what.

    Args:
        contents: The evaluation.
        level: Level of the heading.
    """
    title, make = _OUTPUTS[contents.task.kind]
    return section(level, title, make(contents), within=contents.task.name)


def predicted_section(contents: TaskContents, level: int) -> Html:
    """How often each output is predicted, where there are no labels.

    Args:
        contents: The evaluation.
        level: Level of the heading.
    """
    task, frames = contents.task, contents.frames
    decided = frames.decided
    rows: list[tuple[Any, ...]] = []
    if task.kind == "regression":
        head = ["value", "mean", "standard deviation", "least", "greatest"]
        for name, column in zip(task.columns, task.in_units(decided.T), strict=True):
            ends = (column.mean(), column.std(), column.min(), column.max())
            rows.append((name, *map(float, ends)))
    else:
        head = ["output", "frames", "share", ""]
        if task.kind == "multiclass":
            counts = np.bincount(decided, minlength=task.num_outputs)
        else:
            counts = decided.sum(axis=0)
        for name, count in zip(task.columns, counts, strict=True):
            share = float(count / max(len(decided), 1))
            rows.append((name, int(count), f"{share:.1%}", score_bar(share)))
    caption = f"Predictions of all {len(decided):,} frames{contents.by_seed}"
    note = paragraph(f"{contents.found['split']} has no labels: nothing is scored.")
    return section(
        level, "What is predicted", note, table(caption, head, rows), within=task.name
    )


def _of_classes(contents: TaskContents) -> Html:
    task, frames, mask = contents.task, contents.frames, contents.frames.counted
    assert frames.labels is not None
    state = video_states(task, frames.decided, frames.labels, mask).state
    assert isinstance(state, Confusion)
    (counts,) = np.asarray(state.counts, np.int64)
    hits, labelled, predicted = counts.diagonal(), counts.sum(1), counts.sum(0)
    scores = _smoothed(contents)
    rows = []
    for i, name in enumerate(task.columns):
        rows.append(
            (
                name,
                *_score_cells(scores, "f1_per_class", name),
                _share(hits[i], predicted[i]),
                _share(hits[i], labelled[i]),
                int(labelled[i]),
                int(predicted[i]),
            )
        )
    head = ["class", "F1", "", "precision", "recall", "labelled", "predicted"]
    caption = f"F1 of each class, smoothed, {contents.counted}{_beside(contents)}"
    confused = _matrix if task.num_outputs <= _MATRIX else _confusions
    return joined((table(caption, head, rows), confused(contents, counts)))


def _confusions(
    contents: TaskContents, counts: Int[np.ndarray, "classes classes"]
) -> Html:
    """The most frequent confusions, where there are too many classes for a matrix."""
    names, wrong = contents.task.columns, counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:_MATRIX]
    rows = []
    for label, taken in zip(*np.unravel_index(order, wrong.shape), strict=True):
        if count := int(wrong[label, taken]):
            share = f"{count / counts[label].sum():.0%}"
            rows.append((names[label], names[taken], count, share))
    caption = f"The most frequent confusions, {contents.counted}{contents.by_seed}"
    head = ["label", "predicted", "frames", "of the label's"]
    return table(caption, head, rows, words={1})


def _matrix(contents: TaskContents, counts: Int[np.ndarray, "classes classes"]) -> Html:
    """The confusion matrix as a table whose cells are shaded by shares of the row."""
    names = contents.task.columns
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    rows = []
    for name, own, share in zip(names, counts, shares, strict=True):
        cells = [
            _shaded(int(n), float(s), len(names))
            for n, s in zip(own, share, strict=True)
        ]
        rows.append((name, *cells, int(own.sum())))
    caption = (
        f"Confusion matrix: {contents.counted} by label (rows) and prediction "
        f"(columns){contents.by_seed}; percentages are shares of a row"
    )
    head = ["label \\ predicted", *names, "frames"]
    return table(caption, head, rows, kind="matrix")


def _shaded(count: int, share: float, classes: int) -> Html:
    number = "" if classes > _NUMBERED else f"<small>{count:,}</small>"
    return Html(
        f'<span class="cell" style="--share:{share:.3f}">{share:.0%}{number}</span>'
    )


def _of_units(contents: TaskContents) -> Html:
    task, frames, mask = contents.task, contents.frames, contents.frames.counted
    assert frames.labels is not None
    assert frames.thresholds is not None
    state = video_states(task, frames.decided, frames.labels, mask).state
    assert isinstance(state, Hits)
    (hits,), (alarms,), (misses,) = (np.asarray(one, np.int64) for one in state)
    half = video_states(task, frames.scores >= 0.5, frames.labels, mask).together()
    count, scores = max(int(mask.sum()), 1), _smoothed(contents)
    rows = []
    for i, name in enumerate(task.columns):
        rows.append(
            (
                name,
                *_score_cells(scores, "f1_per_unit", name),
                _share(hits[i], hits[i] + alarms[i]),
                _share(hits[i], hits[i] + misses[i]),
                f"{(hits[i] + misses[i]) / count:.1%}",
                f"{(hits[i] + alarms[i]) / count:.1%}",
                f"{frames.thresholds[i]:.2f}",
                float(half["f1_per_unit"][i]),
            )
        )
    head = ["unit", "F1", "", "precision", "recall", "labelled", "predicted"]
    head += ["threshold", "F1 at 0.5"]
    caption = f"F1 of each unit, smoothed, {contents.counted}{_beside(contents)}"
    return table(caption, head, rows)


def _of_values(contents: TaskContents) -> Html:
    task, frames, mask = contents.task, contents.frames, contents.frames.counted
    assert frames.labels is not None
    predicted = task.in_units(frames.decided[mask].astype(np.float64))
    labels = task.in_units(frames.labels[mask].astype(np.float64))
    scores, rows = _smoothed(contents), []
    for i, name in enumerate(task.columns):
        x, y = predicted[:, i], labels[:, i]
        away = x - y
        rows.append(
            (
                name,
                score_words(scores, f"ccc_{name}"),
                _correlation(x, y),
                float(np.abs(away).mean()),
                float(np.sqrt(np.square(away).mean())),
                f"{x.mean():.3f} ± {x.std():.3f}",
                f"{y.mean():.3f} ± {y.std():.3f}",
            )
        )
    head = [
        "value",
        "CCC",
        "Pearson's r",
        "mean absolute error",
        "root mean square error",
    ]
    head += ["predictions: mean ± sd", "labels: mean ± sd"]
    caption = f"Each value, smoothed, {contents.counted}{_beside(contents)}"
    low, high = task.value_range
    charts = [
        values_chart(predicted[:, i], labels[:, i], name=name, bounds=(low, high))
        for i, name in enumerate(task.columns)
    ]
    marks = {"heat": "frames, the more the darker", "mean": "mean label"}
    marks["ideal"] = "prediction equals label"
    shown_as = f"Labels by predictions, {contents.counted}{contents.by_seed}"
    return joined(
        (table(caption, head, rows), figure(shown_as, *charts), legend(marks))
    )


_OUTPUTS = {
    "multiclass": ("Classes", _of_classes),
    "multilabel": ("Units", _of_units),
    "regression": ("Values", _of_values),
}


def _smoothed(contents: TaskContents) -> dict[str, Any]:
    found: dict[str, Any] = contents.found["metrics"]["smoothed"]["with_crop"]
    return found


def _beside(contents: TaskContents) -> str:
    """What the other columns of a table with scores of all seeds are of."""
    if contents.found["num_seeds"] < 2:
        return ""
    return (
        f"; scores are means over seeds, what stands beside them is{contents.by_seed}"
    )


def _score_cells(scores: dict[str, Any], metric: str, name: str) -> tuple[Html, Html]:
    """A score with its interval, and both as a bar."""
    value, ends = float(scores[metric][name]), scores.get(f"{metric}_ci95", {})
    own = {metric: value} | ({f"{metric}_ci95": ends[name]} if name in ends else {})
    return shown(score_words(own, metric)), score_bar(value, ends.get(name))


def _share(part: Any, whole: Any) -> float | None:
    return float(part / whole) if whole else None


def _correlation(
    x: Float[np.ndarray, " frames"], y: Float[np.ndarray, " frames"]
) -> float | None:
    if not (x.std() > 0 and y.std() > 0):
        return None
    return float(np.corrcoef(x, y)[0, 1])
