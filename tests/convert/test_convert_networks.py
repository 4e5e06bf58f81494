"""Files of the reference networks become the file form, value for value."""

import collections
import copy
import dataclasses
import functools
import re
import shutil
import subprocess
import sys
import warnings

import numpy as np
import pytest
import safetensors.numpy
from reference.torch_libraries import import_timm, import_transformers, state_of

from avemo_jax.convert import (
    efficientnet,
    onnx_file,
    vggish,
    wav2vec2,
)
from avemo_jax.convert.command import main
from avemo_jax.convert.conversion import convert
from avemo_jax.convert.rules import ConversionError
from avemo_jax.embed.weights import read_weights
from avemo_jax.extractors import EXTRACTORS
from avemo_jax.extractors.efficientnet_spec import EfficientNetSpec
from avemo_jax.extractors.efficientnet_spec import layers as layers_of
from avemo_jax.extractors.wav2vec2_spec import SPECS, Wav2Vec2Spec

torch = pytest.importorskip("torch", reason="needs the extra 'parity'")
pytestmark = pytest.mark.parity

B0, B2 = "enet_b0_8_best_vgaf", "enet_b2_8_best"


def timm_network(name: str):
    """With random weights and BatchNorm statistics."""
    timm = import_timm()
    torch.manual_seed(0)
    network = timm.create_model(f"tf_{name}", num_classes=8).eval()
    with torch.no_grad():
        for key, value in network.state_dict().items():
            if key.endswith("running_var"):
                value.uniform_(0.5, 2.0)
            elif key.endswith("running_mean") or value.ndim == 1:
                value.normal_(0.3, 0.5)
    return network


@pytest.fixture(scope="module")
def b0():
    return timm_network("efficientnet_b0")


@pytest.fixture(scope="module")
def b2():
    return timm_network("efficientnet_b2")


def check_equal(got, expected):
    assert got.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(got[name], array, err_msg=name, strict=True)


def converted(name, source, tmp_path, **options):
    out = tmp_path / f"{name}.safetensors"
    done = convert(name, source, out, **options)
    tensors, metadata = read_weights(out)
    assert (done.num_tensors, done.out) == (len(tensors), out)
    assert done.num_parameters == sum(array.size for array in tensors.values())
    return tensors, metadata


# EfficientNet, from PyTorch.


@pytest.mark.parametrize("name", [B0, pytest.param(B2, marks=pytest.mark.slow)])
def test_state_dict(name, b0, b2, tmp_path):
    network = {B0: b0, B2: b2}[name]
    torch.save(network.state_dict(), tmp_path / "mine.pth")
    tensors, metadata = converted(name, tmp_path / "mine.pth", tmp_path)
    check_equal(tensors, state_of(network))
    assert metadata["extractor"] == name
    assert metadata["known_source"] is False
    assert metadata["source"] == "mine.pth"
    assert len(metadata["source_sha256"]) == 64
    assert len(metadata["source_git_blob"]) == 40
    assert metadata["licence"] == EXTRACTORS[name].licence
    assert metadata["network"] == EXTRACTORS[name].network
    assert metadata["outputs"] == list(EXTRACTORS[name].outputs)
    assert metadata["preprocessing"]["size_px"] == 224
    assert metadata["preprocessing"]["mean"] == [0.485, 0.456, 0.406]
    assert metadata["preprocessing"]["channels"] == "RGB"


@pytest.mark.slow
def test_whole_module_with_a_classifier_in_a_sequence(b0, tmp_path):
    network = copy.deepcopy(b0)
    expected = state_of(network)
    network.classifier = torch.nn.Sequential(network.classifier)
    torch.save(network, tmp_path / "whole.pt")
    check_equal(converted(B0, tmp_path / "whole.pt", tmp_path)[0], expected)


def test_state_dict_among_other_things(b0, tmp_path):
    state = {f"module.{k}": v for k, v in b0.state_dict().items()}
    content = {"epoch": 3, "state_dict": state, "optimizer": {"lr": 0.1}}
    torch.save(content, tmp_path / "run.ckpt")
    check_equal(converted(B0, tmp_path / "run.ckpt", tmp_path)[0], state_of(b0))


def test_safetensors_of_timm(b0, tmp_path):
    source = tmp_path / "model.safetensors"
    safetensors.numpy.save_file(state_of(b0), source, {"format": "pt"})
    check_equal(converted(B0, source, tmp_path)[0], state_of(b0))


