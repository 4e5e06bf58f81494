"""The table of an input: its columns, rows, values, and its parts."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest
from made.predicted import made_face, made_predicted

from avemo_jax.prediction.segments import segments
from avemo_jax.prediction.summaries import summary_rows
from avemo_jax.prediction.tables import record_batches, schema_of, table_of
from avemo_jax.tasks import ACTION_UNITS, AU, EXPR, EXPRESSIONS, VA, own_task

ABOUT = (
    "input frame timestamp face_id success confidence FaceRectX FaceRectY "
    "FaceRectWidth FaceRectHeight filled embedded audio_used"
).split()
UNITS = [f"AU{unit:02d}" for unit in ACTION_UNITS]
AFFECTNET = ("Anger Contempt Disgust Fear Happiness Neutral Sadness Surprise").split()
MOOD = own_task("mood", "multiclass", ("Neutral", "good"))
PAIN = own_task("pain", "regression", ("pain_level",), (0.0, 10.0))


def test_columns_are_those_of_the_model_whatever_is_found():
    faces = [made_face(1, 2, 9), made_face(2, 1, 3, lost=[2])]
    expected = [*ABOUT, "expression", "expression_prob", *EXPRESSIONS, *UNITS]
    expected += [f"{unit}_c" for unit in UNITS] + ["valence", "arousal"]
    for found in ([], faces[:1], faces):
        predicted = made_predicted(9, found)
        for raw in (False, True):
            assert table_of(predicted, raw).schema.names == expected
            assert table_of(predicted, raw).schema == schema_of(predicted, raw=raw)
    assert not any(pa.types.is_list(kind) for kind in schema_of(predicted).types)


def test_a_task_that_the_model_lacks_has_no_columns():
    expr = dataclasses.replace(EXPR, columns=tuple(AFFECTNET))
    tasks = (expr, VA)
    predicted = made_predicted(4, [made_face(1, 1, 4, tasks)], tasks)
    names = table_of(predicted).schema.names
    decided = ["expression", "expression_prob"]
    assert names == [*ABOUT, *decided, *AFFECTNET, "valence", "arousal"]
    assert set(table_of(predicted)["expression"].to_pylist()) <= set(AFFECTNET)


def test_spread_and_own_tasks_follow_the_benchmarks():
    tasks = (MOOD, EXPR, PAIN, VA)
    spread = ("VA", "mood")
    face = made_face(1, 1, 3, tasks, spread=spread)
    predicted = made_predicted(3, [face], tasks, with_spread=spread)
    of_expr = ["expression", "expression_prob", *EXPRESSIONS]
    of_va = ["valence", "arousal"]
    sd = ["valence_sd", "arousal_sd"]
    # Its class is called as one of the benchmark's, so the task's name is in front.
    own = ["mood", "mood_prob", "mood_Neutral", "good", "pain_level"]
    own_sd = ["mood_Neutral_sd", "good_sd"]
    names = table_of(predicted).schema.names
    assert names == [*ABOUT, *of_expr, *of_va, *sd, *own, *own_sd]
    assert table_of(predicted, raw=True).schema.names == [
        *ABOUT,
        *of_expr,
        *of_va,
        *own,
    ]
    empty = made_predicted(3, [], tasks, with_spread=spread)
    assert table_of(empty).schema.names == names
    values = table_of(predicted).to_pydict()
    unit = 5 * (face.scores["pain"][:, 0].astype(float) + 1)
    np.testing.assert_allclose(values["pain_level"], unit, atol=5.1e-7)
    expected = face.spread["VA"][:, 0]
    np.testing.assert_allclose(values["valence_sd"], expected, atol=5.1e-7)


def test_sets_and_disagreement_come_last_and_hold_the_class_decided():
    tasks, of = (MOOD, EXPR), ("EXPR", "mood")
    face = made_face(1, 1, 40, tasks, lost=[7], sets=of, disagreement=of)
    beside = {"with_sets": of, "with_disagreement": of}
    predicted = made_predicted(41, [face], tasks, **beside)
    table = table_of(predicted)
    of_expr = ["expression", "expression_prob", *EXPRESSIONS]
    of_expr += ["expression_set", "expression_disagreement"]
    own = ["mood", "mood_prob", "mood_Neutral", "good", "mood_set", "mood_disagreement"]
    assert table.schema.names == [*ABOUT, *of_expr, *own]
    assert not any(
        "_set" in name for name in table_of(predicted, raw=True).schema.names
    )
    values = table.to_pydict()
    for row in range(41):
        texts = [values[name][row] for name in ("expression_set", "mood_set")]
        shares = values["expression_disagreement"][row]
        if row in (6, 40):
            assert texts == [None, None]
            assert shares is None
            continue
        probs = face.scores["EXPR"][row]
        expected = [
            name for name, p in zip(EXPRESSIONS, probs, strict=True) if p >= 0.15
        ]
        assert texts[0].split("+") == (expected or [values["expression"][row]])
        assert values["mood"][row] in texts[1].split("+")
        assert shares == face.disagreement["EXPR"][row]
    some = [len(text.split("+")) for text in values["expression_set"] if text]
    assert min(some) < max(some)


def test_every_frame_has_a_row_for_each_face_and_one_where_nobody_is():
    faces = [made_face(1, 2, 6, lost=[4], filled=[5]), made_face(2, 5, 7)]
    table = table_of(made_predicted(9, faces)).to_pydict()
    where = list(zip(table["frame"], table["face_id"], strict=True))
    assert where == [
        *((1, None), (2, 1), (3, 1), (4, 1), (5, 1), (5, 2), (6, 1), (6, 2)),
        *((7, 2), (8, None), (9, None)),
    ]
    assert table["success"] == [0, 1, 1, 0, 0, 1, 1, 1, 1, 0, 0]
    assert table["filled"] == [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]
    assert table["embedded"] == table["success"]
    assert table["timestamp"] == [(number - 1) / 25 for number in table["frame"]]
    for name in ("confidence", "FaceRectX", "FaceRectHeight"):
        missing = [value is None for value in table[name]]
        assert missing == [success == 0 for success in table["success"]], name
    for name in ("expression", "expression_prob", "Other", "AU01", "AU26_c", "arousal"):
        missing = [value is None for value in table[name]]
        assert missing == [1, 0, 0, 1, 0, 0, 0, 0, 0, 1, 1], name


def test_values_and_what_is_decided_of_them():
    face = made_face(1, 1, 40, lost=[7])
    limits = np.linspace(0.1, 0.9, 12)
    predicted = made_predicted(40, [face], thresholds={"AU": limits})
    for raw in (False, True):
        table = table_of(predicted, raw).to_pydict()
        scores = face.raw if raw else face.scores
        for row in range(40):
            if row == 6:
                continue
            probs = scores["EXPR"][row]
            assert table["expression"][row] == EXPRESSIONS[probs.argmax()]
            assert table["expression_prob"][row] == pytest.approx(probs.max(), abs=1e-6)
            for unit, prob, limit in zip(UNITS, scores["AU"][row], limits, strict=True):
                assert table[unit][row] == pytest.approx(prob, abs=1e-6)
                assert table[f"{unit}_c"][row] == int(prob >= limit)
            assert table["valence"][row] == pytest.approx(
                scores["VA"][row, 0], abs=1e-6
            )


def test_where_sound_went_into_the_scores():
    heard = np.array([True, True, False, True])
    faces = [
        made_face(1, 1, 4, lost=[2], audio_used=heard),
        made_face(2, 5, 6, lost=[6]),
    ]
    used = table_of(made_predicted(7, faces, audio_used=True))["audio_used"]
    assert used.to_pylist() == [1, 0, 0, 1, 1, 0, 0]
    used = table_of(made_predicted(7, faces[1:], audio_used=False))["audio_used"]
    assert not any(used.to_pylist())


@pytest.mark.parametrize("rows", [1, 2, 7, 100])
def test_batches_are_the_table_in_parts(rows):
    faces = [made_face(1, 2, 30), made_face(2, 5, 17), made_face(3, 29, 33)]
    predicted = made_predicted(35, faces)
    batches = list(record_batches(predicted, rows=rows))
    assert pa.Table.from_batches(batches).equals(table_of(predicted))
    assert all(len(one) <= max(rows, 2) for one in batches)
    assert len(batches) >= table_of(predicted).num_rows // max(rows, 2)


def test_frames_of_a_part_keep_their_numbers_and_times():
    whole = [made_face(1, 2, 30, lost=[20]), made_face(2, 12, 17)]
    part = [made_face(1, 102, 130, lost=[120]), made_face(2, 112, 117)]
    times = np.arange(100, 135) / 25
    predicted = made_predicted(35, part, times_s=times, first_frame=101)
    found, expected = table_of(predicted), table_of(made_predicted(35, whole))
    number = np.array(expected["frame"])
    assert found["frame"].to_pylist() == (number + 100).tolist()
    np.testing.assert_allclose(found["timestamp"], (number + 99) / 25)
    for name in set(found.schema.names) - {"frame", "timestamp"}:
        assert found[name].equals(expected[name]), name
    only, other = summary_rows(predicted), summary_rows(made_predicted(35, whole))
    assert only == other
    moved = [(s.onset_s - 4, s.tier) for s in segments(predicted)]
    stayed = [(s.onset_s, s.tier) for s in segments(made_predicted(35, whole))]
    assert [tier for _, tier in moved] == [tier for _, tier in stayed]
    np.testing.assert_allclose([t for t, _ in moved], [t for t, _ in stayed], atol=1e-9)


def test_an_image_and_no_frames_at_all():
    image = made_predicted(1, [made_face(1, 1, 1), made_face(2, 1, 1)], fps=0.0)
    table = table_of(image)
    assert table["timestamp"].to_pylist() == [0, 0]
    assert table["face_id"].to_pylist() == [1, 2]
    assert table_of(made_predicted(0)).num_rows == 0


def test_frames_with_gaps_are_refused():
    face = made_face(1, 2, 5)
    gap = dataclasses.replace(face, frame=np.array([2, 3, 5, 6], np.int32))
    for faces, frames in ([gap], 9), ([face], 4):
        with pytest.raises(ValueError, match="face 1 has 4 frames"):
            table_of(made_predicted(frames, faces))


def test_units_of_own_tasks_have_decisions():
    units = own_task("gaze", "multilabel", ("left", "right"))
    tasks = (AU, units)
    predicted = made_predicted(3, [made_face(1, 1, 3, tasks)], tasks)
    names = schema_of(predicted).names
    assert names[-4:] == ["left", "right", "left_c", "right_c"]
