"""Rows on disk at any places."""

import numpy as np

from avemo_jax.runtime import scratch_rows
from avemo_jax.runtime.scratch_rows import ScratchRows


def test_rows_come_back_from_their_places(tmp_path):
    rows = ScratchRows(tmp_path, 7, 3, np.float16)
    assert len(rows) == 7
    values = np.arange(21, dtype=np.float16).reshape(7, 3)
    for places in ([5, 1, 2], [0], [6, 4]):
        rows.write(np.array(places), values[places])
    table = rows.mapped()
    rows.close()
    expected = values.copy()
    expected[3] = 0
    np.testing.assert_array_equal(table, expected)
    assert not table.flags.writeable
    assert not list(tmp_path.iterdir())


def test_no_rows_are_an_empty_table(tmp_path):
    rows = ScratchRows(None, 0, 4, np.float32)
    rows.write(np.zeros(0, int), np.zeros((0, 4), np.float32))
    assert rows.mapped().shape == (0, 4)
    rows.close()


def test_a_table_grows_and_comes_in_another_order(tmp_path, monkeypatch):
    monkeypatch.setattr(scratch_rows, "_BLOCK", 4)
    rows = ScratchRows(tmp_path, 0, 3, np.float16)
    values = np.arange(33, dtype=np.float16).reshape(11, 3)
    for places in ([0, 1, 2], [9, 3, 4], [8, 7, 6, 5]):
        rows.write(np.array(places), values[places])
    rows.reserve(11)
    rows.reserve(5)
    expected = values.copy()
    expected[10] = 0
    np.testing.assert_array_equal(rows.mapped(), expected)
    order = np.random.default_rng(0).permutation(11)
    other = rows.reordered(order, tmp_path)
    rows.close()
    np.testing.assert_array_equal(other.mapped(), expected[order])
    other.close()
    assert not list(tmp_path.iterdir())
