"""summary.csv and what a person reads."""

import csv
import dataclasses

import numpy as np
import pytest
from made.predicted import made_face, made_predicted

from avemo_jax.prediction.summaries import (
    MEANING,
    summary_rows,
    summary_text,
    write_summary,
)
from avemo_jax.tasks import AU, EXPR, VA, own_task

FIRST = (
    "input face_id duration_s fps n_frames face_found_pct filled_pct audio_used_pct"
).split()
PAIN = own_task("pain", "regression", ("pain_level",), (0.0, 10.0))


def test_shares_of_frames_at_one_rate():
    face = made_face(1, 1, 80, lost=range(41, 51), filled=range(51, 55))
    (row,) = summary_rows(made_predicted(100, [face], audio_used=True))
    assert list(row)[: len(FIRST)] == FIRST
    assert list(row)[-1] == "warnings"
    assert [row[name] for name in FIRST[:5]] == ["interview", 1, 4.0, 25.0, 100]
    assert row["face_found_pct"] == pytest.approx(66)
    assert row["filled_pct"] == pytest.approx(100 * 4 / 70, abs=0.01)
    assert row["audio_used_pct"] == 100
    known = np.isfinite(face.scores["EXPR"]).all(axis=1)
    happy = (face.scores["EXPR"][known].argmax(axis=1) == 4).mean()
    assert row["pct_time_Happiness"] == pytest.approx(100 * happy, abs=0.01)
    assert sum(v for n, v in row.items() if "pct_time_" in n) == pytest.approx(
        100, 1e-3
    )
    smile = (face.scores["AU"][known, 6] >= 0.5).mean()
    assert row["rate_AU12_pct"] == pytest.approx(100 * smile, abs=0.01)
    valence = face.scores["VA"][known, 0]
    assert row["mean_valence"] == pytest.approx(valence.mean(), abs=1e-4)
    assert row["sd_valence"] == pytest.approx(valence.std(), abs=1e-4)
    assert row["warnings"] == ""


def test_frames_count_for_as_long_as_they_are_shown():
    face = made_face(1, 1, 3, (VA, PAIN))
    face.scores["VA"][:, 0] = [0.1, 0.5, -0.5]
    face.scores["pain"][:, 0] = [0, 1, -1]
    times = np.array([0.0, 0.1, 0.4])  # the last as long as the median: 0.2 s
    predicted = made_predicted(3, [face], (VA, PAIN), times_s=times)
    (row,) = summary_rows(predicted)
    weights = np.array([0.1, 0.3, 0.2])
    assert row["duration_s"] == 0.6
    mean = np.average([0.1, 0.5, -0.5], weights=weights)
    assert row["mean_valence"] == pytest.approx(mean, abs=1e-4)
    assert row["mean_pain_level"] == pytest.approx((0.5 + 3) / 0.6, abs=1e-4)


def test_an_input_without_faces_has_a_row_with_the_same_columns():
    face = made_face(1, 1, 5)
    (found,) = summary_rows(made_predicted(5, [face]))
    predicted = made_predicted(5, notes=("no sound",), losses=("2 frames",))
    (row,) = summary_rows(predicted)
    assert list(row) == list(found)
    assert row["face_id"] is None
    assert row["face_found_pct"] == 0
    assert row["warnings"] == "no face was found; no sound; 2 frames"
    assert row["mean_valence"] is None


def test_what_makes_scores_doubtful_is_told():
    boxes = np.tile([5.0, 5.0, 20.0, 30.0], (5, 1))
    face = made_face(1, 1, 5, boxes=boxes, is_merged=True)
    (row,) = summary_rows(made_predicted(5, [face]))
    assert row["warnings"] == (
        "small face: 20 px, under 24 px; joined from scenes by likeness, which is "
        "uncertain"
    )
    (row,) = summary_rows(made_predicted(5, [face]), min_face_px=20)
    assert "px" not in row["warnings"]


def test_a_face_without_any_score():
    face = made_face(1, 1, 3, lost=[1, 2, 3])
    (row,) = summary_rows(made_predicted(3, [face]))
    assert row["mean_valence"] is row["filled_pct"] is row["pct_time_Other"] is None
    assert "no scores" in summary_text(made_predicted(3, [face]))


def test_the_file_has_the_columns_of_all_tasks(tmp_path):
    first = made_predicted(5, [made_face(1, 1, 5, (EXPR, VA))], (EXPR, VA))
    names = ("Anger", "Contempt")
    other = dataclasses.replace(EXPR, columns=names)
    second = made_predicted(4, [made_face(1, 1, 4, (other,))], (other,), name="=b,1")
    path = tmp_path / "new" / "summary.csv"
    write_summary([*summary_rows(first), *summary_rows(second)], path)
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[: len(FIRST)] == FIRST
    assert list(rows[0])[-1] == "warnings"
    assert [row["input"] for row in rows] == ["interview", "'=b,1"]
    assert rows[0]["pct_time_Contempt"] == rows[1]["mean_arousal"] == ""
    assert float(rows[1]["pct_time_Contempt"]) + float(rows[1]["pct_time_Anger"]) == 100
    assert b"\r" not in path.read_bytes()


def test_what_a_person_reads():
    face = made_face(1, 1, 50)
    face.scores["AU"][:] = 0
    face.scores["AU"][:20, 6] = 1
    face.scores["VA"][:] = [0.25, -0.5]
    predicted = made_predicted(100, [face], (EXPR, AU, VA), notes=("no sound",))
    lines = summary_text(predicted).splitlines()
    assert lines[0] == (
        "interview: 4.0 s, 100 frames of 640 x 360 px at 25 frames/s; 1 face"
    )
    assert lines[1].startswith("  face 1: seen 50 % of the time, ")
    assert "    Action units: AU12 40 % of the time" in lines
    assert "    valence 0.25 (sd 0.00), arousal -0.50 (sd 0.00); each from -1 to 1" in (
        lines
    )
    assert lines[-1] == "  note: no sound"
    empty = summary_text(made_predicted(1, fps=0.0, losses=("sound",)))
    assert empty == (
        "interview: image of 640 x 360 px; no face was found\n  lost: sound"
    )
    many = made_predicted(9, [made_face(i, 1, 9) for i in range(1, 9)])
    assert summary_text(many).splitlines()[-1] == "  3 more faces: see summary.csv"
    assert "not what people feel" in MEANING
