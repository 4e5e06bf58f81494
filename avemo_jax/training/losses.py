"""The tasks' losses over one batch with a mask, and class weights from a split.

Each loss is a mean over the frames that count (for VA 1 - CCC, alone or with a mean of
squared errors), or 0 where none counts.
The values of a frame that does not count, NaN included, change neither the loss nor its
gradient.
"""

import functools
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped

from avemo_jax.tasks import get_task

Scheme = Literal["inverse", "sqrt"]
LossFunction = Callable[[Any, Any, Any, Any], Float[Array, ""]]

CCC_EPSILON = 1e-8  # added to the denominator, as the original does
_SMALLEST_MISS = 1e-6  # of 1 - p under a focal exponent: its slope at 0 is infinite


def expr_loss(
    logits: Float[Array, "*batch classes"],
    labels: Int[Array, "*batch"],
    mask: Bool[Array, "*batch"] | None = None,
    weights: Float[Array, " classes"] | None = None,
    *,
    focal_gamma: float = 0.0,
    label_smoothing: float = 0.0,
    logit_adjustment: float = 0.0,
    log_prior: Float[Array, " classes"] | None = None,
) -> Float[Array, ""]:
    """Weighted cross entropy, divided by the number of frames, not the sum of weights.

    Args:
        logits: Logits of each frame and class.
        labels: Class of each frame.
        mask: True where a frame counts. None: all count.
        weights: Weight of a frame by the class of its label. None: all weigh 1.
        focal_gamma: Exponent g of the factor (1 - p of the label) ** g of each term
            (Lin et al., 2017); 0 is off.
        label_smoothing: Share of the target that is spread over all classes.
        logit_adjustment: Factor of ``log_prior`` added to the logits while training
            (Menon et al., 2021); 0 is off.
        log_prior: Log of each class's share; see :func:`expr_log_prior`.

    Raises:
        ValueError: If ``logit_adjustment`` is on without ``log_prior``.
    """
    logits = _counted(logits, mask)
    if logit_adjustment:
        if log_prior is None:
            raise ValueError(
                f"logit_adjustment {logit_adjustment} without log_prior; expected the "
                "log share of each class; pass log_prior=expr_log_prior(counts)"
            )
        logits = logits + logit_adjustment * log_prior
    log_probs = jax.nn.log_softmax(logits)
    # Compared and summed, not gathered: a gather's gradient is a slow scatter.
    hit = (labels[..., None] == jnp.arange(logits.shape[-1])).astype(logits.dtype)
    target = (1 - label_smoothing) * hit + label_smoothing / logits.shape[-1]
    terms = -(target * log_probs).sum(axis=-1)
    if focal_gamma:
        terms = terms * _focal((hit * log_probs).sum(axis=-1), focal_gamma)
    if weights is not None:
        terms = terms * (hit * weights).sum(axis=-1)
    return _mean(terms, mask)


def au_loss(
    logits: Float[Array, "*batch units"],
    labels: Int[Array, "*batch units"],
    mask: Bool[Array, "*batch"] | None = None,
    weights: Float[Array, "2 units"] | None = None,
    *,
    focal_gamma: float = 0.0,
    label_smoothing: float = 0.0,
) -> Float[Array, ""]:
    """Binary cross entropy times w0 ** (1 - y) * w1 ** y, mean over frames and units.

    Args:
        logits: Logits of each frame and unit.
        labels: 0 or 1.
        mask: True where a frame counts. None: all count.
        weights: Row 0 is w0 and row 1 is w1 of each unit. None: all are 1.
        focal_gamma: Exponent of the focal factor of :func:`expr_loss`, here for the
            label of each unit; 0 is off.
        label_smoothing: Share s of the target moved to one half: y (1 - s) + s / 2.
    """
    logits = _counted(logits, mask)
    hit = labels == 1
    target = (1 - label_smoothing) * hit.astype(logits.dtype) + label_smoothing / 2
    terms = jax.nn.softplus(logits) - target * logits
    if focal_gamma:
        log_prob = -jax.nn.softplus(jnp.where(hit, -logits, logits))
        terms = terms * _focal(log_prob, focal_gamma)
    if weights is not None:
        terms = terms * jnp.where(hit, weights[1], weights[0])
    return _mean(terms.mean(axis=-1), mask)


