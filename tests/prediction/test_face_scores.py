"""Scores of faces by an extractor's own outputs: gaps, smoothing, several faces."""

import numpy as np
import pytest
from made.embedded_faces import embedded_face

from avemo_jax.extractors import EXTRACTORS
from avemo_jax.postprocess import smoothing
from avemo_jax.prediction.face_scores import predicted_faces
from avemo_jax.prediction.models import load_models
from avemo_jax.prediction.own_outputs import output_tasks

SET = "enet_b0_8_va_mtl@cropped-224"
TIMES = np.arange(200) / 25
FACES, VALUES = output_tasks(EXTRACTORS["enet_b0_8_va_mtl"])


@pytest.fixture(scope="module")
def hsemotion():
    return load_models(["hsemotion"])


def outputs(count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(scale=0.6, size=(count, 10)).astype(np.float32)


def face_of(track, *, frame=None, face_id=1, seed=0):
    own = list(track if frame is None else frame)
    return embedded_face(
        list(track),
        face_id=face_id,
        frame=own,
        outputs={SET: outputs(len(own), seed)},
    )


def means(values: np.ndarray, half: int) -> np.ndarray:
    return np.stack(
        [values[max(i - half, 0) : i + half + 1].mean(0) for i in range(len(values))]
    )


def test_what_the_model_says_of_itself(hsemotion):
    assert [task.name for task in hsemotion.tasks] == ["EXPR", "VA"]
    (wanted,) = hsemotion.wanted
    assert (wanted.name, wanted.crop, wanted.has_outputs) == (SET, "tight", True)
    assert wanted.options == {"size_px": 224}
    assert not hsemotion.hears
    assert hsemotion.needs_weights == ("enet_b0_8_va_mtl",)
    assert hsemotion.with_spread == ()
    assert hsemotion.thresholds(0.5) == {}


def test_gaps_are_filled_up_to_half_a_second_and_runs_smoothed_apart(hsemotion):
    seen = [*range(3, 11), *range(14, 30), *range(60, 80)]
    face = face_of(seen)
    (found,) = predicted_faces(hsemotion, [face], TIMES, fps=25.0)
    np.testing.assert_array_equal(found.frame, range(3, 80))
    np.testing.assert_array_equal(found.frame[found.success], seen)
    np.testing.assert_array_equal(found.frame[found.filled], [11, 12, 13])
    np.testing.assert_array_equal(found.embedded, found.success)
    gone = (found.frame >= 30) & (found.frame < 60)
    for scores in (found.raw, found.scores):
        for values in scores.values():
            np.testing.assert_array_equal(np.isnan(values).all(axis=1), gone)
    assert np.isnan(found.boxes[~found.success]).all()
    np.testing.assert_array_equal(found.boxes[0], [3, 20, 50, 60])
    assert found.audio_used is None
    own = FACES.scores(face.outputs[SET])
    raw = found.raw["EXPR"]
    np.testing.assert_allclose(raw[found.embedded], own, atol=1e-6)
    between = own[7] + np.array([1, 2, 3])[:, None] / 4 * (own[8] - own[7])
    np.testing.assert_allclose(raw[8:11], between, atol=1e-6)
    for run in (slice(0, 27), slice(57, 77)):
        np.testing.assert_allclose(
            found.scores["EXPR"][run], means(raw[run], 6), atol=1e-5
        )
    np.testing.assert_allclose(found.scores["EXPR"][~gone].sum(axis=1), 1, atol=1e-5)


def test_frames_that_were_not_embedded_are_filled(hsemotion):
    face = face_of(range(1, 22), frame=[1, 6, 11, 16, 21])
    (found,) = predicted_faces(hsemotion, [face], TIMES, fps=25.0, smooth="none")
    np.testing.assert_array_equal(found.frame[found.embedded], face.frame)
    np.testing.assert_array_equal(found.filled, ~found.embedded)
    assert found.success.all()
    own = VALUES.scores(face.outputs[SET])
    expected = [np.interp(found.frame, face.frame, column) for column in own.T]
    np.testing.assert_allclose(found.scores["VA"].T, expected, atol=1e-6)
    assert found.scores["VA"] is not None


def test_faces_do_not_change_each_other(hsemotion):
    one = face_of(range(1, 60))
    two = face_of([*range(20, 40), *range(90, 120)], face_id=2, seed=1)
    both = predicted_faces(hsemotion, [one, two], TIMES, fps=25.0)
    for face, found in zip((one, two), both, strict=True):
        (alone,) = predicted_faces(hsemotion, [face], TIMES, fps=25.0)
        assert found.face_id == face.face_id
        for name, scores in alone.scores.items():
            np.testing.assert_allclose(found.scores[name], scores, atol=2e-6)


def test_a_run_without_any_embedded_frame_has_no_scores(hsemotion):
    face = face_of([*range(1, 10), *range(60, 70)], frame=range(1, 10))
    (found,) = predicted_faces(hsemotion, [face], TIMES, fps=25.0)
    scored = np.isfinite(found.scores["EXPR"]).all(axis=1)
    np.testing.assert_array_equal(scored, found.frame < 10)
    assert found.success[-1]
    assert not found.filled[-1]


def test_an_image_has_its_own_scores(hsemotion):
    face = face_of([1])
    (found,) = predicted_faces(hsemotion, [face], np.zeros(1), fps=0.0)
    np.testing.assert_array_equal(found.scores["EXPR"], found.raw["EXPR"])
    assert predicted_faces(hsemotion, [], np.zeros(1), fps=0.0) == ()


def test_inputs_of_like_lengths_share_their_programs(hsemotion):
    predicted_faces(hsemotion, [face_of(range(1, 150))], TIMES, fps=25.0)
    before = smoothing._smooth_all._cache_size()
    for length in (131, 144, 190):
        face = face_of(range(1, length))
        predicted_faces(hsemotion, [face], TIMES, fps=25.0)
    assert smoothing._smooth_all._cache_size() == before


def test_what_cannot_be_scored(hsemotion):
    face = face_of(range(1, 5))
    with pytest.raises(ValueError, match="as-trained with hsemotion"):
        predicted_faces(hsemotion, [face], TIMES, fps=25.0, smooth="as-trained")
    bare = embedded_face([1, 2])
    with pytest.raises(ValueError, match="face 1 has no outputs of enet_b0"):
        predicted_faces(hsemotion, [bare], TIMES, fps=25.0)
