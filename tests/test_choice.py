import numpy as np
import pytest
from made_tables import made_table

from avemo_jax.finishing import plan_of


@pytest.mark.parametrize("faithful", [False, True])
@pytest.mark.parametrize("split", ["train", "test"])
def test_frames_are_filled_from_labelled_rows_or_all(split, faithful):
    """The original's way takes labelled rows; where there are no labels, all."""
    table = made_table(split=split)
    plan = plan_of(table, faithful=faithful)
    assert plan.has_rows.all()
    only_valid = faithful and split == "train"
    used = table.valid if only_valid else np.ones(len(table.frame), bool)
    if split == "train":
        assert 0 < table.valid.sum() < len(table.frame)
    starts = np.repeat(table.dense_offsets[:-1], np.diff(table.row_offsets))
    expected = np.zeros(plan.num_frames, bool)
    expected[(starts + table.frame - 1)[used]] = True
    np.testing.assert_array_equal(~plan.filled, expected)
