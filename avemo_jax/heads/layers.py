"""The layers of the heads, with PyTorch's names, layouts and arithmetic.

A weight is (outputs, inputs), as in a PyTorch state dict: the gradient of a product
then has the layout of its weight, and converting weights only renames them.
"""

import dataclasses
import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from avemo_jax.heads import matmul
from avemo_jax.heads.matmul import accumulator

NORM_EPSILON = 1e-5  # of torch's LayerNorm and BatchNorm
BATCH_NORM_MOMENTUM = 0.1  # weight of the new batch, as torch counts it
LEAKY_SLOPE = 0.1


@dataclasses.dataclass
class Mode:
    """How one pass through a head is run.

    Attributes:
        train: True applies dropout and normalises by the batch's own statistics.
        mask: True where a frame is there, on the input's leading axes. None: all are.
        key: PRNG key of dropout; needed in training unless ``dropout`` is a Python
            zero.
        dropout: Rate in [0, 1).
        update_stats: Whether BatchNorm's running statistics move in training.
        there: True where a frame has features of the face ("visual") and of the sound
            ("audio"), for heads that treat them apart. None: for others.
    """

    train: bool
    mask: Bool[Array, "*batch"] | None = None
    key: PRNGKeyArray | None = None
    dropout: float | Float[Array, ""] = 0.0
    update_stats: bool = True
    there: Mapping[str, Bool[Array, "*batch"]] | None = None
    _sites: int = 0

    def drop(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        """``x`` with values set to zero at random, the others scaled up.

        Raises:
            ValueError: If values are to be dropped and there is no key, or if the rate
                is a Python number outside [0, 1).
        """
        known = isinstance(self.dropout, int | float)
        if not self.train or (known and self.dropout == 0):
            return x
        if known and not 0 <= self.dropout < 1:
            raise ValueError(
                f"dropout is {self.dropout}; expected a rate in [0, 1); correct "
                "config.dropout"
            )
        if self.key is None:
            raise ValueError(
                f"dropout {self.dropout} in training without a key; expected a PRNG "
                "key; pass key= to Head.apply, or dropout=0.0"
            )
        bits = _random_bits(self.key, self._sites, x.shape)
        self._sites += 1
        limit = (jnp.float32(self.dropout) * 2.0**32).astype(jnp.uint32)
        # 1 / 0.9 in bfloat16 would be off by 1 in 600, the same way for all values.
        scaled = x.astype(accumulator(x.dtype)) * (1 / (1 - self.dropout))
        return jnp.where(bits >= limit, scaled, 0).astype(x.dtype)


def _random_bits(key: PRNGKeyArray, site: int, shape: tuple[int, ...]) -> Array:
    """A uint32 for each element, hashed from the key, the site and the position.

    The hash takes 2 rounds where ``jax.random.bits`` takes 20: on CPU it runs 6 to 14
    times and compiles 6 to 18 times faster, and a Transformer has 17 sites. That is
    random enough to drop values by; the keys themselves come from ``jax.random``.
    """
    position = jnp.zeros(shape, jnp.uint32)
    for axis, size in enumerate(shape):
        offset = jax.lax.broadcasted_iota(jnp.uint32, shape, axis)
        position = position * jnp.uint32(size) + offset
    bits, state = position, jnp.uint32(site)
    for word in jax.random.key_data(key).ravel():
        state = _mix(state ^ word)
        bits = _mix(bits ^ state)
    return bits


def _mix(x: Array) -> Array:
    """A bijection of uint32 in which each bit of ``x`` moves about half of the bits.

    "lowbias32" of C. Wellons, hash-prospector (public domain).
    """
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)


class Start:
    """The random values that a module's parameters start from, handed out in order.

    All are drawn at once: compiling one draw for each parameter takes longer than an
    epoch of training.
    """

    def __init__(self, key: PRNGKeyArray | None = None, size: int = 0):
        """Draws the values.

        Args:
            key: PRNG key of the values. None: zeros, where only shapes matter.
            size: Number of values in all.
        """
        self._left = None if key is None else jax.random.uniform(key, (size,))

    def uniform(self, shape: tuple[int, ...], bound: float) -> Float[Array, "..."]:
        """The next values, uniform in [-bound, bound)."""
        if self._left is None:
            return jnp.zeros(shape, jnp.float32)
        size = math.prod(shape)
        values, self._left = self._left[:size], self._left[size:]
        return (values * (2 * bound) - bound).reshape(shape)


