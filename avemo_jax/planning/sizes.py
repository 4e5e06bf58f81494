"""Bytes and steps of a run, from the functions that training itself uses."""

import dataclasses
import functools
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from avemo_jax.config import check_config
from avemo_jax.data.joining import Plan
from avemo_jax.data.table import FrameTable
from avemo_jax.feeding import Batch, TableArrays, inputs_at, rows_of, table_arrays
from avemo_jax.feeding import targets_at
from avemo_jax.heads import Head, HeadSpec, build_head
from avemo_jax.inputs import input_dims
from avemo_jax.judge import evaluation_batch, fresh_state
from avemo_jax.loading import Data, feature_names, fold_data, memory_budget
from avemo_jax.members import Members, make_members
from avemo_jax.objective import TrainingError, make_plan, make_spec
from avemo_jax.orders import FramePlan, WindowPlan
from avemo_jax.planning.outlines import Outlines, bytes_of, outline_mesh, shapes_of
from avemo_jax.steps import scan_length

# What loading.memory_budget leaves of an accelerator's memory to tables.
_SHARE_OF_DEVICE = 0.6
# A streamed chunk is in use while the next is on its way; more are read on the host.
_CHUNKS_ON_DEVICE = 2
_CHUNKS_ON_HOST = 4
# Behind the matrix in a file: 64 characters of a fingerprint.
_FINGERPRINT = 64


@dataclasses.dataclass(frozen=True)
class TablePlan:
    """What becomes of one split's table.

    Attributes:
        split: Its name.
        phase: "train" or "evaluate": tables of one phase share the budget.
        rows: Frames with features.
        videos: Subject-videos.
        table_bytes: What is held against the budget.
        resident: Whole on every device, or else streamed.
        why: In words.
        device_bytes: On every device: of the arrays that lie there for good.
        host_bytes: Of memory, in every process, of the table.
        file_bytes: On every host's disk, where it is streamed.
    """

    split: str
    phase: str
    rows: int
    videos: int
    table_bytes: int
    resident: bool
    why: str
    device_bytes: int
    host_bytes: int
    file_bytes: int


@dataclasses.dataclass(frozen=True)
class StatePlan:
    """Bytes of what is trained, whole on every device.

    Attributes:
        members: Seeds x settings of the sweep.
        seeds: Of each setting.
        parameters: Of all members.
        statistics: Of BatchNorm.
        optimiser: Of AdamW.
        best: Parameters and statistics of the best epochs.
        other: Scores, epochs, keys and rates.
    """

    members: int
    seeds: int
    parameters: int
    statistics: int
    optimiser: int
    best: int
    other: int

    @property
    def total(self) -> int:
        """Of all."""
        fields = ("parameters", "statistics", "optimiser", "best", "other")
        return sum(int(getattr(self, field)) for field in fields)


@dataclasses.dataclass(frozen=True)
class StepsPlan:
    """Steps, and the batch of each.

    Attributes:
        batch_size: Frames of a step, over all devices.
        batch_per_device: Frames of a step on one device.
        steps_per_epoch: Each is one update of the parameters.
        epochs: Of the run.
        steps_per_scan: In one dispatch of a compiled program.
        batch_bytes: On a device: one batch's inputs, labels and marks.
        chunk_bytes: On a device: what a scan's steps were sent beside the tables.
        host_chunk_bytes: In every process: what is read ahead of a streamed table.
    """

    batch_size: int
    batch_per_device: int
    steps_per_epoch: int
    epochs: int
    steps_per_scan: int
    batch_bytes: int
    chunk_bytes: int
    host_chunk_bytes: int

    @property
    def steps(self) -> int:
        """Of the whole run, unless it stops early."""
        return self.steps_per_epoch * self.epochs


