import itertools
import json
import pathlib

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from made.compiled_heads import apply, init

from avemo_jax.heads import HeadSpec, build_head
from avemo_jax.heads.layers import BatchNorm, Mode
from avemo_jax.heads.registry import HEAD_KINDS
from avemo_jax.heads.spec import CHOICES, head_kind

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "heads.npz"
VISUAL, VGGISH, WAV2VEC2 = (1408,), (1408, 128), (1408, 768)
FEATURES = (VISUAL, VGGISH, WAV2VEC2)
# Of the original's heads, with the dims of FEATURES. Learned positions add 128 * 128.
NUM_PARAMS = {
    ("EXPR", "mlp"): (181_384, 197_768, 279_688),
    ("AU", "mlp"): (181_900, 198_284, 280_204),
    ("VA", "mlp", "affine"): (361_474, 394_242, 558_082),
    ("VA", "mlp", "shared"): (968_194, 1_050_114, 1_459_714),
    ("VA", "mlp", "plain"): (180_610, 196_994, 278_914),
    ("EXPR", "linear"): (11_272, 12_296, 17_416),
    ("AU", "linear"): (16_908, 18_444, 26_124),
    ("VA", "linear"): (2_818, 3_074, 4_354),
    ("EXPR", "transformer", "window", "learned"): (1_206_248, 1_271_784, 1_599_464),
    ("EXPR", "transformer", "window", "sinusoidal"): (1_189_864, 1_255_400, 1_583_080),
    ("EXPR", "transformer", "window", "none"): (1_189_864, 1_255_400, 1_583_080),
    ("EXPR", "transformer", "batch", "none"): (1_189_864, 1_255_400, 1_583_080),
    ("AU", "transformer", "window", "learned"): (1_206_380, 1_271_916, 1_599_596),
    ("AU", "transformer", "window", "sinusoidal"): (1_189_996, 1_255_532, 1_583_212),
    ("AU", "transformer", "window", "none"): (1_189_996, 1_255_532, 1_583_212),
    ("AU", "transformer", "batch", "none"): (1_189_996, 1_255_532, 1_583_212),
    ("VA", "transformer", "window", "learned"): (1_210_242, 1_275_778, 1_603_458),
    ("VA", "transformer", "window", "sinusoidal"): (1_193_858, 1_259_394, 1_587_074),
    ("VA", "transformer", "window", "none"): (1_193_858, 1_259_394, 1_587_074),
    ("VA", "transformer", "batch", "none"): (1_193_858, 1_259_394, 1_587_074),
    ("EXPR", "recurrent", "causal"): (580_232, 596_616, 678_536),
    ("EXPR", "recurrent", "both"): (843_912, 860_296, 942_216),
    ("AU", "recurrent", "causal"): (580_748, 597_132, 679_052),
    ("AU", "recurrent", "both"): (844_428, 860_812, 942_732),
    ("VA", "recurrent", "causal"): (579_458, 595_842, 677_762),
    ("VA", "recurrent", "both"): (843_138, 859_522, 941_442),
}
# Of heads that need both modalities, with the dims of VGGISH and WAV2VEC2; the audio
# flag, which says where sound is, adds none.
FUSED_PARAMS = {
    ("EXPR", "gated"): (230_792, 312_712),
    ("AU", "gated"): (231_308, 313_228),
    ("VA", "gated"): (230_018, 311_938),
    ("EXPR", "cross_attention", "learned"): (1_043_848, 1_125_768),
    ("EXPR", "cross_attention", "sinusoidal"): (1_027_464, 1_109_384),
    ("EXPR", "cross_attention", "none"): (1_027_464, 1_109_384),
    ("AU", "cross_attention", "learned"): (1_044_364, 1_126_284),
    ("AU", "cross_attention", "sinusoidal"): (1_027_980, 1_109_900),
    ("AU", "cross_attention", "none"): (1_027_980, 1_109_900),
    ("VA", "cross_attention", "learned"): (1_043_074, 1_124_994),
    ("VA", "cross_attention", "sinusoidal"): (1_026_690, 1_108_610),
    ("VA", "cross_attention", "none"): (1_026_690, 1_108_610),
}
# What one column more (the audio flag) adds: rows of the layers that read the input.
FLAG_PARAMS = {"mlp": 128, "affine": 256, "shared": 640, "transformer": 512}
FLAG_PARAMS["recurrent"] = 128


