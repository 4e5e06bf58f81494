"""Tables of text: commas, semicolons or tabs; UTF-8 or UTF-16; plain or gzip.

What has one meaning is read, and told in the notes where it is not the plain form; what
has several is an error that says what to do. All cells are texts.
"""

import codecs
import csv
import gzip
import io
import itertools
import os
import pathlib
import re
import zlib
from collections.abc import Callable, Iterator
from typing import NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from avemo_jax.runtime.array_files import check_growth
from avemo_jax.runtime.tables.limits import check_columns, check_size, twice

GZIP = b"\x1f\x8b"
_PACKED = {b"PK\x03\x04": ".xlsx or .zip", b"BZh": ".bz2", b"\xfd7zXZ": ".xz"}
_PACKED |= {b"\x28\xb5\x2f\xfd": ".zst", b"\xd0\xcf\x11\xe0": ".xls"}
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_DIVIDERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
# Names of columns by the cells of a line; None where these are the names.
Unnamed = Callable[[list[str]], list[str] | None]
_HEAD = 1 << 20  # bytes in which header and first line are
_INDEX_NAME = re.compile(r"(unnamed: ?\d+)?", re.IGNORECASE)  # pandas reads "" so
_NUMBERING = "\0"  # stands for the name that a header lacks
_NUMBERED = "the table's first column numbers the rows, and is left out"
_QUOTED_LATE = r'^\s+"(.*)"\s*$'  # a quote after a space, as in: a, "b"


