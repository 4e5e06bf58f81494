"""Heads that treat face and sound apart: what a frame lacks has no part in them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from made.compiled_heads import apply as applied
from made.compiled_heads import init

from avemo_jax.heads import HeadSpec, build_head
from avemo_jax.heads.modalities import columns_of, modalities_there, take_modality
from avemo_jax.heads.registry import HEAD_KINDS
from avemo_jax.heads.spec import head_kind

KINDS = [kind for kind in HEAD_KINDS if head_kind(kind).by_modality]
# Faces, sound, faces, sound; then the audio flag.
DIMS, SET_KINDS = (4, 3, 2, 2), ("visual", "audio", "visual", "audio")
FACE, SOUND = (0, 1, 2, 3, 7, 8), (4, 5, 6, 9, 10)
FLAG = 11
FRAMES = 6


def spec_of(kind, **fields) -> HeadSpec:
    sizes = {"mlp_dim": 8, "model_dim": 8, "ffn_dim": 6, "num_layers": 2}
    sets = {"dims": DIMS, "set_kinds": SET_KINDS, "audio_flag": True}
    return HeadSpec("AU", kind, **{**sets, **sizes, "window": FRAMES, **fields})


def inputs(seed=0):
    """Two windows; sound in frames 0 to 3 of the first, in none of the second."""
    rng = np.random.default_rng(seed)
    x = rng.normal(1, 2, (2, FRAMES, FLAG + 1)).astype(np.float32)
    sound = np.zeros((2, FRAMES), bool)
    sound[0, :4] = True
    x[..., SOUND] *= sound[..., None]
    x[..., FLAG] = sound
    return x, sound


def put(x, place, values):
    """A copy with other values at a place."""
    x = x.copy()
    x[place] = values
    return x


@pytest.fixture(scope="module", params=KINDS)
def head(request):
    """A head that standardises its inputs, its variables, and its compiled pass."""
    head = build_head(spec_of(request.param, standardize=True))
    params, stats = map(dict, init(head))
    rng = np.random.default_rng(1)
    # What starts at 0 or 1, as biases of norms, must not hide a leak.
    params = jax.tree.map(
        lambda leaf: leaf + rng.normal(0, 0.2, leaf.shape).astype(np.float32), params
    )
    mean = rng.normal(size=FLAG + 1).astype(np.float32)
    mean[FLAG] = 0
    stats["inputs"] = {**stats["inputs"], "mean": mean}

    def apply(params, x):
        return np.asarray(applied(head, params, stats, x)[0])

    def loss(params, x):
        return jnp.square(head.apply(params, stats, x, train=False)[0]).sum()

    return apply, loss, params


def test_columns_by_modality():
    spec = spec_of("mlp")
    assert tuple(np.flatnonzero(columns_of(spec, "visual"))) == FACE
    assert tuple(np.flatnonzero(columns_of(spec, "audio"))) == SOUND
    x = jnp.arange(FLAG + 1.0)
    assert take_modality(spec, x, "visual").tolist() == list(FACE)
    assert take_modality(spec, x, "audio").tolist() == list(SOUND)


@pytest.mark.parametrize("flag", [True, False])
def test_sound_is_there_where_it_is_not_zero_and_the_flag_agrees(flag):
    x, sound = inputs()
    spec = spec_of("mlp", audio_flag=flag)
    x = np.array(x[..., : spec.input_dim])
    x[0, 0, SOUND[:-1]] = 0  # one value is enough
    x[1, 2, FACE] = 0
    if flag:
        x[0, 1, FLAG], sound[0, 1] = 0, False
    there = modalities_there(spec, jnp.asarray(x, jnp.float16))
    np.testing.assert_array_equal(there["audio"], sound)
    face = np.ones_like(sound)
    face[1, 2] = False
    np.testing.assert_array_equal(there["visual"], face)


def test_frames_without_sound_do_not_see_what_stands_in_its_columns(head):
    """The flag alone tells: garbage in their columns changes nothing anywhere."""
    apply, _, params = head
    x, sound = inputs()
    garbage = np.where(sound[..., None], x[..., SOUND], 1e4)
    changed = put(x, np.s_[..., SOUND], garbage)
    before, after = apply(params, x), apply(params, changed)
    assert np.isfinite(before).all()
    np.testing.assert_array_equal(before, after)
    heard = apply(params, put(changed, np.s_[..., FLAG], 1))
    assert np.abs(heard - before)[~sound].max() > 1e-2


def test_without_sound_only_what_sees_the_face_learns(head):
    _, loss, params = head
    x, _ = inputs()
    silent = put(x, np.s_[..., (*SOUND, FLAG)], 0)
    gradient = jax.jit(jax.grad(loss))

    def gradients(x):
        return {
            name: np.array([np.abs(leaf).max() for leaf in jax.tree.leaves(tree)])
            for name, tree in gradient(params, x).items()
        }

    without, heard = gradients(silent), gradients(x)
    assert without["sound"].max() == 0
    assert without["face"].max() > 1e-3
    assert min(one.max() for one in heard.values()) > 1e-3


def test_sound_that_is_there_matters_and_so_does_the_face_beside_it(head):
    apply, _, params = head
    x, _ = inputs()
    before = apply(params, x)
    for columns in (FACE, SOUND):
        for column in columns:
            moved = apply(params, put(x, (0, 1, column), x[0, 1, column] + 1))
            assert np.abs(moved - before)[0, 1].max() > 1e-4
    without_face = apply(params, put(x, np.s_[0, 1, FACE], 0))
    assert np.isfinite(without_face).all()
    neither = apply(params, put(x, np.s_[0, 5, FACE], 0))
    assert np.isfinite(neither).all()


def test_a_window_without_sound_is_scored_from_each_face_alone():
    """Also where other frames' sound is padding; with sound, frames see each other."""
    head = build_head(spec_of("cross_attention"))

    def apply(x, mask):
        return np.asarray(applied(head, *init(head), x, mask)[0])

    x, _ = inputs()
    mask = np.ones((2, FRAMES), bool)
    mask[0, :4] = False
    before = apply(x, mask)
    assert np.isfinite(before).all()
    other_frame = x.copy()
    other_frame[:, 4, FACE] += 1
    moved = np.abs(apply(other_frame, mask) - before).max(axis=-1)
    assert moved[:, 4].min() > 1e-4
    assert moved[:, 5].max() == 0
    heard = np.ones_like(mask)
    moved = np.abs(apply(other_frame, heard) - apply(x, heard)).max(axis=-1)
    assert moved[0, 5] > 1e-6
    assert moved[1, 5] == 0


