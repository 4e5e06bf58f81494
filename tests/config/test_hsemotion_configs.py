"""Heads on the extractors' own outputs, and HSEmotion's recipes."""

import dataclasses
import importlib.util
import pathlib

import numpy as np
import pytest
from made.several_sets import build_several_sets
from made.tables import batches_of

from avemo_jax.batches import sharding
from avemo_jax.batches.feeders import make_feeder
from avemo_jax.batches.head_inputs import input_dims, inputs_of
from avemo_jax.batches.tables import Data, Loader
from avemo_jax.config.checks import check_config
from avemo_jax.config.fields import base_config
from avemo_jax.data.store.store import open_store
from avemo_jax.models.head import load_trained_head, row_scores
from avemo_jax.training.objective import make_spec
from avemo_jax.training.train import train

FOLDER = pathlib.Path(__file__).parents[2] / "configs" / "hsemotion"
RECIPES = sorted(FOLDER.glob("*.py"))
BUDGET = 10**9
# Kind, features, outputs.
SETS = {
    "enet_b0_8_va_mtl": ("visual", 12, 10),
    "enet_b0_8_best_vgaf": ("visual", 9, 8),
    "enet_b2_8_best": ("visual", 7, 0),
    "wav2vec2_base": ("audio", 5, 0),
}


