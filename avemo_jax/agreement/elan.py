"""ELAN's tab-delimited text, whose columns are named otherwise or not at all."""

import re

import numpy as np
from jaxtyping import Float

from avemo_jax.runtime.plain_text import is_number
from avemo_jax.runtime.tables import Table

_CLOCK = re.compile(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)")
# Ends of the names of its time columns, and what makes seconds of them; 0: a clock.
_TIMES = {"hh:mm:ss.ms": 0.0, "ss.msec": 1.0, "msec": 0.001}
BEGIN = "begin time"
END = "end time"


def names_without_header(cells: list[str]) -> list[str] | None:
    """Names of the columns of an export without a line of names; None: it has one.

    ELAN writes the tier, the participant, begin, end and duration, each in one form of
    time or in several, and the annotation.

    Args:
        cells: The cells of the first line.
    """
    clocks = [i for i, cell in enumerate(cells) if _CLOCK.fullmatch(cell)]
    points = [i for i, c in enumerate(cells) if is_number(c) and "." in c]
    whole = [i for i, cell in enumerate(cells) if cell.isdigit()]
    for form, places in zip(_TIMES, (clocks, points, whole), strict=True):
        if len(places) >= 2 and len(cells) >= 3:
            names = [f"unnamed {i}" for i in range(len(cells))]
            names[0], names[-1] = "tier", "label"
            names[places[0]] = f"{BEGIN} - {form}"
            names[places[1]] = f"{END} - {form}"
            return names
    return None


def time_columns(table: Table) -> tuple[str, str] | None:
    """The columns of begin and end, in the first form that has both; None: none."""
    by_case = {name.casefold(): name for name in table.columns}
    for form in _TIMES:
        pair = [by_case.get(f"{edge} - {form}") for edge in (BEGIN, END)]
        if pair[0] and pair[1]:
            return pair[0], pair[1]
    return None


def seconds(table: Table, name: str) -> Float[np.ndarray, " rows"]:
    """A column of ELAN's times in seconds.

    Raises:
        ValueError: If a cell is no time; names its place.
    """
    form = name.casefold().partition(" - ")[2]
    factor = _TIMES.get(form, 1.0)
    if factor:
        return table.numbers(name) * factor
    found = np.empty(table.num_rows)
    for row, text in enumerate(table.texts(name).to_pylist()):
        match = _CLOCK.fullmatch(text or "")
        if match is None:
            raise ValueError(
                f"{table.where(row, name)}: {text!r}; expected a time such as "
                "00:01:02.500: correct the cell"
            )
        hours, minutes, rest = match.groups()
        found[row] = 3600 * int(hours) + 60 * int(minutes) + float(rest)
    return found
