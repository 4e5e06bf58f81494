"""Features in the Parquet files of other programs: the same whoever wrote them."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from made import foreign_tables

from avemo_jax.data.corpus.video_numbers import read_numbers
from avemo_jax.data.importing.spooled import SpooledRows
from avemo_jax.data.importing.tables import import_parquet

ROWS = [
    ["Video", "frame", "f1", "f0"],
    ["b", "1", "0.5", "1.5"],
    ["a", "2", "-0.25", "2.5"],
    ["a", "1", "0.75", "3.5"],
]


def imported(folder, path):
    """Frames and vectors of each video."""
    rows = SpooledRows(path, folder, dtype="float32")
    source = import_parquet(path, rows)
    found = {video: source.read(video) for video in source.frames}
    source.close()
    return {v: (r.frame.tolist(), r.features.tolist()) for v, r in found.items()}


@pytest.mark.parametrize("form", foreign_tables.PARQUET)
def test_columns_of_numbers(tmp_path, form):
    path = foreign_tables.write(tmp_path, form, ROWS)
    assert imported(tmp_path, path) == {
        "a": ([1, 2], [[3.5, 0.75], [2.5, -0.25]]),
        "b": ([1], [[1.5, 0.5]]),
    }


LISTS = pa.array([[1.0, 2.0], [3.0, 4.0]])
KINDS = (pa.list_(pa.float32()), pa.large_list(pa.float64()), pa.list_(pa.int8(), 2))


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_lists(tmp_path, kind):
    path = tmp_path / "given.parquet"
    table = {"video": [7, 7], "frame": [1, 2], "v": LISTS.cast(kind)}
    pa.parquet.write_table(pa.table(table), path)
    assert imported(tmp_path, path) == {"7": ([1, 2], [[1, 2], [3, 4]])}


def test_what_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "given.parquet"
    texts = {"video": ["a"], "frame": [1], "v": [["x"]]}
    pa.parquet.write_table(pa.table(texts), path)
    with pytest.raises(
        ValueError, match=r"column 'v': values of type list<.*: write it"
    ):
        imported(tmp_path, path)
    long = {"video": ["a"], "frame": [1], "v": [np.zeros(70_000)]}
    pa.parquet.write_table(pa.table(long), path)
    with pytest.raises(
        ValueError, match="column 'v': 70,000 numbers in 1 rows; expect"
    ):
        imported(tmp_path, path)
    monkeypatch.setenv("AVEMO_MAX_TABLE_GB", "0.001")
    many = pa.table({"video": pa.nulls(99_999, pa.string()), "frame": [1] * 99_999})
    pa.parquet.write_table(many, path)
    with pytest.raises(
        ValueError, match=r"99,999 rows, .*if the file is right, set AVEM"
    ):
        imported(tmp_path, path)


@pytest.mark.parametrize("form", foreign_tables.FORMS)
def test_rates_of_videos(tmp_path, form):
    rows = [["video", "fps"], ["007", "29.97"], ["b", "25.0"]]
    path = foreign_tables.write(tmp_path, form, rows)
    found = read_numbers(path, "fps", most=1000)
    assert found == pytest.approx({"007": 29.97, "b": 25.0}, rel=1e-7)
