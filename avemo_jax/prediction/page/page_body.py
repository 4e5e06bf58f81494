"""The parts of a page that need no script: who, what, doubts, summary, meaning."""

import datetime
from collections.abc import Iterator, Sequence
from typing import Any

from avemo_jax.data.predictions.threshold_file import RUN
from avemo_jax.prediction.predicted import Predicted
from avemo_jax.prediction.summaries import (
    MIN_FACE_PX,
    SummaryRow,
    face_warnings,
    summary_rows,
)
from avemo_jax.prediction.tables import task_columns
from avemo_jax.runtime.html_pages import escaped
from avemo_jax.runtime.versions import VERSION
from avemo_jax.tasks.unit_names import unit_in_words

_OPEN = 3  # remarks that are shown unasked
_ABOUT = {
    "face_found_pct": "face found, of the whole time",
    "filled_pct": "scores filled from frames around",
    "audio_used_pct": "sound used",
}


def header(predicted: Predicted, made: datetime.datetime | None) -> str:
    """What was analysed, by which model, when, and what makes it doubtful.

    Args:
        predicted: What is predicted of the input.
        made: When the tables were made; None: not known.
    """
    facts = [
        f"<div><dt>{escaped(name)}</dt><dd>{value}</dd></div>"
        for name, value in _facts(predicted, made)
    ]
    return (
        f"<h1>{escaped(predicted.name)}</h1>\n"
        f'<dl class="facts">{"".join(facts)}</dl>\n{notices(predicted)}'
    )


def _facts(
    predicted: Predicted, made: datetime.datetime | None
) -> Iterator[tuple[str, str]]:
    duration_s = float(predicted.durations_s().sum())
    yield "File", escaped(predicted.path.name)
    size = f"{predicted.width} x {predicted.height} px"
    if duration_s:
        yield "Length", f"{_clock(duration_s)}, {predicted.num_frames:,} frames"
        yield "Picture", f"{size}, {predicted.fps:.4g} frames/s"
    else:
        yield "Picture", size
    yield "Faces", str(len(predicted.faces))
    settings = predicted.settings
    if models := settings.get("models"):
        yield "Model", escaped(" + ".join(map(str, models)))
    if smooth := settings.get("smooth"):
        told = f"{smooth:g} s" if isinstance(smooth, int | float) else str(smooth)
        yield "Smoothing", escaped(told)
    if settings.get("every", 1) != 1:
        yield "Network sees", escaped(f"every {settings['every']}")
    yield "Sound", "used" if predicted.audio_used else "not used"
    if made is not None:
        told = f"{made:%d %B %Y, %H:%M} UTC"
        yield "Analysed", f'<time datetime="{made:%Y-%m-%dT%H:%MZ}">{told}</time>'
    yield "Software", f"avemo_jax {escaped(VERSION)}"