def all_options():
    """Every head that can be asked for: (task, kind, its options)."""
    for task, kind in itertools.product(("EXPR", "AU", "VA"), HEAD_KINDS):
        if kind == "mlp":
            yield from (
                (task, kind, form)
                for form in (CHOICES["va_form"] if task == "VA" else [None])
            )
        elif kind == "recurrent":
            yield from ((task, kind, way) for way in ("causal", "both"))
        elif kind == "cross_attention":
            yield from ((task, kind, one) for one in CHOICES["positions"])
        elif kind != "transformer":
            yield task, kind
        else:
            pairs = itertools.product(CHOICES["attention"], CHOICES["positions"])
            for attention, positions in pairs:
                if attention != "batch" or positions == "none":
                    yield task, kind, attention, positions


OPTION_NAMES = {
    "mlp": ("va_form",),
    "transformer": ("attention", "positions"),
    "cross_attention": ("positions",),
}
OPTIONS = [tuple(x for x in option if x) for option in all_options()]
# Where compiling takes long: one head of each kind of module.
ONE_OF_EACH = [
    ("EXPR", "mlp"),
    ("VA", "mlp", "shared"),
    ("EXPR", "transformer", "window", "learned"),
    ("VA", "transformer", "batch", "none"),
    ("VA", "linear"),
    ("VA", "recurrent", "causal"),
    ("EXPR", "recurrent", "both"),
    ("AU", "gated"),
    ("EXPR", "cross_attention", "learned"),
]
# Of these compiling takes longest.
LONG = [
    ("transformer", "batch", "none"),
    ("recurrent", "both"),
    ("cross_attention", "learned"),
]
# And these show what evaluation does otherwise than training.
IN_EVALUATION = [ONE_OF_EACH[1], ONE_OF_EACH[2], ONE_OF_EACH[5]]
RELEASE = pytest.mark.release


def one_of_each(options=ONE_OF_EACH, also=()):
    """Those of :data:`ONE_OF_EACH` but ``also``; the others only before a release."""
    return [
        pytest.param(
            option,
            marks=[] if option in ONE_OF_EACH and option[1:] not in also else RELEASE,
        )
        for option in options
    ]


EACH_OPTION = pytest.mark.parametrize("option", one_of_each(OPTIONS), ids="-".join)
BUT_LONG = pytest.mark.parametrize("option", one_of_each(also=LONG), ids="-".join)


def make_spec(option, dims=(6, 5), **fields):
    task, kind, *rest = option
    names = OPTION_NAMES.get(kind, ())
    chosen = dict(zip(names, rest, strict=False))
    if kind == "recurrent":
        chosen = {"causal": rest == ["causal"]}
    fields.setdefault("set_kinds", ("visual", "audio")[: len(dims)])
    return HeadSpec(task, kind, dims, **chosen, **fields)


def small_spec(option, **fields):
    sizes = {"mlp_dim": 8, "feat_dim": 12, "model_dim": 8, "ffn_dim": 6, "head_dim": 4}
    return make_spec(option, **{**sizes, "num_layers": 1, "window": 7, **fields})


def make_input(spec, seed=0):
    """Three windows of 7 frames, or 21 frames."""
    rng = np.random.default_rng(seed)
    axes = (3, 7) if spec.takes_windows else (21,)
    x = jnp.asarray(rng.normal(size=(*axes, spec.input_dim)), jnp.float32)
    mask = jnp.asarray(rng.random(axes) < 0.7)
    return x, mask


def randomised(params, seed=5):
    leaves, treedef = jax.tree.flatten(params)
    rng = np.random.default_rng(seed)
    moved = [
        leaf + rng.normal(0, 0.3, leaf.shape).astype(np.float32) for leaf in leaves
    ]
    return jax.tree.unflatten(treedef, moved)


def test_every_head_has_a_pinned_number_of_parameters():
    assert set(NUM_PARAMS) | set(FUSED_PARAMS) == set(OPTIONS)


