"""EfficientNet: tensors by timm's names, or layers of ``.onnx`` files by order."""

from collections.abc import Mapping, Sequence

import numpy as np

from avemo_jax.convert.onnx_file import OnnxLayer
from avemo_jax.convert.rules import (
    COUNTERS,
    IDENTITY,
    Renamed,
    Renaming,
    failure,
    rename,
)
from avemo_jax.extractors.efficientnet import BATCH_NORM_EPSILON
from avemo_jax.extractors.efficientnet_spec import (
    NORM_LEAVES,
    EfficientNetSpec,
    state_shapes,
)
from avemo_jax.extractors.efficientnet_spec import layers as layers_of

_RULES = (
    # HSEmotion puts the classifier into an nn.Sequential in some of its files.
    Renaming(r"classifier\.0\.(weight|bias)", r"classifier.\1"),
    IDENTITY,
)


def from_state(
    state: Mapping[str, np.ndarray],
    spec: EfficientNetSpec,
    *,
    file: str,
    wanted: str,
) -> Renamed:
    """The tensors of a state dict with timm's names, checked.

    Args:
        state: Tensors by timm's names.
        spec: Sizes of the network.
        file: Name of the source, for errors.
        wanted: Name of the extractor, for errors.

    Raises:
        ConversionError: If the tensors do not fit; all faults are named.
    """
    shapes = state_shapes(spec)
    return rename(state, shapes, _RULES, file=file, wanted=wanted, ignored=COUNTERS)


def from_layers(
    layers: Sequence[OnnxLayer],
    spec: EfficientNetSpec,
    *,
    file: str,
    wanted: str,
) -> Renamed:
    """The tensors of an ``.onnx`` file's layers, matched by order and shape.

    In place of a BatchNorm that the exporter folded into its convolution there is one
    that only adds the folded bias.

    Args:
        layers: The layers, in the graph's order.
        spec: Sizes of the network.
        file: Name of the source, for errors.
        wanted: Name of the extractor, for errors.

    Raises:
        ConversionError: If the layers do not fit; all faults are named.
    """
    shapes, places = state_shapes(spec), list(layers_of(spec))
    faults = []
    if len(layers) != len(places):
        faults.append(f"source: {len(layers)} layers; expected {len(places)}")
    state: dict[str, np.ndarray] = {}
    for layer, place in zip(layers, places, strict=False):
        expected = f"{place.name}.weight"
        if layer.name != expected and layer.name in shapes:
            faults.append(f"source {layer.name}: stands where {expected} is expected")
        if fault := _place(state, layer, place.name, place.norm):
            faults.append(f"source {layer.name} {layer.weight.shape}: {fault}")
    if faults:
        raise failure(file, wanted, faults)
    return rename(state, shapes, (IDENTITY,), file=file, wanted=wanted)


def folded(layers: Sequence[OnnxLayer]) -> bool:
    """Whether the exporter folded BatchNorm into the convolutions."""
    return not any(layer.norm for layer in layers)


def _place(
    state: dict[str, np.ndarray], layer: OnnxLayer, name: str, norm: str | None
) -> str:
    """Put a layer's tensors into ``state``; the fault in words, or ""."""
    if layer.bias is not None and layer.bias.shape != layer.weight.shape[:1]:
        return f"{name} has a bias of shape {layer.bias.shape}"
    state[f"{name}.weight"] = layer.weight
    if norm is None:
        if layer.norm is not None:
            return f"{name} has no BatchNorm behind it, this one has"
        if layer.bias is None:
            return f"{name} has a bias, this one has not"
        state[f"{name}.bias"] = layer.bias
        return ""
    if layer.norm is None:
        if layer.bias is None:
            return f"{name} needs a BatchNorm behind it, or a bias that it went into"
        ones = np.ones_like(layer.bias)
        identity = (ones, layer.bias, 0 * ones, ones * (1 - BATCH_NORM_EPSILON))
        state |= _named(norm, identity)
        return ""
    if layer.bias is not None:
        return f"{name} has no bias beside its BatchNorm, this one has"
    if not np.isclose(layer.norm.epsilon, BATCH_NORM_EPSILON, rtol=1e-5, atol=0):
        return f"its BatchNorm has epsilon {layer.norm.epsilon:g}; expected 0.001"
    n = layer.norm
    state |= _named(norm, (n.weight, n.bias, n.mean, n.variance))
    return ""


def _named(norm: str, arrays: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    return {f"{norm}.{p}": a for p, a in zip(NORM_LEAVES, arrays, strict=True)}
