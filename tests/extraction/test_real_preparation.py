"""Real faces and sound, from files of weights as their publishers give them, to scores.

The weights are random: nothing here says how good a score is.
"""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from reference.efficientnet import as_tensor, expected_of, random_network
from reference.torch_libraries import import_transformers

from avemo_jax.data.features.files import read_feature_file
from avemo_jax.data.store.store import open_store
from avemo_jax.extractors.efficientnet import EfficientNetSpec
from avemo_jax.media.images import read_image

pytestmark = [pytest.mark.release, pytest.mark.parity]
ROOT = pathlib.Path(__file__).parents[2]
SETS = ("enet_b2_8_best", "wav2vec2_base", "vggish")


def called(*arguments: object) -> str:
    """What a command prints."""
    done = subprocess.run(
        [sys.executable, "-m", "avemo_jax.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def mini(shared_data):
    return shared_data / "affwild2_mini"


@pytest.fixture(scope="module")
def network(mini):
    """timm's B2, with running statistics near those of real crops."""
    paths = sorted(mini.glob("cropped*/*/*.jpg"))[::40]
    images = as_tensor([read_image(path) for path in paths])
    return random_network(EfficientNetSpec("b2", 8), images)


@pytest.fixture(scope="module")
def published(network, tmp_path_factory):
    """A whole pickled module, and two state dicts."""
    torch = pytest.importorskip("torch", reason="needs the extra 'parity'")
    transformers = import_transformers()
    from reference.vggish import Vggish

    folder = tmp_path_factory.mktemp("published")
    torch.manual_seed(0)
    torch.save(network, folder / "enet_b2_8_best.pt")
    body = transformers.Wav2Vec2Model(transformers.Wav2Vec2Config())
    torch.save(body.state_dict(), folder / "wav2vec2_base.bin")
    torch.save(Vggish().state_dict(), folder / "vggish.pth")
    return folder


@pytest.fixture(scope="module")
def store(mini, shared_data, published, tmp_path_factory):
    """Of the one command; and what it printed."""
    weights = tmp_path_factory.mktemp("weights")
    pca = ["--pca", shared_data / "weights/vggish_pca_params.npz"]
    for name in SETS:
        [source] = published.glob(f"{name}.*")
        more = pca if name == "vggish" else []
        out = weights / f"{name}.safetensors"
        called("convert", name, source, "--out", out, *more)
    out = tmp_path_factory.mktemp("store") / "store"
    said = called(
        *("prepare", "--root", mini, "--out", out),
        *("--visual", SETS[0], "--audio", ",".join(SETS[1:]), "--weights", weights),
    )
    assert "7 subject-videos, 1,040 pictures" in said
    return out


def test_faces_are_those_of_timm(mini, network, store):
    folder = mini / "cropped_aligned/video3"
    name = "enet_b2_8_best@cropped_aligned-224"
    found, _ = read_feature_file(store / "features" / name / "video3.npz")
    paths = [folder / f"{frame:05d}.jpg" for frame in found.frame[:8]]
    images = as_tensor([read_image(path) for path in paths])
    features, outputs = expected_of(network, images)
    assert found.outputs is not None
    assert np.abs(found.features[:8] - features).max() < 2e-3 * np.abs(features).max()
    assert np.abs(found.outputs[:8] - outputs).max() < 2e-5 * outputs.std()


def test_every_crop_has_its_rows(store):
    opened = open_store(store)
    rows = 0
    for split in ("train+dev", "validation"):
        table = opened.load_table("EXPR", split, SETS)
        rows += len(table.features)
        assert np.isfinite(table.features).all()
        silent = {v for v in table.videos if v.startswith("7-30")}
        for video, start, stop in zip(
            table.videos, table.row_offsets, table.row_offsets[1:], strict=False
        ):
            assert table.has_audio[start:stop].all() == (video not in silent)
    assert rows == 1040


def test_training_and_scores(store, tmp_path):
    called(
        *("train", "--config", "configs/va_mlp.py"),
        *(f"--config.data.dir={store}", "--config.num_epochs=2"),
        *("--workdir", tmp_path),
    )
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["synthetic"] is False
    assert results["counts"]["validation"]["videos"] == 3
    lines = (tmp_path / "predictions.csv").read_text().splitlines()
    assert len(lines) == 1 + 297
