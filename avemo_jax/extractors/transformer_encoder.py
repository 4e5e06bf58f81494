"""A layer of a Transformer's encoder, and its attention, with a form for CPUs."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

from avemo_jax.extractors.transformer_layers import (
    NORM_EPSILON,
    LayerNorm,
    Linear,
    gelu,
    product,
    sum_dtype,
)

# Queries of one head that a CPU handles at a time, so that scores stay in its cache.
CPU_QUERIES = 1024


class Gates(nnx.Module):
    """How much each query of a head minds how far keys are away (WavLM).

    Chen et al., WavLM: Large-Scale Self-Supervised Pre-Training for Full Stack Speech
    Processing, https://arxiv.org/abs/2110.13900, section III.A.
    """

    def __init__(self, dim: int, num_heads: int, dtype: jnp.dtype):
        self.gates = Linear(dim, 2, dtype)
        self.scale = nnx.Param(jnp.ones(num_heads))

    def __call__(
        self, x: Float[Array, "frames hidden"]
    ) -> Float[Array, "frames heads"]:
        """What the biases of a query's keys are multiplied by."""
        heads = self.scale.shape[0]
        gates = jax.nn.sigmoid(self.gates(x.reshape(x.shape[0], heads, -1)))
        return gates[..., 0] * (gates[..., 1] * self.scale[...] - 1) + 2


class Bias(NamedTuple):
    """What is added to the scores of an attention; parts without elements add nothing.

    Attributes:
        keys: For each key.
        relative: For each head, query and key.
        gates: What ``relative`` is multiplied by, for each query and head.
    """

    keys: Float[Array, " keys"]
    relative: Float[Array, "_ _ _"]
    gates: Float[Array, "_ _"]


class EncoderLayer(nnx.Module):
    """Self-attention and a feed-forward part, with a norm after or before each."""

    def __init__(
        self,
        hidden: int,
        wide: int,
        num_heads: int,
        *,
        norm_first: bool,
        dtype: jnp.dtype,
        epsilon: float = NORM_EPSILON,
        gated: bool = False,
    ):
        """A layer without its weights.

        Args:
            hidden: Width of the vectors.
            wide: Width between the two products of the feed-forward part.
            num_heads: Heads of the attention.
            norm_first: Whether the norms come before the two parts, or after.
            dtype: Type of the products' factors.
            epsilon: What norms add to the variance.
            gated: Whether the attention has gated biases of distances.
        """
        self.mixed = Linear(hidden, 3 * hidden, dtype)
        self.out = Linear(hidden, hidden, dtype)
        self.norm = LayerNorm(hidden, dtype, epsilon)
        self.wide = Linear(hidden, wide, dtype)
        self.narrow = Linear(wide, hidden, dtype)
        self.final_norm = LayerNorm(hidden, dtype, epsilon)
        if gated:
            self.gates = Gates(hidden // num_heads, num_heads, dtype)
        self.gated = gated
        self.num_heads = num_heads
        self.norm_first = norm_first
        self.dtype = dtype

    def __call__(
        self,
        x: Float[Array, "frames hidden"],
        hidden_from: Float[Array, " frames"] | None,
        relative: Float[Array, "heads frames frames"] | None = None,
    ) -> Float[Array, "frames hidden"]:
        """The frames after this layer.

        Args:
            x: The frames before it.
            hidden_from: What is added to the keys' scores; None: nothing.
            relative: What is added for each head, query and key, gated; only for a
                layer with gates.
        """
        if self.norm_first:
            x = x + self._attend(self.norm(x), hidden_from, relative)
            return x + self._feed(self.final_norm(x))
        x = self.norm(x + self._attend(x, hidden_from, relative))
        return self.final_norm(x + self._feed(x))

    def _feed(self, x: Array) -> Array:
        return self.narrow(gelu(self.wide(x)))

    def _attend(self, x: Array, keys: Array | None, relative: Array | None) -> Array:
        frames, hidden = x.shape
        mixed = self.mixed(x).astype(self.dtype)
        mixed = mixed.reshape(frames, 3, self.num_heads, hidden // self.num_heads)
        none = jnp.zeros(0, sum_dtype(self.dtype))
        bias = Bias(
            none if keys is None else keys,
            none.reshape(0, 0, 0) if relative is None else relative,
            self.gates(x) if self.gated else none.reshape(0, 0),
        )
        y = lax.platform_dependent(mixed, bias, cpu=_head_by_head, default=_all_heads)
        return self.out(y.reshape(frames, hidden))


def _all_heads(
    mixed: Float[Array, "frames 3 heads dim"], bias: Bias
) -> Float[Array, "frames heads dim"]:
    queries, keys, values = (x.transpose(1, 0, 2) for x in mixed.transpose(1, 0, 2, 3))
    has_relative = 0 if bias.relative.size else None
    gates = bias.gates.T
    return jax.vmap(_attended, (0, 0, 0, None, has_relative, has_relative))(
        queries, keys.transpose(0, 2, 1), values, bias.keys, bias.relative, gates
    ).transpose(1, 0, 2)


def _head_by_head(
    mixed: Float[Array, "frames 3 heads dim"], bias: Bias
) -> Float[Array, "frames heads dim"]:
    """Attention with one head, and not too many queries, at a time."""
    frames, _, heads, dim = mixed.shape
    queries = mixed[:, 0].transpose(1, 0, 2)
    keys, values = mixed[:, 1].transpose(1, 2, 0), mixed[:, 2].transpose(1, 0, 2)
    count = -(-frames // CPU_QUERIES)
    block = -(-frames // count)
    missing = count * block - frames
    queries = _longer(queries, missing, axis=1).reshape(heads * count, block, dim)
    relative, gates = bias.relative, bias.gates.T
    if relative.size:
        relative = _longer(relative, missing, axis=1).reshape(-1, block, frames)
        gates = _longer(gates, missing, axis=1).reshape(-1, block)

    def one(index: Array) -> Array:
        own = (relative[index], gates[index]) if relative.size else (relative, gates)
        head = index // count
        return _attended(queries[index], keys[head], values[head], bias.keys, *own)

    y = lax.map(one, jnp.arange(heads * count))
    return y.reshape(heads, count * block, dim)[:, :frames].transpose(1, 0, 2)


def _longer(x: Array, missing: int, axis: int) -> Array:
    """The array with zeros behind it on an axis."""
    if not missing:
        return x
    return jnp.pad(x, [(0, missing if i == axis else 0) for i in range(x.ndim)])


def _attended(
    queries: Float[Array, "queries dim"],
    keys: Float[Array, "dim keys"],
    values: Float[Array, "keys dim"],
    bias: Float[Array, " bias"],
    relative: Float[Array, "..."],
    gates: Float[Array, "..."],
) -> Float[Array, "queries dim"]:
    """Attention of one head, whose scores get what :class:`Bias` describes.

    The division comes after the second product, where there is less to divide.
    """
    scores = product(queries, keys, queries.dtype)
    if bias.size:
        scores = scores + bias
    if relative.size:
        scores = scores + gates[:, None] * relative
    weights = jnp.exp(scores - scores.max(axis=1, keepdims=True))
    y = product(weights, values, values.dtype)
    return (y / weights.sum(axis=1, keepdims=True)).astype(queries.dtype)
