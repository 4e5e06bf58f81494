"""Training on small made tables: what must hold whatever the numbers are."""

import dataclasses
import json
import shutil

import chex
import jax
import numpy as np
import pytest
from made.tables import made_data, made_table

from avemo_jax.batches import sharding
from avemo_jax.batches.order import FrameOrder, WindowOrder
from avemo_jax.config.fields import base_config
from avemo_jax.heads import Head
from avemo_jax.models import checkpoints
from avemo_jax.models.card import read_card
from avemo_jax.models.head import load_trained_head
from avemo_jax.training import dev_scores, step
from avemo_jax.training.objective import TrainingError, make_order, make_spec
from avemo_jax.training.train import train


def small_config(task="EXPR", head="mlp", **fields):
    config = base_config(task, head)
    config.batch_size = 32 if head == "mlp" else 128
    config.num_epochs = 2
    config.learning_rate = 1e-2
    config.head.window = 16
    config.head.num_layers = 1
    config.train.window_stride = 8
    config.log.tensorboard = False
    config.evaluate.batch_size = 64
    for name, value in fields.items():
        config.update_from_flattened_dict({name.replace("__", "."): value})
    return config


def trained(config, workdir, *, cache_dir=None, **store):
    workdir.mkdir(exist_ok=True)
    data = made_data(task=config.task, **store)
    data = dataclasses.replace(data, cache_dir=cache_dir)
    directory = train(config, data, workdir)
    card = read_card(directory)
    return card.sha256, card


def best(workdir):
    """Variables of the best epochs."""
    return load_trained_head(workdir / "best_model").variables


def long_config(task="EXPR", head="mlp"):
    """What :func:`resident` trains."""
    config = small_config(task, head, num_epochs=4, dropout=0.1)
    config.head.standardize = True
    config.data.device_budget_gb = 1.0
    return config


def history(workdir):
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


CASES = pytest.mark.parametrize(
    ("task", "head"),
    [
        ("EXPR", "mlp"),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (("VA", "mlp"), ("EXPR", "transformer"))
        ),
        pytest.param("AU", "mlp", marks=pytest.mark.release),
    ],
)


@pytest.fixture(scope="module")
def resident(tmp_path_factory):
    """Trained with the table in memory, each case once: (workdir, digests and card)."""
    made = {}

    def run(task, head):
        if (task, head) not in made:
            workdir = tmp_path_factory.mktemp("resident") / f"{task}_{head}"
            made[task, head] = workdir, trained(long_config(task, head), workdir)
        return made[task, head]

    return run


@CASES
def test_dev_score_rises(task, head, resident):
    workdir, _ = resident(task, head)
    criterion = {"EXPR": "f1_macro", "AU": "f1_mean_at_0.5", "VA": "ccc_mean"}[task]
    scores = [line[f"dev_{criterion}"] for line in history(workdir)]
    losses = [line["loss"] for line in history(workdir)]
    chance = {"EXPR": 0.15, "AU": 0.4, "VA": 0.1}[task]
    assert max(scores) > chance
    assert losses[-1] < losses[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "head", ["mlp", pytest.param("transformer", marks=pytest.mark.release)]
)
def test_member_equals_its_solo_run(head, tmp_path):
    """Bit for bit, where candidates are trained one after another."""
    many = small_config("VA", head, num_seeds=3, dropout=0.2, train__seed_mode="map")
    trained(many, tmp_path / "many")
    solo = small_config("VA", head, seed=2, dropout=0.2, train__seed_mode="map")
    trained(solo, tmp_path / "solo")
    third = jax.tree.map(lambda leaf: leaf[2:], best(tmp_path / "many"))
    chex.assert_trees_all_equal(third, best(tmp_path / "solo"))
    alone = history(tmp_path / "solo")[-1]["dev_ccc_mean_per_candidate"][0]
    assert history(tmp_path / "many")[-1]["dev_ccc_mean_per_candidate"][2] == alone


@pytest.mark.release
def test_batched_members_equal_mapped_ones_to_rounding(tmp_path):
    for mode in ("map", "vmap"):
        config = small_config(num_seeds=3, train__seed_mode=mode, num_epochs=1)
        trained(config, tmp_path / mode)
    members = [best(tmp_path / mode) for mode in ("map", "vmap")]
    chex.assert_trees_all_close(*members, rtol=2e-4, atol=2e-5)


