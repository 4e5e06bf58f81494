"""An extractor's own outputs as tasks: expressions, action units, valence and arousal.

Outputs are told apart by their names, so that a plug-in's work as those of the table.
"""

import dataclasses
import re
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from avemo_jax.extractors import Extractor
from avemo_jax.tasks import AU, EXPR, EXPRESSIONS, VA, Task

# The names that networks give expressions, in small letters, and ours.
_EXPRESSIONS = {name.lower(): name for name in EXPRESSIONS} | {
    "angry": "Anger",
    "contempt": "Contempt",
    "disgusted": "Disgust",
    "fearful": "Fear",
    "afraid": "Fear",
    "scared": "Fear",
    "happy": "Happiness",
    "sad": "Sadness",
    "surprised": "Surprise",
}
_ORDER = (*EXPRESSIONS[:-1], "Contempt", "Other")
_UNIT = re.compile(r"AU_?0*(\d{1,2})", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class OutputTask:
    """A task of an extractor, and its columns among the outputs.

    Attributes:
        task: The task; one of the benchmark's name may have other columns.
        at: Column of each of the task's outputs.
    """

    task: Task
    at: tuple[int, ...]

    def scores(
        self, outputs: Float[np.ndarray, "rows outputs"]
    ) -> Float[np.ndarray, "rows columns"]:
        """Scores of the rows: probabilities of logits; values cut to their range.

        Args:
            outputs: The extractor's own outputs: logits, and values as they are.
        """
        own = np.asarray(outputs, np.float32)[:, list(self.at)]
        if self.task.kind == "multiclass":
            powers = np.exp(own - own.max(axis=1, keepdims=True))
            return powers / powers.sum(axis=1, keepdims=True)
        if self.task.kind == "multilabel":
            half = np.tanh(own / 2)  # no overflow, where exp has one
            return np.asarray(0.5 + 0.5 * half, np.float32)
        return np.clip(own, *self.task.score_range)


def output_tasks(extractor: Extractor) -> tuple[OutputTask, ...]:
    """The tasks that an extractor's own outputs are scores of, in the order of columns.

    Two expressions or more are EXPR, named as here and in the order of the benchmark,
    Contempt and Other last; units, such as AU12 or au_12, are AU; valence and arousal
    are VA. The names of other outputs are a task of values called as the extractor.

    Args:
        extractor: An extractor of pictures.

    Raises:
        ValueError: If it has no outputs, or one is there twice.
    """
    names = extractor.outputs
    if not names:
        raise ValueError(
            f"{extractor.name} has no outputs of its own, only features; expected an "
            "extractor with some, or a trained head: name a folder of one, or hsemotion"
        )
    faces: dict[str, int] = {}
    units: dict[str, int] = {}
    values: dict[str, int] = {}
    others: dict[str, int] = {}
    for at, name in enumerate(names):
        unit = _UNIT.fullmatch(name)
        if name.lower() in _EXPRESSIONS:
            where, column = faces, _EXPRESSIONS[name.lower()]
        elif unit:
            where, column = units, f"AU{int(unit[1]):02d}"
        elif name.lower() in VA.columns:
            where, column = values, name.lower()
        else:
            where, column = others, name
        if column in where:
            raise ValueError(
                f"{extractor.name} has two outputs for {column}: {', '.join(names)}; "
                "expected one of each: correct the names of its outputs"
            )
        where[column] = at
    if len(faces) == 1:
        others |= {names[at]: at for at in faces.values()}
        faces = {}
    if len(values) == 1:
        others |= values
        values = {}
    found = [
        _of(EXPR, [name for name in _ORDER if name in faces], faces),
        _of(AU, sorted(units), units),
        _of(VA, VA.columns if values else (), values),
        _of(values_task(extractor.name, tuple(others)), tuple(others), others),
    ]
    return tuple(one for one in found if one.at)


def _of(task: Task, columns: Sequence[str], at: dict[str, int]) -> OutputTask:
    """The task with these columns, and where these are."""
    return OutputTask(task.with_columns(columns), tuple(at[name] for name in columns))


def values_task(name: str, columns: tuple[str, ...]) -> Task:
    """A task of values of any size, called ``name``."""
    return dataclasses.replace(
        VA.with_columns(columns),
        name=name,
        title=name,
        folders=(),
        score_range=(-np.inf, np.inf),
        fixed_smoothing=("none", 0),
    )
