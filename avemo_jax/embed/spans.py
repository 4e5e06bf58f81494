"""A sound track in pieces that overlap as much as an extractor's windows ask for."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from avemo_jax.embed.contract import SoundSource, checked_blocks


def mono(
    sound: SoundSource, sample_rate_hz: int
) -> Iterator[Float[np.ndarray, " samples"]]:
    """The track's samples in blocks, channels averaged.

    Raises:
        ValueError: If the sound is not as its source says, or not finite.
    """
    for block in checked_blocks(sound, sample_rate_hz):
        yield block.mean(axis=1)


def spans_of(
    blocks: Iterator[Float[np.ndarray, " samples"]], step: int, length: int
) -> Iterator[Float[np.ndarray, " samples"]]:
    """``length`` samples from 0, ``step``, 2 * ``step``, ... on; shorter at the end.

    The first that ends with the track, or after it, is the last. Blocks are joined once
    a span, whatever their sizes.
    """
    held: list[np.ndarray] = []
    size, skip = 0, 0  # samples held, and samples to leave out before
    for block in blocks:
        left = block[min(skip, len(block)) :]
        skip -= len(block) - len(left)
        held.append(left)
        size += len(left)
        # One sample more, so that the last span is told from the others.
        while size > length:
            joined = held[0] if len(held) == 1 else np.concatenate(held)
            yield joined[:length]
            rest = joined[step:]
            held, size, skip = [rest], len(rest), max(0, step - len(joined))
    yield np.concatenate(held) if held else np.zeros(0, np.float32)
