"""Rows on disk at places that are known beforehand."""

import numpy as np

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
