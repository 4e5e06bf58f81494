"""Moving means of the parameters, alone and in whole runs with the other options."""

import functools
import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from made.several_sets import build_several_sets
from made.tables import made_data, made_table
from sklearn.metrics import f1_score

from avemo_jax.batches.feeders import Batch
from avemo_jax.batches.tables import Data
from avemo_jax.config.checks import check_config
from avemo_jax.config.fields import base_config
from avemo_jax.data.store.store import open_store
from avemo_jax.heads import HeadSpec, build_head
from avemo_jax.heads.temperature import TEMPERATURES
from avemo_jax.models import checkpoints
from avemo_jax.models.head import load_trained_head, row_scores
from avemo_jax.training import losses
from avemo_jax.training.optimiser import make_optimizer
from avemo_jax.training.seeds import make_candidates
from avemo_jax.training.state import (
    AveragedModels,
    Models,
    fresh_state,
    keep_best,
    keep_last,
)
from avemo_jax.training.step import train_step
from avemo_jax.training.train import train

SETS = {"enet_b2_8_best": ("visual", 7, 0), "wav2vec2_base": ("audio", 5, 0)}
DECAY = 0.3
STEPS = 6


def started(ema):
    """A small head for values, which has BatchNorm and statistics of its inputs."""
    config = base_config("VA", "mlp")
    config.train.ema = ema
    head = build_head(HeadSpec("VA", "mlp", (12, 5), mlp_dim=4, standardize=True))
    table = made_table("VA")
    x = table.features[:32].astype(np.float32)
    inputs = {"mean": x.mean(axis=0), "deviation": x.std(axis=0) + 0.1}
    candidates = make_candidates(config)

    @jax.jit
    def start():
        state = fresh_state(config, candidates, head, STEPS, inputs)
        return state, first_of(candidates.hyper())

    state, hyper = start()
    labels = np.nan_to_num(table.labels[:32])
    there = jnp.ones(32, bool)
    batch = Batch(x=x, labels=labels, counts=there, present=there)
    loss = losses.make_loss("VA")
    step = functools.partial(
        train_step,
        head=head,
        loss_of=lambda logits, labels, mask: loss(logits, labels, mask, None),
        optimizer_of=lambda hyper: make_optimizer(config, hyper, STEPS),
        use_dropout=False,
        train_mode=True,
        ema=ema,
    )
    return state, jax.jit(step), batch, hyper


def first_of(tree):
    return jax.tree.map(lambda leaf: leaf[0], tree)


@pytest.fixture(scope="module")
def stepped():
    """The models after each step, without means and with them."""
    found = {}
    for ema in (0.0, DECAY):
        state, step, batch, hyper = started(ema)
        models = [jax.tree.map(lambda leaf: np.asarray(leaf)[0], state.models)]
        for number in range(STEPS):
            after, _ = step(models[-1], batch, np.int32(number), hyper)
            models.append(after)
        found[ema] = models
    return found


def test_means_are_those_of_numpy(stepped):
    """Those of parameters and of running statistics; of inputs the statistics stay."""
    models = stepped[DECAY]
    expected = jax.tree.map(np.float64, models[0].variables)
    for number, model in enumerate(models[1:]):
        decay = min(DECAY, (1 + number) / (10 + number))
        expected = jax.tree.map(
            lambda old, new, d=decay: d * old + (1 - d) * np.float64(new),
            expected,
            model.variables,
        )
        chex.assert_trees_all_close(
            jax.tree.map(np.float64, model.average), expected, rtol=1e-6, atol=1e-7
        )
    last = models[-1]
    assert last.scored is last.average
    chex.assert_trees_all_equal(
        last.average.stats["inputs"], models[0].variables.stats["inputs"]
    )
    means = [tree.stats["vhead"] for tree in (last.average, last.variables)]
    assert any(
        (a != b).any() for a, b in zip(*map(jax.tree.leaves, means), strict=True)
    )


def test_training_itself_is_the_same(stepped):
    """And without means nothing is there of them: checkpoints are as they were."""
    for without, with_means in zip(stepped[0.0], stepped[DECAY], strict=True):
        assert type(without) is Models
        assert type(with_means) is AveragedModels
        assert without.scored is without.variables
        chex.assert_trees_all_equal(without.variables, with_means.variables)
        chex.assert_trees_all_equal(without.optimiser, with_means.optimiser)


