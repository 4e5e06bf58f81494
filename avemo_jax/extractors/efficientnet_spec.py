"""EfficientNet in numbers: its blocks, and the names and shapes of timm's state."""

import dataclasses
import math
from collections.abc import Iterator

import numpy as np

# Multiples of B0's widths and depths. "tiny" is for tests; it has no published weights.
_SCALES: dict[str, tuple[float, float]] = {
    "b0": (1.0, 1.0),
    "b2": (1.1, 1.2),
    "tiny": (0.1, 0.5),
}
# B0 by table 1 of the paper: blocks, kernel, stride, expansion, channels.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
NUM_STAGES = len(_STAGES)
_STEM, _HEAD = 32, 1280
_SQUEEZE = 4  # a block's input channels per channel of squeeze and excite
NORM_LEAVES = ("weight", "bias", "running_mean", "running_var")


@dataclasses.dataclass(frozen=True)
class BlockSpec:
    """One inverted residual block.

    Attributes:
        kernel: Side of the depthwise kernel in pixels.
        stride: 1 or 2.
        inputs: Channels of the input.
        expanded: Channels of the depthwise layer; if equal to ``inputs``, the block has
            no expanding layer.
        squeezed: Channels of squeeze and excite.
        outputs: Channels of the output.
    """

    kernel: int
    stride: int
    inputs: int
    expanded: int
    squeezed: int
    outputs: int

    @property
    def expands(self) -> bool:
        """Whether a pointwise layer comes first."""
        return self.expanded != self.inputs

    @property
    def adds_input(self) -> bool:
        """Whether the input is added to the output."""
        return self.stride == 1 and self.inputs == self.outputs


@dataclasses.dataclass(frozen=True)
class EfficientNetSpec:
    """The variant of the network, and the number of its outputs.

    Attributes:
        variant: "b0", "b2" or "tiny": its widths and depths.
        num_outputs: Outputs of the classifier; 0 for a network without one.

    Raises:
        ValueError: If the variant is unknown or the number negative.
    """

    variant: str
    num_outputs: int

    def __post_init__(self) -> None:
        """Checks the fields."""
        if self.variant not in _SCALES:
            raise ValueError(
                f"unknown EfficientNet {self.variant!r}; expected one of "
                f"{', '.join(_SCALES)}; correct the variant"
            )
        if self.num_outputs < 0:
            raise ValueError(
                f"EfficientNet with {self.num_outputs} outputs; expected 0 (no "
                "classifier) or more; correct num_outputs"
            )

    @property
    def dim(self) -> int:
        """Length of the embedding."""
        return self._channels(_HEAD)

    @property
    def stem(self) -> int:
        """Channels of the first layer."""
        return self._channels(_STEM)

    @property
    def stages(self) -> tuple[tuple[BlockSpec, ...], ...]:
        """The blocks of each stage."""
        inputs, stages = self.stem, []
        for repeats, kernel, stride, expansion, channels in _STAGES:
            outputs, stage = self._channels(channels), []
            for number in range(math.ceil(repeats * _SCALES[self.variant][1])):
                stage.append(
                    BlockSpec(
                        kernel=kernel,
                        stride=stride if number == 0 else 1,
                        inputs=inputs,
                        expanded=inputs * expansion,
                        squeezed=inputs // _SQUEEZE,
                        outputs=outputs,
                    )
                )
                inputs = outputs
            stages.append(tuple(stage))
        return tuple(stages)

    def _channels(self, channels: int) -> int:
        """Channels scaled to a multiple of 8, the nearest not under nine tenths."""
        scaled = channels * _SCALES[self.variant][0]
        rounded = max(8, int(scaled + 4) // 8 * 8)
        return rounded + 8 if rounded < 0.9 * scaled else rounded


def places(
    spec: EfficientNetSpec, stages: range = range(NUM_STAGES)
) -> Iterator[tuple[str, BlockSpec]]:
    """Name of each block in the tree of parameters, and its sizes."""
    for stage in stages:
        for number, block in enumerate(spec.stages[stage]):
            yield f"block_{stage}_{number}", block


@dataclasses.dataclass(frozen=True)
class ReferenceConv:
    """A convolution of the reference network and its place here.

    Attributes:
        name: Name in the reference network's state.
        shape: Shape of its weight in the reference network.
        norm: Name of the BatchNorm that follows; None: it has a bias instead.
        place: Names that lead to it in the tree of parameters.
    """

    name: str
    shape: tuple[int, ...]
    norm: str | None
    place: tuple[str, ...]

    def ours(self, weight: np.ndarray) -> np.ndarray:
        """The weight in the layout that is computed with: outputs last."""
        if self.place[-1] == "stem":
            return weight.transpose(2, 3, 1, 0)
        if self.place[-1] == "depthwise":
            return weight[:, 0].transpose(1, 2, 0)
        return weight.reshape(weight.shape[:2]).T


def layers(spec: EfficientNetSpec) -> Iterator[ReferenceConv]:
    """All layers with weights, in the reference's order."""
    yield ReferenceConv("conv_stem", (spec.stem, 3, 3, 3), "bn1", ("stem",))
    for place, block in places(spec):
        _, stage, number = place.split("_")
        name = f"blocks.{stage}.{number}"
        wide, side = block.expanded, block.kernel
        norms = [f"{name}.bn{position}" for position in (1, 2, 3)]
        if block.expands:
            shape = (wide, block.inputs, 1, 1)
            yield ReferenceConv(
                f"{name}.conv_pw", shape, norms.pop(0), (place, "expand")
            )
        shape = (wide, 1, side, side)
        yield ReferenceConv(
            f"{name}.conv_dw", shape, norms.pop(0), (place, "depthwise")
        )
        for ours, theirs, shape in (
            ("reduce", "conv_reduce", (block.squeezed, wide, 1, 1)),
            ("expand", "conv_expand", (wide, block.squeezed, 1, 1)),
        ):
            yield ReferenceConv(
                f"{name}.se.{theirs}", shape, None, (place, "excite", ours)
            )
        last = "conv_pwl" if block.expands else "conv_pw"
        shape = (block.outputs, wide, 1, 1)
        yield ReferenceConv(f"{name}.{last}", shape, norms.pop(0), (place, "project"))
    inputs = spec.stages[-1][-1].outputs
    yield ReferenceConv("conv_head", (spec.dim, inputs, 1, 1), "bn2", ("head",))
    if spec.num_outputs:
        yield ReferenceConv(
            "classifier", (spec.num_outputs, spec.dim), None, ("classifier",)
        )


def state_shapes(spec: EfficientNetSpec) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the reference network's state, in its order.

    BatchNorm's running statistics are among them, its counters of batches are not.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in layers(spec):
        shapes[f"{layer.name}.weight"] = layer.shape
        if layer.norm is None:
            shapes[f"{layer.name}.bias"] = layer.shape[:1]
        else:
            for leaf in NORM_LEAVES:
                shapes[f"{layer.norm}.{leaf}"] = layer.shape[:1]
    return shapes


def num_params(spec: EfficientNetSpec) -> int:
    """Number of trainable values; running statistics do not count."""
    shapes = state_shapes(spec).items()
    return sum(math.prod(s) for name, s in shapes if ".running_" not in name)
