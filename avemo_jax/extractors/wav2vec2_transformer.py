"""The Transformer of wav2vec 2.0, over all frames of a track or window."""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jaxtyping import Array, Float, Int

from avemo_jax.extractors.transformer_encoder import EncoderLayer
from avemo_jax.extractors.transformer_layers import (
    LayerNorm,
    Linear,
    gelu,
    product,
    sum_dtype,
)
from avemo_jax.extractors.wav2vec2_spec import TAPS_IN_ROW, Wav2Vec2Spec

Wav2Vec2LayerIndex = int | Literal["last"]


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


def by_distance(
    values: Float[Array, "distances heads"], frames: int
) -> Float[Array, "heads frames frames"]:
    """For each head, query and key the value of how far the key is after the query.

    Args:
        values: Values of the distances ``1 - frames`` to ``frames - 1``.
        frames: Number of queries, and of keys.
    """
    # What repeats after 2 * frames, in rows of one less, moves on by one in each row.
    length = 2 * frames - 1
    rows = jnp.tile(jnp.pad(values.T, ((0, 0), (0, 1))), (1, frames))
    rows = rows[:, : frames * length].reshape(-1, frames, length)
    return rows[:, :, frames - 1 :]


class Wav2Vec2Transformer(nnx.Module):
    """The projection of the local vectors, their positions, and the layers."""

    def __init__(self, spec: Wav2Vec2Spec, dtype: jnp.dtype):
        self.norm = LayerNorm(spec.conv_dims[-1], dtype)
        self.projection = Linear(spec.conv_dims[-1], spec.hidden_size, dtype)
        self.positions = Positions(spec, dtype)
        self.encoder_norm = LayerNorm(spec.hidden_size, dtype)
        self.layers = nnx.Dict(
            {
                str(i): EncoderLayer(
                    spec.hidden_size,
                    spec.ffn_dim,
                    spec.num_heads,
                    norm_first=spec.do_stable_layer_norm,
                    dtype=dtype,
                    gated=bool(spec.position_buckets),
                )
                for i in range(spec.num_layers)
            }
        )
        if spec.position_buckets:
            shape = (spec.position_buckets, spec.num_heads)
            self.distances = nnx.Param(jnp.zeros(shape))
        self.norm_first = spec.do_stable_layer_norm
        self.spec = spec

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
        relative = None
        if self.spec.position_buckets:
            # Buckets of the first key for the last query, up to the other way round.
            buckets = self.spec.buckets_of(np.arange(1 - len(x), len(x)))
            relative = by_distance(self.distances[...][buckets], len(x))
        deepest = max(len(self.layers) if i == "last" else i for i in layers)
        for i in range(deepest):
            x = self.layers[str(i)](x, bias, relative)
            found[i + 1] = x
        if "last" in layers:
            found["last"] = self.encoder_norm(x) if self.norm_first else x
        return tuple(found[i] for i in layers)
