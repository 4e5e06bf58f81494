"""The page over all inputs of a folder: a table that sorts, with tiny curves."""

import pathlib
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from absl import logging

from avemo_jax.data.listing import subfolders
from avemo_jax.data.predictions.threshold_file import RUN
from avemo_jax.prediction.page.page_data import kind_of
from avemo_jax.prediction.page.page_file import HERE
from avemo_jax.prediction.predicted import Predicted
from avemo_jax.prediction.tables import TaskColumns, task_columns
from avemo_jax.prediction.written_predictions import PARQUET, KeptRun, kept_task
from avemo_jax.runtime.atomic_files import whole_file
from avemo_jax.runtime.html_pages import bundled, data_element, escaped, html_page
from avemo_jax.runtime.json_files import read_json
from avemo_jax.tasks.unit_names import unit_in_words

INDEX = "index.html"
PAGE = "page.html"
_BINS = 90  # of a tiny curve
# A tiny curve is a text, a letter for each part of the time: the class, or the height.
_LETTERS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_NONE = "."


class IndexedRun(KeptRun):
    """What run.json keeps of an input, with its rows of the summary.

    Attributes:
        duration_s: Length of the input in seconds.
        summary: The input's rows of summary.csv.
    """

    duration_s: float
    summary: tuple[Mapping[str, Any], ...]


def write_index(out: pathlib.Path) -> None:
    """Write ``index.html`` over all complete inputs of a folder, if these are several.

    Args:
        out: The folder of all results.

    Raises:
        OSError: If it cannot be written.
    """
    folders = [folder for folder in subfolders(out) if (folder / RUN).is_file()]
    if len(folders) < 2:
        return
    rows: list[_Cells] = []
    paints: dict[str, int] = {}
    count = 0
    for folder in folders:
        try:
            rows += _rows(folder, paints)
            count += 1
        except (ValueError, OSError) as error:
            logging.warning("%s is not in %s: %s", folder.name, INDEX, error)
    body = (
        '<div class="page"><header><h1>Predictions</h1>'
        f'<p class="muted">{count:,} inputs; a row for each input and face. '
        'The same numbers are in <a href="summary.csv">summary.csv</a>.</p></header>'
        '<main class="card"><div class="tools no-print"><label>Filter by name '
        '<input id="filter" type="search" autocomplete="off"></label>'
        '<span id="count" class="muted small" role="status"></span></div>'
        f"{_legend(paints)}"
        '<div class="scroll-x" tabindex="0" role="region" aria-label="All inputs">'
        f'<table id="inputs">{_table(rows)}</table></div></main>'
        '<p class="muted small">These are what observers would call the faces, not '
        "what people feel, and a model agrees with observers only in part.</p></div>"
        + data_element("letters", {"letters": _LETTERS})
    )
    text = html_page(
        title="Predictions - avemo",
        body=body,
        styles=[(HERE / "index.css").read_text("utf-8")],
        module=bundled(HERE / "index.js"),
    )
    with whole_file(out / INDEX) as path:
        path.write_text(text, encoding="utf-8")


_COLUMNS = (
    ("input", "text"),
    ("face", "number"),
    ("over time", ""),
    ("length", "number"),
    ("found", "number"),
    ("most of the time", "text"),
    ("share", "number"),
    ("mean values", "number"),
    ("most active unit", "text"),
    ("remarks", "number"),
)
# Of a cell: its class, what it is sorted by, and its content.
_Cells = tuple[tuple[str, Any, str], ...]


def _table(rows: Sequence[_Cells]) -> str:
    """The head and body, without columns in which all cells are empty."""
    kept = [
        i
        for i in range(len(_COLUMNS))
        if not rows or any(cells[i][2] for cells in rows)
    ]
    head = "".join(
        f'<th scope="col"{" class=number" if kind == "number" else ""}>'
        + (f'<button type="button" class="sort">{name}</button>' if kind else name)
        + "</th>"
        for name, kind in (_COLUMNS[i] for i in kept)
    )
    body = "".join(
        "<tr>"
        + "".join(
            f'<td class="{kind}" data-key="{escaped(str(key))}">{content}</td>'
            for kind, key, content in (cells[i] for i in kept)
        )
        + "</tr>"
        for cells in rows
    )
    return f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"


def _legend(paints: Mapping[str, int]) -> str:
    items = "".join(
        f'<li><i class="swatch kind-{number}"></i>{escaped(name)}</li>'
        for name, number in paints.items()
    )
    return f'<ul class="legend">{items}</ul>' if items else ""


def _rows(folder: pathlib.Path, paints: dict[str, int]) -> Iterator[_Cells]:
    """Rows of one input; adds its classes to the legend."""
    remedy = "predict the input again, with --overwrite"
    run: IndexedRun = read_json(folder / RUN, IndexedRun, remedy=remedy)
    parts = task_columns(_without_faces(run))
    tiny = _tiny_curves(folder, parts, run["duration_s"])
    classes = next((p for p in parts if p.decided), None)
    if classes is not None:
        paints |= {
            name: kind_of(name, i) for i, name in enumerate(classes.task.columns)
        }
    page = folder / PAGE
    address = urllib.parse.quote(folder.name) + (f"/{PAGE}" if page.is_file() else "/")
    for row in run["summary"]:
        yield _row(run, row, parts, address, tiny.get(row["face_id"], ""))


def _without_faces(run: KeptRun) -> Predicted:
    """The input without its faces, of which nothing but names is asked."""
    return Predicted(
        name=run["input"],
        path=pathlib.Path(run["path"]),
        times_s=np.zeros(0),
        fps=run["fps"],
        width=run["width"],
        height=run["height"],
        tasks=tuple(kept_task(stored) for stored in run["tasks"]),
        thresholds={},
        faces=(),
        audio_used=run["audio_used"],
    )


