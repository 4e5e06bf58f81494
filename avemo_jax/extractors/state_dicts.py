"""Whether tensors are those that a network has."""

from collections.abc import Mapping

import numpy as np

Shapes = Mapping[str, tuple[int, ...]]
_MOST = 20  # faults that an error names


def misfits(
    state: Mapping[str, np.ndarray], shapes: Shapes, optional: Shapes | None = None
) -> str:
    """All tensors that are missing, surplus or of another shape; empty: none.

    Args:
        state: Tensors by name.
        shapes: Of those that are needed, by name.
        optional: Of those that may be there.
    """
    allowed = {**shapes, **(optional or {})}
    faults = [f"{name} is missing" for name in shapes.keys() - state.keys()]
    for name, tensor in state.items():
        if name not in allowed:
            faults.append(f"{name} is not a tensor of this network")
        elif tuple(tensor.shape) != allowed[name]:
            faults.append(f"{name} is {tuple(tensor.shape)}, expected {allowed[name]}")
    more = f"; and {len(faults) - _MOST} more" if len(faults) > _MOST else ""
    return "; ".join(sorted(faults)[:_MOST]) + more


def check_state(
    network: str,
    state: Mapping[str, np.ndarray],
    shapes: Shapes,
    optional: Shapes | None = None,
) -> None:
    """Nothing, if the tensors are those that the network has.

    Args:
        network: What the error calls it.
        state: As :func:`misfits` takes it, and the others.
        shapes: Likewise.
        optional: Likewise.

    Raises:
        ValueError: With every fault.
    """
    if found := misfits(state, shapes, optional):
        raise ValueError(
            f"weights of another network: {found}; expected {network}; pass the "
            "weights that were converted for it"
        )
