"""One table, whatever program wrote it: its columns as texts, numbers and frames."""

import difflib
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float, Int

from avemo_jax.runtime.plain_text import is_number
from avemo_jax.runtime.tables import parquet, text, words

_PICTURE = r"^(?P<frame>\d{1,9})\.(?i:jpg|jpeg|png)$"


class Table:
    """A table with named columns.

    Attributes:
        path: The file.
        columns: Names of the columns, in their order.
        num_rows: How many rows there are.
    """

    def __init__(
        self, source: text.TextTable | parquet.ParquetTable, known: Iterable[str] = ()
    ) -> None:
        """A table of what is in a file.

        Args:
            source: The file.
            known: Names by which columns are meant whatever their case.
        """
        self.path = source.path
        self.num_rows = source.num_rows
        self._source = source
        self._notes = dict.fromkeys(source.notes)
        self._points = ""  # a column of numbers with points
        self._names = _known_names(source.names, known)
        self.columns = tuple(self._names)

    @property
    def notes(self) -> tuple[str, ...]:
        """In which respects the file has not the plain form, and how it was read."""
        return tuple(self._notes)

    def need(self, name: str) -> None:
        """Check that there is a column ``name``.

        Raises:
            ValueError: If there is none.
        """
        if name not in self.columns:
            near = difflib.get_close_matches(name, self.columns, 1)
            raise ValueError(
                f"{self.header}: no column {name!r} among "
                f"{', '.join(self.columns):.300}; expected a column {name!r}: "
                + (f"rename {near[0]!r}" if near else "add it")
            )

    def place(self, row: int) -> str:
        """The place of a row in the file: "line 5"."""
        return self._source.place(row)

    def places(self) -> Iterator[str]:
        """The places of all rows."""
        return self._source.places()

    def where(self, row: int, column: str = "") -> str:
        """The place of a row, for errors: "PATH, line 5, column 'frame'"."""
        place = f"{self.path}, {self.place(row)}"
        return f"{place}, column {column!r}" if column else place

    @property
    def header(self) -> str:
        """The place of the names, for errors: "PATH, line 1"."""
        is_text = isinstance(self._source, text.TextTable)
        return f"{self.path}, line 1" if is_text else str(self.path)

    def texts(self, name: str) -> pa.ChunkedArray:
        """A column as texts; null where a cell is empty.

        Numbers are whole where all of the column are; true and false are 1 and 0.

        Raises:
            ValueError: If it holds lists, or anything that is no text or number.
        """
        values = self._source.column(self._names[name])
        self._refuse_lists(name, values.type, "a text or number")
        if pa.types.is_boolean(values.type):
            values = pc.cast(values, pa.int8())
        if pa.types.is_floating(values.type):
            values = pc.if_else(pc.is_nan(values), None, values)
            whole = pc.all(pc.equal(values, pc.round(values))).as_py()
            small = pc.all(pc.less(pc.abs(values), words.LARGEST)).as_py()
            values = pc.cast(values, pa.int64()) if whole and small else values
        values = pc.cast(values, pa.string())
        values = words.as_meant(pc.utf8_trim_whitespace(values))
        return pc.if_else(pc.equal(values, ""), None, values)

    def encoded(self, name: str) -> tuple[list[str], Int[np.ndarray, " rows"]]:
        """The different texts of a column, and each row's index of them; -1: empty."""
        # In one piece: pieces of many different texts are slow to unify.
        whole = self.texts(name).combine_chunks()
        found = pc.dictionary_encode(whole)
        if isinstance(found, pa.Array):
            found = pa.chunked_array([found])
        found = found.unify_dictionaries()
        if not found.num_chunks:
            return [], np.empty(0, np.int64)
        chunks = [pc.fill_null(one.indices, -1).to_numpy() for one in found.chunks]
        index = np.concatenate(chunks).astype(np.int64)
        return found.chunk(0).dictionary.to_pylist(), index

    def num_different(self, name: str) -> int:
        """How many different texts a column has; empty cells are none."""
        return int(pc.count_distinct(self.texts(name)).as_py())

    def numbers(self, name: str) -> Float[np.ndarray, " rows"]:
        """A column as numbers; NaN where a value is missing, in any program's words.

        ``TRUE`` and ``False`` are 1 and 0 among these. Where cells are not divided by
        commas, numbers may have one for their decimals.

        Raises:
            ValueError: If a cell is no number; names its place.
        """
        values = self._source.column(self._names[name])
        self._refuse_lists(name, values.type, "a number")
        if pa.types.is_boolean(values.type):
            values = pc.cast(values, pa.int8())
        if pa.types.is_string(values.type):
            return self._parsed(name, words.as_meant(values))
        found = pc.cast(values, pa.float64(), safe=False)
        return pc.fill_null(found, np.nan).to_numpy().copy()

    def frames(self, name: str) -> Int[np.ndarray, " rows"]:
        """A column of frame numbers, which may be written as 7.0 or 00007.jpg.

        Raises:
            ValueError: If a cell is empty or no whole number; names its place.
        """
        values = self._source.column(self._names[name])
        if pa.types.is_string(values.type):
            named = pc.extract_regex(values, _PICTURE)
            if len(named) and not named.null_count:
                number = pc.struct_field(named, "frame")
                return pc.cast(number, pa.int64()).to_numpy()
        found = self.numbers(name)
        if np.isnan(found).any():
            self._lacks(int(np.argmax(np.isnan(found))), name)
        wrong = (found != np.round(found)) | (np.abs(found) > words.LARGEST)
        if wrong.any():
            row = int(np.argmax(wrong))
            raise ValueError(
                f"{self.where(row)}: {name} {found[row]:g}; expected an integer: "
                "correct it"
            )
        return found.astype(np.int64)

    def vectors(self, name: str) -> Float[np.ndarray, "rows numbers"]:
        """A column of lists, as many numbers in each.

        Raises:
            ValueError: If it holds no lists, one is missing, or their lengths differ.
        """
        values = self._source.column(self._names[name])
        return vectors_of(f"{self.path}, column {name!r}", values)

    def list_columns(self) -> list[str]:
        """The columns that hold lists."""
        if isinstance(self._source, text.TextTable):
            return []
        lists = self._source.lists()
        return [name for name, own in self._names.items() if own in lists]

    def check_there(self, name: str) -> None:
        """Raise ``ValueError`` on the first row that has no text in a column."""
        values = self.texts(name)
        if values.null_count:
            self._lacks(int(np.argmax(values.is_null().to_numpy())), name)

    def _lacks(self, row: int, name: str) -> NoReturn:
        raise ValueError(
            f"{self.where(row)}: no value for {name}; expected one in every line: fill "
            "it in, or remove the line"
        )

    def _parsed(self, name: str, cells: pa.ChunkedArray) -> Float[np.ndarray, " rows"]:
        """Texts as numbers."""
        lacking = pc.is_in(cells, pa.array(words.MISSING))
        known = pc.if_else(lacking, None, cells)
        try:
            found = pc.cast(known, pa.float64())
        except pa.ArrowInvalid:
            found = self._parsed_slowly(name, known)
        else:
            if self.may_have_commas and not self._points:
                points = pc.any(pc.match_substring(known, ".")).as_py()
                self._points = name * bool(points)
        return pc.fill_null(found, np.nan).to_numpy().copy()

    def _parsed_slowly(self, name: str, cells: pa.ChunkedArray) -> pa.ChunkedArray:
        """Texts as numbers, one different text after the other.

        Raises:
            ValueError: If a cell is no number.
        """
        encoded = pc.dictionary_encode(cells.combine_chunks())
        if isinstance(encoded, pa.ChunkedArray):
            encoded = encoded.unify_dictionaries().combine_chunks()
        spelt = encoded.dictionary.to_pylist()
        plain = [words.truth_of(one) for one in spelt]
        truths = plain != spelt
        if self.may_have_commas:
            points = any(is_number(one) and "." in one for one in plain)
            self._points = self._points or name * points
            pointed = [words.with_point(one) for one in plain]
            if pointed != plain:
                self._take_commas(name)
            plain = pointed
        for i, one in enumerate(plain):
            good = is_number(one)
            if truths and good:
                good = float(one) in (0, 1)
            if not good:
                row = int(np.argmax(pc.fill_null(encoded.indices, -1).to_numpy() == i))
                expected = "0, 1, true or false" if truths else "a number"
                instead = "correct the cell"
                if words.with_point(one) != one:
                    instead = "write a point for the decimals"
                raise ValueError(
                    f"{self.where(row, name)}: {spelt[i]!r:.80}; expected {expected}: "
                    f"{instead}"
                )
        values = pa.array([float(one) for one in plain], pa.float64())
        return pa.chunked_array([pc.take(values, encoded.indices)])

    @property
    def may_have_commas(self) -> bool:
        """Whether a comma cannot divide cells, so that it can be one of decimals."""
        return isinstance(self._source, text.TextTable) and self._source.divider != ","

    def _take_commas(self, name: str) -> None:
        """Note that a column's numbers have commas; other columns have no points then.

        Raises:
            ValueError: If one has, so that a comma may divide thousands.
        """
        if self._points:
            raise ValueError(
                f"{self.path}: numbers with commas in {name!r}, and with points in "
                f"{self._points!r}; expected points for all decimals: save it so"
            )
        self._notes["the table's numbers have commas for their decimals"] = None

    def _refuse_lists(self, name: str, kind: pa.DataType, expected: str) -> None:
        if pa.types.is_list(kind):
            raise ValueError(
                f"{self.path}, column {name!r}: lists; expected {expected} a row: "
                "write it so"
            )