class TextTable:
    """A table of text, read whole.

    Attributes:
        path: The file.
        names: Names of the columns, in their order.
        num_rows: How many rows there are that are not blank.
        notes: In which respects the file is not UTF-8 divided by commas.
        divider: What divides the cells.
    """

    def __init__(
        self,
        path: pathlib.Path,
        *,
        narrow: tuple[str, ...] = (),
        rows: bool = True,
        unnamed: Unnamed | None = None,
    ) -> None:
        """Read the file.

        Args:
            path: The file.
            narrow: Names of the columns where lines have as many cells as these, and
                the header more.
            rows: Read the rows too; without them there are none.
            unnamed: Gives the names of columns where the first line has none, from its
                cells; None: it has them always.

        Raises:
            ValueError: If it is not text, larger than tables may be, has no header, or
                a line does not fit that.
        """
        self.path = path
        self.notes: tuple[str, ...] = ()
        self._data, how = _unpacked(path, whole=rows)
        if how:
            self.notes += (f"the table is read from {how}",)
        try:
            self._header(narrow, unnamed)
        except csv.Error as error:
            self._fail("", str(error), "a header of short names", "correct the header")
        self._kept: np.ndarray | None = None
        self._table = self._parsed() if rows else None
        self.num_rows = 0
        if self._table is not None:
            self._drop_blank_rows()
            self._drop_columns_of_no_name()
            self.num_rows = self._table.num_rows
        self.names = tuple(n for n in self._cells if n not in ("", _NUMBERING))

    def column(self, name: str) -> pa.ChunkedArray:
        """The cells of a column, stripped of spaces."""
        return self._column(self._cells.index(name))

    def place(self, row: int) -> str:
        """Where a row is, in words: "line 5"."""
        return next(itertools.islice(self.places(), row, None))

    def places(self) -> Iterator[str]:
        """The places of all rows."""
        kept = None if self._kept is None else set(self._kept.tolist())
        for number, (line, _) in enumerate(self._lines()):
            if kept is None or number in kept:
                yield f"line {line}"

    def _header(self, narrow: tuple[str, ...], unnamed: Unnamed | None) -> None:
        """Find the header, what divides its cells, and the names in it."""
        text = self._head()
        lines = text.splitlines(keepends=True)
        first = next((i for i, line in enumerate(lines) if line.strip()), None)
        if first is None:
            self._fail("line 1", "an empty file", "a header", "correct the header")
        stated = re.fullmatch(r"sep=(.)\s*", lines[first])
        first += 1 if stated else 0
        line = lines[first].strip("\r\n") if first < len(lines) else ""
        after = next(
            (one.strip("\r\n") for one in lines[first + 1 :] if one.strip()), ""
        )
        self._skip = first + 1
        self._first_line = line
        self.divider = stated[1] if stated else self._divider(first + 1, line, after)
        if self.divider != ",":
            told = _DIVIDERS.get(self.divider, repr(self.divider))
            self.notes += (f"the table is divided by {told}",)
        check_columns(self.path, line.count(self.divider) + 1)
        names = [name.strip() for name in self._split(line)]
        if unnamed is not None and (given := unnamed(names)) is not None:
            names, self._skip = given, first
        width = len(self._split(after)) if after else len(names)
        if narrow and width == len(narrow) < len(names):
            names = list(narrow)
        if width == len(names) + 1:  # as R writes the numbers of rows
            names = [_NUMBERING, *names]
        if _INDEX_NAME.fullmatch(names[0]):
            names[0] = ""
        self._cells = [_plain_quotes(name) for name in names]
        named = [name for name in self._cells if name]
        if again := twice(named):
            where = f"line {first + 1}"
            self._fail(where, again, "each column named, once", "rename one")
        if not named:
            self._fail("line 1", "no names", "a header", "correct the header")

    def _head(self) -> str:
        """The beginning of the file, in which the header is."""
        data: bytes | None = self._data
        if data is None:
            with self.path.open("rb") as file:
                data = file.read(_HEAD)
        data = bytes(data[:_HEAD])
        if b"\0" in data:
            self._fail("", "not text, as it has NUL bytes", "a table", "save it as CSV")
        whole = len(data) < _HEAD
        try:
            text = codecs.getincrementaldecoder("utf-8-sig")().decode(data, whole)
        except UnicodeDecodeError as error:
            line = data[: error.start].count(b"\n") + 1
            self._fail(f"line {line}", "not UTF-8", "UTF-8", "save it as UTF-8")
        return text.replace("\r\n", "\n").replace("\r", "\n")

    def _divider(self, number: int, line: str, after: str) -> str:
        """What divides the cells of the header."""
        bare = re.sub(r'"[^"]*"', "", line)
        there = [one for one in _DIVIDERS if one in bare]
        if len(there) > 1:
            cells = {one: len(_split(line, one)) for one in there}
            there = [d for d in there if len(_split(after, d)) == cells[d]]
        if len(there) == 1:
            return there[0]
        if there or (" " in bare.strip() or "|" in bare):
            told = " and ".join(_DIVIDERS[one] for one in there) or "no commas"
            self._fail(
                f"line {number}",
                f"{told} in {line[:80]!r}",
                "either commas, semicolons or tabs between cells",
                "save it with commas",
            )
        return ","

    def _split(self, line: str) -> list[str]:
        return _split(line, self.divider)

    def _parsed(self) -> pa.Table:
        """The table of all cells as texts, in columns "0", "1", ..."""
        names = [str(i) for i in range(len(self._cells))]
        for across in (False, True):  # cells with line ends take Arrow a slower way
            source = self.path if self._data is None else pa.BufferReader(self._data)
            try:
                return pyarrow.csv.read_csv(
                    source,
                    pyarrow.csv.ReadOptions(column_names=names, skip_rows=self._skip),
                    pyarrow.csv.ParseOptions(
                        delimiter=self.divider, newlines_in_values=across
                    ),
                    pyarrow.csv.ConvertOptions(
                        column_types=dict.fromkeys(names, pa.string())
                    ),
                )
            except pa.ArrowInvalid as error:
                if "Empty CSV file" in str(error):  # a header alone
                    return pa.table({name: pa.array([], pa.string()) for name in names})
                fault = error
        self._explain(fault)

    def _explain(self, fault: Exception) -> NoReturn:
        """Raise the error of the first line that does not fit the header."""
        wanted = len(self._cells)
        for line, cells in self._lines():
            if len(cells) != wanted:
                expected = f"{wanted}, as in the header {self._first_line[:80]!r}"
                count = f"{len(cells)} cells"
                self._fail(f"line {line}", count, expected, "correct the line")
        self._fail("", str(fault), "a table of text", "save it as CSV in UTF-8")

    def _lines(self) -> Iterator[tuple[int, list[str]]]:
        """Line number and cells of every row that is not an empty line."""
        if self._data is None:
            file = self.path.open(encoding="utf-8-sig", newline=None)
        else:
            file = io.TextIOWrapper(
                io.BytesIO(self._data), encoding="utf-8-sig", newline=None
            )
        with file:
            counted = _Counted(self, file)
            for _ in range(self._skip):
                next(counted, None)
            reader = csv.reader(counted, delimiter=self.divider)
            try:
                for cells in reader:
                    if cells:
                        yield counted.number, cells
            except csv.Error as error:
                where = f"line {counted.number}"
                self._fail(where, str(error), "cells of text", "correct the line")

    def _drop_blank_rows(self) -> None:
        """Leave rows without any content out, as spreadsheets write them."""
        assert self._table is not None
        blank = np.ones(self._table.num_rows, bool)
        for column in self._table.columns:
            if not blank.any():
                return
            empty = pc.equal(pc.utf8_trim_whitespace(column), "")
            blank &= empty.to_numpy()
        if blank.any():
            self._kept = np.flatnonzero(~blank)
            self._table = self._table.take(pa.array(self._kept))

    def _drop_columns_of_no_name(self) -> None:
        """Leave out columns of row numbers, and such as hold nothing.

        Raises:
            ValueError: If another column has no name.
        """
        assert self._table is not None
        rows = self._table.num_rows
        if self._cells[0] == _NUMBERING:
            counted = pa.array([str(i) for i in range(1, rows + 1)])
            if not self._column(0).combine_chunks().equals(counted):
                self._cells = self._cells[1:]
                self._explain(ValueError("a cell more in each line than in the header"))
            self._cells[0] = ""
        for i in [i for i, name in enumerate(self._cells) if not name]:
            texts = pc.unique(self._column(i))
            if set(texts.to_pylist()) <= {""}:
                continue
            numbers = pc.all(pc.match_substring_regex(texts, r"^\d+$")).as_py()
            if i == 0 and numbers and len(texts) == rows:
                self.notes += (_NUMBERED,)
                continue
            first = self._column(i)[0].as_py()
            self._fail(
                f"line {self._skip}",
                f"column {i + 1}, with {first[:40]!r} below, has no name",
                "each column named, once",
                "name it",
            )

    def _column(self, index: int) -> pa.ChunkedArray:
        assert self._table is not None
        return _stripped(self._table.column(index))

    def _fail(self, where: str, what: str, expected: str, instead: str) -> NoReturn:
        place = f"{self.path}, {where}" if where else str(self.path)
        raise ValueError(f"{place}: {what}; expected {expected}: {instead}")


