"""Heads as compiled programs, of which little time goes into machine code.

A small head runs for microseconds, and compiling it well takes seconds.
"""

import functools
from typing import Any

import jax

from avemo_jax.heads import Head

# For ``compiler_options`` of ``jax.jit``: a tenth of the compiler's time.
QUICKLY = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}


@functools.cache
def init(head: Head, seed: int = 0) -> Any:
    """The head's start, compiled once for all tests of equal heads."""
    return jax.jit(head.init, compiler_options=QUICKLY)(jax.random.key(seed))


@functools.partial(jax.jit, static_argnames=("head", "train"), compiler_options=QUICKLY)
def apply(
    head: Head, params: Any, stats: Any, x: Any, mask: Any = None, train: bool = False
) -> Any:
    """Logits and statistics; one program for equal heads and shapes."""
    return head.apply(params, stats, x, mask=mask, train=train)
