"""Scores while frames arrive: those of the whole video, frame by frame."""

import jax
import numpy as np
import pytest
from made.compiled_heads import apply
from made.untrained_heads import untrained_head

from avemo_jax import LiveScores
from avemo_jax.models import live
from avemo_jax.models.blend import load_heads, write_blend

FACE, VOICE = "enet_b0_8_va_mtl", "wav2vec2_base"
SETS = (
    (f"{FACE}@cropped-224", "visual", 6, "made"),
    (f"{VOICE}@16k", "audio", 4, "made"),
)
SMALL = {"window": 64, "num_layers": 1, "model_dim": 8, "ffn_dim": 6}
RECURRENT = {**SMALL, "causal": True, "audio_flag": True}


@pytest.fixture(autouse=True)
def _short_parts(monkeypatch):
    """So that little is compiled."""
    monkeypatch.setattr(live, "_PART", 16)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("live") / "head"
    return load_heads(
        untrained_head(folder, "AU", "recurrent", SETS, seeds=2, spec=RECURRENT)
    )


@pytest.fixture(scope="module")
def scores(model):
    return LiveScores(model)


def whole_scores(model, x, present):
    """Mean over the seeds, of one window that holds all frames."""
    (own,) = model.heads
    found = []
    for seed in range(len(own.card.seeds)):
        variables = jax.tree.map(
            lambda leaf, seed=seed: np.asarray(leaf)[seed], own.variables
        )
        logits, _ = apply(
            own.head, variables.params, variables.stats, x[None], present[None]
        )
        found.append(np.asarray(own.task.activate(logits))[0])
    return np.mean(found, axis=0)


def made_frames(frames=40):
    rng = np.random.default_rng(0)
    face = rng.normal(size=(frames, 6)).astype(np.float16)
    voice = rng.normal(size=(frames, 4)).astype(np.float16)
    return face, voice, rng.random(frames) < 0.8


def test_frames_one_at_a_time_give_the_scores_of_the_whole(model, scores):
    face, voice, present = made_frames()
    flag = np.ones((len(face), 1), np.float16)
    x = np.concatenate([face, voice, flag], axis=1)
    expected = whole_scores(model, x, present)
    assert scores.features == [name for name, *_ in SETS]
    for _ in range(2):  # again after a restart
        for i, there in enumerate(present):
            given = {FACE: face[i].astype(np.float64), SETS[1][0]: voice[i]}
            got = scores.push(given if there else None)
            if there:
                assert got.shape == (len(scores.outputs),) == (12,)
                np.testing.assert_allclose(got, expected[i], rtol=1e-5, atol=1e-6)
            else:
                assert got is None
        scores.restart()
    assert scores._program._cache_size() == 1


def test_many_at_once_give_the_same(scores):
    """In parts, and without what a frame without a face holds."""
    face, voice, present = made_frames()
    expected = [
        scores.push({FACE: one, VOICE: own} if there else None)
        for one, own, there in zip(face, voice, present, strict=True)
    ]
    scores.restart()
    face[~present] = np.nan
    first = scores.push_all({FACE: face[:1], VOICE: voice[:1]}, present[:1])
    rest = scores.push_all({FACE: face[1:], VOICE: voice[1:]}, present[1:])
    found = np.concatenate([first, rest])
    assert (np.isnan(found).any(axis=1) == ~present).all()
    expected = np.stack([one for one in expected if one is not None])
    np.testing.assert_allclose(found[present], expected, rtol=1e-5, atol=1e-6)
    assert scores.push_all({FACE: face[:0]}).shape == (0, 12)
    scores.restart()


def test_without_sound(model, scores):
    """Zeros, and the head is told; for a head of sound only, no scores."""
    face, _, _ = made_frames(3)
    x = np.zeros((3, 11), np.float16)
    x[:, :6] = face
    expected = whole_scores(model, x, np.ones(3, bool))
    found = scores.push_all({FACE: face})
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    scores.restart()


def test_heads_of_one_frame_come_too_and_may_want_sound(tmp_path):
    folder = untrained_head(tmp_path / "a", "VA", "linear", SETS, missing_audio="drop")
    scores = LiveScores(load_heads(folder))
    face, voice, _ = made_frames(1)
    assert scores.push({FACE: face[0]}) is None
    found = scores.push({FACE: face[0], VOICE: voice[0]})
    assert found.shape == (2,)


def test_what_cannot_be_live_says_what_to_do(tmp_path, model):
    ahead = untrained_head(tmp_path / "b", "EXPR", "recurrent", SETS[:1], spec=SMALL)
    with pytest.raises(ValueError, match=r"still to come; .*head\.causal=True, or a"):
        LiveScores(load_heads(ahead))
    write_blend(tmp_path / "blend", [model.directory, model.directory])
    with pytest.raises(ValueError, match="a blend of 2 heads; expected one head"):
        LiveScores(load_heads(tmp_path / "blend"))


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({VOICE: np.zeros(4)}, "nothing given of enet_b0_8_va_mtl@.*expected 6"),
        ({FACE: np.zeros(7)}, r"\(7,\) given of enet_b0_8_va_mtl@.*expected 6"),
        ({FACE: np.zeros(6), "x": np.zeros(2)}, "features of x given; expected some"),
        ({FACE: np.full(6, np.nan)}, "NaN or infinity"),
    ],
)
def test_frames_that_do_not_fit_are_refused(scores, features, message):
    with pytest.raises(ValueError, match=message):
        scores.push(features)
