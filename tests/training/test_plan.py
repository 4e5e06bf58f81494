"""The plan of a run, held to runs that are really loaded."""

import dataclasses
import json
import pathlib

import jax
import numpy as np
import pytest
from made.several_sets import build_several_sets

from avemo_jax.batches import sharding
from avemo_jax.batches.feeders import ResidentFeeder, StreamedFeeder
from avemo_jax.batches.head_inputs import input_dims
from avemo_jax.batches.order import WindowOrder
from avemo_jax.batches.tables import Loader, feature_names, memory_budget, open_data
from avemo_jax.config.fields import base_config
from avemo_jax.heads import build_head
from avemo_jax.training.amount import fitted
from avemo_jax.training.objective import make_order, make_spec
from avemo_jax.training.plan import command, memory
from avemo_jax.training.plan.sizes import bytes_of, plan_run
from avemo_jax.training.seeds import make_candidates
from avemo_jax.training.state import fresh_state
from avemo_jax.training.step import scan_length

ROOT = pathlib.Path(__file__).parents[2]
CASES = {
    "EXPR mlp": ("EXPR", "mlp", "enet_b2_8_best+vggish", {}),
    "EXPR outputs": ("EXPR", "mlp", "enet_b2_8_best", {"data.inputs": "outputs"}),
    "VA sweep": (
        *("VA", "mlp", "enet_b0_8_va_mtl"),
        {"num_seeds": 2, "sweep.learning_rate": (1e-4, 1e-3, 1e-2)},
    ),
    "AU transformer": (
        *("AU", "transformer", "enet_b2_8_best+wav2vec2_base"),
        {"head.window": 8, "train.window_stride": 4, "head.audio_flag": True},
    ),
}


@pytest.fixture(scope="module")
def several(tmp_path_factory) -> pathlib.Path:
    return build_several_sets(tmp_path_factory.mktemp("several"))


def config_of(case: str, budget_gb: float | None = None):
    task, kind, features, fields = CASES[case]
    config = base_config(task, kind, features)
    config.batch_size = 64
    config.num_epochs = 3
    config.data.device_budget_gb = budget_gb
    config.update_from_flattened_dict(fields)
    return config


class Really:
    """What ``train`` loads and makes, of which a plan speaks."""

    def __init__(self, config, data):
        mesh = sharding.make_mesh()
        feature_sets = data.store.resolve(feature_names(config))
        names = [one.name for one in feature_sets]
        self.spec = make_spec(config, input_dims(feature_sets, config.data.inputs))
        loader = Loader(
            data,
            mesh,
            task=config.task,
            missing_audio=config.data.missing_audio,
            budget=memory_budget(config.data.device_budget_gb),
            inputs=config.data.inputs,
        )
        self.loaded = {s: loader.load(s, self.spec, names) for s in ("dev", "train")}
        table, self.feeder = self.loaded["train"]
        config = fitted(config, table, self.spec, mesh)
        self.order = make_order(config, table, self.spec, mesh)
        candidates = make_candidates(config)
        steps = self.order.num_steps * config.num_epochs

        def start():
            state = fresh_state(config, candidates, build_head(self.spec), steps)
            return state, candidates.hyper()

        self.state, self.rates = jax.jit(start)()
        self.scan = scan_length(config, self.order.num_steps)
        self.chunk = next(iter(self.feeder.chunks(self.order.epoch(0), self.scan)))

    def order_bytes(self) -> int:
        """Of all passes of an epoch, before steps are cut of them."""
        if isinstance(self.order, WindowOrder):
            return self.order.passes * self.order.num_windows * 3 * 4
        return sum(self.order._rows(one).nbytes for one in range(self.order.passes))

    def dev_score_bytes(self) -> int:
        """Of one candidate, by row or by window, each of which overlaps the next."""
        dev = self.loaded["dev"][0]
        rows = 2 * dev.num_frames.sum() if self.spec.takes_windows else dev.num_rows
        return int(rows) * dev.task.num_outputs * 4


def real_bytes(tree) -> int:
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))


def table_bytes(table, *, of_features: bool) -> int:
    found = 0
    for name, value in vars(table).items():
        if isinstance(value, np.ndarray):
            if of_features or name not in ("features", "outputs"):
                found += value.nbytes
    return found


