"""Programs that XLA:TPU really compiles, for pods that are not here; and exports.

libtpu compiles for the devices of a named topology, whatever this host has. Arguments
are shapes with shardings; nothing runs. Bounds of temporary bytes are of one device;
they are there to fail where a table or a batch is copied, not to hold the compiler to
its last word.
"""

import contextlib
import functools
import importlib.util
import math
import os
import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import topologies
from jax.experimental.compilation_cache import compilation_cache
from made.several_sets import build_several_sets

from avemo_jax.batches import sharding
from avemo_jax.batches.feeders import (
    ResidentFeeder,
    StreamedFeeder,
    batch_at,
    place_of,
    step_at,
    table_arrays,
)
from avemo_jax.batches.head_inputs import input_dims
from avemo_jax.batches.row_scores import Predictor
from avemo_jax.batches.tables import Loader, feature_names, open_data
from avemo_jax.config.fields import base_config
from avemo_jax.embed import devices
from avemo_jax.extractors import efficientnet, vggish
from avemo_jax.extractors.efficientnet_spec import EfficientNetSpec
from avemo_jax.heads import build_head
from avemo_jax.metrics.scores import best_thresholds
from avemo_jax.postprocess import smoothing_sweep, thresholds
from avemo_jax.postprocess.smoothing import smooth_all
from avemo_jax.tasks import AU, EXPR, VA
from avemo_jax.training.amount import fitted
from avemo_jax.training.dev_scores import DevScorer
from avemo_jax.training.objective import configured_loss, make_order, make_spec
from avemo_jax.training.plan.sizes import bytes_of, plan_run
from avemo_jax.training.seeds import make_candidates
from avemo_jax.training.state import fresh_state, keep_best, keep_last
from avemo_jax.training.step import make_train_chunk, one_by_one, scan_length

CASES = {
    "EXPR mlp": ("EXPR", "mlp"),
    "VA mlp": ("VA", "mlp"),
    "AU transformer": ("AU", "transformer"),
}
ONE_POD = pytest.mark.parametrize("mesh", ["v5e:2x4"], indirect=True)
# Every case on a pod of two hosts, one streamed to a pod of four.
RUNS = pytest.mark.parametrize(
    ("mesh", "case", "resident"),
    [
        *(("v5e:2x4", case, True) for case in CASES),
        ("v5e:4x4", "EXPR mlp", False),
    ],
    indirect=["mesh"],
)
PLATFORMS = pytest.mark.parametrize(
    "platform", ["tpu", pytest.param("cuda", marks=pytest.mark.release)]
)
FRAMES = 280_000  # about those of the official validation set
CROPS = 32  # on each device
COLLECTIVE = re.compile(
    r"= (.*?) (all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute"
    r"|ragged-all-to-all|collective-broadcast)(?:-start)?\("
)
SHAPE = re.compile(r"\b([a-z]+)(\d*)[a-z0-9]*\[([\d,]*)\]")


# --- The compiler's figures of a program ----------------------------------------------


class Collective(NamedTuple):
    """What crosses between the devices at one place of a program."""

    kind: str
    elements: int
    num_bytes: int


class Compiled(NamedTuple):
    """The memory of a program on one device, and what crosses between devices."""

    memory: Any
    collectives: list[Collective]


@pytest.fixture(scope="module")
def mesh(request):
    if importlib.util.find_spec("libtpu") is None:
        pytest.skip("no libtpu: install the extra tpu-compile")
    os.environ["TPU_SKIP_MDS_QUERY"] = "1"  # or it asks the cloud what host this is
    topology = topologies.get_topology_desc(request.param, platform="tpu")
    return jax.sharding.Mesh(np.array(topology.devices), (sharding.AXIS,))


def compiled(program, *arguments) -> Compiled:
    with compiling_anew():
        done = program.lower(*arguments).compile()
    return Compiled(done.memory_analysis(), collectives_in(done.as_text()))


@contextlib.contextmanager
def compiling_anew():
    """Turns off the compilation cache, whose programs load only on their devices."""
    before = jax.config.jax_enable_compilation_cache
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()  # else JAX does not look at the setting again
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", before)
        compilation_cache.reset_cache()


