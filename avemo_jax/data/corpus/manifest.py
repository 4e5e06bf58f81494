"""A user's own manifest of videos."""

import dataclasses
import difflib
import math
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import NoReturn

import numpy as np
import pyarrow.compute as pc
from absl import logging

from avemo_jax.data.corpus.splits import SPLITS, nominal_fps, source_video
from avemo_jax.data.listing import first_of, nfc
from avemo_jax.runtime.tables import Table, read_table
from avemo_jax.runtime.tables.words import MISSING

_COLUMNS = ("video", "path", "split", "group", "fps")


@dataclasses.dataclass(frozen=True)
class Entry:
    """One video of a manifest.

    Attributes:
        video: Name of the video, by which its feature files are called too.
        split: "train", "dev", "validation" or "test".
        group: The recording or person that no two splits are to share: the manifest's
            or, where that is empty, the one that the name tells.
        path: The video file; None: not given.
        fps: Frames per second; NaN where neither the manifest nor the name tells it.
        place: Where in the manifest the video stands: "line 5".
    """

    video: str
    split: str
    group: str
    path: pathlib.Path | None
    fps: float
    place: str


def fail(where: str, what: str, expected: str, instead: str) -> NoReturn:
    """Raise a ``ValueError`` with the place and the three parts of an error.

    Args:
        where: The place: file, line, column.
        what: What is wrong there.
        expected: What was expected.
        instead: What the user can do.
    """
    raise ValueError(f"{where}: {what:.300}; expected {expected:.300}: {instead:.300}")


def meant(text: str, known: Iterable[str], otherwise: str) -> str:
    """Advice about an unknown name.

    Args:
        text: The unknown name.
        known: Names of which one similar to ``text`` is proposed.
        otherwise: The advice where none is similar.
    """
    names = {name.lower(): name for name in known}
    near = difflib.get_close_matches(text.lower(), names, 1)
    return f"did you mean {names[near[0]]!r}?" if near else otherwise


def alike(names: Iterable[str]) -> list[list[str]]:
    """Names that differ only in case, spaces or Unicode form, sorted, in groups."""
    groups: dict[str, list[str]] = {}
    for name in sorted(set(names)):
        plain = "".join(nfc(name).casefold().split())
        groups.setdefault(plain, []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def read_manifest(path: str | os.PathLike[str]) -> dict[str, Entry]:
    """The videos of a manifest by name, in the order of its lines.

    It is a table in any form that ``read_table`` reads, with the columns video, split
    and, if wanted, path, group and fps.

    Raises:
        ValueError: If the file is wrong; the error names file, line and column.
    """
    table = read_table(path, known=_COLUMNS)
    for name in ("video", "split"):
        table.need(name)
    for name in table.columns:
        if name not in _COLUMNS:
            instead = meant(name, _COLUMNS, "remove or rename the column")
            known = f"only {', '.join(_COLUMNS)}"
            fail(table.header, f"unknown column {name!r}", known, instead)
    found: dict[str, Entry] = {}
    for entry in _entries(table):
        if entry.video in found:
            fail(
                f"{path}, {entry.place}, column 'video'",
                f"{entry.video!r} again",
                f"each video once ({found[entry.video].place})",
                "remove one of the lines",
            )
        found[entry.video] = entry
    if not found:
        fail(str(path), "no videos", "one video a line", "add them")
    for groups in alike(entry.group for entry in found.values()):
        logging.warning(
            "%s, column 'group': %s differ only in case or spaces, and are taken as "
            "%d; if they are one person, write them alike, else splits may share it",
            path,
            ", ".join(map(repr, groups)),
            len(groups),
        )
    return found


def _entries(table: Table) -> Iterator[Entry]:
    """The videos of a manifest, row by row."""
    cells = {name: [""] * table.num_rows for name in ("path", "group")}
    for name in {"video", "split", "path", "group"} & set(table.columns):
        cells[name] = pc.fill_null(table.texts(name), "").to_pylist()
    rates = np.full(table.num_rows, np.nan)
    if "fps" in table.columns:
        rates = table.numbers("fps")
    for note in table.notes:
        logging.info("%s: %s", table.path, note)
    for row, place in enumerate(table.places()):
        one = {name: texts[row] for name, texts in cells.items()}
        one |= {n: "" for n in ("path", "group") if one[n] in MISSING}
        yield _entry(table.path, place, one, float(rates[row]))


def _entry(path: pathlib.Path, place: str, row: Mapping[str, str], fps: float) -> Entry:
    where = f"{path}, {place}, column"
    video, split = nfc(row["video"]), row["split"]
    if not video or "/" in video or "\\" in video:
        fail(
            f"{where} 'video'",
            f"{row['video']!r}",
            "a name without folder",
            "name it as its feature file is called",
        )
    if split not in SPLITS:
        instead = "choose one; dev may be left out, it is then drawn from train"
        if split.lower() in ("val", "valid", "eval"):
            instead = "write validation, or dev for what epochs are chosen by"
        else:
            instead = meant(split, SPLITS, instead)
        fail(f"{where} 'split'", f"{split!r}", f"one of {', '.join(SPLITS)}", instead)
    if fps <= 0 or math.isinf(fps):
        fail(f"{where} 'fps'", f"{fps:g}", "frames per second over 0", "correct it")
    file = path.parent / row["path"] if row["path"] else None
    fps = nominal_fps(video) if math.isnan(fps) else fps
    group = nfc(row["group"]) or source_video(video)
    return Entry(video, split, group, file, fps, place)


def say_unlabelled(
    manifest: Mapping[str, Entry], labels: Mapping[str, Mapping[str, object]]
) -> None:
    """Log the videos that have no labels although they are not test videos."""
    lost = [v for v, e in manifest.items() if not labels[v] and e.split != "test"]
    if lost:
        logging.warning(
            "%d videos of the manifest have no labels and are in no training and no "
            "score: %s",
            len(lost),
            first_of(lost, 5),
        )
