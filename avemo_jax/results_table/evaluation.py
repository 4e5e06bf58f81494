"""One row of the table for one task: scores, intervals, and what took how long."""

import dataclasses
import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from avemo_jax.batches.tables import memory_budget
from avemo_jax.evaluation.dev_selection import select_on_dev
from avemo_jax.evaluation.evaluate import Finished, finish, scored
from avemo_jax.metrics.scores import task_metrics
from avemo_jax.models.blend import Model, load_model, scores_by_head
from avemo_jax.models.frame_scores import (
    SplitScores,
    corrected_rows,
    dense_scores,
    smoothable,
)
from avemo_jax.models.head import load_trained_head, open_scorer
from avemo_jax.models.selection import NO_SMOOTHING, Selection
from avemo_jax.postprocess.gaps import fill
from avemo_jax.postprocess.smoothing_sweep import neutral_score
from avemo_jax.results_table.models import TableRun
from avemo_jax.tasks import Task


@dataclasses.dataclass(frozen=True)
class EvaluatedModel:
    """A model's scores on dev and on the reported split, nothing chosen yet.

    Attributes:
        model: Of the row.
        dev: On dev.
        reported: On the reported split.
        inference_s: Seconds of the pass over the reported split by all seeds, the
            table's loading included.
    """

    model: Model
    dev: SplitScores
    reported: SplitScores
    inference_s: float

    @property
    def task(self) -> Task:
        """Of the model."""
        return self.model.task


def evaluate_model(table_run: TableRun, directory: pathlib.Path) -> EvaluatedModel:
    """Both splits' scores by the head checkpoint or blend in ``directory``."""
    model = load_model(directory)
    budget = memory_budget(table_run.device_budget_gb)
    dev = scores_by_head(model, table_run.data, "dev", budget)
    began = time.perf_counter()
    reported = scores_by_head(model, table_run.data, "validation", budget)
    return EvaluatedModel(model, dev, reported, time.perf_counter() - began)


@dataclasses.dataclass(frozen=True)
class RowResult:
    """What came out for one row.

    Attributes:
        judged: The model and its scores.
        selection: Chosen on dev.
        finished: On the reported split, with all windows that were tried.
        metrics: As results.json's ``metrics``.
        per_seed: As results.json's.
        postprocess_s: Choosing on dev, and all that was tried on the reported split.
    """

    judged: EvaluatedModel
    selection: Selection
    finished: Finished
    metrics: dict[str, Any]
    per_seed: list[dict[str, Any]]
    postprocess_s: float


def post_processed(judged: EvaluatedModel, *, smooth: bool) -> RowResult:
    """The row without windows, or with the one chosen on dev."""
    options = judged.model.options
    if not smooth:
        options = dataclasses.replace(options, smoothings=(NO_SMOOTHING,))
    model = dataclasses.replace(judged.model, options=options)
    judged = dataclasses.replace(judged, model=model)
    began = time.perf_counter()
    selection = select_on_dev(judged.dev, options, model.priors)
    finished = finish(model, judged.reported, selection)
    found = scored(model, finished)
    seconds = time.perf_counter() - began
    return RowResult(
        *(judged, selection, finished, found["metrics"], found["per_seed"]),
        postprocess_s=seconds,
    )


def unsmoothed(
    predicted: SplitScores, outcome: RowResult
) -> Float[np.ndarray, "seeds rows outputs"]:
    """Scores of each seed that are smoothed: blended, of AU perhaps decisions."""
    return smoothable(
        outcome.judged.task,
        corrected_rows(predicted, outcome.selection),
        outcome.selection.raw_thresholds,
        outcome.judged.model.options,
    )


def pass_seconds(table_run: TableRun, directory: pathlib.Path) -> float:
    """Time of a single model's row by the original's definition.

    Load the checkpoint, one pass over the reported split with features in memory,
    metrics; of one seed, the second time, when all is compiled.
    """
    first = load_trained_head(directory)
    budget = memory_budget(table_run.device_budget_gb)
    scorer = open_scorer(first, table_run.data, "validation", budget)
    labels, valid = jnp.asarray(scorer.table.labels), jnp.asarray(scorer.table.valid)

    def once() -> None:
        variables = jax.tree.map(
            lambda leaf: leaf[:1], load_trained_head(directory).variables
        )
        scores = jnp.asarray(scorer.predictor(variables)[0])
        jax.block_until_ready(task_metrics(first.task.name, scores, labels, valid))

    return _second_s(once)


def window_seconds(outcome: RowResult) -> float:
    """Time of a smoothing row by the original's definition: the windows alone.

    Filling the gaps and the chosen window over every frame, one seed; the second time.
    """
    predicted, selection = outcome.judged.reported, outcome.selection

    def once() -> None:
        jax.block_until_ready(
            dense_scores(
                predicted,
                outcome.finished.windowed[:1],
                selection.smoothings[:1],
                causal=outcome.judged.model.options.causal,
            )
        )

    return _second_s(once)


def rule_seconds(outcome: RowResult, rule: Callable[[Any], Any]) -> float:
    """The same of a frame-rate rule: filling the gaps, and the rule; one seed."""
    predicted = outcome.judged.reported
    rows = jnp.asarray(outcome.finished.windowed[0])

    def once() -> None:
        neutral = neutral_score(outcome.judged.task)
        jax.block_until_ready(rule(fill(rows, predicted.fill_map, neutral=neutral)))

    return _second_s(once)


def _second_s(once: Callable[[], None]) -> float:
    """Seconds of the second call."""
    once()
    began = time.perf_counter()
    once()
    return time.perf_counter() - began
