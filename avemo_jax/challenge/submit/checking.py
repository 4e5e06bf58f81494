"""Reads a submission file and tells what is wrong with it.

The check shares nothing with the writer but the names of the task's columns. It takes
any file and reads line by line, so that every fault is told with its line.
"""

import dataclasses
import os
import pathlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest

from avemo_jax.tasks import TASKS, Task

_MOST = 5  # faults of one kind that are shown
_BOM = b"\xef\xbb\xbf"
_NAME = rb"([^,/]+)/([0-9]{5}|[1-9][0-9]{5,})\.jpg"
_VALUE = {
    "EXPR": rb"[0-7]",
    "AU": rb"[01]",
    "VA": rb"-?(?:0(?:\.[0-9]+)?|1(?:\.0+)?)",
}
_EXPECTED = {
    "EXPR": "an integer 0 to 7",
    "AU": "0 or 1",
    "VA": "a plain decimal from -1 to 1",
}
# Test videos and lines with header of the challenge's own files (ABAW 6 to 8).
_OFFICIAL = {"EXPR": (228, 1_022_656), "AU": (141, 729_737), "VA": (162, 927_211)}


@dataclasses.dataclass(frozen=True)
class Finding:
    """One kind of fault.

    Attributes:
        what: What is wrong, and what was expected.
        count: How often the fault occurs.
        first: The first five occurrences, with their lines.
    """

    what: str
    count: int
    first: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class FileReport:
    """What is in a file, and what is wrong with it.

    Attributes:
        path: The file.
        task: Name of the task.
        rows_of: How many rows each video has, in the file's order.
        findings: The kinds of faults; empty where all is well.
        notes: Remarks, such as on what could not be checked.
    """

    path: str
    task: str
    rows_of: Mapping[str, int]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether there are no findings."""
        return not self.findings

    def __str__(self) -> str:
        """The report as several lines of text."""
        verdict = "no faults"
        if self.findings:
            verdict = f"FAULTS, {sum(f.count for f in self.findings)} in all"
        lines = [
            f"{self.path}: {self.task}, {len(self.rows_of)} videos, "
            f"{sum(self.rows_of.values())} rows: {verdict}"
        ]
        for each in self.findings:
            lines.append(f"  {each.count} x {each.what}")
            lines += [f"      {text}" for text in each.first]
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])


class _Findings:
    """Counts the faults of each kind, and keeps the first ones."""

    def __init__(self) -> None:
        self._count: Counter[str] = Counter()
        self._first: dict[str, list[str]] = {}

    def add(self, what: str, text: str) -> None:
        self._count[what] += 1
        shown = self._first.setdefault(what, [])
        if len(shown) < _MOST:
            shown.append(text)

    def __iter__(self) -> Iterator[Finding]:
        for what, count in self._count.items():
            yield Finding(what, count, tuple(self._first[what]))


def check_submission(
    path: str | os.PathLike[str],
    task: Task,
    *,
    videos: Sequence[str] | None = None,
    frames: Mapping[str, int] | None = None,
    example: str | os.PathLike[str] | None = None,
) -> FileReport:
    """A report on a submission file: header, columns, names, order, ranges, counts.

    A byte-order mark and Windows line ends are faults, but the rest is read. Without an
    example, each video must be in one piece with the frames 1, 2, ...; with one, the
    rows must be exactly the example's.

    Args:
        path: The file.
        task: The task that the file is to be a submission of.
        videos: The videos that the file must have, in this order; None: any.
        frames: How many frames each video must have; may know more videos. None: any.
        example: An official file with the same rows; its values are not read. None:
            there is none.

    Raises:
        ValueError: If the file or the example is missing, or the example is of
            another task.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise ValueError(
            f"no file {str(path)!r}; expected a submission of {task.name}: correct the "
            "path"
        )
    findings = _Findings()
    with path.open("rb") as file:
        _check_header(file.readline(), task, findings)
        rows_of = _check_rows(file, task, findings, in_order=example is None)
    _check_videos(rows_of, videos, frames, findings, in_order=example is None)
    if example is not None:
        _compare(path, pathlib.Path(example), task, findings)
    notes = []
    if example is None and frames is None:
        notes.append(
            "the number of frames of each video was not checked: give the official "
            "example or a list of them"
        )
    known_videos, known_lines = _OFFICIAL[task.name]
    lines = sum(rows_of.values()) + 1
    if len(rows_of) == known_videos and lines != known_lines:
        notes.append(
            f"{lines} lines with the header; the challenge's file of {known_videos} "
            f"videos is known to have {known_lines}"
        )
    return FileReport(str(path), task.name, rows_of, tuple(findings), tuple(notes))


