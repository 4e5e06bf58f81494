"""Bytes and steps of a run, from the functions that training itself uses."""

import dataclasses
from collections.abc import Iterable

import jax
import numpy as np
from ml_collections import ConfigDict

from avemo_jax.batches.order import FrameOrder, WindowOrder
from avemo_jax.batches.tables import is_resident, memory_budget
from avemo_jax.training.objective import TrainingError
from avemo_jax.training.plan.amounts import RunPlan, StatePlan, StepsPlan, TablePlan
from avemo_jax.training.plan.outlines import (
    Outline,
    bytes_of,
    index_shape,
    outline_mesh,
    splits_of,
)
from avemo_jax.training.step import scan_length

# Of a streamed table: one chunk is in use while the next is sent; the host reads ahead.
_CHUNKS_ON_DEVICE = 2
_CHUNKS_ON_HOST = 4
# Bytes of the fingerprint that follows the matrix in the file of a streamed table.
_FINGERPRINT = 64


def plan_run(
    outline: Outline,
    title: str,
    *,
    devices: int,
    hosts: int = 1,
    device_memory_gb: float | None = None,
) -> RunPlan:
    """What the run will take on ``devices`` devices of ``hosts`` hosts.

    Args:
        outline: The run.
        title: What the plan calls the data.
        devices: Number of devices, on all hosts together.
        hosts: Number of hosts, each with equally many devices.
        device_memory_gb: Memory of one device, in 10^9 bytes. None: the budget is that
            of this host's device, and no memory is checked.

    Raises:
        ValueError: If devices cannot be divided over the hosts, or the memory is not
            above 0.
    """
    if hosts < 1 or devices < 1 or devices % hosts:
        raise ValueError(
            f"{devices} devices on {hosts} hosts; expected as many on each host, at "
            "least one; correct --devices or --hosts"
        )
    budget, said = _budget(outline.config, device_memory_gb)
    tables = _tables(outline, budget)
    resident = {t.split: t.resident for t in tables if t.phase == "train"}
    problem = None
    try:
        order = outline.order(outline_mesh(devices))
    except TrainingError as error:
        problem = str(error)
        order = outline.order(outline_mesh(1))
    notes = list(_notes(outline, order, devices))
    memory = None if device_memory_gb is None else int(device_memory_gb * 1e9)
    run = RunPlan(
        data=title,
        devices=devices,
        hosts=hosts,
        budget=budget,
        budget_from=said,
        device_memory=memory,
        tables=tables,
        state=_state(outline, order),
        steps=_steps(outline, order, devices, hosts, resident[outline.train_split]),
        problem=problem,
        notes=(),
    )
    if memory is not None and run.device_bytes > memory:
        notes.append(
            f"a device needs {run.device_bytes:,} bytes and has {memory:,}: set "
            "config.data.device_budget_gb lower, fewer seeds or a smaller batch"
        )
    return dataclasses.replace(run, notes=tuple(notes))


def _budget(config: ConfigDict, device_memory_gb: float | None) -> tuple[int, str]:
    """Bytes that tables may take on a device, and where that number is from.

    Raises:
        ValueError: If the memory is not above 0.
    """
    if device_memory_gb is not None and not 0 < device_memory_gb < float("inf"):
        raise ValueError(
            f"--device-memory-gb is {device_memory_gb}; expected a number above 0; "
            "give the memory of one device"
        )
    if config.data.device_budget_gb is not None:
        budget = memory_budget(config.data.device_budget_gb)
        return budget, "config.data.device_budget_gb"
    if device_memory_gb is not None:
        budget = memory_budget(device_gb=device_memory_gb)
        return budget, f"six tenths of a device of {device_memory_gb:g} GB"
    kind = jax.local_devices()[0].device_kind
    return memory_budget(), f"from this host's device ({kind})"


