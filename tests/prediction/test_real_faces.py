"""Real faces by a small network that is really trained: detector, crop, network."""

import numpy as np
import pytest
from made.plugins import install
from reference.face_expression import FOLDER, NAME

import avemo_jax
from avemo_jax.convert.command import main as convert


@pytest.fixture
def network(shared_data, tmp_path, monkeypatch) -> str:
    """The network's name, installed; the detector's weights are converted."""
    site = tmp_path / "site"
    site.mkdir()
    install(site, NAME, value="reference.face_expression:MADE")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv(FOLDER, str(shared_data / "weights"))
    monkeypatch.setenv("AVEMO_CACHE", str(tmp_path / "cache"))
    weights = tmp_path / "cache" / "weights" / "yunet_n.safetensors"
    weights.parent.mkdir(parents=True)
    source = str(shared_data / "weights" / "yunet_n.pth")
    assert convert(["yunet_n", source, "--out", str(weights)]) == 0
    return NAME


@pytest.mark.release
def test_a_smile_is_happiness(network, shared_data):
    found = avemo_jax.predict(
        shared_data / "media" / "astronaut.png", model=network, offline=True
    )
    (face,) = found.inputs[0].faces
    (task,) = found.inputs[0].tasks
    assert task.columns[int(face.scores["EXPR"].argmax())] == "Happiness"
    assert face.scores["EXPR"].max() > 0.9


@pytest.mark.release
def test_two_people_side_by_side_are_two_faces(network, shared_data):
    (video,) = (shared_data / "affwild2_mini" / "videos").glob("*/5-60-*")
    found = avemo_jax.predict(video, model=network, every=10, offline=True)
    (one,) = found.inputs
    first, second = one.faces[:2]
    both = np.intersect1d(first.frame[first.success], second.frame[second.success])
    assert len(both) > 0.9 * one.num_frames
    at = [face.boxes[np.isin(face.frame, both), 0] for face in (first, second)]
    assert (at[0] < at[1]).all() or (at[0] > at[1]).all()