@pytest.mark.parametrize("option", OPTIONS, ids="-".join)
def test_evaluation_is_in_training_batches_where_the_batch_is_the_sequence(option):
    spec = make_spec(option)
    over_batch = option[1:3] == ("transformer", "batch")
    assert spec.batch_is_sequence is over_batch
    assert spec.evaluation_batch(training=32, evaluation=8192) == (
        32 if over_batch else 8192
    )


def test_attention_means_nothing_to_heads_of_one_frame():
    for kind in ("mlp", "linear"):
        spec = HeadSpec("EXPR", kind, (6,), attention="batch", positions="none")
        assert not spec.batch_is_sequence


@pytest.mark.parametrize("option", one_of_each(NUM_PARAMS), ids="-".join)
def test_number_of_parameters(option):
    """Every column of the input adds as many as the audio flag, the last one, does."""
    spec = make_spec(option, FEATURES[0])
    head = build_head(spec)
    flagged = build_head(make_spec(option, FEATURES[0], audio_flag=True)).num_params()
    added = flagged - head.num_params()
    if option[1] == "linear":
        assert added == spec.num_outputs
    else:
        assert added == FLAG_PARAMS.get(option[-1], FLAG_PARAMS[option[1]])
    wider = [sum(dims) - spec.input_dim for dims in FEATURES]
    found = tuple(head.num_params() + added * columns for columns in wider)
    assert found == NUM_PARAMS[option]


@pytest.mark.parametrize("option", one_of_each(FUSED_PARAMS), ids="-".join)
def test_number_of_parameters_of_heads_of_both_modalities(option):
    for dims, number in zip((VGGISH, WAV2VEC2), FUSED_PARAMS[option], strict=True):
        for flag in (False, True):
            head = build_head(make_spec(option, dims, audio_flag=flag))
            assert head.num_params() == number


@pytest.mark.parametrize(
    "dims", [(768,), (128, 768), (1408, 1280, 128, 768), (1, 2, 3, 4, 5)]
)
def test_any_list_of_feature_sets(dims):
    """Also audio alone: only the sum matters."""
    head = build_head(HeadSpec("EXPR", "mlp", dims))
    assert head.num_params() == sum(dims) * 128 + 128 + 128 * 8 + 8
    assert head.spec.input_dim == sum(dims)


