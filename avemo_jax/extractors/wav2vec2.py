"""wav2vec 2.0 and WavLM: a waveform to vectors every 20 ms.

Baevski et al., wav2vec 2.0: A Framework for Self-Supervised Learning of Speech
Representations, https://arxiv.org/abs/2006.11477; WavLM (Chen et al.,
https://arxiv.org/abs/2110.13900) adds gated biases of distances to its attention.

The network has a local part, seven convolutions that make each vector from 25 ms of
sound, and a Transformer over all vectors. Each is a function of its own, so that a long
track can go through them in pieces. Names and layouts of tensors in files are those of
``transformers.Wav2Vec2Model`` and ``WavLMModel``.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from avemo_jax.extractors.wav2vec2_convolutions import (
    Convolutions,
    Statistics,
    frame_count,
)
from avemo_jax.extractors.wav2vec2_spec import (
    BASE,
    Wav2Vec2Spec,
    prepare,
    state_shapes,
)
from avemo_jax.extractors.wav2vec2_transformer import (
    Wav2Vec2LayerIndex,
    Wav2Vec2Transformer,
)

__all__ = [
    "BASE",
    "Statistics",
    "Wav2Vec2LayerIndex",
    "Wav2Vec2Spec",
    "apply",
    "check_layers",
    "convolve",
    "first_convolution",
    "first_statistics",
    "prepare",
    "state_shapes",
    "transform",
]


def first_convolution(
    spec: Wav2Vec2Spec,
    params: Mapping[str, Any],
    waveform: Float[Array, "tracks samples"],
    *,
    dtype: str = "float32",
) -> Float[Array, "tracks steps channels"]:
    """The first convolution alone, bias included, of which GroupNorm has statistics."""
    return _convolutions(spec, params, dtype).first(waveform)


def first_statistics(
    params: Mapping[str, Any],
    mean: Float[np.ndarray, "tracks taps"],
    covariance: Float[np.ndarray, "tracks taps taps"],
) -> tuple[Float[np.ndarray, "tracks channels"], Float[np.ndarray, "tracks channels"]]:
    """Mean and biased variance of the first convolution's outputs, in float64.

    The convolution is linear, so they follow from those of its inputs: a channel with
    weights w and bias b has mean w . mean + b and variance w . covariance . w.

    Args:
        params: Parameters from :func:`prepare`.
        mean: Mean of all pieces of the waveform that the convolution multiplies.
        covariance: Biased covariance of the same pieces.
    """
    layer = params["convolutions"]["layers"]["0"]
    weight = np.asarray(layer["weight"], np.float64)[:, 0]
    means = mean @ weight + np.asarray(layer.get("bias", 0.0), np.float64)
    variances = np.einsum("nij,ic,jc->nc", covariance, weight, weight, optimize=True)
    return means, np.maximum(variances, 0)


def convolve(
    spec: Wav2Vec2Spec,
    params: Mapping[str, Any],
    waveform: Float[Array, "tracks samples"],
    statistics: Statistics | None,
    *,
    dtype: str = "float32",
) -> Float[Array, "tracks frames channels"]:
    """The local part: every vector from its own receptive field.

    Args:
        spec: Sizes of the network.
        params: Parameters from :func:`prepare`.
        waveform: Samples, at least a receptive field of them.
        statistics: GroupNorm's mean and biased variance for each channel of the first
            convolution, over the whole track; None where ``feat_extract_norm`` is
            "layer".
        dtype: Type of the products' factors.

    Returns:
        The vectors, in float32 or better.
    """
    return _convolutions(spec, params, dtype)(waveform, statistics)


def transform(
    spec: Wav2Vec2Spec,
    params: Mapping[str, Any],
    features: Float[Array, "tracks frames channels"],
    frames: Int[Array, " tracks"] | None = None,
    *,
    layers: tuple[Wav2Vec2LayerIndex, ...] = ("last",),
    dtype: str = "float32",
) -> tuple[Float[Array, "tracks frames hidden"], ...]:
    """The projection and the Transformer, over all frames of each track.

    Args:
        spec: Sizes of the network.
        params: Parameters from :func:`prepare`.
        features: Vectors from :func:`convolve`.
        frames: Number of valid frames of each track, at least one; the others have no
            influence, and their results no meaning. None: all are valid.
        layers: The layers to give: 0 is the input of the first, i the output of the
            i-th, "last" the network's output (the last layer's, normed with
            ``do_stable_layer_norm``). Layers over the highest asked for are not run.
        dtype: Type of the products' factors.

    Raises:
        ValueError: If there is no such layer.
    """
    check_layers(spec, layers)
    module = _merged(spec, params, "transformer", dtype)
    return module(features, frames, layers)


def check_layers(spec: Wav2Vec2Spec, layers: tuple[Wav2Vec2LayerIndex, ...]) -> None:
    """Check that ``layers`` names layers of the network.

    Raises:
        ValueError: If it is empty, or there is no such layer.
    """
    there = (*range(spec.num_layers + 1), "last")
    if not layers or not all(layer in there for layer in layers):
        raise ValueError(
            f"layers {layers}; expected some of 0 to {spec.num_layers}, or 'last'; "
            "correct them"
        )


def apply(
    spec: Wav2Vec2Spec,
    params: Mapping[str, Any],
    waveform: Float[Array, "tracks samples"],
    *,
    samples: Int[Array, " tracks"] | None = None,
    layers: tuple[Wav2Vec2LayerIndex, ...] = ("last",),
    dtype: str = "float32",
) -> tuple[Float[Array, "tracks frames hidden"], ...]:
    """The whole network on whole tracks.

    Args:
        spec: Sizes of the network.
        params: Parameters from :func:`prepare`.
        waveform: Samples, at least a receptive field of them; not normalised here.
        samples: Number of valid samples of each track, at least a receptive field. The
            vectors of these are those of the track alone; further ones have no
            meaning. None: all are valid.
        layers: The layers to give, numbered as for :func:`transform`.
        dtype: Type of the products' factors.

    Raises:
        ValueError: If there is no such layer.
    """
    check_layers(spec, layers)
    module = _convolutions(spec, params, dtype)
    if samples is not None:
        there = jnp.arange(waveform.shape[1]) < samples[:, None]
        waveform = jnp.where(there, waveform, 0)
    statistics = None
    if spec.feat_extract_norm == "group":
        steps = None
        if samples is not None:
            steps = (samples - spec.conv_kernels[0]) // spec.conv_strides[0] + 1
        statistics = module.statistics(waveform, steps)
    frames = None if samples is None else frame_count(spec, samples)
    features = module(waveform, statistics)
    return transform(spec, params, features, frames, layers=layers, dtype=dtype)


def _convolutions(
    spec: Wav2Vec2Spec, params: Mapping[str, Any], dtype: str
) -> Convolutions:
    return _merged(spec, params, "convolutions", dtype)


_PARTS = {"convolutions": Convolutions, "transformer": Wav2Vec2Transformer}


def _merged(
    spec: Wav2Vec2Spec, params: Mapping[str, Any], part: str, dtype: str
) -> Any:
    arrays = jax.tree.map(jnp.asarray, params[part])
    return nnx.merge(_graphdef(spec, part, dtype), arrays)


@functools.cache
def _graphdef(spec: Wav2Vec2Spec, part: str, dtype: str) -> Any:
    """A part without its arrays, for ``nnx.merge``."""
    module = nnx.eval_shape(lambda: _PARTS[part](spec, jnp.dtype(dtype)))
    return nnx.split(module)[0]
