"""Step times of each head over batch sizes and seeds, and their share of the peak."""

import dataclasses
import datetime
import statistics
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core
from made_training import MadeTraining, table_of
from measuring import Matmul, seconds

from avemo_jax.config.fields import base_config
from avemo_jax.heads import HeadSpec, build_head
from avemo_jax.heads.spec import head_kind
from avemo_jax.tasks import get_task
from avemo_jax.training.losses import make_loss


class Sizes(NamedTuple):
    """What is measured.

    Attributes:
        heads: Names TASK-KIND of the heads.
        types: Types of the arithmetic.
        batch_sizes: Frames of a step.
        seeds: Numbers of candidates trained together.
        frames: Rows of the table.
        repeats: Timed calls of a scan; the median counts.
        fields: Fields of the configuration that differ from the defaults.
    """

    heads: tuple[str, ...]
    types: tuple[str, ...]
    batch_sizes: tuple[int, ...]
    seeds: tuple[int, ...]
    frames: int
    repeats: int
    fields: dict[str, Any]


WHOLE = Sizes(
    heads=("EXPR-mlp", "AU-mlp", "VA-mlp", "EXPR-transformer"),
    types=("float32", "bfloat16"),
    batch_sizes=(32, 256, 1024, 4096, 16384, 65536),
    seeds=(1, 8, 64),
    frames=131_072,
    repeats=5,
    fields={},
)
SMALL = Sizes(
    heads=("EXPR-mlp", "EXPR-transformer"),
    types=("float32",),
    batch_sizes=(32, 256),
    seeds=(1, 2),
    frames=2048,
    repeats=2,
    fields={"head.num_layers": 1},
)
_SCAN_FRAMES = 2**18  # in one timed call, in 4 to 256 steps


class Card(NamedTuple):
    """Peak rates of dense matrix products, flop/s.

    Attributes:
        float32: Peak of float32 products, in the precision that JAX takes by default.
        bfloat16: Peak of bfloat16 products.
        source: Where the figures are from.
    """

    float32: float
    bfloat16: float
    source: str


_SHEET = "NVIDIA's data sheet, without sparsity; float32 is TF32"
_CLOUD = "Google Cloud's TPU documentation; float32 is one bfloat16 pass"
# By jax.Device.device_kind.
CARDS = {
    "NVIDIA H200": Card(494.5e12, 989e12, f"H200: {_SHEET}"),
    "NVIDIA H100 80GB HBM3": Card(494.5e12, 989e12, f"H100 SXM: {_SHEET}"),
    "NVIDIA A100-SXM4-40GB": Card(156e12, 312e12, f"A100: {_SHEET}"),
    "NVIDIA A100-SXM4-80GB": Card(156e12, 312e12, f"A100: {_SHEET}"),
    "NVIDIA L4": Card(60e12, 121e12, f"L4: {_SHEET}"),
    "TPU v4": Card(275e12, 275e12, f"v4: {_CLOUD}"),
    "TPU v5 lite": Card(197e12, 197e12, f"v5e: {_CLOUD}"),
    "TPU v6 lite": Card(918e12, 918e12, f"v6e: {_CLOUD}"),
}


