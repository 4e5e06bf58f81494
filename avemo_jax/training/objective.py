"""What a configuration trains: the head, the loss and the order of frames."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from absl import logging
from jax.sharding import Mesh
from ml_collections import ConfigDict

from avemo_jax.batches.order import FrameOrder, WindowOrder
from avemo_jax.batches.tables import feature_names
from avemo_jax.data.store.table import FrameTable
from avemo_jax.heads import HeadSpec
from avemo_jax.heads.layer_groups import layer_groups
from avemo_jax.tasks import JointTask, Task, get_task
from avemo_jax.training import losses
from avemo_jax.training.modality_dropout import check_modality_dropout
from avemo_jax.training.step import Loss


class TrainingError(RuntimeError):
    """Training that cannot begin or go on."""


def make_spec(
    config: ConfigDict, dims: tuple[int, ...], set_kinds: tuple[str, ...] = ()
) -> HeadSpec:
    """The head that ``config`` asks for.

    Args:
        config: The run's configuration.
        dims: Columns of each feature set, in order.
        set_kinds: "visual" or "audio" for each feature set; (): unknown.

    Raises:
        ValueError: If the head, or what it is trained with, needs sets of both kinds
            and there are none of one.
    """
    check_modality_dropout(config, set_kinds)
    return HeadSpec(
        task=config.task,
        kind=config.head.kind,
        dims=dims,
        set_kinds=set_kinds,
        audio_flag=config.head.audio_flag,
        standardize=config.head.standardize,
        va_form=config.head.va_form,
        attention=config.head.attention,
        window=config.head.window,
        num_layers=config.head.num_layers,
        positions=config.head.positions,
        causal=config.head.causal,
        dtype=config.head.dtype,
        learned_temperature=config.head.learned_temperature,
        layer_sums=layer_groups(feature_names(config)) if config.head.layer_sum else (),
    )


def configured_loss(config: ConfigDict, table: FrameTable) -> Loss:
    """The loss ``(logits, labels, mask) -> scalar``; class weights are ``table``'s."""
    if isinstance(table.task, JointTask):
        return _joint_loss(config, table.task, table)
    return _loss_of(config, table.task, table.labels, table.valid)


def _joint_loss(config: ConfigDict, task: JointTask, table: FrameTable) -> Loss:
    """The weighted sum of the tasks' losses, each over the frames with its labels.

    Raises:
        TrainingError: If no frame has labels of one of the tasks.
    """
    factors = config.loss.task_weights or (1.0,) * len(task.tasks)
    losses_of: list[Loss] = []
    for part in task.parts:
        labels, known = part.labels_of(table.labels)
        if not (table.valid & known).any():
            raise TrainingError(
                f"split {table.split!r} has no frame with features and a valid "
                f"{part.task.name} label among the videos that none of "
                f"{', '.join(one.name for one in task.tasks)} keeps for anything but "
                "training; train the tasks alone, or build the store with --split-dir"
            )
        losses_of.append(_loss_of(config, part.task, labels, table.valid & known))

    def loss(logits: Any, joint: Any, mask: Any) -> Any:
        total = jnp.zeros((), jnp.float32)
        for one, factor, (part, part_logits) in zip(
            losses_of, factors, task.of_parts(logits), strict=True
        ):
            labels, known = part.labels_of(joint, jnp)
            total += factor * one(part_logits, labels, mask & known)
        return total

    return loss


