"""Sums by video on the device, from which any resample of videos is scored.

Sums are made once per video; the scores of a resample come from a weighted sum of them.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from avemo_jax.metrics.states import Ccc, Confusion, ThresholdCounts
from avemo_jax.tasks import Task

_BLOCK = 256  # frames of a video added up at a time, where rounding matters

TracedScores = dict[str, Array]


class VideoSums(NamedTuple):
    """Sums of each video, with what else the scores need.

    Attributes:
        sums: Arrays that add up, with a first axis of videos.
        about: VA only: least and greatest values of each video, and the mean of all
            frames, which is taken off the values before they are summed.
    """

    sums: tuple[Array, ...]
    about: tuple[Array, ...] = ()


def video_sums(
    task: Task,
    scores: Float[Array, "frames outputs"],
    labels: Shaped[Array, "frames ..."],
    mask: Bool[Array, " frames"],
    videos: Int[Array, " frames"],
    thresholds: Float[Array, " units"] | None,
    num_videos: int,
) -> VideoSums:
    """The sums of each video.

    Args:
        task: The task that is scored.
        scores: Probabilities or values, after the activation.
        labels: Labels in the task's form.
        mask: True where a frame counts.
        videos: Index of each frame's video, never falling.
        thresholds: AU only: threshold of each unit; None is 0.5.
        num_videos: Number of videos, those without a frame included.
    """
    if task.kind == "multiclass":
        return _confusions(scores, labels, mask, videos, num_videos)
    if task.kind == "multilabel":
        half = jnp.full(scores.shape[-1], 0.5, jnp.float32)
        limits = half if thresholds is None else thresholds
        return _hits(scores, labels, mask, videos, limits, num_videos)
    return _moments(scores, labels, mask, videos, num_videos)


def _confusions(
    scores: Array, labels: Array, mask: Array, videos: Array, num_videos: int
) -> VideoSums:
    num_classes = scores.shape[-1]
    guess = jnp.argmax(scores, axis=-1)
    counted = mask & (labels >= 0) & (labels < num_classes)
    zeros = jnp.zeros((num_videos, num_classes, num_classes), jnp.int32)
    counts = zeros.at[videos, jnp.where(counted, labels, 0), guess]
    return VideoSums((counts.add(counted.astype(jnp.int32)),))


def _hits(
    probs: Array,
    labels: Array,
    mask: Array,
    videos: Array,
    limits: Array,
    num_videos: int,
) -> VideoSums:
    over = probs >= limits
    positive = (labels == 1) & mask[:, None]
    negative = (labels == 0) & mask[:, None]
    kinds = jnp.stack([over & positive, over & negative, ~over & positive], axis=1)
    sums = jax.ops.segment_sum(kinds.astype(jnp.int32), videos, num_videos)
    return VideoSums(tuple(sums[:, i] for i in range(3)))


def _moments(
    scores: Array, labels: Array, mask: Array, videos: Array, num_videos: int
) -> VideoSums:
    """Sums about the mean of all frames, so that float32 holds."""
    counted = mask[:, None, None]
    pairs = jnp.stack([jnp.clip(scores, -1, 1), labels], axis=1).astype(jnp.float32)
    pairs = jnp.where(counted, pairs, 0)
    counts = jax.ops.segment_sum(mask.astype(jnp.int32), videos, num_videos)
    divisor = jnp.maximum(counts.sum(), 1).astype(jnp.float32)
    shift = _video_sums(pairs, videos, num_videos).sum(axis=0) / divisor
    moved = jnp.where(counted, pairs - shift, 0)
    products = moved[:, 0] * moved[:, 1]
    squares = jnp.square(pairs[:, 0] - pairs[:, 1])

    return VideoSums(
        sums=(
            counts,
            _video_sums(moved, videos, num_videos),
            _video_sums(products, videos, num_videos),
            _video_sums(squares, videos, num_videos),
        ),
        about=(
            jax.ops.segment_min(jnp.where(counted, pairs, jnp.inf), videos, num_videos),
            jax.ops.segment_max(
                jnp.where(counted, pairs, -jnp.inf), videos, num_videos
            ),
            shift,
        ),
    )


def combined(
    task: Task, state: VideoSums, counts: Int[Array, " videos"]
) -> TracedScores:
    """The scores of all videos together, each as often as ``counts`` says."""
    sums = [_weighted(counts, values) for values in state.sums]
    if task.kind == "multiclass":
        return Confusion(*sums).compute()
    if task.kind == "multilabel":
        f1 = ThresholdCounts(*(values[None] for values in sums)).compute()[0]
        return {"f1_mean": f1.mean(), "f1_per_unit": f1}
    total, moved, products, squares = sums
    least, greatest, shift = state.about
    mean = moved / jnp.maximum(total, 1).astype(jnp.float32)
    drawn = (counts > 0)[:, None, None]
    ccc = Ccc(
        num_frames=total,
        shift=shift,
        mean=mean,
        least=jnp.where(drawn, least, jnp.inf).min(axis=0),
        greatest=jnp.where(drawn, greatest, -jnp.inf).max(axis=0),
        comoment=products - mean[0] * moved[1],
        squares=squares,
    ).compute()
    return {"ccc_mean": ccc.mean()} | task.by_column("ccc", ccc)


def _weighted(
    counts: Int[Array, " videos"], values: Shaped[Array, "videos ..."]
) -> Shaped[Array, "..."]:
    """Sum over videos; whole numbers stay whole, and none is rounded to bfloat16."""
    return jnp.tensordot(
        counts.astype(values.dtype), values, axes=1, precision=jax.lax.Precision.HIGHEST
    )


def _video_sums(
    values: Float[Array, "frames ..."], videos: Int[Array, " frames"], num_videos: int
) -> Float[Array, "videos ..."]:
    """Sum of each video, block by block: a running float32 sum loses digits."""
    # Both terms never fall, so each pair of block and video has a number of its own.
    blocks = jnp.arange(len(videos)) // _BLOCK + videos
    num_blocks = len(videos) // _BLOCK + num_videos + 1
    owner = jax.ops.segment_max(videos, blocks, num_blocks)
    sums = jax.ops.segment_sum(values, blocks, num_blocks)
    # A block without frames has an owner out of range, and its sum is dropped.
    return jax.ops.segment_sum(sums, owner, num_videos)
