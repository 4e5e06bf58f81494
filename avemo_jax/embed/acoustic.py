"""Acoustic features of sound tracks of any length, in bounded memory."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Float

from avemo_jax.embed import identity
from avemo_jax.embed.contract import (
    Embeddings,
    SoundSource,
    check_float32,
    hundredths,
    joined,
)
from avemo_jax.embed.spans import mono, spans_of
from avemo_jax.extractors import Extractor, acoustic
from avemo_jax.extractors.acoustic import (
    FRAME_SAMPLES,
    FRAMES_PER_S,
    MARGIN,
    SAMPLE_RATE_HZ,
    WINDOW_SAMPLES,
)

# Frames that are measured at once, 10 s.
_BLOCK = 1000
# Silence before a track, so that its first frame has a whole window and a margin.
_LEAD = MARGIN * FRAME_SAMPLES + (WINDOW_SAMPLES - FRAME_SAMPLES) // 2


class AcousticExtractor:
    """Statistics of acoustic descriptors around each hop of a sound track.

    The track is read twice: how quiet a pause is depends on its loudest frames.

    Attributes:
        extractor: The extractor's entry in the table.
        settings: All that decides its numbers.
        fingerprint: Digest of settings and version.
        weights_sha256: Empty, since there are no weights.
        hop_s: Seconds from one vector to the next.
        context_s: Seconds of sound that a vector describes.
    """

    weights_sha256 = ""

    def __init__(
        self,
        extractor: Extractor,
        *,
        dtype: str = "float32",
        hop_s: float | None = None,
        context_s: float | None = None,
    ):
        """Checks the options.

        Args:
            extractor: The extractor's entry in the table.
            dtype: "float32", the only precision of the result.
            hop_s: Seconds from one vector to the next, a multiple of 0.01; None: that
                of the table, 0.25.
            context_s: Seconds of sound that a vector describes, a multiple of 0.01 and
                at least ``hop_s``; None: that of the table, 1.5.

        Raises:
            ValueError: If an option is out of range.
        """
        check_float32(extractor.name, dtype)
        takes = extractor.sound
        self._hop, self._context = (
            hundredths(extractor, option, s, unit="frame", instead="correct it")
            for option, s in (
                ("hop_s", takes.hop_s if hop_s is None else hop_s),
                (
                    "context_s",
                    takes.receptive_field_s if context_s is None else context_s,
                ),
            )
        )
        if self._context < self._hop:
            raise ValueError(
                f"context_s {context_s} with hop_s {hop_s} for {extractor.name}; "
                "expected a context of at least a hop, so that all sound is described; "
                "raise context_s"
            )
        self.extractor = extractor
        self.hop_s = self._hop / FRAMES_PER_S
        self.context_s = self._context / FRAMES_PER_S
        self.settings: dict[str, Any] = {
            "hop_s": self.hop_s,
            "context_s": self.context_s,
            "algorithm": acoustic.ALGORITHM,
        }
        self.fingerprint = identity.fingerprint(extractor, "", self.settings)

    def extract(self, sound: SoundSource) -> Embeddings:
        """The vectors of a whole track, in time order.

        A vector's time is the middle of its hop, and its context lies around that, cut
        at the track's ends: sound of any length has a vector for each hop that begins
        in it. Without samples there are none.

        Args:
            sound: Sound of any number of channels, which are averaged.

        Returns:
            Features (hops, 179), and the middle of each hop.

        Raises:
            ValueError: If a block is not of floating point, not finite, or has another
                number of channels than its source says.
        """
        return joined(self.extractor, self.stream(sound))

    def stream(self, sound: SoundSource) -> Iterator[Embeddings]:
        """The vectors of :meth:`extract`, some seconds at a time.

        Raises:
            ValueError: If a block is not of floating point, not finite, or has another
                number of channels than its source says.
        """
        quiet_db = acoustic.quiet_level(_measured(sound, acoustic.levels))
        held = np.zeros((0, len(acoustic.DESCRIPTORS)))
        first, hop = 0, 0  # the first frame that is held, and the next hop
        for block in itertools.chain(_measured(sound, acoustic.descriptors), [None]):
            if block is not None:
                held = np.concatenate([held, block])
            end = first + len(held)
            vectors = []
            # Contexts wait for their last frame, and at the track's end are cut there.
            while self._context_of(hop)[1] <= end or (
                block is None and hop * self._hop < end
            ):
                start, stop = self._context_of(hop)
                context = held[max(start, 0) - first : stop - first]
                vectors.append(acoustic.vector(context, quiet_db=quiet_db))
                hop += 1
            needed = max(self._context_of(hop)[0], first)
            held, first = held[needed - first :], needed
            if vectors:
                middles = (np.arange(hop - len(vectors), hop) + 0.5) * self.hop_s
                yield Embeddings(np.array(vectors, np.float32), times_s=middles)

    def _context_of(self, hop: int) -> tuple[int, int]:
        """The first frame of a hop's context and the one after its last."""
        start = hop * self._hop + (self._hop - self._context) // 2
        return start, start + self._context


def _measured(
    sound: SoundSource, measure: Callable[[np.ndarray], np.ndarray]
) -> Iterator[Float[np.ndarray, "frames ..."]]:
    """What ``measure`` gives for all frames of a track, in pieces.

    Each piece is measured with :data:`MARGIN` frames on either side that the track has.
    """
    step = _BLOCK * FRAME_SAMPLES
    length = step + (2 * MARGIN - 1) * FRAME_SAMPLES + WINDOW_SAMPLES
    spans = spans_of(_padded(sound), step, length)
    start = MARGIN
    for span, following in itertools.pairwise(itertools.chain(spans, [None])):
        if span is None or not len(span):
            return
        measured = measure(span[start * FRAME_SAMPLES :])
        stop = len(measured) if following is None else -MARGIN
        yield measured[MARGIN - start : stop]
        start = 0


def _padded(sound: SoundSource) -> Iterator[Float[np.ndarray, " samples"]]:
    """The track with silence around it, in which each of its frames has its window.

    A frame begins every 10 ms before the track's end. A track without samples stays so.
    """
    count = 0
    for block in mono(sound, SAMPLE_RATE_HZ):
        if not len(block):
            continue
        if not count:
            yield np.zeros(_LEAD, np.float32)
        count += len(block)
        yield block
    if count:
        yield np.zeros(
            -count % FRAME_SAMPLES + (WINDOW_SAMPLES - FRAME_SAMPLES) // 2, np.float32
        )
