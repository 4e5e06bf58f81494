"""Rows of numbers on disk, written at any places.

They lie in a nameless file, which vanishes with the process, however it ends.
"""

import mmap
import os
import pathlib
import tempfile
from typing import Any

import numpy as np
from jaxtyping import Int, Shaped

_BLOCK = 4096  # rows that are in memory while a table is reordered


class ScratchRows:
    """A table of numbers in a nameless file.

    Attributes:
        columns: Values in a row.
        dtype: Type of the values.
    """

    def __init__(
        self, folder: pathlib.Path | None, rows: int, columns: int, dtype: Any
    ):
        """A table of zeros, which takes no room on disk yet.

        It grows where rows are written behind its end.

        Args:
            folder: Where the file is; None: where the system keeps temporary files.
            rows: Number of rows.
            columns: Values in a row.
            dtype: Type of the values.

        Raises:
            OSError: If the file cannot be made.
        """
        self.columns, self.dtype = columns, np.dtype(dtype)
        self._rows = 0
        place = None if folder is None else os.fspath(folder)
        self._file = tempfile.TemporaryFile(dir=place)
        self.reserve(rows)

    def __len__(self) -> int:
        return self._rows

    def reserve(self, rows: int) -> None:
        """Make the table at least so long; new rows are zeros.

        Args:
            rows: Number of rows.

        Raises:
            OSError: If the file cannot be made so long.
        """
        if rows > self._rows:
            self._rows = rows
            self._file.truncate(rows * self.columns * self.dtype.itemsize)

    def write(
        self, places: Int[np.ndarray, " n"], rows: Shaped[np.ndarray, "n columns"]
    ) -> None:
        """Put rows in their places.

        Args:
            places: Number of each row in the table, from 0, in any order.
            rows: The rows.

        Raises:
            OSError: If the disk is full.
        """
        self.reserve(int(places.max(initial=-1)) + 1)
        rows = np.ascontiguousarray(rows, self.dtype)
        size = self.columns * self.dtype.itemsize
        ends = np.flatnonzero(np.diff(places) != 1) + 1
        for start, stop in zip([0, *ends], [*ends, len(places)], strict=True):
            if stop > start:
                self._file.seek(int(places[start]) * size)
                self._file.write(rows[start:stop].data)
        self._file.flush()

    def reordered(
        self, order: Int[np.ndarray, " rows"], folder: pathlib.Path | None
    ) -> "ScratchRows":
        """A table of all rows in another order.

        Args:
            order: Number of each row of the new table in this one.
            folder: Where its file is; None: where the system keeps temporary files.

        Raises:
            OSError: If the disk is full.
        """
        made = ScratchRows(folder, self._rows, self.columns, self.dtype)
        places = np.argsort(order)
        self._file.seek(0)
        for start in range(0, self._rows, _BLOCK):
            count = min(_BLOCK, self._rows - start)
            block = self._file.read(count * self.columns * self.dtype.itemsize)
            rows = np.frombuffer(block, self.dtype).reshape(count, self.columns)
            made.write(places[start : start + count], rows)
        return made

    def mapped(self) -> Shaped[np.ndarray, "rows columns"]:
        """The whole table, read from disk where it is looked at; not to be written."""
        size = self._rows * self.columns * self.dtype.itemsize
        if not size:
            return np.zeros((self._rows, self.columns), self.dtype)
        view = mmap.mmap(self._file.fileno(), size, access=mmap.ACCESS_READ)
        return np.frombuffer(view, self.dtype).reshape(self._rows, self.columns)

    def close(self) -> None:
        """Close the file; its room is free once no mapped array is left."""
        self._file.close()
