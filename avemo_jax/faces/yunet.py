"""YuNet: pictures to scores, boxes and points of faces at each place of three grids.

W. Wu, H. Peng, S. Yu: YuNet: A Tiny Millisecond-level Face Detector, Machine
Intelligence Research 20, 2023, https://doi.org/10.1007/s11633-023-1423-y; the small
network YuNet-n, 75,856 parameters, as published in libfacedetection.train. Names and
layouts of tensors in files are those of that repository.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Real

from avemo_jax.extractors.convolutions import (
    Depthwise,
    Form,
    Pointwise,
    Stem,
    even_padding,
)
from avemo_jax.extractors.state_dicts import check_state

STRIDES = (8, 16, 32)  # pixels from a place of each grid to the next
NUM_POINTS = 5  # the picture's left eye, right eye, nose, left and right mouth corner
MULTIPLE_PX = STRIDES[-1]  # sides of pictures are multiples of this

_NORM_EPSILON = 1e-5
_NORM = ("weight", "bias", "running_mean", "running_var")
_STEM, _WIDTH = 16, 64
# The outputs of a place: their name in files, and how many they are.
_OUTPUTS = (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 2 * NUM_POINTS))


@dataclasses.dataclass(frozen=True)
class _Unit:
    """A product over the channels, then a 3x3 convolution of each, and ReLU.

    Attributes:
        name: Start of the names of its tensors in files.
        inputs: Number of channels that it takes.
        outputs: Number of channels that it gives.
    """

    name: str
    inputs: int = _WIDTH
    outputs: int = _WIDTH

    @property
    def place(self) -> str:
        """Name of the module."""
        return self.name.replace(".", "_")


# The units of each stage, the first one after the stem; a stage ends in half the size,
# but for the second and the last.
_STAGES = (
    (_Unit("backbone.model0.conv2", _STEM, _STEM),),
    (
        _Unit("backbone.model1.conv1", _STEM, _STEM),
        _Unit("backbone.model1.conv2", _STEM, _WIDTH),
    ),
    *(
        (_Unit(f"backbone.model{i}.conv1"), _Unit(f"backbone.model{i}.conv2"))
        for i in range(2, 6)
    ),
)
_POOLED = (0, 2, 3, 4)
_LEVELS = (3, 4, 5)  # stages whose outputs are the three grids
_LATERAL = tuple(_Unit(f"neck.lateral_convs.{i}") for i in range(3))
_SHARED = tuple(_Unit(f"bbox_head.multi_level_share_convs.{i}.0") for i in range(3))
_ALL_UNITS = (*(unit for stage in _STAGES for unit in stage), *_LATERAL, *_SHARED)


class Raw(NamedTuple):
    """The network's outputs at each place: grid by grid, row by row.

    Attributes:
        cls: Probability that what is there is a face.
        obj: Estimated overlap of the place's box with a face, 0 to 1.
        box: Centre x, y relative to the place and log of width and height, in strides.
        points: x, y of the five points relative to the place, in strides.
    """

    cls: Float[Array, "batch places"]
    obj: Float[Array, "batch places"]
    box: Float[Array, "batch places 4"]
    points: Float[Array, "batch places 10"]


def state_shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes of the network's tensors in files."""
    shapes: dict[str, tuple[int, ...]] = {
        "backbone.model0.conv1.weight": (_STEM, 3, 3, 3),
        "backbone.model0.conv1.bias": (_STEM,),
    }
    shapes |= {f"backbone.model0.bn1.{leaf}": (_STEM,) for leaf in _NORM}
    for unit in _ALL_UNITS:
        shapes |= _pair(unit.name, unit.inputs, unit.outputs)
        shapes |= {f"{unit.name}.bn.{leaf}": (unit.outputs,) for leaf in _NORM}
    for level in range(len(_LEVELS)):
        for name, count in _OUTPUTS:
            shapes |= _pair(f"bbox_head.multi_level_{name}.{level}", _WIDTH, count)
    return shapes


