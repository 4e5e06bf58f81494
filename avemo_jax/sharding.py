"""The mesh: all devices in one row, over which batches are divided."""

from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXIS = "data"


def make_mesh() -> Mesh:
    """A 1-D mesh of all devices, in their order."""
    return jax.make_mesh((jax.device_count(),), (AXIS,), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """The whole array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def divided(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """Array axis ``axis`` divided over the devices."""
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, AXIS))


def replicate(tree: Any, mesh: Mesh) -> Any:
    """``tree`` with every array whole on every device."""
    return jax.device_put(tree, replicated(mesh))