class Linear(nnx.Module):
    """``x @ weight.T + bias``; also PyTorch's 1x1 convolution.

    Both parameters start uniform in +-1 / sqrt(inputs), PyTorch's default.
    """

    def __init__(self, inputs: int, outputs: int, *, dtype: jnp.dtype, start: Start):
        bound = 1 / math.sqrt(inputs)
        self.weight = nnx.Param(start.uniform((outputs, inputs), bound))
        self.bias = nnx.Param(start.uniform((outputs,), bound))
        self.dtype = dtype

    def __call__(
        self, x: Float[Array, "*batch inputs"], *, last: bool = False
    ) -> Float[Array, "*batch outputs"]:
        """The outputs, in the layer's dtype; in float32 or better where ``last``."""
        y = matmul.linear(x, self.weight[...], self.dtype)
        y = y + self.bias[...].astype(y.dtype)
        return y if last else y.astype(self.dtype)


class LayerNorm(nnx.Module):
    """PyTorch's LayerNorm: each vector normalised by its mean and biased variance."""

    def __init__(self, dim: int, *, dtype: jnp.dtype):
        self.weight = nnx.Param(jnp.ones(dim, jnp.float32))
        self.bias = nnx.Param(jnp.zeros(dim, jnp.float32))
        self.dtype = dtype

    def __call__(self, x: Float[Array, "*batch dim"]) -> Float[Array, "*batch dim"]:
        """The normalised vectors, in the layer's dtype."""
        x = x.astype(accumulator(self.dtype))
        x = x - x.mean(axis=-1, keepdims=True)
        variance = jnp.square(x).mean(axis=-1, keepdims=True)
        x = x * jax.lax.rsqrt(variance + NORM_EPSILON)
        return (x * self.weight[...] + self.bias[...]).astype(self.dtype)


class BatchNorm(nnx.Module):
    """PyTorch's BatchNorm1d over all leading axes; masked frames do not count.

    The batch is normalised by its biased variance; the running variance takes the
    unbiased one. A batch without frames leaves the running statistics alone.
    """

    def __init__(self, dim: int, *, dtype: jnp.dtype):
        self.weight = nnx.Param(jnp.ones(dim, jnp.float32))
        self.bias = nnx.Param(jnp.zeros(dim, jnp.float32))
        self.running_mean = nnx.BatchStat(jnp.zeros(dim, jnp.float32))
        self.running_var = nnx.BatchStat(jnp.ones(dim, jnp.float32))
        self.dtype = dtype

    def __call__(
        self, x: Float[Array, "*batch dim"], mode: Mode
    ) -> Float[Array, "*batch dim"]:
        """The normalised vectors, in the layer's dtype."""
        x = x.astype(accumulator(self.dtype))
        if mode.train:
            mean, variance = self._batch_statistics(x, mode)
        else:
            mean, variance = self.running_mean[...], self.running_var[...]
        x = (x - mean) * (jax.lax.rsqrt(variance + NORM_EPSILON) * self.weight[...])
        return (x + self.bias[...]).astype(self.dtype)

    def _batch_statistics(self, x: Array, mode: Mode) -> tuple[Array, Array]:
        axes = tuple(range(x.ndim - 1))
        if mode.mask is None:
            count = jnp.asarray(math.prod(x.shape[:-1]), x.dtype)
            weight = jnp.ones((), x.dtype)
        else:
            weight = mode.mask[..., None].astype(x.dtype)
            count = weight.sum()
        divisor = jnp.maximum(count, 1)
        mean = (x * weight).sum(axis=axes) / divisor
        variance = (jnp.square(x - mean) * weight).sum(axis=axes) / divisor
        if mode.update_stats:
            unbiased = variance * (divisor / jnp.maximum(count - 1, 1))
            step = jnp.where(count > 0, BATCH_NORM_MOMENTUM, 0.0).astype(x.dtype)
            for stat, new in (
                (self.running_mean, mean),
                (self.running_var, unbiased),
            ):
                old = stat[...]
                moved = (1 - step) * old + step * jax.lax.stop_gradient(new)
                stat[...] = moved.astype(old.dtype)
        return mean, variance


