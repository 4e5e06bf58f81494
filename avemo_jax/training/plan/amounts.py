"""What a plan says: plain numbers, and sums of them."""

import dataclasses
from typing import Any


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
        why: Reason for ``resident``, in words.
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
    why: str
    device_bytes: int
    host_bytes: int
    file_bytes: int


@dataclasses.dataclass(frozen=True)
class StatePlan:
    """Bytes of what is trained, whole on every device.

    Attributes:
        candidates: Number of candidates: seeds times settings of the sweep.
        seeds: Number of seeds of each setting.
        parameters: Bytes of all candidates' parameters.
        statistics: Bytes of their running statistics of BatchNorm.
        optimiser: Bytes of their AdamW states.
        best: Bytes of the parameters and statistics of their best epochs.
        other: Bytes of scores, epochs, PRNG keys and rates.
    """

    candidates: int
    seeds: int
    parameters: int
    statistics: int
    optimiser: int
    best: int
    other: int

    @property
    def total(self) -> int:
        """Bytes of everything together."""
        fields = ("parameters", "statistics", "optimiser", "best", "other")
        return sum(int(getattr(self, field)) for field in fields)


@dataclasses.dataclass(frozen=True)
class StepsPlan:
    """Steps of a run, and the batch of each.

    Attributes:
        batch_size: Frames of a step, over all devices.
        batch_per_device: Frames of a step on one device.
        steps_per_epoch: Updates of the parameters in an epoch.
        epochs: Epochs of the run.
        steps_per_scan: Steps in one call of the compiled program.
        batch_bytes: Bytes on a device of one batch's inputs, labels and masks.
        chunk_bytes: Bytes on a device that the steps of a scan are sent.
        host_chunk_bytes: Bytes in every process that are read ahead of a streamed
            table.
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
        """Steps of the whole run, unless it stops early."""
        return self.steps_per_epoch * self.epochs


@dataclasses.dataclass(frozen=True)
class RunPlan:
    """What a run will take.

    Attributes:
        data: Title of the store.
        devices: Number of devices, on all hosts together.
        hosts: Number of hosts, one process on each, with equally many devices.
        budget: Bytes that tables may take on a device.
        budget_from: Where the budget is from, in words.
        device_memory: Bytes of a device's memory; None where it was not given.
        tables: Tables in the order that the run loads them.
        state: Bytes of what is trained.
        steps: Steps of training.
        problem: Why training would refuse to begin; None where it would not.
        notes: Sentences for the user on what the numbers leave out.
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
        """Bytes on every device while training: tables, state, batch and chunk."""
        tables = sum(t.device_bytes for t in self.tables if t.phase == "train")
        return (
            tables + self.state.total + self.steps.batch_bytes + self.steps.chunk_bytes
        )

    @property
    def host_bytes(self) -> int:
        """Bytes in every process while training: tables, and chunks read ahead."""
        tables = sum(t.host_bytes for t in self.tables if t.phase == "train")
        return tables + self.steps.host_chunk_bytes

    @property
    def file_bytes(self) -> int:
        """Bytes on every host's disk of the tables that are streamed."""
        by_split = {table.split: table.file_bytes for table in self.tables}
        return sum(by_split.values())

    def to_dict(self) -> dict[str, Any]:
        """The plan as values that JSON takes, with its sums."""
        found = dataclasses.asdict(self)
        found["state"]["total"] = self.state.total
        found["steps"]["steps"] = self.steps.steps
        sums = ("device_bytes", "host_bytes", "file_bytes")
        return found | {name: getattr(self, name) for name in sums}
