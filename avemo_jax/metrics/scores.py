"""Scores of the tasks, under jit, scan and vmap, and over the devices of a mesh."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped

from avemo_jax.metrics.states import Ccc, Confusion, ThresholdCounts
from avemo_jax.tasks import SCORE, JointTask, get_task

# The float32 nearest to .1, .2, ... .9: a score that prints as 0.7 reaches that of 0.7,
# as it does where NumPy compares float32 scores with the Python number.
THRESHOLD_GRID = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9], np.float32)
CHUNK_FRAMES = 32_768  # scored at a time; bounds the memory for tables of any size


@functools.partial(jax.jit, static_argnames=("task_name", "chunk_frames", "axis_name"))
def task_metrics(
    task_name: str,
    scores: Float[Array, "frames outputs"],
    labels: Shaped[Array, "frames ..."],
    mask: Bool[Array, " frames"],
    thresholds: Float[Array, " units"] | None = None,
    *,
    chunk_frames: int = CHUNK_FRAMES,
    axis_name: str | None = None,
) -> dict[str, Array]:
    """The task's scores, under the names of results.json.

    To score several seeds, vmap over ``scores`` (and ``thresholds``). Memory beyond the
    arguments does not grow with the frames.

    Args:
        task_name: Name of an official task, of one's own, or of a joint task.
        scores: Probabilities or values, after the activation.
        labels: Labels in the task's form; ignored where ``mask`` is False.
        mask: True where a frame counts.
        thresholds: AU only: threshold of each unit, e.g. of :func:`best_thresholds`;
            None is 0.5.
        chunk_frames: Frames scored at a time.
        axis_name: Inside a shard_map the mesh axis over which frames are divided: the
            scores are those of all frames, the same on every device. None: not divided.

    Returns:
        Classes: ``f1_macro``, ``accuracy``, ``f1_per_class``. Units: ``f1_mean``,
        ``f1_mean_at_0.5``, ``f1_per_unit``, ``thresholds``. Values: ``ccc_mean`` and
        ``ccc_COLUMN`` of each, such as ``ccc_valence``. A joint task: the scores of
        each of its tasks over the frames with that task's labels, such as
        ``EXPR_f1_macro``, and ``p``, the sum of the scores that their epochs are chosen
        by. All float32.

    Raises:
        ValueError: If the task is unknown.
    """
    task = get_task(task_name)
    arrays = (scores, labels, mask)
    over = (chunk_frames, axis_name)
    if isinstance(task, JointTask):
        return _joint_metrics(task, arrays, *over)
    if task.kind == "multiclass":
        start = Confusion.empty(scores.shape[-1])
        return _accumulate(start, Confusion.from_batch, arrays, *over).compute()
    if task.kind == "multilabel":
        half = jnp.full(scores.shape[-1], 0.5, jnp.float32)
        chosen = half if thresholds is None else thresholds
        f1 = _threshold_f1(arrays, jnp.stack([chosen, half]), *over)
        means = f1.mean(axis=1)
        return {
            "f1_mean": means[0],
            "f1_mean_at_0.5": means[1],
            "f1_per_unit": f1[0],
            "thresholds": chosen,
        }
    empty = Ccc.empty(scores.shape[-1])
    ccc = _accumulate(empty, Ccc.from_batch, arrays, *over).compute()
    return {"ccc_mean": ccc.mean()} | task.by_column("ccc", ccc)


def _joint_metrics(
    task: JointTask, arrays: tuple[Array, ...], chunk_frames: int, axis_name: str | None
) -> dict[str, Array]:
    scores, labels, mask = arrays
    found: dict[str, Array] = {}
    total = jnp.zeros((), jnp.float32)
    for part, part_scores in task.of_parts(scores):
        part_labels, known = part.labels_of(labels, jnp)
        scored = task_metrics(
            part.task.name,
            part_scores,
            part_labels,
            mask & known,
            chunk_frames=chunk_frames,
            axis_name=axis_name,
        )
        total += scored[part.task.criterion]
        found |= {f"{part.task.name}_{name}": v for name, v in scored.items()}
    return {SCORE: total} | found


@functools.partial(jax.jit, static_argnames=("chunk_frames",))
def best_thresholds(
    scores: Float[Array, "frames units"],
    labels: Int[Array, "frames units"],
    mask: Bool[Array, " frames"],
    *,
    chunk_frames: int = CHUNK_FRAMES,
) -> Float[Array, " units"]:
    """Threshold of the grid with each unit's best F1; of equally good ones the first.

    Args:
        scores: Probabilities of the units.
        labels: 0 or 1.
        mask: True where a frame counts.
        chunk_frames: Frames scored at a time.
    """
    grid = jnp.asarray(THRESHOLD_GRID)
    f1 = _threshold_f1((scores, labels, mask), grid[:, None], chunk_frames)
    return grid[jnp.argmax(f1, axis=0)]


def _threshold_f1(
    arrays: tuple[Array, ...],
    thresholds: Array,
    chunk_frames: int,
    axis_name: str | None = None,
) -> Float[Array, "levels units"]:
    def from_batch(probs: Array, labels: Array, mask: Array) -> ThresholdCounts:
        return ThresholdCounts.from_batch(probs, labels, mask, thresholds)

    empty = ThresholdCounts.empty(len(thresholds), arrays[0].shape[-1])
    return _accumulate(empty, from_batch, arrays, chunk_frames, axis_name).compute()


def _accumulate(
    state: Any,
    from_batch: Callable[..., Any],
    arrays: tuple[Array, ...],
    chunk_frames: int,
    axis_name: str | None,
) -> Any:
    """``state`` with all frames of ``arrays``, a chunk at a time, on all devices."""
    num_full, rest = divmod(len(arrays[0]), chunk_frames)

    def add(state: Any, i: Array) -> tuple[Any, None]:
        parts = [
            jax.lax.dynamic_slice_in_dim(a, i * chunk_frames, chunk_frames)
            for a in arrays
        ]
        return state.merge(from_batch(*parts)), None

    if num_full:
        state, _ = jax.lax.scan(add, state, jnp.arange(num_full))
    if rest:
        state = state.merge(from_batch(*(a[-rest:] for a in arrays)))
    return state if axis_name is None else _merged_over_devices(state, axis_name)


def _merged_over_devices(state: Any, axis_name: str) -> Any:
    """The states of all devices, merged in one order, so that all devices agree."""
    states = jax.lax.all_gather(state, axis_name)
    first = jax.tree.map(lambda leaf: leaf[0], states)
    others = jax.tree.map(lambda leaf: leaf[1:], states)
    merged, _ = jax.lax.scan(lambda a, b: (a.merge(b), None), first, others)
    return merged
