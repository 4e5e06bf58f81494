"""What is drawn of a face: its class, its strongest units, its values."""

import dataclasses

import numpy as np
import pytest
from made.predicted import made_face, made_predicted

from avemo_jax.prediction.face_marks import MOST_BARS, FaceMarks
from avemo_jax.prediction.own_outputs import values_task
from avemo_jax.tasks import AU, EXPR, VA, own_task
from avemo_jax.tasks.unit_names import unit_in_words


def test_all_units_have_words():
    words = [unit_in_words(name) for name in AU.columns]
    assert len(set(words)) == 12
    assert unit_in_words("AU12") == unit_in_words("AU012") == "lip corner puller"
    assert unit_in_words("AU99") is unit_in_words("pain") is None


def test_marks_follow_the_scores():
    face = made_face(1, 3, 12, lost=[6], filled=[8])
    face.scores["EXPR"][0] = [0.1, 0, 0, 0, 0.9, 0, 0, 0]
    face.scores["VA"][0] = [0.25, -0.5]
    marks = FaceMarks(made_predicted(20, [face, made_face(2, 5, 20)]))
    assert [[mark.face_id for mark in marks.of(i)] for i in (0, 2, 4, 19)] == [
        [],
        [1],
        [1, 2],
        [2],
    ]
    (mark,) = marks.of(2)
    assert mark.title == "Happiness 90%"
    assert mark.point == pytest.approx((0.25, -0.5))
    assert mark.box == pytest.approx(tuple(face.boxes[0]))
    assert (mark.is_found, mark.is_seen, mark.lines) == (True, True, ())
    lost, filled = (marks.of(i)[0] for i in (5, 7))
    assert (lost.is_found, lost.title, lost.bars, lost.point) == (False, "", (), None)
    assert (filled.is_found, filled.is_seen) == (False, False)
    assert filled.title
    assert filled.bars
    # Between the boxes before and after.
    assert filled.box == pytest.approx(tuple(face.boxes[[4, 6]].mean(axis=0)))


def test_the_same_units_are_shown_for_a_second():
    face = made_face(1, 1, 50, (AU,))
    face.scores["AU"][:] = np.linspace(0.1, 0.2, 12)
    face.scores["AU"][10, 0] = 0.95
    face.scores["AU"][30, 3] = 0.55
    limits = np.full(12, 0.5)
    limits[5] = 0.05
    predicted = made_predicted(50, [face], (AU,), thresholds={"AU": limits})
    marks = FaceMarks(predicted)
    shown = [[bar.number for bar in marks.of(i)[0].bars] for i in range(50)]
    assert MOST_BARS == 4
    assert shown[:25] == [["AU01", "AU10", "AU25", "AU26"]] * 25
    assert shown[25:] == [["AU06", "AU10", "AU25", "AU26"]] * 25
    first = marks.of(10)[0].bars[0]
    assert (first.name, first.is_active) == ("inner brow raiser", True)
    assert (first.part, first.limit) == pytest.approx((0.95, 0.5))
    assert [bar.is_active for bar in marks.of(0)[0].bars] == [False, True, False, False]


def test_any_task_is_told():
    tasks = (
        EXPR.with_columns([*EXPR.columns[:-1], "Contempt"]),
        VA,
        own_task("mood", "multiclass", ("calm", "Neutral")),
        own_task("signs", "multilabel", ("smile", "tears")),
        own_task("pain", "regression", ("strength",), (0.0, 10.0)),
        values_task("net-1", ("depth",)),
    )
    face = made_face(1, 1, 3, tasks)
    face.scores["EXPR"][0] = np.eye(8)[7]
    face.scores["mood"][0] = [0.2, 0.8]
    face.scores["signs"][0] = [0.7, 0.1]
    face.scores["pain"][0] = [0.5]
    face.scores["net-1"][0] = [42.0]
    marks = FaceMarks(made_predicted(3, [face], tasks))
    mark = marks.of(0)[0]
    assert (mark.title, mark.lines) == ("Contempt 100%", ("mood: Neutral 80%",))
    told = [(b.name, round(b.part, 2), b.is_active, b.text) for b in mark.bars]
    assert told == [
        ("smile", 0.7, True, ""),
        ("tears", 0.1, False, ""),
        ("strength", 0.75, True, "7.5"),
        ("depth", 0.0, True, "42"),
    ]
    assert [name for _, name in marks.bar_names] == [name for name, *_ in told]
    valence = VA.with_columns(("valence",))
    alone = made_face(1, 1, 3, (valence,))
    mark = FaceMarks(made_predicted(3, [alone], (valence,))).of(0)[0]
    assert mark.point is None
    assert [bar.name for bar in mark.bars] == ["valence"]


def test_a_face_without_any_box_is_not_drawn():
    face = made_face(1, 1, 4)
    nowhere = dataclasses.replace(face, boxes=np.full((4, 4), np.nan))
    assert FaceMarks(made_predicted(4, [nowhere])).of(0) == []
