"""The one reader of tables: every form that has one meaning, and the others' errors."""

import bz2
import gzip
import os

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
import pytest
from made import foreign_tables

from avemo_jax.runtime.tables import header_of, read_table, words

ROWS = [
    ["video", "frame", "mood", "value"],
    ["007", "1", "calm", "0.5"],
    ["über", "2", "", "-1.25"],
    ["007", "3", "keen", ""],
]
KNOWN = ("video", "frame")


@pytest.mark.parametrize("form", foreign_tables.FORMS)
def test_forms(tmp_path, form):
    """Names with zeros in front stay texts, and missing is missing, in every form."""
    path = foreign_tables.write(tmp_path, form, ROWS)
    table = read_table(path, known=("video", "frame", "mood", "value"))
    assert table.columns == tuple(ROWS[0])
    assert table.num_rows == 3
    names, index = table.encoded("video")
    assert [names[i] for i in index] == ["007", "über", "007"]
    assert table.frames("frame").tolist() == [1, 2, 3]
    assert table.texts("mood").to_pylist() == ["calm", None, "keen"]
    np.testing.assert_array_equal(table.numbers("value"), [0.5, -1.25, np.nan])
    assert [n.lower() for n in header_of(path) if not n.startswith("Unn")] == ROWS[0]


def test_what_is_not_plain_is_noted(tmp_path):
    told = {
        "plain": (),
        "tabs": ("the table is divided by tabs",),
        "gzip": ("the table is read from gzip",),
        "UTF-16": (
            "the table is read from UTF-16",
            "the table is divided by tabs",
        ),
        "German Excel": (
            "the table is divided by semicolons",
            "the table's numbers have commas for their decimals",
        ),
        "pandas' index": (
            "the table's first column numbers the rows, and is left out",
        ),
    }
    for form, notes in told.items():
        table = read_table(foreign_tables.write(tmp_path, form, ROWS))
        table.numbers("value")
        assert table.notes == notes


@pytest.mark.parametrize("word", words.MISSING)
def test_missing_in_every_program(tmp_path, word):
    path = tmp_path / "given.csv"
    path.write_text(f"a,b\n1,0.5\n2,{word}\n")
    np.testing.assert_array_equal(read_table(path).numbers("b"), [0.5, np.nan])


def test_true_and_false_are_1_and_0(tmp_path):
    path = tmp_path / "given.csv"
    path.write_text("a,b\n1,TRUE\n2,false\n3,NA\n4,1\n")
    np.testing.assert_array_equal(read_table(path).numbers("b"), [1, 0, np.nan, 1])
    path.write_text("a,b\n1,True\n2,0.3\n")
    with pytest.raises(ValueError, match=r"line 3, column 'b': '0\.3'; expected 0, 1"):
        read_table(path).numbers("b")
    path = tmp_path / "given.parquet"
    pa.parquet.write_table(pa.table({"b": [True, None, False]}), path)
    table = read_table(path)
    np.testing.assert_array_equal(table.numbers("b"), [1, np.nan, 0])
    assert table.texts("b").to_pylist() == ["1", None, "0"]


def test_frames_of_pictures(tmp_path):
    path = tmp_path / "given.csv"
    path.write_text("frame\n00001.JPG\n00012.jpg\n")
    assert read_table(path).frames("frame").tolist() == [1, 12]


WRONG = {
    "nothing": (b"", "line 1: an empty file"),
    "NUL": (b"a\0,b\n1,2\n", "not text, as it has NUL bytes.*save it as CSV"),
    "Excel": (b"PK\x03\x04", "a file as .xlsx or .zip.*save it as CSV, or unpack"),
    "bzip2": (bz2.compress(b"a,b\n"), "a file as .bz2"),
    "cut gzip": (gzip.compress(b"a,b\n1,2\n" * 99)[:-9], "expected a whole gzip file"),
    "Latin-1": (b"a,b\n1,2\n\n3,\xe9\n", "line 4: not UTF-8"),
    "late Latin-1": (
        b"a,b\n" + b"1,2\n" * 300_000 + b"3,\xe9\n",
        "or later: not UTF-8",
    ),
    "odd UTF-16": (b"\xff\xfea\0,\0b", "expected text in UTF-16"),
    "short line": (b"a,b\n1,2\n\n3\n", "line 4: 1 cells; expected 2, as in the header"),
    "long lines": (b"a,b\nx,1,2\ny,3,4\n", "line 2: 3 cells; expected 2"),
    "a name less": (b"a,b\n3,1,2\n4,3,4\n", "line 2: 3 cells; expected 2"),
    "names twice": (b"a,b,a\n1,2,3\n", "line 1: a; expected each column named, once"),
    "no name": (b",a\nx/1.jpg,2\n", "column 1, with 'x/1.jpg' below, has no name"),
    "no name within": (b"a,,b\n1,2,3\n", "column 2, with '2' below, has no name"),
    "spaces": (b"a b c\n1 2 3\n", "line 1: no commas in 'a b c'.*save it with commas"),
    "two dividers": (b"a,b;c\n1,2;3\n", "commas and semicolons in 'a,b;c'"),
    "no number": (b"a,b\n1,2\n\n3,x y\n", "line 4, column 'b': 'x y'; expected a num"),
    "comma": (b'a,b\n1,"2,5"\n', "line 2, column 'b': '2,5'.*write a point"),
    "thousands": (b"a;b\n0.5;1,234\n", "commas in 'b', and with points in 'a'"),
    "hexadecimal": (b"a,b\n1,0x10\n", "'0x10'; expected a number"),
    "underscore": (b"a,b\n1,1_0\n", "'1_0'; expected a number"),
}


def all_numbers(path):
    table = read_table(path)
    return [table.numbers(name) for name in table.columns]