def collectives_in(text: str) -> list[Collective]:
    """The collectives in the text of a program, as XLA writes it."""
    found = []
    for result, kind in COLLECTIVE.findall(text):
        elements = num_bytes = 0
        for _, bits, axes in SHAPE.findall(result):
            size = math.prod(map(int, axes.split(","))) if axes else 1
            elements += size
            # The name "pred" gives no width: it takes a byte.
            num_bytes += size * max(int(bits or 8), 8) // 8
        found.append(Collective(kind, elements, num_bytes))
    return found


def shapes_of(tree, place=None):
    """``tree`` with each array or shape replaced by its shape, sharded as ``place``."""
    return jax.tree.map(
        lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=place), tree
    )


def test_collectives_are_read_from_a_programs_text():
    text = """
  %a = (f32[3,4]{1,0:T(8,128)}, bf16[5]{0}) all-reduce(%x, %y), channel_id=1
  %b = pred[7]{0} all-gather-start(%c), dimensions={0}
  %c = f32[] add(%a, %b)
"""
    found = [tuple(each) for each in collectives_in(text)]
    assert found == [("all-reduce", 17, 58), ("all-gather", 7, 7)]


# --- Training and prediction ----------------------------------------------------------


class TracedFeeder(ResidentFeeder):
    """Its batches can be traced, not computed: no table lies on any device."""

    def __init__(self, window: int):
        self.window = window


class Run:
    """The run of the defaults on the demo corpus, with tables in outline."""

    def __init__(self, data, case: str):
        self.data, self.config = data, base_config(*CASES[case])
        names = feature_names(self.config)
        dims = input_dims(data.store.resolve(names), "features")
        self.spec = make_spec(self.config, dims)
        self.head = build_head(self.spec)
        self.window = self.spec.window if self.spec.takes_windows else 0
        self.candidates = make_candidates(self.config)
        self.tables = {
            split: data.store.outline(data.store.join(self.config.task, split, names))
            for split in ("train", "validation")
        }
        # A large table's, for which TPUs are.
        self.config.batch_size, self.config.num_epochs = 2048, 10
        self.config = fitted(
            self.config, self.tables["train"], self.spec, sharding.make_mesh()
        )

    def state(self, num_steps: int, place):
        make = functools.partial(
            fresh_state, self.config, self.candidates, self.head, num_steps
        )
        return shapes_of(jax.eval_shape(make), place)

    def fed(self, split: str, index, mesh, resident: bool):
        """A feeder; then shapes of what its chunks are, and of their batches."""
        arrays = table_arrays(
            self.tables[split], windows=bool(self.window), audio_flag=False
        )

        def gather(arrays, index):
            return batch_at(arrays, step_at(arrays, index, self.window))

        place = place_of(index, mesh)
        batches = jax.eval_shape(gather, shapes_of(arrays), shapes_of(index))
        if not resident:
            feeder = StreamedFeeder(arrays, mesh, self.window)
            return feeder, (), shapes_of(batches, place), batches
        shared = shapes_of(arrays, sharding.replicated(mesh))
        return TracedFeeder(self.window), shared, shapes_of(index, place), batches


@pytest.fixture(scope="module")
def run_of(demo_store_dir):
    data = open_data(str(demo_store_dir))
    return functools.cache(lambda case: Run(data, case))


@pytest.mark.release
@RUNS
def test_training(mesh, run_of, case, resident):
    run, whole = run_of(case), sharding.replicated(mesh)
    config, table = run.config, run.tables["train"]
    order = make_order(config, table, run.spec, mesh)
    num_steps = order.num_steps * config.num_epochs
    index = order.epoch(0)[: scan_length(config, order.num_steps)]
    feeder, shared, steps, batches = run.fed("train", index, mesh, resident)
    chunk = make_train_chunk(
        *(config, run.candidates, run.head, configured_loss(config, table)),
        *(feeder, mesh, num_steps),
    )
    state = run.state(num_steps, whole)
    hyper = shapes_of(jax.eval_shape(run.candidates.hyper), whole)
    first = jax.ShapeDtypeStruct((), np.int32)
    found = compiled(chunk, state.models, state.stopped, hyper, shared, steps, first)
    trained = jax.tree.leaves(state.models.variables.params)
    params = sum(leaf.size for leaf in trained)
    batch = bytes_of(batches) // len(index)
    assert {c.kind for c in found.collectives} == {"all-reduce"}
    # Every gradient crosses once; beside them only sums of losses and of BatchNorm.
    elements = sum(c.elements for c in found.collectives)
    assert params <= elements < 1.02 * params
    assert max(c.num_bytes for c in found.collectives) <= 4 * params + 256
    assert max(c.num_bytes for c in found.collectives) < batch
    # A copy of the parameters, and activations of the device's part of the batch.
    memory = found.memory
    assert memory.temp_size_in_bytes < 4 * params + 2 * batch / mesh.size
    # Models are given away, and come out in their place.
    assert memory.alias_size_in_bytes > 3 * 4 * params
    if not resident:
        return
    plan = plan_run(config, run.data, devices=mesh.size, device_memory_gb=16.0)
    planned = next(t for t in plan.tables if t.split == "train").device_bytes
    models = ("parameters", "statistics", "optimiser state")
    planned += sum(plan.device_bytes[name] for name in models)
    # XLA pads small axes to tiles.
    assert planned <= memory.argument_size_in_bytes < 1.1 * planned


