"""One row of the table for one task: scores, intervals and times."""

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
from avemo_jax.models.blend import Model, load_heads, scores_by_head
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
        model: The model of the row.
        dev: Its scores on dev.
        reported: Its scores on the reported split.
        inference_s: Seconds of the pass over the reported split by all seeds, loading
            the features included.
    """

    model: Model
    dev: SplitScores
    reported: SplitScores
    inference_s: float

    @property
    def task(self) -> Task:
        """The task that the model was trained on."""
        return self.model.task


def evaluate_model(table_run: TableRun, directory: pathlib.Path) -> EvaluatedModel:
    """Scores of dev and the reported split by the model in ``directory``."""
    model = load_heads(directory)
    budget = memory_budget(table_run.device_budget_gb)
    dev = scores_by_head(model, table_run.data, "dev", budget)
    began = time.perf_counter()
    reported = scores_by_head(model, table_run.data, "validation", budget)
    return EvaluatedModel(model, dev, reported, time.perf_counter() - began)


@dataclasses.dataclass(frozen=True)
class RowResult:
    """Everything that was found for one row.

    Attributes:
        evaluated: The model and its scores.
        selection: What was chosen on dev.
        finished: Scores on the reported split, with all smoothings that were tried.
        metrics: The block ``metrics`` of results.json.
        per_seed: The block ``per_seed`` of results.json.
        postprocess_s: Seconds of choosing on dev, and of all that was tried on the
            reported split.
    """

    evaluated: EvaluatedModel
    selection: Selection
    finished: Finished
    metrics: dict[str, Any]
    per_seed: list[dict[str, Any]]
    postprocess_s: float


def post_processed(evaluated: EvaluatedModel, *, smooth: bool) -> RowResult:
    """The row without smoothing, or with the smoothing chosen on dev."""
    options = evaluated.model.options
    if not smooth:
        options = dataclasses.replace(options, smoothings=(NO_SMOOTHING,))
    model = dataclasses.replace(evaluated.model, options=options)
    evaluated = dataclasses.replace(evaluated, model=model)
    began = time.perf_counter()
    selection = select_on_dev(evaluated.dev, options, model.priors)
    finished = finish(model, evaluated.reported, selection)
    found = scored(model, finished)
    seconds = time.perf_counter() - began
    return RowResult(
        evaluated,
        selection,
        finished,
        found["metrics"],
        found["per_seed"],
        postprocess_s=seconds,
    )


def unsmoothed(
    predicted: SplitScores, outcome: RowResult
) -> Float[np.ndarray, "seeds rows outputs"]:
    """The rows of each seed that are smoothed: scores, or 0/1 decisions for AU."""
    return smoothable(
        outcome.evaluated.task,
        corrected_rows(predicted, outcome.selection),
        outcome.selection.raw_thresholds,
        outcome.evaluated.model.options,
    )


def pass_seconds(table_run: TableRun, directory: pathlib.Path) -> float:
    """Time of a single model's row by the original's definition.

    Loading the checkpoint, one pass over the reported split with features in memory,
    and metrics; by one seed, and the second time, when all is compiled.
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


def smoothing_seconds(outcome: RowResult) -> float:
    """Time of a smoothed row by the original's definition: the smoothing alone.

    Filling the gaps and smoothing every frame, by one seed, the second time.
    """
    predicted, selection = outcome.evaluated.reported, outcome.selection

    def once() -> None:
        jax.block_until_ready(
            dense_scores(
                predicted,
                outcome.finished.unsmoothed[:1],
                selection.smoothings[:1],
                causal=outcome.evaluated.model.options.causal,
            )
        )

    return _second_s(once)


def rule_seconds(outcome: RowResult, rule: Callable[[Any], Any]) -> float:
    """Time of a frame-rate rule: filling the gaps, and the rule, by one seed."""
    predicted = outcome.evaluated.reported
    rows = jnp.asarray(outcome.finished.unsmoothed[0])

    def once() -> None:
        neutral = neutral_score(outcome.evaluated.task)
        jax.block_until_ready(rule(fill(rows, predicted.fill_map, neutral=neutral)))

    return _second_s(once)


def _second_s(once: Callable[[], None]) -> float:
    """Seconds of the second call."""
    once()
    began = time.perf_counter()
    once()
    return time.perf_counter() - began
