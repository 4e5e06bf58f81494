"""Whole videos through a head that carries a state: which window when, in which lane.

A lane is a place in the batch. Its windows are those of one video after the other, in
the order of their frames, so that the state of a lane after a batch is the one that the
next batch begins with.
"""

import dataclasses
import heapq
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Bool, Int

from avemo_jax.batches import sharding
from avemo_jax.batches.order import group_size
from avemo_jax.data.store.table import FrameTable
from avemo_jax.heads import Head


@dataclasses.dataclass(frozen=True)
class Lanes:
    """The windows of all videos, in lanes.

    Attributes:
        order: Windows of each batch (batches, lanes, 3), in the form of
            ``order.video_windows``; -1 is padding.
        first: Name of the video that begins there; "" where none does
            (batches, lanes).
        last: Name of the video that ends there; "" where none does (batches, lanes).
    """

    order: Int[np.ndarray, "batches lanes 3"]
    first: Any
    last: Any


def lanes_of(
    table: FrameTable, window: int, most: int, multiple: int, *, few: bool = False
) -> Lanes:
    """The windows that go through all videos, without those that have no row.

    Longest videos come first, each into the lane that is free first.

    Args:
        table: Table whose videos are gone through.
        window: Frames of a window.
        most: Lanes, the most.
        multiple: Number of devices; the lanes are rounded up to a multiple of it.
        few: Whether batches have few sizes, see :func:`order.group_size`.
    """
    windows = [
        _windows_of(table, number, window) for number in range(len(table.videos))
    ]
    there = sorted(
        (number for number, own in enumerate(windows) if len(own)),
        key=lambda number: (-len(windows[number]), number),
    )
    count = group_size(max(len(there), 1), most, multiple, few=few)
    free = [(0, lane) for lane in range(count)]
    places = {}
    for number in there:
        begin, lane = heapq.heappop(free)
        places[number] = (begin, lane)
        heapq.heappush(free, (begin + len(windows[number]), lane))
    shape = (max(end for end, _ in free), count)
    order = np.full((*shape, 3), -1, np.int32)
    first, last = np.full(shape, "", object), np.full(shape, "", object)
    for number, (begin, lane) in places.items():
        end = begin + len(windows[number])
        order[begin:end, lane] = windows[number]
        first[begin, lane] = last[end - 1, lane] = table.videos[number]
    return Lanes(order, first, last)


def _windows_of(
    table: FrameTable, number: int, window: int
) -> Int[np.ndarray, "windows 3"]:
    """A video's windows side by side, from its first frame on, that have a row."""
    begin, end = table.dense_offsets[number : number + 2]
    rows = slice(*table.row_offsets[number : number + 2])
    nth = np.unique((table.dense_index[rows] - begin) // window)
    found = np.zeros((len(nth), 3), np.int32)
    found[:] = np.stack([begin + nth * window, 0 * nth + begin, 0 * nth + end], axis=1)
    return found


class CarriedStates:
    """The state of each lane while the batches are gone through.

    Attributes:
        state: What all candidates and lanes have before the next batch.
    """

    def __init__(
        self,
        head: Head,
        lanes: Lanes,
        mesh: Mesh,
        candidates: int,
        kept: dict[str, Any] | None,
    ):
        """Begins before the first batch.

        Args:
            head: The head that carries the states.
            lanes: What goes through it.
            mesh: The devices, each of which holds all states.
            candidates: Number of heads of its shape.
            kept: States at the end of videos by name, see ``Predictor``.
        """
        self._lanes, self._mesh, self._kept, self._next = lanes, mesh, kept, 0
        first = head.first_state(lanes.order.shape[1])
        self.state = sharding.replicate(
            jax.tree.map(lambda leaf: np.repeat(leaf[None], candidates, axis=0), first),
            mesh,
        )

    def begin(self) -> Bool[np.ndarray, " lanes"]:
        """True for the lanes whose video begins in the next batch, without a state."""
        names = self._lanes.first[self._next]
        fresh: np.ndarray = names != ""
        kept = self._kept or {}
        going_on = [lane for lane in np.flatnonzero(fresh) if names[lane] in kept]
        if going_on:
            state = jax.tree.map(np.array, self.state)
            for lane in going_on:
                fresh[lane] = False
                for leaf, own in zip(
                    jax.tree.leaves(state),
                    jax.tree.leaves(kept[names[lane]]),
                    strict=True,
                ):
                    leaf[:, lane] = own
            self.state = sharding.replicate(state, self._mesh)
        return fresh

    def end(self, state: Any) -> None:
        """Takes the state after a batch, and keeps that of videos that end in it."""
        self.state = state
        if self._kept is not None:
            names = self._lanes.last[self._next]
            ended = np.flatnonzero(names != "")
            own = jax.tree.map(np.asarray, state) if len(ended) else None
            for lane in ended:
                self._kept[names[lane]] = jax.tree.map(
                    lambda leaf, lane=lane: leaf[:, lane].copy(), own
                )
        self._next += 1
