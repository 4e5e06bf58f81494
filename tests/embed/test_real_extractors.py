"""The extractors on real faces and sound, where they are at hand; random weights."""

import copy
import itertools

import numpy as np
import pytest
from made.weights import made_state, made_weights, network_shapes
from reference.efficientnet import as_tensor, expected_of, random_network
from reference.torch_libraries import state_of

from avemo_jax.embed import load_extractor
from avemo_jax.embed.weights import write_weights
from avemo_jax.extractors import get_extractor
from avemo_jax.extractors.efficientnet import EfficientNetSpec
from avemo_jax.media.audio import SoundError, open_sound
from avemo_jax.media.images import read_image

pytestmark = pytest.mark.release
SILENT = "7-30-176x144"
ONE_PERSON = {"video3", "video45_5"}  # the same man in the same clip


@pytest.fixture(scope="module")
def crops(shared_data):
    """By video: numbers and pictures of the first 40 frames."""
    folders = (shared_data / "affwild2_mini").glob("cropped*/*")
    files = {folder.name: sorted(folder.glob("*.jpg")) for folder in folders}
    assert sum(map(len, files.values())) == 1040
    return {
        video: ([int(p.stem) for p in paths[:40]], [read_image(p) for p in paths[:40]])
        for video, paths in sorted(files.items())
    }


@pytest.fixture(scope="module")
def network(crops):
    """timm's B2, with running statistics of real crops."""
    images = list(itertools.chain(*(pictures[::5] for _, pictures in crops.values())))
    return random_network(EfficientNetSpec("b2", 8), as_tensor(images))


@pytest.fixture(scope="module")
def extractor(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "b2.safetensors"
    write_weights(path, state_of(network), {"extractor": "enet_b2_8_best"})
    return load_extractor("enet_b2_8_best", weights=path)


@pytest.mark.parity
def test_crops_equal_timm(network, extractor, crops):
    images = [pictures[0] for _, pictures in crops.values()]
    features, outputs = expected_of(copy.deepcopy(network), as_tensor(images))
    found = extractor.extract(images)
    assert np.abs(found.features - features).max() < 2e-5 * features.std()
    assert np.abs(found.outputs - outputs).max() < 2e-5 * outputs.std()


@pytest.mark.parity
def test_neighbouring_frames_are_near(extractor, crops):
    """Nearer than another person's face is, in every video; no frame is lost."""
    found = {v: extractor.extract(pictures) for v, (_, pictures) in crops.items()}
    features = {v: f.features.astype(np.float64) for v, f in found.items()}
    for video, (numbers, pictures) in crops.items():
        own = features[video]
        assert own.shape == (len(pictures), 1408)
        assert np.isfinite(own).all()
        assert np.isfinite(found[video].outputs).all()
        steps = np.linalg.norm(np.diff(own, axis=0), axis=1)[np.diff(numbers) == 1]
        for other, theirs in features.items():
            if other != video and {other, video} != ONE_PERSON:
                away = np.linalg.norm(own[:, None] - theirs[None], axis=-1)
                assert np.median(steps) < np.median(away.min(axis=1)), (video, other)


@pytest.mark.parametrize("name", ["vggish", "wav2vec2_base", "wav2vec2_base_960h"])
def test_every_sound_track(name, shared_data, tmp_path):
    if name == "vggish":
        state = made_state(network_shapes(get_extractor(name)))
        with np.load(shared_data / "weights" / "vggish_pca_params.npz") as pca:
            state["pca.eigen_vectors"] = pca["pca_eigen_vectors"]
            state["pca.means"] = pca["pca_means"].reshape(-1)
        weights = tmp_path / "vggish.safetensors"
        write_weights(weights, state, {"extractor": name})
    else:
        weights = made_weights(tmp_path, name)
    extractor = load_extractor(name, weights=weights)
    takes = extractor.extractor.sound
    videos = sorted((shared_data / "affwild2_mini" / "videos").rglob("*.*"))
    assert len(videos) == 6
    for path in videos:
        if path.stem == SILENT:
            with pytest.raises(SoundError, match=r"7-30-176x144.*no sound track"):
                open_sound(path)
            continue
        sound = open_sound(path)
        found = extractor.extract(sound)
        expected = (sound.duration_s - takes.receptive_field_s) / takes.hop_s + 1
        assert len(found.features) == pytest.approx(expected, abs=1.01), path
        assert found.features.shape[1] == extractor.extractor.dim
        assert np.isfinite(found.features).all()
        assert found.features.std(axis=0).max() > 0
        assert found.times_s is not None
        np.testing.assert_allclose(np.diff(found.times_s), takes.hop_s)
        assert 0 < found.times_s[-1] < sound.duration_s
        if name == "vggish":
            assert found.features.min() >= 0
            assert found.features.max() <= 1
