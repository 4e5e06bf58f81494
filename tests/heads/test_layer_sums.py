"""The weighted sum of hidden layers that a head begins with."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from made.compiled_heads import apply, init

from avemo_jax.config.checks import check_config
from avemo_jax.config.fields import base_config
from avemo_jax.experiment import _heads
from avemo_jax.heads import HeadSpec, build_head
from avemo_jax.heads.layer_groups import layer_groups
from avemo_jax.heads.layer_sums import LAYERS, first_weights, layers_summed
from avemo_jax.training.objective import make_spec

# Two networks with three and two layers among other sets, and the flag.
DIMS, GROUPS = (5, 4, 3, 4, 6, 4, 6), ((1, 3, 5), (4, 6))


summed = jax.jit(layers_summed, static_argnums=0)


def spec_of(kind="mlp", **options):
    given = {"dims": DIMS, "audio_flag": True, "layer_sums": GROUPS, **options}
    return HeadSpec("EXPR", kind, mlp_dim=8, **given)


def inputs(frames=9, seed=0):
    rng = np.random.default_rng(seed)
    x = 3 + 10 * rng.normal(size=(frames, sum(DIMS) + 1)).astype(np.float32)
    x[0, 5:-1] = 0  # a frame without sound
    x[:, -1] = np.arange(frames) > 0
    return x


def in_numpy(x, weights):
    """The sums by loops, in float64."""
    parts = np.split(x.astype(np.float64), np.cumsum(DIMS), axis=1)
    for i, group in enumerate(GROUPS):
        powers = np.exp(np.asarray(weights[str(i)], np.float64))
        total = np.zeros_like(parts[group[0]])
        for share, place in zip(powers / powers.sum(), group, strict=True):
            for row, values in zip(total, parts[place], strict=True):
                spread = np.sqrt(values.var() + 1e-5)
                row += share * (values - values.mean()) / spread
        parts[group[0]] = total
    kept = [part for i, part in enumerate(parts) if i not in (3, 5, 6)]
    return np.concatenate(kept, axis=1)


def test_sums_are_those_of_numpy():
    x, rng = inputs(), np.random.default_rng(1)
    weights = {str(i): rng.normal(size=len(g)) for i, g in enumerate(GROUPS)}
    found = summed(spec_of(), weights, x)
    found = np.asarray(found)
    np.testing.assert_allclose(found, in_numpy(x, weights), atol=2e-6, rtol=1e-6)
    assert not found[0, 5:9].any()  # what is missing stays 0
    np.testing.assert_array_equal(found[:, -1], x[:, -1])
    windows = np.asarray(summed(spec_of(), weights, x.reshape(3, 3, -1)))
    np.testing.assert_array_equal(windows.reshape(9, -1), found)


def test_shares_are_equal_at_first():
    weights = first_weights(spec_of())[LAYERS]
    assert {name: one.shape for name, one in weights.items()} == {"0": (3,), "1": (2,)}
    x = inputs()
    layers = [
        in_numpy(x, {"0": one, "1": np.zeros(2)})[:, 5:9] for one in 60 * np.eye(3)
    ]
    found = np.asarray(summed(spec_of(), weights, x))[:, 5:9]
    np.testing.assert_allclose(found, np.mean(layers, axis=0), atol=2e-6)


@pytest.mark.parametrize("standardize", [False, True])
def test_a_head_sees_the_sums(standardize):
    """It is the head of fewer columns behind them, and trains the weights with it."""
    spec = spec_of(standardize=standardize)
    head, x = build_head(spec), inputs()
    params, stats = map(dict, init(head))
    params[LAYERS] = {"0": np.float32([1, -1, 0.5]), "1": np.float32([0, 2])}
    given, behind_stats = x, dict(stats)
    if standardize:
        mean, deviation = x.mean(axis=0), x.std(axis=0) + 1
        stats["inputs"] = {"mean": mean, "deviation": deviation}
        given = (x - mean) / deviation
        del behind_stats["inputs"]
    behind = build_head(spec_of().behind_sums)
    assert behind.spec.dims == (5, 4, 3, 6)
    assert head.num_params() == behind.num_params() + 5
    own = {name: one for name, one in params.items() if name != LAYERS}
    columns = summed(spec_of(), params[LAYERS], given)
    expected, _ = apply(behind, own, behind_stats, columns)
    found, after = apply(head, params, stats, x)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert ("inputs" in after) is standardize

    @jax.jit
    @jax.value_and_grad
    def loss(params):
        logits, _ = head.apply(params, stats, jnp.asarray(x), train=False)
        return jnp.square(logits).mean()

    gradient = jax.tree.map(np.asarray, loss(params)[1][LAYERS])
    for name, one in gradient.items():
        step = np.zeros(len(one), np.float32)
        step[0] = 1e-2
        values = []
        for side in (1, -1):
            moved = {**params[LAYERS], name: params[LAYERS][name] + side * step}
            values.append(float(loss({**params, LAYERS: moved})[0]))
        slope = (values[0] - values[1]) / 2e-2
        assert one[0] == pytest.approx(slope, rel=0.05)
        assert abs(slope) > 1e-5
        assert float(one.sum()) == pytest.approx(0, abs=1e-6)  # of a softmax


def test_layers_are_known_by_their_names():
    names = ["vggish", "wavlm_base_plus@16k-layer9", "wav2vec2_base@16k-layer3"]
    names += ["wavlm_base_plus", "wav2vec2_base@16k-original", "enet_b2_8_best"]
    assert layer_groups(names) == ((1, 3),)
    names += ["wav2vec2_base@16k-layer12", "own@x-layer1", "own@x-layer10"]
    assert layer_groups(names) == ((1, 3), (2, 6), (7, 8))
    assert layer_groups(["own", "own@x-layer1"]) == ()


def test_specs_are_kept_in_files():
    spec = spec_of()
    stored = spec.to_dict()
    assert stored["layer_sums"] == [[1, 3, 5], [4, 6]]
    assert HeadSpec.from_dict(stored) == spec
    old = {name: value for name, value in stored.items() if name != "layer_sums"}
    assert HeadSpec.from_dict(old).layer_sums == ()


@pytest.mark.parametrize("groups", [((1,),), ((1, 2),), ((1, 9),), ((1, 3), (3, 5))])
def test_what_cannot_be_summed(groups):
    with pytest.raises(ValueError, match=r"layer_sums .*; expected .*; give"):
        spec_of(layer_sums=groups)


def test_a_configuration_without_layers_is_refused():
    config = base_config("EXPR", "mlp")
    config.head.layer_sum = True
    for features in ("enet_b2_8_best+wav2vec2_base", "wavlm_base_plus@16k-layer9"):
        config.data.features = features
        with pytest.raises(ValueError, match=r"config.head.layer_sum .*; name several"):
            check_config(config)
    config.data.features = "wavlm_base_plus@16k-layer9+wavlm_base_plus+vggish"
    check_config(config)


def test_a_configuration_makes_the_head():
    """Of a blend, a head without layers of one network has no sum."""
    config = base_config("EXPR", "mlp")
    config.data.features = "vggish+wavlm_base_plus@16k-layer9+wavlm_base_plus"
    assert make_spec(config, (128, 768, 768)).layer_sums == ()
    config.head.layer_sum = True
    spec = make_spec(config, (128, 768, 768))
    assert (spec.layer_sums, spec.behind_sums.dims) == (((1, 2),), (128, 768))
    config.blend.features = ("vggish",)
    check_config(config)
    first, second = _heads(config)
    assert (first.head.layer_sum, second.head.layer_sum) == (True, False)
