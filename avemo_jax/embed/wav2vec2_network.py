"""wav2vec 2.0 on all devices of this process, row by row."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from avemo_jax.embed.devices import on_all_devices, to_all_devices
from avemo_jax.extractors import wav2vec2 as network
from avemo_jax.extractors.wav2vec2 import Wav2Vec2LayerIndex, Wav2Vec2Spec

Arrays = tuple[np.ndarray, ...]


class RowNetwork:
    """The two parts of the network as functions of arrays on the host.

    Each device runs one row at a time; a shorter last batch is filled up.

    Attributes:
        devices: Rows that run at once.
        convolve_program: The convolutional part, jitted.
        transform_program: The Transformer, jitted.
    """

    def __init__(
        self,
        spec: Wav2Vec2Spec,
        tensors: Mapping[str, np.ndarray],
        *,
        layers: tuple[Wav2Vec2LayerIndex, ...],
        dtype: str,
    ):
        """Puts the network on the devices; a program compiles with its first batch.

        Args:
            spec: The network's sizes.
            tensors: Weights by the names that transformers gives them.
            layers: The layers whose mean the Transformer gives.
            dtype: Type of the products' factors.
        """
        params = network.prepare(spec, tensors)
        first = params["convolutions"]["layers"]["0"]
        self._first = {"convolutions": {"layers": {"0": first}}}
        self._params = to_all_devices(_narrowed(params, dtype))
        self._by_group = spec.feat_extract_norm == "group"
        self.devices = jax.local_device_count()
        self.convolve_program = on_all_devices(
            functools.partial(_convolved, spec=spec, dtype=dtype)
        )
        self.transform_program = on_all_devices(
            functools.partial(_transformed, spec=spec, layers=layers, dtype=dtype)
        )

    def statistics(
        self,
        mean: Float[np.ndarray, "voices taps"],
        covariance: Float[np.ndarray, "voices taps taps"],
    ) -> Arrays:
        """GroupNorm's statistics from moments of the first convolution's patches.

        They are mean and variance, (voices, channels) each, or an empty tuple where
        the network has no GroupNorm.
        """
        if not self._by_group:
            return ()
        found = network.first_statistics(self._first, mean, covariance)
        return tuple(x.astype(np.float32) for x in found)

    def convolve(
        self, waveform: Float[np.ndarray, "rows samples"], statistics: Arrays
    ) -> Float[np.ndarray, "rows frames channels"]:
        """The vectors of the convolutional part, given each row's statistics."""
        return self._run(self.convolve_program, (waveform, *statistics))

    def transform(
        self,
        features: Float[np.ndarray, "rows frames channels"],
        frames: Int[np.ndarray, " rows"],
    ) -> Float[np.ndarray, "rows frames dim"]:
        """The mean of the layers; only the first ``frames`` of each row are valid."""
        return self._run(self.transform_program, (features, frames))

    def _run(self, program: Any, batch: Arrays) -> np.ndarray:
        count = self.devices
        missing = -len(batch[0]) % count
        if missing:
            batch = tuple(np.concatenate([x, x[-1:].repeat(missing, 0)]) for x in batch)
        found = [
            program(self._params, tuple(x[i : i + count] for x in batch))
            for i in range(0, len(batch[0]), count)
        ]
        whole = np.concatenate([np.asarray(x) for x in found])
        return whole[: len(whole) - missing]


def _narrowed(params: Any, dtype: str) -> Any:
    """The params with factors of products in ``dtype``; norms and biases stay."""
    kept = jnp.dtype(dtype)
    return jax.tree.map(lambda x: x.astype(kept) if x.ndim > 1 else x, params)


def _convolved(
    params: Any, batch: tuple[Any, ...], *, spec: Wav2Vec2Spec, dtype: str
) -> jax.Array:
    waveform, *statistics = batch
    own = (statistics[0], statistics[1]) if statistics else None
    return network.convolve(spec, params, waveform, own, dtype=dtype)


def _transformed(
    params: Any,
    batch: tuple[Any, Any],
    *,
    spec: Wav2Vec2Spec,
    layers: tuple[Wav2Vec2LayerIndex, ...],
    dtype: str,
) -> jax.Array:
    found = network.transform(spec, params, *batch, layers=layers, dtype=dtype)
    return functools.reduce(jnp.add, found) / len(found)
