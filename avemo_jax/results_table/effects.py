"""Effects that the table should show, each a paired difference with its interval."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from avemo_jax.models.frame_scores import dense_scores
from avemo_jax.postprocess.bootstrap import paired_difference_of_means
from avemo_jax.postprocess.smoothing import Smoothing
from avemo_jax.results_table.evaluation import RowResult
from avemo_jax.results_table.rows import Effect
from avemo_jax.tasks import Task

# Wide and narrow smoothing: 2 s and a sixth of a second to a side at 30 frames/s.
WIDE: Smoothing = ("median", 60)
NARROW: Smoothing = ("median", 5)


# Name, first row, second row: the first is expected to be better.
_PAIRS = (
    ("sound helps (wav2vec 2.0)", "mlp-b2-wav2vec2", "mlp-b2"),
    ("sound helps (VGGish)", "mlp-b2-vggish", "mlp-b2"),
    (
        "the temporal Transformer beats the MLP",
        "transformer-b2-wav2vec2",
        "mlp-b2-wav2vec2",
    ),
    (
        "attention over time beats attention across the batch",
        "transformer-b2-wav2vec2",
        "batch-transformer-b2-wav2vec2",
    ),
    (
        "with windows too the temporal Transformer beats the MLP",
        "transformer-b2-wav2vec2-smooth",
        "mlp-b2-wav2vec2-smooth",
    ),
    ("windows help", "mlp-b2-wav2vec2-smooth", "mlp-b2-wav2vec2"),
    (
        "the blend of two sounds beats wav2vec 2.0 alone",
        "blend-wav2vec2-vggish",
        "mlp-b2-wav2vec2-smooth",
    ),
)
_WIDTHS = f"{WIDE[0]} ±{WIDE[1]} beats {NARROW[0]} ±{NARROW[1]}"
_WIDTHS_ROW = "mlp-b2-wav2vec2-smooth"


def rows_lacking(known: Collection[str], asked: Collection[str]) -> set[str]:
    """Ids of rows whose scores are needed for effects that are not known yet.

    Args:
        known: Names of the effects that are known.
        asked: Ids of the rows that can be compared.
    """
    needed = {name: {first, second} for name, first, second in _PAIRS}
    needed[_WIDTHS] = {_WIDTHS_ROW}
    return {
        row
        for name, ids in needed.items()
        if name not in known and ids <= set(asked)
        for row in ids
    }


def effects_of(task: Task, rows: Mapping[str, RowResult]) -> list[Effect]:
    """The effects whose rows are all given.

    Args:
        task: The task of the rows.
        rows: Results of rows, by the row's id.
    """
    compare = _comparison(task)
    found = []
    for name, first, second in _PAIRS:
        if first in rows and second in rows:
            a, b = rows[first], rows[second]
            pair = (a.finished.dense, b.finished.dense), (_limits(a), _limits(b))
            found.append(compare(a, name, "> 0", *pair))
    if (row := rows.get(_WIDTHS_ROW)) is not None:
        found.append(_widths(task, row, compare))
    return found


def _widths(task: Task, row: RowResult, compare: Callable[..., Effect]) -> Effect:
    """Wide against narrow smoothing; wide suits all but action units."""
    dense = [
        dense_scores(
            row.evaluated.reported,
            row.finished.unsmoothed,
            (smoothing,) * len(row.selection.smoothings),
        )
        for smoothing in (WIDE, NARROW)
    ]
    wanted = "< 0" if task.kind == "multilabel" else "> 0"
    limits = _limits(row)
    return compare(row, _WIDTHS, wanted, tuple(dense), (limits, limits))


def _limits(row: RowResult) -> Float[np.ndarray, "seeds units"] | None:
    return row.selection.thresholds


def _comparison(task: Task) -> Callable[..., Effect]:
    def compare(
        row: RowResult,
        name: str,
        expectation: str,
        dense: tuple[Float[Array, "seeds frames outputs"], ...],
        limits: tuple[Float[np.ndarray, "seeds units"] | None, ...],
    ) -> Effect:
        table = row.evaluated.reported.table
        thresholds: Any = None
        if task.kind == "multilabel":
            thresholds = jnp.asarray(np.stack([np.asarray(one) for one in limits]))
        interval = paired_difference_of_means(
            task.name,
            *dense,
            jnp.asarray(table.dense_labels),
            jnp.asarray(row.evaluated.reported.with_crop),
            jnp.asarray(table.dense_offsets, jnp.int32),
            thresholds,
        )
        value, low, high = (float(end[task.headline]) for end in interval[:3])
        holds = value > 0 if expectation == "> 0" else value < 0
        sure = low > 0 or high < 0
        return Effect(
            task=task.name,
            name=name,
            expectation=expectation,
            difference=value,
            ci95=(low, high),
            holds=holds,
            comment="" if sure else "the interval has 0 in it",
        )

    return compare
