"""Makes the table task by task; goes on where an earlier call ended."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jax

from avemo_jax.results_table.models import TableRun
from avemo_jax.results_table.rows import Cell, Effect, ResultsTable, RowSpec, rows
from avemo_jax.results_table.task_rows import TaskRows
from avemo_jax.runtime.logs import environment
from avemo_jax.tasks import get_task

# Videos of the official validation sets, the only data with the original's figures.
_OFFICIAL_VALIDATION = {"EXPR": 70, "AU": 105, "VA": 76}
_B0 = ("enet_b0_8_best_vgaf", "enet_b0_8_va_mtl")


class TableMaker:
    """Cells, effects and frame rates of one table, kept as files in its folder."""

    def __init__(self, table_run: TableRun, *, images_per_s: float):
        """Takes what the table is made with; computes nothing yet.

        Args:
            table_run: Data, folder, seeds and protocol of the table.
            images_per_s: Rate of the visual extractor, for the time that rules save.
        """
        self._table_run = table_run
        self._images_per_s = images_per_s
        here = table_run.data.store.feature_sets
        b0 = next((n for n in _B0 if any(k.startswith(f"{n}@") for k in here)), _B0[1])
        every = rows(b0)
        self.rows = tuple(
            row for row in every if table_run.protocol == "ours" or row.original
        )
        self._cells: list[Cell] = []
        self._effects: list[Effect] = []
        self._frame_rates: dict[str, Any] = {}
        self._parts_s: dict[str, float] = {}

    def run(self, task_name: str, wanted: Sequence[str] | None = None) -> None:
        """Makes all rows of one task, or those with the ids ``wanted``.

        Raises:
            ValueError: If an id is unknown, or the store lacks a feature set of a row;
                before anything is trained.
        """
        ids = [row.id for row in self.rows]
        if unknown := sorted(set(wanted or ()) - set(ids)):
            raise ValueError(
                f"unknown rows {', '.join(unknown)}; expected some of {', '.join(ids)}"
            )
        specs = [row for row in self.rows if not wanted or row.id in wanted]
        for row in specs:
            self._check_sets(row)
        of_task = TaskRows(self._table_run, get_task(task_name), self.rows, self.timed)
        for spec in specs:
            self._cells.append(of_task.cell(spec))
        self._effects += of_task.effects()
        if (found := of_task.frame_rates(self._images_per_s)) is not None:
            self._frame_rates[task_name] = found

    def _check_sets(self, row: RowSpec) -> None:
        for features in row.heads:
            try:
                self._table_run.data.store.resolve(features.split("+"))
            except ValueError as error:
                raise ValueError(
                    f"row {row.id}: {error}; or name rows that the store has all "
                    "feature sets of, with --rows"
                ) from error

    def table(self, total_s: float) -> ResultsTable:
        """The table of all that was made so far, in a call of ``total_s`` seconds."""
        data = self._table_run.data
        devices = jax.devices()
        return ResultsTable(
            title=data.title,
            synthetic=bool(data.store.synthetic),
            is_affwild2=self._is_affwild2(),
            split="validation",
            protocol=self._table_run.protocol,
            num_seeds=self._table_run.num_seeds,
            device=f"{len(devices)} x {devices[0].device_kind}",
            environment={**environment({}), "data": data.store.fingerprint},
            rows=self.rows,
            cells=tuple(self._cells),
            parts_s={**self._parts_s, "this call": total_s},
            effects=tuple(self._effects),
            frame_rates=self._frame_rates,
        )

    def _is_affwild2(self) -> bool:
        """Whether the store's validation sets are as large as the official ones."""
        data = self._table_run.data
        return not data.store.synthetic and all(
            len(data.store.split_videos(task, "validation", data.splits)) == count
            for task, count in _OFFICIAL_VALIDATION.items()
        )

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Adds the time of a block to a part's."""
        began = time.perf_counter()
        yield
        passed = time.perf_counter() - began
        self._parts_s[part] = self._parts_s.get(part, 0.0) + passed
