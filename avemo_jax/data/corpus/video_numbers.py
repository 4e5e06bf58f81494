"""A number for each video, such as its rate or how many frames it has, from a table."""

import os

from avemo_jax.data.listing import nfc
from avemo_jax.runtime.tables import read_table


def read_numbers(
    path: str | os.PathLike[str], column: str, *, most: int, whole: bool = False
) -> dict[str, float]:
    """A number for each video, from a table with the columns ``video`` and ``column``.

    Args:
        path: A table in any form that ``read_table`` reads.
        column: Name of the column of the numbers.
        most: The largest number; all are over 0.
        whole: The numbers are whole ones.

    Raises:
        ValueError: If the table is wrong, a number is out of range, or a video is there
            twice; names the place.
    """
    table = read_table(path, known=("video", column))
    for name in ("video", column):
        table.need(name)
    table.check_there("video")
    names, index = table.encoded("video")
    numbers = table.frames(column) if whole else table.numbers(column)
    found: dict[str, float] = {}
    for row, (i, number) in enumerate(zip(index, numbers.tolist(), strict=True)):
        video = nfc(names[i])
        if video in found or not 0 < number <= most:
            again = " again" if video in found else ""
            raise ValueError(
                f"{table.where(row)}: {video!r}{again}, {number:g}; expected each "
                f"video once, with a number over 0, up to {most}: correct the line"
            )
        found[video] = float(number)
    return found