@dataclasses.dataclass(frozen=True)
class RunPlan:
    """What a run will take.

    Attributes:
        data: Title of the store.
        devices: Of all hosts.
        hosts: Processes, each with as many devices.
        budget: Bytes of tables on a device.
        budget_from: Where the budget is from, in words.
        device_memory: Bytes of a device, or None where nobody said.
        tables: In the order of loading.
        state: What is trained.
        steps: Of training.
        problem: Why training would refuse to begin, or None.
        notes: What else is to be known.
    """

    data: str
    devices: int
    hosts: int
    budget: int
    budget_from: str
    device_memory: int | None
    tables: tuple[TablePlan, ...]
    state: StatePlan
    steps: StepsPlan
    problem: str | None
    notes: tuple[str, ...]

    @property
    def device_bytes(self) -> int:
        """On every device while training: tables, state, batch and chunk."""
        tables = sum(t.device_bytes for t in self.tables if t.phase == "train")
        return (
            tables + self.state.total + self.steps.batch_bytes + self.steps.chunk_bytes
        )

    @property
    def host_bytes(self) -> int:
        """In every process while training: tables, and chunks that are read ahead."""
        tables = sum(t.host_bytes for t in self.tables if t.phase == "train")
        return tables + self.steps.host_chunk_bytes

    @property
    def file_bytes(self) -> int:
        """On every host's disk."""
        by_split = {table.split: table.file_bytes for table in self.tables}
        return sum(by_split.values())

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, sums too."""
        found = dataclasses.asdict(self)
        found["state"]["total"] = self.state.total
        found["steps"]["steps"] = self.steps.steps
        sums = ("device_bytes", "host_bytes", "file_bytes")
        return found | {name: getattr(self, name) for name in sums}


@dataclasses.dataclass(frozen=True)
class Outline:
    """A run in outline, from which sizes are told and programs are compiled.

    Attributes:
        config: Of the run.
        spec: Of the head.
        head: The network.
        members: Seeds x settings.
        plans: Of the tables, by split.
        tables: In outline, by split.
    """

    config: ConfigDict
    spec: HeadSpec
    head: Head
    members: Members
    plans: dict[str, Plan]
    tables: dict[str, FrameTable]

    @property
    def window(self) -> int:
        """Frames per window, or 0."""
        return self.spec.window if self.spec.takes_windows else 0

    @property
    def train_split(self) -> str:
        """What is trained on."""
        return str(self.config.data.train_on)

    def arrays(self, split: str) -> TableArrays:
        """What a step gathers from: shapes and types of the arrays."""
        arrays = table_arrays(
            self.tables[split],
            windows=bool(self.window),
            audio_flag=self.spec.audio_flag,
            inputs=self.config.data.inputs,
        )
        shapes: TableArrays = shapes_of(arrays)
        return shapes

    def order(self, mesh: Mesh) -> FramePlan | WindowPlan:
        """The order of examples.

        Raises:
            TrainingError: As training does.
        """
        return make_plan(self.config, self.tables[self.train_split], self.spec, mesh)

    def state(self, num_steps: int) -> Any:
        """Shapes of what a run's checkpoint holds."""
        make = functools.partial(
            fresh_state, self.config, self.members, self.head, num_steps
        )
        return jax.eval_shape(make)

    def hyper(self) -> Any:
        """Shapes of the members' keys and settings."""
        return jax.eval_shape(self.members.hyper)

    def batch(self, split: str, index: Any) -> Batch:
        """Shapes of the batches that an index (steps, batch, ...) names."""

        def gather(arrays: TableArrays, index: Any) -> Batch:
            rows = rows_of(arrays, index, self.window)
            return Batch(inputs_at(arrays, rows), *targets_at(arrays, rows))

        batch: Batch = jax.eval_shape(gather, self.arrays(split), index)
        return batch


def index_shape(plan: FramePlan | WindowPlan, length: int) -> Any:
    """Shape of what ``length`` steps of ``plan`` are told by."""
    if isinstance(plan, WindowPlan):
        return jax.ShapeDtypeStruct((length, plan.windows_per_step, 3), np.int32)
    return jax.ShapeDtypeStruct((length, plan.batch_size), np.int32)


def outline_run(config: ConfigDict, data: Data) -> Outline:
    """The run that ``config`` says, in outline; no feature is read.

    Raises:
        ValueError: If the configuration or the store make no sense, or if a split has
            no rows.
    """
    check_config(config)
    data = fold_data(data, config)
    feature_sets = data.store.resolve(feature_names(config))
    names = [feature_set.name for feature_set in feature_sets]
    spec = make_spec(config, input_dims(feature_sets, config.data.inputs))
    outlines = Outlines(data, config.task, names, config.data.missing_audio)
    plans = {split: outlines.plan(split) for split in splits_of(config)}
    tables = {split: outlines.table(plan) for split, plan in plans.items()}
    head = build_head(spec)
    return Outline(config, spec, head, make_members(config), plans, tables)


