"""How sure a score is: intervals from drawing whole videos again, with replacement.

Frames of one video resemble each other, so videos are drawn, not frames. Sums are made
once per video; a resample is a weighted sum of them, so that a thousand resamples cost
little more than one score. All is one compiled program (Efron, 1979).
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from avemo_jax.metrics.numpy_sums import NUM_RESAMPLES
from avemo_jax.metrics.video_sums import TracedScores, combined, video_sums
from avemo_jax.tasks import get_task

_ROUNDING = 2.0**-22  # a smaller difference of two float32 scores is none


class Interval(NamedTuple):
    """Scores, or differences of scores, with intervals; named as in ``task_metrics``.

    Attributes:
        value: The score on the videos as they are.
        low: Lower end of the interval.
        high: Upper end of the interval.
        share_above: Share of the resamples in which the score is over 0.
        samples: The score on every resample, which is the first axis.
    """

    value: TracedScores
    low: TracedScores
    high: TracedScores
    share_above: TracedScores
    samples: TracedScores


@functools.partial(jax.jit, static_argnames=("num_resamples",))
def resample_counts(
    has_frames: Bool[Array, " videos"],
    seed: Int[Array, ""] | int = 0,
    *,
    num_resamples: int = NUM_RESAMPLES,
) -> Int[Array, "resamples videos"]:
    """How often each video is drawn in each resample.

    Args:
        has_frames: True where a video has a frame that counts. The others are never
            drawn; each row adds up to the number of videos that are.
        seed: Seed of the draws; equal seeds give equal draws.
        num_resamples: Number of resamples, at least 1.
    """
    num_videos = len(has_frames)
    total = has_frames.sum(dtype=jnp.int32)
    first = jnp.argsort(~has_frames, stable=True)  # those with frames come first
    draws = jax.random.randint(
        jax.random.key(seed), (num_resamples, num_videos), 0, jnp.maximum(total, 1)
    )
    counted = (jnp.arange(num_videos) < total).astype(jnp.int32)

    def count(drawn: Array) -> Array:
        zeros = jnp.zeros(num_videos, jnp.int32)
        return zeros.at[first[drawn]].add(counted)

    return jax.vmap(count)(draws)


@functools.partial(jax.jit, static_argnames=("task_name", "num_resamples"))
def bootstrap(
    task_name: str,
    scores: Float[Array, "frames outputs"],
    labels: Shaped[Array, "frames ..."],
    mask: Bool[Array, " frames"],
    offsets: Int[Array, " bounds"],
    thresholds: Float[Array, " units"] | None = None,
    *,
    seed: Int[Array, ""] | int = 0,
    level: float = 0.95,
    num_resamples: int = NUM_RESAMPLES,
) -> Interval:
    """Percentile interval of each of the task's scores, over resampled videos.

    A class or unit that no video of a resample has counts as F1 of 0 there, as in
    ``task_metrics``. For many seeds see :func:`bootstrap_mean`.

    Args:
        task_name: "EXPR", "AU" or "VA".
        scores: Scores after the activation, one video after the other.
        labels: Labels in the task's form.
        mask: True where a frame counts.
        offsets: Where each video begins, and the number of frames at the end.
        thresholds: AU only: threshold of each unit, not chosen again in a resample;
            None is 0.5.
        seed: Seed of the draws.
        level: Share of the resamples inside the interval, in (0, 1).
        num_resamples: Number of resamples, at least 1.

    Returns:
        EXPR: ``f1_macro``, ``accuracy``, ``f1_per_class``. AU: ``f1_mean``,
        ``f1_per_unit``. VA: ``ccc_mean``, ``ccc_valence``, ``ccc_arousal``.

    Raises:
        ValueError: If the task is unknown.
    """
    videos = _videos(offsets, len(mask))
    draws = _draws(videos, mask, len(offsets) - 1, seed, num_resamples)
    value, samples = _score(
        task_name, scores, labels, mask, videos, draws, thresholds, len(offsets) - 1
    )
    return _interval(value, samples, level)


@functools.partial(jax.jit, static_argnames=("task_name", "num_resamples"))
def bootstrap_mean(
    task_name: str,
    scores: Float[Array, "seeds frames outputs"],
    labels: Shaped[Array, "frames ..."],
    mask: Bool[Array, " frames"],
    offsets: Int[Array, " bounds"],
    thresholds: Float[Array, "seeds units"] | None = None,
    *,
    seed: Int[Array, ""] | int = 0,
    level: float = 0.95,
    num_resamples: int = NUM_RESAMPLES,
) -> Interval:
    """Interval of the mean of each score over seeds.

    All seeds see the same resamples, so this is not a mean of their intervals. They
    are scored one after another: memory does not grow with them.

    Args:
        task_name: "EXPR", "AU" or "VA".
        scores: Scores of each seed after the activation, one video after the other.
        labels: Labels in the task's form.
        mask: True where a frame counts.
        offsets: Where each video begins, and the number of frames at the end.
        thresholds: AU only: thresholds of each seed; None is 0.5 for all.
        seed: Seed of the draws.
        level: Share of the resamples inside the interval, in (0, 1).
        num_resamples: Number of resamples, at least 1.

    Returns:
        The scores that :func:`bootstrap` gives.

    Raises:
        ValueError: If the task is unknown.
    """
    num_videos = len(offsets) - 1
    videos = _videos(offsets, len(mask))
    draws = _draws(videos, mask, num_videos, seed, num_resamples)

    def score(one: tuple[Array, Array | None]) -> tuple[TracedScores, TracedScores]:
        own, limits = one
        return _score(task_name, own, labels, mask, videos, draws, limits, num_videos)

    each = jax.lax.map(score, (scores, thresholds))
    value, samples = jax.tree.map(lambda values: values.mean(axis=0), each)
    return _interval(value, samples, level)


@functools.partial(jax.jit, static_argnames=("task_name", "num_resamples"))
def paired_difference(
    task_name: str,
    first: Float[Array, "frames outputs"],
    second: Float[Array, "frames outputs"],
    labels: Shaped[Array, "frames ..."],
    mask: Bool[Array, " frames"],
    offsets: Int[Array, " bounds"],
    thresholds: Float[Array, "2 units"] | None = None,
    *,
    seed: Int[Array, ""] | int = 0,
    level: float = 0.95,
    num_resamples: int = NUM_RESAMPLES,
) -> Interval:
    """Score of ``first`` less that of ``second``, both on the same resamples.

    Differences under 2 ** -22 (2.4e-7) are rounding and count as 0.

    Args:
        task_name: "EXPR", "AU" or "VA".
        first: Scores of one model.
        second: Scores of the other model for the same frames.
        labels: Labels in the task's form.
        mask: True where a frame counts.
        offsets: Where each video begins, and the number of frames at the end.
        thresholds: AU only: thresholds of the first and of the second model; None is
            0.5.
        seed: Seed of the draws.
        level: Share of the resamples inside the interval, in (0, 1).
        num_resamples: Number of resamples, at least 1.

    Raises:
        ValueError: If the task is unknown.
    """
    num_videos = len(offsets) - 1
    videos = _videos(offsets, len(mask))
    draws = _draws(videos, mask, num_videos, seed, num_resamples)

    def score(scores: Array, limits: Array | None) -> tuple[TracedScores, TracedScores]:
        return _score(
            task_name, scores, labels, mask, videos, draws, limits, num_videos
        )

    both = jax.vmap(score)(jnp.stack([first, second]), thresholds)
    value, samples = jax.tree.map(_difference, both)
    return _interval(value, samples, level)


@functools.partial(jax.jit, static_argnames=("task_name", "num_resamples"))
def paired_difference_of_means(
    task_name: str,
    first: Float[Array, "seeds frames outputs"],
    second: Float[Array, "seeds frames outputs"],
    labels: Shaped[Array, "frames ..."],
    mask: Bool[Array, " frames"],
    offsets: Int[Array, " bounds"],
    thresholds: Float[Array, "2 seeds units"] | None = None,
    *,
    seed: Int[Array, ""] | int = 0,
    level: float = 0.95,
    num_resamples: int = NUM_RESAMPLES,
) -> Interval:
    """:func:`paired_difference` of the means over seeds.

    Args:
        task_name: "EXPR", "AU" or "VA".
        first: Scores of each seed of one model.
        second: Scores of each seed of the other model, which has as many seeds.
        labels: Labels in the task's form.
        mask: True where a frame counts.
        offsets: Where each video begins, and the number of frames at the end.
        thresholds: AU only: thresholds of the first model's and of the second model's
            seeds; None is 0.5.
        seed: Seed of the draws.
        level: Share of the resamples inside the interval, in (0, 1).
        num_resamples: Number of resamples, at least 1.

    Raises:
        ValueError: If the task is unknown.
    """
    num_videos = len(offsets) - 1
    videos = _videos(offsets, len(mask))
    draws = _draws(videos, mask, num_videos, seed, num_resamples)

    def score(one: tuple[Array, Array | None]) -> tuple[TracedScores, TracedScores]:
        own, limits = one
        return _score(task_name, own, labels, mask, videos, draws, limits, num_videos)

    def mean(pair: tuple[Array, Array | None]) -> tuple[TracedScores, TracedScores]:
        return jax.tree.map(lambda v: v.mean(axis=0), jax.lax.map(score, pair))

    both = jax.lax.map(mean, (jnp.stack([first, second]), thresholds))
    value, samples = jax.tree.map(_difference, both)
    return _interval(value, samples, level)


def _difference(values: Array) -> Array:
    # The compiler may round the two apart: equal models differ by 1e-8 then.
    apart = values[0] - values[1]
    return jnp.where(jnp.abs(apart) < _ROUNDING, 0, apart)


def _videos(offsets: Array, num_frames: int) -> Int[Array, " frames"]:
    """Number of each frame's video."""
    frames = jnp.arange(num_frames)
    return jnp.searchsorted(offsets[1:], frames, side="right").astype(jnp.int32)


