"""How sure a score is: intervals from drawing whole videos again, with replacement.

Frames of one video resemble each other, so videos are drawn, not frames. The states of
the videos are made once, and those of a resample are merged, so that a thousand
resamples cost little more than one score. All is one compiled program (Efron, 1979).
So are the scores without one video each, for as many videos as are called few.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from avemo_jax.metrics.bca import FEW
from avemo_jax.metrics.intervals import NUM_RESAMPLES, Interval, interval_of
from avemo_jax.metrics.states import Scores, decide, merged, scores_of, state_of
from avemo_jax.metrics.traced_frames import VideoFrames
from avemo_jax.tasks import get_task


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
    """Percentile interval of the mean of each score over seeds, over resampled videos.

    All seeds see the same resamples, so this is not a mean of their intervals. They
    are scored one after another: memory does not grow with them. A class or unit that
    no video of a resample has counts as F1 of 0 there, as in ``task_metrics``.

    Args:
        task_name: Name of a task that is not joint.
        scores: Scores of each seed after the activation, one video after the other.
        labels: Labels in the task's form.
        mask: True where a frame counts.
        offsets: Where each video begins, and the number of frames at the end.
        thresholds: AU only: thresholds of each seed, not chosen again in a resample;
            None is 0.5 for all.
        seed: Seed of the draws.
        level: Share of the resamples inside the interval, in (0, 1).
        num_resamples: Number of resamples, at least 1.

    Returns:
        EXPR: ``f1_macro``, ``accuracy``, ``f1_per_class``. AU: ``f1_mean``,
        ``f1_per_unit``. VA: ``ccc_mean``, ``ccc_valence``, ``ccc_arousal``. Without
        each of the first ``FEW - 1`` videos that have frames too; behind these, where
        there are fewer, stand the scores of all.

    Raises:
        ValueError: If the task is unknown.
    """
    task, num_videos = get_task(task_name), len(offsets) - 1
    frames = jnp.arange(len(mask))
    videos = jnp.searchsorted(offsets[1:], frames, side="right").astype(jnp.int32)
    by_video = VideoFrames(videos, num_videos)
    has_frames = by_video.total(mask) > 0
    draws = resample_counts(has_frames, seed, num_resamples=num_resamples)
    first = jnp.argsort(~has_frames, stable=True)[: FEW - 1]
    without = (jnp.arange(num_videos) != first[:, None]).astype(jnp.int32)

    def score(one: tuple[Array, Array | None]) -> tuple[Scores, Scores, Scores]:
        """Scores on the videos as they are, on every resample, and without each."""
        states = state_of(task, decide(task, *one), labels, mask, by_video)
        # Accelerators would round the factors of products to bfloat16 or TF32.
        with jax.default_matmul_precision("highest"):
            drawn, left = merged(states, draws), merged(states, without)
        value = scores_of(task, merged(states))
        return value, scores_of(task, drawn), scores_of(task, left)

    each = jax.lax.map(score, (scores, thresholds))
    value, samples, left_out = jax.tree.map(lambda found: found.mean(axis=0), each)
    return interval_of(value, samples, left_out, level)
