"""Rows of a submission and their values -> one official text file."""

import os
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float, Shaped

from avemo_jax.challenge.submit.decisions import DECIMALS
from avemo_jax.challenge.submit.rows import IMAGE_COLUMN, SubmissionRows
from avemo_jax.runtime.atomic_files import whole_file
from avemo_jax.runtime.tables.writing import csv_writer
from avemo_jax.tasks import VA, Task

_CHUNK_ROWS = 1 << 16


def write_submission(
    path: str | os.PathLike[str],
    task: Task,
    rows: SubmissionRows,
    values: Shaped[np.ndarray, "rows columns"],
) -> None:
    """Write the header and ``VIDEO/00001.jpg,VALUE,...`` for every row.

    The file appears whole or not at all, in UTF-8 with Unix line ends.

    Args:
        path: The file, usually ``OUT/EXPR.txt``.
        task: The task of the values.
        rows: Videos and frames of the rows; numbers from 100,000 have six digits.
        values: Values of the rows, from ``Decisions.values``. VA is written with six
            decimals, like predictions.csv, and never with an exponent.

    Raises:
        ValueError: If ``values`` has not the shape (rows, columns of the task).
    """
    path = pathlib.Path(path)
    expected = (len(rows.video), 1 if task.name == "EXPR" else task.num_outputs)
    if values.shape != expected:
        raise ValueError(
            f"values of shape {values.shape}; expected {expected}: decide these rows "
            "of this task first"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    names = pa.array(rows.videos, pa.string())
    fields = [pa.field(IMAGE_COLUMN, pa.string())]
    kind = pa.string() if task is VA else pa.int8()
    fields += [pa.field(str(i), kind) for i in range(expected[1])]
    schema = pa.schema(fields)
    header = (IMAGE_COLUMN, *task.header.split(","))
    with (
        whole_file(path) as temporary,
        csv_writer(temporary, schema, names=header) as writer,
    ):
        for start in range(0, len(rows.video), _CHUNK_ROWS):
            part = slice(start, start + _CHUNK_ROWS)
            number = pc.cast(pa.array(rows.frame[part]), pa.string())
            image = pc.binary_join_element_wise(
                names.take(pa.array(rows.video[part])),
                "/",
                pc.utf8_lpad(number, 5, "0"),
                ".jpg",
                "",
            )
            columns = [
                _plain(each) if task is VA else pa.array(np.ascontiguousarray(each))
                for each in values[part].T
            ]
            writer.write_batch(pa.record_batch([image, *columns], schema=schema))


def _plain(values: Float[np.ndarray, " rows"]) -> pa.StringArray:
    """Numbers as texts such as ``-0.012345``: no exponent, no ``-0.000000``."""
    units = np.round(values * 10**DECIMALS).astype(np.int64)
    sign = np.where(units < 0, "-", "")
    whole, rest = np.divmod(np.abs(units), 10**DECIMALS)
    return pc.binary_join_element_wise(
        pa.array(sign, pa.string()),
        pc.cast(pa.array(whole), pa.string()),
        ".",
        pc.utf8_lpad(pc.cast(pa.array(rest), pa.string()), DECIMALS, "0"),
        "",
    )
