"""Frames and windows that lose the sound or the face in training."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from made.tables import made_data

from avemo_jax.batches.feeders import Batch
from avemo_jax.config.fields import base_config
from avemo_jax.heads import HeadSpec, build_head
from avemo_jax.models.head import load_trained_head
from avemo_jax.training import losses
from avemo_jax.training.modality_dropout import lose_modalities, losing_modalities
from avemo_jax.training.objective import make_spec
from avemo_jax.training.optimiser import make_optimizer
from avemo_jax.training.seeds import make_candidates
from avemo_jax.training.state import fresh_state
from avemo_jax.training.step import train_step
from avemo_jax.training.train import train

SETS = {"dims": (3, 2, 2), "set_kinds": ("visual", "audio", "audio")}
SPEC = HeadSpec("EXPR", "linear", **SETS, audio_flag=True)
FACE, SOUND, FLAG = slice(0, 3), slice(3, 7), 7


def inputs(*axes):
    """Nothing is 0 but the sound, and its flag, of every fourth frame."""
    x = np.random.default_rng(0).uniform(1, 2, (*axes, 8)).astype(np.float16)
    x[..., FLAG] = 1
    x[..., ::4, 3:] = 0
    return x


def lost(x, after):
    """Where the face and where the sound was lost; all else is as it was."""
    after = np.asarray(after)
    assert after.dtype == x.dtype
    face = (after[..., FACE] == 0).all(axis=-1)
    silent = (after[..., 3:] == 0).all(axis=-1)
    expected = x.copy()
    expected[face, FACE] = 0
    expected[silent, 3:] = 0
    np.testing.assert_array_equal(after, expected)
    assert not (face & silent).any()
    return face, silent & (x[..., FLAG] == 1)


def test_frames_lose_one_or_the_other_at_the_rates():
    x = inputs(40_000)
    lose = jax.jit(functools.partial(lose_modalities, SPEC, rate=0.4, face_share=0.25))
    face, sound = lost(x, lose(x, jax.random.key(0)))
    heard = x[:, FLAG] == 1
    assert face[heard].mean() == pytest.approx(0.1, abs=0.01)
    assert sound[heard].mean() == pytest.approx(0.3, abs=0.01)
    assert not face[~heard].any()
    again = lost(x, lose(x, jax.random.key(0)))
    np.testing.assert_array_equal(face, again[0])
    np.testing.assert_array_equal(sound, again[1])
    other, _ = lost(x, lose(x, jax.random.key(1)))
    assert (face & other).sum() == pytest.approx(0.01 * heard.sum(), rel=0.3)


def test_windows_lose_it_as_a_whole():
    spec = HeadSpec("EXPR", "transformer", **SETS, audio_flag=True, window=8)
    x = inputs(2000, 8)
    lose = functools.partial(lose_modalities, spec, rate=0.5, face_share=0.5)
    after = jax.jit(lose)(x, jax.random.key(0))
    face, sound = lost(x, after)
    heard = x[..., FLAG] == 1
    for one in (face, sound):
        windows = one.any(axis=1)
        np.testing.assert_array_equal(one, windows[:, None] & heard)
        assert windows.mean() == pytest.approx(0.25, abs=0.04)


def test_a_step_sees_what_is_left_and_draws_by_its_number():
    """The same as a step without it, on frames that lost it before."""
    config = base_config("EXPR", "linear")
    config.train.modality_dropout = 0.5
    head = build_head(SPEC)
    candidates = make_candidates(config)

    @jax.jit
    def start():
        state = fresh_state(config, candidates, head, 10)
        return jax.tree.map(lambda leaf: leaf[0], (state.models, candidates.hyper()))

    models, hyper = start()
    there = jnp.ones(64, bool)
    labels = jnp.arange(64, dtype=jnp.int8) % 8
    batch = Batch(x=jnp.asarray(inputs(64)), labels=labels, counts=there, present=there)
    losing = losing_modalities(config, SPEC)
    step = functools.partial(
        train_step,
        head=head,
        loss_of=lambda *given: losses.make_loss("EXPR")(*given, None),
        optimizer_of=lambda hyper: make_optimizer(config, hyper, 10),
        use_dropout=False,
        train_mode=True,
    )
    losing_step = jax.jit(functools.partial(step, losing=losing))
    plain_step, left_of = jax.jit(step), jax.jit(losing)
    found = []
    for number in np.int32([3, 4]):
        after, loss = losing_step(models, batch, number, hyper)
        left = left_of(batch, jax.random.fold_in(hyper.key, number))
        lost(np.asarray(batch.x), left.x)
        expected, expected_loss = plain_step(models, left, number, hyper)
        jax.tree.map(np.testing.assert_array_equal, after, expected)
        assert loss == expected_loss
        found.append(float(loss))
    assert found[0] != found[1]
    assert losing_modalities(base_config("EXPR", "linear"), SPEC) is None


@pytest.mark.parametrize("kinds", [(), ("visual", "visual"), ("audio", "audio")])
def test_sets_of_both_are_needed(kinds):
    config = base_config("EXPR", "mlp")
    make_spec(config, (4, 3), kinds)
    config.train.modality_dropout = 0.2
    with pytest.raises(
        ValueError, match=r"modality_dropout is 0\.2 with .*set it to 0"
    ):
        make_spec(config, (4, 3), kinds)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["gated", pytest.param("cross_attention", marks=pytest.mark.release)]
)
def test_heads_of_both_modalities_train_with_it(kind, tmp_path):
    """Two epochs; dev is scored with its sound, whatever training loses."""
    config = base_config("EXPR", kind)
    config.batch_size, config.num_epochs = 128, 2
    config.head.window, config.head.num_layers, config.train.window_stride = 16, 1, 8
    config.head.audio_flag = config.head.standardize = True
    config.train.modality_dropout = 0.3
    config.log.tensorboard = config.log.progress = False
    best = train(config, made_data(), tmp_path)
    own = load_trained_head(best)
    assert own.card.head["set_kinds"] == ["visual", "audio"]
    assert own.head.spec.set_kinds == ("visual", "audio")
    start, _ = jax.jit(own.head.init)(jax.random.fold_in(jax.random.key(0), 0))
    for part in ("face", "sound", "gate"):
        moved = own.variables.params[part]["fc"]["weight"][0]
        assert np.abs(moved - start[part]["fc"]["weight"]).max() > 1e-4
