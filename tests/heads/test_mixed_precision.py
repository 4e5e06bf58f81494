"""What is bfloat16 in a bfloat16 head, and what is not: read off its programs."""

import functools
import math
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.extend import core
from made.compiled_heads import init

from avemo_jax.config.fields import base_config
from avemo_jax.heads import HeadSpec, Variables, build_head, matmul
from avemo_jax.heads.layers import Mode
from avemo_jax.heads.spec import head_kind
from avemo_jax.tasks import get_task
from avemo_jax.training import losses
from avemo_jax.training.optimiser import make_optimizer
from avemo_jax.training.seeds import make_candidates
from avemo_jax.training.state import fresh_state

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
import check_mixed_precision

LOW = jnp.dtype("bfloat16")
HEADS = {
    "EXPR mlp": {},
    "VA mlp affine": {},
    "VA mlp shared": {"va_form": "shared"},
    "AU linear": {},
    "AU gated": {},
    "VA cross_attention": {"positions": "sinusoidal"},
    "EXPR transformer": {"positions": "learned"},
    "VA transformer": {"attention": "batch", "positions": "none"},
    "AU recurrent": {"causal": False},
}
# One of each kind of arithmetic; the others only before a release.
FEW = {"VA mlp shared", "AU gated", "EXPR transformer", "AU recurrent"}
RELEASE = pytest.mark.release
EVERY_HEAD = [
    pytest.param(name, marks=[] if name in FEW else RELEASE) for name in HEADS
]
# Where a sum in bfloat16 would lose what it adds up.
SUMS = {"reduce_sum", "cumsum", "reduce_window_sum", "scatter-add"}
# Of softmax, of norms and of losses.
FINE = {"exp", "log", "log1p", "rsqrt", "sqrt", "tanh", "logistic", "div", "reduce_max"}


def head_of(name: str, dtype: str = "bfloat16"):
    task, kind = name.split()[:2]
    sizes = {"mlp_dim": 24, "feat_dim": 40, "model_dim": 16, "ffn_dim": 20}
    return build_head(
        HeadSpec(
            *(task, kind, (30, 18), ("visual", "audio")),
            dtype=dtype,
            **{"window": 12, "head_dim": 14, "num_layers": 1, **sizes, **HEADS[name]},
        )
    )


@functools.cache
def step_of(name: str, dtype: str = "bfloat16"):
    """A whole step, the loss and AdamW in it; shapes of its models, and its inputs."""
    head = head_of(name, dtype)
    task = get_task(head.spec.task)
    config = base_config(task.name, head.spec.kind)
    candidates = make_candidates(config)

    def first_models():
        state = fresh_state(config, candidates, head, 10)
        return jax.tree.map(lambda leaf: leaf[0], state.models)

    models = jax.eval_shape(first_models)
    setting = jax.tree.map(lambda leaf: leaf[0], candidates.hyper())
    axes = (6, 12) if head.takes_windows else (72,)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(*axes, head.spec.input_dim)).astype(np.float16)
    mask = rng.random(axes) < 0.8
    shape = (*axes, *task.label_shape)
    if task.name == "VA":
        labels = rng.uniform(-1, 1, shape).astype(np.float32)
    else:
        labels = rng.integers(0, 2, shape).astype(np.int8)
    counted = labels[mask]
    weights = losses.class_weights(task.name, counted, np.ones(len(counted), bool))
    weights = None if weights is None else jnp.asarray(weights)
    loss_of = losses.make_loss(task.name)

    def step(variables, opt_state, x):
        def objective(params):
            logits, stats = head.apply(
                *(params, variables.stats, x),
                mask=jnp.asarray(mask),
                train=True,
                key=setting.key,
                dropout=0.1,
            )
            return loss_of(logits, jnp.asarray(labels), jnp.asarray(mask), weights), (
                logits,
                stats,
            )

        grad = jax.value_and_grad(objective, has_aux=True)
        (loss, (logits, stats)), grads = grad(variables.params)
        optimizer = make_optimizer(config, setting, 10)
        updates, new_state = optimizer.update(grads, opt_state, variables.params)
        params = optax.apply_updates(variables.params, updates)
        scores = task.activate(logits)
        return loss, logits, scores, params, stats, new_state, grads

    return step, (models.variables, models.optimiser, x)