@pytest.mark.parametrize(
    "platform", ["tpu", pytest.param("cuda", marks=pytest.mark.release)]
)
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_lowered_for_accelerators(kind, platform):
    """In bfloat16, the gradient too."""
    head = build_head(spec_of(kind, dtype="bfloat16"))
    shapes = jax.eval_shape(head.init, jax.random.key(0))

    def gradient(params, stats, x):
        def loss(params):
            return head.apply(params, stats, x, train=True)[0].sum()

        return jax.grad(loss)(params)

    x = jax.ShapeDtypeStruct((2, FRAMES, FLAG + 1), jnp.float16)
    exported = jax.export.export(jax.jit(gradient), platforms=[platform])(*shapes, x)
    assert exported.platforms == (platform,)
    assert "bf16" in exported.mlir_module()


@pytest.mark.parametrize("kind", KINDS)
def test_sets_of_one_modality_are_taken_together(kind):
    """Their order among those of the other is only that of the columns."""
    x, _ = inputs()
    head = build_head(spec_of(kind))
    variables = init(head)
    expected, _ = applied(head, *variables, x)
    kinds = ("visual", "visual", "audio", "audio")
    other = build_head(spec_of(kind, dims=(4, 2, 3, 2), set_kinds=kinds))
    found, _ = applied(other, *variables, x[..., [*FACE, *SOUND, FLAG]])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_sums_of_layers_of_sound_are_sound():
    """The head behind them takes the sum as one set; garbage without sound is none."""
    kinds = ("audio", "visual", "audio")
    spec = spec_of("gated", dims=(3, 4, 3), set_kinds=kinds, layer_sums=((0, 2),))
    assert spec.behind_sums.set_kinds == ("audio", "visual")
    head = build_head(spec)
    x = np.random.default_rng(1).normal(size=(3, 11)).astype(np.float32)
    x[:, 10] = 1, 1, 0
    before, _ = applied(head, *init(head), x)
    moved = put(x, np.s_[:, 8], x[:, 8] + 5)
    after, _ = applied(head, *init(head), moved)
    assert (np.abs(np.asarray(after) - before).max(axis=1) > 1e-4).tolist() == [
        True,
        True,
        False,
    ]
