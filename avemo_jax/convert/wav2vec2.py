"""wav2vec 2.0 and WavLM: tensors by Hugging Face's, torchaudio's or fairseq's names."""

import re
from collections.abc import Mapping

import numpy as np

from avemo_jax.convert.rules import IDENTITY, Ignored, Renamed, Renaming, rename
from avemo_jax.extractors.wav2vec2_spec import Wav2Vec2Spec, state_shapes

MASK = "masked_spec_embed"
MASK_REASON = "zeros: the source has none, and only training uses it"
_TRAINING = "for training by contrast: not part of the network"
_OUTPUT = "output layer of a recogniser: not part of the network"
_BOTH = r"(weight|bias)"

# Versions of torch store weight norm in two ways.
_NORMED = tuple(
    Renaming(rf"PREFIX\.{stored}", rf"encoder.pos_conv_embed.conv.{kept}")
    for stored, kept in (
        ("weight_g", "weight_g"),
        ("weight_v", "weight_v"),
        (r"parametrizations\.weight\.original0", "weight_g"),
        (r"parametrizations\.weight\.original1", "weight_v"),
        ("bias", "bias"),
    )
)


def _positions(prefix: str) -> tuple[Renaming, ...]:
    """Rules for the positional convolution, called ``prefix`` in the source."""
    escaped = re.escape(prefix)
    return tuple(
        Renaming(rule.pattern.replace("PREFIX", escaped), rule.target)
        for rule in _NORMED
    )


_PREFIXES = {
    "huggingface": r"(?:wav2vec2|wavlm)\.",
    "torchaudio": r"wav2vec2\.",
    "fairseq": r"(?:w2v_encoder\.)?w2v_model\.",
}
_RULES: dict[str, tuple[Renaming, ...]] = {
    "huggingface": (*_positions("encoder.pos_conv_embed.conv"), IDENTITY),
    "torchaudio": (
        Renaming(r"(feature_extractor\..+)", r"\1"),
        Renaming(r"encoder\.(feature_projection\..+)", r"\1"),
        *_positions("encoder.transformer.pos_conv_embed.conv"),
        Renaming(r"encoder\.transformer\.(layer_norm\..+)", r"encoder.\1"),
        Renaming(r"encoder\.transformer\.(layers\..+)", r"encoder.\1"),
    ),
    "fairseq": (
        Renaming("mask_emb", MASK),
        Renaming(
            rf"(feature_extractor\.conv_layers\.\d+)\.0\.{_BOTH}",
            r"\1.conv.\2",
        ),
        # GroupNorm stands third; LayerNorm between two transpositions.
        Renaming(
            rf"(feature_extractor\.conv_layers\.\d+)\.2\.(?:1\.)?{_BOTH}",
            r"\1.layer_norm.\2",
        ),
        Renaming(rf"layer_norm\.{_BOTH}", r"feature_projection.layer_norm.\1"),
        Renaming(rf"post_extract_proj\.{_BOTH}", r"feature_projection.projection.\1"),
        *_positions("encoder.pos_conv.0"),
        Renaming(rf"encoder\.layer_norm\.{_BOTH}", r"encoder.layer_norm.\1"),
        Renaming(
            rf"(encoder\.layers\.\d+)\.self_attn\.([kvq]|out)_proj\.{_BOTH}",
            r"\1.attention.\2_proj.\3",
        ),
        Renaming(
            r"(encoder\.layers\.\d+)\.self_attn\.grep_a",
            r"\1.attention.gru_rel_pos_const",
        ),
        Renaming(
            rf"(encoder\.layers\.\d+)\.self_attn\.grep_linear\.{_BOTH}",
            r"\1.attention.gru_rel_pos_linear.\2",
        ),
        Renaming(
            r"encoder\.layers\.0\.self_attn\.relative_attention_bias\.weight",
            r"encoder.layers.0.attention.rel_attn_embed.weight",
        ),
        Renaming(
            rf"(encoder\.layers\.\d+)\.self_attn_layer_norm\.{_BOTH}",
            r"\1.layer_norm.\2",
        ),
        Renaming(
            rf"(encoder\.layers\.\d+)\.fc1\.{_BOTH}",
            r"\1.feed_forward.intermediate_dense.\2",
        ),
        Renaming(
            rf"(encoder\.layers\.\d+)\.fc2\.{_BOTH}",
            r"\1.feed_forward.output_dense.\2",
        ),
        Renaming(
            rf"(encoder\.layers\.\d+\.final_layer_norm)\.{_BOTH}",
            r"\1.\2",
        ),
    ),
}
_IGNORED: dict[str, tuple[Ignored, ...]] = {
    "huggingface": (
        Ignored(r"lm_head\..+", _OUTPUT),
        Ignored(r"(quantizer|project_hid|project_q)\..+", _TRAINING),
    ),
    "torchaudio": (Ignored(r"aux\..+", _OUTPUT),),
    "fairseq": (
        Ignored(r"(w2v_encoder\.)?proj\..+", _OUTPUT),
        Ignored(r"(quantizer|project_q|final_proj|target_glu)\..+", _TRAINING),
    ),
}


def naming(state: Mapping[str, np.ndarray]) -> str:
    """The naming of the tensors: "huggingface", "torchaudio" or "fairseq"."""
    if any(re.search(r"(^|\.)post_extract_proj\.", name) for name in state):
        return "fairseq"
    if any(re.search(r"(^|\.)encoder\.transformer\.", name) for name in state):
        return "torchaudio"
    return "huggingface"


def has_mask(state: Mapping[str, np.ndarray]) -> bool:
    """Whether the tensors include the embedding of masked steps, under any name."""
    return any(re.fullmatch(rf"(.+\.)?({MASK}|mask_emb)", name) for name in state)


def is_recogniser(state: Mapping[str, np.ndarray]) -> bool:
    """Whether the network has the output layer of a fine-tuned speech recogniser."""
    return any(re.match(r"(lm_head|aux|(w2v_encoder\.)?proj)\.", n) for n in state)


def from_state(
    state: Mapping[str, np.ndarray],
    spec: Wav2Vec2Spec,
    *,
    file: str,
    wanted: str,
) -> Renamed:
    """The tensors of a state dict with any of the three namings, renamed.

    If the source lacks the embedding of masked steps, zeros take its place.

    Args:
        state: Tensors of the network alone, or of one with an output layer or with
            layers for training, which are left out.
        spec: Sizes of the network.
        file: Name of the source, for errors.
        wanted: Name of the extractor, for errors.

    Raises:
        ConversionError: If the tensors do not fit; all faults are named.
    """
    shapes, whose = state_shapes(spec), naming(state)
    rules = tuple(
        Renaming(f"(?:{_PREFIXES[whose]})?{rule.pattern}", rule.target)
        for rule in _RULES[whose]
    )
    needed = {name: shape for name, shape in shapes.items() if name != MASK}
    mask = {name: shape for name, shape in shapes.items() if name == MASK}
    found = rename(
        state,
        needed,
        rules,
        file=file,
        wanted=wanted,
        ignored=_IGNORED[whose],
        optional=mask,
    )
    for name, shape in mask.items():
        found.tensors.setdefault(name, np.zeros(shape, np.float32))
    return found