@pytest.mark.numeric
def test_golden_logits():
    """What PyTorch gave for small heads of every kind, without PyTorch."""
    with np.load(GOLDEN) as file:
        arrays = {name: file[name] for name in file.files}
    names = sorted({name.split("/")[0] for name in arrays})
    assert len(names) == 7
    for name in names:
        spec = HeadSpec.from_dict(json.loads(str(arrays[f"{name}/spec"])))
        trees = []
        for kind in ("params", "stats"):
            start = f"{name}/{kind}/"
            flat = {
                tuple(key[len(start) :].split("/")): value
                for key, value in arrays.items()
                if key.startswith(start)
            }
            trees.append(unflatten_dict(flat))
        x = jnp.asarray(arrays[f"{name}/x"])
        got, _ = apply(build_head(spec), *trees, x)
        np.testing.assert_allclose(got, arrays[f"{name}/logits"], rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize(
    "option",
    [
        *(("EXPR", "mlp"), ("VA", "mlp", "shared"), ("AU", "gated")),
        pytest.param(ONE_OF_EACH[2], marks=pytest.mark.slow),
        *(pytest.param(ONE_OF_EACH[i], marks=RELEASE) for i in (3, 4, 5, 6, 8)),
    ],
    ids="-".join,
)
def test_apply_works_under_all_transformations(option):
    """jit, grad, scan, vmap over members, and lax.map, which gives the same."""
    spec = small_spec(option)
    head = build_head(spec)
    x, mask = make_input(spec)

    def member(key, dropout):
        params, stats = head.init(key)

        def loss(params, stats, key):
            logits, stats = head.apply(
                params, stats, x, mask=mask, train=True, key=key, dropout=dropout
            )
            return jnp.where(mask[..., None], logits, 0).sum(), stats

        def step(state, key):
            params, stats = state
            gradient, stats = jax.grad(loss, has_aux=True)(params, stats, key)
            params = jax.tree.map(lambda p, g: p - 0.01 * g, params, gradient)
            return (params, stats), None

        state, _ = jax.lax.scan(step, (params, stats), jax.random.split(key, 3))
        return state

    keys, rates = jax.random.split(jax.random.key(0), 2), jnp.array([0.0, 0.4])

    @jax.jit
    def run(keys, rates):
        one_by_one = jax.lax.map(lambda each: member(*each), (keys, rates))
        return jax.vmap(member)(keys, rates), one_by_one

    stacked, mapped = run(keys, rates)
    chex.assert_tree_all_finite(mapped)
    chex.assert_type(jax.tree.leaves(mapped), jnp.float32)
    chex.assert_trees_all_close(stacked, mapped, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize(
    ("option", "train"),
    [
        *((option, True) for option in ONE_OF_EACH),
        *(
            pytest.param(
                option, False, marks=[] if option in IN_EVALUATION else RELEASE
            )
            for option in ONE_OF_EACH
        ),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else str(value),
)
def test_masked_frames_change_no_other_frame(option, train):
    spec = small_spec(option)
    head = build_head(spec)
    params, stats = init(head)
    params = randomised(params)
    x, mask = make_input(spec)

    changed = jnp.where(mask[..., None], x, 100 * x + 3)
    logits, new = apply(head, params, stats, x, mask, train=train)
    other, other_new = apply(head, params, stats, changed, mask, train=train)
    np.testing.assert_array_equal(logits[mask], other[mask])
    chex.assert_trees_all_equal(new, other_new)
    if spec.sequence is not None:
        whole, _ = apply(head, params, stats, x, jnp.ones_like(mask), train=train)
        assert np.abs(whole - logits)[mask].max() > 1e-4


@BUT_LONG
def test_window_without_frames_makes_no_nan(option):
    """Neither in the logits, the statistics, nor the gradients."""
    spec = small_spec(option)
    head = build_head(spec)
    params, stats = init(head)
    x, mask = make_input(spec)
    nothing = jnp.zeros_like(mask)

    @jax.jit
    def run(params, mask):
        def loss(params):
            logits, new = head.apply(params, stats, x, mask=mask, train=True)
            return jnp.where(mask[..., None], logits, 0).sum(), (logits, new)

        return jax.grad(loss, has_aux=True)(params)

    for these in (nothing, mask.at[0].set(False)):
        chex.assert_tree_all_finite(run(params, these))
    chex.assert_trees_all_equal(run(params, nothing)[1][1], stats)


@pytest.mark.parametrize("positions", [("window", "learned"), ("batch", "none")])
def test_windows_do_not_see_each_other_but_the_batch_does(positions):
    spec = small_spec(("EXPR", "transformer", *positions))
    head = build_head(spec)
    params, stats = init(head)
    x, mask = make_input(spec)
    changed = x.at[0].multiply(2.0)
    everywhere = jnp.ones_like(mask)
    before, _ = apply(head, params, stats, x, everywhere)
    after, _ = apply(head, params, stats, changed, everywhere)
    moved = np.abs(before - after).reshape(len(x), -1).max(axis=1)
    assert moved[0] > 1e-4
    assert (moved[1:] > 1e-6).all() == (not spec.takes_windows)


@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "none"])
def test_positions_tell_order(positions):
    spec = small_spec(("AU", "transformer", "window", positions))
    head = build_head(spec)
    params, stats = init(head)
    x, _ = make_input(spec)
    logits, _ = apply(head, params, stats, x)
    turned, _ = apply(head, params, stats, x[:, ::-1])
    difference = np.abs(logits - turned[:, ::-1]).max()
    assert difference > 1e-3 if positions != "none" else difference < 1e-5
    short, _ = jax.eval_shape(
        lambda x: head.apply(params, stats, x, train=False), x[:, :4]
    )
    assert short.shape == (3, 4, 12)


@EACH_OPTION
def test_dropout_draws_only_in_training_and_where_the_rate_is_not_zero(option):
    spec = small_spec(option)
    head = build_head(spec)
    trees = jax.eval_shape(head.init, jax.random.key(0))
    x, _ = make_input(spec)

    def program(train, dropout, key):
        def run(trees, key):
            return head.apply(*trees, x, train=train, dropout=dropout, key=key)

        return str(jax.make_jaxpr(run)(trees, key))

    key = jax.random.key(0)
    assert "random_unwrap" not in program(True, 0.0, key)
    assert "random_unwrap" not in program(False, 0.3, key)
    # The original's sites: four in an encoder layer, one in the head for EXPR; four in
    # each of two cross-attention layers, one before the outputs.
    sites = 4 + (option[0] == "EXPR") if option[1] == "transformer" else 1
    sites += 2 * (option[1] == "recurrent")
    sites += 8 * (option[1] == "cross_attention")
    sites += option[:2] == ("VA", "mlp") and option[2] != "plain"
    assert program(True, 0.3, key).count("random_unwrap") == sites


@pytest.mark.parametrize("rate", [0.3, jnp.float32(0.3)])
def test_dropout_keeps_the_mean(rate):
    mode = Mode(train=True, key=jax.random.key(0), dropout=rate)
    dropped = np.asarray(mode.drop(jnp.ones((500, 400))))
    assert (dropped == 0).mean() == pytest.approx(0.3, abs=0.004)
    assert set(np.unique(dropped)) == {0.0, np.float32(1 / 0.7)}


def test_dropout_is_independent():
    """Between sites, keys, rows and columns: products of two vary as chance has it."""

    def draw(seed):
        mode = Mode(train=True, key=jax.random.key(seed), dropout=0.3)
        drawn = [mode.drop(jnp.ones((500, 400))) for _ in range(3)]
        return (np.asarray(drawn) != 0) - 0.7

    fields = np.concatenate([draw(seed) for seed in range(3)])
    limit = 4.5 * 0.21 / np.sqrt(500 * 399)
    for a, b in itertools.combinations(fields, 2):
        assert abs((a * b).mean()) < limit
    for field in fields:
        for step in (1, 2, 3, 7, 64, 128):
            assert abs((field[:, step:] * field[:, :-step]).mean()) < limit * 1.2
            assert abs((field[step:] * field[:-step]).mean()) < limit * 1.2
        assert abs(field.mean(axis=0)).max() < 4.5 * 0.46 / np.sqrt(500)
        assert abs(field.mean(axis=1)).max() < 4.5 * 0.46 / np.sqrt(400)


def test_batch_norm_counts_only_frames_that_are_there():
    rng = np.random.default_rng(0)
    x = rng.normal(2, 3, (4, 6, 5)).astype(np.float32)
    mask = rng.random((4, 6)) < 0.6
    norm = BatchNorm(5, dtype=jnp.dtype("float32"))
    got = norm(jnp.asarray(x), Mode(train=True, mask=jnp.asarray(mask)))
    there = x[mask].astype(np.float64)
    expected = (x - there.mean(axis=0)) / np.sqrt(there.var(axis=0) + 1e-5)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        norm.running_mean[...], 0.1 * there.mean(axis=0), rtol=1e-5
    )
    variance = 0.9 + 0.1 * there.var(axis=0, ddof=1)
    np.testing.assert_allclose(norm.running_var[...], variance, rtol=1e-5)
    before = np.asarray(norm.running_mean[...])
    norm(jnp.asarray(x), Mode(train=True, update_stats=False))
    norm(jnp.asarray(x), Mode(train=False))
    np.testing.assert_array_equal(norm.running_mean[...], before)


