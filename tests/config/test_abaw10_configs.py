"""Recipes near the best entries of ABAW-10, on made features of their names."""

import pathlib

import numpy as np
import pytest
from made.several_sets import build_several_sets

from avemo_jax.batches.tables import Data
from avemo_jax.config.checks import check_config
from avemo_jax.config.recipe_files import run_recipe
from avemo_jax.data.features.names import split_name
from avemo_jax.data.store.store import open_store
from avemo_jax.extractors import EXTRACTORS
from avemo_jax.models.head import load_trained_head, row_scores
from avemo_jax.training.train import train

FOLDER = pathlib.Path(__file__).parents[2] / "configs" / "abaw10"
RECIPES = sorted(FOLDER.glob("*.py"))
EVERY_RECIPE = pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
SETS = {
    "dinov2_vitb14": ("visual", 7, 0),
    "wavlm_large": ("audio", 6, 0),
    "wav2vec2_base@16k-layer9": ("audio", 5, 0),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return open_store(build_several_sets(tmp_path_factory.mktemp("store"), SETS))


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(
            path,
            id=path.stem,
            marks=pytest.mark.slow if path.stem == "expr" else pytest.mark.release,
        )
        for path in RECIPES
    ],
)
def test_it_trains_two_steps(path, store, tmp_path):
    config = run_recipe(path)
    frames = 128
    config.batch_size, config.num_epochs = frames, 1
    config.head.window, config.train.window_stride = 16, 16
    config.head.num_layers = 1
    config.log.tensorboard = config.log.progress = False
    check_config(config)
    data = Data(store, "made", "made data", cache_dir=tmp_path / "cache")
    workdir = tmp_path / "run"
    workdir.mkdir()
    own = load_trained_head(train(config, data, workdir))
    assert own.card.counts["train"]["samples"] >= 2 * frames
    table, scores = row_scores(own, data, "validation", 10**9)
    assert scores.shape[1:] == (table.num_rows, own.task.num_outputs)
    assert np.isfinite(scores).all()


@EVERY_RECIPE
def test_it_says_whose_figures_it_quotes(path):
    text = " ".join(path.read_text().split())
    assert "report" in text
    assert "arXiv 2603." in text
    assert "not ours" in text
    config = run_recipe(path)
    assert config.task.lower() == path.stem
    names = [split_name(name)[0] for name in config.data.features.split("+")]
    assert {EXTRACTORS[name].kind for name in names} == {"visual", "audio"}
    assert config.train.modality_dropout > 0
    assert config.train.ema > 0
