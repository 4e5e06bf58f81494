"""The three tasks: expressions (EXPR), action units (AU), valence and arousal (VA).

The only place that knows their names, label rules, outputs, activation, losses,
metrics and how the best epoch is selected.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Bool, Shaped

if TYPE_CHECKING:
    from jax import Array

Kind = Literal["multiclass", "multilabel", "regression", "joint"]

# Order of the ABAW challenges (Kollias et al.), which is not AffectNet's order.
EXPRESSIONS = (
    "Neutral",
    "Anger",
    "Disgust",
    "Fear",
    "Happiness",
    "Sadness",
    "Surprise",
    "Other",
)
ACTION_UNITS = (1, 2, 4, 6, 7, 10, 12, 15, 23, 24, 25, 26)


@dataclasses.dataclass(frozen=True)
class Task:
    """What one task is.

    Attributes:
        name: "EXPR", "AU", "VA", or that of a task of one's own.
        kind: One class a frame, several units at once, or values; "joint": several
            tasks trained together (:class:`avemo_jax.joint_task.JointTask`).
        title: For plots and tables.
        header: Header line of the official annotation and submission files.
        folders: Official folder names of its annotations; any of them may occur.
        columns: Names of the outputs in tables that we write, in order.
        activation: From logits to scores: "softmax", "sigmoid" or "tanh".
        label_shape: Shape of one frame's label.
        label_dtype: Of labels in memory and in the store.
        invalid: What an invalid label is in official files.
        score_range: Least and largest score after the activation.
        criterion: Score on dev, larger is better, by which the best epoch is taken.
        headline: The score that a results table shows.
        fixed_smoothing: (mode, half width in frames) where nothing may be chosen on
            dev; the best that the original reported for its MLP heads.
        decided: Column of predictions.csv with the class that was decided.
        value_range: Of values in the user's units; labels and scores in memory are in
            [-1, 1], which stands for it.
    """

    name: str
    kind: Kind
    title: str
    header: str
    folders: tuple[str, ...]
    columns: tuple[str, ...]
    activation: Literal["softmax", "sigmoid", "tanh"]
    label_shape: tuple[int, ...]
    label_dtype: type
    invalid: int
    score_range: tuple[float, float]
    criterion: str
    headline: str
    fixed_smoothing: tuple[Literal["mean", "median", "none"], int]
    decided: str = ""
    value_range: tuple[float, float] = (-1.0, 1.0)

    @property
    def num_outputs(self) -> int:
        """Outputs per frame: 8, 12 or 2 of the official tasks."""
        return len(self.columns)

    def activate(self, logits: "Array") -> "Array":
        """Scores of logits, in float32: probabilities, or values in [-1, 1].

        Args:
            logits: (..., outputs).

        Returns:
            Of the same shape.
        """
        import jax  # what needs the names and labels alone does without it

        functions: dict[str, Callable[[Any], Any]] = {
            "softmax": jax.nn.softmax,
            "sigmoid": jax.nn.sigmoid,
            "tanh": jax.numpy.tanh,
        }
        return functions[self.activation](logits.astype("float32"))

    def by_column(self, prefix: str, values: Any) -> dict[str, Any]:
        """Each output's value under ``PREFIX_COLUMN``."""
        return {f"{prefix}_{name}": values[i] for i, name in enumerate(self.columns)}

    def in_units(self, values: Any) -> Any:
        """Values in [-1, 1], in the user's units."""
        low, high = self.value_range
        if (low, high) == (-1.0, 1.0):
            return values
        return low + (values + 1.0) * ((high - low) / 2)

    def empty_labels(self, num_frames: int) -> Shaped[np.ndarray, "frames ..."]:
        """Labels of ``num_frames`` frames, all invalid (-1; NaN for values)."""
        fill = np.nan if self.kind == "regression" else -1
        return np.full((num_frames, *self.label_shape), fill, self.label_dtype)

    def valid(
        self, labels: Shaped[np.ndarray, "frames ..."]
    ) -> Bool[np.ndarray, " frames"]:
        """Where a frame counts: class known, no unit at -1, no value missing."""
        if self.kind == "multiclass":
            return labels >= 0
        if self.kind == "multilabel":
            return np.asarray((labels >= 0).all(axis=-1))
        return np.asarray(np.isfinite(labels).all(axis=-1))


