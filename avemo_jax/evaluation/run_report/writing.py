"""report.html: what an evaluation found, in one file that any browser opens."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from avemo_jax.evaluation.joint import JointModel
from avemo_jax.evaluation.report import ceilings_of, data_title, model_title
from avemo_jax.evaluation.run_report.about import (
    chosen_section,
    configuration_section,
    data_section,
    folds_section,
    sums_section,
    versions_section,
)
from avemo_jax.evaluation.run_report.certainty import calibration_section, sets_section
from avemo_jax.evaluation.run_report.contents import (
    TaskContents,
    environment_of,
    epochs_of,
    task_contents,
    trained_of,
)
from avemo_jax.evaluation.run_report.elements import (
    NOTHING,
    Html,
    contents_list,
    facts,
    joined,
    notices,
    paragraph,
    section,
    shown,
)
from avemo_jax.evaluation.run_report.outputs import (
    outputs_section,
    predicted_section,
)
from avemo_jax.evaluation.run_report.sections import (
    scores_section,
    training_section,
    videos_section,
)
from avemo_jax.metrics.ceilings import metric_titles
from avemo_jax.models.blend import Model
from avemo_jax.runtime.atomic_files import whole_file
from avemo_jax.runtime.html_pages import html_page
from avemo_jax.runtime.versions import VERSION
from avemo_jax.tasks import SCORE, get_task

REPORT = "report.html"
_STYLE = pathlib.Path(__file__).parents[1] / "web" / "report.css"


def write_report(
    folder: pathlib.Path, model: Model | JointModel, found: Mapping[str, Any]
) -> None:
    """Write the report of an evaluation whose other files are written.

    Args:
        folder: Folder with ``predictions.csv``; of several tasks one in each task's
            folder. Gets ``report.html``, which is equal for equal content.
        model: The model that was evaluated.
        found: Content of results.json.

    Raises:
        ValueError: If ``metrics.jsonl`` of the run is damaged.
    """
    card, trained = model.card, trained_of(model)
    if isinstance(model, JointModel):
        tasks = [
            task_contents(folder / name, own, found["tasks"][name])
            for name, own in model.models.items()
        ]
    else:
        tasks = [task_contents(folder, model, found)]
    parts = [sums_section(found, 2)] if len(tasks) > 1 and "metrics" in found else []
    training = training_section(epochs_of(trained), 2)
    if len(tasks) == 1:
        parts += _task_parts(tasks[0], 2, training)
    else:
        parts.append(training)
        for one in tasks:
            parts.append(section(2, one.task.full_title, *_task_parts(one, 3)))
    parts += [
        configuration_section(card, 2),
        data_section(tasks, 2),
        versions_section(card, environment_of(trained), found["checkpoint"], 2),
    ]
    head = _head(found, [one.found for one in tasks])
    _write(folder, _title(found), head, parts)


def write_folds_report(
    folder: pathlib.Path, found: Mapping[str, Any], folders: Sequence[str]
) -> None:
    """Write the report of a run with folds, which leads to those of its folds.

    Args:
        folder: Folder of the run. Gets ``report.html``.
        found: Content of results.json.
        folders: Names of the folds' folders in it.
    """
    about = (
        f"{get_task(found['task']).full_title}: {data_title(found)}, {found['split']}"
    )
    title = f"{found['num_folds']} folds; {about}"
    head = joined(
        (
            paragraph(f"Report of a run with folds · avemo_jax {VERSION}", "muted"),
            f"<h1>{shown(title)}</h1>",
            notices(_warnings(found)),
        )
    )
    _write(folder, title, head, [folds_section(found, folders, 2)])


def _write(folder: pathlib.Path, title: str, head: Html, parts: Sequence[str]) -> None:
    top = f'<header class="card">{head}{contents_list(parts)}</header>'
    body = f'<div class="page report">{top}\n<main>{joined(parts)}</main></div>'
    text = html_page(
        title=title,
        body=body,
        styles=[_STYLE.read_text("utf-8")],
        root={"data-ready": ""},  # at once: no script has to run
    )
    with whole_file(folder / REPORT) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _task_parts(
    contents: TaskContents, level: int, training: Html = NOTHING
) -> list[Html]:
    """The parts of one task's evaluation, in their order on the page."""
    if "metrics" not in contents.found:
        return [predicted_section(contents, level), chosen_section(contents, level)]
    return [
        scores_section(contents, level),
        training,
        outputs_section(contents, level),
        calibration_section(contents, level),
        sets_section(contents, level),
        videos_section(contents, level),
        chosen_section(contents, level),
    ]


