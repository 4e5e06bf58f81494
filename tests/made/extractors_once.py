"""Extractors that commands of one test session share."""

import contextlib
import pathlib
from collections.abc import Iterator
from typing import Any

import pytest

from avemo_jax.extraction import extractor_choice


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
