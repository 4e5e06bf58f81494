"""A network on every device of this process, each with its part of the batch."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from avemo_jax.compilation import compiler_options

_AXIS = "data"


def on_all_devices(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function(params, batch)``, jitted, the batch divided over the local devices.

    Every device runs the whole function on its rows alone, so that ``function`` may
    loop over rows.

    Args:
        function: From params (whole on every device) and a tree of arrays with the
            batch on axis 0, to a tree of arrays with the batch on axis 0.
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


def _mesh() -> Mesh:
    return Mesh(np.asarray(jax.local_devices()), (_AXIS,))
