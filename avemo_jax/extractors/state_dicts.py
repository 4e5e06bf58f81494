"""Checks that tensors are those that a network has."""

from collections.abc import Mapping

import numpy as np

Shapes = Mapping[str, tuple[int, ...]]
_MOST = 20  # faults that an error names


def affine_shapes(name: str, outputs: int, *inputs: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the weight, outputs first, and the bias of a layer."""
    return {f"{name}.weight": (outputs, *inputs), f"{name}.bias": (outputs,)}


def affine(state: Mapping[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    """The weight and bias of a layer, as they are."""
    return {part: state[f"{name}.{part}"] for part in ("weight", "bias")}


def misfits(
    state: Mapping[str, np.ndarray], shapes: Shapes, optional: Shapes | None = None
) -> str:
    """The tensors that are missing, surplus or of another shape, in words; "" if none.

    Args:
        state: Tensors by name.
        shapes: Shapes of the tensors that are needed, by name.
        optional: Shapes of tensors that may be there, by name; None: there are none.
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
    """Check that the tensors are those that the network has.

    Args:
        network: Name of the network, for the error.
        state: Tensors by name.
        shapes: Shapes of the tensors that are needed, by name.
        optional: Shapes of tensors that may be there, by name; None: there are none.

    Raises:
        ValueError: If a tensor is missing, surplus or of another shape.
    """
    if found := misfits(state, shapes, optional):
        raise ValueError(
            f"weights of another network: {found}; expected {network}; pass the "
            "weights that were converted for it"
        )
