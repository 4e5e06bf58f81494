"""Sound to VGGish embeddings: log-mel examples and network, on the devices."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float

from avemo_jax.embed import identity
from avemo_jax.embed.contract import (
    Embeddings,
    SoundSource,
    check_count,
    hundredths,
    joined,
)
from avemo_jax.embed.devices import (
    in_flight,
    on_all_devices,
    rows_on_each,
    to_all_devices,
)
from avemo_jax.embed.spans import mono, spans_of
from avemo_jax.extractors import Extractor, vggish
from avemo_jax.extractors.vggish import NUM_SPECTRA, VggishSpec
from avemo_jax.media import log_mel

_SPECTRA_PER_S = log_mel.SAMPLE_RATE_HZ // log_mel.HOP_SAMPLES


class VggishExtractor:
    """VGGish on sound tracks of any length, in bounded memory.

    Attributes:
        extractor: The extractor's entry in the table.
        settings: All that decides its numbers beside the weights.
        fingerprint: Digest of weights, settings and version.
        weights_sha256: Digest of the weights' tensors, as feature files record it.
        hop_s: Seconds from one example to the next.
        batch_size: Examples that run at once.
    """

    def __init__(
        self,
        extractor: Extractor,
        tensors: Mapping[str, np.ndarray],
        *,
        dtype: str = "float32",
        output: str = "quantised",
        hop_s: float | None = None,
        batch_size: int = 32,
        tensors_sha256: str = "",
    ):
        """Puts the network on the devices; it compiles with the first batch.

        Args:
            extractor: The extractor's entry in the table.
            tensors: Weights by torchvggish's names, with the PCA unless ``output`` is
                "raw".
            dtype: Precision of the network's arithmetic: "float32" or "bfloat16". The
                log-mel spectra and the PCA are always float32.
            output: "raw": the last layer's output, 0 or more. "pca": whitened.
                "quantised": whitened, clipped, rounded to 256 levels in [0, 1].
            hop_s: Seconds from the start of one example to the next, a multiple of
                0.01. None: that of the table, 0.96, at which examples hardly overlap.
            batch_size: Examples that run at once, rounded up to a multiple of the
                number of devices; a shorter batch is padded to a power of two.
            tensors_sha256: Digest of the tensors, a part of the fingerprint.

        Raises:
            ValueError: If an option is out of range, or the PCA is needed and missing.
            WeightsError: If the tensors are not those of this network.
        """
        hop_s = extractor.sound.hop_s if hop_s is None else hop_s
        instead = "take 0.96 for the original's"
        hop = hundredths(extractor, "hop_s", hop_s, unit="spectrum", instead=instead)
        check_count(extractor, "batch_size", batch_size, 1)
        spec = VggishSpec(output)
        identity.check_tensors(
            extractor, tensors, vggish.state_shapes(spec), vggish.PCA_SHAPES
        )
        self.extractor, self.hop_s = extractor, hop / _SPECTRA_PER_S
        self.weights_sha256 = tensors_sha256
        self.settings: dict[str, Any] = {
            "output": output,
            "hop_s": self.hop_s,
            "dtype": dtype,
        }
        self.fingerprint = identity.fingerprint(
            extractor, tensors_sha256, self.settings
        )
        self._devices = jax.local_device_count()
        self._rows = -(-batch_size // self._devices)  # examples on each device
        self.batch_size = self._rows * self._devices
        self._hop_samples = hop * log_mel.HOP_SAMPLES
        self._params = to_all_devices(vggish.prepare(spec, tensors))
        self._embed = on_all_devices(self._embedding_of(spec, hop, dtype))

    def _embedding_of(
        self, spec: VggishSpec, hop: int, dtype: str
    ) -> Callable[[Any, Array], Array]:
        """A function of params and a device's sound (1, samples) that embeds it."""

        def embed(
            params: Any, sound: Float[Array, "1 samples"]
        ) -> Float[Array, "1 rows dim"]:
            spectra = log_mel.spectra_of(sound[0])
            # An example is the spectrum where it starts and the 95 after it.
            starts = np.arange(0, len(spectra) - NUM_SPECTRA + 1, hop)
            examples = spectra[starts[:, None] + np.arange(NUM_SPECTRA)]
            return vggish.apply(spec, params, examples, dtype=dtype)[None]

        return embed

    def extract(self, sound: SoundSource) -> Embeddings:
        """The embeddings of a whole track, in time order.

        Sound after the last whole example gets no vector, as in the original. A track
        shorter than one example, 0.975 s, is filled up with silence, so that frames
        have a vector wherever there is any sound; the original gives none. Without
        samples there are no rows.

        Args:
            sound: Sound of any number of channels, which are averaged.

        Returns:
            Features (examples, 128), and the middle of each example's sound.

        Raises:
            ValueError: If a block is not of floating point, not finite, or has another
                number of channels than its source says.
        """
        return joined(self.extractor, self.stream(sound))

    def stream(self, sound: SoundSource) -> Iterator[Embeddings]:
        """The embeddings of :meth:`extract` batch by batch; a few are in memory.

        The host reads on while the devices work. The result does not depend on the
        sizes of the source's blocks.

        Raises:
            ValueError: If a block is not of floating point, not finite, or has another
                number of channels than its source says.
        """
        for first, rows, result in in_flight(self._begun(sound)):
            yield self._landed(first, rows, result)

    def _begun(self, sound: SoundSource) -> Iterator[tuple[int, int, Array]]:
        """First example's index, number of examples and running work of each batch."""
        step = self.batch_size * self._hop_samples
        length = self._num_samples(self.batch_size)
        spans = spans_of(mono(sound, log_mel.SAMPLE_RATE_HZ), step, length)
        for number, span in enumerate(spans):
            rows = self._num_examples(len(span))
            if number == 0 and len(span):
                rows = max(rows, 1)
            if rows < 1:
                break
            yield number * self.batch_size, rows, self._start(span, rows)

    def _num_samples(self, examples: int) -> int:
        """Number of samples that ``examples`` examples come from."""
        return (examples - 1) * self._hop_samples + log_mel.num_samples(NUM_SPECTRA)

    def _num_examples(self, samples: int) -> int:
        """Number of whole examples in ``samples`` samples, at most a batch."""
        left = samples - log_mel.num_samples(NUM_SPECTRA)
        return min(self.batch_size, max(0, left // self._hop_samples + 1))

    def _start(self, span: Float[np.ndarray, " samples"], rows: int) -> Array:
        """Start the devices' work on one batch; each has a piece of the sound."""
        each = rows_on_each(rows, self._rows)
        step, length = each * self._hop_samples, self._num_samples(each)
        pieces = np.zeros((self._devices, length), np.float32)
        for number, piece in enumerate(pieces):
            part = span[number * step : number * step + length]
            piece[: len(part)] = part
        return self._embed(self._params, pieces)

    def _landed(self, first: int, rows: int, result: Array) -> Embeddings:
        features = np.asarray(result).reshape(-1, self.extractor.dim)[:rows]
        starts = np.arange(first, first + rows) * self.hop_s
        middle = self.extractor.sound.receptive_field_s / 2
        return Embeddings(features, times_s=starts + middle)
