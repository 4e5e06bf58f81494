"""One table in the forms in which other programs write it."""

import gzip
import pathlib
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet

Rows = list[list[str]]  # the header, then the cells as a plain CSV has them


def _joined(rows: Rows, divider: str = ",", end: str = "\n") -> str:
    return "".join(divider.join(row) + end for row in rows)


def _comma(cell: str) -> str:
    whole, point, rest = cell.partition(".")
    number = point and (whole + rest).lstrip("-").isdigit()
    return f"{whole},{rest}" if number else cell


def _floats(cell: str) -> str:
    return f"{cell}.0" if cell.lstrip("-").isdigit() else cell


TEXTS: dict[str, Callable[[Rows], bytes]] = {
    "plain": lambda rows: _joined(rows).encode(),
    "no last line end": lambda rows: _joined(rows).rstrip("\n").encode(),
    "old Mac": lambda rows: _joined(rows, end="\r").encode(),
    "Windows": lambda rows: _joined(rows, end="\r\n").encode(),
    "tabs": lambda rows: _joined(rows, "\t").encode(),
    "German Excel": lambda rows: _joined(
        [[_comma(cell) for cell in row] for row in rows], ";"
    ).encode(),
    "Excel's sep": lambda rows: b"sep=;\r\n" + _joined(rows, ";", "\r\n").encode(),
    "UTF-8 mark": lambda rows: _joined(rows).encode("utf-8-sig"),
    "UTF-16": lambda rows: _joined(rows, "\t").encode("utf-16"),
    "UTF-16 BE": lambda rows: b"\xfe\xff" + _joined(rows).encode("utf-16-be"),
    "gzip": lambda rows: gzip.compress(_joined(rows).encode()),
    "spaces": lambda rows: _joined(rows, ", ").encode(),
    "quotes": lambda rows: _joined(
        [[f'"{cell}"' for cell in row] for row in rows], ", "
    ).encode(),
    "blank lines": lambda rows: "\n\n".join(
        ["", *_joined(rows).splitlines(), "," * (len(rows[0]) - 1)]
    ).encode(),
    "empty columns": lambda rows: _joined([[*row, "", ""] for row in rows]).encode(),
    "pandas' index": lambda rows: _joined(
        [[str(i - 1) if i else "", *row] for i, row in enumerate(rows)]
    ).encode(),
    "index twice": lambda rows: _joined(
        [[str(i + 4) if i else "Unnamed: 0", *row] for i, row in enumerate(rows)]
    ).encode(),
    "R's row names": lambda rows: _joined(
        [[f'"{i}"', *row] if i else row for i, row in enumerate(rows)]
    ).encode(),
    "capitals": lambda rows: _joined(
        [[c.title() for c in rows[0]], *rows[1:]]
    ).encode(),
    "whole floats": lambda rows: _joined(
        [rows[0], *[[row[0], *map(_floats, row[1:])] for row in rows[1:]]]
    ).encode(),
}


def _columns(rows: Rows) -> dict[str, pa.Array]:
    """Texts, integers or floats, as the cells look; null where empty."""
    found = {}
    for name, *cells in zip(*rows, strict=True):
        known = [cell for cell in cells if cell]
        kind: type = str
        if all(cell.lstrip("-").isdigit() for cell in known):
            kind = int
        elif all(cell.replace(".", "").lstrip("-").isdigit() for cell in known):
            kind = float
        found[name] = pa.array([kind(cell) if cell else None for cell in cells])
    return found


def _cast(rows: Rows, **kinds: pa.DataType) -> pa.Table:
    """The table with its texts, integers and floats as other types."""
    columns = _columns(rows)
    for name, column in columns.items():
        key = {"s": "text", "i": "whole", "d": "number"}[str(column.type)[0]]
        if kind := kinds.get(key):
            columns[name] = column.cast(kind)
    return pa.table(columns)


def _encoded(rows: Rows) -> pa.Table:
    return pa.table({n: c.dictionary_encode() for n, c in _columns(rows).items()})


def _with_index(rows: Rows) -> pa.Table:
    numbers = pa.array(range(7, 6 + len(rows)))
    return pa.table(_columns(rows) | {"__index_level_0__": numbers})


PARQUET: dict[str, Callable[[Rows], pa.Table]] = {
    "parquet": lambda rows: pa.table(_columns(rows)),
    "dictionaries": _encoded,
    "index column": _with_index,
    "views": lambda rows: _cast(rows, text=pa.string_view()),
    "large": lambda rows: _cast(rows, text=pa.large_string()),
    "narrow": lambda rows: _cast(rows, whole=pa.int16(), number=pa.float32()),
    "decimals": lambda rows: _cast(
        rows, whole=pa.decimal128(20, 0), number=pa.decimal128(12, 6)
    ),
    "bytes": lambda rows: _cast(rows, text=pa.binary()),
    "floats": lambda rows: _cast(rows, whole=pa.float64()),
}
FORMS = (*TEXTS, *PARQUET)


def write(folder: pathlib.Path, form: str, rows: Rows) -> pathlib.Path:
    """A file of the table ``rows``.

    Args:
        folder: Gets the file, ``given.csv`` or ``given.parquet``.
        form: One of ``FORMS``.
        rows: The header, then cells, without any that needs quotes.
    """
    if form in PARQUET:
        path = folder / "given.parquet"
        pa.parquet.write_table(PARQUET[form](rows), path)
        return path
    path = folder / ("given.csv.gz" if form == "gzip" else "given.csv")
    path.write_bytes(TEXTS[form](rows))
    return path
