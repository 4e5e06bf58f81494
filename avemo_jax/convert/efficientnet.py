"""EfficientNet: timm's names, and layers of ``.onnx`` files by their order."""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from avemo_jax.convert.onnx_file import Layer
from avemo_jax.convert.rules import IDENTITY, Ignored, Renamed, Rule, failure, rename

# timm's tf_ networks; also what a folded BatchNorm is unfolded with.
BATCH_NORM_EPSILON = 1e-3
_NORM_PARTS = ("weight", "bias", "running_mean", "running_var")
_RULES = (
    # HSEmotion puts the classifier into an nn.Sequential in some of its files.
    Rule(r"classifier\.0\.(weight|bias)", r"classifier.\1"),
    IDENTITY,
)
_IGNORED = (
    Ignored(r".+\.num_batches_tracked", "BatchNorm's counter of training batches"),
)


def from_state(
    state: Mapping[str, np.ndarray],
    shapes: Mapping[str, tuple[int, ...]],
    *,
    file: str,
    wanted: str,
) -> Renamed:
    """The file form of a state dict of timm's.

    Args:
        state: By timm's names.
        shapes: Of the file form.
        file: Name of the source, for errors.
        wanted: The extractor, for errors.

    Raises:
        ConversionError: With all faults.
    """
    return rename(state, shapes, _RULES, file=file, wanted=wanted, ignored=_IGNORED)


def from_layers(
    layers: Sequence[Layer],
    shapes: Mapping[str, tuple[int, ...]],
    *,
    file: str,
    wanted: str,
) -> Renamed:
    """The file form of an ``.onnx`` file's layers, matched by order and shape.

    A BatchNorm that the exporter folded into its convolution becomes one that changes
    nothing but adds the folded bias.

    Args:
        layers: In the graph's order.
        shapes: Of the file form.
        file: Name of the source, for errors.
        wanted: The extractor, for errors.

    Raises:
        ConversionError: With all faults.
    """
    places = layer_order(shapes)
    faults = []
    if len(layers) != len(places):
        faults.append(f"source: {len(layers)} layers; expected {len(places)}")
    state: dict[str, np.ndarray] = {}
    for layer, (name, norm) in zip(layers, places, strict=False):
        expected = f"{name}.weight"
        if layer.name != expected and layer.name in shapes:
            faults.append(f"source {layer.name}: stands where {expected} is expected")
        if fault := _place(state, layer, name, norm):
            faults.append(f"source {layer.name} {layer.weight.shape}: {fault}")
    if faults:
        raise failure(file, wanted, faults)
    return rename(state, shapes, (IDENTITY,), file=file, wanted=wanted)


def folded(layers: Sequence[Layer]) -> bool:
    """Whether the exporter folded BatchNorm into the convolutions."""
    return not any(layer.norm for layer in layers)


def layer_order(
    shapes: Mapping[str, tuple[int, ...]],
) -> list[tuple[str, str | None]]:
    """Names of the layers in the order of computing, each with its BatchNorm's."""
    blocks = {
        (int(match[1]), int(match[2]))
        for name in shapes
        if (match := re.match(r"blocks\.(\d+)\.(\d+)\.", name))
    }
    order: list[tuple[str, str | None]] = [("conv_stem", "bn1")]
    for stage, index in sorted(blocks):
        block = f"blocks.{stage}.{index}."
        inverted = f"{block}conv_pwl.weight" in shapes
        parts: list[tuple[str, str | None]] = [
            ("conv_dw", "bn2" if inverted else "bn1"),
            ("se.conv_reduce", None),
            ("se.conv_expand", None),
            ("conv_pwl", "bn3") if inverted else ("conv_pw", "bn2"),
        ]
        if inverted:
            parts.insert(0, ("conv_pw", "bn1"))
        order += [(block + conv, norm and block + norm) for conv, norm in parts]
    return [*order, ("conv_head", "bn2"), ("classifier", None)]


def _place(
    state: dict[str, np.ndarray], layer: Layer, name: str, norm: str | None
) -> str:
    """Puts a layer's tensors into ``state``; says what is wrong, or nothing."""
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
    return {f"{norm}.{p}": a for p, a in zip(_NORM_PARTS, arrays, strict=True)}
