"""The compiled part of training: one step, and scans over many."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from avemo_jax.batches.feeders import Batch, Feeder
from avemo_jax.batches.row_scores import constrain, over_candidates
from avemo_jax.heads import Head, Variables
from avemo_jax.runtime.compilation import compiler_options
from avemo_jax.tasks import get_task
from avemo_jax.training.averages import averaged
from avemo_jax.training.mixup import mixed_batch
from avemo_jax.training.modality_dropout import Losing, losing_modalities
from avemo_jax.training.optimiser import make_optimizer
from avemo_jax.training.seeds import Candidates, Hyper
from avemo_jax.training.state import AveragedModels, Models

Loss = Callable[..., jax.Array]
# Seeds on a CPU: one after another below this batch size, where each is then bit-equal
# to its solo run; batched from here on, where that is a quarter faster.
_BATCHED_SEEDS_FROM = 512


def train_step(
    model: Models,
    batch: Batch,
    step: jax.Array,
    hyper: Hyper,
    *,
    head: Head,
    loss_of: Loss,
    optimizer_of: Callable[[Hyper], optax.GradientTransformation],
    use_dropout: bool,
    train_mode: bool,
    ema: float = 0.0,
    mixup: float = 0.0,
    losing: Losing | None = None,
) -> tuple[Models, jax.Array]:
    """One candidate's model after one more step, and the loss of that step; pure.

    Args:
        model: The candidate's part of the models.
        batch: Inputs, labels and masks of the frames of this step.
        step: Number of steps taken before this one, over all epochs.
        hyper: The candidate's PRNG key and rates.
        head: The network.
        loss_of: (logits, labels, mask) -> scalar.
        optimizer_of: Makes the optimiser from ``hyper``.
        use_dropout: False where no candidate has dropout, which saves the random bits.
        train_mode: False trains as the original did: no dropout, BatchNorm frozen.
        ema: Decay of the mean of the variables, where ``model`` has one.
        mixup: Parameter of the Beta distribution of mixup; 0 mixes nothing.
        losing: Takes the sound or the face from frames; None: nothing does.
    """
    variables = model.variables
    if mixup:
        task = get_task(head.spec.task)
        batch = mixed_batch(batch, task, mixup, hyper.key, step)
    if losing is not None:
        batch = losing(batch, jax.random.fold_in(hyper.key, step))

    def objective(params: Any) -> tuple[jax.Array, Any]:
        logits, stats = head.apply(
            params,
            variables.stats,
            batch.x,
            mask=batch.present,
            train=train_mode,
            key=jax.random.fold_in(hyper.key, step) if use_dropout else None,
            dropout=hyper.dropout if use_dropout else 0.0,
        )
        per_frame = [logits, batch.labels, batch.counts]
        chex.assert_equal_shape_prefix(per_frame, batch.counts.ndim)
        return loss_of(logits, batch.labels, batch.counts), stats

    grad = jax.value_and_grad(objective, has_aux=True)
    (loss, stats), grads = grad(variables.params)
    updates, optimiser = optimizer_of(hyper).update(
        grads, model.optimiser, variables.params
    )
    params = optax.apply_updates(variables.params, updates)
    after = Variables(params=params, stats=stats)
    changed: dict[str, Any] = {"variables": after, "optimiser": optimiser}
    if isinstance(model, AveragedModels):
        changed["average"] = averaged(model.average, after, step, ema)
    return dataclasses.replace(model, **changed), loss


def make_train_chunk(
    config: ConfigDict,
    candidates: Candidates,
    head: Head,
    loss_of: Loss,
    feeder: Feeder,
    mesh: Mesh,
    num_steps: int,
) -> Callable[..., tuple[Models, jax.Array]]:
    """Compiled ``(models, stopped, hyper, shared, steps, first) -> (models, losses)``.

    The function scans over the steps of one chunk: ``shared, steps`` is what the
    feeder's ``chunks`` yields, and the steps are numbered from ``first`` on. ``losses``
    is (candidates, steps). Candidates that have stopped stay as they are; where
    candidates are batched they train on, and nothing uses the result. Their losses are
    0 either way.
    """
    use_dropout = not config.train.eval_mode and any(
        setting["dropout"] > 0 for setting in candidates.settings
    )
    step_of = functools.partial(
        train_step,
        head=head,
        loss_of=loss_of,
        optimizer_of=lambda hyper: make_optimizer(config, hyper, num_steps),
        use_dropout=use_dropout,
        train_mode=not config.train.eval_mode,
        ema=config.train.ema,
        mixup=config.train.mixup,
        losing=losing_modalities(config, head.spec),
    )
    mapped = one_by_one(config, mesh)

    def train_chunk(
        models: Models, stopped: Any, hyper: Hyper, shared: Any, steps: Any, first: Any
    ) -> tuple[Models, jax.Array]:
        steps = feeder.spread(shared, steps)
        numbers = first + jnp.arange(len(steps.present))

        def one(candidate: Any) -> Any:
            model, stop, setting = candidate

            def body(model: Any, xs: Any) -> Any:
                batch = constrain(feeder.batch(shared, xs[1]), mesh)
                # Keeps rounding independent of how the gather is compiled.
                batch = lax.optimization_barrier(batch)
                return step_of(model, batch, xs[0], setting)

            def go(model: Any) -> Any:
                return lax.scan(body, model, (numbers, steps))

            def stay(model: Any) -> Any:
                return model, jnp.zeros(len(numbers))

            if mapped:
                return lax.cond(stop, stay, go, model)
            # A batched cond would give each candidate its own copy of the frames.
            # What a stopped candidate still learns is not used.
            model, losses = go(model)
            return model, jnp.where(stop, 0.0, losses)

        return over_candidates(one, (models, stopped, hyper), mapped=mapped)

    options = compiler_options(_platform(mesh)) if mapped else None  # batched: no gain
    return jax.jit(train_chunk, donate_argnums=0, compiler_options=options)


def one_by_one(config: ConfigDict, mesh: Mesh) -> bool:
    """Whether candidates are trained one after another rather than batched."""
    if config.train.seed_mode != "auto":
        return config.train.seed_mode == "map"
    return _platform(mesh) == "cpu" and config.batch_size < _BATCHED_SEEDS_FROM


def _platform(mesh: Mesh) -> str:
    return str(mesh.devices.flat[0].platform)


def scan_length(config: ConfigDict, steps_per_epoch: int) -> int:
    """Steps in one compiled scan, so that an epoch is cut into chunks of even length.

    Args:
        config: Gives the wanted number, or 0 to derive one from the batch size.
        steps_per_epoch: Steps that are cut into chunks.
    """
    wanted = config.train.scan_steps
    if not wanted:
        wanted = min(max(32768 // config.batch_size, 8), 256)
    chunks = -(-steps_per_epoch // wanted)
    return -(-steps_per_epoch // chunks)
