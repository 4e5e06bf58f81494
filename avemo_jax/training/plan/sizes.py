"""Bytes and steps of a run, from the functions that training itself uses.

Tables are taken in outline (``Store.outline``): labels and shapes are true, and no
features are read. What is trained is only shapes.
"""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from avemo_jax.batches import sharding
from avemo_jax.batches.feeders import (
    Batch,
    TableArrays,
    batch_at,
    step_at,
    table_arrays,
)
from avemo_jax.batches.head_inputs import input_dims
from avemo_jax.batches.order import FrameOrder, WindowOrder
from avemo_jax.batches.tables import (
    Data,
    feature_names,
    fold_data,
    is_resident,
    memory_budget,
    with_task,
)
from avemo_jax.config.checks import check_config
from avemo_jax.data.store.table import FrameTable
from avemo_jax.heads import HeadSpec, build_head
from avemo_jax.tasks import get_task
from avemo_jax.training.amount import fitted
from avemo_jax.training.objective import TrainingError, make_order, make_spec
from avemo_jax.training.plan.memory import memory_problem
from avemo_jax.training.seeds import count_candidates, make_candidates
from avemo_jax.training.state import TrainState, fresh_state
from avemo_jax.training.step import scan_length

# Of a streamed table: one chunk is in use while the next is sent; the host reads ahead.
_CHUNKS_ON_DEVICE = 2
_CHUNKS_ON_HOST = 4
# Bytes of the fingerprint that follows the matrix in the file of a streamed table.
_FINGERPRINT = 64
_MOST_STEPS = 2**31 - 1  # the optimiser counts them in 32 bits


@dataclasses.dataclass(frozen=True)
class TablePlan:
    """Where one split's table will lie, and the bytes that it takes there.

    Attributes:
        split: Name of the split.
        phase: "train" or "evaluate"; tables of one phase share the budget.
        rows: Frames with features.
        videos: Subject-videos.
        table_bytes: Size that is held against the budget.
        resident: Whether the table lies whole on every device, or else is streamed.
        device_bytes: Bytes on every device of the arrays that stay there.
        host_bytes: Bytes of memory in every process.
        file_bytes: Bytes on every host's disk; 0 where the table is resident.
    """

    split: str
    phase: str
    rows: int
    videos: int
    table_bytes: int
    resident: bool
    device_bytes: int
    host_bytes: int
    file_bytes: int


@dataclasses.dataclass(frozen=True)
class RunPlan:
    """What a run will take.

    Attributes:
        budget: Bytes that tables may take on a device.
        tables: Tables in the order that the run loads them.
        candidates: Number of candidates: seeds times settings of the sweep.
        batch_size: Frames of a step, over all devices.
        batch_per_device: Frames of a step on one device.
        steps_per_epoch: Updates of the parameters in an epoch.
        steps: Updates of the whole run, unless it stops early.
        steps_per_scan: Steps in one call of the compiled program.
        device_bytes: Bytes on every device while training, by what takes them;
            activations are left out.
        host_bytes: Bytes in every process while training, by what takes them.
        problem: Why training would refuse to begin; None where it would not.
        notes: Sentences for the user on what the numbers leave out.
    """

    budget: int
    tables: tuple[TablePlan, ...]
    candidates: int
    batch_size: int
    batch_per_device: int
    steps_per_epoch: int
    steps: int
    steps_per_scan: int
    device_bytes: dict[str, int]
    host_bytes: dict[str, int]
    problem: str | None
    notes: tuple[str, ...]


