"""The heads against PyTorch's own layers, with random weights.

The reference networks are those of ``reference/heads.py``. Run as a program with
``PYTHONPATH=tests`` this writes ``tests/golden/heads.npz`` anew, from which
``test_heads.py`` checks the heads where there is no PyTorch.
"""

import json
import pathlib

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from made.compiled_heads import apply

from avemo_jax.heads import HeadSpec, build_head
from avemo_jax.heads.layers import (
    Attention,
    BatchNorm,
    LayerNorm,
    Linear,
    Mode,
    Start,
)

torch = pytest.importorskip("torch", reason="extra 'parity' is not installed")
nn = torch.nn
pytestmark = pytest.mark.parity

from reference.heads import reference  # noqa: E402  (needs torch)

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "heads.npz"
BATCH = {"attention": "batch", "positions": "none"}
SMALL = {"mlp_dim": 8, "feat_dim": 12, "model_dim": 8, "ffn_dim": 6, "head_dim": 4}
SPECS = {
    "expr_mlp": HeadSpec("EXPR", "mlp", (7, 4)),
    "au_mlp": HeadSpec("AU", "mlp", (7, 4), audio_flag=True),
    "va_mlp_affine": HeadSpec("VA", "mlp", (7, 4)),
    "va_mlp_shared": HeadSpec("VA", "mlp", (7, 4), va_form="shared"),
    "expr_transformer": HeadSpec("EXPR", "transformer", (7, 4), **BATCH),
    "au_transformer": HeadSpec("AU", "transformer", (7, 4), **BATCH),
    "va_transformer": HeadSpec("VA", "transformer", (7, 4), **BATCH),
}


# The encoder is the same for all tasks: the others' only before a release.
RELEASE = pytest.mark.release
EVERY_HEAD = [
    pytest.param(
        name, marks=RELEASE if name in ("au_transformer", "va_transformer") else []
    )
    for name in SPECS
]


def ours(network):
    """The network's parameters and statistics as our head takes them."""
    trees = ({}, {})
    for name, value in network.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        array = value.detach().numpy().copy()
        array = array[..., 0] if array.ndim == 3 else array
        trees["running_" in name][tuple(name.split("."))] = array
    return unflatten_dict(trees[0]), unflatten_dict(trees[1])


def run_reference(spec, network, x, mask=None):
    x = torch.as_tensor(np.asarray(x))
    if spec.kind == "mlp":
        return network(x)
    return network(x if x.ndim == 3 else x[None], mask)


def with_dtype(spec, dtype):
    return HeadSpec.from_dict({**spec.to_dict(), "dtype": dtype})


def without_dropout(network, train):
    """In train or eval mode, dropout off: it draws other bits and has its own test."""
    network.train(train)
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(module, nn.MultiheadAttention):
            module.dropout = 0.0


def frames(spec, num=9, seed=1, dtype=np.float64):
    shape = (num, spec.input_dim)
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


@pytest.mark.parametrize("name", EVERY_HEAD)
def test_head_equals_torch_in_float64(name):
    spec = with_dtype(SPECS[name], "float64")
    network, x = reference(spec), frames(spec)
    expected = run_reference(spec, network, x).detach().numpy()
    with jax.enable_x64(True):
        got, _ = apply(build_head(spec), *ours(network), x)
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", EVERY_HEAD)
def test_head_equals_torch_in_float32(name):
    spec = SPECS[name]
    spec = HeadSpec.from_dict({**spec.to_dict(), "dims": (1408, 768)})
    network = reference(spec, dtype=torch.float32)
    x = frames(spec, num=32, dtype=np.float32)
    expected = run_reference(spec, network, x).detach().numpy()
    got, _ = apply(build_head(spec), *ours(network), x)
    np.testing.assert_allclose(got, expected, atol=2e-5 * expected.std(), rtol=2e-5)


