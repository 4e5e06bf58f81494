"""States that scores are computed from: they add up over videos, batches and devices.

The leading axes of a state are sets of frames, such as videos: ``merged`` makes one
state of them, each taken once or as often as a resample drew it, and ``scores_of``
computes scores from it. All here goes by the arrays' own namespace: NumPy's in float64
for ``avemo score``, which loads no JAX, and JAX's in float32 under jit, scan and vmap.

The states are named tuples, which are pytrees by themselves: a ``chex.dataclass`` would
load JAX here.
"""

from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

from jaxtyping import Bool, Float, Int, Shaped

from avemo_jax.tasks import Task

Scores = dict[str, Any]
_GRID = 2.0**16  # shifts are multiples of its inverse


class Confusion(NamedTuple):
    """Frames by class; for EXPR and classes of a user's own.

    Attributes:
        counts: Number of frames by label (rows) and prediction (columns).
    """

    counts: Shaped[Any, "*sets classes classes"]


class Hits(NamedTuple):
    """Frames in which a unit is found, or not; for AU and units of a user's own.

    Attributes:
        true_positives: Number of frames with label 1 and prediction 1.
        false_positives: Number of frames with label 0 and prediction 1.
        false_negatives: Number of frames with label 1 and prediction 0.
    """

    true_positives: Shaped[Any, "*sets units"]
    false_positives: Shaped[Any, "*sets units"]
    false_negatives: Shaped[Any, "*sets units"]


class Moments(NamedTuple):
    """Centred moments of predictions and labels; for VA and values of a user's own.

    Means are kept less a shift near them, so that float32 holds where the spread is
    small beside the mean. In pairs the prediction comes first, then the label.

    Attributes:
        num_frames: Number of frames.
        shift: What is taken off predictions and labels.
        mean: Means of predictions and of labels, less the shift.
        least: Least prediction and least label; infinite where there is no frame.
        greatest: Greatest prediction and greatest label.
        comoment: Sum of (x - m_x) (y - m_y), the means being those of the set.
        squares: Sum of (x - y) ** 2.
    """

    num_frames: Shaped[Any, "*sets"]
    shift: Float[Any, "*sets 2 outputs"]
    mean: Float[Any, "*sets 2 outputs"]
    least: Float[Any, "*sets 2 outputs"]
    greatest: Float[Any, "*sets 2 outputs"]
    comoment: Float[Any, "*sets outputs"]
    squares: Float[Any, "*sets outputs"]


State: TypeAlias = Confusion | Hits | Moments


@runtime_checkable
class Frames(Protocol):
    """How frames become sets: all as one, or those of each video.

    NumPy and JAX add up in ways of their own; these are all that states need of them.
    """

    def total(self, values: Shaped[Any, "frames ..."]) -> Shaped[Any, "..."]:
        """Sum over the frames of each set; True is 1."""

    def least(self, values: Float[Any, "frames ..."]) -> Float[Any, "..."]:
        """Least value in each set, infinite where the set has no frame."""

    def by_frame(self, values: Any) -> Any:
        """Values of sets, in a form that fits those of their frames."""

    def confusion(
        self,
        labels: Int[Any, " frames"],
        predicted: Int[Any, " frames"],
        counted: Bool[Any, " frames"],
        num_classes: int,
    ) -> Shaped[Any, "*sets classes classes"]:
        """Number of the counted frames by label and prediction, in each set."""


def decide(
    task: Task,
    scores: Float[Any, "*seeds frames outputs"],
    thresholds: Float[Any, "*seeds columns"] | None = None,
) -> Shaped[Any, "..."]:
    """What scores predict: a class, which units are active, or values in [-1, 1].

    Args:
        task: The task that is scored.
        scores: Scores after the activation; the first of equal classes wins.
        thresholds: The score at or over which a unit is active, one for each unit or
            one for all; None is 0.5.
    """
    if task.kind == "multiclass":
        return scores.argmax(axis=-1)
    if task.kind != "multilabel":
        return scores.clip(-1, 1)
    if thresholds is None:
        return scores >= 0.5
    # In the scores' precision: a float32 0.3 reaches the threshold 0.3.
    limits = scores.__array_namespace__().asarray(thresholds, dtype=scores.dtype)
    return scores >= limits[..., None, :]


def state_of(
    task: Task,
    predicted: Shaped[Any, "frames ..."],
    labels: Shaped[Any, "frames ..."],
    mask: Bool[Any, " frames"],
    frames: Frames,
) -> Any:
    """The state of each set of frames: ``Confusion``, ``Hits`` or ``Moments``.

    Args:
        task: The task that is scored.
        predicted: Classes, 0 or 1 of each unit, or values.
        labels: Labels in the task's form; they count nowhere if they are none of these.
        mask: True where a frame counts.
        frames: Which frames make a set.
    """
    xp = mask.__array_namespace__()
    if task.kind == "multiclass":
        counted = mask & (labels >= 0) & (labels < task.num_outputs)
        return Confusion(frames.confusion(labels, predicted, counted, task.num_outputs))
    if task.kind == "multilabel":
        active = predicted == 1
        positive, negative = ((labels == y) & mask[:, None] for y in (1, 0))
        kinds = (active & positive, active & negative, ~active & positive)
        return Hits(*map(frames.total, kinds))
    counted = mask[:, None, None]
    pairs = xp.where(counted, xp.stack([predicted, labels], axis=1), 0)
    num_frames = frames.total(mask)
    divisor = xp.maximum(num_frames, 1)[..., None, None]
    # A short number: the compiler may take off a quotient before it is rounded.
    shift = xp.round(frames.total(pairs) / divisor * _GRID) / _GRID
    shifted = xp.where(counted, pairs - frames.by_frame(shift), 0)
    mean = frames.total(shifted) / divisor
    centred = xp.where(counted, shifted - frames.by_frame(mean), 0)
    return Moments(
        num_frames=num_frames,
        shift=shift,
        mean=mean,
        least=frames.least(xp.where(counted, pairs, xp.inf)),
        greatest=-frames.least(xp.where(counted, -pairs, xp.inf)),
        comoment=frames.total(centred[:, 0] * centred[:, 1]),
        squares=frames.total(xp.square(pairs[:, 0] - pairs[:, 1])),
    )


