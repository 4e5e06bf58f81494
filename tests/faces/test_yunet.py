"""YuNet against PyTorch, and the published weights against their ONNX."""

import math
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from avemo_jax.convert.torch_file import read_torch
from avemo_jax.faces import detection, yunet

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "yunet.npz"
PUBLISHED = 75_856  # parameters, as the paper has it
KEYS = {"cls": "cls", "obj": "obj", "bbox": "box", "kps": "points"}
apply = jax.jit(yunet.apply)


def random_state(seed: int = 0) -> dict[str, np.ndarray]:
    """Weights under which activations keep their size, and odd running statistics."""
    rng = np.random.default_rng(seed)
    state = {}
    for name, shape in yunet.state_shapes().items():
        array = rng.standard_normal(shape, np.float32)
        if len(shape) > 1:
            array *= np.float32(math.sqrt(2 / math.prod(shape[1:])))
        elif name.endswith(("running_var", "bn.weight", "bn1.weight")):
            array = rng.uniform(0.5, 2, shape).astype(np.float32)
        else:
            array *= np.float32(0.1)
        state[name] = array
    return state


def pictures(batch: int, height: int, width: int) -> np.ndarray:
    """Blocks of 8 x 8 pixels of random colours."""
    rng = np.random.default_rng(height)
    small = rng.integers(0, 256, (batch, height // 8, width // 8, 3), np.uint8)
    return small.repeat(8, axis=1).repeat(8, axis=2)


@pytest.fixture(scope="module")
def params() -> dict:
    return jax.device_put(yunet.prepare(random_state()))


def check(found: yunet.Raw, expected: dict[str, np.ndarray], bar: float):
    """``bar`` times the deviation of each output is allowed."""
    for name, key in KEYS.items():
        array = np.asarray(getattr(found, key))
        wanted = expected[name].reshape(array.shape)
        np.testing.assert_allclose(array, wanted, rtol=0, atol=bar * wanted.std())


def test_number_of_parameters():
    shapes = yunet.state_shapes()
    learnt = [s for name, s in shapes.items() if "running" not in name]
    assert sum(map(math.prod, learnt)) == PUBLISHED


@pytest.mark.numeric
@pytest.mark.parametrize(
    "form",
    [apply, jax.jit(yunet._whole)],
    ids=["cpu", "whole"],
)
def test_outputs_are_those_of_the_reference(form, params):
    """Written by ``python tests/faces/test_yunet.py``, by PyTorch in float64."""
    images = jnp.asarray(pictures(2, 64, 96))
    with np.load(GOLDEN) as file:
        check(form(params, images), dict(file), 2e-5)


@pytest.mark.slow
def test_reference_gives_the_golden_file():
    pytest.importorskip("torch")
    from reference.yunet import expected_of

    with np.load(GOLDEN) as file:
        for name, array in expected_of(random_state(), pictures(2, 64, 96)).items():
            np.testing.assert_allclose(array, file[name], rtol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(
    "size",
    [
        pytest.param((1, 320, 320), marks=pytest.mark.release),
        (3, 96, 160),
        pytest.param((2, 192, 64), marks=pytest.mark.release),
    ],
)
def test_published_weights_give_what_their_onnx_gives(size, shared_data):
    onnxruntime = pytest.importorskip("onnxruntime")
    stored = read_torch(shared_data / "weights" / "yunet_n.pth")["state_dict"]
    state = {n: a for n, a in stored.items() if n in yunet.state_shapes()}
    images = pictures(*size)
    session = onnxruntime.InferenceSession(
        shared_data / "weights" / "yunet_n_dynamic.onnx",
        providers=["CPUExecutionProvider"],
    )
    bgr = np.ascontiguousarray(images[..., ::-1].transpose(0, 3, 1, 2), np.float32)
    names = [output.name for output in session.get_outputs()]
    outputs = dict(zip(names, session.run(None, {"input": bgr}), strict=True))
    expected = {
        name: np.concatenate([outputs[f"{name}_{s}"] for s in yunet.STRIDES], axis=1)
        for name in KEYS
    }
    found = apply(yunet.prepare(state), jnp.asarray(images))
    for name, key in KEYS.items():
        array = np.asarray(getattr(found, key))
        wanted = expected[name].reshape(array.shape)
        np.testing.assert_allclose(array, wanted, rtol=0, atol=2e-5)


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_lowers_for_accelerators(platform):
    prepared = yunet.prepare(random_state())
    shapes = jax.eval_shape(lambda: jax.tree.map(jnp.asarray, prepared))
    images = jax.ShapeDtypeStruct((4, 320, 320, 3), np.uint8)
    text = export.export(apply, platforms=[platform])(shapes, images).mlir_module()
    assert "while" not in text, "one by one is for CPUs"
    assert text.count("feature_group_count = 64") >= 13


@pytest.mark.parametrize(
    "platform", ["tpu", pytest.param("cuda", marks=pytest.mark.slow)]
)
def test_detection_lowers_for_accelerators(platform):
    """All of it: the network, the best places, and which of them are doubles."""
    prepared = yunet.prepare(random_state())
    shapes = jax.eval_shape(lambda: jax.tree.map(jnp.asarray, prepared))
    images = jax.ShapeDtypeStruct((16, 384, 640, 3), np.uint8)
    detect = jax.jit(detection.detect)
    text = export.export(detect, platforms=[platform])(shapes, images).mlir_module()
    assert "callback" not in text


@pytest.mark.parametrize("shape", [(1, 100, 96, 3), (1, 96, 90, 3), (1, 96, 96, 4)])
def test_other_images_are_refused(shape, params):
    with pytest.raises(ValueError, match="multiples of 32; pad them on the right"):
        yunet.apply(params, jnp.zeros(shape, np.uint8))


def test_other_weights_are_refused():
    state = random_state()
    state["backbone.model0.conv1.bias"] = np.zeros(8, np.float32)
    with pytest.raises(ValueError, match=r"conv1.bias is \(8,\), expected \(16,\)"):
        yunet.prepare(state)


if __name__ == "__main__":
    from reference.yunet import expected_of

    np.savez(GOLDEN, **expected_of(random_state(), pictures(2, 64, 96)))
