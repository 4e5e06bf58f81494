"""The results of every extractor, and checks of its input and options."""

import collections
import dataclasses
import math
from collections.abc import Iterable, Iterator
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Float, Int32

from avemo_jax.extractors import Extractor

_Owner = TypeVar("_Owner")


@dataclasses.dataclass(frozen=True)
class Embeddings:
    """The result of an extractor for a batch of images, or for a piece of sound.

    Attributes:
        features: One vector per image or hop, float32.
        outputs: The network's own outputs, float32, with the columns that
            ``Extractor.outputs`` names; None: it has none.
        times_s: Middle of the sound that each vector comes from, in seconds from the
            track's start; None for images.
    """

    features: Float[np.ndarray, "rows dim"]
    outputs: Float[np.ndarray, "rows outputs"] | None = None
    times_s: Float[np.ndarray, " rows"] | None = None


def by_owner(
    pending: "collections.deque[tuple[_Owner, int]]", batch: Embeddings
) -> "Iterator[tuple[_Owner, Int32[np.ndarray, ' rows'], Embeddings]]":
    """A batch split by what its rows belong to: the owner, its numbers and its rows.

    Args:
        pending: Owner and number of every row that is awaited, in order; those of the
            batch are taken off.
        batch: The next rows.
    """
    start, count = 0, len(batch.features)
    while start < count:
        owner = pending[0][0]
        numbers: list[int] = []
        while pending and pending[0][0] is owner and start + len(numbers) < count:
            numbers.append(pending.popleft()[1])
        rows = slice(start, start + len(numbers))
        outputs = None if batch.outputs is None else batch.outputs[rows]
        yield (
            owner,
            np.array(numbers, np.int32),
            Embeddings(batch.features[rows], outputs),
        )
        start += len(numbers)


def joined(extractor: Extractor, pieces: Iterable[Embeddings]) -> Embeddings:
    """The rows of all pieces, in order.

    Args:
        extractor: The extractor that made the pieces. Without any piece its widths give
            the empty result: features (0, dim), and outputs (0, output_dim) or times.
        pieces: The results of its ``stream``.
    """
    faces = extractor.kind == "visual"
    nothing = Embeddings(
        np.zeros((0, extractor.dim), np.float32),
        np.zeros((0, extractor.output_dim), np.float32)
        if faces and extractor.outputs
        else None,
        None if faces else np.zeros(0),
    )
    whole = [nothing, *pieces]
    outputs = [piece.outputs for piece in whole if piece.outputs is not None]
    times = [piece.times_s for piece in whole if piece.times_s is not None]
    return Embeddings(
        np.concatenate([piece.features for piece in whole]),
        np.concatenate(outputs) if outputs else None,
        np.concatenate(times) if times else None,
    )


@runtime_checkable
class SoundSource(Protocol):
    """A sound track that can be read from its start any number of times."""

    @property
    def num_channels(self) -> int:
        """Number of channels; 1 for mono."""
        ...

    def blocks(self, sample_rate_hz: int) -> Iterator[Float[np.ndarray, "n channels"]]:
        """The samples from the start, resampled, float32 in [-1, 1], in pieces."""
        ...


def checked_blocks(
    sound: Any, sample_rate_hz: int
) -> Iterator[Float[np.ndarray, "n channels"]]:
    """The blocks of a :class:`SoundSource`, each checked.

    Raises:
        ValueError: If ``sound`` is no such source, or a block is not of floating point,
            not finite, or has another number of channels.
    """
    if not isinstance(sound, SoundSource):
        raise ValueError(
            f"sound of type {type(sound).__name__}; expected a source of blocks; take "
            "avemo_jax.media.audio.Sound for samples, open_sound for files"
        )
    total = 0
    for block in sound.blocks(sample_rate_hz):
        if block.ndim != 2 or block.shape[1] != sound.num_channels:
            raise ValueError(
                f"a block of sound of shape {block.shape}; expected (samples, "
                f"{sound.num_channels}) as the source's channels; correct the source"
            )
        if not np.issubdtype(block.dtype, np.floating):
            raise ValueError(
                f"a block of sound of dtype {block.dtype}; expected floating point in "
                "[-1, 1]; divide 16-bit samples by 32768"
            )
        if not np.isfinite(block).all():
            raise ValueError(
                f"sound with values that are not finite, about {total} samples from "
                "its start; expected values in [-1, 1]; decode the file again"
            )
        total += len(block)
        yield block


def check_count(extractor: Extractor, option: str, value: Any, least: int) -> None:
    """Check that an option is a whole number of at least ``least``.

    Raises:
        ValueError: If it is not.
    """
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < least:
        raise ValueError(
            f"{option} {value!r} for {extractor.name}; expected a whole number, at "
            f"least {least}; correct the option"
        )


def hundredths(
    extractor: Extractor, option: str, seconds: float, *, unit: str, instead: str
) -> int:
    """Seconds as a number of 10 ms, in which sound is analysed.

    Args:
        extractor: The extractor that takes the option, for errors.
        option: Name of the option.
        seconds: Its value, a multiple of 0.01.
        unit: What lasts 10 ms there, such as "frame".
        instead: What to do about another value.

    Raises:
        ValueError: If it is no multiple of 0.01, or less.
    """
    count = round(seconds * 100) if math.isfinite(seconds) else 0
    if count < 1 or abs(count - seconds * 100) > 1e-6:
        raise ValueError(
            f"{option} {seconds} for {extractor.name}; expected a multiple of 0.01, "
            f"one {unit} or more; {instead}"
        )
    return count


def check_float32(name: str, dtype: str) -> None:
    """Check that the extractor ``name`` is to run in float32, its only precision.

    Raises:
        ValueError: If it is not.
    """
    if dtype != "float32":
        raise ValueError(
            f"dtype {dtype} for {name}; expected float32, the only precision that it "
            "runs in; extract it by a command of its own without --dtype"
        )
