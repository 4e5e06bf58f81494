"""YuNet: tensors by the names of libfacedetection.train."""

from collections.abc import Mapping

import numpy as np

from avemo_jax.convert.rules import COUNTERS, IDENTITY, Renamed, rename
from avemo_jax.faces.yunet import state_shapes


def from_state(state: Mapping[str, np.ndarray], *, file: str, wanted: str) -> Renamed:
    """The tensors of a state dict of YuNet-n, checked.

    Args:
        state: Tensors by the published file's names.
        file: Name of the source, for errors.
        wanted: Name of the network, for errors.

    Raises:
        ConversionError: If the tensors do not fit; all faults are named.
    """
    shapes = state_shapes()
    return rename(
        state, shapes, (IDENTITY,), file=file, wanted=wanted, ignored=COUNTERS
    )
