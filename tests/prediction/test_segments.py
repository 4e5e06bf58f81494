"""Spans in which a face looks alike, and their file, which ELAN imports."""

import csv
import dataclasses
import re

import numpy as np
import pytest
from made.predicted import made_face, made_predicted

from avemo_jax.prediction.segments import COLUMNS, segments, write_segments
from avemo_jax.tasks import AU, EXPR, EXPRESSIONS, VA


def with_scores(face, **scores):
    return dataclasses.replace(face, scores=dict(face.scores) | scores)


def one_hot(classes, strength=0.65):
    """Probabilities whose highest is ``strength``; NaN where the class is -1."""
    probs = np.full((len(classes), 8), (1 - strength) / 7, np.float32)
    probs[np.arange(len(classes)), classes] = strength
    probs[np.array(classes) < 0] = np.nan
    return probs


def test_runs_of_a_class_end_with_it_and_where_nothing_is_known():
    face = with_scores(made_face(2, 3, 10), EXPR=one_hot([0, 0, 4, 4, 4, -1, 4, 0]))
    predicted = made_predicted(12, [face], (EXPR, VA))
    found = list(segments(predicted))
    assert [(one.onset_s, one.offset_s, one.label) for one in found] == [
        (pytest.approx(0.08), pytest.approx(0.16), "Neutral"),
        (pytest.approx(0.16), pytest.approx(0.28), "Happiness"),
        (pytest.approx(0.32), pytest.approx(0.36), "Happiness"),
        (pytest.approx(0.36), pytest.approx(0.40), "Neutral"),
    ]
    assert {one.tier for one in found} == {"face2_expression"}
    assert {one.face_id for one in found} == {2}
    assert [one.mean_prob for one in found] == pytest.approx([0.65] * 4)


def test_runs_of_active_units():
    probs = np.full((6, 12), 0.1, np.float32)
    probs[1:3, 6] = [0.6, 0.8]
    probs[5, 6] = 0.7
    probs[:, 0] = 0.9
    face = with_scores(made_face(1, 1, 6, (AU,)), AU=probs)
    found = list(segments(made_predicted(6, [face], (AU,))))
    told = [(o.tier, o.label, round(o.onset_s, 9), round(o.offset_s, 9)) for o in found]
    assert told == [
        ("face1_AU01", "AU01", 0.0, 0.24),
        ("face1_AU12", "AU12", 0.04, 0.12),
        ("face1_AU12", "AU12", 0.20, 0.24),
    ]
    assert [o.mean_prob for o in found] == pytest.approx([0.9, 0.7, 0.7], abs=1e-6)


def test_where_the_rate_varies_frames_last_until_the_next():
    face = with_scores(made_face(1, 1, 4, (AU,)), AU=np.zeros((4, 12), np.float32))
    face.scores["AU"][1:3, 0] = [0.6, 0.9]
    times = np.array([0.0, 0.1, 0.4, 0.5])
    predicted = made_predicted(4, [face], (AU,), times_s=times)
    (only,) = segments(predicted)
    assert (only.onset_s, only.offset_s) == (0.1, 0.5)
    assert only.mean_prob == pytest.approx((0.6 * 0.3 + 0.9 * 0.1) / 0.4)


def test_they_agree_with_a_walk_over_the_frames():
    face = made_face(1, 5, 90, lost=[20, 21, 60])
    predicted = made_predicted(100, [face])
    shown = {(one.tier, one.label): [] for one in segments(predicted)}
    for one in segments(predicted):
        first, end = round(one.onset_s * 25), round(one.offset_s * 25)
        shown[one.tier, one.label] += range(first + 1, end + 1)
    for row, frame in enumerate(face.frame):
        probs, units = face.scores["EXPR"][row], face.scores["AU"][row]
        for i, name in enumerate(EXPRESSIONS):
            there = frame in shown.get(("face1_expression", name), ())
            assert there == (np.isfinite(probs[i]) and probs.argmax() == i)
        for name, prob in zip(AU.columns, units, strict=True):
            assert (frame in shown[f"face1_{name}", name]) == (prob >= 0.5)


def test_an_image_has_none_for_it_lasts_no_time():
    assert not list(segments(made_predicted(1, [made_face(1, 1, 1)], fps=0.0)))


def test_the_file_is_as_elan_imports_it(tmp_path):
    """Times in seconds with a point; in a tier nothing overlaps, nor lasts no time."""
    faces = [made_face(1, 1, 60, lost=[9]), made_face(2, 20, 75)]
    path = tmp_path / "segments.csv"
    write_segments(path, made_predicted(75, faces))
    data = path.read_bytes()
    assert b"\r" not in data
    assert b'"' not in data
    lines = list(csv.reader(data.decode().splitlines()))
    assert tuple(lines[0]) == COLUMNS
    rows = [dict(zip(COLUMNS, line, strict=True)) for line in lines[1:]]
    ended = {}
    for row in rows:
        onset, offset = row["onset_s"], row["offset_s"]
        assert re.fullmatch(r"\d+\.\d{3}", onset)
        assert re.fullmatch(r"\d+\.\d{3}", offset)
        assert row["tier"].startswith(f"face{row['face_id']}_")
        assert row["label"]
        assert float(onset) < float(offset)
        assert float(onset) >= ended.get(row["tier"], 0)
        ended[row["tier"]] = float(offset)
    assert len(ended) == 2 * (1 + 12)
