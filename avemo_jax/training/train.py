"""Training: from a configuration to ``best_model/`` in the work directory."""

import functools
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from avemo_jax.batches import sharding
from avemo_jax.batches.head_inputs import input_dims
from avemo_jax.batches.input_statistics import input_statistics
from avemo_jax.batches.tables import Data, Loader, feature_names, memory_budget
from avemo_jax.data.store.table import FrameTable
from avemo_jax.heads import build_head
from avemo_jax.models import checkpoints as checkpoint
from avemo_jax.models.card import Card
from avemo_jax.models.joint import save_joint
from avemo_jax.runtime import distributed
from avemo_jax.runtime.errors import Interrupted, Preempted
from avemo_jax.runtime.logs import MetricsLog
from avemo_jax.runtime.preemption import Preemption
from avemo_jax.runtime.progress import progress_bar
from avemo_jax.runtime.workdir import Workdir, claimed, open_workdir
from avemo_jax.tasks import JointTask
from avemo_jax.training.amount import fitted, say_amount
from avemo_jax.training.dev_scores import DevScorer, values_of
from avemo_jax.training.epochs import Epochs, Progress
from avemo_jax.training.objective import (
    TrainingError,
    configured_loss,
    make_order,
    make_spec,
)
from avemo_jax.training.seeds import (
    Candidates,
    best_setting,
    make_candidates,
    take_candidates,
)
from avemo_jax.training.state import (
    TrainState,
    fresh_state,
    keep_best,
    keep_last,
)
from avemo_jax.training.step import make_train_chunk
from avemo_jax.training.trained_card import trained_card


def train(
    config: ConfigDict, data: Data, workdir: pathlib.Path | Workdir
) -> pathlib.Path:
    """Trains what ``config`` says, from where the run in ``workdir`` was stopped.

    Args:
        config: The run's configuration, checked by ``check_config``.
        data: The store and the splits.
        workdir: Gets ``metrics.jsonl``, ``checkpoints/`` and ``best_model/``. A path is
            held for this training alone; the caller holds a work directory.

    Returns:
        The head checkpoint ``workdir/best_model``.

    Raises:
        TrainingError: If there is nothing to train on, or the loss or all scores of a
            seed on dev are not finite.
        HeldError: If another process works in the folder ``workdir``.
        Preempted: After a SIGTERM; what is done is saved.
        Interrupted: After a Ctrl-C; what is done is saved.
    """
    if not isinstance(workdir, Workdir):
        own = open_workdir(workdir)
        with claimed(own):
            return train(config, data, own)
    # 1. Tables; dev first: if one has to be streamed, it is the larger one.
    mesh = sharding.make_mesh()
    feature_sets = data.store.resolve(feature_names(config))
    names = [feature_set.name for feature_set in feature_sets]
    dims = input_dims(feature_sets, config.data.inputs)
    spec = make_spec(config, dims, tuple(one.kind for one in feature_sets))
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

    # 2. What is trained, how much, and in which order it sees the frames.
    config = fitted(config, table, spec, mesh)
    head = build_head(spec)
    candidates = make_candidates(config)
    order = make_order(config, table, spec, mesh)
    loss_of = configured_loss(config, table)
    num_steps = order.num_steps * config.num_epochs
    say_amount(config, table, order.num_steps)
    chunk = make_train_chunk(config, candidates, head, loss_of, feeder, mesh, num_steps)
    dev_scorer = DevScorer(config, head, loss_of, *dev, mesh) if dev else None

    # 3. The state: where this workdir's run was stopped, else fresh.
    log = MetricsLog(
        workdir.local,
        tensorboard=config.log.tensorboard,
        writes=distributed.is_first(),
    )
    checkpoints = checkpoint.RunCheckpoints(workdir.checkpoints, mesh)
    hyper = sharding.replicate(candidates.hyper(), mesh)
    inputs = None
    if spec.standardize:
        inputs = input_statistics(table, feeder, spec, mesh)
    fresh = fresh_state(config, candidates, head, num_steps, inputs)
    state = sharding.replicate(fresh, mesh)
    progress = Progress(0)
    if restored := checkpoints.restore(state):
        progress, state = Progress.from_dict(restored[0]), restored[1]
    log.keep_until(progress.epoch)

    # 4. Epochs, each ended by its score on dev and a checkpoint.
    bar = progress_bar(
        num_steps,
        f"{config.task} {config.head.kind}",
        "step",
        quiet=not config.log.progress or not distributed.is_first(),
        done=progress.epoch * order.num_steps + progress.step,
    )
    epochs = Epochs(config, chunk, order, feeder, hyper, bar)
    save = functools.partial(_save, checkpoints, order.num_steps)
    with Preemption() as preemption:
        while progress.epoch < config.num_epochs and not np.all(state.stopped):
            trained = ~np.asarray(state.stopped)
            state, progress, speed = epochs.run(state, progress, preemption)
            if progress.step < order.num_steps:
                save(progress, state)
                break
            epoch = progress.epoch + 1
            losses = np.array(progress.losses) / order.num_steps
            record = {
                "epoch": epoch,
                "step": epoch * order.num_steps,
                "loss": float(losses[trained].mean()),
                "loss_per_candidate": values_of(np.where(trained, losses, np.nan)),
                "frames_per_s": speed,
            }
            if dev_scorer:
                scores, on_dev = dev_scorer(state.models.scored)
                record |= on_dev
                patience = config.train.early_stop_epochs
                state = keep_best(state, scores, np.int32(epoch), patience)
            else:
                state = keep_last(state, np.int32(epoch))
            log.write(record)
            progress = Progress(epoch)
            # Before the checkpoint: a run that goes on drops a line of the log too
            # many, and cannot write one that is missing.
            workdir.publish()
            save(progress, state)
            bar.set_postfix_str(_words(record, dev_scorer))
            if preemption.reached():
                break
    bar.close()
    checkpoints.close()
    log.close()
    if preemption.came:
        saved = (
            f"epoch {progress.epoch} and {progress.step} of {order.num_steps} steps "
            f"are saved in {workdir.name}"
        )
        if preemption.by_user:
            raise Interrupted(saved)
        raise Preempted(f"stopped by SIGTERM: {saved}; the same command goes on")

    # 5. The best epoch of each seed, as a head checkpoint.
    make_card = functools.partial(
        trained_card, config, spec, data, table, dev[0] if dev else None
    )
    return _export(workdir, make_card, candidates, state, table, chosen=has_dev)


