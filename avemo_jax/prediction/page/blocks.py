"""Columns of numbers as bytes for a page: quantised, as differences, compressed.

Text would be most of a page. Here a probability is one byte, the bytes are differences
from row to row, low and high bytes apart, and gzip takes what is left; the page's own
script (``unpack.js``) reads them back.
"""

import base64
import gzip
from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float

Width = Literal[1, 2, 4]
_TYPES = {1: "<u1", 2: "<u2", 4: "<u4"}


class Blocks:
    """Columns that a page holds, each known by its number."""

    def __init__(self) -> None:
        """No column yet."""
        self._parts: list[bytes] = []
        self.layout: list[list[int]] = []

    def add(self, values: np.ndarray, width: Width) -> int:
        """Add a column of whole numbers; gives its number.

        Args:
            values: The numbers, from 0 to what ``width`` bytes hold.
            width: Bytes of a number.
        """
        whole = np.asarray(values).astype(_TYPES[width])
        steps = np.diff(whole, prepend=whole.dtype.type(0))  # wraps around
        planes = steps.view(np.uint8).reshape(-1, width).T
        self._parts.append(planes.tobytes())
        self.layout.append([width, len(whole)])
        return len(self.layout) - 1

    def add_scaled(
        self,
        columns: Float[np.ndarray, "rows columns"],
        low: float,
        high: float,
        width: Width,
    ) -> list[int]:
        """Add columns of real numbers; gives their numbers.

        Args:
            columns: The numbers; NaN where there is none.
            low: What 0 stands for; less is taken for it.
            high: What the largest number but one stands for; more is taken for it.
            width: Bytes of a number, of which the largest stands for NaN.
        """
        missing = 256**width - 1
        share = (columns.astype(np.float64) - low) / (high - low)
        whole = np.round(np.clip(share, 0, 1) * (missing - 1))
        whole = np.where(np.isfinite(columns), whole, missing)
        return [self.add(column, width) for column in whole.T]

    def packed(self) -> str:
        """All columns, compressed, in base64."""
        # No time of writing: equal tables give equal pages.
        data = gzip.compress(b"".join(self._parts), compresslevel=6, mtime=0)
        return base64.b64encode(data).decode()


def thinned(
    values: Float[np.ndarray, "rows columns"], step: int
) -> Float[np.ndarray, "bins columns"]:
    """Means of so many rows each; NaN where none of them has a number.

    Args:
        values: The rows; NaN where there is no number.
        step: Rows of a bin; the last bin may have fewer.
    """
    if step == 1 or not len(values):
        return values
    starts = np.arange(0, len(values), step)
    known = np.isfinite(values)
    count = np.add.reduceat(known, starts, axis=0, dtype=np.int64)
    total = np.add.reduceat(np.where(known, values, 0), starts, axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def any_of(values: Sequence[bool] | np.ndarray, step: int) -> np.ndarray:
    """Whether any of so many rows each is true."""
    values = np.asarray(values, bool)
    if step == 1 or not len(values):
        return values
    return np.logical_or.reduceat(values, np.arange(0, len(values), step))
