"""A results table as ``results.md``, ``results.json`` and ``results.csv``."""

import contextlib
import csv
import dataclasses
import io
import json
import pathlib
from typing import Any

from avemo_jax.results_table.contents import Cell, ResultsTable
from avemo_jax.results_table.markdown import markdown
from avemo_jax.results_table.rows import RowSpec
from avemo_jax.runtime.atomic_files import whole_file
from avemo_jax.runtime.plain_text import in_csv

TABLE_SCHEMA_VERSION = 2
FILES = ("results.md", "results.json", "results.csv")
_OF_TABLE = ("synthetic", "split", "protocol", "num_seeds")
_OF_CELL = (
    "tuned_on_reported",
    "smoothing",
    "chosen_on",
    "share_embedded",
    "share_entries",
)


def write_table(directory: pathlib.Path, table: ResultsTable) -> None:
    """Writes the three files; none of them where one cannot be written.

    Args:
        directory: Folder of the files; made where it is missing.
        table: The table to write.

    Raises:
        ValueError: If a number is not finite.
    """
    stored = json_text(table)
    texts = (markdown(table), stored, csv_text(table))
    directory.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        for name, text in zip(FILES, texts, strict=True):
            path = stack.enter_context(whole_file(directory / name))
            path.write_text(text, encoding="utf-8", newline="")


def json_text(table: ResultsTable) -> str:
    """The whole table as JSON; the original's figures only beside Aff-Wild2's.

    Raises:
        ValueError: If a number is not finite.
    """
    stored: dict[str, Any] = {
        "schema_version": TABLE_SCHEMA_VERSION,
        "data": table.title,
        "synthetic": table.synthetic,
        "is_affwild2": table.is_affwild2,
        "split": table.split,
        "protocol": table.protocol,
        "num_seeds": table.num_seeds,
        "environment": table.environment,
        "tasks": list(table.cells),
        "rows": [_row_dict(row, table.is_affwild2) for row in table.rows],
        "cells": [dataclasses.asdict(cell) for cell in table.all_cells],
        "effects": [effect.to_dict() for effect in table.effects],
    }
    return json.dumps(stored, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def csv_text(table: ResultsTable) -> str:
    """One line for each task and row, after a header; empty where there is no value.

    The columns ``reported_score`` and ``reported_time_s``, the original's figures, are
    there only where the data is Aff-Wild2. Several values in one field (extractors,
    heads, seeds) stand with spaces between.
    """
    lines = [
        _csv_line(table, row, cell)
        for task in table.cells
        for row, cell in table.pairs(task)
    ]
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, list(lines[0]) if lines else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {n: in_csv(v) if isinstance(v, str) else v for n, v in line.items()}
        for line in lines
    )
    return file.getvalue()


def _csv_line(table: ResultsTable, row: RowSpec, cell: Cell) -> dict[str, Any]:
    """The fields of one row on one task."""
    low, high = cell.ci95 or (None, None)
    bca_low, bca_high = cell.bca95 or (None, None)
    line: dict[str, Any] = {"data": table.title}
    line |= {name: getattr(table, name) for name in _OF_TABLE}
    line |= {
        "task": cell.task,
        "row": row.id,
        "visual": " ".join(row.visual),
        "sound": " ".join(row.sound),
        "model": row.model,
        "kind": row.kind,
        "heads": " ".join(row.heads),
        "post": row.post,
        "metric": cell.metric,
        "score": cell.score,
        "std": cell.std,
        "ci95_low": low,
        "ci95_high": high,
        "bca95_low": bca_low,
        "bca95_high": bca_high,
        "per_seed": " ".join(str(float(value)) for value in cell.per_seed),
    }
    line |= {name: getattr(cell, name) for name in _OF_CELL}
    if table.is_affwild2:
        reported = row.reported.get(cell.task)
        line["reported_score"] = reported.score if reported else None
        line["reported_time_s"] = reported.time_s if reported else None
    return line | {"note": cell.note}


def _row_dict(row: RowSpec, is_affwild2: bool) -> dict[str, Any]:
    """A row in the form that JSON keeps."""
    stored = dataclasses.asdict(row)
    del stored["reported"], stored["note"]
    if is_affwild2:
        reported = {task: each._asdict() for task, each in row.reported.items()}
        stored |= {"reported_by_the_original": reported, "note": row.note}
    return stored
