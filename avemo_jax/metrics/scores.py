"""Scores of the tasks, under jit, scan and vmap, and over the devices of a mesh."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped

from avemo_jax.metrics.states import decide, merged, scores_of, state_of
from avemo_jax.metrics.traced_frames import AllFrames
from avemo_jax.tasks import AU, SCORE, JointTask, Task, get_task

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
    if task.kind != "multilabel":
        return scores_of(task, _state(task, arrays, None, *over))
    half = jnp.full(scores.shape[-1], 0.5, jnp.float32)
    chosen = half if thresholds is None else thresholds
    levels = jnp.stack([chosen, half])
    both = scores_of(task, _state(task, arrays, levels, *over))
    return {
        "f1_mean": both["f1_mean"][0],
        "f1_mean_at_0.5": both["f1_mean"][1],
        "f1_per_unit": both["f1_per_unit"][0],
        "thresholds": chosen,
    }


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
    arrays = (scores, labels, mask)
    # AU stands for all tasks of units: how many there are is told by the scores.
    levels = scores_of(AU, _state(AU, arrays, grid[:, None], chunk_frames, None))
    return grid[jnp.argmax(levels["f1_per_unit"], axis=0)]


def _state(
    task: Task,
    arrays: tuple[Array, ...],
    thresholds: Float[Array, "levels columns"] | None,
    chunk_frames: int,
    axis_name: str | None,
) -> Any:
    """The state of all frames of ``arrays``, a chunk at a time, on all devices.

    Thresholds of units give a state with an axis of their levels.
    """

    def at(limits: Any, scores: Array, labels: Array, mask: Array) -> Any:
        predicted = decide(task, scores, limits)
        return state_of(task, predicted, labels, mask, AllFrames())

    def of_chunk(*chunk: Array) -> Any:
        if thresholds is None:
            return at(None, *chunk)
        return jax.vmap(lambda limits: at(limits, *chunk))(thresholds)

    num_frames = len(arrays[0])
    num_chunks = max(1, -(-num_frames // chunk_frames))

    def of_number(i: Array) -> Any:
        # The last chunk begins earlier to be as long: what it repeats does not count.
        begin = jnp.minimum(i * chunk_frames, num_frames - chunk_frames)
        cut = jax.lax.dynamic_slice_in_dim
        scores, labels, mask = (cut(a, begin, chunk_frames) for a in arrays)
        new = begin + jnp.arange(chunk_frames) >= i * chunk_frames
        return of_chunk(scores, labels, mask & new)

    if num_chunks == 1:
        state = of_chunk(*arrays)
    else:
        state = merged(jax.lax.map(of_number, jnp.arange(num_chunks)))
    # All devices merge in one order, so that they agree.
    return state if axis_name is None else merged(jax.lax.all_gather(state, axis_name))