def _check_header(line: bytes, task: Task, findings: _Findings) -> None:
    """Check the first line, with the byte-order mark before it and its line end."""
    if line.startswith(_BOM):
        findings.add("a byte-order mark; expected plain UTF-8", "line 1")
        line = line.removeprefix(_BOM)
    if line.endswith(b"\r\n"):
        findings.add("the header ends as on Windows; expected \\n", "line 1")
    header = line.rstrip(b"\r\n").decode("utf-8", "replace")
    if header == f"image_location,{task.header}":
        return
    what = f"the header is wrong; expected 'image_location,{task.header}'"
    owner = [t.name for t in TASKS.values() if header.endswith(f",{t.header}")]
    found = f"the header of {owner[0]}" if owner else repr(header[:120])
    findings.add(what, f"line 1: {found}")


def _check_rows(
    lines: Iterable[bytes], task: Task, findings: _Findings, *, in_order: bool
) -> dict[str, int]:
    """Check every line after the header; returns how many rows each video has."""
    columns = 1 if task.name == "EXPR" else task.num_outputs
    whole = re.compile(_NAME + (rb"," + _VALUE[task.name]) * columns)
    name = re.compile(_NAME)
    rows_of: Counter[bytes] = Counter()
    video, last, line = b"", 0, b"\n"
    for number, line in enumerate(lines, start=2):
        row = line[:-1] if line.endswith(b"\n") else line
        if row.endswith(b"\r"):
            findings.add("lines end as on Windows; expected \\n", f"line {number}")
            row = row[:-1]
        match = whole.fullmatch(row)
        if match is None:
            _explain(row, number, task, columns, findings)
            match = name.match(row)
            if match is None:
                continue
        frame = int(match[2])
        if match[1] != video:
            if in_order and match[1] in rows_of:
                what = "a video goes on after another; expected each in one piece"
                findings.add(what, f"line {number}: {_text(row)}")
                last = frame - 1
            else:
                last = 0
            video = match[1]
        if in_order and frame != last + 1:
            what = "a frame is out of order; expected 1, 2, 3, ... of each video"
            findings.add(
                what, f"line {number}: {_text(row)}, expected frame {last + 1}"
            )
        rows_of[video] += 1
        last = frame
    if not line.endswith(b"\n"):
        findings.add("no line end after the last line: was it cut off?", _text(line))
    if not rows_of:
        findings.add("no rows; expected one for every frame of every video", "line 2")
    return {video.decode("utf-8", "replace"): n for video, n in rows_of.items()}


def _explain(
    row: bytes, number: int, task: Task, columns: int, findings: _Findings
) -> None:
    """Add to ``findings`` what is wrong with a row that does not fit the format."""
    where = f"line {number}: {_text(row)}"
    if not row:
        findings.add("a blank line; expected none", f"line {number}")
        return
    try:
        row.decode()
    except UnicodeDecodeError:
        findings.add("a line is not UTF-8", where)
    image, *values = row.split(b",")
    if not re.fullmatch(_NAME, image):
        findings.add("a name is not of the form VIDEO/00001.jpg", where)
    if len(values) != columns:
        what = f"a wrong number of columns; expected {columns + 1}"
        findings.add(what, f"{where}: {len(values) + 1}")
        return
    for value in values:
        if not re.fullmatch(_VALUE[task.name], value):
            what = f"a value is wrong; expected {_EXPECTED[task.name]}"
            findings.add(what, f"{where}: {_text(value)}")