@pytest.mark.parametrize("fault", WRONG)
def test_texts_that_are_refused(tmp_path, fault):
    data, message = WRONG[fault]
    path = tmp_path / "given.csv"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message) as error:
        all_numbers(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_cell_with_line_ends_counts_its_lines(tmp_path):
    path = tmp_path / "given.csv"
    path.write_text('a,b\n"x\ny",1\nz,two\n')
    table = read_table(path)
    assert table.texts("a").to_pylist() == ["x\ny", "z"]
    with pytest.raises(ValueError, match="line 4, column 'b': 'two'"):
        table.numbers("b")


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pa.array([1, 2], pa.timestamp("ns")), r"'b': values of type timestamp"),
        (pa.array([1, 2], pa.date32()), r"'b': values of type date32"),
        (pa.array([{"x": 1}, {"x": 2}]), r"'b': values of type struct"),
        (pa.array([["x"], ["y"]]), r"'b': values of type list<.*string"),
        (pa.array([[1.0], [2.0]]), r"'b': lists; expected a number a row"),
        (pa.array([b"\xff", b"a"]), r"'b': .*expected texts in UTF-8"),
        (pa.array([2**64 - 1, 0], pa.uint64()), r"'b': .*that 64 bits hold"),
        (pa.array(["1", "x"]), r"row 2, column 'b': 'x'; expected a number"),
    ],
)
def test_columns_of_parquet_that_are_refused(tmp_path, column, message):
    """Others of the same file are read all the same."""
    path = tmp_path / "given.parquet"
    pa.parquet.write_table(pa.table({"a": [1, 2], "b": column}), path)
    table = read_table(path)
    assert table.numbers("a").tolist() == [1, 2]
    with pytest.raises(ValueError, match=message):
        table.numbers("b")


def test_lists_are_vectors(tmp_path):
    path = tmp_path / "given.parquet"
    kinds = (pa.list_(pa.float32()), pa.large_list(pa.int16()), pa.list_(pa.int64(), 2))
    for kind in kinds:
        lists = pa.array([[1, 2], [3, 4]], kind)
        pa.parquet.write_table(pa.table({"a": ["x", "y"], "p": lists}), path)
        table = read_table(path)
        assert table.list_columns() == ["p"]
        assert table.vectors("p").tolist() == [[1, 2], [3, 4]]
    pa.parquet.write_table(pa.table({"p": [[1.0, 2], None, [3.0]]}), path)
    with pytest.raises(ValueError, match="'p': vectors of 2, no, 1 numbers"):
        read_table(path).vectors("p")


@pytest.mark.slow
def test_tables_that_would_fill_the_memory(tmp_path, monkeypatch):
    """A few kilobytes that declare or unpack to far more are refused at once."""
    path = tmp_path / "given.parquet"
    rows = 3_000_000
    column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), ["x"])
    pa.parquet.write_table(pa.table(dict.fromkeys("abcd", column)), path)
    assert path.stat().st_size < 50_000
    monkeypatch.setenv("AVEMO_MAX_TABLE_GB", "0.08")
    table = read_table(path)
    for name in "abc":
        table.texts(name)
    with pytest.raises(ValueError, match=r"values of d.*set AVEMO_MAX_TABLE_GB=1 in"):
        table.texts("d")
    monkeypatch.setenv("AVEMO_MAX_TABLE_GB", "0.01")
    with pytest.raises(
        ValueError, match=r"3,000,000 rows, 0\.1 GB in memory; expected"
    ):
        read_table(path)
    path = tmp_path / "given.csv.gz"
    path.write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * 5_000_000))
    with pytest.raises(ValueError, match=r"a packed text, 0\.0 GB in memory"):
        read_table(path)
    assert header_of(path) == ("a", "b")
    long = pa.DictionaryArray.from_arrays(
        pa.array(np.zeros(99, np.int32)), ["x" * 10**6]
    )
    path = tmp_path / "given.parquet"
    pa.parquet.write_table(pa.table({"a": long}), path)
    with pytest.raises(ValueError, match="texts of 'a'"):
        read_table(path).texts("a")
    monkeypatch.setenv("AVEMO_MAX_TABLE_GB", "much")
    with pytest.raises(ValueError, match="AVEMO_MAX_TABLE_GB='much' in the envir"):
        read_table(path)


def test_files_that_are_no_tables(tmp_path):
    with pytest.raises(ValueError, match="no such file; expected a table"):
        read_table(tmp_path / "none.csv")
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(ValueError, match="no such file; expected a table"):
        header_of(tmp_path / "pipe.csv")
    path = tmp_path / "given.parquet"
    path.write_text("a,b\n")
    with pytest.raises(ValueError, match="does not begin as a Parquet file"):
        read_table(path)
    path.write_bytes(b"PAR1" + b"\x80" * 99 + b"PAR1")
    with pytest.raises(ValueError, match="expected a whole Parquet file"):
        read_table(path)


FORMULAS = ("=1+1", "@SUM(1)", "+cmd|' /C calc'!A0", "-2+3+cmd|' /C'!A", "'=1", "''=x")
NAMES = ("-aBc_9dEf", "@someone", "+49", "'tis", "a=b", "'")


def test_formulas_are_neutral_and_read_back_the_same(tmp_path):
    """Names such as those of YouTube stay as they are."""
    texts = pa.array([*FORMULAS, *NAMES])
    written = words.neutral(texts)
    assert written.to_pylist() == [*(f"'{one}" for one in FORMULAS), *NAMES]
    path = tmp_path / "given.csv"
    pa.csv.write_csv(pa.table({"a": written}), path)
    assert read_table(path).texts("a").to_pylist() == texts.to_pylist()
    assert pc.equal(words.neutral(pa.array(["x"])), "x").to_pylist() == [True]
