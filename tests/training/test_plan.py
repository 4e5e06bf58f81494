"""The plan of a run, held to runs that are really loaded."""

import json
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest
from made.several_sets import build_several_sets
from made.tiny_store import build_tiny_store

from avemo_jax.batches import sharding
from avemo_jax.batches import tables as loading
from avemo_jax.batches.feeders import ResidentFeeder, StreamedFeeder
from avemo_jax.batches.head_inputs import input_dims
from avemo_jax.batches.tables import Loader, feature_names, memory_budget, open_data
from avemo_jax.config.fields import base_config
from avemo_jax.heads import build_head
from avemo_jax.training.dev_scores import fresh_state
from avemo_jax.training.objective import make_order, make_spec
from avemo_jax.training.plan import command, outlines, sizes, tpu
from avemo_jax.training.seeds import make_candidates
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
# ml_collections 1.1 reads configuration files by a loader's old method.
OLD_LOADER = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
STRICT = ("-W", "error", "-W", "ignore:the load_module() method:DeprecationWarning")
STRICT += ("-W", "ignore:label() is deprecated:DeprecationWarning")  # see pyproject
EVERY_CASE = pytest.mark.parametrize("case", CASES)


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
        self.order = make_order(config, table, self.spec, mesh)
        candidates = make_candidates(config)
        steps = self.order.num_steps * config.num_epochs
        self.state = fresh_state(config, candidates, build_head(self.spec), steps)
        self.hyper = candidates.hyper()
        self.scan = scan_length(config, self.order.num_steps)
        self.chunk = next(iter(self.feeder.chunks(self.order.epoch(0), self.scan)))


def real_bytes(tree) -> int:
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))


def table_bytes(table, *, of_features: bool) -> int:
    found = 0
    for name, value in vars(table).items():
        if isinstance(value, np.ndarray):
            if of_features or name not in ("features", "outputs"):
                found += value.nbytes
    return found


@EVERY_CASE
def test_bytes_of_a_resident_run(several, case):
    config, data = config_of(case), open_data(str(several))
    run = sizes.plan_run(outlines.outline_run(config, data), data.title, devices=1)
    real = Really(config, data)
    for planned in run.tables[:2]:
        table, feeder = real.loaded[planned.split]
        assert planned.resident
        assert isinstance(feeder, ResidentFeeder)
        assert planned.rows == table.num_rows
        assert planned.videos == len(table.videos)
        assert planned.device_bytes == real_bytes(feeder._arrays) > 0
        assert planned.host_bytes == table_bytes(table, of_features=True)
        assert planned.file_bytes == 0
    variables, optimiser = real.state["models"]
    assert run.state.parameters == real_bytes(variables["params"]) > 0
    assert run.state.statistics == real_bytes(variables["stats"])
    assert run.state.optimiser == real_bytes(optimiser) > 0
    assert run.state.best == real_bytes(real.state["best"])
    assert run.state.total == real_bytes(real.state) + real_bytes(real.hyper)
    assert run.state.candidates == len(real.state["best_score"])
    assert run.steps.steps_per_epoch == real.order.num_steps
    assert run.steps.steps == 3 * real.order.num_steps
    assert run.steps.steps_per_scan == real.scan
    assert run.steps.batch_size == real.order.batch_size
    arrays, index = real.chunk
    spread = jax.jit(real.feeder.spread)(arrays, index)
    assert run.steps.chunk_bytes == real_bytes(index) + real_bytes(spread)
    step = jax.tree.map(lambda leaf: leaf[0], spread)
    assert run.steps.batch_bytes == real_bytes(real.feeder.batch(arrays, step))
    assert run.problem is None


@EVERY_CASE
def test_bytes_of_a_streamed_run(several, case, tmp_path):
    config = config_of(case, budget_gb=1e-9)
    data = open_data(str(several), str(tmp_path))
    run = sizes.plan_run(outlines.outline_run(config, data), data.title, devices=1)
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
    assert run.steps.chunk_bytes == 2 * real_bytes(steps)


def test_the_budget_is_shared_as_the_loader_shares_it(several):
    """Dev fits, train does not; the evaluation begins with the whole again."""
    data = open_data(str(several))
    store, names = data.store, ["enet_b2_8_best", "vggish"]
    dev = store.join("EXPR", "dev", names).bytes
    config = config_of("EXPR mlp", budget_gb=(dev + 1000) / 1e9)
    run = sizes.plan_run(outlines.outline_run(config, data), data.title, devices=1)
    assert [(t.split, t.resident) for t in run.tables] == [
        ("dev", True),
        ("train", False),
        ("validation", store.join("EXPR", "validation", names).bytes <= dev + 1000),
    ]
    kinds = [type(feeder) for _, feeder in Really(config, data).loaded.values()]
    assert kinds == [ResidentFeeder, StreamedFeeder]
    assert f"{dev:,} bytes, which fits into the {dev + 1000:,}" in run.tables[0].why
    assert "which is over the 1,000 left of the budget" in run.tables[1].why


def test_named_memory_is_shared_as_an_accelerators_is(several, monkeypatch):
    data, config = open_data(str(several)), config_of("EXPR mlp")
    outline = outlines.outline_run(config, data)
    run = sizes.plan_run(outline, data.title, devices=1, device_memory_gb=16.0)

    class Accelerator:
        def memory_stats(self):
            return {"bytes_limit": 16_000_000_000}

    monkeypatch.setattr(loading.jax, "local_devices", lambda: [Accelerator()])
    assert run.budget == memory_budget() == 9_600_000_000
    config.data.device_budget_gb = 2.0
    outline = outlines.outline_run(config, data)
    run = sizes.plan_run(outline, data.title, devices=1, device_memory_gb=16.0)
    assert run.budget == 2_000_000_000
    assert run.budget_from == "config.data.device_budget_gb"


