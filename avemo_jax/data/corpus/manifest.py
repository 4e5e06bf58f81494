"""A user's own manifest of videos, and tables in CSV with the line of each row."""

import csv
import dataclasses
import difflib
import math
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import NoReturn

from absl import logging

from avemo_jax.data.corpus.splits import SPLITS, nominal_fps, source_video
from avemo_jax.data.listing import first_of, nfc

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
        line: Line of the manifest on which the video stands.
    """

    video: str
    split: str
    group: str
    path: pathlib.Path | None
    fps: float
    line: int


def fail(where: str, what: str, expected: str, instead: str) -> NoReturn:
    """Raise a ``ValueError`` with the place and the three parts of an error.

    Args:
        where: The place: file, line, column.
        what: What is wrong there.
        expected: What was expected.
        instead: What the user can do.
    """
    raise ValueError(f"{where}: {what}; expected {expected}: {instead}")


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


class CsvTable:
    """A CSV file with a header line.

    Attributes:
        path: The file.
        columns: Names of the columns, from the header.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Read the file whole.

        Raises:
            ValueError: If there is no such file, it is not UTF-8 or not divided by
                commas, or its header is empty or has a name twice or an empty one.
        """
        self.path = pathlib.Path(path)
        if not self.path.is_file():
            fail(str(path), "no such file", "a CSV file", "correct the path")
        try:
            self._text = self.path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            line = error.object[: error.start].count(b"\n") + 1
            fail(f"{path}, line {line}", "not UTF-8", "UTF-8", "save it as UTF-8")
        header = next(csv.reader(self._text.splitlines()[:1]), [])
        self.columns = tuple(name.strip() for name in header)
        where = f"{path}, line 1"
        if len(header) == 1 and set(header[0]) & set(";\t"):
            fail(where, f"{header[0]!r} has no comma", "commas", "save it with commas")
        twice = {name for name in self.columns if self.columns.count(name) > 1}
        if not header or twice or not all(self.columns):
            told = ", ".join(sorted(twice)) or "a column without a name"
            told = told if header else "an empty file"
            fail(where, told, "each column named, once", "correct the header")

    def need(self, name: str) -> None:
        """Check that there is a column ``name``.

        Raises:
            ValueError: If there is none.
        """
        if name not in self.columns:
            where = f"{self.path}, line 1"
            has = f"no column {name!r} among {', '.join(self.columns)}"
            near = difflib.get_close_matches(name, self.columns, 1)
            instead = f"rename {near[0]!r}" if near else "add it"
            fail(where, has, f"a column {name!r}", instead)

    def rows(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Line number and cells of every row that is not blank, stripped.

        Raises:
            ValueError: If a row has more or fewer cells than the header.
        """
        reader = csv.reader(self._text.splitlines())
        next(reader)
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(self.columns):
                fail(
                    f"{self.path}, line {reader.line_num}",
                    f"{len(cells)} cells",
                    f"{len(self.columns)}, as in the header",
                    "correct the line",
                )
            named = zip(self.columns, cells, strict=True)
            yield reader.line_num, {name: cell.strip() for name, cell in named}


def read_manifest(path: str | os.PathLike[str]) -> dict[str, Entry]:
    """The videos of ``manifest.csv``, by name, in the order of its lines.

    The columns are video, split and, if wanted, path, group and fps.

    Raises:
        ValueError: If the file is wrong; the error names file, line and column.
    """
    table = CsvTable(path)
    for name in ("video", "split"):
        table.need(name)
    for name in table.columns:
        if name not in _COLUMNS:
            instead = meant(name, _COLUMNS, "remove or rename the column")
            known = f"only {', '.join(_COLUMNS)}"
            fail(f"{path}, line 1", f"unknown column {name!r}", known, instead)
    found: dict[str, Entry] = {}
    for line, row in table.rows():
        entry = _entry(table, line, row)
        if entry.video in found:
            first = found[entry.video].line
            fail(
                f"{path}, line {line}, column 'video'",
                f"{entry.video!r} again",
                f"each video once (line {first})",
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


def _entry(table: CsvTable, line: int, row: Mapping[str, str]) -> Entry:
    where = f"{table.path}, line {line}, column"
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
    fps = number_of(row.get("fps") or "nan", f"{where} 'fps'")
    if fps <= 0 or math.isinf(fps):
        fail(f"{where} 'fps'", row["fps"], "frames per second over 0", "correct it")
    place = row.get("path")
    file = table.path.parent / place if place else None
    fps = nominal_fps(video) if math.isnan(fps) else fps
    group = nfc(row.get("group", "")) or source_video(video)
    return Entry(video, split, group, file, fps, line)


def number_of(text: str, where: str) -> float:
    """The number that ``text`` is; NaN for "nan".

    Raises:
        ValueError: If it is no number.
    """
    try:
        return float(text)
    except ValueError:
        instead = "correct the cell"
        if "," in text:
            instead = "write a point for the decimals"
        fail(where, f"{text!r}", "a number", instead)


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
