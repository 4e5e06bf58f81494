"""Heads as compiled programs, one for all tests of equal heads and shapes.

Operation by operation, each would be compiled for itself.
"""

import functools
from typing import Any

import jax

from avemo_jax.heads import Head


@functools.cache
def init(head: Head, seed: int = 0) -> Any:
    """The head's start, compiled once for all tests of equal heads."""
    return jax.jit(head.init)(jax.random.key(seed))


@functools.partial(jax.jit, static_argnames=("head", "train"))
def apply(
    head: Head, params: Any, stats: Any, x: Any, mask: Any = None, train: bool = False
) -> Any:
    """Logits and statistics; one program for equal heads and shapes."""
    return head.apply(params, stats, x, mask=mask, train=train)