class _Counted:
    """Lines of a file, of which the last one's number is known."""

    def __init__(self, table: TextTable, file: io.TextIOWrapper) -> None:
        self.number = 0
        self._table, self._file = table, file

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        self.number += 1
        try:
            return next(self._file)
        except UnicodeDecodeError:
            path = self._table.path
            raise ValueError(
                f"{path}, line {self.number} or later: not UTF-8; expected UTF-8: save "
                "it as UTF-8"
            ) from None


def _unpacked(path: pathlib.Path, *, whole: bool) -> tuple[bytes | None, str]:
    """The text of a file in UTF-8, and from what it was made; None: as it is.

    Args:
        path: The file.
        whole: Make all of it; else the beginning, in which the header is.

    Raises:
        ValueError: If it is packed in another way, damaged, or larger than tables may
            be.
    """
    with path.open("rb") as file:
        magic = file.read(4)
        for start, ending in _PACKED.items():
            if magic.startswith(start):
                raise ValueError(
                    f"{path}: a file as {ending}; expected a table of text, or "
                    "Parquet: save it as CSV, or unpack it"
                )
        file.seek(0)
        packed = magic.startswith(GZIP)
        data = _inflated(path, file, whole=whole) if packed else None
        encoding = _encoding_of(magic if data is None else data[:4])
        if data is None:
            check_size(path, path.stat().st_size, "a text")
        if encoding:
            data = file.read(-1 if whole else _HEAD) if data is None else data
            data = _decoded(path, data, encoding, whole=whole)
    told = ["gzip"] * packed + [encoding.upper()] * bool(encoding)
    return data, " and ".join(told)


def _inflated(path: pathlib.Path, file: io.BufferedReader, *, whole: bool) -> bytes:
    """The content of a gzip file, or the beginning of it."""
    parts: list[bytes] = []
    size, stored = 0, os.fstat(file.fileno()).st_size
    try:
        with gzip.GzipFile(fileobj=file) as packed:
            while part := packed.read(_HEAD):
                parts.append(part)
                size += len(part)
                if not whole and size >= _HEAD:
                    break
                check_size(path, size, "a packed text")
                _check_packed(path, size, stored)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(
            f"{path}: {error}; expected a whole gzip file: pack or copy it again"
        ) from error
    return b"".join(parts)


def _check_packed(path: pathlib.Path, size: int, stored: int) -> None:
    """Raise ``ValueError`` if a text has grown to more bytes than its file allows."""
    try:
        check_growth(size, stored)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _encoding_of(data: bytes) -> str:
    """What a byte-order mark says of a text; empty for UTF-8."""
    return next((e for mark, e in _MARKS.items() if data.startswith(mark)), "")


def _decoded(path: pathlib.Path, data: bytes, encoding: str, *, whole: bool) -> bytes:
    """A text in UTF-8; where it is not whole, its last character may be cut."""
    try:
        return codecs.getincrementaldecoder(encoding)().decode(data, whole).encode()
    except UnicodeError as error:
        raise ValueError(
            f"{path}: {error}; expected text in {encoding.upper()}, as its first bytes "
            "say: save it as UTF-8"
        ) from error


def _split(line: str, divider: str) -> list[str]:
    return next(csv.reader([line], delimiter=divider, skipinitialspace=True), [])


def _plain_quotes(name: str) -> str:
    return name.strip().strip("\ufeff")


def _stripped(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    """Cells without spaces around them, nor quotes that stood after a space."""
    plain = pc.utf8_trim_whitespace(cells)
    if pc.any(pc.match_substring_regex(cells, r'^\s+"')).as_py():
        return pc.if_else(
            pc.match_substring_regex(cells, _QUOTED_LATE),
            pc.replace_substring_regex(cells, _QUOTED_LATE, r"\1"),
            plain,
        )
    return plain
