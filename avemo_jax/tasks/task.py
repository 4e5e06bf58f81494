"""The three tasks: expressions (EXPR), action units (AU), valence and arousal (VA).

Only here are their names, label rules, outputs, activations, metrics and the score that
the best epoch is taken by.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Bool, Shaped

if TYPE_CHECKING:
    from jax import Array

TaskKind = Literal["multiclass", "multilabel", "regression", "joint"]

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
    """One task: its outputs, its labels and how it is scored.

    Attributes:
        name: "EXPR", "AU", "VA", or the name of a user's own task.
        kind: "multiclass": one class a frame; "multilabel": several units at once;
            "regression": values; "joint": several tasks trained together
            (:class:`avemo_jax.tasks.joint.JointTask`).
        title: Words for plots and tables.
        header: Header line of the official annotation and submission files.
        folders: Official folder names of its annotations; any of them may occur.
        columns: Names of the outputs, in order, in tables that are written here.
        activation: What turns logits into scores: "softmax", "sigmoid" or "tanh".
        label_shape: Shape of one frame's label.
        label_dtype: Type of labels in memory and in the store.
        invalid: What stands for an invalid label in official files.
        score_range: Least and largest score after the activation.
        criterion: Score on dev, larger is better, by which the best epoch is taken.
        headline: The score that a results table shows.
        fixed_smoothing: (mode, half width in frames) where nothing may be chosen on
            dev; the best that the original reported for its MLP heads.
        decided: Column of predictions.csv with the class that was decided; only for
            "multiclass".
        value_range: Least and largest value in the user's unit, which [-1, 1] stands
            for in memory.
    """

    name: str
    kind: TaskKind
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
        """Outputs per frame; 8, 12 and 2 for EXPR, AU and VA."""
        return len(self.columns)

    @property
    def full_title(self) -> str:
        """The title with the name behind it: "Expressions (EXPR)".

        A user's own task has its name for a title, which is said once.
        """
        if self.title == self.name:
            return self.name
        return f"{self.title} ({self.name})"

    def activate(self, logits: "Array") -> "Array":
        """Scores (..., outputs) in float32: probabilities, or values in [-1, 1].

        Args:
            logits: Unbounded outputs of a head (..., outputs).
        """
        import jax  # here, so that names and labels are known without it

        functions: dict[str, Callable[[Any], Any]] = {
            "softmax": jax.nn.softmax,
            "sigmoid": jax.nn.sigmoid,
            "tanh": jax.numpy.tanh,
        }
        return functions[self.activation](logits.astype("float32"))

    def by_column(self, prefix: str, values: Any) -> dict[str, Any]:
        """The values by name, ``PREFIX_COLUMN`` for each output."""
        return {f"{prefix}_{name}": values[i] for i, name in enumerate(self.columns)}

    def in_units(self, values: Any) -> Any:
        """Values of [-1, 1], converted to the user's unit."""
        low, high = self.value_range
        if (low, high) == (-1.0, 1.0):
            return values
        return low + (values + 1.0) * ((high - low) / 2)

    def with_columns(self, columns: Sequence[str]) -> "Task":
        """The task with other outputs, which is itself where they are its own."""
        own = tuple(columns)
        if own == self.columns:
            return self
        shape = () if self.kind == "multiclass" else (len(own),)
        header = ",".join(own)
        return dataclasses.replace(self, columns=own, header=header, label_shape=shape)

    def empty_labels(self, num_frames: int) -> Shaped[np.ndarray, "frames ..."]:
        """Labels (frames, ...) that are all invalid: -1, or NaN for values."""
        fill = np.nan if self.kind == "regression" else -1
        return np.full((num_frames, *self.label_shape), fill, self.label_dtype)

    def valid(
        self, labels: Shaped[np.ndarray, "frames ..."]
    ) -> Bool[np.ndarray, " frames"]:
        """Which frames count: the class known, no unit at -1, no value missing."""
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