def test_more_than_a_device_holds_is_said(several):
    data, config = open_data(str(several)), config_of("EXPR mlp")
    outline = outlines.outline_run(config, data)
    run = sizes.plan_run(outline, data.title, devices=1, device_memory_gb=1e-5)
    assert f"needs {run.device_bytes:,} bytes and has 10,000" in run.notes[0]
    run = sizes.plan_run(outline, data.title, devices=1, device_memory_gb=1.0)
    assert run.notes == ()


def test_devices_divide_the_batch(several):
    data, config = open_data(str(several)), config_of("EXPR mlp")
    outline = outlines.outline_run(config, data)
    one, eight, three = (
        sizes.plan_run(outline, data.title, devices=n) for n in (1, 8, 3)
    )
    assert one.problem is eight.problem is None
    assert eight.steps.batch_per_device == 8
    assert one.steps.batch_bytes == 8 * eight.steps.batch_bytes
    assert one.steps.chunk_bytes == 8 * eight.steps.chunk_bytes
    assert one.state == eight.state
    assert one.tables == eight.tables
    assert three.problem == (
        "a batch of 64 examples cannot be divided over 3 devices; set "
        "config.batch_size to a multiple of 3"
    )


def test_hosts_read_their_own_part(several, tmp_path):
    data = open_data(str(several), str(tmp_path))
    outline = outlines.outline_run(config_of("EXPR mlp", budget_gb=1e-9), data)
    one, two = (sizes.plan_run(outline, data.title, devices=8, hosts=n) for n in (1, 2))
    assert one.steps.host_chunk_bytes == 2 * two.steps.host_chunk_bytes > 0
    with pytest.raises(ValueError, match="8 devices on 3 hosts; expected as many"):
        sizes.plan_run(outline, data.title, devices=8, hosts=3)


def test_no_array_is_made(several):
    outline = outlines.outline_run(config_of("VA sweep"), open_data(str(several)))
    for leaf in jax.tree.leaves((outline.state(10), outline.hyper())):
        assert isinstance(leaf, jax.ShapeDtypeStruct)
    for table in outline.tables.values():
        assert table.features.strides == (0, 0)
    shapes = {"a": jax.ShapeDtypeStruct((3, 4), np.float16), "b": np.zeros(5, bool)}
    assert outlines.bytes_of(shapes) == 29


def test_the_command(tmp_path):
    """A process of its own, as users start it."""
    store = build_tiny_store(tmp_path / "store")
    file = tmp_path / "plan.json"
    done = subprocess.run(
        [
            *(
                sys.executable,
                *STRICT,
                "-m",
                "avemo_jax.cli",
                "plan",
                "--data-dir",
                store,
            ),
            *("--config", "configs/expr_mlp.py", "--config.num_seeds=3"),
            *("--config.batch_size=32", "--devices=4", "--hosts=2", "--json", file),
            *("--device-memory-gb", "8"),
        ],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    assert "Devices: 4 on 2 hosts" in done.stdout
    assert "batch 32 frames, 8 per device" in done.stdout
    assert "(3 candidates: 3 seeds x 1 setting)" in done.stdout
    found = json.loads(file.read_text())
    assert found["budget"] == 4_800_000_000
    assert found["state"]["candidates"] == 3
    tables = [(t["split"], t["phase"]) for t in found["tables"]]
    assert tables == [
        ("dev", "train"),
        ("train", "train"),
        ("validation", "evaluate"),
    ]
    sums = found["state"]["total"] + sum(t["device_bytes"] for t in found["tables"][:2])
    steps = found["steps"]
    sums += steps["batch_bytes"] + steps["chunk_bytes"]
    assert found["device_bytes"] == sums


@OLD_LOADER
def test_the_command_refuses_what_training_refuses(tmp_path, capsys):
    store = build_tiny_store(tmp_path / "store")
    line = ["--data-dir", str(store), "--config", str(ROOT / "configs" / "expr_mlp.py")]
    line += ["--config.batch_size=30"]
    assert command.main([*line, "--devices=4"]) == 1
    out, error = capsys.readouterr()
    assert "steps per epoch" in out
    assert "a batch of 30 examples cannot be divided over 4 devices" in error
    assert command.main([*line, "--devices=3"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no configuration; expected one; name it: --config configs/"),
        (["--config", "configs/none.py"], "no configuration 'configs/none.py'"),
        (["--config=CONFIG", "--config.none=1"], "no such field in the configuration"),
        (["--config=CONFIG", "--data-dir=/none"], "no store in '/none'"),
        (["--config=CONFIG", "--config.batch_size=0"], "config.batch_size is 0"),
    ],
)
@OLD_LOADER
def test_wrong_lines_end_in_one(arguments, message, capsys):
    path = str(ROOT / "configs" / "expr_mlp.py")
    line = [argument.replace("CONFIG", path) for argument in arguments]
    assert command.main(line) == 1
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_without_libtpu_the_error_names_the_extra(monkeypatch):
    monkeypatch.setattr(tpu.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'pip install "avemo_jax\[tpu-compile\]"'):
        tpu.topology_mesh("v5e:4x4")


def test_collectives_are_read_from_a_programs_text():
    text = """
  %a = (f32[3,4]{1,0:T(8,128)}, bf16[5]{0}) all-reduce(%x, %y), channel_id=1
  %b = pred[7]{0} all-gather-start(%c), dimensions={0}
  %c = f32[] add(%a, %b)
"""
    found = [(c.kind, c.elements, c.num_bytes) for c in tpu.collectives_in(text)]
    assert found == [("all-reduce", 17, 58), ("all-gather", 7, 7)]
