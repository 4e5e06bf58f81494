"""Sizes of wav2vec 2.0 networks, their tensors in files, and their parameters."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal

import jax
import numpy as np
from jaxtyping import Int

from avemo_jax.extractors.state_dicts import affine, affine_shapes, check_state

# Taps of the positional convolution that are computed in one row.
TAPS_IN_ROW = 16


@dataclasses.dataclass(frozen=True)
class Wav2Vec2Spec:
    """Sizes and switches of a network, as its published configuration has them.

    Attributes:
        conv_dims: Channels after each convolution.
        conv_kernels: Taps of each convolution.
        conv_strides: Stride of each convolution.
        conv_bias: Whether the convolutions have a bias.
        feat_extract_norm: "group": GroupNorm with one channel a group, over all of the
            track, after the first convolution. "layer": LayerNorm after each.
        do_stable_layer_norm: Whether the Transformer's layers norm first, not last.
        hidden_size: Width of the Transformer; length of the vectors.
        num_layers: Layers of the Transformer.
        num_heads: Heads of its attention.
        ffn_dim: Width between the two products of its feed-forward part.
        pos_kernel: Taps of the positional convolution.
        pos_groups: Groups of the positional convolution.
        position_buckets: Buckets of distances between frames, whose biases the
            attention adds with gates, as WavLM does; 0: there are none.
        max_distance: Frames from which on all distances are in one bucket.
    """

    conv_dims: tuple[int, ...] = (512,) * 7
    conv_kernels: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    conv_strides: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    conv_bias: bool = False
    feat_extract_norm: Literal["group", "layer"] = "group"
    do_stable_layer_norm: bool = False
    hidden_size: int = 768
    num_layers: int = 12
    num_heads: int = 12
    ffn_dim: int = 3072
    pos_kernel: int = 128
    pos_groups: int = 16
    position_buckets: int = 0
    max_distance: int = 800

    @property
    def hop(self) -> int:
        """Samples from one vector to the next."""
        return math.prod(self.conv_strides)

    @property
    def receptive_field(self) -> int:
        """Samples that the local part of one vector sees."""
        return self.samples_for(1)

    def frames_in(self, samples: int) -> int:
        """Number of vectors from ``samples`` samples; 0 if they are too few for one."""
        for kernel, stride in zip(self.conv_kernels, self.conv_strides, strict=True):
            samples = (samples - kernel) // stride + 1 if samples >= kernel else 0
        return samples

    def samples_for(self, frames: int) -> int:
        """Number of samples that ``frames`` vectors (1 or more) are made of."""
        pairs = list(zip(self.conv_kernels, self.conv_strides, strict=True))
        for kernel, stride in reversed(pairs):
            frames = (frames - 1) * stride + kernel
        return frames

    def buckets_of(
        self, distances: Int[np.ndarray, " distances"]
    ) -> Int[np.ndarray, " distances"]:
        """The bucket of each distance, as WavLM has them.

        Near ones have a bucket each, far ones share them, on either side.

        Args:
            distances: Frames that a key comes after the query.
        """
        half = self.position_buckets // 2
        exact = half // 2
        away = np.abs(distances)
        # In float32, as the reference has them, which decides on the edges.
        far = np.log(np.maximum(away, exact).astype(np.float32) / np.float32(exact))
        far = far / np.float32(math.log(self.max_distance / exact))
        bucket = exact + (far * np.float32(half - exact)).astype(int)
        bucket = np.where(away < exact, away, np.minimum(bucket, half - 1))
        return bucket + half * (distances > 0)


BASE = Wav2Vec2Spec()
_LARGE = Wav2Vec2Spec(
    feat_extract_norm="layer",
    do_stable_layer_norm=True,
    hidden_size=1024,
    num_layers=24,
    num_heads=16,
    ffn_dim=4096,
)
# By the name of the network in the table of extractors.
SPECS = {
    "wav2vec2": BASE,
    "wav2vec2_large": dataclasses.replace(_LARGE, conv_bias=True),
    "wavlm_base": dataclasses.replace(BASE, position_buckets=320),
    "wavlm_large": dataclasses.replace(_LARGE, position_buckets=320),
}


def state_shapes(spec: Wav2Vec2Spec) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors in files."""
    shapes: dict[str, tuple[int, ...]] = {"masked_spec_embed": (spec.hidden_size,)}
    inputs = 1
    for i, (dim, kernel) in enumerate(
        zip(spec.conv_dims, spec.conv_kernels, strict=True)
    ):
        name = f"feature_extractor.conv_layers.{i}"
        shapes[f"{name}.conv.weight"] = (dim, inputs, kernel)
        if spec.conv_bias:
            shapes[f"{name}.conv.bias"] = (dim,)
        if i == 0 or spec.feat_extract_norm == "layer":
            shapes |= affine_shapes(f"{name}.layer_norm", dim)
        inputs = dim
    hidden, ffn = spec.hidden_size, spec.ffn_dim
    shapes |= affine_shapes("feature_projection.layer_norm", inputs)
    shapes |= affine_shapes("feature_projection.projection", hidden, inputs)
    position = "encoder.pos_conv_embed.conv"
    shapes[f"{position}.bias"] = (hidden,)
    shapes[f"{position}.weight_g"] = (1, 1, spec.pos_kernel)
    shapes[f"{position}.weight_v"] = (
        hidden,
        hidden // spec.pos_groups,
        spec.pos_kernel,
    )
    shapes |= affine_shapes("encoder.layer_norm", hidden)
    for i in range(spec.num_layers):
        name = f"encoder.layers.{i}"
        for part in ("k_proj", "v_proj", "q_proj", "out_proj"):
            shapes |= affine_shapes(f"{name}.attention.{part}", hidden, hidden)
        if spec.position_buckets:
            shapes |= _gate_shapes(spec, f"{name}.attention", is_first=i == 0)
        shapes |= affine_shapes(f"{name}.layer_norm", hidden)
        shapes |= affine_shapes(f"{name}.feed_forward.intermediate_dense", ffn, hidden)
        shapes |= affine_shapes(f"{name}.feed_forward.output_dense", hidden, ffn)
        shapes |= affine_shapes(f"{name}.final_layer_norm", hidden)
    return shapes