@BUT_LONG
def test_bfloat16_is_near_float32(option):
    spec = small_spec(option)
    head, low = build_head(spec), build_head(small_spec(option, dtype="bfloat16"))
    params, stats = init(head)
    x, mask = make_input(spec)
    expected, _ = apply(head, params, stats, x, mask, train=True)
    got, new = apply(low, params, stats, x, mask, train=True)
    assert got.dtype == jnp.float32
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(new))
    scale = float(jnp.abs(expected).max())
    assert 0 < float(jnp.abs(got - expected)[mask].max()) < 0.06 * scale


@pytest.mark.parametrize("train", [False, True])
def test_mlp_is_two_plain_products(train):
    """Four products with gradients (none for the input), no transpose, no cast."""
    head = build_head(HeadSpec("EXPR", "mlp", (96,)))
    params, stats = init(head)
    x = jnp.ones((32, 96))

    def loss(params):
        return head.apply(params, stats, x, train=train)[0].sum()

    forward = str(jax.make_jaxpr(loss)(params))
    assert forward.count("dot_general[") == 2
    both = str(jax.make_jaxpr(jax.grad(loss))(params))
    assert "convert_element_type" not in both
    compiled = jax.jit(jax.grad(loss)).lower(params).compile().as_text()
    assert compiled.count(" dot(") + compiled.count("__onednn") >= 2
    assert " transpose(" not in compiled