@functools.cache
def traced_step(name: str, dtype: str = "bfloat16"):
    step, arguments = step_of(name, dtype)
    return jax.jit(step).trace(*arguments)


def equations(jaxpr: core.Jaxpr) -> Iterator[core.JaxprEqn]:
    """All that a program computes, also inside its functions and branches."""
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            for one in value if isinstance(value, tuple | list) else [value]:
                inner = getattr(one, "jaxpr", one)
                if isinstance(inner, core.Jaxpr):
                    yield from equations(inner)


def types_of(variables) -> set[jnp.dtype]:
    return {
        v.aval.dtype for v in variables if jnp.issubdtype(v.aval.dtype, jnp.floating)
    }


def lowered_products(name: str, platform: str, dtype: str = "bfloat16"):
    """(types of the factors, type of the sum) of each product, on a platform."""
    lowered = traced_step(name, dtype).lower(lowering_platforms=(platform,))
    text = lowered.as_text()
    kind = r"tensor<[\dx]*(\w+)>"
    pattern = rf"dot_general .*: \({kind}, {kind}\) -> {kind}"
    found = re.findall(pattern, text)
    assert len(found) == text.count("dot_general")
    return found


@pytest.mark.parametrize(
    ("name", "platform"),
    [
        *(
            pytest.param(name, "tpu", marks=[] if name in FEW else RELEASE)
            for name in HEADS
        ),
        ("EXPR transformer", "cuda"),
    ],
)
def test_products_take_bfloat16_and_sum_in_float32(name, platform):
    """Those of the gradient too, which are two thirds of the arithmetic."""
    found = lowered_products(name, platform)
    assert set(found) == {("bf16", "bf16", "f32")}
    # With float32 heads there are as many, all of float32.
    wide = lowered_products(name, platform, "float32")
    assert set(wide) == {("f32", "f32", "f32")}
    # JAX leaves the gradient of the input out; XLA does it for ours.
    assert len(wide) <= len(found) <= len(wide) + 2
    assert len(found) >= 2


@pytest.mark.parametrize("name", EVERY_HEAD)
def test_everything_that_adds_up_or_is_kept_is_float32(name):
    traced = traced_step(name)
    loss, logits, scores, params, stats, opt_state, grads = traced.out_info
    kept = jax.tree.leaves((loss, logits, scores, params, stats, opt_state, grads))
    floating = [leaf for leaf in kept if jnp.issubdtype(leaf.dtype, jnp.floating)]
    assert len(floating) > 4
    assert {leaf.dtype for leaf in floating} == {jnp.dtype("float32")}
    names = set()
    for equation in equations(traced.jaxpr.jaxpr):
        name_of = equation.primitive.name
        if name_of in SUMS | FINE:
            names.add(name_of)
            types = types_of(equation.invars)
            assert LOW not in types, f"{name_of} of {types}"
    assert "reduce_sum" in names


@pytest.mark.parametrize("name", HEADS)
def test_what_flows_between_layers_is_bfloat16(name):
    """Into products come float16 features, float32 weights of softmax, or bfloat16."""
    head = head_of(name)
    trees = jax.eval_shape(head.init, jax.random.key(0))
    axes = (6, 12) if head.takes_windows else (72,)
    x = jax.ShapeDtypeStruct((*axes, head.spec.input_dim), np.float16)
    program = jax.make_jaxpr(functools.partial(head.apply, train=False))(*trees, x)
    into = [
        equation.invars[0].aval.dtype.name
        for equation in equations(program.jaxpr)
        if equation.primitive.name == "custom_vjp_call"
    ]
    linear, softmaxes = "linear" in name, {"transformer": 1, "cross_attention": 2}
    assert into.count("float32") == softmaxes.get(head.spec.kind, 0)
    two = "VA mlp" in name or head_kind(head.spec.kind).by_modality
    assert into.count("float16") == (2 if two else not linear)
    assert into.count("bfloat16") == len(into) - into.count("float32") - into.count(
        "float16"
    )
    assert linear or "bfloat16" in into


SHAPES = {
    "ai,oi->ao": ((50, 300), (7, 300)),
    "abi,oi->abo": ((5, 6, 300), (7, 300)),
    "sqhd,skhd->shqk": ((2, 9, 3, 16), (2, 9, 3, 16)),
    "shqk,skhd->sqhd": ((2, 3, 9, 9), (2, 9, 3, 16)),
}


