import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from avemo_jax.training import losses

pytestmark = pytest.mark.numeric

RNG = np.random.default_rng(0)
NUM = 40
MASK = RNG.random(NUM) < 0.7
EXPR_LOGITS = RNG.normal(size=(NUM, 8)).astype(np.float32) * 2
EXPR_LABELS = RNG.integers(0, 8, NUM).astype(np.int8)
AU_LOGITS = RNG.normal(size=(NUM, 12)).astype(np.float32) * 2
AU_LABELS = RNG.integers(0, 2, (NUM, 12)).astype(np.int8)
VA_LOGITS = RNG.normal(size=(NUM, 2)).astype(np.float32)
VA_LABELS = np.tanh(VA_LOGITS + RNG.normal(size=(NUM, 2))).astype(np.float32)
EXPR_WEIGHTS = RNG.uniform(0.4, 6, 8).astype(np.float32)
AU_WEIGHTS = RNG.uniform(0.4, 6, (2, 12)).astype(np.float32)
CASES = {
    "EXPR": (EXPR_LOGITS, EXPR_LABELS, EXPR_WEIGHTS, -1),
    "AU": (AU_LOGITS, AU_LABELS, AU_WEIGHTS, -1),
    "VA": (VA_LOGITS, VA_LABELS, None, np.nan),
}
OPTIONS = [
    ("EXPR", {}),
    ("EXPR", {"focal_gamma": 0.5, "label_smoothing": 0.1}),
    ("EXPR", {"logit_adjustment": 1.0, "log_prior": np.log(EXPR_WEIGHTS)}),
    ("AU", {}),
    ("AU", {"focal_gamma": 0.5, "label_smoothing": 0.1}),
    ("VA", {}),
    ("VA", {"pre_tanh": True, "ddof": 1}),
    ("VA", {"mse_share": 0.3}),
]


def arrays(*values):
    return [None if value is None else jnp.asarray(value) for value in values]


def traced(task, logits, labels, mask, weights, **options):
    loss = losses.make_loss(task, **options)
    return loss(*arrays(logits, labels, mask, weights))


def compute(task, *given, **options):
    loss = functools.partial(traced, task, **options)
    return jax.jit(loss)(*given)


@functools.cache
def compiled(number):
    """The loss and its gradient by the logits: one program for the tests of a case."""
    task, options = OPTIONS[number]

    def loss(logits, labels, mask, weights):
        return traced(task, logits, labels, mask, weights, **options)

    return jax.jit(jax.value_and_grad(loss))


def with_gradient(options, logits, labels, mask, weights):
    number = [known is options for _, known in OPTIONS].index(True)
    return compiled(number)(*arrays(logits, labels, mask, weights))


def log_softmax(x):
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def naive_expr(logits, labels, weights, gamma=0.0, smoothing=0.0, shift=0.0):
    terms = []
    for row, label in zip(logits.astype(np.float64) + shift, labels, strict=True):
        logs = log_softmax(row)
        target = np.full(8, smoothing / 8)
        target[label] += 1 - smoothing
        miss = (1 - np.exp(logs[label])) ** gamma
        terms.append(weights[label] * miss * -(target * logs).sum())
    return np.mean(terms)


def naive_au(logits, labels, weights, gamma=0.0, smoothing=0.0):
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    y = labels * (1 - smoothing) + smoothing / 2
    bce = -(y * np.log(p) + (1 - y) * np.log(1 - p))
    miss = np.where(labels == 1, 1 - p, p) ** gamma
    return np.mean(bce * miss * weights[0] ** (1 - labels) * weights[1] ** labels)


def naive_va(x, labels, ddof=0):
    total = 0.0
    for a, b in zip(x.T.astype(np.float64), labels.T.astype(np.float64), strict=True):
        rho = np.corrcoef(a, b)[0, 1]
        s, t = a.std(ddof=ddof), b.std(ddof=ddof)
        distance = (a.mean() - b.mean()) ** 2
        total += 1 - 2 * rho * s * t / (s**2 + t**2 + distance + 1e-8)
    return total


@pytest.mark.parametrize("mask", [None, MASK])
def test_losses_equal_their_definitions(mask):
    there = slice(None) if mask is None else mask
    got = compute("EXPR", EXPR_LOGITS, EXPR_LABELS, mask, EXPR_WEIGHTS)
    expected = naive_expr(EXPR_LOGITS[there], EXPR_LABELS[there], EXPR_WEIGHTS)
    assert float(got) == pytest.approx(expected, rel=1e-5)
    got = compute("AU", AU_LOGITS, AU_LABELS, mask, AU_WEIGHTS)
    expected = naive_au(AU_LOGITS[there], AU_LABELS[there], AU_WEIGHTS)
    assert float(got) == pytest.approx(expected, rel=1e-5)
    got = compute("VA", VA_LOGITS, VA_LABELS, mask, None)
    expected = naive_va(np.tanh(VA_LOGITS[there]), VA_LABELS[there])
    assert float(got) == pytest.approx(expected, rel=1e-5)
    got = compute("VA", VA_LOGITS, VA_LABELS, mask, None, pre_tanh=True, ddof=1)
    expected = naive_va(VA_LOGITS[there], VA_LABELS[there], ddof=1)
    assert float(got) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("pre_tanh", [False, True])
