"""The results table: every row run, or as an earlier call left it, and read."""

from collections.abc import Sequence

from avemo_jax.batches.tables import Data, open_data
from avemo_jax.results_table.cells import cell_of, effects_of
from avemo_jax.results_table.contents import Cell, Effect, ResultsTable
from avemo_jax.results_table.rows import RowSpec, rows
from avemo_jax.results_table.runs import TableRun, read_results, row_folder
from avemo_jax.runtime.logs import environment
from avemo_jax.tasks import TASKS, get_task

# Videos of the official validation sets, the only data with the original's figures.
_OFFICIAL_VALIDATION = {"EXPR": 70, "AU": 105, "VA": 76}
_B0 = ("enet_b0_8_best_vgaf", "enet_b0_8_va_mtl")


def make_table(
    table_run: TableRun, tasks: Sequence[str], wanted: Sequence[str] = ()
) -> ResultsTable:
    """The table of some tasks; goes on where an earlier call ended.

    Args:
        table_run: What the table is made with.
        tasks: Names of the tasks.
        wanted: Ids of the rows to make; all by default.

    Raises:
        ValueError: If an id is unknown, or the store lacks a feature set of a row;
            before anything is trained.
    """
    data = open_data(table_run.data_dir)
    every = rows_for(table_run, data)
    ids = [row.id for row in every]
    if unknown := sorted(set(wanted) - set(ids)):
        raise ValueError(
            f"unknown rows {', '.join(unknown)}; expected some of {', '.join(ids)}"
        )
    specs = [row for row in every if not wanted or row.id in wanted]
    for row in specs:
        _check_sets(data, row)
    cells: dict[str, tuple[Cell, ...]] = {}
    effects: list[Effect] = []
    for task in (name for name in TASKS if name in tasks):
        found, compared = _of_task(table_run, data, task, specs)
        cells[task] = tuple(found.get(row.id) or _not_made(task, row) for row in every)
        effects += compared
    return ResultsTable(
        title=data.title,
        synthetic=bool(data.store.synthetic),
        is_affwild2=is_affwild2(data),
        split="validation",
        protocol=table_run.protocol,
        num_seeds=table_run.num_seeds,
        environment={**environment({}), "data": data.store.fingerprint},
        rows=every,
        cells=cells,
        effects=tuple(effects),
    )


def rows_for(table_run: TableRun, data: Data) -> tuple[RowSpec, ...]:
    """All rows of the protocol, with the EfficientNet-B0 that the store has."""
    here = data.store.feature_sets
    b0 = next((n for n in _B0 if any(k.startswith(f"{n}@") for k in here)), _B0[1])
    return tuple(
        row for row in rows(b0) if table_run.protocol == "ours" or row.original
    )


def is_affwild2(data: Data) -> bool:
    """Whether the store's validation sets are as large as the official ones."""
    return not data.store.synthetic and all(
        len(data.store.split_videos(task, "validation", data.splits)) == count
        for task, count in _OFFICIAL_VALIDATION.items()
    )


def _of_task(
    table_run: TableRun, data: Data, name: str, specs: Sequence[RowSpec]
) -> tuple[dict[str, Cell], list[Effect]]:
    """The cells of one task by their rows' ids, and the effects between the rows."""
    cells, folders = {}, {}
    for row in specs:
        if row.post == "sequential" and get_task(name).kind != "multiclass":
            reason = "the rule decides for the class with the highest score: EXPR only"
            cells[row.id] = _not_made(name, row, reason)
            continue
        folders[row.id] = row_folder(table_run, data, name, row)
        cells[row.id] = cell_of(row, read_results(folders[row.id]))
    by_id = {row.id: row for row in specs}
    return cells, effects_of(by_id, cells, folders)


def _not_made(task: str, row: RowSpec, reason: str = "not computed") -> Cell:
    return Cell(task, row.id, get_task(task).headline, None, note=reason)


def _check_sets(data: Data, row: RowSpec) -> None:
    """Refuses a row with a feature set that the store lacks.

    Raises:
        ValueError: If it lacks one.
    """
    for features in row.heads:
        try:
            data.store.resolve(features.split("+"))
        except ValueError as error:
            raise ValueError(
                f"row {row.id}: {error}; or name rows that the store has all feature "
                "sets of, with --rows"
            ) from error
