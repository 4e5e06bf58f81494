"""Tables of records, written some rows at a time as CSV and as Parquet."""

import contextlib
import csv
import pathlib
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from avemo_jax.runtime.atomic_files import whole_file

_NEEDS_QUOTES = frozenset(',"\r\n')


def needs_quotes(text: str) -> bool:
    """Whether a cell of a CSV file with this text stands in quotes."""
    return not _NEEDS_QUOTES.isdisjoint(text)


@contextlib.contextmanager
def csv_lines(
    path: pathlib.Path, columns: Sequence[str]
) -> Iterator["csv.DictWriter[str]"]:
    """A writer of lines by the names of their columns, to a file written whole.

    A column that a line lacks is empty there; the names are in the first line.

    Args:
        path: The file, which is replaced; its folder is made if missing.
        columns: Names of the columns.

    Raises:
        OSError: If the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        whole_file(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        yield writer


@contextlib.contextmanager
def csv_writer(
    path: pathlib.Path,
    schema: pa.Schema,
    *,
    quoted: bool = False,
    names: Sequence[str] | None = None,
) -> Iterator[pyarrow.csv.CSVWriter]:
    """A writer of record batches to a CSV file: UTF-8, commas, points for decimals.

    A missing value is an empty cell, and no number has an exponent down to 1e-6.

    Args:
        path: The file, which is replaced.
        schema: The columns.
        quoted: Whether a text may hold a comma, a quote or a line's end; then all texts
            are quoted, for Arrow does not tell them apart.
        names: Names in the first line; None: those of the schema.

    Raises:
        OSError: If the file cannot be written.
    """
    cells = schema.names if names is None else names
    texts = [
        '"{}"'.format(one.replace('"', '""')) if needs_quotes(one) else one
        for one in cells
    ]
    style = "needed" if quoted else "none"
    options = pyarrow.csv.WriteOptions(include_header=False, quoting_style=style)
    with path.open("wb") as file:
        file.write((",".join(texts) + "\n").encode())
        with pyarrow.csv.CSVWriter(file, schema, write_options=options) as writer:
            yield writer


@contextlib.contextmanager
def parquet_writer(
    path: pathlib.Path, schema: pa.Schema
) -> Iterator[pyarrow.parquet.ParquetWriter]:
    """A writer of record batches to a Parquet file.

    Args:
        path: The file, which is replaced.
        schema: The columns.

    Raises:
        OSError: If the file cannot be written.
    """
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        yield writer