@pytest.mark.parametrize("case", CASES)
def test_bytes_of_a_resident_run(several, case):
    config, data = config_of(case), open_data(str(several))
    run, real = plan_run(config, data), Really(config, data)
    for planned in run.tables[:2]:
        table, feeder = real.loaded[planned.split]
        assert planned.resident
        assert isinstance(feeder, ResidentFeeder)
        assert planned.rows == table.num_rows
        assert planned.videos == len(table.videos)
        assert planned.device_bytes == real_bytes(feeder._arrays) > 0
        assert planned.host_bytes == table_bytes(table, of_features=True)
        assert planned.file_bytes == 0
    state, models = real.state, real.state.models
    others = state.best_score, state.best_epoch, state.stopped
    arrays, index = real.chunk
    step = jax.tree.map(lambda leaf: leaf[0], real.feeder.spread(arrays, index))
    assert run.device_bytes == {
        "tables": sum(table.device_bytes for table in run.tables[:2]),
        "parameters": real_bytes(models.variables.params),
        "statistics": real_bytes(models.variables.stats),
        "optimiser state": real_bytes(models.optimiser),
        "best parameters": real_bytes(state.best),
        "scores, keys, rates": real_bytes((others, real.rates)),
        "a batch": real_bytes(real.feeder.batch(arrays, step)),
        "streamed batches": 0,
    }
    assert run.host_bytes == {
        "tables": sum(table.host_bytes for table in run.tables[:2]),
        "batches read ahead": 0,
        # Beside the whole order the passes of which it is put together.
        "order of an epoch": 2 * real.order_bytes(),
        "scores of dev": run.candidates * real.dev_score_bytes(),
    }
    assert run.candidates == len(state.best_score)
    assert run.steps_per_epoch == real.order.num_steps
    assert run.steps == 3 * real.order.num_steps
    assert run.steps_per_scan == real.scan
    assert run.batch_size == run.batch_per_device == real.order.batch_size
    assert run.problem is None


@pytest.mark.parametrize("case", ["EXPR outputs", "AU transformer"])
def test_bytes_of_a_streamed_run(several, case, tmp_path):
    config = config_of(case, budget_gb=1e-9)
    data = open_data(str(several), str(tmp_path))
    run = plan_run(config, data)
    assert not list(tmp_path.iterdir())
    real = Really(config, data)
    for planned in run.tables[:2]:
        table, feeder = real.loaded[planned.split]
        assert not planned.resident
        assert isinstance(feeder, StreamedFeeder)
        assert planned.device_bytes == 0
        assert planned.host_bytes == table_bytes(table, of_features=False)
    on_disk = sum(f.stat().st_size for f in (tmp_path / "tables").iterdir())
    assert sum(t.file_bytes for t in run.tables[:2]) == on_disk > 0
    shared, steps = real.chunk
    assert shared == ()
    # One in use, one on its way.
    assert run.device_bytes["streamed batches"] == 2 * real_bytes(steps)
    assert run.host_bytes["batches read ahead"] == 4 * real_bytes(steps)


def test_the_budget_is_shared_as_the_loader_shares_it(several):
    """Dev fits, train does not; the evaluation begins with the whole again."""
    data = open_data(str(several))
    store, names = data.store, ["enet_b2_8_best", "vggish"]
    dev = store.join("EXPR", "dev", names).bytes
    config = config_of("EXPR mlp", budget_gb=(dev + 1000) / 1e9)
    run = plan_run(config, data)
    assert [(t.split, t.resident) for t in run.tables] == [
        ("dev", True),
        ("train", False),
        ("validation", store.join("EXPR", "validation", names).bytes <= dev + 1000),
    ]
    kinds = [type(feeder) for _, feeder in Really(config, data).loaded.values()]
    assert kinds == [ResidentFeeder, StreamedFeeder]


def test_named_memory_is_shared_as_an_accelerators_is(several, monkeypatch):
    data, config = open_data(str(several)), config_of("EXPR mlp")
    run = plan_run(config, data, device_memory_gb=16.0)

    class Accelerator:
        def memory_stats(self):
            return {"bytes_limit": 16_000_000_000}

    monkeypatch.setattr(jax, "local_devices", lambda: [Accelerator()])
    assert run.budget == memory_budget() == 9_600_000_000
    monkeypatch.undo()
    config.data.device_budget_gb = 2.0
    assert plan_run(config, data, device_memory_gb=16.0).budget == 2_000_000_000


def test_what_a_plan_is_not_of_is_said(several):
    data, config = open_data(str(several)), config_of("EXPR mlp")
    assert plan_run(config, data, device_memory_gb=1.0).notes == ()
    config.blend.features = ("wav2vec2_base",)
    (note,) = plan_run(config, data).notes
    assert "blend" in note
    with pytest.raises(ValueError, match="--device-memory-gb is 0"):
        plan_run(config, data, device_memory_gb=0.0)


@pytest.mark.parametrize(
    ("fields", "largest", "lower"),
    [
        (
            {"num_seeds": 100_000},
            "optimiser state",
            "config.num_seeds, which is 100,000",
        ),
        (
            {"sweep.dropout": (0.0, 0.1)},
            "optimiser state",
            "the number of values in conf",
        ),
        ({}, "optimiser state", "the number of sets in config.data.features"),
        (
            {"train.passes_per_epoch": 1_000_000},
            "order of an epoch",
            "config.train.pas",
        ),
    ],
)
def test_what_memory_cannot_hold_is_refused(
    several, monkeypatch, fields, largest, lower
):
    """Told of shapes alone: nothing of this size is allocated."""
    data, config = open_data(str(several)), config_of("EXPR mlp")
    plan = plan_run(config, data)
    assert plan.problem is None
    monkeypatch.setattr(memory, "memory_bytes", lambda: 1000)
    config.update_from_flattened_dict(fields)
    plan = plan_run(config, data, evaluated=False)
    parts = {**plan.host_bytes, **plan.device_bytes}
    assert plan.problem.startswith(
        f"training takes {sum(parts.values()):,} bytes of memory, {parts[largest]:,} "
        f"of them for {largest}, and this machine has 1,000; expected less: lower "
        f"{lower}"
    )
    assert [table.split for table in plan.tables] == ["dev", "train"]