def test_squared_errors_have_their_share(pre_tanh):
    """0 of them is the loss without, to the bit; 1 is nothing else."""
    case = ("VA", VA_LOGITS, VA_LABELS, MASK, None)
    x = VA_LOGITS if pre_tanh else np.tanh(VA_LOGITS)
    errors = ((x - VA_LABELS)[MASK].astype(np.float64) ** 2).mean(axis=0).sum()
    ccc = naive_va(x[MASK], VA_LABELS[MASK])
    for share in (0.25, 1.0):
        got = compute(*case, pre_tanh=pre_tanh, mse_share=share)
        expected = (1 - share) * ccc + share * errors
        assert float(got) == pytest.approx(expected, rel=1e-5)
    without = compute(*case, pre_tanh=pre_tanh)
    assert float(compute(*case, pre_tanh=pre_tanh, mse_share=0.0)) == float(without)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_options_equal_their_definitions(gamma, smoothing):
    options = {"focal_gamma": gamma, "label_smoothing": smoothing}
    got = compute("EXPR", EXPR_LOGITS, EXPR_LABELS, None, EXPR_WEIGHTS, **options)
    naive = (EXPR_WEIGHTS, gamma, smoothing)
    assert float(got) == pytest.approx(
        naive_expr(EXPR_LOGITS, EXPR_LABELS, *naive), rel=1e-5
    )
    got = compute("AU", AU_LOGITS, AU_LABELS, None, AU_WEIGHTS, **options)
    expected = naive_au(AU_LOGITS, AU_LABELS, AU_WEIGHTS, gamma, smoothing)
    assert float(got) == pytest.approx(expected, rel=1e-5)


def test_logit_adjustment_shifts_the_logits():
    prior = losses.expr_log_prior(np.array([50, 0, 3, 4, 5, 6, 7, 25]))
    assert np.exp(prior).sum() == pytest.approx(1)
    options = {"logit_adjustment": 0.5, "log_prior": prior}
    got = compute("EXPR", EXPR_LOGITS, EXPR_LABELS, None, EXPR_WEIGHTS, **options)
    expected = naive_expr(EXPR_LOGITS, EXPR_LABELS, EXPR_WEIGHTS, shift=0.5 * prior)
    assert float(got) == pytest.approx(expected, rel=1e-5)


def test_weighted_loss_is_divided_by_frames_and_not_by_weights():
    """Twice the weights give twice the loss."""
    once = compute("EXPR", EXPR_LOGITS, EXPR_LABELS, MASK, EXPR_WEIGHTS)
    twice = compute("EXPR", EXPR_LOGITS, EXPR_LABELS, MASK, 2 * EXPR_WEIGHTS)
    assert float(twice) == pytest.approx(2 * float(once), rel=1e-6)


@pytest.mark.parametrize("poison", [np.nan, np.inf, 1e30])
@pytest.mark.parametrize(("task", "options"), OPTIONS)
def test_masked_frames_change_nothing(task, options, poison):
    """Neither the loss nor any gradient, whatever they hold."""
    logits, labels, weights, invalid = CASES[task]
    bad_logits, bad_labels = logits.copy(), labels.copy()
    bad_logits[~MASK], bad_labels[~MASK] = poison, invalid

    value, gradient = with_gradient(options, logits, labels, MASK, weights)
    bad_value, bad_gradient = with_gradient(
        options, bad_logits, bad_labels, MASK, weights
    )
    assert float(value) == float(bad_value)
    np.testing.assert_array_equal(gradient, bad_gradient)
    assert np.abs(gradient[MASK]).min(axis=1).max() > 0
    assert not np.asarray(bad_gradient)[~MASK].any()


@pytest.mark.parametrize("num_counting", [0, 1, 2])
@pytest.mark.parametrize(("task", "options"), OPTIONS)
def test_few_frames_give_finite_gradients(task, options, num_counting):
    logits, labels, weights, _ = CASES[task]
    mask = np.arange(NUM) < num_counting
    value, gradient = with_gradient(options, logits, labels, mask, weights)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    if num_counting == 0:
        assert float(value) == 0
        assert not np.asarray(gradient).any()


@pytest.mark.parametrize("scale", [0.0, 100.0])
@pytest.mark.parametrize(("task", "options"), OPTIONS)
def test_extreme_logits_give_finite_gradients(task, options, scale):
    """All equal (no variance), and so sure that a probability is 0 or 1 in float32."""
    logits, labels, weights, _ = CASES[task]
    value, gradient = with_gradient(options, logits * scale, labels, None, weights)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize(("task", "options"), OPTIONS)
