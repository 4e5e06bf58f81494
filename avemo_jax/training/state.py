"""The state of a run: its models, and the best of each candidate so far."""

import dataclasses
import functools
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from avemo_jax.heads import Head, Variables
from avemo_jax.heads.variables import INPUTS
from avemo_jax.training.optimiser import make_optimizer
from avemo_jax.training.seeds import Candidates


@chex.dataclass(frozen=True, mappable_dataclass=False)
class Models:
    """What a step changes: of one candidate, or of all on a leading axis.

    Attributes:
        variables: Parameters and running statistics.
        optimiser: State of the optimiser, as optax has it.
    """

    variables: Variables
    optimiser: Any

    @property
    def scored(self) -> Variables:
        """What dev is scored with, and what the best epoch keeps."""
        return self.variables


@chex.dataclass(frozen=True, mappable_dataclass=False)
class AveragedModels(Models):
    """Models with means of their variables over the steps.

    A type of its own, so that a checkpoint without means is as it was before there were
    any.

    Attributes:
        average: Means of parameters and running statistics
            (:func:`averages.averaged`).
    """

    average: Variables

    @property
    def scored(self) -> Variables:
        """The means."""
        return self.average


@chex.dataclass(frozen=True, mappable_dataclass=False)
class TrainState:
    """The state of a run; every array has leading axis candidates.

    Attributes:
        models: The models after the last step.
        best: Variables of each candidate's best epoch; their means where there are.
        best_score: Score of that epoch on dev; minus infinity before any.
        best_epoch: Number of that epoch, from 1; 0 before any.
        stopped: Whether a candidate is trained no more.
    """

    models: Models
    best: Variables
    best_score: Any
    best_epoch: Any
    stopped: Any


def fresh_state(
    config: ConfigDict,
    candidates: Candidates,
    head: Head,
    num_steps: int,
    inputs: dict[str, Any] | None = None,
) -> TrainState:
    """The state of a run before its first step.

    Args:
        config: The run's configuration.
        candidates: The models that are trained together.
        head: Their network.
        num_steps: Steps of the whole training.
        inputs: Mean and deviation of the inputs; None: 0 and 1, or the head does not
            standardise them.
    """
    variables, count = candidates.init(head), len(candidates.seeds)
    if inputs is not None:
        each = {name: jnp.stack([value] * count) for name, value in inputs.items()}
        variables = dataclasses.replace(
            variables, stats=variables.stats | {INPUTS: each}
        )

    def start(params: Any, hyper: Any) -> Any:
        return make_optimizer(config, hyper, num_steps).init(params)

    optimiser = jax.vmap(start)(variables.params, candidates.hyper())
    models = Models(variables=variables, optimiser=optimiser)
    if config.train.ema:
        average = jax.tree.map(jnp.copy, variables)
        models = AveragedModels(
            variables=variables, optimiser=optimiser, average=average
        )
    return TrainState(
        models=models,
        best=jax.tree.map(jnp.copy, variables),
        best_score=jnp.full(count, -jnp.inf),
        best_epoch=jnp.zeros(count, jnp.int32),
        stopped=jnp.zeros(count, bool),
    )


@functools.partial(jax.jit, static_argnames="patience")
def keep_best(
    state: TrainState,
    scores: Float[Array | np.ndarray, " candidates"],
    epoch: Any,
    patience: int,
) -> TrainState:
    """``state`` with each candidate's best up to ``epoch``, and who has stopped.

    Args:
        state: State of the run after ``epoch``.
        scores: Score of each candidate on dev; larger is better.
        epoch: Number of the epoch, from 1.
        patience: Epochs without a better score after which a candidate stops; 0 never
            stops one.
    """
    # A single score would be taken for that of every candidate.
    chex.assert_equal_shape([scores, state.best_score])
    # Of equal scores, which few frames on dev make common, the last: the learning rate
    # has fallen.
    better = (scores >= state.best_score) & ~state.stopped

    def choose(new: Array, old: Array) -> Array:
        where = better.reshape(-1, *[1] * (new.ndim - 1))
        return jnp.where(where, new, old)

    best_epoch = jnp.where(better, epoch, state.best_epoch)
    stopped = state.stopped
    if patience:
        stopped = stopped | (epoch - best_epoch >= patience)
    return dataclasses.replace(
        state,
        best=jax.tree.map(choose, state.models.scored, state.best),
        best_score=jnp.where(better, scores, state.best_score),
        best_epoch=best_epoch.astype(jnp.int32),
        stopped=stopped,
    )


@jax.jit
def keep_last(state: TrainState, epoch: Any) -> TrainState:
    """``state`` with each candidate's last epoch as its best, where there is no dev."""
    return dataclasses.replace(
        state,
        best=jax.tree.map(jnp.copy, state.models.scored),
        best_epoch=jnp.full_like(state.best_epoch, epoch),
    )
