"""Compiling in half the time, of small networks, whose time is compilation."""

import contextlib
import pathlib
from collections.abc import Iterator
from typing import Any

import pytest

from avemo_jax.embed import devices
from avemo_jax.extraction import extractor_choice

# To poor machine code.
QUICKLY = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
}


@contextlib.contextmanager
def extractors_compile_quickly() -> Iterator[None]:
    """For the programs of extractors that are made meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(devices, "compiler_options", lambda: dict(QUICKLY))
        yield


@contextlib.contextmanager
def extractors_made_once() -> Iterator[None]:
    """Commands get the same extractor again for equal weights and settings."""
    load, made = extractor_choice.load_extractor, {}

    def loaded(name: str, *, weights: str | None = None, **settings: Any) -> Any:
        stamp = None
        if weights is not None:
            found = pathlib.Path(weights).stat()
            stamp = (weights, found.st_mtime_ns, found.st_size)
        key = (name, stamp, *sorted(settings.items()))
        if key not in made:
            made[key] = load(name, weights=weights, **settings)
        return made[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extractor_choice, "load_extractor", loaded)
        yield
