"""Parquet files of pandas, polars, R's arrow or DuckDB -> columns of few types.

What the footer declares is bounded before anything of a file is allocated.
"""

import pathlib
from collections.abc import Iterator, Sequence
from typing import NoReturn

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from avemo_jax.runtime.tables.limits import (
    VALUE_BYTES,
    check_columns,
    check_size,
    twice,
)

MAGIC = b"PAR1"
_MAX_LENGTH = 1 << 16  # numbers in a list
_LEAST_COLUMNS = 3  # that any table here needs: a video, a frame, a value
_INDEX = "__index_level_"  # pandas' names of an index
# Names of Arrow's tests of types.
_LISTS = "is_list is_large_list is_fixed_size_list is_list_view is_large_list_view"
_TEXTS = "is_string is_large_string is_string_view is_binary is_large_binary "
_TEXTS += "is_binary_view is_fixed_size_binary"
_NUMBERS = "is_integer is_floating is_decimal is_boolean is_null"


class ParquetTable:
    """A Parquet file, read column by column.

    Attributes:
        path: The file.
        names: Names of the columns, in their order.
        num_rows: How many rows there are.
        notes: Nothing: the form of the file is plain.
    """

    def __init__(self, path: pathlib.Path) -> None:
        """Read the footer.

        Raises:
            ValueError: If it is no Parquet file, or declares more than tables may hold.
        """
        self.path = path
        self.notes: tuple[str, ...] = ()
        if not path.is_file():  # a pipe would be waited for
            self._damaged(OSError("no regular file"))
        try:
            self._file = pyarrow.parquet.ParquetFile(path)
            self._schema = self._file.schema_arrow
            leaves = self._file.schema
            paths = [leaves.column(i).path for i in range(len(leaves))]
            self._leaves = [path.split(".")[0] for path in paths]
            names = [n for n in self._schema.names if not n.startswith(_INDEX)]
        except (pa.ArrowException, OSError, MemoryError, UnicodeError) as error:
            self._damaged(error)
        about = self._file.metadata
        self.num_rows = about.num_rows
        check_columns(path, about.num_columns)
        least = self.num_rows * VALUE_BYTES * min(_LEAST_COLUMNS, about.num_columns)
        check_size(path, least, f"{self.num_rows:,} rows")
        if again := twice(names):
            raise ValueError(
                f"{path}: the columns {again} twice; expected each column "
                "once: rename or remove one"
            )
        self.names = tuple(names)
        self._used = 0

    def lists(self) -> list[str]:
        """The columns that hold lists."""
        return [n for n in self.names if is_list(self._schema.field(n).type)]

    def column(self, name: str) -> pa.ChunkedArray:
        """A column of texts, int64, float64, bool, or lists of float64.

        Raises:
            ValueError: If it holds anything else, is damaged, or the columns that were
                read take more than tables may.
        """
        _check_type(self.path, name, self._schema.field(name).type)
        values, size = self._declared(name)
        self._used += max(values * VALUE_BYTES, size)
        check_size(self.path, self._used, f"{values:,} values of {name} and others")
        try:
            read = self._file.read(columns=[name], use_pandas_metadata=False)[name]
            if len(read) != self.num_rows:
                raise OSError(f"{len(read):,} of {self.num_rows:,} rows")
            return canonical(self.path, name, read)
        except (pa.ArrowException, OSError, MemoryError) as error:
            self._damaged(error, name)

    def batches(self, names: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        """The columns ``names``, ``rows`` rows at a time, as :meth:`column` has them.

        Raises:
            ValueError: If a column holds anything else or is damaged, or lists hold
                more numbers a row than vectors may have.
        """
        for name in names:
            _check_type(self.path, name, self._schema.field(name).type)
            values, _ = self._declared(name)
            if values > self.num_rows * _MAX_LENGTH:
                raise ValueError(
                    f"{self.path}, column {name!r}: {values:,} numbers in "
                    f"{self.num_rows:,} rows; expected {_MAX_LENGTH:,} a row at most: "
                    "write shorter ones"
                )
        try:
            for batch in self._file.iter_batches(rows, columns=list(names)):
                columns = [canonical(self.path, n, batch[n]) for n in names]
                yield pa.record_batch(columns, names=list(names))
        except (pa.ArrowException, OSError, MemoryError) as error:
            self._damaged(error)

    def place(self, row: int) -> str:
        """Where a row is, in words: "row 4"."""
        return f"row {row + 1}"

    def places(self) -> Iterator[str]:
        """The places of all rows."""
        return map(self.place, range(self.num_rows))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _declared(self, name: str) -> tuple[int, int]:
        """How many values a column has, and their uncompressed bytes."""
        try:
            # Arrow ends the process where it is asked about a damaged chunk.
            self._file.scan_contents(columns=[name])
        except (pa.ArrowException, OSError, MemoryError) as error:
            self._damaged(error, name)
        about = self._file.metadata
        own = [i for i, leaf in enumerate(self._leaves) if leaf == name.split(".")[0]]
        values = size = 0
        for group in range(about.num_row_groups):
            rows = about.row_group(group)
            for i in own:
                chunk = rows.column(i)
                values += chunk.num_values
                size += chunk.total_uncompressed_size
        return values, size

    def _damaged(self, error: BaseException, column: str = "") -> NoReturn:
        where = f"{self.path}, column {column!r}" if column else str(self.path)
        told = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"{where}: {told}; expected a whole Parquet file: write it again"
        ) from error


