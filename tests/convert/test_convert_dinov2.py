"""DINOv2's files with the names of its authors, timm and Hugging Face."""

import pathlib

import jax
import numpy as np
import pytest
from made.weights import made_state
from reference.torch_libraries import import_transformers

from avemo_jax.convert import networks
from avemo_jax.convert.conversion import convert
from avemo_jax.convert.rules import ConversionError
from avemo_jax.embed.weights import read_weights
from avemo_jax.extractors import dinov2
from avemo_jax.extractors.dinov2 import DinoV2Spec

torch = pytest.importorskip("torch", reason="needs torch to write its files")
TINY = DinoV2Spec(32, num_layers=2, num_heads=2, grid=3)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """The networks of the table are tiny for now."""
    monkeypatch.setitem(dinov2.SPECS, "vits14", TINY)
    monkeypatch.setattr(networks, "_DINOV2", {32: "dinov2_vits14"})


def converted(tmp_path: pathlib.Path, state) -> tuple[dict, dict]:
    tensors = {name: torch.as_tensor(x) for name, x in state.items()}
    torch.save(tensors, tmp_path / "source.pth")
    out = tmp_path / "out.safetensors"
    convert("dinov2_vits14", tmp_path / "source.pth", out)
    return read_weights(out, extractor="dinov2_vits14")


@pytest.mark.parametrize("has_mask", [True, False])
def test_names_of_the_authors(tmp_path, has_mask):
    state = made_state(dinov2.state_shapes(TINY))
    given = {n: x for n, x in state.items() if has_mask or n != "mask_token"}
    tensors, metadata = converted(tmp_path, given)
    assert metadata["naming"] == "dinov2"
    assert tensors.keys() == state.keys()
    for name, value in given.items():
        assert np.array_equal(tensors[name], value)
    assert has_mask or not tensors["mask_token"].any()


# In published files, and in the network of transformers from version 5 on.
OLD_NAMES = {
    "attention.q_proj": "attention.attention.query",
    "attention.k_proj": "attention.attention.key",
    "attention.v_proj": "attention.attention.value",
    "attention.o_proj": "attention.output.dense",
}


@pytest.mark.parity
@pytest.mark.parametrize("is_published", [True, False])
def test_hugging_faces_network_gives_the_same(tmp_path, is_published):
    torch.manual_seed(0)
    config = import_transformers().Dinov2Config(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=42,
        patch_size=14,
        layerscale_value=0.7,
    )
    net = import_transformers().Dinov2Model(config).eval()
    with torch.no_grad():
        for value in net.state_dict().values():
            value.add_(0.1 * torch.randn_like(value))
    state = dict(net.state_dict())
    if is_published:
        for new, old in OLD_NAMES.items():
            state = {name.replace(new, old): x for name, x in state.items()}
    tensors, metadata = converted(tmp_path, state)
    assert metadata["naming"] == "huggingface"
    images = torch.randn(2, 3, 42, 42)
    with torch.inference_mode():
        tokens = net(images).last_hidden_state.numpy()
    expected = np.concatenate([tokens[:, 0], tokens[:, 1:].mean(axis=1)], axis=1)
    params = dinov2.prepare(TINY, tensors, size_px=42)
    run = jax.jit(dinov2.apply, static_argnums=0)
    found = np.asarray(run(TINY, params, images.permute(0, 2, 3, 1).numpy()))
    assert np.abs(found - expected).max() < 2e-5 * expected.std()


def test_another_width_and_a_tensor_too_few(tmp_path):
    wide = made_state(dinov2.state_shapes(DinoV2Spec(48, num_layers=1, grid=3)))
    with pytest.raises(ConversionError, match="holds a DINOv2 of width 48"):
        converted(tmp_path, wide)
    state = made_state(dinov2.state_shapes(TINY))
    del state["blocks.1.ls2.gamma"]
    with pytest.raises(ConversionError, match=r"blocks\.1\.ls2\.gamma .*nothing is"):
        converted(tmp_path, state)
