"""timm and transformers, where torchvision's operators were built for another torch."""

import types
from typing import Any

import numpy as np
import pytest

_OPERATORS = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_kept: list[object] = []


def import_timm() -> types.ModuleType:
    """``timm``; skips the test where it is not installed."""
    _define_operators()
    return pytest.importorskip("timm", reason="needs the extra 'parity'")


def import_transformers() -> types.ModuleType:
    """``transformers``; skips the test where it is not installed."""
    _define_operators()
    return pytest.importorskip("transformers", reason="needs the extra 'parity'")


def state_of(network: Any) -> dict[str, np.ndarray]:
    """The state dict as arrays, without BatchNorm's counters, as our files keep it."""
    state = network.state_dict().items()
    return {k: v.numpy() for k, v in state if not k.endswith("num_batches_tracked")}


def _define_operators() -> None:
    """Declares the operators that torchvision's import asks for and nobody calls."""
    torch = pytest.importorskip("torch", reason="needs the extra 'parity'")
    if _kept:
        return
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name, signature in _OPERATORS.items():
        if not hasattr(torch.ops.torchvision, name):
            library.define(name + signature)
    _kept.append(library)
