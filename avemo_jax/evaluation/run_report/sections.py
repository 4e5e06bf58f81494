"""Parts of the report that show results: scores, training, videos."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from avemo_jax.evaluation.report import frame_sets, legend_of, notes_of, score_rows
from avemo_jax.evaluation.run_report.charts import (
    training_curves,
    videos_chart,
)
from avemo_jax.evaluation.run_report.contents import Epochs, TaskContents
from avemo_jax.evaluation.run_report.elements import (
    NOTHING,
    Html,
    details,
    figure,
    joined,
    legend,
    paragraph,
    section,
    table,
)
from avemo_jax.evaluation.run_report.timelines import timeline
from avemo_jax.evaluation.run_report.video_scores import VideoScores, scores_by_video
from avemo_jax.metrics.ceilings import metric_titles
from avemo_jax.tasks import get_task

_WORST, _BEST = 10, 5  # videos of the table that is open
_MOST_VIDEOS = 500  # of the whole table; the files have the others


def scores_section(contents: TaskContents, level: int) -> Html:
    """The table of scores, and what was chosen for it.

    Args:
        contents: The evaluation.
        level: Level of the heading.
    """
    found = contents.found
    scores, counts = score_rows(found)
    rows: list[Sequence[Any]] = []
    for title, by_block in scores.items():
        rows += [(title,), *by_block]
    rows += [("counted",), *counts]
    caption = "; ".join(["Scores", *legend_of(found)])
    head = ["", *frame_sets(found).values()]
    notes = joined(paragraph(note, "small") for note in notes_of(found))
    return section(
        level,
        "Scores",
        table(caption, head, rows),
        notes,
        _by_seed(contents),
        within=contents.task.name,
    )


def _by_seed(contents: TaskContents) -> Html:
    """What each seed scored; empty where there is one."""
    found, task = contents.found, contents.task
    if found["num_seeds"] < 2:
        return NOTHING
    titles = metric_titles(task)
    rows = [
        (
            f"seed {one['seed']}",
            _words_of(one.get("best_epoch")),
            *(one["raw"]["with_crop"].get(name) for name in titles),
            *(one["smoothed"]["with_crop"].get(name) for name in titles),
        )
        for one in found["per_seed"]
    ]
    head = ["seed", "best epoch"]
    head += [f"raw {t}" for t in titles.values()]
    head += [f"smoothed {t}" for t in titles.values()]
    return table(f"Scores of each seed, {contents.counted}", head, rows)


def _words_of(value: Any) -> str | None:
    if value is None:
        return None
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def training_section(epochs: Sequence[Epochs], level: int) -> Html:
    """Loss and dev score by epoch of every head; empty where none are kept.

    Args:
        epochs: The epochs of the heads.
        level: Level of the heading.
    """
    figures = []
    for one in epochs:
        task = get_task(one.card.task)
        curves = training_curves(
            one.records,
            criterion=task.criterion,
            metric=metric_titles(task)[task.criterion],
            seeds=one.card.seeds,
            best_epochs=one.card.best_epochs,
        )
        figures.append(figure(f"Training of {one.title}", *curves))
    if not figures:
        return NOTHING
    several = any(len(one.card.seeds) > 1 for one in epochs)
    marks = {"kept": "epoch that is kept: the best on dev"}
    if several:
        marks |= {"faint c0": "a seed", "strong c0": "mean of the seeds"}
    return section(level, "Training", *figures, legend(marks))


def videos_section(contents: TaskContents, level: int) -> Html:
    """Scores of videos from the worst to the best, and two time lines.

    Args:
        contents: The evaluation.
        level: Level of the heading.
    """
    frames, scores = contents.frames, scores_by_video(contents.frames)
    order = [int(i) for i in scores.worst_first()]
    rows = [_video_row(scores, i, frames.videos) for i in order]
    head = ["video", scores.title, "frames", _without(contents), *scores.beside]
    words = {
        len(head) - len(scores.beside) + i
        for i, values in enumerate(scores.beside.values())
        if values and isinstance(values[0], str)
    }
    counted = f"{contents.counted}{contents.by_seed}"
    caption = f"The worst first; {counted}"
    parts = [
        figure(
            f"{scores.title}, {len(rows)} videos",
            videos_chart(scores, frames.videos),
            kind="wide",
        )
    ]
    if len(rows) > _WORST + _BEST:
        few = [*rows[:_WORST], ("…",), *rows[-_BEST:]]
        parts.append(
            table(
                f"{_WORST} worst and {_BEST} best videos; {counted}",
                head,
                few,
                words=words,
            )
        )
        left = len(rows) - _MOST_VIDEOS
        more = f"; {left} better ones are left out" if left > 0 else ""
        parts.append(
            details(
                f"All {len(rows)} videos",
                table(f"{caption}{more}", head, rows[:_MOST_VIDEOS], words=words),
            )
        )
    else:
        parts.append(table(caption, head, rows, words=words))
    for place, which in zip(scores.worst_and_best(), ("Worst", "Best"), strict=False):
        video = int(scores.video[place])
        title = f"{which} video: {frames.videos[video]}"
        score, number = scores.score[place], scores.num_frames[place]
        said = f"{scores.title} {score:.3f} over {number:,} frames"
        parts.append(
            section(
                level + 1,
                title,
                paragraph(said, "muted"),
                timeline(frames, video),
                within=contents.task.name,
            )
        )
    return section(level, "Videos", *parts, within=contents.task.name)


def _without(contents: TaskContents) -> str:
    return "no face crop" if contents.found.get("faces", True) else "no features"


def _video_row(scores: VideoScores, i: int, names: Sequence[str]) -> tuple[Any, ...]:
    value = float(scores.score[i])
    return (
        names[scores.video[i]],
        value if np.isfinite(value) else None,
        int(scores.num_frames[i]),
        f"{scores.without[i]:.0%}",
        *(values[i] for values in scores.beside.values()),
    )