def splits_of(config: ConfigDict) -> tuple[str, ...]:
    """The splits that a run loads, in the order of loading, each once."""
    training = ("dev",) if config.data.train_on == "train" else ()
    splits = (*training, config.data.train_on, config.evaluate.split)
    return tuple(dict.fromkeys(splits))


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
        title: Of the data.
        devices: Of all hosts.
        hosts: Each has as many devices.
        device_memory_gb: Of one device, in 10^9 bytes. None: this host's device.

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
    """Bytes of tables on a device, and where that is from."""
    if device_memory_gb is not None and not 0 < device_memory_gb < float("inf"):
        raise ValueError(
            f"--device-memory-gb is {device_memory_gb}; expected a number above 0; "
            "give the memory of one device"
        )
    if config.data.device_budget_gb is not None:
        budget = memory_budget(config.data.device_budget_gb)
        return budget, "config.data.device_budget_gb"
    if device_memory_gb is not None:
        budget = memory_budget(_SHARE_OF_DEVICE * device_memory_gb)
        return budget, f"six tenths of a device of {device_memory_gb:g} GB"
    kind = jax.local_devices()[0].device_kind
    return memory_budget(), f"from this host's device ({kind})"


def _tables(outline: Outline, budget: int) -> tuple[TablePlan, ...]:
    """As ``loading.Loader`` decides, in the order of ``train`` and ``evaluate``."""
    config, left = outline.config, budget
    evaluated = config.evaluate.split
    training = [s for s in splits_of(config) if s in ("dev", outline.train_split)]
    found = []
    for split in training:
        found.append(_table(outline, split, "train", left))
        left -= outline.plans[split].bytes if found[-1].resident else 0
    # Each table of the evaluation is loaded for itself, with the whole budget.
    found.append(_table(outline, evaluated, "evaluate", budget))
    return tuple(found)


def _table(outline: Outline, split: str, phase: str, left: int) -> TablePlan:
    plan, table = outline.plans[split], outline.tables[split]
    resident = plan.bytes <= left
    relation = "fits into" if resident else "is over"
    arrays = [getattr(table, field.name) for field in dataclasses.fields(table)]
    arrays = [array for array in arrays if isinstance(array, np.ndarray)]
    mapped = [a for a in (table.features, table.outputs) if a is not None]
    in_files = sum(array.nbytes for array in mapped)
    everything = sum(array.nbytes for array in arrays)
    return TablePlan(
        split=split,
        phase=phase,
        rows=plan.rows,
        videos=len(plan.videos),
        table_bytes=plan.bytes,
        resident=resident,
        why=f"{plan.bytes:,} bytes, which {relation} the {left:,} left of the budget",
        device_bytes=bytes_of(outline.arrays(split)) if resident else 0,
        host_bytes=everything if resident else everything - in_files,
        file_bytes=0 if resident else in_files + _FINGERPRINT * len(mapped),
    )


def _state(outline: Outline, order: FramePlan | WindowPlan) -> StatePlan:
    config, members = outline.config, outline.members
    state = outline.state(order.num_steps * config.num_epochs)
    variables, optimiser = state["models"]
    known = ("models", "best")
    rest = {name: leaf for name, leaf in state.items() if name not in known}
    return StatePlan(
        members=len(members.seeds),
        seeds=members.num_seeds,
        parameters=bytes_of(variables["params"]),
        statistics=bytes_of(variables["stats"]),
        optimiser=bytes_of(optimiser),
        best=bytes_of(state["best"]),
        other=bytes_of(rest) + bytes_of(outline.hyper()),
    )


def _steps(
    outline: Outline,
    order: FramePlan | WindowPlan,
    devices: int,
    hosts: int,
    resident: bool,
) -> StepsPlan:
    length = scan_length(outline.config, order.num_steps)
    index = index_shape(order, length)
    # Where a batch cannot be divided, every device has all of it.
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
    outline: Outline, order: FramePlan | WindowPlan, devices: int
) -> Iterable[str]:
    config = outline.config
    if order.batch_size != config.batch_size:
        yield (
            f"config.batch_size {config.batch_size} becomes {order.batch_size}: the "
            "frames of an epoch, or whole windows"
        )
    evaluated = evaluation_batch(config, outline.head)
    if outline.spec.kind == "transformer" and not outline.window:
        if order.batch_size % devices or evaluated % devices:
            yield f"the batch is one sequence: {devices} devices do not divide it"
    if config.blend.features:
        yield "a blend trains one head after another; this plan is of the first"
    if config.data.folds and config.data.fold < 0:
        yield "each fold is a run of its own; this plan is of the store's own dev"
