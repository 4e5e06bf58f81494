"""Tasks of a user's own: their names, classes, units or values, checked."""

import re
from collections.abc import Mapping
from typing import Any, TypedDict

import numpy as np

from avemo_jax.tasks.task import TASKS, Task, TaskKind

_BY_KIND: dict[TaskKind, dict[str, Any]] = {
    "multiclass": {
        "activation": "softmax",
        "label_dtype": np.int8,
        "score_range": (0.0, 1.0),
        "criterion": "f1_macro",
        "headline": "f1_macro",
    },
    "multilabel": {
        "activation": "sigmoid",
        "label_dtype": np.int8,
        "score_range": (0.0, 1.0),
        "criterion": "f1_mean_at_0.5",
        "headline": "f1_mean",
    },
    "regression": {
        "activation": "tanh",
        "label_dtype": np.float32,
        "score_range": (-1.0, 1.0),
        "criterion": "ccc_mean",
        "headline": "ccc_mean",
    },
}
# Names that the store and predictions.csv use for something else.
_TAKEN = frozenset(
    "video frame has_crop filled source_video num_frames fps f1_macro own".split()
)
_SIGNED = re.compile(r"[+-]?\d+(\.\d+)?")
MAX_CLASSES = 127  # labels are int8


class TaskDefinition(TypedDict):
    """What stores and checkpoints keep of a user's own task.

    Attributes:
        name: The task's name.
        kind: "multiclass", "multilabel" or "regression".
        columns: Names of the classes, units or values.
        value_range: Least and largest value, in the user's unit.
    """

    name: str
    kind: TaskKind
    columns: tuple[str, ...]
    value_range: tuple[float, float]


def own_task(
    name: str,
    kind: TaskKind,
    columns: tuple[str, ...],
    value_range: tuple[float, float] = (-1.0, 1.0),
) -> Task:
    """A task of a user's own; without a choice on dev, its scores are not smoothed.

    Args:
        name: A letter, then letters, digits and "_".
        kind: "multiclass": one class a frame; "multilabel": several units at once;
            "regression": values.
        columns: Names of the classes, units or values.
        value_range: Least and largest value, in the user's unit.

    Raises:
        ValueError: If the kind's number of columns or the range is wrong, or a name is
            malformed, already used or there twice.
    """
    plain = name.isascii() and name.isidentifier() and not name.endswith("_split")
    low, high = value_range
    if not plain or name.lower() in _TAKEN or name.upper() in TASKS:
        raise ValueError(
            f"task name {name!r}; expected a letter, then letters, digits and '_', and "
            f"none of {', '.join([*TASKS, *sorted(_TAKEN)])}: choose another name"
        )
    least = 2 if kind == "multiclass" else 1
    if not least <= len(columns) <= MAX_CLASSES or len(set(columns)) < len(columns):
        raise ValueError(
            f"task {name!r} has {len(columns)} outputs: {', '.join(columns[:20])}; "
            f"expected {least} to {MAX_CLASSES} different ones: correct the labels"
        )
    for one in columns:
        taken = one.lower() in _TAKEN or one.startswith("label_")
        taken |= kind == "multiclass" and one == name
        taken |= kind == "multilabel" and f"{one}_c" in columns
        taken |= kind == "regression" and one == "mean"
        # As the header of a table it is written, in which a spreadsheet may calculate.
        formula = one[:1] in ("=", "+", "-", "@") and not _SIGNED.fullmatch(one)
        if taken or not one.strip() or set(one) & set(',"') or not one.isprintable():
            raise ValueError(
                f"task {name!r} has an output called {one!r}; expected a name without "
                "comma, quote and control characters, other than the task's and "
                f"{', '.join(sorted(_TAKEN))}: rename it"
            )
        if formula:
            raise ValueError(
                f"task {name!r} has an output called {one!r}; expected no name that "
                "spreadsheets take as a formula, as with = + - or @ in front: rename it"
            )
    if not (np.isfinite(value_range).all() and low < high):
        raise ValueError(
            f"task {name!r} has values from {low:g} to {high:g}; expected two finite "
            "numbers, the smaller first: correct the range"
        )
    return Task(
        name=name,
        kind=kind,
        title=name,
        header=",".join(columns),
        folders=(),
        columns=columns,
        label_shape=() if kind == "multiclass" else (len(columns),),
        invalid=-1,
        fixed_smoothing=("none", 0),
        decided=name,
        value_range=(float(low), float(high)),
        **_BY_KIND[kind],
    )


def definition(task: Task) -> dict[str, Any]:
    """What stores and checkpoints keep of a user's own task, as values for JSON."""
    return {
        "name": task.name,
        "kind": task.kind,
        "columns": list(task.columns),
        "value_range": list(task.value_range),
    }


def from_definition(stored: Mapping[str, Any]) -> Task:
    """The task that :func:`definition` was made from, an official one by its name."""
    if (official := TASKS.get(stored["name"])) is not None:
        return official
    low, high = stored["value_range"]
    columns = tuple(stored["columns"])
    return own_task(stored["name"], stored["kind"], columns, (low, high))
