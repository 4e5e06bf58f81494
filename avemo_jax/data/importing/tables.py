"""Vectors in Parquet files."""

import pathlib
import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from avemo_jax.data.importing.source import ImportSource
from avemo_jax.data.importing.spooled import SpooledRows

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
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            columns = _vector_columns(path, file.schema_arrow)
            wanted = ["video", "frame", *columns]
            for batch in file.iter_batches(_BATCH_ROWS, columns=wanted):
                _add(path, rows, batch, columns)
    except pa.ArrowInvalid as error:
        raise ValueError(
            f"{path}: {error}; expected a Parquet file: write it again"
        ) from error
    return rows.source("Parquet")


def _add(
    path: pathlib.Path, rows: SpooledRows, batch: pa.RecordBatch, columns: list[str]
) -> None:
    """Add the rows of a batch to those that are there."""
    where = f"{path}, row {rows.count + 1}"
    for name in ("video", "frame"):
        if batch[name].null_count:
            raise ValueError(
                f"{where} and later: no value for {name}; expected one in every row: "
                "fill it in"
            )
    try:
        names = pc.dictionary_encode(pc.cast(batch["video"], pa.string()))
        frame = pc.cast(batch["frame"], pa.int64()).to_numpy()
        vectors = _vectors(where, batch, columns)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ValueError(
            f"{where} and later: {error}; expected names in video, integers in frame, "
            "and numbers: correct them"
        ) from error
    spool = rows.features
    if spool is not None and spool.columns != vectors.shape[1]:
        raise ValueError(
            f"{where} and later: vectors of {vectors.shape[1]} numbers; expected "
            f"{spool.columns}, as before: write it again"
        )
    number = np.array([rows.number(name) for name in names.dictionary.to_pylist()])
    rows.add(number[names.indices.to_numpy()], frame, vectors, None, where)


def _vector_columns(path: pathlib.Path, schema: pa.Schema) -> list[str]:
    """The columns that make up a vector, in order."""
    lists = [field.name for field in schema if _is_list(field.type)]
    lacking = {"video", "frame"} - set(schema.names)
    if len(lists) == 1 and not lacking:
        return lists
    found: dict[str, list[tuple[int, str]]] = {}
    for name in schema.names:
        if match := _NUMBERED.fullmatch(name):
            found.setdefault(match[1], []).append((int(match[2]), name))
    if lacking or len(lists) > 1 or len(found) != 1:
        raise ValueError(
            f"{path} has the columns {', '.join(schema.names[:8])}; expected video, "
            "frame and one column of lists, or columns such as f0, f1, ...: write it so"
        )
    return [name for _, name in sorted(next(iter(found.values())))]


def _is_list(kind: pa.DataType) -> bool:
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(is_one(kind) for is_one in lists)


def _vectors(where: str, batch: pa.RecordBatch, columns: list[str]) -> np.ndarray:
    """The vectors of a batch's rows, float32."""
    if len(columns) > 1 or not _is_list(batch[columns[0]].type):
        arrays = [pc.cast(batch[name], pa.float32()) for name in columns]
        return np.stack([a.to_numpy(zero_copy_only=False) for a in arrays], axis=1)
    vectors = batch[columns[0]]
    lengths = pc.unique(pc.list_value_length(vectors)).to_pylist()
    if len(lengths) != 1 or not lengths[0]:
        raise ValueError(
            f"{where} and later: vectors of {', '.join(map(str, lengths))} numbers; "
            "expected equally many in every row: write it again"
        )
    values = pc.cast(pc.list_flatten(vectors), pa.float32())
    return values.to_numpy(zero_copy_only=False).reshape(batch.num_rows, -1)