def _clock(seconds: float) -> str:
    """A length as 12.3 s, 4:05 min or 2:00:12 h."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02d}:{rest:02d} h"
    return f"{minutes}:{rest:02d} min"


def notices(predicted: Predicted) -> str:
    """A box with what could not be read, warnings of faces, and notes."""
    warned: dict[str, list[str]] = {}
    for face in predicted.faces:
        for warning in face_warnings(face, _least_px(predicted)):
            warned.setdefault(warning, []).append(str(face.face_id))
    said = [
        *(f"not read: {one}" for one in predicted.losses),
        *predicted.notes,
        *(
            f"face{'s' * (len(ids) > 1)} {', '.join(ids)}: {warning}"
            for warning, ids in warned.items()
        ),
    ]
    if not said:
        return ""
    lines = "".join(f"<li>{escaped(one)}</li>" for one in said)
    count = f"{len(said)} remark{'s' * (len(said) > 1)}"
    is_open = " open" if len(said) <= _OPEN or predicted.losses else ""
    return (
        f'<details class="notice"{is_open}><summary>{count} that may make the scores '
        f"doubtful</summary><ul>{lines}</ul></details>"
    )


def _least_px(predicted: Predicted) -> int:
    return predicted.settings.get("min_face_px", MIN_FACE_PX)


def summary(predicted: Predicted) -> str:
    """The summary as a table: a row for each figure, a column for each face."""
    rows = summary_rows(predicted, min_face_px=_least_px(predicted))
    if not predicted.faces:
        return '<p class="muted">No face was found, so there is nothing to sum up.</p>'
    names = "".join(
        f'<th scope="col" class="number">face {r["face_id"]}</th>' for r in rows
    )
    parts = [
        _group("Time", [(told, name) for name, told in _ABOUT.items()], rows, " %")
    ]
    for part in task_columns(predicted):
        task = part.task
        if task.kind == "multiclass":
            told = [(name, f"pct_time_{name}") for name in part.scores]
            title, unit = f"{task.title}: share of the time", " %"
        elif task.kind == "multilabel":
            told = [(_unit(name), f"rate_{name}_pct") for name in part.scores]
            title, unit = f"{task.title}: active, share of the time", " %"
        else:
            told = [
                pair
                for name in part.scores
                for pair in (
                    (f"{name}, mean", f"mean_{name}"),
                    (f"{name}, standard deviation", f"sd_{name}"),
                )
            ]
            title, unit = task.title, ""
        parts.append(_group(title, told, rows, unit))
    return (
        '<div class="scroll-x" tabindex="0" role="region" aria-label="Summary table">'
        '<table class="summary"><thead><tr><th scope="col">figure</th>'
        f"{names}</tr></thead>{''.join(parts)}</table></div>"
    )


def _unit(name: str) -> str:
    words = unit_in_words(name)
    return f"{name} {words}" if words else name


def _group(
    title: str, told: Sequence[tuple[str, str]], rows: Sequence[SummaryRow], unit: str
) -> str:
    """Rows of the table under one title."""
    lines = [
        f'<tr class="group"><th scope="rowgroup" colspan="{len(rows) + 1}">'
        f"{escaped(title)}</th></tr>"
    ]
    for label, name in told:
        cells = "".join(_cell(row.get(name), unit) for row in rows)
        lines.append(f'<tr><th scope="row">{escaped(label)}</th>{cells}</tr>')
    return f"<tbody>{''.join(lines)}</tbody>"


def _cell(value: Any, unit: str) -> str:
    if not isinstance(value, int | float):
        return '<td class="number muted">&ndash;</td>'
    if not unit:
        return f'<td class="number">{value:.2f}</td>'
    # The bar behind it is drawn by the page's script.
    return f'<td class="number share" data-share="{value:g}">{value:.1f}{unit}</td>'


def meaning(predicted: Predicted) -> str:
    """What the numbers mean, and what not."""
    kinds = {task.kind for task in predicted.tasks}
    has_units = any(unit_in_words(c) for task in predicted.tasks for c in task.columns)
    paragraphs = [
        "<strong>What observers would call the face, not what a person feels.</strong> "
        "The networks were trained on ratings by people who looked at pictures and "
        "videos. A high probability of an expression says that a face looks as those "
        "did which raters called so; what the person feels it does not say.",
        "<strong>A model agrees with raters in part.</strong> Probabilities are those "
        "of a network and were not made to match frequencies, and raters do not agree "
        "with each other either. Faces that differ from those of the training data in "
        "age, skin, lighting, angle or covering may be scored worse: look at a sample "
        "of your own before you trust an average. <code>avemo models</code> lists what "
        "each published model reached on its benchmark.",
    ]
    if has_units:
        paragraphs.append(
            "<strong>Action units</strong> are movements of the face. The scores tell "
            "whether one is visible, not how strong it is, and are no substitute for a "
            "trained FACS coder."
        )
    if "regression" in kinds and any(t.name == "VA" for t in predicted.tasks):
        paragraphs.append(
            "<strong>Valence</strong> goes from unpleasant (-1) to pleasant (1), "
            "<strong>arousal</strong> from calm (-1) to excited (1)."
        )
    if predicted.with_spread:
        paragraphs.append(
            "<strong>Bands</strong> around curves are one standard deviation over the "
            "model's seeds: how much networks differ that were trained alike. They are "
            "no confidence interval of the score."
        )
    paragraphs += [
        "<strong>Small, turned, covered or blurred faces</strong> get scores too; the "
        "rows above the curves show where the face was found and which scores are "
        "filled from frames around.",
        "<strong>Frames of one video are no independent observations.</strong> For "
        "statistics, summarise by face and video first. None of this is for hiring, "
        "grading, diagnosis, or judging whether someone tells the truth.",
        "All was computed on one machine and nothing was sent anywhere. This page "
        "holds small pictures of the faces: keep it and pass it on as you would the "
        "video.",
    ]
    return "".join(f"<p>{text}</p>" for text in paragraphs)


def tables_note() -> str:
    """Which files beside the page hold the numbers."""
    return (
        '<p class="muted small tables-note">The exact numbers are in the tables beside '
        'this page: <a href="predictions.csv">predictions.csv</a> (a row for each '
        'frame and face), <a href="segments.csv">segments.csv</a> (spans of time) and '
        f'<a href="{RUN}">{RUN}</a> (how they were made).</p>'
    )