def test_epochs_and_their_scores_on_dev_compile_once(tmp_path, monkeypatch):
    chex.clear_trace_counter()
    once = chex.assert_max_traces(step.train_step, n=1)
    monkeypatch.setattr(step, "train_step", once)
    # The network is in two programs: the scan of training, and the scores of dev.
    monkeypatch.setattr(Head, "apply", chex.assert_max_traces(Head.apply, n=2))
    config = small_config(num_seeds=2, train__scan_steps=1, evaluate__batch_size=48)
    trained(config, tmp_path)
    assert history(tmp_path)[-1]["step"] > 10  # each of them a chunk


@pytest.mark.parametrize(
    ("task", "head"),
    [
        ("EXPR", "mlp"),
        *(
            pytest.param(*case, marks=pytest.mark.release)
            for case in (("VA", "mlp"), ("AU", "mlp"), ("EXPR", "transformer"))
        ),
    ],
)
def test_streaming_gives_the_same_bits(task, head, resident, tmp_path):
    config = long_config(task, head)
    config.data.device_budget_gb = 0.0
    digests, _ = trained(config, tmp_path / "streamed", cache_dir=tmp_path)
    assert len(list((tmp_path / "tables").iterdir())) == 2
    assert digests == resident(task, head)[1][0]


def test_resumed_run_equals_an_unbroken_one(resident, tmp_path, monkeypatch):
    _, whole = resident("EXPR", "mlp")

    class Cut(Exception):
        pass

    save = checkpoints.RunCheckpoints.save

    def cut_after_two(self, step, state, progress):
        save(self, step, state, progress)
        if progress["epoch"] == 2:
            raise Cut

    config = long_config()
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.RunCheckpoints, "save", cut_after_two)
        with pytest.raises(Cut):
            trained(config, tmp_path / "cut")
    with (tmp_path / "cut" / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 3, "hal')
    resumed = trained(config, tmp_path / "cut")
    assert resumed == whole
    assert [line["epoch"] for line in history(tmp_path / "cut")] == [1, 2, 3, 4]


def test_damaged_checkpoint_is_reported_and_the_one_before_taken(
    resident, tmp_path, caplog
):
    workdir, whole = resident("EXPR", "mlp")
    shutil.copytree(workdir, tmp_path, dirs_exist_ok=True)
    name = f"checkpoints/{history(tmp_path)[-1]['step']}"
    files = [p for p in (tmp_path / name).rglob("*") if p.is_file()]
    largest = max(files, key=lambda path: path.stat().st_size)
    data = bytearray(largest.read_bytes())
    data[len(data) // 2] ^= 1
    largest.write_bytes(bytes(data))
    caplog.set_level("ERROR")
    assert trained(long_config(), tmp_path) == whole
    assert name in caplog.text


def test_nan_stops_and_names_the_steps(tmp_path):
    config = small_config(learning_rate=float("inf"))
    with pytest.raises(TrainingError, match=r"loss is .* in steps \d+ to \d+"):
        trained(config, tmp_path)


@pytest.mark.slow
def test_stopped_members_keep_their_best(tmp_path):
    config = small_config(num_epochs=12, learning_rate=0.05, num_seeds=2)
    config.train.early_stop_epochs = 2
    _, card = trained(config, tmp_path)
    lines = history(tmp_path)
    for candidate, best in enumerate(card.best_epochs):
        scores = [line["dev_f1_macro_per_candidate"][candidate] for line in lines]
        assert scores[best - 1] == max(scores) == card.dev_scores[candidate]
        after = scores[best + 1 :]
        assert len(set(after[1:])) <= 1  # frozen from then on


@pytest.mark.slow
def test_sweep_trains_all_and_keeps_the_best(tmp_path):
    config = small_config(num_seeds=2)
    config.sweep.learning_rate = (1e-5, 1e-2)
    config.sweep.dropout = (0.0, 0.5)
    _, card = trained(config, tmp_path)
    assert len(card.sweep) == 4
    best = max(card.sweep, key=lambda row: row["dev_mean"])
    assert card.setting["learning_rate"] == best["learning_rate"] == 1e-2
    assert card.seeds == (0, 1)
    # a setting of the sweep is what it is alone
    one = small_config(num_seeds=2, **card.setting)
    _, alone = trained(one, tmp_path / "alone")
    np.testing.assert_allclose(alone.dev_scores, card.dev_scores, atol=1e-6)


def test_train_and_dev_together_keep_the_last_epoch(tmp_path):
    config = small_config(data__train_on="train+dev")
    _, card = trained(config, tmp_path)
    assert card.best_epochs == (2,)
    assert card.dev_scores is None
    assert not any(name.startswith("dev_") for name in history(tmp_path)[0])


@pytest.mark.slow
def test_eval_mode_leaves_batchnorm_alone(resident, tmp_path):
    config = small_config("VA", train__eval_mode=True)
    trained(config, tmp_path)
    frozen, free = best(tmp_path).stats, best(resident("VA", "mlp")[0]).stats
    del free["inputs"]
    start = jax.tree.map(np.round, frozen)  # means of 0, variances of 1
    chex.assert_trees_all_equal(frozen, start)
    means = [leaf for leaf in jax.tree.leaves(free) if not (leaf == 1).all()]
    assert any((leaf != 0).any() for leaf in means)


def test_no_valid_label_is_an_error(tmp_path):
    data = made_data()
    load = data.store.load
    data.store.load = lambda *a, **k: dataclasses.replace(
        load(*a, **k), valid=np.zeros(load(*a, **k).num_rows, bool)
    )
    with pytest.raises(TrainingError, match="valid EXPR label"):
        train(small_config(), data, tmp_path)


def test_batch_larger_than_the_data_is_reduced(caplog):
    caplog.set_level("WARNING")
    config = small_config(batch_size=100_000, train__passes_per_epoch=1)
    spec, table = make_spec(config, (12, 5)), made_table()
    order = make_order(config, table, spec, sharding.make_mesh())
    assert "100000" in caplog.text
    assert order.num_steps == 1
    assert order.batch_size == table.valid.sum()


def test_every_valid_frame_is_seen_once_an_epoch():
    table = made_table()
    order = FrameOrder(table, 7, order_seed=3)
    first, second = order.epoch(0).ravel(), order.epoch(1).ravel()
    assert len(set(first)) == len(first) == order.num_steps * 7
    assert table.valid.sum() - len(first) < 7
    assert table.valid[first].all()
    assert (first != second).any()
    np.testing.assert_array_equal(first, FrameOrder(table, 7, 3).epoch(0).ravel())


def test_frames_per_video_are_drawn_anew_each_epoch():
    table = made_table()
    order = FrameOrder(table, 10, order_seed=3, frames_per_video=5)
    assert order.num_rows == 5 * len(table.videos)
    rows = order.epoch(0).ravel()
    counts = np.bincount(table.video_of_row[rows])
    assert (counts <= 5).all()
    assert set(rows) != set(order.epoch(1).ravel())


def test_windows_stay_in_their_video_and_cover_it():
    table = made_table()
    order = WindowOrder(table, 64, order_seed=0, window=16, stride=8)
    windows = order.epoch(0).reshape(-1, 3)
    assert set(windows[:, 1]) <= set(table.dense_offsets)
    assert (windows[:, 0] + 16 > windows[:, 1]).all()
    assert (windows[:, 0] < windows[:, 2]).all()
    seen = np.zeros(int(table.num_frames.sum()), int)
    for start, low, high in windows:
        seen[max(start, low) : min(start + 16, high)] += 1
    assert (seen > 0).mean() > 0.85


def test_dev_scores_that_are_never_finite_are_an_error(tmp_path, monkeypatch):
    """Else the first parameters would be taken for the best."""
    scorer = dev_scores.DevScorer.__call__

    def lost(self, variables):
        scores, record = scorer(self, variables)
        return np.where([False, True], np.nan, scores), record

    monkeypatch.setattr(dev_scores.DevScorer, "__call__", lost)
    with pytest.raises(TrainingError, match=r"no score on dev of seeds 1 was finite"):
        trained(small_config(num_seeds=2), tmp_path)
    assert not (tmp_path / "best_model").exists()
