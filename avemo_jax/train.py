"""Training: from a configuration to ``best_model/`` in the work directory."""

import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict
from tqdm import tqdm

import avemo_jax
from avemo_jax import checkpoint, sharding
from avemo_jax.config import to_plain
from avemo_jax.data.table import FrameTable
from avemo_jax.feeding import Feeder
from avemo_jax.heads import build_head
from avemo_jax.inputs import input_dims
from avemo_jax.judge import Judge, fresh_state, keep_best, keep_last, values_of
from avemo_jax.loading import Data, Loader, feature_names, memory_budget
from avemo_jax.logs import MetricsLog
from avemo_jax.members import Members, best_setting, make_members, take_members
from avemo_jax.objective import TrainingError, make_loss, make_plan, make_spec
from avemo_jax.orders import FramePlan, WindowPlan
from avemo_jax.results import counts_of
from avemo_jax.steps import make_train_chunk, scan_length


def train(config: ConfigDict, data: Data, workdir: pathlib.Path) -> pathlib.Path:
    """Trains what ``config`` says, from the last whole epoch in ``workdir`` on.

    Args:
        config: Checked.
        data: The store and the splits.
        workdir: Gets ``metrics.jsonl``, ``checkpoints/`` and ``best_model/``.

    Returns:
        The head checkpoint ``workdir/best_model``.

    Raises:
        TrainingError: If there is nothing to train on or the loss is not finite.
    """
    # 1. Tables; dev first: if one has to be streamed, it is the larger one.
    mesh = sharding.make_mesh()
    feature_sets = data.store.resolve(feature_names(config))
    names = [feature_set.name for feature_set in feature_sets]
    spec = make_spec(config, input_dims(feature_sets, config.data.inputs))
    loader = Loader(
        data,
        mesh,
        task=config.task,
        missing_audio=config.data.missing_audio,
        budget=memory_budget(config.data.device_budget_gb),
        inputs=config.data.inputs,
    )
    has_dev = config.data.train_on == "train"
    dev = loader.load("dev", spec, names) if has_dev else None
    table, feeder = loader.load(config.data.train_on, spec, names)

    # 2. What is trained, and in which order it sees the frames.
    head = build_head(spec)
    members = make_members(config)
    plan = make_plan(config, table, spec, mesh)
    loss_of = make_loss(config, table)
    num_steps = plan.num_steps * config.num_epochs
    chunk = make_train_chunk(config, members, head, loss_of, feeder, mesh, num_steps)
    judge = Judge(config, head, loss_of, *dev, mesh) if dev else None

    # 3. The state: the last whole epoch of this workdir, else fresh.
    log = MetricsLog(workdir, tensorboard=config.log.tensorboard)
    checkpoints = checkpoint.RunCheckpoints(workdir / "checkpoints", mesh)
    hyper = sharding.replicate(members.hyper(), mesh)
    state = sharding.replicate(fresh_state(config, members, head, num_steps), mesh)
    first_epoch, state = checkpoints.restore(state) or (0, state)
    log.keep_until(first_epoch)

    # 4. Epochs, each ended by its score on dev and a checkpoint.
    bar = tqdm(
        total=num_steps,
        initial=first_epoch * plan.num_steps,
        desc=f"{config.task} {config.head.kind}",
        unit="step",
        disable=None if config.log.progress else True,
    )
    for epoch in range(first_epoch, config.num_epochs):
        if np.all(state["stopped"]):
            break
        began = time.perf_counter()
        trained = ~np.asarray(state["stopped"])
        state, losses = run_epoch(config, epoch, state, hyper, chunk, plan, feeder, bar)
        seconds = time.perf_counter() - began
        record = {
            "epoch": epoch + 1,
            "step": (epoch + 1) * plan.num_steps,
            "loss": float(losses[trained].mean()),
            "loss_per_member": values_of(np.where(trained, losses, np.nan)),
            "frames_per_s": plan.num_steps * plan.batch_size / seconds,
        }
        if judge:
            scores, on_dev = judge(state["models"][0])
            record |= on_dev
            patience = config.train.early_stop_epochs
            state = keep_best(state, jnp.asarray(scores), epoch + 1, patience)
        else:
            state = keep_last(state, epoch + 1)
        log.write(record)
        checkpoints.save(epoch + 1, state)
        bar.set_postfix_str(_words(record, judge))
    bar.close()
    checkpoints.close()
    log.close()

    # 5. The best epoch of each seed, as a head checkpoint.
    card = {
        "task": config.task,
        "head": spec.to_dict(),
        **_provenance(config, data, table, dev[0] if dev else None),
    }
    return _export(workdir / "best_model", card, members, state)