@pytest.mark.release
@RUNS
def test_prediction(mesh, run_of, case, resident):
    run = run_of(case)
    config, table = run.config, run.tables["validation"]
    feeder = TracedFeeder(run.window)
    how = {
        "batch_size": run.spec.evaluation_batch(
            training=config.batch_size, evaluation=config.evaluate.batch_size
        ),
        "windows": config.evaluate.windows,
        "mapped": one_by_one(config, mesh),
    }
    index = Predictor(run.head, table, feeder, mesh, **how).order[:1]
    feeder, shared, steps, _ = run.fed("validation", index, mesh, resident)
    predictor = Predictor(run.head, table, feeder, mesh, **how)
    variables = run.state(1, sharding.replicated(mesh)).models.variables
    found = compiled(predictor.program, variables, shared, steps)
    frames = index.shape[1] * max(run.window, 1)
    assert frames % mesh.size == 0
    # The scores alone cross: every host reads them.
    assert [(c.kind, c.elements) for c in found.collectives] == [
        ("all-gather", frames * run.spec.num_outputs)
    ]
    x = 4 * frames * run.spec.input_dim / mesh.size
    assert found.memory.temp_size_in_bytes < 2 * x


# --- Extractors and post-processing ---------------------------------------------------


@pytest.fixture
def on_pod(mesh, monkeypatch):
    """What extractors divide over a host's devices goes over the pod's."""
    monkeypatch.setattr(devices, "_mesh", lambda: mesh)
    monkeypatch.setattr(devices, "compiler_options", lambda: None)  # of a CPU
    return mesh


@pytest.mark.release
@pytest.mark.parametrize(
    ("mesh", "variant", "dtype", "bytes_per_crop"),
    [("v5e:2x4", "b0", "float32", 24e6), ("v5e:4x4", "b2", "bfloat16", 6e6)],
    indirect=["mesh"],
)
def test_efficientnet(on_pod, variant, dtype, bytes_per_crop):
    """Crops of 224 pixels: the expanded channels at 112 pixels are the largest."""
    spec = EfficientNetSpec(variant, 8)
    shapes = efficientnet.state_shapes(spec)
    state = {name: np.ones(shape, np.float32) for name, shape in shapes.items()}
    params = shapes_of(efficientnet.prepare(spec, state))
    crops = jax.ShapeDtypeStruct((CROPS * on_pod.size, 224, 224, 3), dtype)
    found = compiled(
        devices.on_all_devices(
            lambda params, x: efficientnet.apply(spec, params, x, dtype=dtype)
        ),
        shapes_of(params, sharding.replicated(on_pod)),
        shapes_of(crops, sharding.divided(on_pod)),
    )
    assert found.collectives == []
    assert found.memory.temp_size_in_bytes < CROPS * bytes_per_crop


@pytest.mark.release
@ONE_POD
def test_vggish(on_pod):
    spec = vggish.VggishSpec("quantised")
    shapes = {**vggish.state_shapes(spec), **vggish.PCA_SHAPES}
    state = {name: np.ones(shape, np.float32) for name, shape in shapes.items()}
    params = shapes_of(vggish.prepare(spec, state))
    examples = jax.ShapeDtypeStruct((CROPS * on_pod.size, 96, 64), np.float32)
    found = compiled(
        devices.on_all_devices(functools.partial(vggish.apply, spec)),
        shapes_of(params, sharding.replicated(on_pod)),
        shapes_of(examples, sharding.divided(on_pod)),
    )
    assert found.collectives == []
    # The first layer has 64 channels of 96 x 64: 1.6 MB an example, a few times.
    assert found.memory.temp_size_in_bytes < CROPS * 5e6