class Branch(nnx.Module):
    """Linear, BatchNorm, Linear: the end of the Transformer and of each VA branch.

    Each layer is named by its position in the original's ``nn.Sequential``, as in its
    state dicts.
    """

    def __init__(
        self,
        inputs: int,
        hidden: int,
        outputs: int,
        *,
        positions: tuple[str, str, str] = ("0", "1", "2"),
        leaky: bool = False,
        dropout: bool = True,
        dtype: jnp.dtype,
        start: Start,
    ):
        """Builds the branch.

        Args:
            inputs: Columns that come in.
            hidden: Width between the two Linear layers.
            outputs: Columns that come out.
            positions: Names of the three layers with parameters.
            leaky: Whether a LeakyReLU follows the first layer.
            dropout: Whether dropout acts on the last layer's input.
            dtype: Type of the arithmetic.
            start: Gives the random values that parameters start from.
        """
        self.positions, self.leaky, self.dropout = positions, leaky, dropout
        first, norm, last = positions
        setattr(self, first, Linear(inputs, hidden, dtype=dtype, start=start))
        setattr(self, norm, BatchNorm(hidden, dtype=dtype))
        setattr(self, last, Linear(hidden, outputs, dtype=dtype, start=start))

    def __call__(
        self, x: Float[Array, "*batch inputs"], mode: Mode
    ) -> Float[Array, "*batch outputs"]:
        """The outputs, in float32 or better."""
        first, norm, last = (getattr(self, name) for name in self.positions)
        x = first(x)
        if self.leaky:
            x = jax.nn.leaky_relu(x, LEAKY_SLOPE)
        x = norm(x, mode)
        return last(mode.drop(x) if self.dropout else x, last=True)


class Attention(nnx.Module):
    """PyTorch's MultiheadAttention of a sequence with itself, or with another one.

    The weights of query, key and value start as one Xavier uniform matrix, the output's
    weights as those of :class:`Linear`; all biases start at zero.
    """

    def __init__(self, dim: int, num_heads: int, *, dtype: jnp.dtype, start: Start):
        bound = math.sqrt(6 / (dim + 3 * dim))
        self.in_proj_weight = nnx.Param(start.uniform((3 * dim, dim), bound))
        self.in_proj_bias = nnx.Param(jnp.zeros(3 * dim, jnp.float32))
        self.out_proj = Linear(dim, dim, dtype=dtype, start=start)
        self.out_proj.bias[...] = jnp.zeros(dim, jnp.float32)
        self.num_heads = num_heads
        self.dtype = dtype

    def __call__(
        self,
        x: Float[Array, "sequences frames dim"],
        mode: Mode,
        other: Float[Array, "sequences keys dim"] | None = None,
        there: Bool[Array, "sequences keys"] | None = None,
    ) -> Float[Array, "sequences frames dim"]:
        """For each frame, a weighted mean over the frames that are there, projected.

        Args:
            x: The frames that attend.
            mode: Says which frames of ``x`` are there, and drops weights.
            other: The frames that they attend to; None: those of ``x``.
            there: True where a frame of ``other`` is there. A sequence that has none
                gives 0.
        """
        sequences, frames, dim = x.shape
        if other is None:
            query, key, value = self._projected(x, 0, 3)
            there = mode.mask
        else:
            (query,) = self._projected(x, 0, 1)
            key, value = self._projected(other, 1, 3)
        scores = matmul.einsum("sqhd,skhd->shqk", query, key, self.dtype)
        scores = scores / math.sqrt(dim // self.num_heads)
        if there is not None:
            # Not -inf: a sequence without frames would give NaN.
            lowest = jnp.finfo(scores.dtype).min
            scores = jnp.where(there[:, None, None, :], scores, lowest)
        weights = mode.drop(jax.nn.softmax(scores, axis=-1))
        mixed = matmul.einsum("shqk,skhd->sqhd", weights, value, self.dtype)
        mixed = mixed.reshape(sequences, frames, dim).astype(self.dtype)
        projected = self.out_proj(mixed)
        if other is None or there is None:
            return projected
        return jnp.where(there.any(axis=1)[:, None, None], projected, 0)

    def _projected(
        self, x: Float[Array, "sequences frames dim"], first: int, end: int
    ) -> list[Float[Array, "sequences frames heads width"]]:
        """Query (0), key (1) and value (2) of ``x``, from ``first`` to before ``end``.

        They are one product.
        """
        rows = slice(first * x.shape[-1], end * x.shape[-1])
        weight, bias = self.in_proj_weight[...], self.in_proj_bias[...]
        if end - first < 3:
            weight, bias = weight[rows], bias[rows]
        made = matmul.linear(x, weight, self.dtype)
        made = (made + bias.astype(made.dtype)).astype(self.dtype)
        parts = made.reshape(*x.shape[:2], end - first, self.num_heads, -1)
        return [parts[:, :, i] for i in range(end - first)]
