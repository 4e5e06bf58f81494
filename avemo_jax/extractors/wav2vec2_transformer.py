"""The Transformer of wav2vec 2.0, over all frames of a track or window."""

from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float, Int

from avemo_jax.extractors.wav2vec2_layers import (
    Wav2Vec2LayerNorm,
    Wav2Vec2Linear,
    gelu,
    product,
    sum_dtype,
)
from avemo_jax.extractors.wav2vec2_spec import TAPS_IN_ROW, Wav2Vec2Spec

Wav2Vec2LayerIndex = int | Literal["last"]
# Queries of one head that a CPU handles at a time, so that scores stay in its cache.
CPU_QUERIES = 1024


class Positions(nnx.Module):
    """The grouped convolution over time that tells frames where they are."""

    def __init__(self, spec: Wav2Vec2Spec, dtype: jnp.dtype):
        inputs = spec.hidden_size // spec.pos_groups
        rows = -(-spec.pos_kernel // TAPS_IN_ROW)
        shape = (spec.pos_groups, TAPS_IN_ROW, inputs, rows, inputs)
        self.weight = nnx.Param(jnp.zeros(shape))
        self.bias = nnx.Param(jnp.zeros(spec.hidden_size))
        self.taps = spec.pos_kernel
        self.dtype = dtype

    def __call__(
        self, x: Float[Array, "frames hidden"]
    ) -> Float[Array, "frames hidden"]:
        """The encoding of each frame's position, to be added to the frame."""
        y = lax.platform_dependent(
            x, cpu=self._by_products, default=self._by_convolution
        )
        return gelu(y + self.bias[...])

    def _by_products(self, x: Array) -> Array:
        """The convolution as products: rows of 16 taps in one product, shifted, added.

        XLA has no fast grouped convolution for CPUs.
        """
        frames, hidden = x.shape
        groups, taps, inputs, rows, outputs = self.weight.shape
        before = self.taps // 2
        after = taps * rows - 1 - before
        x = jnp.pad(x.astype(self.dtype), ((before, after), (0, 0)))
        x = x.reshape(-1, groups, inputs).transpose(1, 0, 2)
        starts = frames + taps * (rows - 1)

        def one(arguments: tuple[Array, Array]) -> Array:
            x, weight = arguments
            patches = jnp.concatenate([x[i : i + starts] for i in range(taps)], axis=1)
            weight = weight.reshape(taps * inputs, rows * outputs)
            y = product(patches, weight, self.dtype)
            total = y[:frames, :outputs]
            for i in range(1, rows):
                part = y[taps * i : taps * i + frames]
                total = total + part[:, outputs * i : outputs * (i + 1)]
            return total

        y = lax.map(one, (x, self.weight[...]))
        return y.transpose(1, 0, 2).reshape(frames, hidden)

    def _by_convolution(self, x: Array) -> Array:
        groups, taps, inputs, rows, outputs = self.weight.shape
        weight = self.weight[...].transpose(3, 1, 2, 0, 4)
        weight = weight.reshape(taps * rows, inputs, groups * outputs)[: self.taps]
        before = self.taps // 2
        y = lax.conv_general_dilated(
            x[None].astype(self.dtype),
            weight.astype(self.dtype),
            (1,),
            [(before, self.taps - 1 - before)],
            dimension_numbers=("NWC", "WIO", "NWC"),
            feature_group_count=groups,
            precision="highest",
            preferred_element_type=sum_dtype(self.dtype),
        )
        return y[0]


class Wav2Vec2EncoderLayer(nnx.Module):
    """Self-attention and a feed-forward part, with a norm after or before each."""

    def __init__(self, spec: Wav2Vec2Spec, dtype: jnp.dtype):
        hidden = spec.hidden_size
        self.mixed = Wav2Vec2Linear(hidden, 3 * hidden, dtype)
        self.out = Wav2Vec2Linear(hidden, hidden, dtype)
        self.norm = Wav2Vec2LayerNorm(hidden, dtype)
        self.wide = Wav2Vec2Linear(hidden, spec.ffn_dim, dtype)
        self.narrow = Wav2Vec2Linear(spec.ffn_dim, hidden, dtype)
        self.final_norm = Wav2Vec2LayerNorm(hidden, dtype)
        self.num_heads = spec.num_heads
        self.norm_first = spec.do_stable_layer_norm
        self.dtype = dtype

    def __call__(
        self,
        x: Float[Array, "frames hidden"],
        hidden_from: Float[Array, " frames"] | None,
    ) -> Float[Array, "frames hidden"]:
        """The frames after this layer; ``hidden_from`` is added to the keys' scores."""
        if self.norm_first:
            x = x + self._attend(self.norm(x), hidden_from)
            return x + self._feed(self.final_norm(x))
        x = self.norm(x + self._attend(x, hidden_from))
        return self.final_norm(x + self._feed(x))

    def _feed(self, x: Array) -> Array:
        return self.narrow(gelu(self.wide(x)))

    def _attend(self, x: Array, bias: Array | None) -> Array:
        frames, hidden = x.shape
        mixed = self.mixed(x).astype(self.dtype)
        mixed = mixed.reshape(frames, 3, self.num_heads, hidden // self.num_heads)
        if bias is None:
            bias = jnp.zeros(0, sum_dtype(self.dtype))
        y = lax.platform_dependent(mixed, bias, cpu=_head_by_head, default=_all_heads)
        return self.out(y.reshape(frames, hidden))


def _all_heads(
    mixed: Float[Array, "frames 3 heads dim"], bias: Float[Array, " bias"]
) -> Float[Array, "frames heads dim"]:
    queries, keys, values = (x.transpose(1, 0, 2) for x in mixed.transpose(1, 0, 2, 3))
    return jax.vmap(_attended, (0, 0, 0, None))(
        queries, keys.transpose(0, 2, 1), values, bias
    ).transpose(1, 0, 2)


def _head_by_head(
    mixed: Float[Array, "frames 3 heads dim"], bias: Float[Array, " bias"]
) -> Float[Array, "frames heads dim"]:
    """Attention with one head, and not too many queries, at a time."""
    frames, _, heads, dim = mixed.shape
    queries = mixed[:, 0].transpose(1, 0, 2)
    keys, values = mixed[:, 1].transpose(1, 2, 0), mixed[:, 2].transpose(1, 0, 2)
    count = -(-frames // CPU_QUERIES)
    block = -(-frames // count)
    missing = count * block - frames
    if missing:
        queries = jnp.pad(queries, ((0, 0), (0, missing), (0, 0)))
    queries = queries.reshape(heads * count, block, dim)

    def one(arguments: tuple[Array, Array]) -> Array:
        index, q = arguments
        head = index // count
        return _attended(q, keys[head], values[head], bias)

    y = lax.map(one, (jnp.arange(heads * count), queries))
    return y.reshape(heads, count * block, dim)[:, :frames].transpose(1, 0, 2)


def _attended(
    queries: Float[Array, "queries dim"],
    keys: Float[Array, "dim keys"],
    values: Float[Array, "keys dim"],
    bias: Float[Array, " bias"],
) -> Float[Array, "queries dim"]:
    """Attention of one head; ``bias`` has a value for each key, or is empty.

    The division comes after the second product, where there is less to divide.
    """
    scores = product(queries, keys, queries.dtype)
    if bias.size:
        scores = scores + bias
    weights = jnp.exp(scores - scores.max(axis=1, keepdims=True))
    y = product(weights, values, values.dtype)
    return (y / weights.sum(axis=1, keepdims=True)).astype(queries.dtype)


class Wav2Vec2Transformer(nnx.Module):
    """The projection of the local vectors, their positions, and the layers."""

    def __init__(self, spec: Wav2Vec2Spec, dtype: jnp.dtype):
        self.norm = Wav2Vec2LayerNorm(spec.conv_dims[-1], dtype)
        self.projection = Wav2Vec2Linear(spec.conv_dims[-1], spec.hidden_size, dtype)
        self.positions = Positions(spec, dtype)
        self.encoder_norm = Wav2Vec2LayerNorm(spec.hidden_size, dtype)
        self.layers = nnx.Dict(
            {str(i): Wav2Vec2EncoderLayer(spec, dtype) for i in range(spec.num_layers)}
        )
        self.norm_first = spec.do_stable_layer_norm

    def __call__(
        self,
        features: Float[Array, "tracks frames channels"],
        frames: Int[Array, " tracks"] | None,
        layers: tuple[Wav2Vec2LayerIndex, ...],
    ) -> tuple[Float[Array, "tracks frames hidden"], ...]:
        """The layers that are asked for; ``wav2vec2.transform`` describes them."""

        def one(arguments: tuple[Array, ...]) -> tuple[Array, ...]:
            return self._track(*arguments, layers=layers)

        arguments = (features,) if frames is None else (features, frames)
        return lax.platform_dependent(
            *arguments,
            cpu=lambda *arguments: lax.map(one, arguments),
            default=lambda *arguments: jax.vmap(lambda *x: one(x))(*arguments),
        )

    def _track(
        self,
        x: Array,
        frames: Array | None = None,
        *,
        layers: tuple[Wav2Vec2LayerIndex, ...],
    ) -> tuple[Array, ...]:
        x = self.projection(self.norm(x))
        bias = None
        if frames is not None:
            there = jnp.arange(x.shape[0]) < frames
            x = jnp.where(there[:, None], x, 0)
            bias = jnp.where(there, 0, -jnp.inf).astype(x.dtype)
        x = x + self.positions(x)
        if not self.norm_first:
            x = self.encoder_norm(x)
        found: dict[Wav2Vec2LayerIndex, Array] = {0: x}
        deepest = max(len(self.layers) if i == "last" else i for i in layers)
        for i in range(deepest):
            x = self.layers[str(i)](x, bias)
            found[i + 1] = x
        if "last" in layers:
            found["last"] = self.encoder_norm(x) if self.norm_first else x
        return tuple(found[i] for i in layers)
