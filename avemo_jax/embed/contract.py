"""What every extractor gives, and what those of sound take."""

import dataclasses
from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float


@dataclasses.dataclass(frozen=True)
class Embeddings:
    """What an extractor gives for a batch of images, or for one sound track.

    Attributes:
        features: One vector per image or hop, float32.
        outputs: The network's own outputs where it has any, float32; columns as
            ``Extractor.outputs`` names them.
        times_s: Sound only: the middle of what each vector comes from, in seconds from
            the track's start.
    """

    features: Float[np.ndarray, "rows dim"]
    outputs: Float[np.ndarray, "rows outputs"] | None = None
    times_s: Float[np.ndarray, " rows"] | None = None


@runtime_checkable
class SoundSource(Protocol):
    """A sound track that can be read from its start any number of times."""

    @property
    def num_channels(self) -> int:
        """Channels; 1 for mono."""
        ...

    def blocks(self, sample_rate_hz: int) -> Iterator[Float[np.ndarray, "n channels"]]:
        """The samples from the start, resampled, float32 in [-1, 1], in pieces."""
        ...
