"""A network on every device of this process, each with its part of the batch."""

import collections
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from avemo_jax.runtime.compilation import compiler_options

_AXIS = "data"
_IN_FLIGHT = 2  # batches that the devices may have before the host waits
_Begun = TypeVar("_Begun")


def on_all_devices(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function(params, batch)``, jitted, the batch divided over the local devices.

    Every device runs the whole function on its rows alone, so that ``function`` may
    loop over rows.

    Args:
        function: Takes params (whole on every device) and a tree of arrays with the
            batch on axis 0; returns a tree of arrays with the batch on axis 0.
    """
    divided = jax.shard_map(
        function,
        mesh=_mesh(),
        in_specs=(PartitionSpec(), PartitionSpec(_AXIS)),
        out_specs=PartitionSpec(_AXIS),
        check_vma=False,
    )
    return jax.jit(divided, compiler_options=compiler_options())


def to_all_devices(tree: Any) -> Any:
    """``tree`` with every array whole on every local device."""
    return jax.device_put(tree, NamedSharding(_mesh(), PartitionSpec()))


def rows_on_each(rows: int, most: int) -> int:
    """Rows of each local device for a batch that just holds ``rows``.

    They are a power of two, or ``most``, so that few programs are compiled.

    Args:
        rows: Number of rows to be run, 1 or more.
        most: Largest number of rows on a device.
    """
    needed = -(-rows // jax.local_device_count())
    return min(1 << (needed - 1).bit_length(), most)


def in_flight(begun: Iterable[_Begun]) -> Iterator[_Begun]:
    """The batches in order, each given once two more have begun, or none are left.

    So the host prepares the next batches while the devices work.

    Args:
        begun: The batches, read lazily; reading one begins the devices' work on it.
            Three are read before the first is given, then one for each.
    """
    flying: collections.deque[_Begun] = collections.deque()
    for batch in begun:
        flying.append(batch)
        if len(flying) > _IN_FLIGHT:
            yield flying.popleft()
    while flying:
        yield flying.popleft()


def _mesh() -> Mesh:
    return Mesh(np.asarray(jax.local_devices()), (_AXIS,))