# Logits in eval mode are compared above: of their gradients, one head of each kind.
@pytest.mark.parametrize(
    ("name", "train"),
    [
        *(pytest.param(*one.values, True, marks=one.marks) for one in EVERY_HEAD),
        *((name, False) for name in ("va_mlp_shared", "expr_transformer")),
    ],
)
def test_gradients_and_statistics_equal_torch(name, train):
    spec = with_dtype(golden_specs()[name], "float64")
    network, x = reference(spec), frames(spec)
    params, stats = ours(network)
    without_dropout(network, train)
    logits = run_reference(spec, network, x)
    direction = np.random.default_rng(2).normal(size=logits.shape)
    (logits * torch.as_tensor(direction)).sum().backward()
    with jax.enable_x64(True):

        def loss(params):
            values = jax.numpy.asarray(x)
            out, new = build_head(spec).apply(params, stats, values, train=train)
            return (out * direction).sum(), (out, new)

        gradient_of = jax.jit(jax.grad(loss, has_aux=True))
        gradients, (got, new) = gradient_of(params)
        np.testing.assert_allclose(got, logits.detach(), rtol=1e-9, atol=1e-10)
        gradients = jax.tree.map(np.asarray, gradients)
        largest = max(abs(g).max() for g in jax.tree.leaves(gradients))
        compared = 0
        for names, gradient in flatten_dict(gradients).items():
            parameter = network.get_parameter(".".join(names))
            np.testing.assert_allclose(
                gradient,
                parameter.grad.reshape(gradient.shape),
                rtol=1e-9,
                atol=1e-11 * largest,
                err_msg=".".join(names),
            )
            compared += 1
        assert compared == len(list(network.parameters()))
        for names, stat in flatten_dict(new).items():
            expected = network.get_buffer(".".join(names))
            np.testing.assert_allclose(stat, expected, rtol=1e-9)


