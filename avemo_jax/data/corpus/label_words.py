"""What is said of a user's labels: what tasks were taken for, and what looks wrong."""

import difflib
import pathlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import numpy as np
from absl import logging
from jaxtyping import Shaped

from avemo_jax.data.corpus.label_columns import LabelColumn
from avemo_jax.data.corpus.manifest import alike, fail
from avemo_jax.data.listing import first_of
from avemo_jax.runtime.tables import Table
from avemo_jax.runtime.tables.words import INTEGER
from avemo_jax.tasks import MAX_CLASSES, Task

# A Likert scale has five points or more; so many whole numbers may well be values.
_MANY_NUMBERS = 5
_TOLD = 40  # classes in a line


def task_lines(
    task: Task,
    columns: Sequence[str],
    labels: Collection[Shaped[np.ndarray, "frames ..."]],
    *,
    guessed: bool,
) -> list[str]:
    """Lines on what a task was taken for: its kind, columns, classes, missing labels.

    Args:
        task: The task.
        columns: The columns of the file that its labels come from.
        labels: Its labels of each video, up to the last labelled frame.
        guessed: Whether the kind was taken from the labels, and not said by the user.
    """
    joined = np.concatenate([task.empty_labels(0), *labels])
    total = len(joined)
    named = f"column{'s' * (len(columns) > 1)} {', '.join(columns)}"
    otherwise = ", as its labels look (--task says otherwise)" if guessed else ""
    lines = [f"task {task.name}: {task.kind}, of {named}{otherwise}"]
    if task.kind == "multiclass":
        counts = np.bincount(joined[joined >= 0], minlength=task.num_outputs)
        told = [f"{n} {count:,}" for n, count in zip(task.columns, counts, strict=True)]
        lines.append(f"  frames of each class: {first_of(told, _TOLD)}")
    else:
        lines += [
            f"  {_column_words(task, name, joined[:, i])}"
            for i, name in enumerate(task.columns)
        ]
    missing = total - int(task.valid(joined).sum())
    return [*lines, f"  without a whole label: {missing:,} of {total:,} frames"]


def column_lines(columns: Iterable[LabelColumn], *, classes: bool) -> list[str]:
    """Lines on labels that stand otherwise in the file, and on what is no label.

    Args:
        columns: The columns of a task.
        classes: Whether the labels are classes, any of which may be named.
    """
    lines = []
    for column in columns:
        lines += [f"  column {column.name}: {told}" for told in column.told]
        if column.missing:
            told = first_of([f"{n:,} {w!r}" for w, n in column.missing.items()], _TOLD)
            otherwise = " (--classes=A,B,... with it keeps it as one)"
            line = f"  column {column.name}: taken as missing: {told}"
            lines.append(line + (otherwise if classes else ""))
    return lines


def _column_words(task: Task, name: str, values: Shaped[np.ndarray, " frames"]) -> str:
    """The labels of a unit, or of a value, in words."""
    if task.kind == "multilabel":
        active, other, lacking = ((values == v).sum() for v in (1, 0, -1))
        return f"{name}: {active:,} active, {other:,} not, {lacking:,} missing"
    known = task.in_units(values[np.isfinite(values)].astype(np.float64))
    low, high = task.value_range
    seen = "no value"
    if len(known):
        seen = f"{known.min():.4g} to {known.max():.4g}, mean {known.mean():.4g}"
    lacking = len(values) - len(known)
    return f"{name}: {seen}, of {low:g} to {high:g}; {lacking:,} missing"


def warn_of_numbers(
    path: pathlib.Path, task: str, column: str, texts: Collection[str]
) -> None:
    """Log that whole numbers are taken as classes, if they may well be values.

    Args:
        path: The file of labels.
        task: Name of the task.
        column: The column that the labels stand in.
        texts: All labels, each once.

    Raises:
        ValueError: If there are more numbers than a task has classes.
    """
    if len(texts) < _MANY_NUMBERS or not all(map(INTEGER.fullmatch, texts)):
        return
    numbers = sorted(map(int, texts))
    low, high = numbers[0], numbers[-1]
    values = f"--task {task}=regression:{column} --range={low},{high}"
    if len(texts) > MAX_CLASSES:
        fail(
            f"{path}, column {column!r}",
            f"{len(texts)} different whole numbers, {low} to {high}",
            f"at most {MAX_CLASSES} classes",
            f"if they are values: {values}",
        )
    logging.warning(
        "%s, column %r: %d different whole numbers, %d to %d, are taken as classes; if "
        "they are values (a scale, a rate), pass %s; if they are classes, "
        "--task %s=multiclass:%s ends this warning",
        path,
        column,
        len(texts),
        low,
        high,
        values,
        task,
        column,
    )


def warn_of_spelling(
    table: Table,
    column: str,
    counts: Mapping[str, int],
    first: Callable[[str], int],
) -> None:
    """Log the classes that look like another one, misspelt.

    These are such as differ only in case or spaces, and such as are on one line only
    and similar to another.

    Args:
        table: The table of labels.
        column: The column that the classes stand in.
        counts: How often each class occurs.
        first: Gives the first row of a class.
    """
    same = alike(counts)
    for names in same:
        logging.warning(
            "%s, column %r: classes %s differ only in case or spaces, and are taken as "
            "%d; if they are one, write them alike",
            table.path,
            column,
            ", ".join(
                f"{n!r} ({counts[n]}, first on {table.place(first(n))})" for n in names
            ),
            len(names),
        )
    told = {name for names in same for name in names}
    for text, count in counts.items():
        others = [name for name, n in counts.items() if n > count]
        near = difflib.get_close_matches(text, others, 1, 0.75)
        if count == 1 and near and not text.isdigit() and text not in told:
            logging.warning(
                "%s: class %r occurs once and is near %r; if it is "
                "misspelt correct it, else name the classes: --classes",
                table.where(first(text), column),
                text,
                near[0],
            )
