"""The optimiser: AdamW, warm-up and cosine, clipping; rates may be traced."""

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int
from ml_collections import ConfigDict

from avemo_jax.training.seeds import Hyper


def schedule(
    step: Int[Array, ""], *, num_steps: int, warmup: float, kind: str
) -> Float[Array, ""]:
    """Share of the peak learning rate at ``step`` (from 0), in [0, 1].

    The share rises linearly from 1 / warm-up steps to 1 over the first ``warmup`` share
    of the steps. Then it falls by a cosine to 0 at ``num_steps`` ("cosine") or stays 1
    ("constant").
    """
    # optax.warmup_cosine_decay_schedule takes no traced peak; with a peak of 1, to
    # multiply by a traced rate, it falls a step earlier.
    warmup_steps = round(num_steps * warmup)
    now = step.astype(jnp.float32)
    rise = (now + 1) / max(warmup_steps, 1)
    if kind == "constant":
        return jnp.minimum(rise, 1.0)
    progress = (now - warmup_steps) / max(num_steps - warmup_steps, 1)
    fall = 0.5 * (1 + jnp.cos(jnp.pi * jnp.clip(progress, 0, 1)))
    return jnp.where(step < warmup_steps, rise, fall)


def adamw(
    learning_rate: Float[Array, ""] | float,
    weight_decay: Float[Array, ""] | float,
    *,
    num_steps: int,
    warmup: float = 0.0,
    kind: str = "constant",
    clip_norm: float = 0.0,
) -> optax.GradientTransformation:
    """AdamW (0.9, 0.999, eps 1e-8), with rates that may be traced.

    Candidates with different rates can then share one program.

    Args:
        learning_rate: Peak of the schedule.
        weight_decay: Decay of every parameter, decoupled and multiplied by the
            learning rate, as in torch.
        num_steps: Steps of the whole training.
        warmup: Share of ``num_steps`` over which the learning rate rises.
        kind: What follows the warm-up: "cosine" or "constant".
        clip_norm: Largest global norm of the gradient; 0 clips nothing.
    """

    def rate(step: Int[Array, ""]) -> Float[Array, ""]:
        share = schedule(step, num_steps=num_steps, warmup=warmup, kind=kind)
        return learning_rate * share

    optimizer = optax.adamw(rate, weight_decay=weight_decay)
    if not clip_norm:
        return optimizer
    return optax.chain(optax.clip_by_global_norm(clip_norm), optimizer)


def make_optimizer(
    config: ConfigDict, hyper: Hyper, num_steps: int
) -> optax.GradientTransformation:
    """AdamW with one candidate's learning rate and weight decay.

    Args:
        config: The run's configuration.
        hyper: The candidate's rates.
        num_steps: Steps of the whole training.
    """
    return adamw(
        hyper.learning_rate,
        hyper.weight_decay,
        num_steps=num_steps,
        warmup=config.train.warmup,
        kind=config.train.schedule,
        clip_norm=config.train.clip_norm,
    )