def _tables(outline: Outline, budget: int) -> tuple[TablePlan, ...]:
    """The tables in the order that a run loads them, placed as ``Loader`` does it."""
    config, left = outline.config, budget
    evaluated = config.evaluate.split
    training = [s for s in splits_of(config) if s in ("dev", outline.train_split)]
    found = []
    for split in training:
        found.append(_table(outline, split, "train", left))
        left -= outline.joins[split].bytes if found[-1].resident else 0
    # An evaluation loads its table with the whole budget, after those of training.
    found.append(_table(outline, evaluated, "evaluate", budget))
    return tuple(found)


def _table(outline: Outline, split: str, phase: str, left: int) -> TablePlan:
    joined, table = outline.joins[split], outline.tables[split]
    resident = is_resident(joined, left)
    relation = "fits into" if resident else "is over"
    arrays = [getattr(table, field.name) for field in dataclasses.fields(table)]
    arrays = [array for array in arrays if isinstance(array, np.ndarray)]
    mapped = [a for a in (table.features, table.outputs) if a is not None]
    in_files = sum(array.nbytes for array in mapped)
    everything = sum(array.nbytes for array in arrays)
    return TablePlan(
        split=split,
        phase=phase,
        rows=joined.rows,
        videos=len(joined.videos),
        table_bytes=joined.bytes,
        resident=resident,
        why=f"{joined.bytes:,} bytes, which {relation} the {left:,} left of the budget",
        device_bytes=bytes_of(outline.arrays(split)) if resident else 0,
        host_bytes=everything if resident else everything - in_files,
        file_bytes=0 if resident else in_files + _FINGERPRINT * len(mapped),
    )


def _state(outline: Outline, order: FrameOrder | WindowOrder) -> StatePlan:
    config, candidates = outline.config, outline.candidates
    state = outline.state(order.num_steps * config.num_epochs)
    variables, optimiser = state["models"]
    known = ("models", "best")
    rest = {name: leaf for name, leaf in state.items() if name not in known}
    return StatePlan(
        candidates=len(candidates.seeds),
        seeds=candidates.num_seeds,
        parameters=bytes_of(variables["params"]),
        statistics=bytes_of(variables["stats"]),
        optimiser=bytes_of(optimiser),
        best=bytes_of(state["best"]),
        other=bytes_of(rest) + bytes_of(outline.hyper()),
    )


def _steps(
    outline: Outline,
    order: FrameOrder | WindowOrder,
    devices: int,
    hosts: int,
    resident: bool,
) -> StepsPlan:
    length = scan_length(outline.config, order.num_steps)
    index = index_shape(order, length)
    # Where the devices do not divide a batch, every one of them has all of it.
    parts = 1 if index.shape[1] % devices else devices
    chunk = outline.batch(outline.train_split, index)
    batch = bytes_of(chunk) // length // parts
    if resident:
        rows = bytes_of(index) + bytes_of(chunk._replace(x=None))
        rows += 4 * int(np.prod(chunk.present.shape))
        on_device, on_host = rows // parts, 0
    else:
        on_device = _CHUNKS_ON_DEVICE * bytes_of(chunk) // parts
        on_host = _CHUNKS_ON_HOST * bytes_of(chunk) // min(parts, hosts)
    return StepsPlan(
        batch_size=order.batch_size,
        batch_per_device=order.batch_size // parts,
        steps_per_epoch=order.num_steps,
        epochs=outline.config.num_epochs,
        steps_per_scan=length,
        batch_bytes=batch,
        chunk_bytes=on_device,
        host_chunk_bytes=on_host,
    )


def _notes(
    outline: Outline, order: FrameOrder | WindowOrder, devices: int
) -> Iterable[str]:
    config = outline.config
    if order.batch_size != config.batch_size:
        yield (
            f"config.batch_size {config.batch_size} becomes {order.batch_size}: the "
            "frames of an epoch, or whole windows"
        )
    evaluated = outline.spec.evaluation_batch(
        training=config.batch_size, evaluation=config.evaluate.batch_size
    )
    if outline.spec.batch_is_sequence:
        if order.batch_size % devices or evaluated % devices:
            yield f"the batch is one sequence: {devices} devices do not divide it"
    if config.blend.features:
        yield "a blend trains one head after another; this plan is of the first"
    if config.data.folds and config.data.fold < 0:
        yield "each fold is a run of its own; this plan is of the store's own dev"
