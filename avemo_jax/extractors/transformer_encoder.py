"""A layer of a Transformer's encoder, and its attention, with a form for CPUs."""

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
    ):
        """A layer without its weights.

        Args:
            hidden: Width of the vectors.
            wide: Width between the two products of the feed-forward part.
            num_heads: Heads of the attention.
            norm_first: Whether the norms come before the two parts, or after.
            dtype: Type of the products' factors.
            epsilon: What norms add to the variance.
        """
        self.mixed = Linear(hidden, 3 * hidden, dtype)
        self.out = Linear(hidden, hidden, dtype)
        self.norm = LayerNorm(hidden, dtype, epsilon)
        self.wide = Linear(hidden, wide, dtype)
        self.narrow = Linear(wide, hidden, dtype)
        self.final_norm = LayerNorm(hidden, dtype, epsilon)
        self.num_heads = num_heads
        self.norm_first = norm_first
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
