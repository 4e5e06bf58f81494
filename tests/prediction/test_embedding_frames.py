"""Frames to embed: every n-th, and by rules, whose scores are those of evaluation."""

import dataclasses

import numpy as np
import pytest
from made.embedded_faces import embedded_face, made_track
from made.untrained_heads import untrained_head

from avemo_jax.models.blend import load_heads
from avemo_jax.models.card import Evaluated
from avemo_jax.models.selection import fixed_selection
from avemo_jax.postprocess.fill_map import make_fill_map
from avemo_jax.postprocess.frame_rate.comparison import RateChoice, apply_rule
from avemo_jax.postprocess.frame_rate.rules import (
    FIXED,
    REFINED,
    SEQUENTIAL,
    FrameRateRule,
)
from avemo_jax.postprocess.gaps import fill
from avemo_jax.prediction.embedding_frames import EmbeddingFrames
from avemo_jax.prediction.face_runs import runs_of
from avemo_jax.prediction.face_scores import predicted_faces
from avemo_jax.prediction.frame_choice import every_of, strided
from avemo_jax.prediction.head_rows import head_rows
from avemo_jax.prediction.models import load_models

SET = "enet_b0_8_va_mtl@cropped_aligned-224"
LENGTH = 400
TIMES = np.arange(LENGTH) / 30
SMOOTHING = ("mean", 8)
RULES = {
    "EXPR sequential": FrameRateRule(SEQUENTIAL, (8, 4, 1), (0.19, 0.18)),
    "AU refined": FrameRateRule(REFINED, (25, 5, 1), (0.003, 0.004), reach=8),
    "VA refined": FrameRateRule(REFINED, (50, 10), (-0.3,), reach=3),
    "EXPR fixed": FrameRateRule(FIXED, (7,)),
}


def vectors() -> np.ndarray:
    """Slow changes, with a lively part."""
    rng = np.random.default_rng(0)
    knots = rng.normal(size=(LENGTH // 50 + 2, 10))
    slow = np.stack(
        [np.interp(np.arange(LENGTH) / 50, np.arange(len(knots)), k) for k in knots.T],
        axis=1,
    )
    slow[150:200] += rng.normal(size=(50, 10))
    return slow.astype(np.float16)


FEATURES = vectors()


def head_with(folder, task: str, *rules: FrameRateRule):
    untrained_head(
        folder, task, "mlp", ((SET, "visual", 10, "made"),), seeds=len(rules)
    )
    model = load_heads(folder)
    selection = fixed_selection(model.task, len(rules), "")
    selection = dataclasses.replace(
        selection,
        on="dev",
        smoothings=(SMOOTHING,) * len(rules),
        frame_rates=tuple(map(RateChoice, rules)),
    )
    model.keep(Evaluated(selection=selection))
    return load_models([str(folder)])


def face_at(track, frame):
    at = np.asarray(frame) - 1
    return embedded_face(track, frame=frame, features={SET: FEATURES[at]})


def in_rounds(model, track):
    """The face with all that was asked for, and how much came in each round."""
    frames = EmbeddingFrames(model, "adaptive", [made_track(track)], TIMES, fps=30.0)
    (more,) = frames.first()
    have, counts = np.zeros(0, np.int32), []
    while len(more):
        assert not np.isin(more, have).any()
        counts.append(len(more))
        have = np.union1d(have, more)
        face = face_at(track, have.tolist())
        (more,) = frames.next([face])
    return face, counts


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("EXPR sequential", marks=pytest.mark.slow),
        pytest.param("AU refined", marks=pytest.mark.slow),
        pytest.param("VA refined", marks=pytest.mark.release),
        "EXPR fixed",
    ],
)
def test_rounds_embed_what_the_rule_looks_at_and_score_as_evaluation(name, tmp_path):
    task, rule = name.split()[0], RULES[name]
    model = head_with(tmp_path / "head", task, rule)
    track = range(1, LENGTH + 1)
    face, counts = in_rounds(model, track)
    assert len(counts) <= len(rule.strides)
    whole = face_at(track, track)
    spans = [runs_of(whole.track.frame, TIMES)]
    one = model.heads[0].models[0]
    rows = head_rows(one, [whole], spans, fps=30.0, programs=model.programs)
    ends = np.zeros(LENGTH, np.int32)
    limits = one.card.selection.thresholds
    outcome = apply_rule(
        one.task,
        rule,
        rows.scores[0, 0],
        ends,
        ends + LENGTH,
        smoothing=SMOOTHING,
        thresholds=None if limits is None else limits[0],
    )
    embedded = np.asarray(outcome.refined.embedded)
    if rule.family == SEQUENTIAL:  # windows slide, and so see every frame
        assert counts == [LENGTH]
    else:
        assert len(counts) > 1 or len(rule.strides) == 1
        assert 0.02 < embedded.mean() < 0.98
    np.testing.assert_array_equal(face.frame, np.flatnonzero(embedded) + 1)
    (found,) = predicted_faces(
        model, [face], TIMES, fps=30.0, smooth="as-trained", adaptive=True
    )
    np.testing.assert_allclose(found.scores[task], outcome.refined.scores, atol=2e-6)
    np.testing.assert_array_equal(found.embedded, embedded)
    np.testing.assert_array_equal(found.filled, ~embedded)


