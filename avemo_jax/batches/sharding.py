"""The mesh of all devices in one row, and arrays placed on it."""

from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXIS = "data"


def make_mesh() -> Mesh:
    """A 1-D mesh of all devices, in their order."""
    return jax.make_mesh((jax.device_count(),), (AXIS,), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding that keeps the whole array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def divided(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """The sharding that divides array axis ``axis`` over the devices."""
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, AXIS))


def put(array: Any, place: NamedSharding) -> jax.Array:
    """``array`` on the devices, sharded as ``place`` says.

    Args:
        array: The same in every process, which sends only what its own devices hold;
            PRNG keys are arrays too.
        place: The sharding.
    """
    if jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key):
        data = put(jax.random.key_data(array), place)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(array))
    array = np.asarray(array)
    return jax.make_array_from_callback(array.shape, place, lambda at: array[at])


def replicate(tree: Any, mesh: Mesh) -> Any:
    """``tree`` with every array whole on every device.

    Args:
        tree: Arrays, the same in every process.
        mesh: The devices.
    """
    return jax.tree.map(lambda array: put(array, replicated(mesh)), tree)
