"""How much memory a table may ask for, before anything of it is allocated."""

import os
import pathlib
from collections import Counter
from collections.abc import Iterable

LIMIT = "AVEMO_MAX_TABLE_GB"
_DEFAULT_GB = 4.0  # 20 million rows of predictions, 185 hours at 30 frames a second
VALUE_BYTES = 8
_MAX_COLUMNS = 100_000


def max_bytes() -> int:
    """Bytes that a table may take; :data:`LIMIT` in the environment changes it.

    Raises:
        ValueError: If the environment holds no positive number there.
    """
    text = os.environ.get(LIMIT, "")
    try:
        gigabytes = float(text) if text else _DEFAULT_GB
        if not 0 < gigabytes < 1e6:
            raise ValueError("out of range")
    except ValueError as error:
        raise ValueError(
            f"{LIMIT}={text!r} in the environment; expected gigabytes, such as 16: "
            "correct it"
        ) from error
    return int(gigabytes * 2**30)


def check_size(path: pathlib.Path, wanted: int, what: str) -> None:
    """Raise ``ValueError`` if a table asks for more than it may take.

    Args:
        path: The file.
        wanted: Bytes that reading it would take at the least.
        what: What would take them, in words.
    """
    if wanted > (most := max_bytes()):
        raise ValueError(
            f"{path}: {what}, {wanted / 2**30:.1f} GB in memory; expected at most "
            f"{most / 2**30:g} GB: if the file is right, set {LIMIT}="
            f"{int(wanted / 2**30) + 1} in the environment, else write it again"
        )


def check_columns(path: pathlib.Path, count: int) -> None:
    """Raise ``ValueError`` if a table has more columns than tables may have."""
    if count > _MAX_COLUMNS:
        raise ValueError(
            f"{path}: {count:,} columns; expected {_MAX_COLUMNS:,} at most: write fewer"
        )


def twice(names: Iterable[str]) -> str:
    """The names that are there more than once, sorted, in words; empty: none are."""
    return ", ".join(sorted(n for n, count in Counter(names).items() if count > 1))
