"""Exponential moving means of a model's variables over the steps of training."""

from typing import Any

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from avemo_jax.heads import Variables
from avemo_jax.heads.variables import INPUTS


def decay_at(step: Int[Array, ""], decay: float) -> Float[Array, ""]:
    """Weight of the mean so far at ``step`` (from 0): min(decay, (1 + t) / (10 + t)).

    So a short run is not a mean of its start: after t steps the mean is over about the
    last t / 9 of them, until ``decay`` is reached. The rule is that of TensorFlow's
    ``ExponentialMovingAverage`` with ``num_updates``.
    """
    now = step.astype(jnp.float32)
    return jnp.minimum(decay, (1 + now) / (10 + now))


def averaged(
    average: Variables, variables: Variables, step: Int[Array, ""], decay: float
) -> Variables:
    """The mean of the variables after one more step.

    BatchNorm's running statistics are averaged with the same weights as the
    parameters: its input is linear in the parameters of the layer before it, so that
    the mean of the running means is the running mean of the averaged layer. Those of
    the moment belong to other parameters. Statistics of the inputs stay as they are.

    Args:
        average: The mean before the step.
        variables: The variables after the step.
        step: Number of steps before this one, over all epochs.
        decay: Weight of the mean so far in a long run, in (0, 1).
    """
    share = 1 - decay_at(step, decay)
    found: Any = optax.incremental_update(
        variables.to_dict(), average.to_dict(), step_size=share
    )
    if INPUTS in variables.stats:
        found["stats"] |= {INPUTS: variables.stats[INPUTS]}
    return Variables(**found)