def _draws(
    videos: Array, mask: Array, num_videos: int, seed: Array | int, num_resamples: int
) -> Int[Array, "resamples videos"]:
    counted = jax.ops.segment_sum(mask.astype(jnp.int32), videos, num_videos)
    return resample_counts(counted > 0, seed, num_resamples=num_resamples)


def _score(
    task_name: str,
    scores: Array,
    labels: Array,
    mask: Array,
    videos: Array,
    draws: Int[Array, "resamples videos"],
    thresholds: Array | None,
    num_videos: int,
) -> tuple[TracedScores, TracedScores]:
    """Scores on the videos as they are, and on every resample."""
    task = get_task(task_name)
    state = video_sums(task, scores, labels, mask, videos, thresholds, num_videos)
    once = jnp.ones(num_videos, jnp.int32)
    resampled = jax.vmap(lambda counts: combined(task, state, counts))(draws)
    return combined(task, state, once), resampled


def _interval(value: TracedScores, samples: TracedScores, level: float) -> Interval:
    low = (1 - level) / 2

    def quantile(share: float) -> TracedScores:
        return {k: jnp.quantile(v, share, axis=0) for k, v in samples.items()}

    above = {k: (v > 0).astype(jnp.float32).mean(axis=0) for k, v in samples.items()}
    return Interval(value, quantile(low), quantile(1 - low), above, samples)