def recipe(path, **fields):
    """The configuration in a file, made small."""
    spec = importlib.util.spec_from_file_location(f"recipe_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config()
    config.batch_size = 64
    config.num_epochs = 1
    config.log.tensorboard = False
    config.log.progress = False
    config.update_from_flattened_dict(fields)
    return config


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Sets with outputs and without."""
    return open_store(build_several_sets(tmp_path_factory.mktemp("store"), SETS))


@pytest.fixture
def data(store, tmp_path):
    return Data(store, "made", "made data", cache_dir=tmp_path / "cache")


def resolved(data, *names):
    return data.store.resolve(names)


# --- What a head sees -----------------------------------------------------------------


def test_dims_are_those_of_the_inputs(data):
    sets = resolved(data, "enet_b0_8_va_mtl", "enet_b0_8_best_vgaf")
    assert input_dims(sets, "features") == (12, 9)
    assert input_dims(sets, "outputs") == (10, 8)
    config = base_config("VA", "linear")
    assert make_spec(config, input_dims(sets, "outputs")).input_dim == 18


@pytest.mark.parametrize(
    ("names", "named"),
    [
        (["wav2vec2_base"], r"no outputs of wav2vec2_base@16k \(audio\); expected"),
        (
            ["enet_b0_8_va_mtl", "wav2vec2_base"],
            r"no outputs of wav2vec2_base@16k \(audio\); expected",
        ),
        (
            ["enet_b2_8_best", "enet_b0_8_va_mtl"],
            r"no outputs of enet_b2_8_best@\S+ \(visual\); expected",
        ),
    ],
)
def test_sets_without_outputs_are_named(data, names, named, tmp_path):
    message = rf"config\.data\.inputs is 'outputs' and the store has {named} visual "
    message += r"sets .*; leave these sets out, .* config\.data\.inputs='features'"
    with pytest.raises(ValueError, match=message):
        input_dims(resolved(data, *names), "outputs")
    config = recipe(FOLDER / "va.py", **{"data.features": "+".join(names)})
    with pytest.raises(ValueError, match=message):
        train(config, data, tmp_path)


def test_a_table_that_lost_its_outputs_is_refused(data):
    table = data.store.load_table("VA", "train", ["enet_b0_8_va_mtl"])
    assert inputs_of(table, "outputs") is table.outputs
    assert inputs_of(table, "features") is table.features
    lost = dataclasses.replace(table, outputs=None)
    message = r"outputs of train have no columns; expected 10, .*; build"
    with pytest.raises(ValueError, match=message):
        inputs_of(lost, "outputs")
    options = {"window": 0, "audio_flag": False, "resident": True}
    with pytest.raises(ValueError, match=message):
        make_feeder(lost, sharding.make_mesh(), **options, inputs="outputs")


@pytest.mark.parametrize("budget", [BUDGET, 0])
@pytest.mark.parametrize("inputs", ["features", "outputs"])
def test_feeders_send_the_inputs(data, inputs, budget):
    """In memory and from disk; outputs keep their float32."""
    names = ["enet_b0_8_va_mtl", "enet_b0_8_best_vgaf"]
    options = {"task": "VA", "missing_audio": "zeros", "budget": budget}
    loader = Loader(data, sharding.make_mesh(), **options, inputs=inputs)
    dims = input_dims(resolved(data, *names), inputs)
    spec = make_spec(base_config("VA", "linear"), dims)
    table, feeder = loader.load("train", spec, names)
    expected = getattr(table, inputs)
    assert isinstance(expected, np.memmap) is (budget == 0)
    index = np.random.default_rng(0).integers(0, table.num_rows, (3, 8))
    found = [batch.x for batch in batches_of(feeder, index.astype(np.int32), 2)]
    assert found[0].dtype == {"features": np.float16, "outputs": np.float32}[inputs]
    np.testing.assert_array_equal(np.stack(found), expected[index])


# --- Training and scores --------------------------------------------------------------


def trained(config, data, workdir):
    workdir.mkdir()
    check_config(config)
    return load_trained_head(train(config, data, workdir))


@pytest.mark.slow
def test_a_card_keeps_the_inputs_and_scores_are_of_them(data, tmp_path):
    """Streamed or not, and against the product by hand."""
    config = recipe(FOLDER / "va.py", num_epochs=2, learning_rate=1e-2)
    own = trained(config, data, tmp_path / "resident")
    assert own.card.inputs == "outputs"
    assert own.head.spec.dims == (10,)
    config.data.device_budget_gb = 0.0
    streamed = trained(config, data, tmp_path / "streamed")
    assert streamed.card.sha256 == own.card.sha256
    table, scores = row_scores(own, data, "validation", BUDGET)
    fc = own.variables.params["fc"]
    weight, bias = np.asarray(fc["weight"])[0], np.asarray(fc["bias"])[0]
    by_hand = np.tanh(table.outputs @ weight.T + bias)
    np.testing.assert_allclose(scores[0], by_hand, rtol=1e-5, atol=1e-6)
    _, again = row_scores(own, data, "validation", 0)
    np.testing.assert_array_equal(again, scores)


@pytest.mark.release
def test_the_transformer_takes_outputs_too(data, tmp_path):
    config = base_config("EXPR", "transformer", "enet_b0_8_best_vgaf")
    config.data.inputs = "outputs"
    config.batch_size, config.num_epochs = 32, 1
    config.head.window, config.head.num_layers = 16, 1
    config.train.window_stride = 16
    config.log.tensorboard = config.log.progress = False
    own = trained(config, data, tmp_path / "run")
    assert own.head.spec.dims == (8,)
    table, scores = row_scores(own, data, "validation", BUDGET)
    assert scores.shape == (1, table.num_rows, 8)
    np.testing.assert_allclose(scores.sum(axis=-1), 1, rtol=1e-5)


TRAINED = {
    "va": [],
    "au": pytest.mark.release,
    "expr": pytest.mark.slow,
}


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, id=path.stem, marks=TRAINED[path.stem]) for path in RECIPES],
)
def test_every_recipe_trains(path, data, tmp_path):
    """Two steps at least; each head of a blend."""
    config = recipe(path)
    sets = (config.data.features, *config.blend.features)
    config.blend.features = ()
    for number, features in enumerate(sets):
        config.data.features = features
        own = trained(config, data, tmp_path / f"head_{number}")
        lines = (tmp_path / f"head_{number}" / "metrics.jsonl").read_text().splitlines()
        assert len(lines) == config.num_epochs
        table, scores = row_scores(own, data, "validation", BUDGET)
        assert scores.shape[1:] == (table.num_rows, own.task.num_outputs)
        assert np.isfinite(scores).all()
        counts = own.card.counts["train"]
        assert counts["samples"] >= 2 * config.batch_size


def test_recipes_say_what_they_are():
    """The windows, the inputs, and whose figures the text quotes."""
    va, au, expr = (recipe(FOLDER / f"{name}.py") for name in ("va", "au", "expr"))
    assert (va.data.inputs, va.head.kind) == ("outputs", "linear")
    assert 50 in va.postprocess.half_widths
    assert au.postprocess.half_widths == (1, 3, 5, 15)
    assert au.loss.class_weights != "none"
    assert expr.blend.features == ("wav2vec2_base",)
    assert expr.blend.trust_extractor
    for path in RECIPES:
        text = " ".join(path.read_text().split())
        assert "HSEmotion reports" in text
        assert "HSEmotion's, not ours" in text