def run_epoch(
    config: ConfigDict,
    epoch: int,
    state: dict[str, Any],
    hyper: dict[str, Any],
    chunk: Callable[..., Any],
    plan: FramePlan | WindowPlan,
    feeder: Feeder,
    bar: tqdm,
) -> tuple[dict[str, Any], Float[np.ndarray, " members"]]:
    """State after one epoch, and each member's mean loss.

    Raises:
        TrainingError: If a loss is not finite.
    """
    first = epoch * plan.num_steps
    length = scan_length(config, plan.num_steps)
    models, losses = state["models"], []
    pending: Any = None
    for arrays, index in feeder.chunks(plan.epoch(epoch), length):
        models, latest = chunk(
            models, state["stopped"], hyper, arrays, index, jnp.int32(first)
        )
        # The chunk before is looked at while this one is computed.
        if pending is not None:
            losses.append(_finite(pending, first, bar))
        pending = latest
        first += latest.shape[1]
    losses.append(_finite(pending, first, bar))
    mean = np.concatenate(losses, axis=1).mean(axis=1, dtype=np.float64)
    return {**state, "models": models}, mean


def _finite(losses: Any, end: int, bar: tqdm) -> Float[np.ndarray, "members steps"]:
    """The losses of a chunk that ends after step ``end``."""
    values = np.asarray(losses)
    bar.update(values.shape[1])
    if not np.isfinite(values).all():
        member, step = np.argwhere(~np.isfinite(values))[0]
        first = end - values.shape[1]
        raise TrainingError(
            f"the loss is {values[member, step]} in steps {first + 1} to {end} (first "
            f"at step {first + step + 1}, member {member}); try a lower "
            "config.learning_rate, or look at the features"
        )
    return values


def _words(record: dict[str, Any], judge: Judge | None) -> str:
    words = f"loss {record['loss']:.3f}, {record['frames_per_s']:,.0f} frames/s"
    if judge:
        words += f", dev {judge.criterion} {record['dev_' + judge.criterion]:.3f}"
    return words


def _provenance(
    config: ConfigDict, data: Data, table: FrameTable, dev: FrameTable | None
) -> dict[str, Any]:
    """What a card says of where a head comes from."""
    return {
        "features": [
            {
                "name": fs.name,
                "kind": fs.kind,
                "dim": fs.dim,
                "fingerprint": fs.fingerprint,
            }
            for fs in table.feature_sets
        ],
        "data": {
            "name": data.name,
            "synthetic": data.store.synthetic,
            "fingerprint": data.store.fingerprint,
        },
        "protocol": config.protocol,
        "inputs": config.data.inputs,
        "missing_audio": config.data.missing_audio,
        "windows": config.evaluate.windows,
        "evaluation_batch_size": (
            config.batch_size
            if config.head.attention == "batch"
            else config.evaluate.batch_size
        ),
        "train_on": config.data.train_on,
        "training_videos": [
            video
            for video, rows in zip(
                table.videos, np.diff(table.row_offsets), strict=True
            )
            if rows
        ],
        "dev_videos": list(dev.videos) if dev else [],
        "class_counts": _class_counts(table),
        "counts": {t.split: counts_of(t) for t in (table, dev) if t is not None},
        "config": to_plain(config),
        "version": avemo_jax.__version__,
    }


def _class_counts(table: FrameTable) -> list[int] | None:
    """Training frames of each class; None for tasks without classes."""
    if table.task.name != "EXPR":
        return None
    counts = np.bincount(table.labels[table.valid], minlength=table.task.num_outputs)
    return [int(count) for count in counts]


def _export(
    directory: pathlib.Path,
    card: dict[str, Any],
    members: Members,
    state: dict[str, Any],
) -> pathlib.Path:
    """Writes the seeds of the best setting."""
    scores = np.asarray(state["best_score"])
    which = slice(0, members.num_seeds)
    settings: list[dict[str, float]] = []
    chosen = bool(np.isfinite(scores).all())
    if chosen:
        which, settings = best_setting(members, scores)
    elif members.swept:
        raise TrainingError(
            "a sweep chooses by dev, and config.data.train_on='train+dev' leaves none"
        )
    card = {
        **card,
        "members": [which.start, which.stop],
        "seeds": list(members.seeds[which]),
        "setting": members.settings[which.start],
        "sweep": settings if members.swept else [],
        "best_epochs": [int(e) for e in np.asarray(state["best_epoch"])[which]],
        "dev_scores": values_of(scores[which]) if chosen else None,
    }
    checkpoint.save_head(directory, card, take_members(state["best"], which))
    return directory