def on_one(mesh, *shapes):
    """Shapes with types, on the first device of ``mesh``."""
    first = jax.sharding.Mesh(mesh.devices.flat[:1], (sharding.AXIS,))
    structs = [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in shapes]
    return shapes_of(structs, sharding.replicated(first))


@pytest.mark.release
@ONE_POD
@pytest.mark.parametrize("mode", ["mean", "median", "gaussian"])
def test_smoothing(mesh, mode):
    """All half widths at once, of a whole split."""
    settings = tuple((mode, half) for half in smoothing_sweep.HALF_WIDTHS)
    found = compiled(
        jax.jit(functools.partial(smooth_all, smoothings=settings)),
        *on_one(mesh, ((FRAMES, 8), "f4"), ((FRAMES,), "i4"), ((FRAMES,), "i4")),
    )
    scores = 4 * FRAMES * 8
    assert found.memory.output_size_in_bytes >= len(settings) * scores
    assert found.memory.temp_size_in_bytes < 20 * scores
    assert found.collectives == []


@pytest.mark.release
@ONE_POD
@pytest.mark.parametrize(
    ("find", "copies"),
    [(thresholds.exact_thresholds, 3), (best_thresholds, 1)],
    ids=["exact", "grid"],
)
def test_thresholds(mesh, find, copies):
    shape = (FRAMES, 12)
    found = compiled(
        find,
        *on_one(mesh, (shape, "f4"), (shape, "i1"), ((FRAMES,), "bool")),
    )
    assert found.memory.temp_size_in_bytes < copies * 4 * FRAMES * 12
    assert found.collectives == []


# --- What is lowered only: for TPU and CUDA, without a compiler of theirs.


@PLATFORMS
@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=[] if case == "VA mlp" else pytest.mark.release)
        for case in CASES
    ],
)
def test_dev_scores_lower(platform, case, tmp_path):
    """The scores of dev after an epoch, and the best that is kept."""
    task, kind = CASES[case]
    config = base_config(task, kind, "enet_b2_8_best+vggish")
    config.head.window = 8
    mesh = sharding.make_mesh()
    config.batch_size = 64
    spec = make_spec(config, (12, 5))
    data = open_data(str(build_several_sets(tmp_path)))
    loader = Loader(data, mesh, task=task, missing_audio="zeros", budget=10**9)
    dev = loader.load("dev", spec, ["enet_b2_8_best", "vggish"])
    head = build_head(spec)
    dev_scorer = DevScorer(config, head, configured_loss(config, dev[0]), *dev, mesh)
    scores = np.zeros((2, dev[0].num_rows, spec.num_outputs), np.float32)
    scored = jax.export.export(dev_scorer._scored, platforms=[platform])
    exported = scored(scores, dev_scorer._labels, dev_scorer._mask)
    state = jax.eval_shape(
        lambda: fresh_state(config, make_candidates(config), head, 10)
    )
    best = jax.export.export(keep_best, platforms=[platform])
    kept = best(state, np.zeros(1, np.float32), np.int32(1), patience=2)
    last = jax.export.export(keep_last, platforms=[platform])(state, np.int32(1))
    for program in (exported, kept, last):
        assert program.platforms == (platform,)
        assert "callback" not in program.mlir_module()


@PLATFORMS
@pytest.mark.parametrize("task", [EXPR, AU, VA], ids=lambda task: task.name)
@pytest.mark.parametrize("rule", ["grid", "exact", "fixed"])
def test_the_sweeps_scores_lower(platform, task, rule):
    """Of one setting: thresholds, and metrics of both sets of frames."""
    labels = jax.ShapeDtypeStruct((50, *task.label_shape), task.label_dtype)
    frames = jax.ShapeDtypeStruct((50, task.num_outputs), jnp.float32)
    mask = jax.ShapeDtypeStruct((50,), bool)

    def score(frames, labels, mask):
        units = dict.fromkeys(("with_crop", "all_labelled"), (frames, labels, mask))
        return smoothing_sweep._metrics(task, units, None, rule)

    exported = jax.export.export(jax.jit(score), platforms=[platform])
    program = exported(frames, labels, mask)
    assert program.platforms == (platform,)
    assert "callback" not in program.mlir_module()