def _pair(name: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    """Shapes of a product over the channels and a convolution of each."""
    return {
        f"{name}.conv1.weight": (outputs, inputs, 1, 1),
        f"{name}.conv1.bias": (outputs,),
        f"{name}.conv2.weight": (outputs, 1, 3, 3),
        f"{name}.conv2.bias": (outputs,),
    }


class _Pair(nnx.Module):
    """A product over the channels, then a 3x3 convolution of each channel."""

    def __init__(self, inputs: int, outputs: int):
        self.product = Pointwise(inputs, outputs)
        self.depthwise = Depthwise(outputs, 3, 1)

    def __call__(self, x: Array, form: Form) -> Array:
        return self.depthwise(self.product(x), form)


class YuNet(nnx.Module):
    """The whole network."""

    def __init__(self) -> None:
        self.stem = Stem(3, _STEM, even_padding)
        for unit in _ALL_UNITS:
            setattr(self, unit.place, _Pair(unit.inputs, unit.outputs))
        for level in range(len(_LEVELS)):
            pair = _Pair(_WIDTH, sum(count for _, count in _OUTPUTS))
            setattr(self, f"outputs_{level}", pair)

    def __call__(self, x: Float[Array, "batch height width 3"], form: Form) -> Raw:
        """The outputs at each place.

        Args:
            x: RGB, 0 to 255.
            form: Form of the convolutions.
        """
        x = jax.nn.relu(self.stem(x, form))
        grids = []
        for number, stage in enumerate(_STAGES):
            for unit in stage:
                x = self._unit(unit, x, form)
            if number in _LEVELS:
                grids.append(x)
            if number in _POOLED:
                x = _halved(x)
        for level in reversed(range(len(_LEVELS))):
            grids[level] = self._unit(_LATERAL[level], grids[level], form)
            if level:
                grids[level - 1] = grids[level - 1] + _doubled(grids[level])
        found = []
        for level, grid in enumerate(grids):
            y = self._unit(_SHARED[level], grid, form)
            y = getattr(self, f"outputs_{level}")(y, form)
            found.append(y.reshape(y.shape[0], -1, y.shape[-1]))
        cls, obj, box, points = jnp.split(
            jnp.concatenate(found, axis=1),
            np.cumsum([count for _, count in _OUTPUTS])[:-1],
            axis=-1,
        )
        return Raw(
            jax.nn.sigmoid(cls[..., 0]), jax.nn.sigmoid(obj[..., 0]), box, points
        )

    def _unit(self, unit: _Unit, x: Array, form: Form) -> Array:
        return jax.nn.relu(getattr(self, unit.place)(x, form))


def prepare(state: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Parameters for :func:`apply`, float32; BatchNorm is folded into what precedes it.

    Args:
        state: Tensors by the published file's names, in its layout.

    Returns:
        Nested dicts of arrays; kernels have their outputs on the last axis. The four
        outputs of each grid are one layer, and the stem takes RGB where the published
        network takes BGR.

    Raises:
        ValueError: If tensors are missing, unknown, or of other shapes; all are named.
    """
    check_state("YuNet-n", state, state_shapes())
    wide = {name: np.asarray(array, np.float64) for name, array in state.items()}
    weight, bias = _folded(wide, "backbone.model0.conv1", "backbone.model0.bn1")
    # (outputs, BGR, height, width) to (height, width, RGB, outputs).
    params: dict[str, Any] = {
        "stem": _layer(weight[:, ::-1].transpose(2, 3, 1, 0), bias)
    }
    for unit in _ALL_UNITS:
        second = _folded(wide, f"{unit.name}.conv2", f"{unit.name}.bn")
        params[unit.place] = _pair_params([_first(wide, unit.name)], [second])
    for level in range(len(_LEVELS)):
        names = [f"bbox_head.multi_level_{name}.{level}" for name, _ in _OUTPUTS]
        params[f"outputs_{level}"] = _pair_params(
            [_first(wide, name) for name in names],
            [(wide[f"{n}.conv2.weight"], wide[f"{n}.conv2.bias"]) for n in names],
        )
    return params


_Layer = tuple[np.ndarray, np.ndarray]  # a kernel and a bias


def _first(wide: Mapping[str, np.ndarray], name: str) -> _Layer:
    return wide[f"{name}.conv1.weight"], wide[f"{name}.conv1.bias"]


def _folded(wide: Mapping[str, np.ndarray], layer: str, norm: str) -> _Layer:
    """The kernel and the bias of a layer with the BatchNorm after it."""
    gain, shift, mean, variance = (wide[f"{norm}.{leaf}"] for leaf in _NORM)
    gain = gain / np.sqrt(variance + _NORM_EPSILON)
    weight = wide[f"{layer}.weight"] * gain[:, None, None, None]
    return weight, shift + (wide[f"{layer}.bias"] - mean) * gain


def _pair_params(products: list[_Layer], depthwise: list[_Layer]) -> dict[str, Any]:
    """Parameters of a pair whose outputs are those of several, side by side."""
    kernel, bias = (np.concatenate(parts) for parts in zip(*products, strict=True))
    each, each_bias = (np.concatenate(parts) for parts in zip(*depthwise, strict=True))
    return {
        "product": _layer(kernel[:, :, 0, 0].T, bias),
        "depthwise": _layer(each[:, 0].transpose(1, 2, 0), each_bias),
    }


def _layer(kernel: np.ndarray, bias: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "kernel": np.ascontiguousarray(kernel, np.float32),
        "bias": bias.astype(np.float32),
    }


def apply(
    params: dict[str, Any], images: Real[Array, "batch height width channels"]
) -> Raw:
    """The outputs at each place of the three grids, float32.

    The function is pure, to be jitted by the caller. A CPU takes the images one after
    another, an accelerator all at once; the choice is made when the program is lowered
    for a platform.

    Args:
        params: Parameters from :func:`prepare`.
        images: RGB, 0 to 255, uint8 or floats; sides are multiples of 32. Smaller
            pictures are padded with 0 on the right and below.

    Raises:
        ValueError: If the images have other axes, channels or sides.
    """
    shape = images.shape
    if len(shape) != 4 or shape[3] != 3 or shape[1] % 32 or shape[2] % 32:
        raise ValueError(
            f"images of shape {shape}; expected (batch, height, width, 3) with sides "
            f"that are multiples of {MULTIPLE_PX}; pad them on the right and below"
        )
    params = jax.tree.map(jnp.asarray, params)
    return jax.lax.platform_dependent(params, images, cpu=_one_by_one, default=_whole)


def _whole(params: dict[str, Any], images: Array) -> Raw:
    return nnx.merge(_graphdef(), params)(images.astype(jnp.float32), "whole")


def _one_by_one(params: dict[str, Any], images: Array) -> Raw:
    network = nnx.merge(_graphdef(), params)

    def one(image: Array) -> Raw:
        raw = network(image[None].astype(jnp.float32), "local")
        return jax.tree.map(lambda x: x[0], raw)

    return jax.lax.map(one, images)


def _halved(x: Float[Array, "batch height width channels"]) -> Array:
    """The largest values of 2 x 2 places."""
    top, bottom = x[:, ::2], x[:, 1::2]
    both = jnp.maximum(top, bottom)
    return jnp.maximum(both[:, :, ::2], both[:, :, 1::2])


def _doubled(x: Float[Array, "batch height width channels"]) -> Array:
    """Each place twice in each direction."""
    return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)


@functools.cache
def _graphdef() -> Any:
    """The modules without their arrays, for ``nnx.merge``."""
    return nnx.split(nnx.eval_shape(YuNet), nnx.Param)[0]