def merged(state: Any, times: Int[Any, "*drawn sets"] | None = None) -> Any:
    """The state of the frames of all sets along the first axis, which is gone then.

    Args:
        state: States of sets.
        times: How often each set is taken, for any number of draws, which become the
            leading axes of what is returned; None takes each once.
    """
    if not isinstance(state, Moments):
        return type(state)(*(_weighted(times, each) for each in state))
    xp = state.mean.__array_namespace__()
    taken = state.num_frames if times is None else times * state.num_frames
    num_frames = taken.sum(axis=-1)
    # Distances from one shift for all: those of draws are sums of the sets' own, and
    # no large numbers cancel. One of the sets' own, the nearest to the mean: a mean is
    # not rounded alike wherever the compiler computes it.
    share = state.num_frames / xp.maximum(state.num_frames.sum(), 1)
    apart = xp.abs(state.shift - _weighted(share, state.shift))
    apart = xp.where((state.num_frames > 0)[:, None, None], apart, xp.inf)
    nearest = apart.argmin(axis=0)[None]
    (shift,) = xp.take_along_axis(state.shift, nearest, axis=0)
    away = state.mean + (state.shift - shift)
    counts = state.num_frames[:, None]
    divisor = xp.maximum(num_frames, 1)[..., None, None]
    mean = _weighted(times, counts[..., None] * away) / divisor
    products = _weighted(times, state.comoment + counts * away[:, 0] * away[:, 1])
    has = (taken > 0)[..., None, None]
    return Moments(
        num_frames=num_frames,
        shift=xp.broadcast_to(shift, mean.shape),
        mean=mean,
        least=xp.where(has, state.least, xp.inf).min(axis=-3),
        greatest=xp.where(has, state.greatest, -xp.inf).max(axis=-3),
        comoment=products - num_frames[..., None] * mean[..., 0, :] * mean[..., 1, :],
        squares=_weighted(times, state.squares),
    )


def scores_of(task: Task, state: Any, outputs: tuple[int, ...] | None = None) -> Scores:
    """The task's scores of each set, under the names of results.json; 0 for no frames.

    F1 is 2 tp / (2 tp + fp + fn), 0 where that is 0 / 0. The CCC (Lin, 1989) has the
    biased variances, as the challenge has it, and is 0 where predictions or labels are
    constant.

    Args:
        task: The task that is scored.
        state: States of sets.
        outputs: Indices of the classes or units whose F1 is given, and goes into the
            mean; None: all.

    Returns:
        Classes: ``f1_macro``, ``accuracy``, ``f1_per_class``. Units: ``f1_mean``,
        ``f1_per_unit``. Values: ``ccc_mean`` and ``ccc_COLUMN`` of each.
    """
    xp = state[-1].__array_namespace__()
    if isinstance(state, Confusion):
        counts = state.counts
        hits = xp.diagonal(counts, axis1=-2, axis2=-1)
        f1 = _f1(hits, counts.sum(axis=-2) - hits, counts.sum(axis=-1) - hits)
        f1 = f1 if outputs is None else xp.take(f1, xp.asarray(outputs), axis=-1)
        accuracy = hits.sum(axis=-1) / xp.maximum(counts.sum(axis=(-2, -1)), 1)
        return {"f1_macro": f1.mean(axis=-1), "accuracy": accuracy, "f1_per_class": f1}
    if isinstance(state, Hits):
        f1 = _f1(*state)
        f1 = f1 if outputs is None else xp.take(f1, xp.asarray(outputs), axis=-1)
        return {"f1_mean": f1.mean(axis=-1), "f1_per_unit": f1}
    # The denominator s_x ** 2 + s_y ** 2 + (m_x - m_y) ** 2 is the mean of (x - y) ** 2
    # and twice the covariance: no large numbers cancel.
    twice = 2 * state.comoment
    below = state.squares + twice
    # A denominator of 0 means equal constants; rounding may leave another number.
    none = (state.least >= state.greatest).any(axis=-2) | (below <= 0)
    ccc = xp.where(none, 0, twice / xp.where(none, 1, below))
    named = task.by_column("ccc", xp.moveaxis(ccc, -1, 0))
    return {"ccc_mean": ccc.mean(axis=-1), **named}


def _f1(hits: Any, false_alarms: Any, misses: Any) -> Any:
    below = 2 * hits + false_alarms + misses
    return 2 * hits / below.__array_namespace__().maximum(below, 1)


def _weighted(times: Any, values: Shaped[Any, "sets ..."]) -> Shaped[Any, "..."]:
    """Sum over sets, each so many times; whole numbers stay whole."""
    if times is None:
        return values.sum(axis=0)
    xp = values.__array_namespace__()
    return xp.tensordot(times.astype(values.dtype), values, axes=1)