def test_a_device_and_its_host_have_memory_of_their_own(several, monkeypatch):
    data, config = open_data(str(several)), config_of("EXPR mlp")
    plan = plan_run(config, data, device_memory_gb=1e-5)
    together = sum(plan.device_bytes.values())
    assert f"takes {together:,} bytes of memory" in plan.problem
    assert "and a device has 10,000; expected less" in plan.problem
    monkeypatch.setattr(memory, "device_bytes", lambda: 10**9)
    assert plan_run(config, data).problem is None
    monkeypatch.setattr(memory, "memory_bytes", lambda: 1000)
    plan = plan_run(config, data)
    assert f"takes {sum(plan.host_bytes.values()):,} bytes of mem" in plan.problem
    assert "and a host has 1,000; expected less" in plan.problem


def test_the_optimiser_counts_so_many_steps(several):
    config = config_of("EXPR mlp")
    config.batch_size, config.num_epochs = 1, 1_000_000
    config.train.passes_per_epoch = 1000
    problem = plan_run(config, open_data(str(several))).problem
    assert problem.endswith(
        "steps; expected 2,147,483,647 at most: lower config.num_epochs or "
        "config.train.passes_per_epoch"
    )


def test_devices_divide_the_batch(several):
    data, config = open_data(str(several)), config_of("EXPR mlp")
    one, eight, three = (plan_run(config, data, devices=n) for n in (1, 8, 3))
    assert one.problem is eight.problem is None
    assert eight.batch_per_device == 8
    assert one.device_bytes["a batch"] == 8 * eight.device_bytes["a batch"]
    assert one.tables == eight.tables
    same = [name for name in one.device_bytes if name != "a batch"]
    for name in same:
        assert one.device_bytes[name] == eight.device_bytes[name]
    assert three.problem == (
        "a batch of 64 examples cannot be divided over 3 devices; set "
        "config.batch_size to a multiple of 3"
    )
    with pytest.raises(ValueError, match="--devices is 0"):
        plan_run(config, data, devices=0)


def test_an_outline_holds_no_features(several):
    data = open_data(str(several))
    joined = data.store.join("EXPR", "dev", ["enet_b2_8_best", "vggish"])
    table, whole = data.store.outline(joined), data.store.load(joined)
    for field in dataclasses.fields(whole):
        ours, real = (getattr(one, field.name) for one in (table, whole))
        if field.name in ("features", "outputs"):
            assert ours.strides == (0, 0)
            assert (ours.shape, ours.dtype) == (real.shape, real.dtype)
        else:
            np.testing.assert_array_equal(ours, real)
    shapes = {"a": jax.ShapeDtypeStruct((3, 4), np.float16), "b": np.zeros(5, bool)}
    assert bytes_of(shapes) == 29


def test_the_command(several, tmp_path, capsys):
    file = tmp_path / "plan.json"
    line = ["--data-dir", str(several), "--config", str(ROOT / "configs/expr_mlp.py")]
    line += ["--config.num_seeds=3", "--config.batch_size=32", "--devices=4"]
    assert command.main([*line, "--device-memory-gb=8", f"--json={file}"]) == 0
    out = capsys.readouterr().out
    assert "batch 32 frames, 8 per device; 3 candidates" in out
    assert out.count("resident on every device") == 3
    found = json.loads(file.read_text())
    assert found["budget"] == 4_800_000_000
    assert found["candidates"] == 3
    assert f"while training: {sum(found['device_bytes'].values()):,} bytes" in out
    assert [(t["split"], t["phase"]) for t in found["tables"]] == [
        ("dev", "train"),
        ("train", "train"),
        ("validation", "evaluate"),
    ]


def test_the_command_refuses_what_training_refuses(several, capsys):
    line = ["--data-dir", str(several), "--config", str(ROOT / "configs/expr_mlp.py")]
    line += ["--config.batch_size=30"]
    assert command.main([*line, "--devices=4"]) == 1
    out, error = capsys.readouterr()
    assert "per epoch" in out
    assert "a batch of 30 examples cannot be divided over 4 devices" in error
    assert command.main([*line, "--devices=3"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config", "configs/none.py"], "no configuration 'configs/none.py'"),
        (["--config=CONFIG", "--config.none=1"], "no such field in the configuration"),
        (["--config=CONFIG", "--data-dir=/none"], "no store in '/none'"),
        (
            ["--config=CONFIG", "--data-dir=STORE", "--config.batch_size=0"],
            "config.batch_size is 0",
        ),
    ],
)
def test_wrong_lines_end_in_one(arguments, message, several, capsys):
    path = str(ROOT / "configs" / "expr_mlp.py")
    line = [one.replace("CONFIG", path) for one in arguments]
    line = [one.replace("STORE", str(several)) for one in line]
    assert command.main(line) == 1
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