def read_table(
    path: str | os.PathLike[str],
    *,
    known: Iterable[str] = (),
    narrow: tuple[str, ...] = (),
    unnamed: text.Unnamed | None = None,
) -> Table:
    """The table in a file of text or Parquet; which of both is seen from its content.

    Args:
        path: The file; texts may be packed by gzip.
        known: Names by which columns are meant whatever their case.
        narrow: Names of the columns of a text whose lines have as many cells as these,
            and whose header has more.
        unnamed: Gives the names of columns of a text whose first line has none, from
            its cells, and None where it has; None: it has them always.

    Raises:
        ValueError: If there is no such file, or no table in it; names its place.
    """
    path = pathlib.Path(path)
    if _is_parquet(path):
        return Table(parquet.ParquetTable(path), known)
    return Table(text.TextTable(path, narrow=narrow, unnamed=unnamed), known)


def header_of(path: pathlib.Path) -> tuple[str, ...]:
    """Names of the columns of a table, of which no rows are read.

    Raises:
        ValueError: If there is no table in the file.
    """
    if _is_parquet(path):
        return parquet.ParquetTable(path).names
    return text.TextTable(path, rows=False).names


def vectors_of(
    where: str, lists: pa.Array | pa.ChunkedArray
) -> Float[np.ndarray, "rows numbers"]:
    """Lists of numbers as the rows of a matrix.

    Args:
        where: The place of the lists, for errors.
        lists: The lists.

    Raises:
        ValueError: If they are none, one is missing, or their lengths differ.
    """
    if not pa.types.is_list(lists.type):
        raise ValueError(
            f"{where}: {lists.type}; expected a list of numbers a row: write it so"
        )
    lengths = pc.unique(pc.list_value_length(lists)).to_pylist()
    if len(lengths) > 1 or lengths in ([0], [None]):
        told = ", ".join("no" if n is None else str(n) for n in lengths[:8])
        raise ValueError(
            f"{where}: vectors of {told} numbers; expected equally many in every row: "
            "write it again"
        )
    values = pc.fill_null(pc.list_flatten(lists), np.nan)
    return values.to_numpy(zero_copy_only=False).reshape(len(lists), -1)


def _is_parquet(path: pathlib.Path) -> bool:
    """Whether a file is Parquet, by its content.

    Raises:
        ValueError: If there is no such file, or it is not, and called so.
    """
    if not path.is_file():
        raise ValueError(
            f"{path}: no such file; expected a table (CSV, TSV, Parquet): correct the "
            "path"
        )
    with path.open("rb") as file:
        if file.read(4) == parquet.MAGIC:
            return True
    if path.suffix.lower() in (".parquet", ".pq"):
        raise ValueError(
            f"{path}: it does not begin as a Parquet file does; expected one: write it "
            "again"
        )
    return False


def _known_names(names: Iterable[str], known: Iterable[str]) -> Mapping[str, str]:
    """The columns' own names by those that they are known by."""
    found = {name: name for name in names}
    by_case = {name.casefold(): name for name in known}
    for name in list(found):
        meant = by_case.get(name.casefold(), name)
        if meant not in found:
            found = {meant if one == name else one: own for one, own in found.items()}
    return found
