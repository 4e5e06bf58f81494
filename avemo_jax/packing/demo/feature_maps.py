"""The channels of the demo corpus -> features under the names of real extractors."""

import dataclasses

import numpy as np
from jaxtyping import Float, Int

from avemo_jax.data.features.names import EXTRACTORS, full_name
from avemo_jax.data.records import Modality
from avemo_jax.packing.demo.parameters import Parameters
from avemo_jax.packing.demo.signals import expression_looks, stream

DEMO_EXTRACTORS = ("enet_b2_8_best", "enet_b0_8_va_mtl", "wav2vec2_base", "vggish")
# Index of each of our expressions in AffectNet's order: Anger, Contempt, Disgust, Fear,
# Happiness, Neutral, Sadness, Surprise; Other is given the place of Contempt.
AFFECTNET_INDEX = (5, 0, 2, 3, 4, 6, 7, 1)
_HOP_S = 0.96  # VGGish's


@dataclasses.dataclass(frozen=True)
class FeatureMap:
    """A fixed random network, channels -> tanh layer -> features.

    Attributes:
        name: Full name of the feature set.
        number: Index in `DEMO_EXTRACTORS`; part of the set's random streams.
        kind: "visual" or "audio".
        dim: Values a frame.
        output_dim: Columns of the extractor's own outputs; 0: it has none.
        inner: Weights of the tanh layer.
        inner_bias: Biases of the tanh layer.
        outer: Weights from the tanh layer to the features.
        outer_bias: Biases of the features.
    """

    name: str
    number: int
    kind: Modality
    dim: int
    output_dim: int
    inner: Float[np.ndarray, "size hidden"]
    inner_bias: Float[np.ndarray, " hidden"]
    outer: Float[np.ndarray, "hidden dim"]
    outer_bias: Float[np.ndarray, " dim"]


def make_map(p: Parameters, extractor: str) -> FeatureMap:
    """The map of one of `DEMO_EXTRACTORS`."""
    known, number = EXTRACTORS[extractor], DEMO_EXTRACTORS.index(extractor)
    channels = p.face if known.kind == "visual" else p.voice
    size = sum(c.size for c in channels)
    rng = stream(p, 20, number)
    inner = rng.standard_normal((size, p.hidden)) * p.map_gain / np.sqrt(size)
    inner_bias = 0.5 * rng.standard_normal(p.hidden)
    outer = rng.standard_normal((p.hidden, known.dim)) * 1.6 / np.sqrt(p.hidden)
    outer_bias = 0.3 * rng.standard_normal(known.dim)
    return FeatureMap(
        name=full_name(extractor),
        number=number,
        kind=known.kind,
        dim=known.dim,
        output_dim=known.output_dim,
        inner=inner,
        inner_bias=inner_bias,
        outer=outer.astype(np.float32),
        outer_bias=outer_bias.astype(np.float32),
    )


def apply_map(
    p: Parameters,
    feature_map: FeatureMap,
    channels: Float[np.ndarray, "frames size"],
    rng: np.random.Generator,
    fps: float,
) -> Float[np.ndarray, "frames dim"]:
    """Features of all frames, float16.

    Visual ones are mostly small and seldom large, as pooled SiLU activations are;
    wav2vec2's are centred; VGGish's are 8-bit values in [0, 1], one vector per 0.96 s.

    Args:
        p: Parameters of the corpus.
        feature_map: The map of the set.
        channels: `Signals.face` or `Signals.voice`.
        rng: The random stream of this set in this video.
        fps: Frames per second, for the hops of VGGish.
    """
    hop = None
    if "vggish" in feature_map.name:
        channels, hop = _hops(channels, fps)
        channels = channels + p.hop_noise * rng.standard_normal(channels.shape)
    else:
        channels = channels + p.set_noise * rng.standard_normal(channels.shape)
    hidden = np.tanh(channels @ feature_map.inner + feature_map.inner_bias)
    values = hidden.astype(np.float32) @ feature_map.outer + feature_map.outer_bias
    noise = rng.standard_normal(values.shape, dtype=np.float32)
    noise *= np.float32(p.feature_noise)
    if feature_map.kind == "visual":
        values = values - np.float32(0.3)
        result = 0.5 * values / (1 + np.exp(-values)) + np.float32(0.3) * noise
    elif hop is None:
        result = np.float32(0.25) * (values + noise)
    else:
        unit = np.clip(0.5 + 0.18 * (values + noise), 0, 1)
        result = (np.round(unit * 255) / np.float32(255))[hop]
    return result.astype(np.float16)


def own_outputs(
    p: Parameters,
    feature_map: FeatureMap,
    channels: Float[np.ndarray, "frames size"],
    rng: np.random.Generator,
) -> Float[np.ndarray, "frames outputs"] | None:
    """The visual extractor's own 8 logits in AffectNet's order, then valence, arousal.

    Only extractors with more than 8 outputs have the last two; audio sets have none
    (None). The outputs depend only on the looks of a single frame.
    """
    if not feature_map.output_dim:
        return None
    looks = expression_looks(p) * p.face[0].gain
    seen = channels[:, : looks.shape[1]]
    ours = 2.0 * (seen @ looks.T - 0.5 * (looks**2).sum(axis=1))
    logits = np.empty_like(ours)
    logits[:, list(AFFECTNET_INDEX)] = ours + 0.5 * rng.standard_normal(ours.shape)
    if feature_map.output_dim == 8:
        return logits.astype(np.float32)
    first = [c.name for c in p.face].index("valence")
    at = sum(c.size for c in p.face[:first])
    gains = np.array([c.gain for c in p.face[first : first + 2]])
    va = np.tanh(channels[:, at : at + 2] / gains)
    return np.hstack([logits, va]).astype(np.float32)


def _hops(
    channels: Float[np.ndarray, "frames size"], fps: float
) -> tuple[Float[np.ndarray, "hops size"], Int[np.ndarray, " frames"]]:
    """Means over hops of 0.96 s, and the hop of each frame."""
    num_frames = len(channels)
    num_hops = max(1, int(num_frames / fps / _HOP_S))
    hop = np.arange(num_frames) * num_hops // num_frames
    sums = np.zeros((num_hops, channels.shape[1]))
    np.add.at(sums, hop, channels)
    return sums / np.bincount(hop)[:, None], hop
