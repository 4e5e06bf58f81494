"""Convolutions with bias, each in two forms.

"local" is for a CPU: the spatial convolutions are sums over shifted images, which XLA
there runs several times faster than its convolution with feature groups. "whole" is for
accelerators, where the convolution is the faster one and reads its input once.
"""

import math
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

Form = Literal["local", "whole"]
# Padding before and after an axis, from its size, the kernel's size and the stride.
Padding = Callable[[int, int, int], tuple[int, int]]
HIGHEST = jax.lax.Precision.HIGHEST
_NHWC = ("NHWC", "HWIO", "NHWC")


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Padding before and after as in TensorFlow's "SAME": the odd pixel comes after."""
    total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def even_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Padding before and after as in PyTorch: half a kernel on each side."""
    del size, stride
    return kernel // 2, kernel // 2


class Pointwise(nnx.Module):
    """A 1x1 convolution with bias: a product over the channels."""

    def __init__(self, inputs: int, outputs: int):
        self.kernel = nnx.Param(jnp.zeros((inputs, outputs), jnp.float32))
        self.bias = nnx.Param(jnp.zeros(outputs, jnp.float32))

    def __call__(self, x: Float[Array, "*batch inputs"]) -> Float[Array, "*batch _"]:
        """The outputs, in float32 or better."""
        kernel = self.kernel[...].astype(x.dtype)
        return _with_bias(_product(x, kernel), self.bias[...])


class Stem(nnx.Module):
    """The first layer: 3x3, stride 2, all channels together."""

    kernel_px, stride = 3, 2

    def __init__(self, inputs: int, outputs: int, padding: Padding = same_padding):
        shape = (self.kernel_px, self.kernel_px, inputs, outputs)
        self.kernel = nnx.Param(jnp.zeros(shape, jnp.float32))
        self.bias = nnx.Param(jnp.zeros(outputs, jnp.float32))
        self.padding = padding

    def __call__(
        self, x: Float[Array, "batch height width inputs"], form: Form
    ) -> Float[Array, "batch _ _ outputs"]:
        """The outputs, in float32 or better."""
        kernel = self.kernel[...].astype(x.dtype)
        if form == "whole":
            y = _convolved(x, kernel, self.stride, self.padding, groups=1)
        else:
            columns = _columns(x, self.padding)
            y = _product(columns, kernel.reshape(-1, kernel.shape[-1]))
        return _with_bias(y, self.bias[...])


class Depthwise(nnx.Module):
    """A convolution of each channel with a kernel of its own, with bias."""

    def __init__(self, channels: int, kernel: int, stride: int):
        self.kernel = nnx.Param(jnp.zeros((kernel, kernel, channels), jnp.float32))
        self.bias = nnx.Param(jnp.zeros(channels, jnp.float32))
        self.stride = stride

    def __call__(
        self, x: Float[Array, "batch height width channels"], form: Form
    ) -> Float[Array, "batch _ _ channels"]:
        """The outputs, in float32 or better."""
        kernel = self.kernel[...].astype(x.dtype)
        if form == "whole":
            padding, groups = same_padding, x.shape[-1]
            kernel = kernel[:, :, None]
            y = _convolved(x, kernel, self.stride, padding, groups=groups)
            return _with_bias(y, self.bias[...])
        wide = jnp.promote_types(x.dtype, jnp.float32)
        rows = kernel.reshape(-1, x.shape[-1]).astype(wide)
        taps = _taps(x, kernel.shape[0], self.stride, same_padding)
        total = taps[0].astype(wide) * rows[0]
        for tap, row in zip(taps[1:], rows[1:], strict=True):
            total = total + tap.astype(wide) * row
        return _with_bias(total, self.bias[...])


def _product(x: Array, kernel: Array) -> Array:
    """``x @ kernel`` as a product of two matrices, whatever the leading axes."""
    rows = math.prod(x.shape[:-1])
    y = jnp.matmul(x.reshape(rows, x.shape[-1]), kernel, precision=HIGHEST)
    return y.reshape(*x.shape[:-1], kernel.shape[-1])


def _with_bias(y: Array, bias: Array) -> Array:
    wide = jnp.promote_types(y.dtype, jnp.float32)
    return y.astype(wide) + bias.astype(wide)


def _convolved(
    x: Array, kernel: Array, stride: int, padding: Padding, *, groups: int
) -> Array:
    sizes = zip(x.shape[1:3], kernel.shape[:2], strict=True)
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(stride, stride),
        padding=[padding(size, side, stride) for size, side in sizes],
        dimension_numbers=_NHWC,
        feature_group_count=groups,
        precision=HIGHEST,
    )


def _columns(
    x: Float[Array, "batch height width inputs"], padding: Padding
) -> Float[Array, "batch _ _ taps"]:
    """What each place of a kernel of 3x3 sees with stride 2, places in row-major order.

    Two neighbours in a row lie side by side in memory, so they are copied at once: six
    pieces for the nine places, in two thirds of the time.
    """
    num, *sizes, inputs = x.shape
    rows, columns = (math.ceil(size / 2) for size in sizes)
    around = [
        (before, 2 * half + 2 - before - size)
        for size, half in zip(sizes, (rows, columns), strict=True)
        for before, _ in (padding(size, 3, 2),)
    ]
    x = jax.lax.optimization_barrier(jnp.pad(x, ((0, 0), *around, (0, 0))))
    pairs = x.reshape(num, rows + 1, 2, columns + 1, 2 * inputs)
    pieces = []
    for row in (pairs[:, :-1, 0], pairs[:, :-1, 1], pairs[:, 1:, 0]):
        pieces += [row[:, :, :-1], row[:, :, 1:, :inputs]]
    return jnp.concatenate(pieces, axis=-1)


def _taps(x: Array, kernel: int, stride: int, padding: Padding) -> list[Array]:
    """The pixels under each place of a kernel, in row-major order of the places."""
    around = [padding(size, kernel, stride) for size in x.shape[1:3]]
    rows, columns = (math.ceil(size / stride) for size in x.shape[1:3])
    x = jnp.pad(x, ((0, 0), *around, (0, 0)))
    # Else XLA takes the middle place from the unpadded input and computes that twice.
    x = jax.lax.optimization_barrier(x)
    return [
        x[:, i : i + stride * rows : stride, j : j + stride * columns : stride]
        for i in range(kernel)
        for j in range(kernel)
    ]