EXPR = Task(
    name="EXPR",
    kind="multiclass",
    title="Expressions",
    header=",".join(EXPRESSIONS),
    folders=("EXPR_Recognition_Challenge", "EXPR_Classification_Challenge"),
    columns=EXPRESSIONS,
    activation="softmax",
    label_shape=(),
    label_dtype=np.int8,
    invalid=-1,
    score_range=(0.0, 1.0),
    criterion="f1_macro",
    headline="f1_macro",
    fixed_smoothing=("median", 200),
    decided="expression",
)
AU = Task(
    name="AU",
    kind="multilabel",
    title="Action units",
    header=",".join(f"AU{unit}" for unit in ACTION_UNITS),
    folders=("AU_Detection_Challenge",),
    columns=tuple(f"AU{unit:02d}" for unit in ACTION_UNITS),
    activation="sigmoid",
    label_shape=(len(ACTION_UNITS),),
    label_dtype=np.int8,
    invalid=-1,
    score_range=(0.0, 1.0),
    criterion="f1_mean_at_0.5",
    headline="f1_mean",
    fixed_smoothing=("median", 15),
)
VA = Task(
    name="VA",
    kind="regression",
    title="Valence and arousal",
    header="valence,arousal",
    folders=("VA_Estimation_Challenge",),
    columns=("valence", "arousal"),
    activation="tanh",
    label_shape=(2,),
    label_dtype=np.float32,
    invalid=-5,
    score_range=(-1.0, 1.0),
    criterion="ccc_mean",
    headline="ccc_mean",
    fixed_smoothing=("median", 30),
)
TASKS: dict[str, Task] = {task.name: task for task in (EXPR, AU, VA)}


_OWN: dict[str, Task] = {}  # of users, by name; what TASKS has never changes


def known_tasks() -> dict[str, Task]:
    """The official tasks, and those that were registered, by name."""
    return TASKS | _OWN


def register(task: Task) -> Task:
    """Lets ``get_task`` find a task of one's own; the same one twice is fine.

    Raises:
        ValueError: If another task has its name.
    """
    there = known_tasks().get(task.name)
    if there not in (None, task):
        raise ValueError(
            f"task {task.name!r} ({task.kind}: {', '.join(task.columns)}) is another "
            f"one than the {task.name!r} known ({there.kind}: "
            f"{', '.join(there.columns)}); expected one task of a name: give it "
            "another name, or use one such store at a time"
        )
    if task.name not in TASKS:
        _OWN[task.name] = task
    return task


def get_task(name: str) -> Task:
    """The task called ``name``; "EXPR+AU+VA": these as one, to be trained together.

    Raises:
        ValueError: If there is no such task.
    """
    known = known_tasks()
    if "+" in name:
        from avemo_jax.joint_task import joint_task  # it is made of what is here

        return joint_task([get_task(one) for one in name.split("+")])
    if name not in known:
        raise ValueError(
            f"unknown task {name!r}; config.task may be {', '.join(known)}, or "
            "several joined by '+'"
        )
    return known[name]


_BY_KIND: dict[Kind, dict[str, Any]] = {
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
# What the store and predictions.csv call something else.
_TAKEN = frozenset(
    "video frame has_crop filled source_video num_frames fps f1_macro own".split()
)
MAX_CLASSES = 127  # of int8 labels


def own_task(
    name: str,
    kind: Kind,
    columns: tuple[str, ...],
    value_range: tuple[float, float] = (-1.0, 1.0),
) -> Task:
    """A task of one's own. Where nothing may be chosen on dev nothing is smoothed.

    Args:
        name: A letter, then letters, digits and "_".
        kind: One class a frame, several units at once, or values.
        columns: Names of the classes, units or values.
        value_range: Least and largest value.

    Raises:
        ValueError: If a name is taken, or no name, or there are too few or too many.
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
        if taken or not one.strip() or set(one) & set(',"\r\n'):
            raise ValueError(
                f"task {name!r} has an output called {one!r}; expected a name without "
                "comma, quote and line end, other than the task's and "
                f"{', '.join(sorted(_TAKEN))}: rename it"
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
    """What a store and a checkpoint keep of a task of one's own, as JSON has it."""
    return {
        "name": task.name,
        "kind": task.kind,
        "columns": list(task.columns),
        "value_range": list(task.value_range),
    }


def from_definition(stored: Mapping[str, Any]) -> Task:
    """The inverse of :func:`definition`."""
    low, high = stored["value_range"]
    columns = tuple(stored["columns"])
    return own_task(stored["name"], stored["kind"], columns, (low, high))