def _title(found: Mapping[str, Any]) -> str:
    model = model_title(found["head"], found["features"])
    title = get_task(found["task"]).full_title
    return f"{title}: {data_title(found)}, {found['split']}; {model}"


def _head(found: Mapping[str, Any], tasks: Sequence[Mapping[str, Any]]) -> Html:
    """Title, the most important numbers, and what readers are warned of."""
    task = get_task(found["task"])
    title = f"{task.full_title}: {data_title(found)}, {found['split']}"
    about = {
        "model": model_title(found["head"], found["features"]),
        "data": data_title(found),
        "split": found["split"],
        "seeds": found["num_seeds"],
    }
    warnings = list(dict.fromkeys(w for one in tasks for w in _warnings(one)))
    return joined(
        (
            paragraph(f"Report of an evaluation · avemo_jax {VERSION}", "muted"),
            f"<h1>{shown(title)}</h1>",
            facts(about),
            _tiles(found, tasks),
            notices(warnings),
        )
    )


def _tiles(found: Mapping[str, Any], tasks: Sequence[Mapping[str, Any]]) -> Html:
    """The headline scores, large."""
    tiles = []
    if len(tasks) > 1 and "metrics" in found:
        value = found["metrics"]["smoothed"]["with_crop"][SCORE]
        tiles.append(("P, the sum", value, "smoothed"))
    for one in tasks:
        if "metrics" not in one:
            continue
        task = get_task(one["task"])
        titles = metric_titles(task)
        named = f"{task.name}, " if len(tasks) > 1 else ""
        for block in ("smoothed", "raw"):
            scores = one["metrics"][block]["with_crop"]
            ends = scores.get(f"{task.headline}_ci95")
            words = block + (f", 95 % {ends[0]:.3f} to {ends[1]:.3f}" if ends else "")
            tiles.append((named + titles[task.headline], scores[task.headline], words))
        if (errors := one.get("calibration")) and len(tasks) == 1:
            name = "ece" if task.kind == "multiclass" else "ece_mean"
            value = errors["smoothed"]["with_crop"][name]
            tiles.append(("calibration error (ECE)", value, "smoothed, 0 is best"))
    inside = "".join(
        f"<div><dt>{shown(name)}</dt><dd><b>{value:.3f}</b> "
        f"<span>{shown(words)}</span></dd></div>"
        for name, value, words in tiles
    )
    return Html(f'<dl class="tiles">{inside}</dl>' if tiles else "")


def _warnings(found: Mapping[str, Any]) -> list[str]:
    """What a reader of the scores should know before."""
    said = []
    if found["synthetic"]:
        said.append(
            "The data are synthetic: these scores say that the software works, and "
            "nothing of how well emotions are recognised."
        )
    if found.get("trained_on_this_split"):
        said.append(
            f"The head was trained on videos of {found['split']}: no score to report."
        )
    if shared := found.get("shared_groups"):
        said.append(
            f"{len(shared)} persons or recordings are in several splits: scores are "
            "partly on persons that the head knows."
        )
    if not found.get("chosen_on") and (reason := found.get("chosen_on_reason")):
        said.append(f"Nothing was chosen on dev: {reason}.")
    if "metrics" in found and "num_folds" not in found:
        said += [f"{words[:1].upper()}{words[1:]}." for words in ceilings_of(found)]
    return said
