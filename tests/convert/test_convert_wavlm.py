"""WavLM's files with Hugging Face's names, and its authors', who use fairseq's."""

import dataclasses

import numpy as np
import pytest
from made.weights import made_state

from avemo_jax.convert.conversion import convert
from avemo_jax.convert.rules import ConversionError
from avemo_jax.embed.weights import read_weights
from avemo_jax.extractors.wav2vec2_spec import SPECS, Wav2Vec2Spec, state_shapes

torch = pytest.importorskip("torch", reason="needs torch to write its files")
TINY = Wav2Vec2Spec(
    conv_dims=(4,) * 7,
    hidden_size=8,
    num_layers=2,
    num_heads=2,
    ffn_dim=12,
    pos_kernel=8,
    pos_groups=2,
    position_buckets=16,
)
# Of what both call otherwise, in order.
FAIRSEQ = (
    ("masked_spec_embed", "mask_emb"),
    ("feature_projection.layer_norm", "LAYER_NORM"),
    ("feature_projection.projection", "post_extract_proj"),
    ("encoder.pos_conv_embed.conv", "encoder.pos_conv.0"),
    (".conv.weight", ".0.weight"),
    ("conv_layers.0.layer_norm", "conv_layers.0.2"),
    ("attention.gru_rel_pos_const", "self_attn.grep_a"),
    ("attention.gru_rel_pos_linear", "self_attn.grep_linear"),
    ("attention.rel_attn_embed", "self_attn.relative_attention_bias"),
    (".attention.", ".self_attn."),
    ("feed_forward.intermediate_dense", "fc1"),
    ("feed_forward.output_dense", "fc2"),
    ("LAYER_NORM", "layer_norm"),
)


def as_fairseq(name: str) -> str:
    for ours, theirs in FAIRSEQ:
        name = name.replace(ours, theirs)
    if ".layers." in name and "final" not in name:
        name = name.replace(".layer_norm.", ".self_attn_layer_norm.")
    return name


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """The base networks of the table are tiny for now."""
    monkeypatch.setitem(SPECS, "wavlm_base", TINY)
    monkeypatch.setitem(
        SPECS, "wav2vec2", dataclasses.replace(TINY, position_buckets=0)
    )


def converted(tmp_path, name, content):
    torch.save(content, tmp_path / "source.pt")
    out = tmp_path / "out.safetensors"
    convert(name, tmp_path / "source.pt", out)
    return read_weights(out, extractor=name)


@pytest.mark.parametrize("prefix", ["", "wavlm."])
def test_names_of_hugging_face(tmp_path, prefix):
    state = made_state(state_shapes(TINY))
    given = {f"{prefix}{name}": torch.from_numpy(x) for name, x in state.items()}
    tensors, metadata = converted(tmp_path, "wavlm_base_plus", given)
    assert metadata["naming"] == "huggingface"
    assert tensors.keys() == state.keys()
    assert all(np.array_equal(tensors[name], x) for name, x in state.items())


def test_names_of_the_authors(tmp_path):
    state = made_state(state_shapes(TINY))
    given = {as_fairseq(name): torch.from_numpy(x) for name, x in state.items()}
    assert "encoder.layers.1.self_attn.grep_linear.weight" in given
    content = {"cfg": {"encoder_layers": 2}, "model": given}
    tensors, metadata = converted(tmp_path, "wavlm_base_plus", content)
    assert metadata["naming"] == "fairseq"
    assert all(np.array_equal(tensors[name], x) for name, x in state.items())


def test_wavlm_is_no_wav2vec2(tmp_path):
    state = made_state(state_shapes(TINY))
    given = {name: torch.from_numpy(x) for name, x in state.items()}
    with pytest.raises(ConversionError, match=r"holds wavlm_base.*wavlm_base_plus"):
        converted(tmp_path, "wav2vec2_base", given)