def plan_run(
    config: ConfigDict,
    data: Data,
    *,
    devices: int = 1,
    device_memory_gb: float | None = None,
    evaluated: bool = True,
) -> RunPlan:
    """What the run of ``config`` will take on ``devices`` devices.

    Args:
        config: The run's configuration.
        data: The store.
        devices: Number of devices, on all hosts together.
        device_memory_gb: Memory of one device, in 10^9 bytes. None: that of this
            host's device, and the host's own is checked as well.
        evaluated: Whether the table that is reported on is planned too.

    Raises:
        ValueError: If the configuration makes no sense or does not fit the store, a
            split has no rows, or a number is not above 0.
    """
    if devices < 1:
        raise ValueError(f"--devices is {devices}; expected 1 or more; correct it")
    if device_memory_gb is not None and not 0 < device_memory_gb < float("inf"):
        raise ValueError(
            f"--device-memory-gb is {device_memory_gb}; expected a number above 0; "
            "give the memory of one device"
        )
    config = with_task(config, data)
    check_config(config)
    data = fold_data(data, config)
    sets = data.store.resolve(feature_names(config))
    dims = input_dims(sets, config.data.inputs)
    spec = make_spec(config, dims, tuple(one.kind for one in sets))
    budget = memory_budget(config.data.device_budget_gb, device_memory_gb)
    tables, planned = _tables(config, data, spec, budget, evaluated=evaluated)
    table = planned[config.data.train_on]
    config = fitted(config, table, spec, _mesh(devices))
    problem = None
    try:
        order = make_order(config, table, spec, _mesh(devices))
    except TrainingError as error:
        problem = str(error)
        order = make_order(config, table, spec, _mesh(1))
    steps, length = order.num_steps, scan_length(config, order.num_steps)
    shape: tuple[int, ...] = (length, order.batch_size)
    if isinstance(order, WindowOrder):
        shape = (length, order.windows_per_step, 3)
    # Where the devices do not divide a batch, every one of them has all of it.
    parts = 1 if shape[1] % devices else devices
    index = jax.ShapeDtypeStruct(shape, np.int32)
    chunk = bytes_of(_batch_shapes(config, spec, table, index))
    training = {one.split: one for one in tables if one.phase == "train"}
    streamed = not training[config.data.train_on].resident
    candidates = count_candidates(config)
    on_device = {
        "tables": sum(one.device_bytes for one in training.values()),
        **_state(config, spec, steps * config.num_epochs),
        "a batch": chunk // length // parts,
        "streamed batches": streamed * _CHUNKS_ON_DEVICE * chunk // parts,
    }
    passes = config.train.passes_per_epoch
    on_host = {
        "tables": sum(one.host_bytes for one in training.values()),
        # Several hosts divide these, as the devices divide a batch.
        "batches read ahead": streamed * _CHUNKS_ON_HOST * chunk,
        # The passes, and all of them in one array.
        "order of an epoch": 2 * passes * _pass_bytes(order),
        "scores of dev": candidates * _score_bytes(planned.get("dev"), spec),
    }
    if problem is None:
        problem = memory_problem(config, on_device, on_host, device_memory_gb)
    if problem is None and steps * config.num_epochs > _MOST_STEPS:
        problem = (
            f"{steps * config.num_epochs:,} steps; expected {_MOST_STEPS:,} at most: "
            "lower config.num_epochs or config.train.passes_per_epoch"
        )
    return RunPlan(
        budget=budget,
        tables=tables,
        candidates=candidates,
        batch_size=order.batch_size,
        batch_per_device=order.batch_size // parts,
        steps_per_epoch=steps,
        steps=steps * config.num_epochs,
        steps_per_scan=length,
        device_bytes=on_device,
        host_bytes=on_host,
        problem=problem,
        notes=tuple(_notes(config)),
    )


def _tables(
    config: ConfigDict, data: Data, spec: HeadSpec, budget: int, *, evaluated: bool
) -> tuple[tuple[TablePlan, ...], dict[str, FrameTable]]:
    """The tables placed as a run places them, and in outline, by split."""
    train_on = config.data.train_on
    wanted = [("dev", "train")] if train_on == "train" else []
    wanted.append((train_on, "train"))
    if evaluated:
        wanted.append((config.evaluate.split, "evaluate"))
    plans, tables, left = [], {}, budget
    for split, phase in wanted:
        joined = data.store.join(
            config.task,
            split,
            feature_names(config),
            missing_audio=config.data.missing_audio,
            splits=data.splits,
        )
        table = tables[split] = data.store.outline(joined)
        if phase == "evaluate":  # after training, with the whole budget again
            left = budget
        resident = is_resident(joined, left)
        left -= joined.bytes if resident else 0
        arrays = [a for a in vars(table).values() if isinstance(a, np.ndarray)]
        mapped = [a.nbytes for a in (table.features, table.outputs) if a is not None]
        on_host = sum(array.nbytes for array in arrays)
        plan = TablePlan(
            split=split,
            phase=phase,
            rows=joined.rows,
            videos=len(joined.videos),
            table_bytes=joined.bytes,
            resident=resident,
            device_bytes=bytes_of(_arrays(config, spec, table)) if resident else 0,
            host_bytes=on_host if resident else on_host - sum(mapped),
            file_bytes=0 if resident else sum(mapped) + _FINGERPRINT * len(mapped),
        )
        plans.append(plan)
    return tuple(plans), tables