def test_init_is_float32_and_differs_between_keys_and_layers():
    head = build_head(small_spec(ONE_OF_EACH[2], num_layers=2))
    params, stats = init(head)
    other, _ = init(head, seed=1)
    layers = params["transformer_encoder"]["layers"]
    for names, value in flatten_dict(params).items():
        assert value.dtype == jnp.float32
        if value.ndim == 2:
            assert not np.array_equal(value, flatten_dict(other)[names]), names
    for names, value in flatten_dict(layers["0"]).items():
        if value.ndim == 2:
            assert not np.array_equal(value, flatten_dict(layers["1"])[names]), names
    assert set(flatten_dict(stats)) == {
        ("head", "1", "running_mean"),
        ("head", "1", "running_var"),
    }


@pytest.mark.parametrize("option", OPTIONS, ids="-".join)
def test_spec_survives_json(option):
    spec = small_spec(option, audio_flag=True, dtype="bfloat16")
    again = HeadSpec.from_dict(json.loads(json.dumps(spec.to_dict())))
    assert again == spec
    assert hash(again) == hash(spec)
    if not head_kind(spec.kind).by_modality:
        older = spec.to_dict()
        del older["set_kinds"]
        assert HeadSpec.from_dict(older).set_kinds == ()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"kind": "rnn"},
            "unknown kind 'rnn'.*transformer, recurrent, gated, cross_attention",
        ),
        ({"dims": []}, "at least one feature set"),
        ({"window": 0}, "window is 0"),
        ({"attention": "batch"}, "have no order"),
        ({"num_heads": 3}, "num_heads 3"),
        ({"depth": 3}, r"unknown \['depth'\]"),
        ({"task": "FACE"}, "unknown task 'FACE'"),
        ({"set_kinds": ["face"]}, r"set_kinds are \('face',\).*'visual' or 'audio'"),
        ({"set_kinds": ["visual", "audio"]}, r"for each of dims \(4,\)"),
        ({"kind": "gated"}, r"set_kinds are \(\) for kind 'gated'"),
        (
            {"kind": "gated", "set_kinds": ["visual"]},
            "'gated' with visual feature sets alone.*config.data.features.*'mlp'",
        ),
    ],
)
def test_bad_specs_are_refused(fields, message):
    options = {"task": "EXPR", "kind": "transformer", "dims": [4]}
    with pytest.raises(ValueError, match=message):
        HeadSpec.from_dict({**options, **fields})


def test_bad_inputs_are_refused():
    spec = small_spec(("EXPR", "transformer", "window", "learned"))
    head = build_head(spec)
    params, stats = init(head)
    for shape, message in (
        ((3, 7, 4), "dim 11 from features"),
        ((3, 11), r"expected \(windows, frames, dim\)"),
        ((3, 8, 11), "expected at most 7"),
    ):
        with pytest.raises(ValueError, match=message):
            head.apply(params, stats, jnp.ones(shape), train=False)
    x = jnp.ones((3, 7, 11))
    with pytest.raises(ValueError, match="without a key"):
        head.apply(params, stats, x, train=True, dropout=0.1)
    with pytest.raises(ValueError, match=r"expected a rate in \[0, 1\)"):
        head.apply(params, stats, x, train=True, dropout=1.0, key=jax.random.key(0))