def va_loss(
    logits: Float[Array, "*batch outputs"],
    labels: Float[Array, "*batch outputs"],
    mask: Bool[Array, "*batch"] | None = None,
    *,
    pre_tanh: bool = False,
    ddof: Literal[0, 1] = 0,
    mse_share: float = 0.0,
) -> Float[Array, ""]:
    """Sum over the outputs (valence, arousal) of 1 - CCC within the batch.

    With ``mse_share`` s it is (1 - s) * sum(1 - CCC) + s * sum(mean squared error),
    both sums over the outputs and of the same values. The original's loss is
    ``pre_tanh=True, ddof=1``.

    Args:
        logits: Outputs of each frame before the tanh.
        labels: Labels in [-1, 1].
        mask: True where a frame counts. None: all count.
        pre_tanh: True compares the logits themselves with the labels, not their tanh.
        ddof: What is subtracted from the number of frames that (co)variances are
            divided by; the squared errors are divided by the number of frames.
        mse_share: Share s in [0, 1] of the squared errors; 0 is off.
    """
    logits = _counted(logits, mask)
    labels = _counted(labels, mask)
    x = logits if pre_tanh else jnp.tanh(logits)
    if mask is None:
        weight = jnp.ones((*x.shape[:-1], 1), x.dtype)
    else:
        weight = mask[..., None].astype(x.dtype)
    count = weight.sum()

    def total(values: Array) -> Array:
        return (values * weight).sum(axis=tuple(range(values.ndim - 1)))

    mean_x = total(x) / jnp.maximum(count, 1)
    mean_y = total(labels) / jnp.maximum(count, 1)
    divisor = jnp.maximum(count - ddof, 1)
    covariance = total((x - mean_x) * (labels - mean_y)) / divisor
    variances = total((x - mean_x) ** 2 + (labels - mean_y) ** 2) / divisor
    distance = (mean_x - mean_y) ** 2
    ccc = 2 * covariance / (variances + distance + CCC_EPSILON)
    loss = (1 - ccc).sum()
    if mse_share:
        errors = total((x - labels) ** 2) / jnp.maximum(count, 1)
        loss = (1 - mse_share) * loss + mse_share * errors.sum()
    return jnp.where(count > 0, loss, 0.0)


def make_loss(task_name: str, **options: Any) -> LossFunction:
    """The loss of a task as one function of (logits, labels, mask, weights).

    Args:
        task_name: "EXPR", "AU" or "VA".
        **options: Keyword arguments of that task's loss.

    Raises:
        ValueError: If the task or an option is unknown, or an option is out of range.
            The VA loss itself raises it if it is given weights.
    """
    task = get_task(task_name)
    known: dict[str, tuple[str, ...]] = {
        "multiclass": (
            "focal_gamma",
            "label_smoothing",
            "logit_adjustment",
            "log_prior",
        ),
        "multilabel": ("focal_gamma", "label_smoothing"),
        "regression": ("pre_tanh", "ddof", "mse_share"),
    }
    unknown = sorted(set(options) - set(known[task.kind]))
    if unknown:
        raise ValueError(
            f"unknown options {unknown} of the {task.name} loss; expected any of "
            f"{', '.join(known[task.kind])}; correct config.loss"
        )
    options = _checked_options(options)
    if task.kind == "regression":
        return functools.partial(_unweighted_va_loss, **options)
    loss = expr_loss if task.kind == "multiclass" else au_loss
    return functools.partial(loss, **options)


def expr_class_weights(
    counts: Int[np.ndarray, " classes"], *, scheme: Scheme = "inverse"
) -> Float[np.ndarray, " classes"]:
    """N / (classes * n_c) of each class, or its square root; 1 for an absent class.

    Args:
        counts: Frames of each class in the split.
        scheme: "inverse", or "sqrt" for the square roots.

    Raises:
        ValueError: If a count is negative or there is no frame at all.
    """
    return _balance(np.asarray(counts)[None], scheme, "class")[0]


def au_class_weights(
    positives: Int[np.ndarray, " units"],
    negatives: Int[np.ndarray, " units"],
    *,
    scheme: Scheme = "inverse",
) -> Float[np.ndarray, "2 units"]:
    """w0 = N / (2 negatives) and w1 = N / (2 positives); 1 where a label is absent.

    Args:
        positives: Frames with label 1, for each unit.
        negatives: Frames with label 0, for each unit.
        scheme: "inverse", or "sqrt" for the square roots.

    Raises:
        ValueError: If a count is negative or a unit has no frame at all.
    """
    return _balance(np.stack([negatives, positives], axis=1), scheme, "unit").T


