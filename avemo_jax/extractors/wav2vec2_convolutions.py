"""The local part of wav2vec 2.0: strided convolutions from samples to frames."""

import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float, Int

from avemo_jax.extractors.transformer_layers import (
    NORM_EPSILON,
    LayerNorm,
    gelu,
    product,
    sum_dtype,
)
from avemo_jax.extractors.wav2vec2_spec import Wav2Vec2Spec

# Mean and biased variance of each channel of the first convolution, over a whole track.
Statistics = tuple[Float[Array, "tracks first"], Float[Array, "tracks first"]]
# Frames that a CPU computes at a time, so that the values between two convolutions stay
# in its cache: 6 MB after the first, for a second of sound.
CPU_BLOCK_FRAMES = 50
# Steps of the first convolution in one block of statistics.
STATISTICS_BLOCK = 8192


class Convolution(nnx.Module):
    """One strided convolution over time, and the norm that may follow it."""

    def __init__(self, spec: Wav2Vec2Spec, index: int, dtype: jnp.dtype):
        inputs = spec.conv_dims[index - 1] if index else 1
        outputs, taps = spec.conv_dims[index], spec.conv_kernels[index]
        self.weight = nnx.Param(jnp.zeros((taps, inputs, outputs)))
        if spec.conv_bias:
            self.bias = nnx.Param(jnp.zeros(outputs))
        self.by_group = index == 0 and spec.feat_extract_norm == "group"
        self.by_layer = spec.feat_extract_norm == "layer"
        if self.by_group or self.by_layer:
            self.norm = LayerNorm(outputs, dtype)
        self.stride = spec.conv_strides[index]
        self.has_bias = spec.conv_bias
        self.dtype = dtype

    def raw(
        self,
        x: Float[Array, "*tracks steps inputs"],
        scale: Float[Array, "*tracks 1 outputs"] | None = None,
    ) -> Float[Array, "*tracks frames outputs"]:
        """The convolution plus its bias; with ``scale``, times that without bias."""
        if x.ndim == 2:
            y = self._by_products(x, scale)
        else:
            y = self._by_convolution(x, scale)
        if scale is None and self.has_bias:
            y = y + self.bias[...].astype(y.dtype)
        return y

    def activated(
        self, y: Float[Array, "*tracks frames outputs"]
    ) -> Float[Array, "*tracks frames outputs"]:
        """``y`` after LayerNorm, if the network has it here, and GELU."""
        return gelu(self.norm(y) if self.by_layer else y).astype(self.dtype)

    def _by_products(self, x: Array, scale: Array | None) -> Array:
        """The convolution of one track as products of rows, each of a stride's steps.

        On a CPU, XLA runs products at twice the rate of its convolutions.
        """
        taps, inputs, outputs = self.weight.shape
        weight = self.weight[...]
        if scale is not None:
            weight = weight * scale
        weight = weight.reshape(taps * inputs, outputs)
        frames = (x.shape[0] - taps) // self.stride + 1
        width = self.stride * inputs
        rows = -(-taps // self.stride) - 1 + frames
        missing = rows * self.stride - x.shape[0]
        x = jnp.pad(x, ((0, missing), (0, 0))) if missing > 0 else x
        x = x[: rows * self.stride].reshape(rows, width)
        count = -(-taps // self.stride)
        parts = [x[i : i + frames] for i in range(count)]
        parts[-1] = parts[-1][:, : (taps - (count - 1) * self.stride) * inputs]
        if inputs == 1:
            return product(jnp.concatenate(parts, axis=1), weight, self.dtype)
        total = product(parts[0], weight[: parts[0].shape[1]], self.dtype)
        for i in range(1, count):
            total = total + product(parts[i], weight[i * width :][:width], self.dtype)
        return total

    def _by_convolution(self, x: Array, scale: Array | None) -> Array:
        y = lax.conv_general_dilated(
            x.astype(self.dtype),
            self.weight[...].astype(self.dtype),
            (self.stride,),
            "VALID",
            dimension_numbers=("NWC", "WIO", "NWC"),
            precision="highest",
            preferred_element_type=sum_dtype(self.dtype),
        )
        return y if scale is None else y * scale


class Convolutions(nnx.Module):
    """All convolutions: from a waveform to one vector for each hop."""

    def __init__(self, spec: Wav2Vec2Spec, dtype: jnp.dtype):
        self.spec = spec
        self.dtype = dtype
        self.layers = nnx.Dict(
            {str(i): Convolution(spec, i, dtype) for i in range(len(spec.conv_dims))}
        )

    def first(
        self, waveform: Float[Array, "tracks samples"]
    ) -> Float[Array, "tracks steps channels"]:
        """The first convolution alone, without norm and GELU."""
        layer = self.layers["0"]
        return lax.platform_dependent(
            waveform[..., None], cpu=lambda x: lax.map(layer.raw, x), default=layer.raw
        )

    def statistics(
        self,
        waveform: Float[Array, "tracks samples"],
        steps: Int[Array, " tracks"] | None = None,
    ) -> Statistics:
        """Mean and biased variance of the first convolution's outputs over the track.

        They are computed by blocks and merged as by T. Chan et al. (1979), so that a
        long track loses no precision and needs no memory.

        Args:
            waveform: Samples.
            steps: Number of each track's valid outputs of the first convolution, at
                least one; None: all are valid.
        """
        taps, stride = self.spec.conv_kernels[0], self.spec.conv_strides[0]
        tracks, samples = waveform.shape
        total = (samples - taps) // stride + 1
        if steps is None:
            steps = jnp.full(tracks, total)
        block = min(STATISTICS_BLOCK, total)
        count = -(-total // block)
        size = (block - 1) * stride + taps
        missing = (count - 1) * block * stride + size - samples
        waveform = jnp.pad(waveform, ((0, 0), (0, max(missing, 0))))

        def merge(before: tuple[Array, ...], start: Array) -> tuple:
            number, mean, squares = before
            piece = lax.dynamic_slice_in_dim(waveform, start * stride, size, axis=1)
            y = self.first(piece)
            there = (start + jnp.arange(block) < steps[:, None])[..., None]
            new = there.sum(axis=1).astype(y.dtype)
            own = jnp.where(there, y, 0).sum(axis=1) / jnp.maximum(new, 1)
            spread = jnp.where(there, jnp.square(y - own[:, None]), 0).sum(axis=1)
            both = jnp.maximum(number + new, 1)
            step = own - mean
            squares = squares + spread + jnp.square(step) * (number * new / both)
            return (number + new, mean + step * (new / both), squares), None

        zero = jnp.zeros((tracks, self.spec.conv_dims[0]), sum_dtype(self.dtype))
        start = (zero[:, :1], zero, zero)
        (number, mean, squares), _ = lax.scan(merge, start, jnp.arange(count) * block)
        return mean, squares / number

    def __call__(
        self,
        waveform: Float[Array, "tracks samples"],
        statistics: Statistics | None,
    ) -> Float[Array, "tracks frames channels"]:
        """The vectors, in float32 or better, given GroupNorm's statistics."""
        scale = offset = jnp.zeros((waveform.shape[0], 0), waveform.dtype)
        if statistics is not None:
            layer = self.layers["0"]
            mean, variance = statistics
            scale = lax.rsqrt(variance + NORM_EPSILON) * layer.norm.weight[...]
            if layer.has_bias:
                mean = mean - layer.bias[...]
            offset = layer.norm.bias[...] - mean * scale
        wide = sum_dtype(self.dtype)
        return lax.platform_dependent(
            waveform.astype(wide),
            scale[:, None].astype(wide),
            offset[:, None].astype(wide),
            cpu=self._in_blocks,
            default=self._at_once,
        )

    def _at_once(self, waveform: Array, scale: Array, offset: Array) -> Array:
        """The vectors of (tracks, samples), or of one track (samples,)."""
        x = waveform[..., None]
        for i in range(len(self.layers)):
            layer = self.layers[str(i)]
            if layer.by_group:
                y = layer.raw(x, scale) + offset
            else:
                y = layer.raw(x)
            x = layer.activated(y)
        return x.astype(sum_dtype(self.dtype))

    def _in_blocks(self, waveform: Array, scale: Array, offset: Array) -> Array:
        tracks, samples = waveform.shape
        frames = self.spec.frames_in(samples)
        count = -(-frames // CPU_BLOCK_FRAMES)
        block = -(-frames // count)
        size = self.spec.samples_for(block)
        missing = self.spec.samples_for(count * block) - samples
        waveform = jnp.pad(waveform, ((0, 0), (0, max(missing, 0))))

        def one(index: Array) -> Array:
            track, start = index // count, index % count * (block * self.spec.hop)
            piece = lax.dynamic_slice(waveform, (track, start), (1, size))[0]
            return self._at_once(piece, scale[track], offset[track])

        y = lax.map(one, jnp.arange(tracks * count))
        return y.reshape(tracks, count * block, -1)[:, :frames]


def frame_count(
    spec: Wav2Vec2Spec, samples: Int[Array, " tracks"]
) -> Int[Array, " tracks"]:
    """Number of vectors that each track's samples give."""
    for kernel, stride in zip(spec.conv_kernels, spec.conv_strides, strict=True):
        samples = (samples - kernel) // stride + 1
    return samples