@pytest.mark.slow
def test_missing_frames_are_interpolated_as_if_all_others_were_embedded(tmp_path):
    rule = RULES["AU refined"]
    model = head_with(tmp_path / "head", "AU", rule)
    rng = np.random.default_rng(3)
    track = [1, *np.flatnonzero(rng.random(LENGTH - 2) > 0.3) + 2, LENGTH]
    face, _ = in_rounds(model, track)
    assert len(face.frame) < len(track)
    whole = face_at(track, track)
    spans = [runs_of(whole.track.frame, TIMES)]
    one = model.heads[0].models[0]
    rows = head_rows(one, [whole], spans, fps=30.0, programs=model.programs)
    fill_map = make_fill_map(
        np.array(track), np.array([0, len(track)]), np.array([LENGTH])
    )
    outcome = apply_rule(
        one.task,
        rule,
        np.asarray(fill(rows.scores[0, 0], fill_map)),
        np.asarray(fill_map.lo),
        np.asarray(fill_map.hi),
        smoothing=SMOOTHING,
        thresholds=one.card.selection.thresholds[0],
    )
    (found,) = predicted_faces(
        model, [face], TIMES, fps=30.0, smooth="as-trained", adaptive=True
    )
    np.testing.assert_allclose(found.scores["AU"], outcome.refined.scores, atol=2e-6)


@pytest.mark.slow
def test_several_seeds_get_what_any_of_their_rules_looks_at(tmp_path):
    rules = FrameRateRule(FIXED, (10,)), FrameRateRule(FIXED, (25,))
    model = head_with(tmp_path / "head", "VA", *rules)
    tracks = [made_track(range(1, 52)), made_track([*range(101, 120)])]
    frames = EmbeddingFrames(model, "adaptive", tracks, TIMES, fps=30.0)
    one, two = frames.first()
    assert one.tolist() == [1, 11, 21, 26, 31, 41, 51]
    assert two.tolist() == [101, 111]
    faces = [face_at(range(1, 52), one.tolist()), face_at(range(101, 120), [101, 111])]
    assert [len(more) for more in frames.next(faces)] == [0, 0]


def test_every_nth_frame_of_each_run():
    track = [*range(11, 31), *range(33, 38), *range(90, 93)]
    span = runs_of(np.array(track), TIMES)
    assert strided(span, 1).tolist() == track
    # Frame 31 is between 30 and 33.
    assert strided(span, 10).tolist() == [11, 21, 30, 33, 37, 90, 92]
    model = load_models(["hsemotion"])
    frames = EmbeddingFrames(model, 10, [made_track(track)], TIMES, fps=30.0)
    (first,) = frames.first()
    assert first.tolist() == strided(span, 10).tolist()
    assert [len(more) for more in frames.next([face_at(track, track)])] == [0]


def test_models_without_a_rule(tmp_path):
    folder = untrained_head(
        tmp_path / "head", "AU", "mlp", ((SET, "visual", 10, "made"),)
    )
    for model in (load_models(["hsemotion"]), load_models([str(folder)])):
        with pytest.raises(ValueError, match="use --every 5"):
            EmbeddingFrames(model, "adaptive", [], TIMES, fps=30.0)


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "some", "", "10001", "٣"])
def test_values_that_are_refused(text):
    with pytest.raises(ValueError, match=r"--every .*or adaptive"):
        every_of(text)


def test_values_of_the_flag():
    assert (every_of("5"), every_of("adaptive")) == (5, "adaptive")