def test_gradients_equal_finite_differences(task, options):
    logits, labels, weights, _ = CASES[task]
    with jax.enable_x64(True):
        direction = np.random.default_rng(1).normal(size=logits.shape)

        def loss(step):
            moved = logits.astype(np.float64) + step * direction
            return traced(task, moved, labels, MASK, weights, **options)

        run = jax.jit(jax.value_and_grad(loss))
        slope = run(0.0)[1]
        estimate = (float(run(1e-5)[0]) - float(run(-1e-5)[0])) / 2e-5
        assert float(slope) == pytest.approx(float(estimate), rel=1e-5)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_loss_is_float32_and_windows_are_batches(dtype):
    for task, (logits, labels, weights, _) in CASES.items():
        flat = compute(task, logits, labels, MASK, weights)
        windows = compute(
            task,
            logits.reshape(4, 10, -1),
            labels.reshape(4, 10, *labels.shape[1:]),
            MASK.reshape(4, 10),
            weights,
        )
        assert float(windows) == pytest.approx(float(flat), rel=1e-6)
        # not run: XLA has no float16 for processors before AVX
        arguments = logits.astype(dtype), labels, MASK, weights
        low = jax.eval_shape(functools.partial(traced, task), *arguments)
        assert low.dtype == flat.dtype == jnp.float32


def test_gradient_has_no_scatter():
    """A gather of the label's logit would bring one, and it is slow on CPU."""
    loss = losses.make_loss("EXPR")
    arguments = arrays(EXPR_LOGITS, EXPR_LABELS, MASK, EXPR_WEIGHTS)
    text = str(jax.make_jaxpr(jax.grad(loss))(*arguments))
    assert "scatter" not in text
    assert "gather" not in text


def test_class_weights_of_the_official_train_split():
    """From the counts of Aff-Wild2's EXPR train set (a sum of them all)."""
    counts = np.array([177198, 16573, 10771, 9080, 95463, 78751, 31615, 165866])
    labels = np.repeat(np.arange(8), counts)
    expected = compute_class_weight("balanced", classes=np.arange(8), y=labels)
    got = losses.expr_class_weights(counts)
    np.testing.assert_allclose(got, expected, rtol=1e-6)
    np.testing.assert_allclose(
        losses.expr_class_weights(counts, scheme="sqrt"), np.sqrt(expected), rtol=1e-6
    )
    valid = np.ones(len(labels), bool)
    of_split = losses.class_weights("EXPR", labels.astype(np.int8), valid)
    np.testing.assert_array_equal(of_split, got)


def test_au_weights():
    positives, negatives = np.array([10, 300, 0]), np.array([30, 100, 50])
    got = losses.au_class_weights(positives, negatives)
    expected = [[40 / 60, 400 / 200, 50 / 100], [40 / 20, 400 / 600, 1]]
    np.testing.assert_allclose(got, expected, rtol=1e-6)
    root = losses.au_class_weights(positives, negatives, scheme="sqrt")
    np.testing.assert_allclose(root, np.sqrt(expected), rtol=1e-6)


def test_weights_of_a_split_leave_out_invalid_frames():
    labels = np.array([[1] * 12, [0] * 12, [0] * 12, [-1] * 12], np.int8)
    valid = np.array([True, True, True, False])
    got = losses.class_weights("AU", labels, valid)
    np.testing.assert_allclose(got, [[0.75] * 12, [1.5] * 12])
    assert losses.class_weights("VA", VA_LABELS, MASK) is None


def test_absent_class_has_weight_one():
    weights = losses.expr_class_weights(np.array([8, 0, 0, 0, 0, 0, 0, 8]))
    np.testing.assert_allclose(weights, [0.25, 1, 1, 1, 1, 1, 1, 0.25])


def test_errors_say_what_to_do():
    with pytest.raises(ValueError, match=r"unknown options \['focal'\].*config\.loss"):
        losses.make_loss("EXPR", focal=1.0)
    with pytest.raises(ValueError, match=r"label_smoothing is 1\.5"):
        losses.make_loss("AU", label_smoothing=1.5)
    with pytest.raises(ValueError, match=r"mse_share is -0\.1; expected a value in"):
        losses.make_loss("VA", mse_share=-0.1)
    with pytest.raises(ValueError, match="unknown task"):
        losses.make_loss("FACE")
    with pytest.raises(ValueError, match="without log_prior"):
        compute("EXPR", EXPR_LOGITS, EXPR_LABELS, None, None, logit_adjustment=1.0)
    with pytest.raises(ValueError, match="VA has no classes"):
        compute("VA", VA_LOGITS, VA_LABELS, None, np.ones(2, np.float32))
    with pytest.raises(ValueError, match="at least one frame"):
        losses.expr_class_weights(np.zeros(8, np.int64))
