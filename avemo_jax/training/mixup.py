"""Mixup within classes: frames of a batch mixed with others of the same label.

Zhang et al. (arXiv 1710.09412) mix any two examples and their labels. Here both have
the same label, which stays: only inputs are mixed, and losses, class weights and
metrics know nothing of it.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from avemo_jax.batches.feeders import Batch
from avemo_jax.heads.matmul import accumulator
from avemo_jax.tasks import JointTask, Task

# Dropout's key of a step is folded from the candidate's and the step's number, which is
# below 2^31: no step has this one.
_MIXUP = 2**32 - 1
_BITS = 30  # labels of units in one number
_NOT_COUNTED = 2**31 - 1  # above all labels


def mixed_batch(
    batch: Batch, task: Task, alpha: float, key: PRNGKeyArray, step: Int[Array, ""]
) -> Batch:
    """The batch with inputs l x_i + (1 - l) x_j, j another frame with i's label.

    Each frame has its own l, drawn from Beta(alpha, alpha). Frames with the same label
    are put in a ring in random order, and j is the next after i; so each is a partner
    once. A frame that does not count, or that alone has its label, stays as it is.

    Args:
        batch: Frames of a step, not windows; with labels of classes or units, or of
            several such tasks: then all their labels are equal, or unknown in both.
        task: The task of the labels.
        alpha: Above 0; near 0 most frames stay near one of the two.
        key: The candidate's PRNG key.
        step: Number of steps before this one, over all epochs.
    """
    key = jax.random.fold_in(jax.random.fold_in(key, _MIXUP), step)
    for_ring, for_shares = jax.random.split(key)
    codes = label_codes(task, batch.labels)
    other = partners(codes, batch.counts, for_ring)
    share = drawn_shares(for_shares, alpha, len(other))
    x = batch.x.astype(accumulator(batch.x.dtype))
    share = share[:, None].astype(x.dtype)
    alone = other == jnp.arange(len(other))
    mixed = jnp.where(alone[:, None], x, share * x + (1 - share) * x[other])
    return dataclasses.replace(batch, x=mixed)


def drawn_shares(key: PRNGKeyArray, alpha: float, count: int) -> Float[Array, " count"]:
    """Numbers in [0, 1] drawn from Beta(alpha, alpha).

    If T has Student's t-distribution with 2 a degrees of freedom, (1 + T / sqrt(2 a +
    T^2)) / 2 is one of Beta(a, a), and T comes of two uniform numbers in closed form
    (Bailey, Polar generation of random variates with the t-distribution, 1994).
    ``jax.random.beta``, which rejects, takes eight times as long on a CPU.

    Args:
        key: PRNG key of the draw.
        alpha: Above 0.
        count: How many.
    """
    for_radius, for_angle = jax.random.split(key)
    radius = jax.random.uniform(for_radius, (count,), minval=2.0**-24)
    cosine = jnp.cos(2 * jnp.pi * jax.random.uniform(for_angle, (count,)))
    # T^2 / (2 a), which may be 0 or infinite.
    square = jnp.expm1(-jnp.log(radius) / alpha) * cosine**2
    return (1 + jnp.sign(cosine) / jnp.sqrt(1 + 1 / square)) / 2


def label_codes(task: Task, labels: Any) -> list[Int[Array, " batch"]]:
    """Numbers below 2^31 - 1 that are equal in all where frames have the same label.

    Args:
        task: The task of the labels; not one of values.
        labels: Labels (batch, ...) in the task's shape and type.
    """
    if isinstance(task, JointTask):
        found = []
        for part in task.parts:
            own, known = part.labels_of(labels, jnp)
            codes = label_codes(part.task, own)
            found += [jnp.where(known, code, -1) for code in codes]
        return found
    if task.kind == "multiclass":
        return [labels.astype(jnp.int32)]
    cuts = list(range(_BITS, labels.shape[1], _BITS))
    present = (labels == 1).astype(jnp.int32)
    return [
        (part << jnp.arange(part.shape[1], dtype=jnp.int32)).sum(axis=1)
        for part in jnp.split(present, cuts, axis=1)
    ]


def partners(
    codes: Sequence[Int[Array, " batch"]],
    counts: Bool[Array, " batch"],
    key: PRNGKeyArray,
) -> Int[Array, " batch"]:
    """The frame that each is mixed with: itself where there is no other.

    One sort of the batch, whatever the number of labels.

    Args:
        codes: Numbers of the labels, of :func:`label_codes`.
        counts: True where a frame counts.
        key: PRNG key of the order in the rings.
    """
    size = len(counts)
    codes = [jnp.where(counts, code, _NOT_COUNTED) for code in codes]
    place = jnp.arange(size, dtype=jnp.int32)
    random = jax.random.bits(key, (size,))
    *ringed, _, order = lax.sort((*codes, random, place), num_keys=len(codes) + 1)
    new = jnp.zeros(size, bool)
    for code in ringed:
        new |= code != jnp.roll(code, 1)
    new = new.at[0].set(True)
    first = lax.cummax(jnp.where(new, place, 0))
    last = jnp.roll(new, -1)
    following = order[jnp.where(last, first, jnp.minimum(place + 1, size - 1))]
    other = jnp.zeros(size, jnp.int32).at[order].set(following)
    return jnp.where(counts, other, place)