def _gate_shapes(
    spec: Wav2Vec2Spec, name: str, *, is_first: bool
) -> dict[str, tuple[int, ...]]:
    """The gates of a layer, and in the first one the biases that all share."""
    heads = spec.num_heads
    shapes: dict[str, tuple[int, ...]] = {
        f"{name}.gru_rel_pos_const": (1, heads, 1, 1),
        **affine_shapes(f"{name}.gru_rel_pos_linear", 8, spec.hidden_size // heads),
    }
    if is_first:
        shapes[f"{name}.rel_attn_embed.weight"] = (spec.position_buckets, heads)
    return shapes


def prepare(
    spec: Wav2Vec2Spec,
    state: Mapping[str, np.ndarray],
    *,
    dtype: str = "float32",
) -> dict[str, Any]:
    """Parameters for the functions of ``wav2vec2.py``.

    Weight norm is folded into its weight, and the queries' scale into their projection,
    in float64; queries, keys and values become one product; weights are (inputs,
    outputs).

    Args:
        spec: Sizes of the network.
        state: Tensors by name, with the names and shapes of :func:`state_shapes`. Only
            ``masked_spec_embed``, which serves training, may be missing.
        dtype: Type of the result; "float64" for checks.

    Raises:
        ValueError: If a tensor is missing, of another shape, or not known.
    """
    shapes = state_shapes(spec)
    optional = {"masked_spec_embed": shapes.pop("masked_spec_embed")}
    check_state("a wav2vec 2.0 of this spec", state, shapes, optional)
    convolutions = {}
    for i in range(len(spec.conv_dims)):
        name = f"feature_extractor.conv_layers.{i}"
        layer: dict[str, Any] = {
            "weight": state[f"{name}.conv.weight"].transpose(2, 1, 0)
        }
        if spec.conv_bias:
            layer["bias"] = state[f"{name}.conv.bias"]
        if f"{name}.layer_norm.weight" in state:
            layer["norm"] = affine(state, f"{name}.layer_norm")
        convolutions[str(i)] = layer
    transformer = {
        "norm": affine(state, "feature_projection.layer_norm"),
        "projection": _linear(state, "feature_projection.projection"),
        "positions": {
            "weight": _positions(spec, state),
            "bias": state["encoder.pos_conv_embed.conv.bias"],
        },
        "encoder_norm": affine(state, "encoder.layer_norm"),
        "layers": {
            str(i): _layer(spec, state, f"encoder.layers.{i}", dtype)
            for i in range(spec.num_layers)
        },
    }
    if spec.position_buckets:
        first = "encoder.layers.0.attention.rel_attn_embed.weight"
        transformer["distances"] = state[first]
    params = {"convolutions": {"layers": convolutions}, "transformer": transformer}
    return jax.tree.map(lambda x: np.ascontiguousarray(x, np.dtype(dtype)), params)


def _linear(state: Mapping[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    return {"weight": state[f"{name}.weight"].T, "bias": state[f"{name}.bias"]}


def _layer(
    spec: Wav2Vec2Spec, state: Mapping[str, np.ndarray], name: str, dtype: str
) -> dict[str, Any]:
    scale = (spec.hidden_size // spec.num_heads) ** -0.5
    query, key, value = (
        _linear(state, f"{name}.attention.{part}_proj") for part in ("q", "k", "v")
    )
    query = {part: np.asarray(x, np.float64) * scale for part, x in query.items()}
    gates = {"gates": _gates(state, name)} if spec.position_buckets else {}
    return gates | {
        "mixed": {
            part: np.concatenate(
                [query[part], key[part], value[part]], axis=-1, dtype=dtype
            )
            for part in ("weight", "bias")
        },
        "out": _linear(state, f"{name}.attention.out_proj"),
        "norm": affine(state, f"{name}.layer_norm"),
        "wide": _linear(state, f"{name}.feed_forward.intermediate_dense"),
        "narrow": _linear(state, f"{name}.feed_forward.output_dense"),
        "final_norm": affine(state, f"{name}.final_layer_norm"),
    }


def _gates(state: Mapping[str, np.ndarray], name: str) -> dict[str, Any]:
    """The gates of a layer: each of two is the sum of four outputs of a product."""
    linear = _linear(state, f"{name}.attention.gru_rel_pos_linear")
    return {
        "gates": {
            part: np.asarray(x, np.float64).reshape(*x.shape[:-1], 2, 4).sum(axis=-1)
            for part, x in linear.items()
        },
        "scale": state[f"{name}.attention.gru_rel_pos_const"].reshape(-1),
    }


def _positions(spec: Wav2Vec2Spec, state: Mapping[str, np.ndarray]) -> np.ndarray:
    """The positional convolution's weight: (groups, taps, inputs, rows, outputs).

    An element belongs to tap ``TAPS_IN_ROW * row + tap`` of the convolution; taps that
    are missing in the last row are 0.
    """
    name = "encoder.pos_conv_embed.conv"
    direction = np.asarray(state[f"{name}.weight_v"], np.float64)
    length = np.sqrt(np.square(direction).sum(axis=(0, 1), keepdims=True))
    weight = state[f"{name}.weight_g"] * direction / length
    weight = np.pad(weight, [(0, 0), (0, 0), (0, -spec.pos_kernel % TAPS_IN_ROW)])
    outputs, inputs, taps = weight.shape
    groups, rows = spec.pos_groups, taps // TAPS_IN_ROW
    weight = weight.reshape(groups, outputs // groups, inputs, rows, TAPS_IN_ROW)
    return weight.transpose(0, 4, 2, 3, 1)
