"""A sound track in pieces that overlap as much as an extractor's input does."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from avemo_jax.embed.contract import SoundSource, checked_blocks


def mono(
    sound: SoundSource, sample_rate_hz: int
) -> Iterator[Float[np.ndarray, " samples"]]:
    """The track's samples in blocks, channels averaged.

    Raises:
        ValueError: If a block is not of floating point, not finite, or has another
            number of channels than its source says.
    """
    for block in checked_blocks(sound, sample_rate_hz):
        yield block.mean(axis=1)


def spans_of(
    blocks: Iterator[Float[np.ndarray, " samples"]], step: int, length: int
) -> Iterator[Float[np.ndarray, " samples"]]:
    """Spans of ``length`` samples that start every ``step`` samples.

    The first span that reaches the track's end is the last one, and may be shorter.
    Blocks are joined once a span, whatever their sizes.
    """
    held: list[np.ndarray] = []
    size, skip = 0, 0  # samples held, and samples to leave out before
    for block in blocks:
        left = block[min(skip, len(block)) :]
        skip -= len(block) - len(left)
        held.append(left)
        size += len(left)
        # Only with a sample more than a span is it known not to be the last.
        while size > length:
            joined = held[0] if len(held) == 1 else np.concatenate(held)
            yield joined[:length]
            rest = joined[step:]
            held, size, skip = [rest], len(rest), max(0, step - len(joined))
    yield np.concatenate(held) if held else np.zeros(0, np.float32)
