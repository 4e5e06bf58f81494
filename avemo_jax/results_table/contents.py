"""What a results table holds: a cell for every row and task, and effects."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from avemo_jax.results_table.rows import RowSpec
from avemo_jax.tasks import TASKS

_METRICS = {
    "f1_macro": "macro F1",
    "f1_mean": "mean F1 of action units",
    "ccc_mean": "mean CCC of valence and arousal",
}


@dataclasses.dataclass(frozen=True)
class Cell:
    """What was found for one row and one task, over frames with a face crop.

    Attributes:
        task: "EXPR", "AU" or "VA".
        row: Id of the row.
        metric: Name of the score.
        score: Mean over seeds, with what was chosen on dev; None where ``note`` says
            why there is none.
        std: Standard deviation over seeds; None for one seed.
        ci95: 95 % interval of the mean over videos; None without an interval.
        bca95: The same by BCa; None where videos are many, or there is none.
        per_seed: The score of each seed.
        tuned_on_reported: Score with smoothing and thresholds chosen on the reported
            frames; None for rules that leave frames out.
        smoothing: Smoothings of the seeds, and the strides of their rules, in words.
        chosen_on: "dev", or None where nothing was chosen.
        share_embedded: Share of all frames that an extractor has to embed.
        share_entries: Share of all entries of windows that are looked at.
        note: A remark on the cell, or empty.
    """

    task: str
    row: str
    metric: str
    score: float | None
    std: float | None = None
    ci95: tuple[float, float] | None = None
    bca95: tuple[float, float] | None = None
    per_seed: tuple[float, ...] = ()
    tuned_on_reported: float | None = None
    smoothing: str = ""
    chosen_on: str | None = None
    share_embedded: float | None = None
    share_entries: float | None = None
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Effect:
    """A difference that is expected to be above 0.

    Attributes:
        task: "EXPR", "AU" or "VA".
        name: The effect in words.
        difference: Difference of the headline scores, mean over seeds.
        ci95: 95 % interval of the difference over videos, paired; None where a row has
            no interval, or the rows are of other videos.
        bca95: The same by BCa; None where videos are many, or there is none.
    """

    task: str
    name: str
    difference: float
    ci95: tuple[float, float] | None
    bca95: tuple[float, float] | None = None

    @property
    def holds(self) -> bool:
        """Whether the difference has the expected sign."""
        return self.difference > 0

    @property
    def comment(self) -> str:
        """A remark on how sure the difference is, or empty."""
        if self.ci95 is None:
            return "no interval"
        both = [ends for ends in (self.ci95, self.bca95) if ends is not None]
        sure = [low > 0 or high < 0 for low, high in both]
        if all(sure):
            return ""
        if any(sure):
            which = "BCa" if sure[0] else "percentiles"
            return f"the interval by {which} has 0 in it"
        return "the interval has 0 in it"

    def to_dict(self) -> dict[str, Any]:
        """The effect in the form that JSON keeps."""
        said = {"holds": self.holds, "comment": self.comment}
        return dataclasses.asdict(self) | said


@dataclasses.dataclass(frozen=True)
class ResultsTable:
    """Everything that is written.

    Attributes:
        title: What the data is called.
        synthetic: Whether the data is made.
        is_affwild2: Whether the original's figures may stand beside ours.
        split: The split that is reported.
        protocol: "ours" or "original".
        num_seeds: Number of seeds of every model.
        environment: Versions, devices, fingerprints and such.
        rows: All rows, in the table's order.
        cells: By task a cell for each of the rows, in their order.
        effects: The effects that could be told from the cells' rows.
    """

    title: str
    synthetic: bool
    is_affwild2: bool
    split: str
    protocol: str
    num_seeds: int
    environment: Mapping[str, Any]
    rows: tuple[RowSpec, ...]
    cells: Mapping[str, tuple[Cell, ...]]
    effects: tuple[Effect, ...] = ()

    def pairs(self, task: str) -> Iterator[tuple[RowSpec, Cell]]:
        """The rows with their cells of one task."""
        return zip(self.rows, self.cells[task], strict=True)

    @property
    def all_cells(self) -> list[Cell]:
        """The cells of all tasks."""
        return [cell for cells in self.cells.values() for cell in cells]

    @property
    def chosen_on(self) -> str | None:
        """What all was chosen on; None if nothing was, or on several splits."""
        found = {cell.chosen_on for cell in self.all_cells} - {None}
        return found.pop() if len(found) == 1 else None


def metric_title(task: str) -> str:
    """The task's score in words."""
    return _METRICS[TASKS[task].headline]
