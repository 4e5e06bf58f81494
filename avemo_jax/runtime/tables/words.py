"""Cells of a table in words: what is missing, true or false, and what is a number."""

import re

import pyarrow as pa
import pyarrow.compute as pc

from avemo_jax.runtime.plain_text import FORMULA, NEUTRAL_FORMULA, is_number

# What programs write where there is no value: nothing (pandas, polars, DuckDB, csv),
# R, NumPy, pandas' own types, Python, SQL and its dumps, spreadsheets. Excel's #N/A,
# which formulas give, counts; "none" in small letters is no program's, but a class.
MISSING = (
    *("", "NA", "<NA>", "N/A", "n/a", "#N/A", "nan", "NaN", "NAN", "-nan"),
    *("null", "NULL", "None", "NaT", r"\N", "#NULL!"),
)
INTEGER = re.compile(r"[+-]?\d{1,18}")  # what 64 bits hold
_TRUTH = {"true": "1", "false": "0"}
_WITH_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
LARGEST = 2.0**53  # up to it float64 holds every whole number


def with_point(text: str) -> str:
    """``text`` with a point in place of its comma, where it is a number with one."""
    return text.replace(",", ".") if _WITH_COMMA.fullmatch(text) else text


def truth_of(text: str) -> str:
    """A text such as TRUE or False as "1" or "0"; any other text as it is."""
    return _TRUTH.get(text.lower(), text)


def whole(text: str) -> str:
    """A number such as 1.0 or 2e0 as "1", "2"; any other text as it is."""
    if not is_number(text) or text.isdigit():
        return text
    value = float(text)
    if not abs(value) <= LARGEST or value != round(value):
        return text
    return text if set(text) <= set("+-0123456789") else str(int(value))


def neutral(texts: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Texts for a CSV file, each as ``plain_text.in_csv`` has it."""
    risky = pc.match_substring_regex(texts, FORMULA)
    return pc.if_else(risky, pc.binary_join_element_wise("'", texts, ""), texts)


def as_meant(texts: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Texts of a file without the apostrophes before formulas."""
    if not pc.any(pc.starts_with(texts, "'")).as_py():
        return texts
    return pc.replace_substring_regex(texts, NEUTRAL_FORMULA, r"\1")