def step_flops(spec: HeadSpec, frames: int) -> int:
    """Flops of the matrix products in one step of one candidate, with the gradient.

    They are counted in the traced program. For the MLP these are 4 D H + 6 H C a frame,
    as its first layer has no gradient of its input.
    """
    head = build_head(dataclasses.replace(spec, dtype="float32"))
    windows = (frames // spec.window, spec.window) if head.takes_windows else (frames,)
    task = get_task(spec.task)
    labels = jnp.zeros((*windows, *task.label_shape), task.label_dtype)
    loss_of = make_loss(spec.task)

    def gradient(params: Any, stats: Any, x: Any) -> Any:
        def loss(params: Any) -> Any:
            logits, _ = head.apply(params, stats, x, train=True)
            return loss_of(logits, labels, None, None)

        return jax.grad(loss)(params)

    shapes = jax.eval_shape(head.init, jax.random.key(0))
    x = jax.ShapeDtypeStruct((*windows, spec.input_dim), jnp.float16)
    return _product_flops(jax.make_jaxpr(gradient)(*shapes, x).jaxpr)


def _product_flops(jaxpr: core.Jaxpr) -> int:
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            shape = equation.invars[0].aval.shape
            summed = int(np.prod([shape[axis] for axis in contracted]))
            total += 2 * int(np.prod(equation.outvars[0].aval.shape)) * summed
        for value in equation.params.values():
            for one in value if isinstance(value, tuple | list) else [value]:
                inner = getattr(one, "jaxpr", one)
                if isinstance(inner, core.Jaxpr):
                    total += _product_flops(inner)
    return total


def measure(sizes: Sizes) -> dict[str, Any]:
    """A row for each head, type, batch size and number of seeds."""
    device = jax.devices()[0]
    card = CARDS.get(device.device_kind)
    matmul = Matmul()
    rate = Matmul.flops / statistics.median(seconds(matmul) for _ in range(5))
    rows: list[dict[str, Any]] = []
    for name in sizes.heads:
        task, kind = name.split("-")
        table, feeder = table_of(task, sizes.frames), None
        for dtype in sizes.types:
            for batch_size in sizes.batch_sizes:
                for seeds in sizes.seeds:
                    config = base_config(task, kind)
                    config.update_from_flattened_dict(sizes.fields)
                    config.head.dtype, config.num_seeds = dtype, seeds
                    config.batch_size = batch_size
                    windows = head_kind(kind).sequence is not None
                    if windows and batch_size < config.head.window:
                        continue  # less than one window is no step
                    training = MadeTraining(config, table, feeder)
                    feeder = training.feeder
                    row = {"head": name, "type": dtype, "batch": batch_size}
                    row |= {"seeds": seeds, **_timed(training, sizes.repeats)}
                    _add_shares(row, training.spec, card, rate)
                    rows.append(row)
                    print(_line(row), flush=True)
    return {
        "date": datetime.date.today().isoformat(),
        "device": device.device_kind,
        "platform": device.platform,
        "jax": jax.__version__,
        "peak_source": card.source if card else "this card's peak is not in our table",
        "matmul_flop_per_s": rate,
        "rows": rows,
    }


def _timed(training: MadeTraining, repeats: int) -> dict[str, Any]:
    """Milliseconds of a step in a scan (None where memory is too small), and frames."""
    size = training.order.batch_size
    steps = min(max(_SCAN_FRAMES // size, 4), 256)
    order = training.order.epoch(0)
    order = np.concatenate([order] * -(-steps // len(order)))[:steps]
    ((shared, sent),) = training.feeder.chunks(order, steps)
    models, stopped = training.state.models, training.state.stopped
    times = []
    try:
        for _ in range(repeats + 1):  # the first compiles
            began = time.perf_counter()
            models, losses = training.chunk(
                models, stopped, training.hyper, shared, sent, np.int32(0)
            )
            jax.block_until_ready((models, losses))
            times.append(time.perf_counter() - began)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return {"step_ms": None, "frames": size}
    return {"step_ms": 1e3 * statistics.median(times[1:]) / steps, "frames": size}


def _add_shares(
    row: dict[str, Any], spec: HeadSpec, card: Card | None, rate: float
) -> None:
    """Adds frames/s over all seeds, and shares of the card's peak and of a product."""
    row["frames_per_s"] = row["share_of_peak"] = row["share_of_product"] = None
    if row["step_ms"] is None:
        return
    per_s = 1e3 / row["step_ms"]
    row["frames_per_s"] = row["frames"] * row["seeds"] * per_s
    flop_per_s = step_flops(spec, row["frames"]) * row["seeds"] * per_s
    row["share_of_product"] = flop_per_s / rate
    if card:
        row["share_of_peak"] = flop_per_s / getattr(card, row["type"])


def markdown(found: dict[str, Any]) -> str:
    """The dated table."""
    lines = [
        f"# Step times on {found['device']} ({found['platform']}), {found['date']}",
        "",
        f"JAX {found['jax']}. A step is forward, backward and AdamW of all seeds in a "
        "compiled scan, the frames gathered from a table on the device; made-up data, "
        "2,176 features. Frames/s counts each seed's. Peak: "
        f"{found['peak_source']}. Product: {Matmul.size} x {Matmul.size} float32 "
        f"matrices, measured here at {found['matmul_flop_per_s'] / 1e12:.3g} Tflop/s.",
        "",
        "| head | type | batch | seeds | ms a step | frames/s | of peak | of product |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
        *map(_line, found["rows"]),
    ]
    return "\n".join(lines) + "\n"


def _line(row: dict[str, Any]) -> str:
    if row["step_ms"] is None:
        cells: Sequence[str] = ("no memory", "-", "-", "-")
    else:
        peak = row["share_of_peak"]
        cells = (
            f"{row['step_ms']:.3g}",
            f"{row['frames_per_s']:,.0f}",
            "unknown" if peak is None else f"{peak:.1%}",
            f"{row['share_of_product']:.1%}",
        )
    first = (row["head"], row["type"], str(row["batch"]), str(row["seeds"]))
    return f"| {' | '.join((*first, *cells))} |"
