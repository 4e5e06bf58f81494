"""The face detector's published file to ours."""

import numpy as np
import pytest
import safetensors.numpy
from made.weights import made_state

from avemo_jax.convert.conversion import convert
from avemo_jax.convert.rules import ConversionError
from avemo_jax.convert.source_file import read_state
from avemo_jax.embed.weights import read_weights
from avemo_jax.extractors import EXTRACTORS, efficientnet
from avemo_jax.faces import yunet
from avemo_jax.faces.published import DETECTOR

COUNTER = "neck.lateral_convs.0.bn.num_batches_tracked"


@pytest.fixture
def state() -> dict[str, np.ndarray]:
    return made_state(yunet.state_shapes()) | {COUNTER: np.array(9, np.int64)}


def saved(folder, state):
    path = folder / "detector.safetensors"
    safetensors.numpy.save_file(state, path)
    return path


def test_tensors_keep_their_names(state, tmp_path):
    out = tmp_path / "out.safetensors"
    done = convert("yunet_n", saved(tmp_path, state), out)
    assert (done.what, done.num_tensors) == ("yunet", len(yunet.state_shapes()))
    assert done.notes == ("left out 1: BatchNorm's counter of training batches",)
    tensors, metadata = read_weights(out, extractor="yunet_n")
    assert COUNTER not in tensors
    for name, array in tensors.items():
        np.testing.assert_array_equal(array, state[name])
    assert metadata["licence"] == DETECTOR.licence
    assert metadata["known_source"] is False


def test_the_published_file(shared_data, tmp_path):
    source = shared_data / "weights" / "yunet_n.pth"
    out = tmp_path / "out.safetensors"
    assert convert("yunet_n", source, out).num_tensors == len(yunet.state_shapes())
    tensors, metadata = read_weights(out, extractor="yunet_n")
    assert metadata["known_source"] is True
    assert metadata["source_url"] == DETECTOR.sources[0].url
    stored = read_state(source)
    assert len(stored) == 208
    for name, array in tensors.items():
        np.testing.assert_array_equal(array, stored[name])
    with pytest.raises(ConversionError, match="the published file of yunet_n; expect"):
        convert("enet_b0_8_va_mtl", source, tmp_path / "other.safetensors")


def test_a_larger_network_of_the_family_is_refused(state, tmp_path):
    del state["bbox_head.multi_level_cls.0.conv1.bias"]
    state["neck.lateral_convs.3.conv1.bias"] = np.zeros(64, np.float32)
    with pytest.raises(ConversionError) as error:
        convert("yunet_n", saved(tmp_path, state), tmp_path / "out.safetensors")
    assert len(error.value.faults) == 2


def test_networks_are_not_taken_for_each_other(state, tmp_path):
    source = saved(tmp_path, state)
    with pytest.raises(ConversionError, match=r"holds yunet; .* convert it as yunet_n"):
        convert("vggish", source, tmp_path / "out.safetensors")
    known = EXTRACTORS["enet_b2_8"]
    spec = efficientnet.EfficientNetSpec("b2", known.output_dim)
    source = saved(tmp_path, made_state(efficientnet.state_shapes(spec)))
    with pytest.raises(ConversionError, match="expected yunet for yunet_n; convert it"):
        convert("yunet_n", source, tmp_path / "out.safetensors")
    with pytest.raises(ConversionError, match="'yunet'; did you mean yunet_n"):
        convert("yunet", source, tmp_path / "out.safetensors")
