"""The score on dev after each epoch."""

import functools
import math
from typing import Any

import chex
import jax
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from avemo_jax.batches import sharding
from avemo_jax.batches.feeders import Feeder
from avemo_jax.batches.row_scores import Predictor
from avemo_jax.data.store.table import FrameTable
from avemo_jax.heads import Head, Variables
from avemo_jax.metrics import scores as metrics
from avemo_jax.tasks import get_task
from avemo_jax.training.objective import dev_loss
from avemo_jax.training.step import Loss, one_by_one


class DevScorer:
    """Scores all candidates on dev; called with their variables after each epoch.

    Attributes:
        criterion: Name of the task's metric.
        selected_by: Name of what candidates are selected by: a metric, or "loss".
    """

    def __init__(
        self,
        config: ConfigDict,
        head: Head,
        loss_of: Loss,
        table: FrameTable,
        feeder: Feeder,
        mesh: Mesh,
    ):
        """Copies dev's labels to the devices; compiles nothing yet.

        Args:
            config: The run's configuration.
            head: The candidates' network.
            loss_of: The training loss, for selection by it and for the log.
            table: The table of dev.
            feeder: The feeder of ``table``.
            mesh: The devices.
        """
        self._predict = Predictor(
            head,
            table,
            feeder,
            mesh,
            batch_size=head.spec.evaluation_batch(
                training=config.batch_size, evaluation=config.evaluate.batch_size
            ),
            windows=config.evaluate.windows,
            mapped=one_by_one(config, mesh),
        )
        self.criterion = get_task(config.task).criterion
        self.selected_by = {
            "metric": self.criterion,
            "loss": "loss",
            "ccc_valence": "ccc_valence",
        }[config.train.select_by]

        self._mesh = mesh
        self._scored = jax.jit(
            functools.partial(_scores_of_candidates, config.task, loss_of, mesh),
            out_shardings=sharding.replicated(mesh),
        )
        self._labels = self._divide(table.labels, 0)
        self._mask = self._divide(table.valid, 0)

    def __call__(
        self, variables: Variables
    ) -> tuple[Float[np.ndarray, " candidates"], dict[str, Any]]:
        """The score that each candidate is selected by, and what the log gets.

        Args:
            variables: The candidates' arrays, leading axis candidates.

        Returns:
            A score per candidate, larger is better (the loss with its sign changed);
            and the fields of the log, their names beginning with "dev_".
        """
        scores = self._divide(self._predict(variables), 1)
        found = self._scored(scores, self._labels, self._mask)
        found = {name: np.asarray(value) for name, value in found.items()}
        record: dict[str, Any] = {}
        for name, values in found.items():
            if values.ndim == 1:
                record[f"dev_{name}"] = float(values.mean())
        for name in {self.criterion, self.selected_by}:
            record[f"dev_{name}_per_candidate"] = values_of(found[name])
        sign = -1 if self.selected_by == "loss" else 1
        return sign * found[self.selected_by], record

    def _divide(self, array: np.ndarray, axis: int) -> jax.Array:
        """``array``, its rows divided over the devices and filled up with zeros.

        The zeros that fill up the mask keep the rest from counting.
        """
        padding = [(0, 0)] * array.ndim
        padding[axis] = (0, -array.shape[axis] % self._mesh.size)
        place = sharding.divided(self._mesh, axis)
        return sharding.put(np.pad(array, padding), place)


def _scores_of_candidates(
    task_name: str,
    loss_of: Loss,
    mesh: Mesh,
    scores: Float[Array, "candidates rows outputs"],
    labels: Any,
    mask: Any,
) -> dict[str, Any]:
    """Metrics and the loss of each candidate; traced, rows divided over the devices."""
    chex.assert_equal_shape_prefix([scores[0], labels, mask], 1)
    rows = PartitionSpec(sharding.AXIS)
    metrics_of = jax.shard_map(
        functools.partial(metrics.task_metrics, task_name, axis_name=sharding.AXIS),
        mesh=mesh,
        in_specs=(rows, rows, rows),
        out_specs=PartitionSpec(),
        check_vma=False,  # the check does not see that merged states are equal
    )

    def one(candidate: Any) -> dict[str, Any]:
        loss = dev_loss(loss_of, task_name, candidate, labels, mask)
        return {**metrics_of(candidate, labels, mask), "loss": loss}

    return jax.lax.map(one, scores)


def values_of(array: Any) -> list[float | None]:
    """``array`` as a list that JSON takes, with None for NaN."""
    values = (float(value) for value in np.asarray(array))
    return [None if math.isnan(value) else value for value in values]