@pytest.mark.parametrize("subscripts", SHAPES)
def test_numbers_are_those_of_rounded_factors_and_long_sums(subscripts):
    """Of what comes out and of both gradients, against float64."""
    rng = np.random.default_rng(0)
    factors = [
        rng.normal(size=shape).astype(np.float32) for shape in SHAPES[subscripts]
    ]

    def rounded(values):
        return values.astype(LOW).astype(np.float64)

    result = np.einsum(subscripts, *map(rounded, factors))
    weight = rng.normal(size=result.shape).astype(np.float32)

    def ours(x, y):
        product = matmul.einsum(subscripts, x, y, LOW)
        return (product * weight).sum(), product

    inputs, of_result = subscripts.split("->")
    of_x, of_y = inputs.split(",")
    x, y, g = map(rounded, (*factors, weight))
    expected = (
        np.einsum(f"{of_result},{of_y}->{of_x}", g, y),
        np.einsum(f"{of_result},{of_x}->{of_y}", g, x),
    )
    gradient_of = jax.grad(ours, argnums=(0, 1), has_aux=True)
    gradients, got = jax.jit(gradient_of)(*factors)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, result, rtol=1e-5, atol=1e-4)
    for gradient, right in zip(gradients, expected, strict=True):
        assert gradient.dtype == jnp.float32
        np.testing.assert_allclose(gradient, right, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    "name",
    ["VA mlp shared", pytest.param("EXPR transformer", marks=pytest.mark.slow)],
)
def test_gradient_is_near_that_of_float32(name):
    found = []
    for dtype in ("float32", "bfloat16"):
        step, (_, optimiser, x) = step_of(name, dtype)
        first = jax.random.fold_in(jax.random.key(0), 0)
        params, stats = jax.jit(head_of(name).init)(first)
        start = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), optimiser)
        given = Variables(params=params, stats=stats), start, x
        grads = jax.jit(lambda *given, step=step: step(*given)[-1])(*given)
        found.append(np.concatenate([g.ravel() for g in jax.tree.leaves(grads)]))
    difference = np.linalg.norm(found[1] - found[0]) / np.linalg.norm(found[0])
    assert 0 < difference < 0.05


def test_scale_of_dropout_is_not_rounded():
    """Rounded values are off both ways; a rounded scale is off for all the same way."""
    x = np.random.default_rng(1).uniform(1, 2, (400, 500)).astype(LOW)

    @jax.jit
    def drop(x, key):
        return Mode(train=True, key=key, dropout=0.1).drop(x)

    dropped = np.asarray(drop(x, jax.random.key(0)), np.float64)
    kept = dropped != 0
    ratio = dropped[kept].mean() / np.asarray(x, np.float64)[kept].mean()
    assert ratio == pytest.approx(1 / 0.9, rel=3e-4)


@pytest.mark.release
def test_real_attention_trains_in_bfloat16_on_this_machine():
    """XLA for a CPU has no product of bfloat16 for some of its gradients' shapes."""
    spec = HeadSpec("EXPR", "transformer", (64,), dtype="bfloat16", num_layers=1)
    head = build_head(spec)
    params, stats = init(head)
    x = jax.random.normal(jax.random.key(1), (4, 128, 64))

    def loss(params):
        return jnp.square(head.apply(params, stats, x, train=False)[0]).sum()

    gradient = jax.jit(jax.grad(loss))(params)
    total = sum(float(jnp.abs(leaf).sum()) for leaf in jax.tree.leaves(gradient))
    assert total > 0
    assert math.isfinite(total)


def test_comparison_counts_in_deviations_of_float32():
    found = check_mixed_precision.compared([0.50, 0.52, 0.54], [0.51, 0.53, 0.56])
    assert found["float32_mean"] == pytest.approx(0.52)
    assert found["float32_std"] == pytest.approx(0.02)
    assert found["deviations"] == pytest.approx((0.04 / 3) / 0.02)
    same = check_mixed_precision.compared([0.5, 0.5], [0.5, 0.5])
    assert same["deviations"] == 0
    assert "| 0.5200 ± 0.0200 |" in check_mixed_precision.table(
        [{"case": "EXPR-mlp", "stage": "raw", **found}]
    )
