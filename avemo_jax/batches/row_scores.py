"""Scores of every row of a table, from one head or from many of one shape at once.

Heads over windows score windows that overlap by half, unless they carry a state: these
go through each video from its first frame to its last, a window at a time, and a frame
without a row leaves the state as it is.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh
from jaxtyping import Float, Int

from avemo_jax.batches import sharding
from avemo_jax.batches.carried_states import CarriedStates, Lanes, lanes_of
from avemo_jax.batches.feeders import Batch, Feeder
from avemo_jax.batches.order import group_size, video_windows
from avemo_jax.data.store.table import FrameTable
from avemo_jax.heads import Head, Variables
from avemo_jax.runtime.progress import progress_bar
from avemo_jax.tasks import get_task


def over_candidates(
    function: Callable[[Any], Any], candidates: Any, *, mapped: bool
) -> Any:
    """Results of ``function`` for each candidate, stacked on a leading axis.

    Args:
        function: Takes one candidate's part of ``candidates``.
        candidates: Tree of arrays, leading axis candidates.
        mapped: True computes them one after another, so that each candidate gets bit
            for bit the numbers that it gets alone; False batches them.
    """
    return lax.map(function, candidates) if mapped else jax.vmap(function)(candidates)


def constrain(batch: Batch, mesh: Mesh) -> Batch:
    """``batch`` divided over the devices, where they divide its size; traced."""

    def divide(array: Any) -> Any:
        if array.shape[0] % mesh.size:
            return array
        return lax.with_sharding_constraint(array, sharding.divided(mesh))

    return jax.tree.map(divide, batch)


class Predictor:
    """Scores of one table; compiled once, called with any parameters of the head.

    Attributes:
        program: Jitted pass over one batch, ``(variables, shared, steps) -> scores``;
            the last two arguments are a chunk of the feeder's. Public so that it can
            be compiled ahead of time. Of a head that carries a state it is
            ``(variables, shared, steps, state, fresh) -> (scores, state)``.
        order: Index of each pass: rows (passes, batch) or windows (passes, windows, 3);
            -1 is padding.
    """

    def __init__(
        self,
        head: Head,
        table: FrameTable,
        feeder: Feeder,
        mesh: Mesh,
        *,
        batch_size: int,
        windows: str = "average",
        mapped: bool = True,
        quiet: bool = True,
        programs: dict[Any, Any] | None = None,
        states: dict[str, Any] | None = None,
    ):
        """Sets the order of the passes over ``table``.

        Args:
            head: The network that makes the scores.
            table: Table whose rows get scores, valid or not.
            feeder: The feeder of ``table``.
            mesh: The devices.
            batch_size: Frames at once. A head that attends over the batch sees this
                many rows in their order as one sequence.
            windows: What a frame in several windows gets: the "average" of their
                scores, or those of the window in which it is most central ("centre").
            mapped: Whether candidates are computed one after another, not batched.
            quiet: Show no progress, for what is a part of other work.
            programs: Passes of other tables whose batches are sent; this one's is taken
                from there, or added. Batches have few sizes then. None: a pass of its
                own.
            states: The states of a head that carries one at the end of videos, by
                name: a video goes on from its own, and leaves the one at its end. None:
                each begins anew, and leaves none.
        """
        self._table, self._quiet = table, quiet
        self._feeder = feeder
        self._centre = windows == "centre"
        self._window = feeder.window
        few = programs is not None
        if programs is None:
            self.program = _program(head, feeder, mesh, mapped=mapped)
        else:
            alike = (head, type(feeder), mesh, mapped)
            if alike not in programs:
                programs[alike] = _program(head, feeder, mesh, mapped=mapped)
            self.program = programs[alike]
        self._head, self._mesh, self._states = head, mesh, states
        self._lanes: Lanes | None = None
        size = max(batch_size // max(self._window, 1), 1)
        if head.spec.carries:
            self._lanes = lanes_of(table, self._window, size, mesh.size, few=few)
            self.order = self._lanes.order
        elif self._window:
            self.order = padded(self._windows(), size, mesh.size, few=few)
        else:
            rows = np.arange(table.num_rows, dtype=np.int32)
            # Where the batch is the sequence, padding would change the scores.
            multiple = 1 if head.spec.batch_is_sequence else mesh.size
            self.order = padded(rows, batch_size, multiple, few=few)

    def _windows(self) -> Int[np.ndarray, "windows 3"]:
        """Windows that cover all videos, each overlapping the next by half."""
        stride = max(self._window // 2, 1)
        phases = np.zeros(len(self._table.videos), np.int64)
        windows = video_windows(self._table, stride, phases)
        # The last window of a video is moved back so that it is full where it can be.
        last = np.maximum(windows[:, 2] - self._window, windows[:, 1])
        windows[:, 0] = np.minimum(windows[:, 0], last)
        return np.unique(windows, axis=0)

    def __call__(
        self, variables: Variables
    ) -> Float[np.ndarray, "candidates rows outputs"]:
        """Scores of all rows, float32.

        Args:
            variables: The heads' arrays, leading axis candidates.
        """
        parts: list[np.ndarray] = []
        pending: Any = None
        carried = None
        if self._lanes is not None:
            count = len(jax.tree.leaves(variables)[0])
            carried = CarriedStates(
                self._head, self._lanes, self._mesh, count, self._states
            )
        text = f"scores of {self._table.split}"
        with progress_bar(
            len(self.order), text, "batch", quiet=self._quiet, delay_s=2.0, keep=False
        ) as bar:
            for shared, steps in self._feeder.chunks(self.order, 1):
                if carried is None:
                    latest = self.program(variables, shared, steps)
                else:
                    fresh = carried.begin()
                    latest, state = self.program(
                        variables, shared, steps, carried.state, fresh
                    )
                    carried.end(state)
                # The batch before is fetched while this one is computed.
                if pending is not None:
                    parts.append(np.asarray(pending))
                pending = latest
                bar.update()
            parts.append(np.asarray(pending))
        scores = np.concatenate(parts, axis=1)
        if not self._window:
            return scores[:, : self._table.num_rows]
        return self._combine(scores)

    def _combine(
        self, scores: Float[np.ndarray, "candidates windows frames outputs"]
    ) -> Float[np.ndarray, "candidates rows outputs"]:
        """Scores of each row, from those that it has in the windows around it."""
        windows = self.order.reshape(-1, 3)
        offsets = np.arange(self._window)
        dense = windows[:, :1] + offsets
        inside = (dense >= windows[:, 1:2]) & (dense < windows[:, 2:3])
        total = int(self._table.num_frames.sum())
        sums = np.zeros((scores.shape[0], total, scores.shape[-1]), np.float32)
        weights = np.zeros(total, np.float32)
        nearest = np.full(total, np.inf, np.float32)
        distance = np.abs(offsets - (self._window - 1) / 2).astype(np.float32)
        for i in range(len(windows)):
            at, here = dense[i][inside[i]], inside[i]
            if self._centre:
                better = distance[here] < nearest[at]
                at, here = at[better], np.flatnonzero(here)[better]
                nearest[at] = distance[here]
                sums[:, at], weights[at] = scores[:, i, here], 1
            else:
                sums[:, at] += scores[:, i, here]
                weights[at] += 1
        rows = self._table.dense_index
        return sums[:, rows] / weights[rows][:, None]


def _program(head: Head, feeder: Feeder, mesh: Mesh, *, mapped: bool) -> Any:
    """The jitted pass over one batch; of a streamed feeder it holds nothing."""
    task = get_task(head.spec.task)
    spread, batch_of = feeder.spread, feeder.batch

    def batch_at(shared: Any, steps: Any) -> Batch:
        steps = spread(shared, steps)
        step = jax.tree.map(lambda leaf: leaf[0], steps)
        return constrain(batch_of(shared, step), mesh)

    def scores_of(variables: Variables, shared: Any, steps: Any) -> Any:
        batch = batch_at(shared, steps)

        def one(candidate: Variables) -> Any:
            logits, _ = head.apply(
                candidate.params,
                candidate.stats,
                batch.x,
                mask=batch.present,
                train=False,
            )
            return task.activate(logits)

        return over_candidates(one, variables, mapped=mapped)

    def carried_scores_of(
        variables: Variables, shared: Any, steps: Any, state: Any, fresh: Any
    ) -> Any:
        batch = batch_at(shared, steps)
        first = head.first_state(len(batch.x))

        def begun(leaf: Any, start: Any) -> Any:
            anew = fresh.reshape(-1, *(1,) * (start.ndim - 1))
            return jnp.where(anew, start, leaf)

        def one(candidate: tuple[Variables, Any]) -> Any:
            own, before = candidate
            before = jax.tree.map(begun, before, first)
            logits, after = head.advance(
                own.params, own.stats, before, batch.x, mask=batch.present
            )
            return task.activate(logits), after

        return over_candidates(one, (variables, state), mapped=mapped)

    # Whole on every device: every process reads them.
    return jax.jit(
        carried_scores_of if head.spec.carries else scores_of,
        out_shardings=sharding.replicated(mesh),
    )


def padded(
    index: Int[np.ndarray, "n ..."], size: int, multiple: int, *, few: bool = False
) -> Int[np.ndarray, "_ m ..."]:
    """``index`` cut into groups of ``size``, the last one filled up with padding.

    The size is rounded up to a multiple of ``multiple``, so that devices can share a
    group.

    Args:
        index: Rows, or windows.
        size: Most of them in a group.
        multiple: Number of devices.
        few: Whether groups have few sizes, see :func:`order.group_size`.
    """
    size = group_size(len(index), size, multiple, few=few)
    missing = -len(index) % size
    # Row -1 is padding; so is a window that ends before it begins.
    fill = np.full((missing, *index.shape[1:]), -1, index.dtype)
    whole: Any = np.concatenate([index, fill])
    return np.asarray(whole.reshape(-1, size, *index.shape[1:]))
