"""Recognition of the network that a file holds."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from avemo_jax.convert import dinov2
from avemo_jax.convert.onnx_file import OnnxLayer
from avemo_jax.convert.published_networks import NETWORKS, AnyNetwork
from avemo_jax.convert.rules import ConversionError
from avemo_jax.extractors import Extractor
from avemo_jax.extractors.efficientnet_spec import EfficientNetSpec

# The network by width of the last convolution and number of blocks.
_EFFICIENTNETS = {(1280, 16): "efficientnet_b0", (1408, 23): "efficientnet_b2"}


_DINOV2 = {384: "dinov2_vits14", 768: "dinov2_vitb14"}


@dataclasses.dataclass(frozen=True)
class Recognised:
    """The network that a file seems to hold.

    Attributes:
        network: Name of the network in ``Extractor.network``, or words for another.
        num_outputs: Outputs of its classifier; None: it has none, or that is not known.
    """

    network: str
    num_outputs: int | None = None

    def __str__(self) -> str:
        if self.num_outputs is None:
            return self.network
        return f"{self.network} with {self.num_outputs} outputs"


def efficientnet_spec(extractor: Extractor) -> EfficientNetSpec:
    """The variant of EfficientNet of a visual extractor."""
    variant = extractor.network.removeprefix("efficientnet_")
    return EfficientNetSpec(variant, extractor.output_dim)


def of_state(state: Mapping[str, np.ndarray]) -> Recognised | None:
    """The network that the names of a state dict tell; None: they tell nothing."""
    shapes = {name: array.shape for name, array in state.items()}
    if "conv_head.weight" in shapes and "conv_stem.weight" in shapes:
        blocks = sum(name.endswith(".conv_dw.weight") for name in shapes)
        found = {
            shapes[name]
            for name in ("classifier.weight", "classifier.0.weight")
            if name in shapes
        }
        outputs = found.pop()[0] if len(found) == 1 else None
        return _efficientnet(shapes["conv_head.weight"], blocks, outputs)
    if "features.0.weight" in shapes and "embeddings.0.weight" in shapes:
        return Recognised("vggish")
    if "bbox_head.multi_level_kps.0.conv1.weight" in shapes:
        return Recognised("yunet")
    if "blocks.0.ls1.gamma" in shapes or dinov2.PROJECTION in shapes:
        width = shapes.get("norm.weight", shapes.get("layernorm.weight", (0,)))[0]
        return Recognised(_DINOV2.get(width, f"a DINOv2 of width {width}"))
    if any(".pos_conv" in name for name in shapes):
        gates = any("gru_rel_pos" in name or "grep_linear" in name for name in shapes)
        large = any(".layers.23." in name for name in shapes)
        base = "wavlm_base" if gates else "wav2vec2"
        return Recognised(f"{base.removesuffix('_base')}_large" if large else base)
    if any(name in shapes for name in ("fc1.weight", "ahead.0.weight", "conv1.weight")):
        return Recognised("head")
    return None


def of_layers(layers: Sequence[OnnxLayer]) -> Recognised | None:
    """The network that layers of an ``.onnx`` file tell; None: they tell nothing."""
    convolutions = [layer for layer in layers if layer.kind == "Conv"]
    depthwise = [c for c in convolutions if c.weight.shape[1:2] == (1,)]
    if not depthwise or layers[-1].weight.ndim != 2:
        return None
    outputs = layers[-1].weight.shape[0]
    return _efficientnet(convolutions[-1].weight.shape, len(depthwise), outputs)


def _efficientnet(
    last: tuple[int, ...], blocks: int, outputs: int | None
) -> Recognised:
    width = last[0] if last else 0
    other = f"an EfficientNet of {blocks} blocks and width {width}"
    return Recognised(_EFFICIENTNETS.get((width, blocks), other), outputs)


def _of(network: AnyNetwork) -> Recognised:
    """What a file of its weights is to be recognised as."""
    outputs = network.output_dim if isinstance(network, Extractor) else 0
    return Recognised(network.network, outputs or None)


def check_network(found: Recognised | None, wanted: AnyNetwork, file: str) -> None:
    """Check that ``found`` may be the network that is wanted.

    Raises:
        ConversionError: If it is another; the message names the networks that the file
            may belong to.
    """
    expected = _of(wanted)
    if found is None or found == expected:
        return
    if found.network == wanted.network and found.num_outputs is None:
        return
    if found.network == "head":
        raise ConversionError(
            f"{file} holds a head; expected {expected} for {wanted.name}; convert it "
            "with 'avemo convert head FILE --out OUT'"
        )
    fitting = [name for name, one in NETWORKS.items() if _of(one) == found]
    hint = "which is no network of ours; take another file"
    if fitting:
        hint = f"convert it as {' or '.join(fitting)}, which it may be"
    raise ConversionError(
        f"{file} holds {found}; expected {expected} for {wanted.name}; {hint}"
    )