@pytest.mark.parametrize(
    ("task", "train"),
    [
        *(("EXPR", True), ("VA", False)),
        *(
            pytest.param(*case, marks=RELEASE)
            for case in (("EXPR", False), ("AU", False), ("AU", True), ("VA", True))
        ),
    ],
)
def test_windows_with_masked_frames_equal_torch(task, train):
    spec = golden_specs()[f"{task.lower()}_transformer"]
    windows = {"attention": "window", "positions": "learned", "window": 10}
    spec = with_dtype(HeadSpec.from_dict({**spec.to_dict(), **windows}), "float64")
    network = reference(spec)
    without_dropout(network, train)
    params, stats = ours(network)
    x = np.random.default_rng(1).normal(size=(3, 8, spec.input_dim))
    mask = np.random.default_rng(2).random((3, 8)) < 0.7
    expected = run_reference(spec, network, x, torch.as_tensor(mask)).detach()
    with jax.enable_x64(True):
        got, new = apply(build_head(spec), params, stats, x, mask, train=train)
        np.testing.assert_allclose(
            np.asarray(got)[mask], expected, rtol=1e-9, atol=1e-10
        )
        for names, stat in flatten_dict(new).items():
            buffer = network.get_buffer(".".join(names))
            np.testing.assert_allclose(stat, buffer, rtol=1e-9)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_names_are_those_of_the_state_dict(spec):
    params, stats = jax.eval_shape(build_head(spec).init, jax.random.key(0))
    got = {".".join(k): v.shape for k, v in flatten_dict({**params}).items()}
    got |= {".".join(k): v.shape for k, v in flatten_dict(stats).items()}
    expected = {
        name: tuple(value.shape[:2])
        for name, value in reference(spec).state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    assert got == expected


@pytest.mark.parametrize("name", EVERY_HEAD)
def test_start_is_distributed_as_torchs(name):
    """The largest value of each parameter, a uniform one's bound, within 2 %."""
    spec = SPECS[name]
    spec = HeadSpec.from_dict({**spec.to_dict(), "dims": (300,), "audio_flag": False})
    torch.manual_seed(0)
    network = type(reference(spec))(spec)
    start = jax.jit(build_head(spec).init)
    params, _ = jax.tree.map(np.asarray, start(jax.random.key(0)))
    for names, value in flatten_dict(params).items():
        expected = network.get_parameter(".".join(names)).detach().numpy()
        if value.size < 1000:
            assert np.all(value == 0) == bool((expected == 0).all()), names
            assert np.all(value == 1) == bool((expected == 1).all()), names
        else:
            ratio = float(abs(value).max() / abs(expected).max())
            assert ratio == pytest.approx(1, abs=0.02), names
            ratio = float(value.std() / expected.std())
            assert ratio == pytest.approx(1, abs=0.05), names


def block_output(block, layer, *inputs):
    """What our layer gives with the values of the PyTorch layer of the same names."""
    for name, value in layer.state_dict().items():
        if name == "num_batches_tracked":
            continue
        target = block
        for part in name.split("."):
            target = getattr(target, part)
        target.set_value(jax.numpy.asarray(value.numpy()))
    return block(*inputs)


@pytest.mark.slow
def test_blocks_equal_torch_in_float64():
    torch.manual_seed(0)
    x = np.random.default_rng(0).normal(size=(3, 5, 8)) * 2 + 1
    given, dtype = torch.as_tensor(x), np.dtype("float64")
    linear, norm = nn.Linear(8, 6).double(), nn.LayerNorm(8).double()
    batch_norm = nn.BatchNorm1d(8).double()
    attention = nn.MultiheadAttention(8, 2, batch_first=True).double()
    with torch.no_grad():
        for parameter in (*norm.parameters(), *batch_norm.parameters()):
            parameter.normal_()
        attention.in_proj_bias.normal_()
        attention.out_proj.bias.normal_()
    with jax.enable_x64(True), torch.no_grad():
        start, value = Start(), jax.numpy.asarray(x)
        got = block_output(Linear(8, 6, dtype=dtype, start=start), linear, value)
        np.testing.assert_allclose(got, linear(given), rtol=1e-9)
        got = block_output(LayerNorm(8, dtype=dtype), norm, value)
        np.testing.assert_allclose(got, norm(given), rtol=1e-9)
        block = Attention(8, 2, dtype=dtype, start=start)
        got = block_output(block, attention, value, Mode(train=False))
        np.testing.assert_allclose(got, attention(given, given, given)[0], rtol=1e-9)
        keys, there = x[:, :4] * 2 - 1, np.arange(12).reshape(3, 4) % 3 != 1
        pair = map(jax.numpy.asarray, (keys, there))
        got = block(value, Mode(train=False), *pair)
        others, missing = torch.as_tensor(keys), torch.as_tensor(~there)
        expected = attention(given, others, others, key_padding_mask=missing)[0]
        np.testing.assert_allclose(got, expected, rtol=1e-9)
        block = BatchNorm(8, dtype=dtype)
        got = block_output(block, batch_norm, value, Mode(train=True))
        expected = batch_norm(given.flatten(0, 1)).reshape(x.shape)
        np.testing.assert_allclose(got, expected, rtol=1e-9)
        for stat in ("running_mean", "running_var"):
            expected = getattr(batch_norm, stat)
            np.testing.assert_allclose(getattr(block, stat)[...], expected, rtol=1e-9)


def golden_specs():
    """Small heads of every kind, so that the file stays small."""
    return {
        name: HeadSpec.from_dict({**spec.to_dict(), **SMALL, "num_layers": 2})
        for name, spec in SPECS.items()
    }


def write_golden(path):
    """Specs, weights, inputs and PyTorch's logits of small heads, in one ``.npz``.

    Keys are ``NAME/spec`` (JSON text), ``NAME/x``, ``NAME/logits`` and
    ``NAME/params/...``, ``NAME/stats/...`` with the names of the parameters.
    """
    arrays = {}
    for name, spec in golden_specs().items():
        network = reference(spec, seed=3, dtype=torch.float32)
        x = frames(spec, num=6, seed=4, dtype=np.float32)
        params, stats = ours(network)
        arrays[f"{name}/spec"] = np.array(json.dumps(spec.to_dict()))
        arrays[f"{name}/x"] = x
        logits = run_reference(spec, network.double(), x.astype(np.float64))
        arrays[f"{name}/logits"] = logits.detach().numpy()
        for kind, tree in (("params", params), ("stats", stats)):
            for names, value in flatten_dict(tree).items():
                arrays["/".join((name, kind, *names))] = value
    np.savez_compressed(path, **arrays)


def spec_of(text) -> HeadSpec:
    """The head of a text in the file, which may lack what is newer than it."""
    return HeadSpec.from_dict(json.loads(str(text)))


def test_golden_file_is_what_torch_gives(tmp_path):
    write_golden(tmp_path / "heads.npz")
    with np.load(tmp_path / "heads.npz") as new, np.load(GOLDEN) as kept:
        assert set(new.files) == set(kept.files)
        for name in new.files:
            if name.endswith("/spec"):
                assert spec_of(new[name]) == spec_of(kept[name])
            else:
                np.testing.assert_allclose(new[name], kept[name], rtol=1e-6, atol=1e-7)
    assert GOLDEN.stat().st_size < 100_000


if __name__ == "__main__":
    GOLDEN.parent.mkdir(exist_ok=True)
    write_golden(GOLDEN)
