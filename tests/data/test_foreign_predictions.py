"""Predictions in the tables of other programs: the same whoever wrote them."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from made import foreign_tables

from avemo_jax.challenge.submit.predictions import tasks_of
from avemo_jax.data.predictions.reading import read_frame_predictions
from avemo_jax.tasks import AU, EXPR, VA

FRAMES = ["1", "2", "3", "4"]
CLASSES = ["4", "0", "", "-1"]
KEPT = [1, 2]


def rows_of(task):
    """Four frames of video 360, of which two have a prediction."""
    columns = {"video": ["360"] * 4, "frame": FRAMES}
    if task is EXPR:
        columns["expression"] = CLASSES
    elif task is AU:
        columns |= {name: ["1", "0", "", "-1"] for name in task.header.split(",")}
    else:
        columns |= {name: ["0.25", "-0.5", "", ""] for name in task.columns}
    return [list(columns), *map(list, zip(*columns.values(), strict=True))]


@pytest.mark.parametrize("form", foreign_tables.FORMS)
@pytest.mark.parametrize("task", [EXPR, AU, VA], ids=lambda task: task.name)
def test_forms(tmp_path, form, task):
    path = foreign_tables.write(tmp_path, form, rows_of(task))
    found = read_frame_predictions(path, task)
    assert (found.videos, found.frame.tolist()) == (("360",), KEPT)
    if task is EXPR:
        assert found.decided.tolist() == [[4], [0]]
    elif task is AU:
        assert found.decided.tolist() == [[1] * 12, [0] * 12]
    else:
        np.testing.assert_array_equal(found.scores, [[0.25] * 2, [-0.5] * 2])
    assert found.notes[-1].endswith("taken as frames that were left out: 2")
    assert tasks_of(path) == (task,)


@pytest.mark.parametrize("word", ["HAPPINESS", "Happiness", "4.0", "4"])
def test_classes_in_words_and_numbers(tmp_path, word):
    path = tmp_path / "given.csv"
    path.write_text(f"image_location,Expression\n360/00001.JPG,{word}\n")
    assert read_frame_predictions(path, EXPR).decided.tolist() == [[4]]


def test_scores_in_lists(tmp_path):
    """A column of lists is what arrays are: outputs without names."""
    path = tmp_path / "given.parquet"
    scores = np.eye(8)[:3]
    table = {"video": [360] * 3, "frame": [1, 2, 3], "probs": scores.tolist()}
    pa.parquet.write_table(pa.table(table), path)
    found = read_frame_predictions(path, EXPR)
    np.testing.assert_array_equal(found.scores, scores)
    assert not found.named
    with pytest.raises(ValueError, match="8 values a frame; expected valence and arou"):
        read_frame_predictions(path, VA)


def test_half_a_prediction_is_no_missing_one(tmp_path):
    path = tmp_path / "given.csv"
    path.write_text("video,frame,valence,arousal\n360,1,0.5,NA\n360,2,1,1\n")
    with pytest.raises(ValueError, match="frame 1 of '360' has the values"):
        read_frame_predictions(path, VA)
    names = ",".join(EXPR.columns)
    values = ",".join(["0.125"] * 8)
    path.write_text(f"video,frame,expression,{names}\n360,1,NA,{values}\n")
    with pytest.raises(
        ValueError, match="frame 1 of '360' has scores or a decision al"
    ):
        read_frame_predictions(path, EXPR)
    path.write_text("video,frame,expression\n360,1,NA\n")
    with pytest.raises(ValueError, match="no predictions, as all values are missing"):
        read_frame_predictions(path, EXPR)


def test_missing_rows_of_arrays(tmp_path):
    path = tmp_path / "given.npz"
    np.savez(path, **{"360": np.array([[0.5, 0.5], [np.nan, np.nan], [0, 1]])})
    found = read_frame_predictions(path, VA)
    assert found.frame.tolist() == [1, 3]
    assert found.notes == (
        "rows without a prediction (empty, NA, NaN or -1), taken as frames that were "
        "left out: 1",
    )