def _loss_of(config: ConfigDict, task: Task, labels: Any, valid: Any) -> Loss:
    """The loss of one task, with the class weights of the valid ``labels``."""
    options: dict[str, Any] = {}
    weights: Any = None
    if task.kind == "regression":
        options["pre_tanh"] = config.loss.va_on == "logits"
        options["ddof"] = 1 if config.loss.va_variance == "sample" else 0
        options["mse_share"] = config.loss.va_mse
    else:
        options["focal_gamma"] = config.loss.focal_gamma
        options["label_smoothing"] = config.loss.label_smoothing
        if config.loss.class_weights != "none":
            weights = losses.class_weights(
                task.name,
                labels,
                valid,
                scheme="inverse" if config.loss.class_weights == "balanced" else "sqrt",
            )
            weights = jnp.asarray(weights)
    if task.kind == "multiclass" and config.loss.logit_adjustment:
        counts = np.bincount(labels[valid], minlength=task.num_outputs)
        options["logit_adjustment"] = config.loss.logit_adjustment
        options["log_prior"] = jnp.asarray(losses.expr_log_prior(counts))
    loss = losses.make_loss(task.name, **options)
    return lambda logits, labels, mask: loss(logits, labels, mask, weights)


def make_order(
    config: ConfigDict, table: FrameTable, spec: HeadSpec, mesh: Mesh
) -> FrameOrder | WindowOrder:
    """Which rows, or windows, each step sees; a batch larger than the data is reduced.

    Raises:
        TrainingError: If there is nothing to train on, or a batch cannot be divided
            over the devices.
    """
    if not table.valid.any():
        raise TrainingError(
            f"split {table.split!r} has no frame with features and a valid "
            f"{config.task} label in its {len(table.videos)} videos; look at the "
            "store's annotations and splits.json"
        )
    if spec.takes_windows:
        return _window_order(config, table, spec.window, mesh)
    order = FrameOrder(
        table,
        config.batch_size,
        config.data.order_seed,
        config.train.frames_per_video,
        config.train.passes_per_epoch,
    )
    if not order.num_steps:
        size = order.num_rows // mesh.size * mesh.size or order.num_rows
        order = dataclasses.replace(order, batch_size=size)
        _warn_reduced(config, size)
    if not spec.batch_is_sequence:
        _check_divides(order.batch_size, 1, mesh)
    return order


def _window_order(
    config: ConfigDict, table: FrameTable, window: int, mesh: Mesh
) -> WindowOrder:
    size = max(config.batch_size // window, 1) * window
    order = WindowOrder(
        table,
        size,
        config.data.order_seed,
        window,
        config.train.window_stride,
        config.train.passes_per_epoch,
    )
    if not order.num_steps:
        windows = order.num_windows // mesh.size * mesh.size or order.num_windows
        order = dataclasses.replace(order, batch_size=windows * window)
        _warn_reduced(config, windows * window)
    _check_divides(order.windows_per_step, window, mesh)
    return order


def _warn_reduced(config: ConfigDict, size: int) -> None:
    logging.warning(
        "config.batch_size %d is more frames than an epoch has; using %d",
        config.batch_size,
        size,
    )


def _check_divides(examples: int, frames: int, mesh: Mesh) -> None:
    if examples % mesh.size:
        raise TrainingError(
            f"a batch of {examples} examples cannot be divided over {mesh.size} "
            f"devices; set config.batch_size to a multiple of {frames * mesh.size}"
        )


def dev_loss(loss_of: Loss, task_name: str, scores: Any, labels: Any, mask: Any) -> Any:
    """The training loss of ``scores``, over all frames at once; traced.

    The scores are turned back into logits, which is exact but for clipping at 1e-7.
    """
    return loss_of(_logits_of(get_task(task_name), scores), labels, mask)


def _logits_of(task: Task, scores: Any) -> Any:
    if isinstance(task, JointTask):
        parts = [_logits_of(part.task, own) for part, own in task.of_parts(scores)]
        return jnp.concatenate(parts, axis=-1)
    if task.kind == "multiclass":
        return jnp.log(jnp.maximum(scores, 1e-7))
    if task.kind == "multilabel":
        inner = jnp.clip(scores, 1e-7, 1 - 1e-7)
        return jnp.log(inner) - jnp.log1p(-inner)
    return jnp.arctanh(jnp.clip(scores, -1 + 1e-7, 1 - 1e-7))
