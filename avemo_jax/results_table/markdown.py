"""A results table as a Markdown page."""

from collections.abc import Mapping, Sequence
from typing import Any

from avemo_jax.results_table.contents import Cell, ResultsTable, metric_title
from avemo_jax.results_table.rows import RowSpec
from avemo_jax.runtime.plain_text import in_markdown
from avemo_jax.tasks import TASKS

_NETWORKS = {
    "enet_b2": "B2",
    "enet_b0": "B0",
    "vggish": "VGGish",
    "wav2vec2": "wav2vec2",
}


def markdown(table: ResultsTable) -> str:
    """The page: a table for each task, effects, versions.

    Args:
        table: The table to show, with the original's figures only where the data is
            Aff-Wild2.
    """
    blocks = [_title(table), *_about(table)]
    for task in table.cells:
        blocks += _task(table, task)
    if table.effects:
        blocks += ["## Effects", _effects(table)]
    if table.environment:
        named = [(name, _word(value)) for name, value in table.environment.items()]
        blocks += ["## Versions", grid(("", "value"), named)]
    return "\n\n".join(blocks) + "\n"


def network(extractor: str) -> str:
    """What tables call an extractor's network: B2 of ``enet_b2_8_best``."""
    for start, name in _NETWORKS.items():
        if extractor.startswith(start):
            return name
    return extractor


def networks(extractors: Sequence[str]) -> str:
    """Networks of several extractors, joined; "none" where there are none."""
    return " + ".join(map(network, extractors)) or "none"


def number(value: float) -> str:
    """A score with three digits and no zero before the point."""
    text = f"{value:.3f}"
    if float(text) == 0:
        return ".000"
    return text.replace("0.", ".", 1) if abs(float(text)) < 1 else text


def score_text(
    value: float | None,
    std: float | None = None,
    ci95: tuple[float, float] | None = None,
) -> str:
    """A score like .457 ± .004 [.431, .480]; "-" where there is no value."""
    if value is None:
        return "-"
    text = number(value)
    if std is not None:
        text += f" ± {number(std)}"
    if ci95 is not None:
        text += f" [{number(ci95[0])}, {number(ci95[1])}]"
    return text


def _title(table: ResultsTable) -> str:
    """The heading, with data, split, protocol and seeds."""
    seeds = f"{table.num_seeds} seed" + ("s" if table.num_seeds != 1 else "")
    title = f"{table.title}, {table.split}, protocol {table.protocol}, {seeds}"
    return f"# Results: {in_markdown(title)}"


def _about(table: ResultsTable) -> list[str]:
    """How the page is to be read, a paragraph each."""
    found, split = [], in_markdown(table.split)
    if table.synthetic:
        found.append(
            "**The data is synthetic: its scores say nothing about real faces.**"
        )
    several = "mean over seeds ± their standard deviation " * (table.num_seeds > 1)
    found.append(
        f"Scores: {several}[95 % interval over videos], over frames with a face crop "
        "and a valid label. "
        f'"Tuned on {split}" has settings chosen on the reported split itself: '
        "too good to report."
    )
    found.append(
        '"Reported by the original" are its own figures, reached with settings chosen '
        "on the reported split; its times were taken on other machines, and ours for "
        "the same work are printed by scripts/benchmark_table_times.py."
        if table.is_affwild2
        else "The scores and times that the original reported are not shown: they are "
        "of Aff-Wild2, and this is other data."
    )
    used = dict.fromkeys(n for row in table.rows for n in (*row.visual, *row.sound))
    names = ", ".join(f"{network(name)} is `{name}`" for name in used)
    found.append(f"Extractors: {names}.")
    cells = table.all_cells
    if missing := sum(cell.score is None for cell in cells):
        found.append(
            f'Without a value ("-"): {missing} of {len(cells)} cells; the reasons '
            "stand beneath the tables."
        )
    return found


def _task(table: ResultsTable, task: str) -> list[str]:
    """The section of one task."""
    on = table.chosen_on
    header = ["visual", "sound", "model", f"ours (chosen on {on})" if on else "ours"]
    header.append(f"tuned on {table.split}")
    if table.is_affwild2:
        header += ["reported by the original", "s reported by the original"]
    header.append("smoothing")
    lines = [_line(table, row, cell, on) for row, cell in table.pairs(task)]
    title = f"## {TASKS[task].full_title}, {metric_title(task)}: "
    section = [
        title + in_markdown(f"{table.title}, {table.split}"),
        grid(header, lines),
    ]
    if notes := _notes(table, task):
        section.append("\n".join(notes))
    return section


def _line(table: ResultsTable, row: RowSpec, cell: Cell, on: str | None) -> list[str]:
    """One row of a task's table."""
    reported = row.reported.get(cell.task)
    line = [networks(row.visual), networks(row.sound), row.model]
    line.append(score_text(cell.score, cell.std, cell.ci95))
    line.append(score_text(cell.tuned_on_reported))
    if table.is_affwild2:
        line.append(f"{reported.score:g}".replace("0.", ".", 1) if reported else "-")
        line.append(f"{reported.time_s:g}" if reported else "-")
    parts = [cell.smoothing]
    if cell.share_embedded is not None:
        parts.append(f"{cell.share_embedded:.1%} of frames embedded")
    if cell.share_entries is not None:
        parts.append(f"{cell.share_entries:.1%} of window entries")
    if cell.score is not None and cell.chosen_on != on:
        where = f"chosen on {cell.chosen_on}" if cell.chosen_on else "nothing chosen"
        parts.append(where)
    return [*line, "; ".join(part for part in parts if part) or "-"]


def _notes(table: ResultsTable, task: str) -> list[str]:
    """Notes on rows, and why values are missing, as items of a list."""
    found = []
    for row, cell in table.pairs(task):
        said = [cell.note] if cell.note else []
        if cell.score is None:
            said = [f"no value: {cell.note or 'no reason was given'}"]
        if table.is_affwild2 and row.note:
            said.append(row.note)
        name = f"{networks((*row.visual, *row.sound))}, {row.model}"
        found += [f"- {in_markdown(name)}: {in_markdown(note)}" for note in said]
    return found


def _effects(table: ResultsTable) -> str:
    """A table of the effects: what was expected, and what was found."""
    header = ("task", "effect", "expected", "difference [95 % interval]", "holds")
    lines = [
        (
            effect.task,
            effect.name,
            "> 0",
            score_text(effect.difference, None, effect.ci95),
            "yes" if effect.holds else "**no**",
            effect.comment or "-",
        )
        for effect in table.effects
    ]
    return grid((*header, "comment"), lines)


def _word(value: Any) -> str:
    """A value as text; numbers to four digits."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_word(v)}" for name, v in value.items()) or "-"
    if isinstance(value, list | tuple):
        return "; ".join(map(_word, value)) or "-"
    return str(value)


def grid(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table; every cell escaped.

    Args:
        header: Names of the columns.
        lines: Cells of each row.
    """
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join("| " + " | ".join(map(in_markdown, row)) + " |" for row in rows)