def _save(
    checkpoints: checkpoint.RunCheckpoints,
    steps_per_epoch: int,
    progress: Progress,
    state: TrainState,
) -> None:
    number = progress.epoch * steps_per_epoch + progress.step
    checkpoints.save(number, state, progress.to_dict())


def _words(record: dict[str, Any], dev_scorer: DevScorer | None) -> str:
    words = f"loss {record['loss']:.3f}, {record['frames_per_s']:,.0f} frames/s"
    if dev_scorer:
        name = dev_scorer.criterion
        words += f", dev {name} {record[f'dev_{name}']:.3f}"
    return words


def _export(
    workdir: Workdir,
    make_card: Callable[..., Card],
    candidates: Candidates,
    state: TrainState,
    table: FrameTable,
    *,
    chosen: bool,
) -> pathlib.Path:
    """Writes the best setting's seeds, each at its best epoch, as ``best_model/``.

    Raises:
        TrainingError: If several settings were swept and there is no dev to choose on,
            or a candidate has no finite score on dev.
    """
    scores = np.asarray(state.best_score)
    which = slice(0, candidates.num_seeds)
    settings: list[dict[str, float]] = []
    if chosen:
        if lost := np.flatnonzero(~np.isfinite(scores)).tolist():
            seeds = sorted({candidates.seeds[i] for i in lost})
            raise TrainingError(
                f"no score on dev of seeds {', '.join(map(str, seeds))} was finite in "
                "any epoch, so none can be chosen; expected a number, metrics.jsonl "
                "has what came out; look at dev's labels and features, or lower "
                "config.learning_rate, and remove the work directory"
            )
        which, settings = best_setting(candidates, scores)
    elif candidates.swept:
        raise TrainingError(
            "a sweep chooses by dev, and config.data.train_on='train+dev' leaves none"
        )
    card = make_card(
        candidates=(which.start, which.stop),
        seeds=candidates.seeds[which],
        setting=candidates.settings[which.start],
        sweep=settings if candidates.swept else (),
        best_epochs=[int(e) for e in np.asarray(state.best_epoch)[which]],
        dev_scores=scores[which].tolist() if chosen else None,
    )
    best = jax.tree.map(np.asarray, state.best)
    directory = workdir.local / "best_model"
    variables = take_candidates(best, which)
    if isinstance(table.task, JointTask):
        save_joint(workdir, directory, card, variables, table)
    else:
        checkpoint.save_head(directory, card, variables, workdir)
    distributed.on_first(workdir.publish)
    workdir.refresh()
    return directory
