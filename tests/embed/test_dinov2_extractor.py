"""DINOv2 as an extractor of faces."""

import numpy as np
import pytest
from made.weights import made_weights

from avemo_jax.embed import load_extractor
from avemo_jax.extractors import dinov2
from avemo_jax.extractors.dinov2 import DinoV2Spec


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """A file of a tiny network, which the table's is for now."""
    tiny = DinoV2Spec(384, num_layers=1, grid=3)
    monkeypatch.setitem(dinov2.SPECS, "vits14", tiny)
    return made_weights(tmp_path, "dinov2_vits14")


def test_faces_of_any_size_have_an_embedding(weights):
    rng = np.random.default_rng(0)
    faces = [rng.integers(0, 256, (s, s, 3), np.uint8) for s in (30, 112, 60)]
    options = {"weights": weights, "size_px": 42, "batch_size": 2}
    extractor = load_extractor("dinov2_vits14", **options)
    found = extractor.extract(faces)
    assert found.features.shape == (3, 768)
    assert found.outputs is None
    alone = extractor.extract(faces[1:2]).features
    assert np.allclose(found.features[1:2], alone, atol=1e-4)
    other = load_extractor("dinov2_vits14", **{**options, "size_px": 56})
    assert other.fingerprint != extractor.fingerprint


def test_a_size_that_is_no_multiple_of_a_patch(weights):
    with pytest.raises(ValueError, match="100 px; expected a multiple of 14 px"):
        load_extractor("dinov2_vits14", weights=weights, size_px=100)