@pytest.mark.parametrize(
    ("name", "network", "outputs", "message"),
    [
        (
            "enet_b0_8_va_mtl",
            "efficientnet_b0",
            8,
            "holds efficientnet_b0 with 8 outputs; expected efficientnet_b0 with 10 "
            "outputs for enet_b0_8_va_mtl; convert it as enet_b0_8_best_vgaf",
        ),
        (
            B2,
            "efficientnet_b0",
            10,
            "expected efficientnet_b2 with 8 outputs for enet_b2_8_best; convert it "
            "as enet_b0_8_va_mtl",
        ),
        pytest.param(
            B0,
            "efficientnet_b2",
            8,
            "convert it as enet_b2_8_best or enet_b2_8, which it may be",
            marks=pytest.mark.slow,
        ),
        (B0, "efficientnet_b0", 1000, "no network of ours"),
        pytest.param(
            B0,
            "efficientnet_b1",
            8,
            "an EfficientNet of 23 blocks and width 1280",
            marks=pytest.mark.slow,
        ),
        ("vggish", "efficientnet_b0", 8, "expected vggish for vggish"),
    ],
)
def test_another_network_is_recognised(
    name, network, outputs, message, b0, b2, tmp_path
):
    known = {"efficientnet_b0": b0, "efficientnet_b2": b2}
    state = dict((known.get(network) or timm_network(network)).state_dict())
    state["classifier.weight"] = torch.zeros(outputs, len(state["bn2.weight"]))
    state["classifier.bias"] = torch.zeros(outputs)
    torch.save(state, tmp_path / "other.pt")
    with pytest.raises(ConversionError, match=re.escape(message)):
        convert(name, tmp_path / "other.pt", tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


def test_what_is_missing_and_surplus_is_listed(b0, tmp_path):
    state = dict(b0.state_dict())
    state["surplus"] = state.pop("blocks.3.1.bn2.weight")
    torch.save(state, tmp_path / "odd.pt")
    with pytest.raises(ConversionError) as caught:
        convert(B0, tmp_path / "odd.pt", tmp_path / "out.safetensors")
    assert caught.value.faults == (
        "destination blocks.3.1.bn2.weight (480,): nothing is written to it",
        "source surplus (480,): has no place",
    )


# EfficientNet, from ONNX.

EXPORTS = {
    "folded": {"dynamo": False},
    "kept": {
        "dynamo": False,
        "do_constant_folding": False,
        "training": torch.onnx.TrainingMode.PRESERVE,
    },
    "dynamo, unoptimised": {"dynamo": True, "optimize": False, "verbose": False},
}


def export(network, path, **options):
    image = torch.zeros(1, 3, 64, 64)
    with warnings.catch_warnings():  # of torch's own deprecations
        warnings.simplefilter("ignore")
        return torch.onnx.export(network, (image,), str(path), **options)


@pytest.fixture(scope="module")
def exported(b0, tmp_path_factory):
    """Files of B0 by form; each is written once."""
    pytest.importorskip("onnx", reason="needs the extra 'parity'")
    folder = tmp_path_factory.mktemp("exported")

    @functools.cache
    def path_of(form):
        path = folder / f"{form}.onnx"
        program = export(b0, path, **EXPORTS[form])
        if program is not None:  # what torch.onnx.export does unless told not to
            program.optimize()
            program.save(folder / "dynamo.onnx", external_data=True)
        return path

    def path(form):
        if form == "dynamo":
            return path_of("dynamo, unoptimised").with_name("dynamo.onnx")
        return path_of(form)

    return path


def check_folds_alike(got, network, variant="b0"):
    """The folded convolutions are the network's; each layer, to float32's rounding."""
    expected = state_of(network)
    assert {n: a.shape for n, a in got.items()} == {
        n: a.shape for n, a in expected.items()
    }
    for layer in layers_of(EfficientNetSpec(variant, 8)):
        pairs = zip(fold(got, layer), fold(expected, layer), strict=True)
        for mine, theirs in pairs:
            scale = np.abs(theirs).max()
            np.testing.assert_allclose(mine, theirs, rtol=0, atol=3e-7 * scale)


def fold(state, layer):
    weight = state[f"{layer.name}.weight"].astype(np.float64)
    if layer.norm is None:
        return weight, state[f"{layer.name}.bias"]
    scale, bias, mean, variance = (
        state[f"{layer.norm}.{part}"].astype(np.float64)
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    scale = scale / np.sqrt(variance + 1e-3)
    return weight * scale[:, None, None, None], bias - mean * scale


@pytest.mark.parametrize(
    "form",
    [
        "folded",
        pytest.param("kept", marks=pytest.mark.slow),
        pytest.param("dynamo", marks=pytest.mark.release),
        pytest.param("dynamo, unoptimised", marks=pytest.mark.release),
    ],
)
def test_onnx(form, b0, exported, tmp_path):
    path = exported(form)
    tensors, metadata = converted(B0, path, tmp_path)
    layers = onnx_file.read_layers(path)
    if metadata["batch_norm"] == "kept":
        check_equal(tensors, state_of(b0))
    else:
        check_folds_alike(tensors, b0)
        check_folding_changes_nothing(tensors, layers)
    expected = {"kept": "kept", "dynamo, unoptimised": "kept"}.get(form, "folded")
    assert metadata["batch_norm"] == expected


def check_folding_changes_nothing(tensors, layers):
    """Folded in float64, each layer is bit for bit what the file has."""
    places = layers_of(EfficientNetSpec("b0", 8))
    for layer, place in zip(layers, places, strict=True):
        weight, bias = fold(tensors, place)
        np.testing.assert_array_equal(weight.astype(np.float32), layer.weight)
        np.testing.assert_array_equal(bias.astype(np.float32), layer.bias)


@pytest.mark.slow
def test_onnx_of_b2(b2, tmp_path):
    pytest.importorskip("onnx", reason="needs the extra 'parity'")
    path = tmp_path / "b2.onnx"
    export(b2, path, **EXPORTS["folded"])
    names = {layer.name for layer in onnx_file.read_layers(path)}
    assert any(name.startswith("onnx::Conv_") for name in names)
    check_folds_alike(converted("enet_b2_8", path, tmp_path)[0], b2, "b2")
    with pytest.raises(ConversionError, match="convert it as enet_b2_8_best or"):
        convert(B0, path, tmp_path / "b0.safetensors")


def test_onnx_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    (tmp_path / "a.onnx").write_bytes(b"")
    with pytest.raises(ConversionError, match=r'install it with: pip install "onnx'):
        convert(B0, tmp_path / "a.onnx", tmp_path / "a.safetensors")


def made_model(nodes, **arrays):
    onnx = pytest.importorskip("onnx", reason="needs the extra 'parity'")
    constants = [onnx.numpy_helper.from_array(a, name=n) for n, a in arrays.items()]
    made = [
        onnx.helper.make_node(op, inputs.split(), [out], **attributes)
        for op, inputs, out, attributes in nodes
    ]
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, None)
    last = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
    graph = onnx.helper.make_graph(made, "made", [value], [last], constants)
    return onnx.helper.make_model(graph)


def made_layers(tmp_path, nodes, **arrays):
    onnx = pytest.importorskip("onnx", reason="needs the extra 'parity'")
    onnx.save(made_model(nodes, **arrays), tmp_path / "made.onnx")
    return onnx_file.read_layers(tmp_path / "made.onnx")


WEIGHT = np.arange(6, dtype=np.float32).reshape(3, 2)  # (outputs, inputs)
BIAS = np.array([1, 2, 3], np.float32)


@pytest.mark.parametrize(
    ("nodes", "arrays"),
    [
        ([("Gemm", "x w b", "y", {"transB": 1})], {"w": WEIGHT, "b": BIAS}),
        ([("Gemm", "x w b", "y", {})], {"w": WEIGHT.T.copy(), "b": BIAS}),
        (
            [("MatMul", "x w", "z", {}), ("Add", "z b", "y", {})],
            {"w": WEIGHT.T.copy(), "b": BIAS},
        ),
        (
            [("MatMul", "x w", "z", {}), ("Add", "b z", "y", {})],
            {"w": WEIGHT.T.copy(), "b": BIAS},
        ),
        (
            [
                ("Identity", "v", "u", {}),
                ("Identity", "u", "w", {}),
                ("Gemm", "x w b", "y", {"transB": 1}),
            ],
            {"v": WEIGHT, "b": BIAS},
        ),
    ],
)
def test_linear_layers_of_onnx(nodes, arrays, tmp_path):
    (layer,) = made_layers(tmp_path, nodes, **arrays)
    np.testing.assert_array_equal(layer.weight, WEIGHT)
    np.testing.assert_array_equal(layer.bias, BIAS)


def test_constant_nodes_of_onnx(tmp_path):
    onnx = pytest.importorskip("onnx", reason="needs the extra 'parity'")
    value = {"value": onnx.numpy_helper.from_array(WEIGHT)}
    nodes = [("Constant", "", "w", value), ("Gemm", "x w", "y", {"transB": 1})]
    (layer,) = made_layers(tmp_path, nodes)
    np.testing.assert_array_equal(layer.weight, WEIGHT)
    assert layer.bias is None


@pytest.mark.parametrize(
    ("nodes", "fault"),
    [
        ([("Gemm", "x w b", "y", {"alpha": 0.5})], "with alpha or beta"),
        ([("Gemm", "x w", "y", {})], r"source b \(3,\): used by no"),
        (
            [("Sub", "x b", "z", {}), ("Gemm", "z w", "y", {})],
            r"source b \(3,\): used by no",
        ),
        ([("Conv", "x x", "y", {})], "source x: no constant"),
        (
            [
                ("Conv", "x w", "z", {}),
                ("BatchNormalization", "z b b b x", "y", {}),
            ],
            "a BatchNormalization not of constants",
        ),
    ],
)
def test_what_a_plain_network_has_not_is_refused(nodes, fault, tmp_path):
    with pytest.raises(ConversionError, match=fault):
        made_layers(tmp_path, nodes, w=WEIGHT, b=BIAS)


def test_values_of_onnx_from_two_places(tmp_path):
    nodes = [("Conv", "x w", "y", {})] * 2
    with pytest.raises(ConversionError, match="y is given twice"):
        made_layers(tmp_path, nodes, w=WEIGHT)
    with pytest.raises(ConversionError, match="w is given twice"):
        made_layers(tmp_path, [("Identity", "x", "w", {})], w=WEIGHT)


def test_long_chains_and_many_users_in_onnx(tmp_path):
    """Each constant is read once, and no chain is followed for each user."""
    chain = [("Identity", f"v{i}", f"v{i + 1}", {}) for i in range(1_000)]
    users = [("Gemm", "x v1000", f"y{i}", {}) for i in range(1_000)]
    layers = made_layers(tmp_path, chain + users, v0=WEIGHT)
    assert len(layers) == 1_000
    assert all(np.shares_memory(one.weight, layers[0].weight) for one in layers)
    loop = [("Identity", "a", "b", {}), ("Identity", "b", "a", {})]
    with pytest.raises(ConversionError, match="no layers with weights"):
        made_layers(tmp_path, [*loop, ("Gemm", "x a", "y", {})])


def test_onnx_with_weights_beside_it(tmp_path):
    onnx = pytest.importorskip("onnx", reason="needs the extra 'parity'")
    nodes = [("Gemm", f"x w{i}", f"y{i}", {"transB": 1}) for i in range(4)]
    model = made_model(nodes, **{f"w{i}": WEIGHT + i for i in range(4)})
    path, data = tmp_path / "made.onnx", tmp_path / "made.data"
    onnx.save(
        model,
        path,
        save_as_external_data=True,
        location=data.name,
        size_threshold=0,
        convert_attribute=True,
    )
    for index, layer in enumerate(onnx_file.read_layers(path)):
        np.testing.assert_array_equal(layer.weight, WEIGHT + index)
    content = data.read_bytes()
    data.write_bytes(content[:-1])
    with pytest.raises(ConversionError, match=r"its \.data file beside it"):
        onnx_file.read_layers(path)
    data.write_bytes(content)
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:  # a small file that names much
        del tensor.external_data[:]
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", data.name
        tensor.dims[:] = [len(content) // 8, 2]
    onnx.save(model, path)
    with pytest.raises(ConversionError, match="over one another"):
        onnx_file.read_layers(path)
    data.unlink()
    with pytest.raises(ConversionError, match=r"its \.data file beside it"):
        onnx_file.read_layers(path)


def test_damaged_onnx_is_refused(exported, tmp_path):
    path, out = tmp_path / "network.onnx", tmp_path / "out.safetensors"
    shutil.copy(exported("folded"), path)
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    refused = 0
    for _ in range(12):
        content = bytearray(whole[: rng.integers(1, 2 * len(whole))])
        for at in rng.integers(0, min(len(content), 4_000), 3):
            content[at] = rng.integers(256)
        path.write_bytes(content)
        try:
            convert(B0, path, out, overwrite=True)
        except ConversionError:
            refused += 1
    assert refused > 5


def shuffled(layers, how):
    first, second = layers[2], layers[3]  # of a squeeze-and-excitation
    if how == "swapped":
        return [*layers[:2], second, first, *layers[4:]]
    if how == "one less":
        return [*layers[:-2], layers[-1]]
    if how == "bias":
        long = np.zeros(7, np.float32)
        return [dataclasses.replace(layers[0], bias=long), *layers[1:]]
    bare = onnx_file.OnnxLayer("Conv", "bare", layers[0].weight)
    return [bare, *layers[1:]]


@pytest.mark.parametrize(
    ("how", "fault"),
    [
        ("swapped", "stands where blocks.0.0.se.conv_reduce.weight is expected"),
        ("one less", "81 layers; expected 82"),
        ("bias", r"conv_stem has a bias of shape \(7,\)"),
        ("bare", "conv_stem needs a BatchNorm behind it, or a bias"),
    ],
)
def test_layers_in_another_order_are_refused(how, fault, exported):
    layers = shuffled(onnx_file.read_layers(exported("folded")), how)
    spec = EfficientNetSpec("b0", 8)
    with pytest.raises(ConversionError, match=fault):
        efficientnet.from_layers(layers, spec, file="a.onnx", wanted="it")


# wav2vec 2.0.


def tiny_config(norm="group"):
    return import_transformers().Wav2Vec2Config(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        conv_dim=(8, 8),
        conv_kernel=(10, 3),
        conv_stride=(5, 2),
        num_feat_extract_layers=2,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        feat_extract_norm=norm,
        conv_bias=norm == "layer",
        codevector_dim=8,
        proj_codevector_dim=8,
        num_codevectors_per_group=4,
    )


def tiny_spec(norm="group"):
    return Wav2Vec2Spec(
        conv_dims=(8, 8),
        conv_kernels=(10, 3),
        conv_strides=(5, 2),
        conv_bias=norm == "layer",
        feat_extract_norm=norm,
        hidden_size=16,
        num_layers=2,
        num_heads=2,
        ffn_dim=24,
        pos_kernel=4,
        pos_groups=2,
    )


_NEW_NAMES = {
    "parametrizations.weight.original0": "weight_g",
    "parametrizations.weight.original1": "weight_v",
}


def replaced(name: str, pairs: dict[str, str]) -> str:
    for old, new in pairs.items():
        name = name.replace(old, new)
    return name


def file_form_of_wav2vec2(model) -> dict[str, np.ndarray]:
    return {
        replaced(name, _NEW_NAMES): value.detach().numpy()
        for name, value in model.state_dict().items()
    }


def as_torchaudio(state):
    """Its names, by its modules; it has no embedding of masked steps."""
    pairs = {"feature_projection.": "encoder.feature_projection."}
    renamed = {}
    for name, value in state.items():
        if name.startswith("encoder."):
            name = name.replace("encoder.", "encoder.transformer.", 1)
        renamed[replaced(name, pairs)] = value
    del renamed["masked_spec_embed"]
    return renamed


def as_fairseq(state):
    """Its names, by its modules."""
    pairs = {
        "masked_spec_embed": "mask_emb",
        "feature_projection.layer_norm": "LAST_NORM",
        "feature_projection.projection": "post_extract_proj",
        "pos_conv_embed.conv": "pos_conv.0",
        ".attention.": ".self_attn.",
        ".feed_forward.intermediate_dense": ".fc1",
        ".feed_forward.output_dense": ".fc2",
    }
    layered = "feature_extractor.conv_layers.1.layer_norm.weight" in state
    renamed = {}
    for name, value in state.items():
        new = replaced(name, pairs)
        new = re.sub(r"(encoder\.layers\.\d+)\.layer_norm", r"\1.ATTENTION_NORM", new)
        if new.startswith("feature_extractor."):
            new = new.replace(".conv.", ".0.")
            new = new.replace("layer_norm", "2.1" if layered else "2")
        new = new.replace("LAST_NORM", "layer_norm")
        renamed[new.replace("ATTENTION_NORM", "self_attn_layer_norm")] = value
    return renamed


@pytest.fixture
def tiny_wav2vec2(monkeypatch):
    """The reference, in whose sizes the extractors of the table are for now."""

    def make(cls="Wav2Vec2Model", norm="group"):
        torch.manual_seed(0)
        transformers = import_transformers()
        model = getattr(transformers, cls)(tiny_config(norm))
        with torch.no_grad():
            for value in model.state_dict().values():
                value.normal_()
        body = getattr(model, "wav2vec2", model)
        monkeypatch.setitem(SPECS, "wav2vec2", tiny_spec(norm))
        return model, file_form_of_wav2vec2(body)

    return make


@pytest.mark.parametrize(
    "cls", ["Wav2Vec2Model", "Wav2Vec2ForCTC", "Wav2Vec2ForPreTraining"]
)
@pytest.mark.parametrize(
    ("norm", "old_names"),
    [
        *(("group", True), ("layer", False)),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (("group", False), ("layer", True))
        ),
    ],
)
def test_wav2vec2_of_huggingface(cls, norm, old_names, tiny_wav2vec2, tmp_path):
    model, expected = tiny_wav2vec2(cls, norm)
    state = model.state_dict()
    if old_names:
        state = {replaced(name, _NEW_NAMES): value for name, value in state.items()}
    torch.save(state, tmp_path / "pytorch_model.bin")
    name = "wav2vec2_base_960h" if cls == "Wav2Vec2ForCTC" else "wav2vec2_base"
    tensors, metadata = converted(name, tmp_path / "pytorch_model.bin", tmp_path)
    check_equal(tensors, expected)
    assert metadata["naming"] == "huggingface"
    assert metadata["preprocessing"]["normalise"] is (cls == "Wav2Vec2ForCTC")
    assert metadata["preprocessing"]["sample_rate_hz"] == 16_000
    assert "filled" not in metadata


@pytest.mark.parametrize("norm", ["group", "layer"])
@pytest.mark.parametrize("aux", [True, False])
def test_wav2vec2_of_torchaudio(norm, aux, tiny_wav2vec2, tmp_path):
    _, expected = tiny_wav2vec2(norm=norm)
    state = as_torchaudio(expected)
    assert {re.sub(r"\d+", "0", name) for name in state} == {
        re.sub(r"\d+", "0", name)
        for name in TORCHAUDIO
        if norm == "layer" or not name.endswith(".conv.bias") or "pos" in name
    }
    if aux:
        state["aux.weight"] = state["aux.bias"] = np.zeros((4, 16), np.float32)
    torch.save({k: torch.tensor(v) for k, v in state.items()}, tmp_path / "a.pth")
    name = "wav2vec2_base_960h" if aux else "wav2vec2_base"
    tensors, metadata = converted(name, tmp_path / "a.pth", tmp_path)
    expected["masked_spec_embed"] = np.zeros(16, np.float32)
    check_equal(tensors, expected)
    assert metadata["naming"] == "torchaudio"
    assert metadata["filled"] == {"masked_spec_embed": wav2vec2.MASK_REASON}


# As torchaudio.models.Wav2Vec2Model has its modules.
_LAYER = "encoder.transformer.layers.0"
TORCHAUDIO = [
    f"{module}.{part}"
    for module in (
        "feature_extractor.conv_layers.0.conv",
        "feature_extractor.conv_layers.0.layer_norm",
        "encoder.feature_projection.layer_norm",
        "encoder.feature_projection.projection",
        "encoder.transformer.layer_norm",
        *(f"{_LAYER}.attention.{p}_proj" for p in ("k", "v", "q", "out")),
        f"{_LAYER}.layer_norm",
        f"{_LAYER}.feed_forward.intermediate_dense",
        f"{_LAYER}.feed_forward.output_dense",
        f"{_LAYER}.final_layer_norm",
    )
    for part in ("weight", "bias")
] + [
    f"encoder.transformer.pos_conv_embed.conv.{part}"
    for part in ("bias", "weight_g", "weight_v")
]


@pytest.mark.parametrize("norm", ["group", "layer"])
@pytest.mark.parametrize("prefix", ["", "w2v_encoder.w2v_model."])
def test_wav2vec2_of_fairseq(norm, prefix, tiny_wav2vec2, tmp_path):
    _, expected = tiny_wav2vec2(norm=norm)
    state = {prefix + name: value for name, value in as_fairseq(expected).items()}
    some = np.zeros(2, np.float32)
    if prefix:
        state |= {"w2v_encoder.proj.weight": some, "w2v_encoder.proj.bias": some}
    else:
        state |= {"quantizer.vars": some, "project_q.weight": some}
        state |= {
            "final_proj.bias": some,
            "layer_norm.weight": state["layer_norm.weight"],
        }
    tensors = {k: torch.tensor(v) for k, v in state.items()}
    content = {"args": None, "cfg": {"model": {"layers": 2}}, "model": tensors}
    torch.save(content, tmp_path / "checkpoint_best.pt")
    name = "wav2vec2_base_960h" if prefix else "wav2vec2_base"
    got, metadata = converted(name, tmp_path / "checkpoint_best.pt", tmp_path)
    check_equal(got, expected)
    assert metadata["naming"] == "fairseq"


def test_a_recogniser_under_the_other_name_is_warned_of(
    tiny_wav2vec2, tmp_path, caplog
):
    model, _ = tiny_wav2vec2("Wav2Vec2ForCTC")
    torch.save(model.state_dict(), tmp_path / "a.bin")
    converted("wav2vec2_base", tmp_path / "a.bin", tmp_path)
    assert "has output layer of a recogniser: is it wav2vec2_base?" in caplog.text


# VGGish.


def vggish_state():
    """As torchvggish has it; zeros that take no memory, but for the biases."""
    layers = {0: (64, 1), 3: (128, 64), 6: (256, 128), 8: (256, 256)}
    layers |= {11: (512, 256), 13: (512, 512)}
    sizes = {f"features.{i}": (*size, 3, 3) for i, size in layers.items()}
    sizes |= {"embeddings.0": (4096, 12288), "embeddings.2": (4096, 4096)}
    sizes["embeddings.4"] = (128, 4096)
    state = {}
    for seed, (name, shape) in enumerate(sizes.items()):
        state[f"{name}.weight"] = np.broadcast_to(np.float32(0), shape)
        values = np.random.default_rng(seed).normal(size=shape[0])
        state[f"{name}.bias"] = values.astype(np.float32)
    return state


def test_vggish_has_the_parts_of_torchvggish():
    state = vggish_state()
    assert sum(array.size for array in state.values()) == 72_141_184
    expected = {name: array.shape for name, array in state.items()}
    assert vggish.state_shapes() == expected


@pytest.fixture
def small_vggish(monkeypatch):
    """A state dict without the large layers, which are not asked for either."""
    state = {n: a for n, a in vggish_state().items() if a.size < 10**6}
    shapes = {name: array.shape for name, array in state.items()}
    monkeypatch.setattr(vggish, "state_shapes", lambda: shapes)
    return {name: np.ascontiguousarray(array) for name, array in state.items()}


def torch_tensors(state):
    return {name: torch.tensor(array) for name, array in state.items()}


def pca_of(seed=0):
    rng = np.random.default_rng(seed)
    return {
        "pca_eigen_vectors": rng.normal(size=(128, 128)).astype(np.float32),
        "pca_means": rng.normal(size=(128, 1)).astype(np.float32),
    }


def with_pca(state, pca):
    return {
        **state,
        "pca.eigen_vectors": pca["pca_eigen_vectors"],
        "pca.means": pca["pca_means"][:, 0],
    }


def of_the_module(pca):
    return {f"pproc.{name}": array for name, array in pca.items()}


def test_vggish_with_the_pca_beside_it(small_vggish, tmp_path, caplog):
    torch.save(torch_tensors(small_vggish), tmp_path / "mine.pth")
    np.savez(tmp_path / "vggish_pca_params.npz", **pca_of())
    tensors, metadata = converted(
        "vggish",
        tmp_path / "mine.pth",
        tmp_path,
        pca=tmp_path / "vggish_pca_params.npz",
    )
    check_equal(tensors, with_pca(small_vggish, pca_of()))
    assert metadata["pca_source"] == "vggish_pca_params.npz"
    assert metadata["pca_known_source"] is False
    assert "vggish_pca_params.npz IS NOT THE PUBLISHED FILE" in caplog.text


def test_vggish_with_a_pca_of_its_own(small_vggish, tmp_path, caplog):
    source = tmp_path / "mine.pth"
    torch.save(torch_tensors(small_vggish | of_the_module(pca_of())), source)
    check_equal(
        converted("vggish", source, tmp_path)[0], with_pca(small_vggish, pca_of())
    )
    assert "no PCA" not in caplog.text
    np.savez(tmp_path / "same.npz", **pca_of())
    converted("vggish", source, tmp_path, pca=tmp_path / "same.npz", overwrite=True)
    np.savez(tmp_path / "other.npz", **pca_of(1))
    with pytest.raises(ConversionError, match=r"pca\.eigen_vectors, pca\.means differ"):
        converted(
            "vggish", source, tmp_path, pca=tmp_path / "other.npz", overwrite=True
        )


def test_vggish_with_half_a_pca_is_refused(small_vggish, tmp_path):
    state = small_vggish | of_the_module(pca_of())
    del state["pproc.pca_means"]
    torch.save(torch_tensors(state), tmp_path / "mine.pth")
    with pytest.raises(ConversionError, match=r"destination pca\.means"):
        converted("vggish", tmp_path / "mine.pth", tmp_path)


def test_vggish_without_pca_is_warned_of(small_vggish, tmp_path, caplog):
    torch.save(torch_tensors(small_vggish), tmp_path / "mine.pth")
    tensors, _ = converted("vggish", tmp_path / "mine.pth", tmp_path)
    check_equal(tensors, small_vggish)
    assert "no PCA: only raw vectors" in caplog.text


# The command.


def test_command_says_what_it_wrote(b0, tmp_path, capsys):
    torch.save(b0.state_dict(), tmp_path / "mine.pt")
    out = tmp_path / "folder" / "weights.safetensors"
    assert main([B0, str(tmp_path / "mine.pt"), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "311 tensors, 4,059,812 values" in said
    assert "efficientnet_b0, 8 outputs" in said
    assert "left out 49: BatchNorm's counter of training batches" in said
    assert main([B0, str(tmp_path / "mine.pt"), "--out", str(out)]) == 1
    assert "is there already" in capsys.readouterr().err
    assert main([B0, str(tmp_path / "mine.pt"), "--out", str(out), "--overwrite"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no_such", "S", "out.safetensors"], "unknown name 'no_such'; expected one"),
        ([B0, "S", "out.pt"], r"expected a name that ends in \.safetensors"),
        ([B0, "none.pt", "out.safetensors"], "none.pt: No such file"),
        ([B0, "S", "out.safetensors", "--pca", "p.npz"], "--pca with enet_b0"),
        ([B0, "S", "out.safetensors", "--features", "a"], "--features with enet_b0"),
        ([B0, "S", "out.safetensors", "--faithful"], "--faithful with enet_b0"),
        ([B0, "S", "folder.safetensors", "--overwrite"], "is not a file"),
        (["wav2vec2_base", "a.onnx", "out.safetensors"], "for EfficientNets only"),
    ],
)
def test_command_refuses(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "S").write_bytes(b"")
    (tmp_path / "a.onnx").write_bytes(b"")
    (tmp_path / "folder.safetensors").mkdir()
    before = collections.Counter(tmp_path.iterdir())
    name, source, out, *more = arguments
    assert main([name, source, "--out", out, *more]) == 1
    said = capsys.readouterr().err
    assert re.match(f"avemo convert: error: .*{message}", said), said
    assert collections.Counter(tmp_path.iterdir()) == before


def test_a_published_name_with_another_content_is_warned_of(b0, tmp_path, caplog):
    source = tmp_path / "enet_b0_8_best_vgaf.pt"
    torch.save(b0.state_dict(), source)
    assert converted(B0, source, tmp_path)[1]["known_source"] is False
    assert "IS NOT THE PUBLISHED FILE" in caplog.text
    assert "7219cfb037209b253ea8b81cf969e60a00e9181c" in caplog.text


def test_published_files_are_known_and_kept_apart(b0, tmp_path, monkeypatch, caplog):
    source = tmp_path / "renamed.pt"
    torch.save(b0.state_dict(), source)
    command = ["git", "hash-object", "--no-filters", str(source)]
    git = subprocess.run(command, capture_output=True, text=True, check=True)
    published = EXTRACTORS[B0].sources[0]
    monkeypatch.setitem(published.__dict__, "git_blob", git.stdout.strip())
    metadata = converted(B0, source, tmp_path)[1]
    assert metadata["known_source"] is True
    assert metadata["source_url"] == published.url
    assert caplog.text == ""
    with pytest.raises(ConversionError, match=f"the published file of {B0}"):
        converted("enet_b0_8_va_mtl", source, tmp_path)