def _check_videos(
    rows_of: Mapping[str, int],
    videos: Sequence[str] | None,
    frames: Mapping[str, int] | None,
    findings: _Findings,
    *,
    in_order: bool,
) -> None:
    """Check which videos there are, in which order, and how long they are."""
    if videos is not None:
        listed = frozenset(videos)
        for video in videos:
            if video not in rows_of:
                findings.add("a listed video is missing", video)
        for video in rows_of:
            if video not in listed:
                findings.add("a video is not in the list", video)
        expected = [video for video in videos if video in rows_of]
        found = [video for video in rows_of if video in listed]
        for here, there in zip(found, expected, strict=True):
            if in_order and here != there:
                what = "a video is not where the list has it"
                findings.add(what, f"{here}, expected {there}")
    for video, count in rows_of.items() if frames is not None else ():
        if frames is not None and frames.get(video) != count:
            what = "a video has a wrong number of rows"
            findings.add(
                what, f"{video}: {count}, expected {frames.get(video, 'none')}"
            )


def _names(path: pathlib.Path) -> Iterator[bytes]:
    """The first column of every line after the header."""
    with path.open("rb") as file:
        file.readline()
        for line in file:
            yield line.partition(b",")[0].strip()


def _compare(
    path: pathlib.Path, example: pathlib.Path, task: Task, findings: _Findings
) -> None:
    """Check that the names of the rows are the example's, one by one."""
    _check_example(example, task)
    if all(
        ours == theirs for ours, theirs in zip_longest(_names(path), _names(example))
    ):
        return
    ours = _lines_of(_names(path), findings)
    theirs = _lines_of(_names(example), _Findings())
    what = "a row of the example is missing"
    for name, number in theirs.items():
        if name not in ours:
            findings.add(what, f"{_text(name)}, line {number} of the example")
    for name, number in ours.items():
        if name not in theirs:
            findings.add("a row is not in the example", f"line {number}: {_text(name)}")
    found = [name for name in ours if name in theirs]
    expected = [name for name in theirs if name in ours]
    for here, there in zip(found, expected, strict=True):
        if here != there:
            text = f"line {ours[here]}: {_text(here)}, expected {_text(there)}"
            findings.add("a row is not where the example has it", text)
    counts = [Counter(n.partition(b"/")[0] for n in names) for names in (ours, theirs)]
    for video in {**counts[1], **counts[0]}:  # in the example's order
        if counts[0][video] != counts[1][video]:
            text = f"{_text(video)}: {counts[0][video]}, example {counts[1][video]}"
            findings.add("a video has not as many rows as in the example", text)


def _check_example(example: pathlib.Path, task: Task) -> None:
    """Check that the example's header is the task's, spaces aside.

    Raises:
        ValueError: If it is not, or there is no such file.
    """
    first = b""
    if example.is_file():
        with example.open("rb") as file:
            first = file.readline().removeprefix(_BOM)
    header = b",".join(part.strip() for part in first.split(b","))
    if header != f"image_location,{task.header}".encode():
        found = f"header {_text(header)}" if first else "no such file, or empty"
        raise ValueError(
            f"{example}: {found}; expected 'image_location,{task.header}': give the "
            f"official example of {task.name}"
        )


def _lines_of(names: Iterable[bytes], findings: _Findings) -> dict[bytes, int]:
    """The line on which each name first occurs; repeated names go into ``findings``."""
    lines: dict[bytes, int] = {}
    for number, name in enumerate(names, start=2):
        if name in lines:
            text = f"line {number}: {_text(name)}, after line {lines[name]}"
            findings.add("a row is there twice", text)
        else:
            lines[name] = number
    return lines


def _text(data: bytes) -> str:
    return repr(data.rstrip(b"\r\n")[:80].decode("utf-8", "replace"))
