"""Vectors in Parquet files."""

import pathlib
import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from avemo_jax.data.importing.source import ImportSource
from avemo_jax.data.importing.spooled import SpooledRows
from avemo_jax.runtime.tables import ParquetTable, vectors_of

_BATCH_ROWS = 4096
_NUMBERED = re.compile(r"(.*?)(\d+)")


def import_parquet(path: pathlib.Path, rows: SpooledRows) -> ImportSource:
    """A source from columns ``video``, ``frame`` and those of the vectors.

    These are one column of lists of numbers, or a column for each number, in the order
    of the numbers at the end of their names.

    Args:
        path: A ``.parquet`` file of any size.
        rows: Where the rows are kept until they are written; empty at first.

    Raises:
        ValueError: If the file is damaged, or has other columns.
    """
    file = ParquetTable(path)
    try:
        keys, vectors = _columns(file)
        for batch in file.batches((*keys, *vectors), _BATCH_ROWS):
            _add(path, rows, batch)
    finally:
        file.close()
    return rows.source("Parquet")


def _add(path: pathlib.Path, rows: SpooledRows, batch: pa.RecordBatch) -> None:
    """Add the rows of a batch: video, frame, then one column of lists, or numbers."""
    where = f"{path}, row {rows.count + 1}"
    video, frame, *columns = batch.columns
    for name, column in (("video", video), ("frame", frame)):
        if column.null_count:
            raise ValueError(
                f"{where} and later: no value for {name}; expected one in every row: "
                "fill it in"
            )
    try:
        names = pc.dictionary_encode(pc.cast(video, pa.string()))
        number = pc.cast(frame, pa.int64()).to_numpy()
        if pa.types.is_list(columns[0].type):
            vectors = vectors_of(f"{where} and later", columns[0])
        else:
            plain = [pc.cast(each, pa.float64()) for each in columns]
            vectors = np.stack([a.to_numpy(zero_copy_only=False) for a in plain], 1)
    except pa.ArrowException as error:
        raise ValueError(
            f"{where} and later: {error}; expected names in video, integers in frame, "
            "and numbers: correct them"
        ) from error
    with np.errstate(over="ignore"):  # beyond float32: an infinity, told when written
        vectors = vectors.astype(np.float32)
    spool = rows.features
    if spool is not None and spool.columns != vectors.shape[1]:
        raise ValueError(
            f"{where} and later: vectors of {vectors.shape[1]} numbers; expected "
            f"{spool.columns}, as before: write it again"
        )
    known = np.array([rows.number(name) for name in names.dictionary.to_pylist()])
    rows.add(known[names.indices.to_numpy()], number, vectors, None, where)


def _columns(file: ParquetTable) -> tuple[list[str], list[str]]:
    """The columns of videos and frames, and those that make up a vector, in order."""
    by_case = {name.casefold(): name for name in reversed(file.names)}
    keys = [by_case[name] for name in ("video", "frame") if name in by_case]
    lists = file.lists()
    if len(lists) == 1 and len(keys) == 2:
        return keys, lists
    found: dict[str, list[tuple[int, str]]] = {}
    for name in file.names:
        if match := _NUMBERED.fullmatch(name):
            found.setdefault(match[1], []).append((int(match[2]), name))
    if len(keys) < 2 or len(lists) > 1 or len(found) != 1:
        raise ValueError(
            f"{file.path} has the columns {', '.join(file.names[:8])}; expected video, "
            "frame and one column of lists, or columns such as f0, f1, ...: write it so"
        )
    return keys, [name for _, name in sorted(next(iter(found.values())))]