def _arrays(config: ConfigDict, spec: HeadSpec, table: FrameTable) -> TableArrays:
    """The arrays that a step gathers its batch from."""
    return table_arrays(
        table,
        windows=spec.takes_windows,
        audio_flag=spec.audio_flag,
        inputs=config.data.inputs,
    )


def _state(config: ConfigDict, spec: HeadSpec, steps: int) -> dict[str, int]:
    """Bytes of what is trained, by part, of all candidates.

    Each candidate adds what the second adds to the first: there may be any number.
    """
    one, two = (_state_of(config, spec, steps, seeds) for seeds in (1, 2))
    more = count_candidates(config) - 1
    return {name: size + more * (two[name] - size) for name, size in one.items()}


def _state_of(
    config: ConfigDict, spec: HeadSpec, steps: int, num_seeds: int
) -> dict[str, int]:
    """Bytes of what is trained, by part, of some seeds of one setting."""
    config = config.copy_and_resolve_references()
    config.num_seeds = num_seeds
    config.update({"sweep": dict.fromkeys(config.sweep, ())})
    candidates = make_candidates(config)
    make = functools.partial(fresh_state, config, candidates, build_head(spec), steps)
    state: TrainState = jax.eval_shape(make)
    models, rates = state.models, jax.eval_shape(candidates.hyper)
    parts = {
        "parameters": models.variables.params,
        "statistics": models.variables.stats,
        "optimiser state": models.optimiser,
        **({"averaged parameters": models.scored} if config.train.ema else {}),
        "best parameters": state.best,
        "scores, keys, rates": (
            *(state.best_score, state.best_epoch, state.stopped),
            rates,
        ),
    }
    return {name: bytes_of(tree) for name, tree in parts.items()}


def _pass_bytes(order: FrameOrder | WindowOrder) -> int:
    """Bytes of the order of one pass over the training frames."""
    if isinstance(order, WindowOrder):
        return order.num_windows * 3 * np.dtype(np.int32).itemsize
    return order.num_rows * np.dtype(np.int32).itemsize


def _score_bytes(dev: FrameTable | None, spec: HeadSpec) -> int:
    """Bytes of one candidate's scores on dev: of rows, or of windows.

    Windows overlap by half, but for heads with a carried state.

    There are none without dev.
    """
    if dev is None:
        return 0
    rows = dev.num_rows
    if spec.takes_windows:
        rows = int(dev.num_frames.sum()) * (1 if spec.carries else 2)
    return rows * get_task(spec.task).num_outputs * np.dtype(np.float32).itemsize


def _mesh(devices: int) -> Mesh:
    """A mesh of ``devices`` places, all this host's first device, to be counted."""
    return Mesh(np.array(jax.local_devices()[:1] * devices), (sharding.AXIS,))


def _batch_shapes(
    config: ConfigDict, spec: HeadSpec, table: FrameTable, index: jax.ShapeDtypeStruct
) -> Batch:
    """Shapes of the batches that an index of shape (steps, batch, ...) names."""

    def gather(arrays: TableArrays, index: Any) -> Batch:
        window = spec.window if spec.takes_windows else 0
        return batch_at(arrays, step_at(arrays, index, window))

    batch: Batch = jax.eval_shape(gather, _arrays(config, spec, table), index)
    return batch


def bytes_of(tree: Any) -> int:
    """Bytes of all arrays, or shapes of arrays, in ``tree``."""
    found = 0
    for leaf in jax.tree.leaves(tree):
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.eval_shape(jax.random.key_data, leaf)
        found += int(np.prod(leaf.shape, dtype=np.int64)) * leaf.dtype.itemsize
    return found


def _notes(config: ConfigDict) -> Iterator[str]:
    """What the plan is not of."""
    if config.blend.features:
        yield "a blend trains one head after another; this plan is of the first"
    if (config.data.folds or config.data.protocol) and config.data.fold < 0:
        yield "each fold is a run of its own; this plan is of the store's own dev"
