"""Programs that XLA:TPU really compiles, for pods that are not here; and exports.

Nothing runs. Bounds of temporary bytes are of one device; they are there to fail where
a table or a batch is copied, not to hold the compiler to its last word.
"""

import functools
import importlib.util
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from made.several_sets import build_several_sets

from avemo_jax.batches import sharding
from avemo_jax.batches.tables import Loader, open_data
from avemo_jax.config.fields import base_config
from avemo_jax.embed import devices
from avemo_jax.extractors import efficientnet, vggish
from avemo_jax.extractors.efficientnet_spec import EfficientNetSpec
from avemo_jax.heads import build_head
from avemo_jax.postprocess import smoothing_sweep, thresholds
from avemo_jax.postprocess.smoothing import smooth_all
from avemo_jax.tasks import AU, EXPR, VA
from avemo_jax.training.dev_scores import DevScorer, fresh_state, keep_best, keep_last
from avemo_jax.training.objective import configured_loss, make_spec
from avemo_jax.training.plan import command, outlines, sizes, tpu
from avemo_jax.training.seeds import make_candidates

CASES = {
    "EXPR mlp": ("EXPR", "mlp"),
    "VA mlp": ("VA", "mlp"),
    "AU transformer": ("AU", "transformer"),
}
EVERY_CASE = pytest.mark.parametrize("case", CASES)
EVERY_MESH = pytest.mark.parametrize("mesh", ["v5e:2x4", "v5e:4x4"], indirect=True)
ONE_POD = pytest.mark.parametrize("mesh", ["v5e:2x4"], indirect=True)
PLATFORMS = pytest.mark.parametrize("platform", ["tpu", "cuda"])
FRAMES = 280_000  # about those of the official validation set
CROPS = 32  # on each device


@pytest.fixture(scope="module")
def mesh(request):
    if importlib.util.find_spec("libtpu") is None:
        pytest.skip("no libtpu: install the extra tpu-compile")
    return tpu.topology_mesh(request.param)


@pytest.fixture(scope="module")
def outline_of(demo_store_dir):
    """From a case to the run of the defaults on the demo corpus, in outline."""
    data = open_data(str(demo_store_dir))

    @functools.cache
    def make(case: str) -> outlines.Outline:
        return outlines.outline_run(base_config(*CASES[case]), data)

    return make


@pytest.fixture
def on_pod(mesh, monkeypatch):
    """What extractors divide over a host's devices goes over the pod's."""
    monkeypatch.setattr(devices, "_mesh", lambda: mesh)
    monkeypatch.setattr(devices, "compiler_options", lambda: None)  # of a CPU
    return mesh


@pytest.mark.slow
@EVERY_MESH
@EVERY_CASE
@pytest.mark.parametrize("resident", [True, False], ids=["resident", "streamed"])
def test_training(mesh, outline_of, case, resident):
    outline = outline_of(case)
    found = tpu.compile_training(outline, mesh, resident=resident)
    order = outline.order(mesh)
    num_steps = order.num_steps * outline.config.num_epochs
    variables = outline.state(num_steps)["models"][0]
    params = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    batch = outlines.bytes_of(outline.batch("train", outlines.index_shape(order, 1)))
    assert {c.kind for c in found.collectives} == {"all-reduce"}
    # Every gradient crosses once; beside them only sums of losses and of BatchNorm.
    elements = sum(c.elements for c in found.collectives)
    assert params <= elements < 1.02 * params
    assert max(c.num_bytes for c in found.collectives) <= 4 * params + 256
    assert max(c.num_bytes for c in found.collectives) < batch
    # A copy of the parameters, and activations of the device's part of the batch.
    assert found.temporary_bytes < 4 * params + 2 * batch / mesh.size
    # Models are given away, and come out in their place.
    assert found.alias_bytes > 3 * 4 * params
    run = sizes.plan_run(outline, "demo", devices=mesh.size, device_memory_gb=16.0)
    table = next(t for t in run.tables if t.split == "train")
    planned = table.device_bytes
    planned += run.state.parameters + run.state.statistics + run.state.optimiser
    if resident:  # XLA pads small axes to tiles.
        assert planned <= found.argument_bytes < 1.1 * planned


@pytest.mark.slow
@EVERY_MESH
@EVERY_CASE
def test_prediction(mesh, outline_of, case):
    outline = outline_of(case)
    for resident in (True, False):
        found = tpu.compile_prediction(outline, mesh, resident=resident)
        frames = int(found.name.split()[1])
        assert frames % mesh.size == 0
        outputs = outline.spec.num_outputs
        # The scores alone cross: every host reads them.
        assert [(c.kind, c.elements) for c in found.collectives] == [
            ("all-gather", frames * outputs)
        ]
        x = 4 * frames * outline.spec.input_dim / mesh.size
        assert found.temporary_bytes < 2 * x


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mesh", "dtype", "bytes_per_crop"),
    [("v5e:2x4", "float32", 24e6), ("v5e:4x4", "bfloat16", 6e6)],
    indirect=["mesh"],
)
def test_efficientnet(on_pod, dtype, bytes_per_crop):
    """Crops of 224 pixels: the expanded channels at 112 pixels are the largest."""
    spec = EfficientNetSpec("b2", 8)
    shapes = efficientnet.state_shapes(spec)
    state = {name: np.ones(shape, np.float32) for name, shape in shapes.items()}
    params = outlines.shapes_of(efficientnet.prepare(spec, state))
    crops = jax.ShapeDtypeStruct((CROPS * on_pod.size, 224, 224, 3), dtype)
    found = tpu.compiled(
        "EfficientNet-B2",
        devices.on_all_devices(
            lambda params, x: efficientnet.apply(spec, params, x, dtype=dtype)
        ),
        tpu.placed_shapes(params, sharding.replicated(on_pod)),
        tpu.placed_shapes(crops, sharding.divided(on_pod)),
    )
    assert found.collectives == ()
    assert found.temporary_bytes < CROPS * bytes_per_crop