def _row(
    run: IndexedRun,
    row: Mapping[str, Any],
    parts: Sequence[TaskColumns],
    address: str,
    tiny: str,
) -> _Cells:
    """The cells of a face, or of an input without one."""
    face, name = row["face_id"], escaped(run["input"])
    target = f"{address}#face={face}" if face is not None else address
    classes = next((p for p in parts if p.decided), None)
    units = next((p for p in parts if p.active), None)
    values = next((p for p in parts if p.task.kind == "regression"), None)
    label, share = _most(classes, "pct_time_{}", row)
    unit, rate = _most(units, "rate_{}_pct", row)
    means = [row.get(f"mean_{n}") for n in (values.scores if values else ())]
    told = ", ".join(
        f"{n} {mean:.2f}"
        for n, mean in zip(values.scores if values else (), means, strict=True)
        if mean is not None
    )
    words = f"{unit} {unit_in_words(unit) or ''}".strip()
    warnings = [one for one in str(row["warnings"] or "").split("; ") if one]
    remarks = f'<span title="{escaped("; ".join(warnings))}">{len(warnings)}</span>'
    canvas = (
        f'<canvas class="tiny" width="180" height="34" data-tiny="{tiny}"></canvas>'
    )
    return (
        ("", run["input"].casefold(), f'<a href="{target}">{name}</a>'),
        ("number", face or 0, "" if face is None else str(face)),
        ("", "", canvas),
        ("number", run["duration_s"], _length(run["duration_s"])),
        ("number", row["face_found_pct"] or 0, f"{row['face_found_pct'] or 0:.0f} %"),
        ("", label.casefold(), escaped(label)),
        ("number", share, f"{share:.0f} %" if label else ""),
        ("number", "" if not means or means[0] is None else means[0], escaped(told)),
        ("", -rate, escaped(f"{words}, {rate:.0f} %") if unit else ""),
        ("number", len(warnings), remarks if warnings else "0"),
    )


def _most(
    part: TaskColumns | None, column: str, row: Mapping[str, Any]
) -> tuple[str, float]:
    """The class or unit with the largest share of the time; "" where there is none."""
    known = [
        (row[column.format(name)], name)
        for name in (part.scores if part else ())
        if row.get(column.format(name)) is not None
    ]
    if not known:
        return "", 0.0
    share, name = max(known, key=lambda pair: pair[0])
    return name, float(share)


def _length(seconds: float) -> str:
    if not seconds:
        return "image"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}" if minutes else f"{seconds:.1f} s"


def _tiny_curves(
    folder: pathlib.Path, parts: Sequence[TaskColumns], duration_s: float
) -> dict[int, str]:
    """For each face its class and its first value over time, as letters.

    Args:
        folder: The folder of the input.
        parts: Its columns by task.
        duration_s: Length of the input in seconds.

    Raises:
        ValueError: If the table is damaged.
    """
    classes = next((p for p in parts if p.decided), None)
    values = next((p for p in parts if p.task.kind == "regression"), None)
    wanted = ["face_id", "timestamp"]
    wanted += [classes.decided] if classes else []
    wanted += [values.scores[0]] if values else []
    try:
        table = pyarrow.parquet.read_table(folder / PARQUET, columns=wanted)
    except (pa.ArrowException, KeyError) as error:
        raise ValueError(f"{folder / PARQUET}: {error!s:.200}") from error
    face_id = table["face_id"].fill_null(0).to_numpy()
    times_s = table["timestamp"].to_numpy()
    start_s = times_s[0] if len(times_s) else 0.0
    at = np.minimum((times_s - start_s) / (duration_s or 1) * _BINS, _BINS - 1)
    at = at.astype(int)
    found = {}
    for face in np.unique(face_id[face_id > 0]):
        own = face_id == face
        ribbon = curve = ""
        if classes:
            codes = _codes(classes, table, own)
            ribbon = _letters_of(at[own], codes, len(classes.scores))
        if values:
            heights = table[values.scores[0]].to_numpy()[own].astype(float)
            curve = _heights_of(at[own], heights, values.task.value_range)
        found[int(face)] = f"{ribbon or _NONE * _BINS}{curve or _NONE * _BINS}"
    return found


def _codes(part: TaskColumns, table: pa.Table, own: np.ndarray) -> np.ndarray:
    """Numbers of the colours of decided classes, -1 where there is none."""
    names = table[part.decided].to_numpy(zero_copy_only=False)[own]
    of_name = {name: kind_of(name, i) for i, name in enumerate(part.task.columns)}
    return np.array([of_name.get(name, -1) for name in names], int)


def _letters_of(at: np.ndarray, codes: np.ndarray, count: int) -> str:
    """The most frequent code of each bin."""
    most = max(int(codes.max(initial=0)), count) + 1
    counts = np.zeros((_BINS, most), int)
    np.add.at(counts, (at[codes >= 0], codes[codes >= 0]), 1)
    best = np.where(counts.any(axis=1), counts.argmax(axis=1), -1)
    return "".join(_NONE if one < 0 else _LETTERS[one] for one in best)


def _heights_of(at: np.ndarray, values: np.ndarray, limits: tuple[float, float]) -> str:
    """The mean of each bin as a height of 61 steps."""
    known = np.isfinite(values)
    count = np.bincount(at[known], minlength=_BINS)
    total = np.bincount(at[known], weights=values[known], minlength=_BINS)
    share = (total / np.maximum(count, 1) - limits[0]) / (limits[1] - limits[0])
    steps = np.round(np.clip(share, 0, 1) * (len(_LETTERS) - 1)).astype(int)
    return "".join(
        _LETTERS[step] if there else _NONE
        for step, there in zip(steps, count, strict=True)
    )