def expr_log_prior(
    counts: Int[np.ndarray, " classes"],
) -> Float[np.ndarray, " classes"]:
    """Log of each class's share of the frames; an absent class counts as one frame.

    Args:
        counts: Frames of each class in the split.
    """
    present = np.maximum(np.asarray(counts, np.float64), 1)
    return np.log(present / present.sum()).astype(np.float32)


def class_weights(
    task_name: str,
    labels: Shaped[np.ndarray, "frames ..."],
    valid: Bool[np.ndarray, " frames"],
    *,
    scheme: Scheme = "inverse",
) -> Float[np.ndarray, "..."] | None:
    """The weights that a task's loss takes, computed from a split; None for VA.

    Args:
        task_name: "EXPR", "AU" or "VA".
        labels: Labels of the split's frames.
        valid: True where a frame counts.
        scheme: "inverse", or "sqrt" for the square roots.

    Raises:
        ValueError: If the task is unknown or no frame counts.
    """
    task = get_task(task_name)
    if task.kind == "regression":
        return None
    counted = labels[valid]
    if task.kind == "multilabel":
        positives, negatives = (counted == 1).sum(axis=0), (counted == 0).sum(axis=0)
        return au_class_weights(positives, negatives, scheme=scheme)
    counts = np.bincount(counted.astype(np.int64), minlength=task.num_outputs)
    return expr_class_weights(counts, scheme=scheme)


def _unweighted_va_loss(
    logits: Array,
    labels: Array,
    mask: Array | None,
    weights: Array | None,
    **options: Any,
) -> Float[Array, ""]:
    if weights is not None:
        raise ValueError(
            f"weights of shape {np.shape(weights)} for the VA loss; expected None; VA "
            "has no classes to weight"
        )
    return va_loss(logits, labels, mask, **options)


def _checked_options(options: dict[str, Any]) -> dict[str, Any]:
    """The options in the types that the losses take.

    Raises:
        ValueError: If an option is out of range.
    """
    checked = dict(options)
    for name, low, high in (
        ("focal_gamma", 0.0, np.inf),
        ("label_smoothing", 0.0, 1.0),
        ("logit_adjustment", 0.0, np.inf),
        ("ddof", 0, 1),
        ("mse_share", 0.0, 1.0),
    ):
        if name not in options:
            continue
        if not low <= options[name] <= high:
            raise ValueError(
                f"{name} is {options[name]}; expected a value in [{low}, {high}]; "
                f"correct config.loss.{name}"
            )
        checked[name] = int(options[name]) if name == "ddof" else float(options[name])
    if options.get("log_prior") is not None:
        checked["log_prior"] = jnp.asarray(options["log_prior"])
    return checked


def _counted(values: Array, mask: Array | None) -> Array:
    """``values`` in float32 or better, and 0 where a frame does not count."""
    values = values.astype(jnp.promote_types(values.dtype, jnp.float32))
    return values if mask is None else jnp.where(mask[..., None], values, 0)


def _mean(terms: Array, mask: Array | None) -> Float[Array, ""]:
    if mask is None:
        return terms.mean()
    count = mask.astype(terms.dtype).sum()
    return jnp.where(mask, terms, 0).sum() / jnp.maximum(count, 1)


def _focal(log_prob: Array, gamma: float) -> Array:
    return jnp.maximum(-jnp.expm1(log_prob), _SMALLEST_MISS) ** gamma


def _balance(
    counts: Int[np.ndarray, "groups classes"], scheme: str, what: str
) -> Float[np.ndarray, "groups classes"]:
    totals = counts.sum(axis=1, keepdims=True)
    if (counts < 0).any() or (totals == 0).any():
        raise ValueError(
            f"{what} counts {counts.tolist()}; expected no negative count and at least "
            "one frame; check the split's labels"
        )
    present = np.where(counts == 0, 1, counts)
    weights = totals / (counts.shape[1] * present)
    weights = np.where(counts == 0, 1.0, weights)
    return (np.sqrt(weights) if scheme == "sqrt" else weights).astype(np.float32)
