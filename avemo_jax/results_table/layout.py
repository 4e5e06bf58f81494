"""The order of a results table: its tasks, and a cell for every row."""

from avemo_jax.results_table.rows import Cell, ResultsTable, RowSpec
from avemo_jax.tasks import TASKS

_METRICS = {
    "f1_macro": "macro F1",
    "f1_mean": "mean F1 of action units",
    "ccc_mean": "mean CCC of valence and arousal",
}
NOT_COMPUTED = "not computed"


def tasks_with_cells(table: ResultsTable) -> list[str]:
    """Tasks that have a cell, in the usual order."""
    with_cells = {cell.task for cell in table.cells}
    return [name for name in TASKS if name in with_cells]


def rows_with_cells(table: ResultsTable, task: str) -> list[tuple[RowSpec, Cell]]:
    """Every row with its cell, in order; rows without one get one without a score."""
    found = {cell.row: cell for cell in table.cells if cell.task == task}
    metric = TASKS[task].headline
    return [
        (row, found.get(row.id) or Cell(task, row.id, metric, None, note=NOT_COMPUTED))
        for row in table.rows
    ]


def metric_title(table: ResultsTable, task: str) -> str:
    """The task's score in words."""
    names = [cell.metric for cell in table.cells if cell.task == task]
    name = names[0] if names else TASKS[task].headline
    return _METRICS.get(name, name)


def chosen_on(table: ResultsTable) -> str | None:
    """The split on which all was chosen; None if nothing was, or on several splits."""
    names = {cell.chosen_on for cell in table.cells if cell.score is not None} - {None}
    return names.pop() if len(names) == 1 else None


def check_table(table: ResultsTable) -> None:
    """Refuses a table that would show something twice, or not at all.

    Raises:
        ValueError: If the data is both made and Aff-Wild2, two rows have one id, or a
            cell has no row, no task, or a row that another cell has.
    """
    if table.synthetic and table.is_affwild2:
        raise ValueError(
            f"{table.title} is marked synthetic and Aff-Wild2; expected one of the two "
            "at most; correct is_affwild2"
        )
    ids = [row.id for row in table.rows]
    if twice := sorted({name for name in ids if ids.count(name) > 1}):
        raise ValueError(
            f"several rows have the id {twice[0]!r}; expected ids that differ; rename "
            "all but one"
        )
    seen: set[tuple[str, str]] = set()
    for cell in table.cells:
        place = (cell.task, cell.row)
        if cell.task not in TASKS or cell.row not in ids or place in seen:
            raise ValueError(
                f"the cell of {cell.task}, row {cell.row!r} has no place of its own; "
                f"expected one cell at most for each of {', '.join(TASKS)} and each "
                "row's id; drop it, or correct its task or row"
            )
        seen.add(place)
