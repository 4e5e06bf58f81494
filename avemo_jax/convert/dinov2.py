"""DINOv2: tensors by the names of its authors, which timm shares, or Hugging Face's."""

import re
from collections.abc import Mapping

import numpy as np

from avemo_jax.convert.rules import IDENTITY, Renamed, Renaming, rename
from avemo_jax.extractors.dinov2 import DinoV2Spec, state_shapes

# Where Hugging Face has the projection of patches, by which its files are known.
PROJECTION = "embeddings.patch_embeddings.projection.weight"
# The published files have their queries under the first name, transformers since its
# version 5 under the second.
_QUERY = re.compile(
    r"(encoder\.layer\.\d+\.attention\.)(attention\.query|q_proj)\.(\w+)"
)
_PARTS = {
    "attention.query": ("attention.query", "attention.key", "attention.value"),
    "q_proj": ("q_proj", "k_proj", "v_proj"),
}
_BOTH = r"(weight|bias)"
_LAYER = r"encoder\.layer\.(\d+)"
_HUGGINGFACE = (
    Renaming(r"embeddings\.(cls|mask)_token", r"\1_token"),
    Renaming(r"embeddings\.position_embeddings", "pos_embed"),
    Renaming(
        rf"embeddings\.patch_embeddings\.projection\.{_BOTH}", r"patch_embed.proj.\1"
    ),
    Renaming(rf"{_LAYER}\.norm([12])\.{_BOTH}", r"blocks.\1.norm\2.\3"),
    Renaming(rf"{_LAYER}\.attention\.qkv\.{_BOTH}", r"blocks.\1.attn.qkv.\2"),
    Renaming(
        rf"{_LAYER}\.attention\.(?:output\.dense|o_proj)\.{_BOTH}",
        r"blocks.\1.attn.proj.\2",
    ),
    Renaming(rf"{_LAYER}\.layer_scale([12])\.lambda1", r"blocks.\1.ls\2.gamma"),
    Renaming(rf"{_LAYER}\.mlp\.fc([12])\.{_BOTH}", r"blocks.\1.mlp.fc\2.\3"),
    Renaming(rf"layernorm\.{_BOTH}", r"norm.\1"),
)


def naming(state: Mapping[str, np.ndarray]) -> str:
    """The naming of the tensors: "huggingface", or "dinov2", that of its authors."""
    return "huggingface" if PROJECTION in state else "dinov2"


def from_state(
    state: Mapping[str, np.ndarray], spec: DinoV2Spec, *, file: str, wanted: str
) -> Renamed:
    """The tensors of a state dict with either naming, renamed.

    Args:
        state: Tensors of the network alone.
        spec: Sizes of the network.
        file: Name of the source, for errors.
        wanted: Name of the extractor, for errors.

    Raises:
        ConversionError: If the tensors do not fit; all faults are named.
    """
    shapes = state_shapes(spec)
    mask = {"mask_token": shapes.pop("mask_token")}  # timm's files have none
    rules: tuple[Renaming, ...] = (IDENTITY,)
    if naming(state) == "huggingface":
        state, rules = _joined(state), _HUGGINGFACE
    found = rename(state, shapes, rules, file=file, wanted=wanted, optional=mask)
    for name, shape in mask.items():
        found.tensors.setdefault(name, np.zeros(shape, np.float32))
    return found


def _joined(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors with queries, keys and values of a layer as one."""
    joined = dict(state)
    for name in state:
        if found := _QUERY.fullmatch(name):
            names = [f"{found[1]}{part}.{found[3]}" for part in _PARTS[found[2]]]
            if all(one in joined for one in names):
                parts = [joined.pop(one) for one in names]
                joined[f"{found[1]}qkv.{found[3]}"] = np.concatenate(parts)
    return joined