def is_list(kind: pa.DataType) -> bool:
    """Whether a type is one of lists."""
    return _is(kind, _LISTS)


def _is(kind: pa.DataType, tests: str) -> bool:
    """Whether a type passes one of the named tests of Arrow, newer ones among them."""
    found = [getattr(pa.types, name, None) for name in tests.split()]
    return any(test(kind) for test in found if test)


def _check_type(path: pathlib.Path, name: str, kind: pa.DataType) -> None:
    """Raise ``ValueError`` if a column's type is not one that tables here have."""
    inner = kind
    if isinstance(inner, pa.BaseExtensionType):
        inner = inner.storage_type
    if pa.types.is_dictionary(inner) or pa.types.is_run_end_encoded(inner):
        inner = inner.value_type
    if is_list(inner):
        inner = inner.value_type
        texts = ""
    else:
        texts = _TEXTS
    if not _is(inner, f"{_NUMBERS} {texts}"):
        raise ValueError(
            f"{path}, column {name!r}: values of type {kind}; expected texts, numbers "
            "or lists of numbers: write it as one of these"
        )


def canonical(
    path: pathlib.Path, name: str, values: pa.Array | pa.ChunkedArray
) -> pa.Array | pa.ChunkedArray:
    """A column as texts, int64, float64, bool, or lists of float64.

    Args:
        path: The file, for errors.
        name: Name of the column, for errors.
        values: The column, of a type that is one of these in another form.

    Raises:
        ValueError: If a value is too large, or no text in UTF-8.
    """
    if isinstance(values, pa.ChunkedArray):
        chunks = [canonical(path, name, one) for one in values.chunks]
        if chunks:
            return pa.chunked_array(chunks)
        empty = pa.array([], values.type)
        return pa.chunked_array([canonical(path, name, empty)])
    if isinstance(values, pa.ExtensionArray):
        values = values.storage
    if pa.types.is_dictionary(values.type):
        values = _looked_up(path, name, values)
    if pa.types.is_run_end_encoded(values.type):
        values = pc.run_end_decode(values)
    kind = values.type
    if is_list(kind):
        return pc.cast(values, pa.list_(pa.float64()))
    if pa.types.is_boolean(kind):
        return values
    if pa.types.is_null(kind):
        return pa.nulls(len(values), pa.string())
    wanted = pa.float64()
    if _is(kind, _TEXTS):
        wanted = pa.string()
    elif pa.types.is_integer(kind):
        wanted = pa.int64()
    try:
        found = pc.cast(values, wanted)
        found.validate(full=True)  # texts may be no UTF-8
        return found
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ValueError(
            f"{path}, column {name!r}: {error}; expected texts in UTF-8, or numbers "
            "that 64 bits hold: write it again"
        ) from error


def _looked_up(path: pathlib.Path, name: str, values: pa.DictionaryArray) -> pa.Array:
    """The values that the indices of a dictionary stand for.

    Raises:
        ValueError: If they take more memory than tables may.
    """
    if _is(values.dictionary.type, _TEXTS):
        lengths = pc.binary_length(pc.cast(values.dictionary, pa.large_binary()))
        total = pc.sum(pc.take(lengths, values.indices)).as_py() or 0
        check_size(path, total, f"texts of {name!r}")
    return pc.take(values.dictionary, values.indices)
