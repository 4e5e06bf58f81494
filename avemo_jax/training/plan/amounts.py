"""What a plan says: plain numbers, and sums of them."""

import dataclasses
from typing import Any


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
        candidates: Seeds x settings of the sweep.
        seeds: Of each setting.
        parameters: Of all candidates.
        statistics: Of BatchNorm.
        optimiser: Of AdamW.
        best: Parameters and statistics of the best epochs.
        other: Scores, epochs, keys and rates.
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