def test_the_best_and_the_last_are_means():
    state, *_ = started(DECAY)
    moved = jax.tree.map(lambda leaf: leaf + 1, state.models.average)
    state = state.replace(models=state.models.replace(average=moved))
    chex.assert_trees_all_equal(keep_last(state, 1).best, moved)
    kept = keep_best(state, np.ones(1, np.float32), 1, 0)
    chex.assert_trees_all_equal(kept.best, moved)


# --- Whole runs with the options of today ---------------------------------------------


def options_config(**fields):
    """Classes, by an MLP: means, mixup and a temperature together."""
    config = base_config("EXPR", "mlp")
    config.batch_size, config.num_epochs, config.learning_rate = 32, 3, 1e-2
    config.dropout = 0.1
    config.log.tensorboard = config.log.progress = False
    config.train.ema, config.train.mixup = 0.9, 0.4
    config.head.learned_temperature = True
    config.update_from_flattened_dict(fields)
    return config


def run(config, workdir):
    workdir.mkdir(exist_ok=True)
    directory = train(config, made_data(task=config.task), workdir)
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return load_trained_head(directory), [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An unbroken run: its head, and its log."""
    return run(options_config(), tmp_path_factory.mktemp("whole"))


@pytest.mark.release
def test_best_model_has_what_dev_was_scored_with(whole):
    own, log = whole
    table, scores = row_scores(own, made_data(task="EXPR"), "dev", 10**9)
    labels, predicted = table.labels[table.valid], scores[0].argmax(axis=-1)
    found = f1_score(labels, predicted[table.valid], average="macro", labels=range(8))
    assert found == pytest.approx(own.card.dev_scores[0], abs=1e-6)
    assert max(line["dev_f1_macro"] for line in log) == own.card.dev_scores[0]
    log_temperature = own.variables.params[TEMPERATURES]["EXPR"]
    assert log_temperature.shape == (1,)
    assert 0 < abs(float(log_temperature[0])) < 1


@pytest.mark.release
def test_resumed_run_equals_an_unbroken_one(whole, tmp_path, monkeypatch):
    class Cut(Exception):
        pass

    save = checkpoints.RunCheckpoints.save

    def cut_after_one(self, step, state, progress):
        save(self, step, state, progress)
        if progress["epoch"] == 1:
            raise Cut

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.RunCheckpoints, "save", cut_after_one)
        with pytest.raises(Cut):
            run(options_config(), tmp_path)
    own, _ = run(options_config(), tmp_path)
    assert own.card == whole[0].card  # digests of the arrays among it


@pytest.mark.release
@pytest.mark.parametrize("name", ["train.ema", "train.mixup", "loss.va_mse"])
def test_each_option_changes_what_is_trained(name, tmp_path):
    """Other arrays come out of a run that differs in it alone."""
    task = "VA" if name == "loss.va_mse" else "EXPR"
    off = {"train.ema": 0.0, "train.mixup": 0.0, "head.learned_temperature": False}
    digests = []
    for value in (0.0, 0.4):
        config = options_config(**{**off, "task": task, name: value})
        digests.append(run(config, tmp_path / str(value))[0].card.sha256)
    assert digests[0] != digests[1]


@pytest.mark.release
def test_tasks_are_trained_together_with_all_of_them(tmp_path):
    """Units and classes with mixup; with values all but mixup."""
    store = open_store(build_several_sets(tmp_path / "store", SETS))
    data = Data(store, "made", "made data", cache_dir=tmp_path / "cache")
    for task, mixup in (("EXPR+AU", 0.4), ("EXPR+AU+VA", 0.0)):
        fields = {"task": task, "train.mixup": mixup, "loss.va_mse": 0.3}
        config = options_config(**fields, **{"data.features": "+".join(SETS)})
        check_config(config)
        workdir = tmp_path / task
        workdir.mkdir()
        best = train(config, data, workdir)
        lines = (workdir / "metrics.jsonl").read_text().splitlines()
        assert np.isfinite([json.loads(line)["loss"] for line in lines]).all()
        for name in task.split("+"):
            own = load_trained_head(best / name)
            tempered = own.card.head["learned_temperature"]
            assert tempered is (name != "VA")
            assert (TEMPERATURES in own.variables.params) is tempered
            _, scores = row_scores(own, data, "validation", 10**9)
            assert np.isfinite(scores).all()
