"""wav2vec 2.0 and WavLM over sound tracks of any length, in bounded memory."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
from absl import logging
from jaxtyping import Float

from avemo_jax.embed import identity
from avemo_jax.embed.contract import Embeddings, SoundSource, joined
from avemo_jax.embed.wav2vec2_network import Arrays, RowNetwork
from avemo_jax.embed.wav2vec2_sound import (
    Moments,
    Normaliser,
    Stereo,
    Track,
    patches_of,
    survey,
)
from avemo_jax.embed.wav2vec2_windows import (
    SeamMeter,
    Seams,
    Window,
    padded_size,
    sizes_of,
    windows_of,
)
from avemo_jax.extractors import Extractor
from avemo_jax.extractors import wav2vec2 as network
from avemo_jax.extractors.wav2vec2 import Wav2Vec2LayerIndex, Wav2Vec2Spec
from avemo_jax.extractors.wav2vec2_spec import SPECS

Chunking = Literal["overlap", "original"]
# Samples in a chunk of the original system.
ORIGINAL_CHUNK = 2_500_000
# Seconds of sound that go through the convolutions in one call.
_CHUNK_S = 5.0


class Wav2Vec2Extractor:
    """One vector for every 20 ms of a sound track.

    The convolutional part gives what it gives on the whole track, with GroupNorm's
    statistics of all of it, for which the track is read twice. The Transformer runs on
    windows, of which the middle is kept, so that a vector sees at least ``overlap_s``
    of sound on either side. A track shorter than a receptive field gives one vector, as
    though silence followed it; one without samples gives none.

    Attributes:
        extractor: The extractor's entry in the table.
        settings: All that decides its numbers beside the weights.
        fingerprint: Digest of weights, settings and version.
        weights_sha256: Digest of the weights' tensors, as feature files record it.
        hop_s: Seconds from one vector to the next.
        seams: How far windows disagreed in the track that was finished last.
    """

    def __init__(
        self,
        extractor: Extractor,
        tensors: Mapping[str, np.ndarray],
        *,
        dtype: str = "float32",
        layers: Wav2Vec2LayerIndex | Sequence[Wav2Vec2LayerIndex] = "last",
        stereo: Stereo = "before",
        chunking: Chunking = "overlap",
        window_s: float = 30.0,
        overlap_s: float = 5.0,
        spec: Wav2Vec2Spec | None = None,
        tensors_sha256: str = "",
    ):
        """Puts the network on the devices; it compiles with the first track.

        Args:
            extractor: The extractor's entry in the table, which states the sample rate
                and whether the waveform is normalised, to mean 0 and variance 1 over
                the whole track.
            tensors: Weights by the names that transformers gives them.
            dtype: Type of the products' factors: "float32" or "bfloat16".
            layers: The hidden layer to give, as ``transformers`` counts them: 0 is the
                input of the first, 12 the output of base's last. Several: their mean.
            stereo: "before": the mean of the channels goes through the network.
                "after": each channel does, and the outputs are averaged, as the
                original system did.
            chunking: "overlap": windows that overlap. "original": chunks of 2,500,000
                samples one after the other, each as though it were a whole track.
            window_s: Seconds of a window, its overlaps included.
            overlap_s: Seconds on either side of a window that are not kept.
            spec: The network's sizes; None: those of the extractor's network.
            tensors_sha256: Digest of the tensors, a part of the fingerprint.

        Raises:
            ValueError: If an option is unknown or out of range, or the spec has another
                width than the extractor.
            WeightsError: If the tensors are not those of this network.
        """
        spec = SPECS[extractor.network] if spec is None else spec
        self.extractor, self.weights_sha256 = extractor, tensors_sha256
        self.hop_s = spec.hop / extractor.sound.sample_rate_hz
        self.seams = Seams()
        self._spec, self._stereo, self._chunking = spec, stereo, chunking
        self._layers: tuple[Wav2Vec2LayerIndex, ...] = (
            (layers,) if isinstance(layers, int | str) else tuple(layers)
        )
        network.check_layers(spec, self._layers)
        self._set_windows(window_s, overlap_s)
        self._check(tensors)
        self.settings: dict[str, Any] = {
            "dtype": dtype,
            "layers": list(self._layers),
            "stereo": stereo,
            "chunking": chunking,
            "normalise": extractor.sound.normalise,
            "window_frames": self._window,
            "overlap_frames": self._overlap,
        }
        self.fingerprint = identity.fingerprint(
            extractor, tensors_sha256, self.settings
        )
        self._network = RowNetwork(spec, tensors, layers=self._layers, dtype=dtype)

    def _set_windows(self, window_s: float, overlap_s: float) -> None:
        if not (math.isfinite(window_s) and math.isfinite(overlap_s)):
            raise ValueError(
                f"windows of {window_s} s with {overlap_s} s beyond what is kept; "
                "expected seconds; take 30 and 5 for the usual ones"
            )
        self._window = round(window_s / self.hop_s)
        self._overlap = round(overlap_s / self.hop_s)
        self._chunk = round(_CHUNK_S / self.hop_s)
        self._chunks = sizes_of(self._chunk, self._chunk)
        if not 0 <= 2 * self._overlap < self._window:
            raise ValueError(
                f"windows of {window_s} s with {overlap_s} s beyond what is kept on "
                "either side; expected at least 0 and under half a window; correct them"
            )
        longest = self._window
        if self._chunking == "original":
            longest = max(longest, self._spec.frames_in(ORIGINAL_CHUNK))
        self._sizes = sizes_of(self._window, longest)

    def _check(self, tensors: Mapping[str, np.ndarray]) -> None:
        extractor, spec = self.extractor, self._spec
        stereo, chunking = get_args(Stereo), get_args(Chunking)
        if self._stereo not in stereo or self._chunking not in chunking:
            raise ValueError(
                f"stereo {self._stereo!r}, chunking {self._chunking!r}; expected one "
                f"of {', '.join(stereo)} and one of {', '.join(chunking)}; correct them"
            )
        if extractor.dim != spec.hidden_size:
            raise ValueError(
                f"{extractor.name} has vectors of {extractor.dim}, this network of "
                f"{spec.hidden_size}; expected as many; give the spec that belongs to "
                "the weights"
            )
        shapes = network.state_shapes(spec)
        optional = {"masked_spec_embed": shapes.pop("masked_spec_embed")}
        identity.check_tensors(extractor, tensors, shapes, optional)

    def extract(self, sound: SoundSource) -> Embeddings:
        """All vectors of a track, with their times."""
        return joined(self.extractor, self.stream(sound))

    def stream(self, sound: SoundSource) -> Iterator[Embeddings]:
        """The vectors of a track in order, some seconds at a time.

        Neither the sound nor the vectors are ever in memory as a whole.

        Raises:
            ValueError: If a block is not of floating point, not finite, or has another
                number of channels than its source says.
            RuntimeError: If a second reading gives less sound than the first.
        """
        rate = self.extractor.sound.sample_rate_hz
        track = Track(sound, rate, self._stereo, self._spec.receptive_field)
        found = survey(track, self._spec)
        normalise = Normaliser.of(found.wave, normalise=self.extractor.sound.normalise)
        meter = SeamMeter(self._overlap)
        if self._chunking == "original":
            yield from self._in_chunks(track, normalise)
        else:
            hops = self._chunk * self._spec.hop
            overlap = self._spec.samples_for(self._chunk) - hops
            features = self._convolved(
                track.pieces(hops, max(overlap, 0)),
                normalise,
                self._network.statistics(*normalise.moments(found.patches)),
            )
            frames = self._spec.frames_in(found.samples)
            all_windows = windows_of(frames, window=self._window, overlap=self._overlap)
            for start, rows in self._windowed(features, all_windows, meter):
                yield self._embeddings(rows, start * self._spec.hop)
        self.seams = meter.result()
        if self.seams.count:
            logging.info(
                "%s: windows of the Transformer disagree at their %d seams by %.3f of "
                "the deviation (root mean square; at worst %.3f)",
                self.extractor.name,
                self.seams.count,
                self.seams.rms,
                self.seams.worst,
            )

    def _in_chunks(self, track: Track, normalise: Normaliser) -> Iterator[Embeddings]:
        """Chunks as in the original; a last one too short for a vector is left out."""
        spec = self._spec
        hops = self._chunk * spec.hop
        overlap = max(spec.samples_for(self._chunk) - hops, 0)
        for i, chunk in enumerate(track.pieces(ORIGINAL_CHUNK)):
            frames = spec.frames_in(chunk.shape[1])
            if not frames:
                break
            moments = Moments(track.voices, spec.conv_kernels[0])
            moments.add(patches_of(chunk, spec))
            pieces = (
                chunk[:, start : start + hops + overlap]
                for start in range(0, chunk.shape[1], hops)
            )
            statistics = self._network.statistics(*normalise.moments(moments))
            features = self._convolved(pieces, normalise, statistics)
            all_windows = [Window(0, frames, 0, frames)]
            for _, rows in self._windowed(features, all_windows, SeamMeter(0)):
                yield self._embeddings(rows, i * ORIGINAL_CHUNK)

    def _convolved(
        self,
        pieces: Iterable[np.ndarray],
        normalise: Normaliser,
        statistics: Arrays,
    ) -> Iterator[Float[np.ndarray, "voices frames channels"]]:
        """The vectors of the convolutional part, piece by piece."""
        group: list[np.ndarray] = []
        lengths: list[int] = []

        def run() -> Iterator[np.ndarray]:
            voices = len(group[0])
            own = tuple(np.tile(x, (len(group), 1)) for x in statistics)
            size = self._spec.samples_for(padded_size(max(lengths), self._chunks))
            waves = [wave[:, :size] for wave in group]
            padded = [
                np.pad(wave, ((0, 0), (0, size - wave.shape[1]))) for wave in waves
            ]
            rows = self._network.convolve(np.concatenate(padded), own)
            for i, frames in enumerate(lengths):
                yield rows[i * voices : (i + 1) * voices, :frames]
            group.clear()
            lengths.clear()

        for piece in pieces:
            frames = self._spec.frames_in(piece.shape[1])
            if not frames:
                break
            group.append(normalise(piece))
            lengths.append(min(frames, self._chunk))
            if len(group) * len(piece) >= self._network.devices:
                yield from run()
        if group:
            yield from run()

    def _windowed(
        self,
        features: Iterator[np.ndarray],
        all_windows: list[Window],
        meter: SeamMeter,
    ) -> Iterator[tuple[int, Float[np.ndarray, "frames dim"]]]:
        """Each window's first kept frame and kept vectors, averaged over the voices."""
        buffer = next(features, None)
        first = 0
        group: list[np.ndarray] = []
        for i, window in enumerate(all_windows):
            while buffer is None or first + buffer.shape[1] < window.stop:
                more = next(features, None)
                if buffer is None or more is None:
                    raise RuntimeError(
                        f"sound that ends before frame {window.stop}; expected as much "
                        "as in the reading before; decode the file again"
                    )
                buffer = np.concatenate([buffer, more], axis=1)
            buffer = buffer[:, window.start - first :]
            first = window.start
            group.append(buffer[:, : window.stop - first])
            full = len(group) * len(buffer) >= self._network.devices
            if full or i + 1 == len(all_windows):
                windows = all_windows[i + 1 - len(group) : i + 1]
                outputs = self._transformed(group)
                for own, output in zip(windows, outputs, strict=True):
                    meter.add(own, output)
                    kept = slice(own.keep_from - own.start, own.keep_to - own.start)
                    yield own.keep_from, output[kept]
                group.clear()

    def _transformed(
        self, group: list[np.ndarray]
    ) -> list[Float[np.ndarray, "frames dim"]]:
        """The Transformer's vectors for windows of one length, voices averaged."""
        voices, frames, _ = group[0].shape
        size = padded_size(frames, self._sizes)
        rows = np.concatenate(group)
        rows = np.pad(rows, ((0, 0), (0, size - frames), (0, 0)))
        counts = np.full(len(rows), frames, np.int32)
        outputs = self._network.transform(rows, counts)[:, :frames]
        return list(outputs.reshape(-1, voices, *outputs.shape[1:]).mean(axis=1))

    def _embeddings(self, rows: np.ndarray, first_sample: int) -> Embeddings:
        """Vectors with the times of their receptive fields' middles."""
        spec = self._spec
        starts = first_sample + np.arange(len(rows)) * spec.hop
        times = (
            starts + spec.receptive_field / 2
        ) / self.extractor.sound.sample_rate_hz
        return Embeddings(np.asarray(rows, np.float32), times_s=times)