@pytest.mark.slow
@EVERY_MESH
def test_vggish(on_pod):
    spec = vggish.VggishSpec("quantised")
    shapes = {**vggish.state_shapes(spec), **vggish.PCA_SHAPES}
    state = {name: np.ones(shape, np.float32) for name, shape in shapes.items()}
    params = outlines.shapes_of(vggish.prepare(spec, state))
    examples = jax.ShapeDtypeStruct((CROPS * on_pod.size, 96, 64), np.float32)
    found = tpu.compiled(
        "VGGish",
        devices.on_all_devices(functools.partial(vggish.apply, spec)),
        tpu.placed_shapes(params, sharding.replicated(on_pod)),
        tpu.placed_shapes(examples, sharding.divided(on_pod)),
    )
    assert found.collectives == ()
    # The first layer has 64 channels of 96 x 64: 1.6 MB an example, a few times.
    assert found.temporary_bytes < CROPS * 5e6


def on_one(mesh, *shapes):
    """Shapes with types, on the first device of ``mesh``."""
    first = jax.sharding.Mesh(mesh.devices.flat[:1], (sharding.AXIS,))
    structs = [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in shapes]
    return tpu.placed_shapes(structs, sharding.replicated(first))


@pytest.mark.slow
@ONE_POD
@pytest.mark.parametrize("mode", ["mean", "median", "gaussian"])
def test_smoothing(mesh, mode):
    """All half widths at once, of a whole split."""
    settings = tuple((mode, half) for half in smoothing_sweep.HALF_WIDTHS)
    found = tpu.compiled(
        mode,
        jax.jit(functools.partial(smooth_all, smoothings=settings)),
        *on_one(mesh, ((FRAMES, 8), "f4"), ((FRAMES,), "i4"), ((FRAMES,), "i4")),
    )
    scores = 4 * FRAMES * 8
    assert found.output_bytes >= len(settings) * scores
    assert found.temporary_bytes < 20 * scores
    assert found.collectives == ()


@pytest.mark.slow
@ONE_POD
@pytest.mark.parametrize(
    ("find", "copies"),
    [(thresholds.exact_thresholds, 3), (jax.jit(thresholds.grid_thresholds), 1)],
    ids=["exact", "grid"],
)
def test_thresholds(mesh, find, copies):
    shape = (FRAMES, 12)
    found = tpu.compiled(
        "thresholds",
        find,
        *on_one(mesh, (shape, "f4"), (shape, "i1"), ((FRAMES,), "bool")),
    )
    assert found.temporary_bytes < copies * 4 * FRAMES * 12
    assert found.collectives == ()


@pytest.mark.slow
@ONE_POD
def test_a_program_compiles_again(mesh):
    """Kept programs of a topology cannot be loaded, so they are not asked for."""
    x = on_one(mesh, ((FRAMES,), "f4"))
    first, again = (tpu.compiled("sine", jax.jit(jnp.sin), *x) for _ in range(2))
    assert first.argument_bytes == again.argument_bytes >= 4 * FRAMES
    assert jax.config.jax_enable_compilation_cache


@pytest.mark.slow
@ONE_POD
def test_unknown_topologies_are_refused(mesh):
    with pytest.raises(ValueError, match=r"TPU topology 'v5e:3x5': .*correct --tpu"):
        tpu.topology_mesh("v5e:3x5")
    assert tpu.num_hosts(mesh) == 2
    assert tpu.chip_memory_gb("v5e:2x4") == pytest.approx(17.18, abs=0.01)
    assert tpu.chip_memory_gb("v99:2x4") is None


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
@ONE_POD
def test_the_command_compiles(mesh, demo_store_dir, tmp_path, capsys):
    file = tmp_path / "plan.json"
    path = str(pathlib.Path(__file__).parents[2] / "configs" / "expr_mlp.py")
    line = ["--data-dir", str(demo_store_dir), "--config", path, "--tpu", "v5e:2x4"]
    assert command.main([*line, "--json", str(file)]) == 0
    out = capsys.readouterr().out
    assert "Devices: 8 on 2 hosts" in out
    assert "Compiled for v5e:2x4 by libtpu; bytes per device:" in out
    assert "all-reduce of 279,689 values, 1,118,756 bytes" in out
    programs = json.loads(file.read_text())["tpu"]["programs"]
    assert [p["name"].split(",")[0] for p in programs] == ["training", "prediction"]
    assert command.main([*line, "--devices=4"]) == 1
    assert "--devices is 4 and --tpu v5e:2x4 has 8" in capsys.readouterr().err


# --- What is lowered only: for TPU and CUDA, without a compiler of theirs.


@PLATFORMS
@pytest.mark.parametrize("case", CASES)
def test_dev_scores_lower(platform, case, tmp_path):
    """The scores of dev after an epoch, and the best that is kept."""
    task, kind = CASES[case]
    config = base_config(task, kind, "enet_b2_8_best+vggish")
    config.head.window = 8
    mesh = sharding.make_mesh()
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
        masks = {"with_crop": mask, "all_labelled": mask}
        return smoothing_sweep._metrics(task, frames, labels, masks, None, rule)

    exported = jax.export.export(jax.jit(score), platforms=[platform])
    program = exported(frames, labels, mask)
    assert program.platforms == (platform,)
    assert "callback" not in program.mlir_module()
