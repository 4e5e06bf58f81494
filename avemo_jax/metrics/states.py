"""States that scores are computed from: they add up over batches, devices and hosts.

A state is a tuple of arrays with ``empty``, ``from_batch``, ``merge`` and ``compute``;
all work under jit, scan and vmap (over seeds: models whose scores are stacked).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

_BLOCK = 256  # frames added up at a time where rounding matters


class Confusion(NamedTuple):
    """Counts of frames by labelled and predicted class; for EXPR.

    Attributes:
        counts: Number of frames by label (rows) and prediction (columns), int32.
    """

    counts: Int[Array, "classes classes"]

    @classmethod
    def empty(cls, num_classes: int = 8) -> "Confusion":
        """No frames yet."""
        return cls(jnp.zeros((num_classes, num_classes), jnp.int32))

    @classmethod
    def from_batch(
        cls,
        scores: Float[Array, "frames classes"],
        labels: Int[Array, " frames"],
        mask: Bool[Array, " frames"],
    ) -> "Confusion":
        """The state of at most 2 ** 24 frames; the first of equal scores wins.

        Args:
            scores: Logits or probabilities; the highest is the prediction.
            labels: Classes; a negative one counts nowhere.
            mask: True where a frame counts.
        """
        classes = jnp.arange(scores.shape[-1])
        truth = (labels[:, None] == classes) & mask[:, None]
        guess = jnp.argmax(scores, axis=-1)[:, None] == classes
        # A product of zeros and ones in float32 counts exactly up to 2 ** 24.
        counts = truth.astype(jnp.float32).T @ guess.astype(jnp.float32)
        return cls(counts.astype(jnp.int32))

    def merge(self, other: "Confusion") -> "Confusion":
        """The state of the frames of both."""
        return Confusion(self.counts + other.counts)

    def compute(self) -> dict[str, Array]:
        """``f1_macro``, ``accuracy`` and ``f1_per_class``; 0 where nothing counts."""
        hits = jnp.diagonal(self.counts)
        f1 = _f1(hits, self.counts.sum(axis=0) - hits, self.counts.sum(axis=1) - hits)
        total = jnp.maximum(self.counts.sum(), 1)
        accuracy = hits.sum().astype(jnp.float32) / total.astype(jnp.float32)
        return {"f1_macro": f1.mean(), "accuracy": accuracy, "f1_per_class": f1}


class ThresholdCounts(NamedTuple):
    """Hits and misses of each unit at each threshold; for AU.

    Attributes:
        true_positives: Label 1, score at or over the threshold; all three are int32.
        false_positives: Label 0, score at or over the threshold.
        false_negatives: Label 1, score under the threshold.
    """

    true_positives: Int[Array, "levels units"]
    false_positives: Int[Array, "levels units"]
    false_negatives: Int[Array, "levels units"]

    @classmethod
    def empty(cls, num_thresholds: int, num_units: int = 12) -> "ThresholdCounts":
        """No frames yet."""
        zeros = jnp.zeros((num_thresholds, num_units), jnp.int32)
        return cls(zeros, zeros, zeros)

    @classmethod
    def from_batch(
        cls,
        probs: Float[Array, "frames units"],
        labels: Int[Array, "frames units"],
        mask: Bool[Array, " frames"],
        thresholds: Float[Array, "levels columns"],
    ) -> "ThresholdCounts":
        """The state of one batch, at all thresholds.

        Args:
            probs: Probability of each unit.
            labels: 0 or 1; others count nowhere.
            mask: True where a frame counts.
            thresholds: One row for each level; one column, or one for each unit.
        """
        positive = (labels == 1) & mask[:, None]
        negative = (labels == 0) & mask[:, None]

        def count(threshold: Array) -> tuple[Array, Array, Array]:
            over = probs >= threshold
            return (
                (over & positive).sum(axis=0, dtype=jnp.int32),
                (over & negative).sum(axis=0, dtype=jnp.int32),
                (~over & positive).sum(axis=0, dtype=jnp.int32),
            )

        return cls(*jax.vmap(count)(thresholds))

    def merge(self, other: "ThresholdCounts") -> "ThresholdCounts":
        """The state of the frames of both."""
        return ThresholdCounts(*map(jnp.add, self, other))

    def compute(self) -> Float[Array, "levels units"]:
        """F1 of each unit at each threshold; 0 where nothing is positive."""
        return _f1(self.true_positives, self.false_positives, self.false_negatives)


class Ccc(NamedTuple):
    """Concordance of predictions and labels over all frames; for VA.

    Values are kept less a shift near their mean, so that float32 holds where the spread
    is small beside the mean. With E the mean of (x - y) ** 2 the denominator s_x ** 2 +
    s_y ** 2 + (m_x - m_y) ** 2 is E + 2 cov: no large numbers cancel.

    Attributes:
        num_frames: Number of frames, int32.
        shift: What is taken off predictions and labels (first axis: these two).
        mean: Means of predictions and of labels, less the shift.
        least: Least prediction and least label.
        greatest: Greatest prediction and greatest label.
        comoment: Sum of (x - m_x) (y - m_y).
        squares: Sum of (x - y) ** 2.
    """

    num_frames: Int[Array, ""]
    shift: Float[Array, "2 outputs"]
    mean: Float[Array, "2 outputs"]
    least: Float[Array, "2 outputs"]
    greatest: Float[Array, "2 outputs"]
    comoment: Float[Array, " outputs"]
    squares: Float[Array, " outputs"]

    @classmethod
    def empty(cls, num_outputs: int = 2) -> "Ccc":
        """No frames yet."""
        pair = jnp.zeros((2, num_outputs), jnp.float32)
        zeros = jnp.zeros(num_outputs, jnp.float32)
        return cls(
            jnp.int32(0), pair, pair, pair + jnp.inf, pair - jnp.inf, zeros, zeros
        )

    @classmethod
    def from_batch(
        cls,
        scores: Float[Array, "frames outputs"],
        labels: Float[Array, "frames outputs"],
        mask: Bool[Array, " frames"],
    ) -> "Ccc":
        """The state of one batch.

        Args:
            scores: Predictions; clipped to [-1, 1].
            labels: Values in [-1, 1]; may be NaN where ``mask`` is False.
            mask: True where a frame counts.
        """
        pairs = jnp.stack([jnp.clip(scores, -1, 1), labels], axis=1)
        pairs = pairs.astype(jnp.float32)
        counted = mask[:, None, None]
        pairs = jnp.where(counted, pairs, 0)
        count = mask.sum(dtype=jnp.int32)
        divisor = jnp.maximum(count, 1).astype(jnp.float32)
        shift = _sum(pairs) / divisor
        shifted = jnp.where(counted, pairs - shift, 0)
        mean = _sum(shifted) / divisor
        centred = jnp.where(counted, shifted - mean, 0)
        return cls(
            num_frames=count,
            shift=shift,
            mean=mean,
            least=jnp.where(counted, pairs, jnp.inf).min(axis=0),
            greatest=jnp.where(counted, pairs, -jnp.inf).max(axis=0),
            comoment=_sum(centred[:, 0] * centred[:, 1]),
            squares=_sum(jnp.square(pairs[:, 0] - pairs[:, 1])),
        )

    def merge(self, other: "Ccc") -> "Ccc":
        """The state of the frames of both (co-moment: Chan et al., 1983)."""
        count = self.num_frames + other.num_frames
        share = other.num_frames / jnp.maximum(count, 1).astype(jnp.float32)
        shift = jnp.where(self.num_frames > 0, self.shift, other.shift)
        # An empty state has no shift of its own; its mean is 0 and has no weight.
        step = other.mean + (other.shift - shift) - self.mean
        step = jnp.where(other.num_frames > 0, step, 0)
        between = step[0] * step[1] * share * self.num_frames
        return Ccc(
            num_frames=count,
            shift=shift,
            mean=self.mean + step * share,
            least=jnp.minimum(self.least, other.least),
            greatest=jnp.maximum(self.greatest, other.greatest),
            comoment=self.comoment + other.comoment + between,
            squares=self.squares + other.squares,
        )

    def compute(self) -> Float[Array, " outputs"]:
        """CCC of each output; 0 where predictions or labels are all the same."""
        constant = (self.least >= self.greatest).any(axis=0)
        twice = 2 * self.comoment
        below = self.squares + twice
        # A denominator of 0 means equal constants; rounding may leave another number.
        safe = jnp.where(constant | (below <= 0), 1, below)
        return jnp.where(constant | (below <= 0), 0, twice / safe)


def _f1(hits: Array, false_alarms: Array, misses: Array) -> Array:
    """2 tp / (2 tp + fp + fn), 0 where that is 0 / 0."""
    below = 2 * hits + false_alarms + misses
    return (2 * hits).astype(jnp.float32) / jnp.maximum(below, 1).astype(jnp.float32)


def _sum(values: Float[Array, "frames ..."]) -> Float[Array, "..."]:
    """Sum over frames, block by block: a running float32 sum loses digits."""
    frames = len(values)
    padding = [(0, -frames % _BLOCK)] + [(0, 0)] * (values.ndim - 1)
    blocks = jnp.pad(values, padding).reshape(-1, _BLOCK, *values.shape[1:])
    # The barrier keeps the compiler from making one long sum of the two.
    return jax.lax.optimization_barrier(blocks.sum(axis=1)).sum(axis=0)
