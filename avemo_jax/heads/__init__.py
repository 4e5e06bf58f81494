"""Fusion heads: features of a frame, or of a window of frames, to logits.

The names below are imported when they are first used, so that the names of the heads
(``registry.py``) and what may be asked of them (``spec.py``) are known without JAX.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from avemo_jax.heads.head import Head, build_head
    from avemo_jax.heads.spec import HeadSpec
    from avemo_jax.heads.variables import Variables

_HOMES = {
    "Head": "avemo_jax.heads.head",
    "HeadSpec": "avemo_jax.heads.spec",
    "Variables": "avemo_jax.heads.variables",
    "build_head": "avemo_jax.heads.head",
}

__all__ = ["Head", "HeadSpec", "Variables", "build_head"]


def __getattr__(name: str) -> Any:
    """The public name, from the module that defines it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
