"""The best score that labels allow, against the scores of the labels themselves."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from avemo_jax.metrics.ceilings import (
    ceiling_notes,
    ceiling_of,
    ceilings_in_words,
    metric_titles,
)
from avemo_jax.tasks import AU, EXPR, VA, get_task, joint_task


@pytest.mark.parametrize("name", ["EXPR", "AU", "VA", "EXPR+AU+VA"])
def test_every_score_that_is_chosen_by_has_a_title(name):
    task = get_task(name)
    assert {task.criterion, task.headline} <= metric_titles(task).keys()


TITLES = {"with_crop": "with crop", "all_labelled": "all labelled"}


def test_classes_without_a_frame():
    """Six of eight classes have frames; of those that count, five."""
    labels = np.array([0, 1, 2, 4, 5, 6, -1, 3, 4], np.int8)
    valid = EXPR.valid(labels)
    counted = valid & (labels != 3)
    found = {"with_crop": ceiling_of(EXPR, labels, counted)}
    found["all_labelled"] = ceiling_of(EXPR, labels, valid)
    for name, mask in (("with_crop", counted), ("all_labelled", valid)):
        truth = labels[mask]
        best = f1_score(
            truth, truth, labels=np.arange(8), average="macro", zero_division=0
        )
        assert found[name]["f1_macro"] == pytest.approx(best)
    assert found["with_crop"]["without_frames"] == ["Fear", "Other"]
    assert ceiling_notes(EXPR, found, TITLES) == [
        "with crop: no frame of Fear, Other: macro F1 cannot exceed 0.75",
        "all labelled: no frame of Other: macro F1 cannot exceed 0.875",
    ]
    same = dict.fromkeys(TITLES, found["with_crop"])
    words = "no frame of Fear, Other: macro F1 cannot exceed 0.75"
    assert ceiling_notes(EXPR, same, TITLES) == [words]
    assert list(ceilings_in_words(EXPR, labels, counted)) == [f"EXPR: {words}"]


def test_units_that_are_never_active_and_values_that_never_change():
    rng = np.random.default_rng(0)
    units = rng.integers(0, 2, (50, 12)).astype(np.int8)
    units[:, [2, 7]] = 0
    found = ceiling_of(AU, units, np.ones(50, bool))
    assert found["f1_mean"] == pytest.approx(10 / 12)
    assert found["without_frames"] == ["AU04", "AU15"]
    values = rng.uniform(-1, 1, (50, 2)).astype(np.float32)
    values[:, 1] = 0.3
    values[4] = np.nan
    found = ceiling_of(VA, values, VA.valid(values))
    assert found == {"ccc_mean": 0.5, "without_frames": ["arousal"]}
    notes = ceiling_notes(VA, {"with_crop": found}, TITLES)
    told = "no two labels of arousal differ: mean CCC cannot exceed 0.5"
    assert notes == [f"with crop: {told}"]


def test_nothing_is_said_where_all_can_score_or_nothing_is_scored():
    labels = np.arange(8, dtype=np.int8)
    assert ceiling_of(EXPR, labels, labels >= 0) == {}
    assert ceiling_of(EXPR, labels, labels > 8) == {}
    assert ceiling_notes(EXPR, {}, TITLES) == []


def test_tasks_together_are_told_apart():
    """Only frames with a task's label count for that task."""
    task = joint_task([EXPR, VA])
    labels = np.full((9, 3), np.nan, np.float32)
    labels[:8, 0] = np.arange(8)
    labels[5:, 1:] = [[0.1, 0.5], [0.2, 0.5], [0.3, 0.5], [0.4, 0.5]]
    told = list(ceilings_in_words(task, labels, task.valid(labels)))
    assert told == ["VA: no two labels of arousal differ: mean CCC cannot exceed 0.5"]
    fewer = task.valid(labels) & (np.arange(9) != 3)
    assert "EXPR: no frame of Fear" in next(
        iter(ceilings_in_words(task, labels, fewer))
    )
