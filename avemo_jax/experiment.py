"""A whole run in one work directory: trains, evaluates the best, prints the scores."""

import contextlib
import functools
import json
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from avemo_jax.batches.head_inputs import input_dims
from avemo_jax.batches.tables import (
    Data,
    feature_names,
    fold_data,
    num_folds,
    open_data,
    protocol_data,
    protocol_of,
    with_task,
)
from avemo_jax.config.checks import check_config
from avemo_jax.config.fields import identity, to_plain
from avemo_jax.config.workdir_config import check_data, take_workdir
from avemo_jax.data.corpus.protocols import read_protocols
from avemo_jax.data.corpus.splits import SPLITS
from avemo_jax.evaluation import figures, fold_table, results
from avemo_jax.evaluation.evaluate import evaluate
from avemo_jax.evaluation.joint import JointModel, evaluate_joint, load_joint, words_of
from avemo_jax.evaluation.output_folders import check_free, default_folder
from avemo_jax.evaluation.report import sweep_table
from avemo_jax.evaluation.run_report.writing import (
    REPORT,
    write_folds_report,
    write_report,
)
from avemo_jax.heads.layer_groups import layer_groups
from avemo_jax.metrics.intervals import resample_bytes
from avemo_jax.models import checkpoints
from avemo_jax.models.blend import Model, blend_fingerprint, check_trust, write_blend
from avemo_jax.models.card import JOINT_FILE, read_card
from avemo_jax.models.ensembles import EnsembleOver, load_model
from avemo_jax.models.joint import is_joint
from avemo_jax.postprocess.frame_rate.rules import FrameRate
from avemo_jax.runtime import distributed
from avemo_jax.runtime.atomic_files import write_json
from avemo_jax.runtime.logs import MetricsLog, environment
from avemo_jax.runtime.machine import memory_bytes
from avemo_jax.runtime.workdir import Workdir, claimed, open_workdir
from avemo_jax.tasks import get_task
from avemo_jax.training.objective import TrainingError
from avemo_jax.training.plan.sizes import plan_run
from avemo_jax.training.train import train


def run_experiment(config: ConfigDict, *, name: str = "run") -> dict[str, Any]:
    """Trains and evaluates what ``config`` says; goes on where an earlier run ended.

    Args:
        config: The run's configuration.
        name: First part of the default work directory, ``runs/<name>-<identity>``.

    Returns:
        The content of ``results.json``.

    Raises:
        ValueError: If the configuration makes no sense or does not fit the data.
        WorkdirError: If ``config.workdir`` holds a run of another configuration, or of
            other data.
        HeldError: If another process runs in ``config.workdir``.
    """
    check_config(config)
    data = open_data(config.data.dir, config.data.cache_dir)
    config = with_task(config, data)
    check_config(config)  # now that the store's tasks are known
    # Before anything is written to the work directory:
    _check_heads(config, data)
    _check_memory(config, data)
    distributed.check_same("the configuration", json.dumps(to_plain(config)))
    with _opened(config.workdir or f"runs/{name}-{identity(config)}") as workdir:
        distributed.on_first(lambda: take_workdir(workdir.local, config))
        if num_folds(config, data):
            return _run_folds(config, data, workdir)
        return _run_one(config, fold_data(data, config), workdir)


@contextlib.contextmanager
def _opened(name: str | pathlib.Path) -> Iterator[Workdir]:
    """The work directory, held alone, seen by all processes; published at last."""
    workdir = open_workdir(name, writes=distributed.is_first())
    try:
        with claimed(workdir):
            distributed.check_shared(
                workdir.name,
                workdir.write_token,
                workdir.read_token,
                workdir.remove_token,
            )
            yield workdir
            workdir.publish()
    finally:
        workdir.close()


def evaluate_checkpoint(
    directory: pathlib.Path,
    *,
    data_dir: str | None,
    split: str,
    workdir: str | pathlib.Path | None,
    cache_dir: str | None = None,
    device_budget_gb: float | None = None,
    update_card: bool = False,
    ensemble: EnsembleOver | None = None,
    frame_rate: FrameRate | None = None,
    report: bool = True,
) -> dict[str, Any]:
    """Scores of a head checkpoint on a split, written to ``workdir``.

    Args:
        directory: The head checkpoint or blend, e.g. ``WORKDIR/best_model``; the run
            itself for an ensemble of folds.
        data_dir: Folder of the store; None: the demo corpus, for heads trained on it.
        split: "validation", "dev", "train" or "test".
        workdir: Gets the results, a path or ``gs://BUCKET/FOLDER``. None: the folder of
            :func:`avemo_jax.evaluation.output_folders.default_folder`.
        cache_dir: Folder for the demo corpus and streamed tables; None: the default.
        device_budget_gb: Memory for tables in 10^9 bytes; None: a share of the
            device's.
        update_card: Whether the selection and the scores are kept in the checkpoint's
            card.
        ensemble: "seeds" takes means over the checkpoint's seeds, "folds" over the
            run's folds; post-processing is then chosen anew. None takes no means.
        frame_rate: Which frames to embed, in place of what the checkpoint's
            configuration says; post-processing is then chosen anew. None: what the
            configuration says.
        report: Whether ``report.html`` is written.

    Raises:
        ValueError: If there is no checkpoint or store there, they do not fit, or
            ``workdir`` has results of another checkpoint.
    """
    place = default_folder(directory, split, ensemble=ensemble, frame_rate=frame_rate)
    with _opened(workdir or place) as opened:
        return _evaluate_checkpoint(
            directory,
            opened,
            data_dir,
            split,
            cache_dir=cache_dir,
            device_budget_gb=device_budget_gb,
            update_card=update_card,
            ensemble=ensemble,
            frame_rate=frame_rate,
            report=report,
        )


def _evaluate_checkpoint(
    directory: pathlib.Path,
    workdir: Workdir,
    data_dir: str | None,
    split: str,
    *,
    cache_dir: str | None = None,
    ensemble: EnsembleOver | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Does the work of :func:`evaluate_checkpoint` in an open work directory.

    Raises:
        ValueError: If there is no checkpoint or store there, or they do not fit.
    """
    model = _load(directory, ensemble)
    _check_free(workdir, model.fingerprint)
    trained_on = model.card.data.name
    if data_dir is None and trained_on != "demo":
        raise ValueError(
            f"{directory} was trained on {trained_on}; without a store the demo corpus "
            "would be scored: name one, --data-dir=DIR"
        )
    data = _as_trained(model, open_data(data_dir, cache_dir))
    workdir.local.mkdir(parents=True, exist_ok=True)
    found = _scored(model, data, workdir.local, split=split, **options)
    _say(found, workdir)
    return found


def _as_trained(model: Model | JointModel, data: Data) -> Data:
    """The store with the fold of speakers that a model of it was trained without."""
    trained = model.card.config.get("data", {})
    protocol, fold = trained.get("protocol"), trained.get("fold", -1)
    if not protocol or fold < 0 or protocol not in read_protocols(data.store.path):
        return data
    seed = trained["fold_seed"]
    return protocol_data(data, model.card.task, protocol, fold, seed=seed)


def _check_free(workdir: Workdir, fingerprint: str) -> None:
    """Refuses a work directory with results of another checkpoint."""
    check = functools.partial(check_free, name=workdir.name)
    distributed.on_first(lambda: check(workdir.local, fingerprint))


def _load(
    directory: pathlib.Path, ensemble: EnsembleOver | None = None
) -> Model | JointModel:
    """The model in ``directory``, of one task or of several trained together."""
    if is_joint(directory):
        return load_joint(directory, ensemble)
    return load_model(directory, ensemble)


def _scored(
    model: Model | JointModel,
    data: Data,
    folder: pathlib.Path,
    *,
    report: bool,
    **options: Any,
) -> dict[str, Any]:
    """Scores of a loaded model, written to ``folder``; a report of them, if wanted."""
    score: Any = evaluate_joint if isinstance(model, JointModel) else evaluate
    found: dict[str, Any] = score(model, data, folder, **options)
    # No report is left of other results.
    distributed.on_first(lambda: (folder / REPORT).unlink(missing_ok=True))
    if report:
        distributed.on_first(lambda: write_report(folder, model, found))
    return found


def blend_checkpoints(
    directories: Sequence[pathlib.Path],
    *,
    data_dir: str | None,
    split: str,
    workdir: str | pathlib.Path,
    trust_extractor: bool = False,
    trained_on: Sequence[str] | None = None,
    report: bool = True,
) -> dict[str, Any]:
    """Scores of several head checkpoints blended late, with weights chosen on dev.

    Args:
        directories: Head checkpoints of one task with equally many seeds; seed i of
            each is blended with seed i of the others. After the first there may also be
            files of predictions made elsewhere, which cover the dev videos too.
        data_dir: Folder of the store; None: the demo corpus, for heads trained on it.
        split: "validation", "dev", "train" or "test".
        workdir: Gets the results, and ``best_model/`` with ``blend.json``.
        trust_extractor: EXPR only: whether the extractor's own probabilities replace
            the blend's where they are confident.
        trained_on: Videos that the models behind the files were trained on; None:
            unknown, so that nothing is chosen on dev.
        report: Whether ``report.html`` is written.

    Raises:
        ValueError: If the checkpoints do not fit each other or the store, or
            ``workdir`` has results of others.
    """
    if len(directories) < 2:
        raise ValueError(
            f"{len(directories)} checkpoint to blend; expected two or more; name them "
            "--checkpoint=A/best_model,B/best_model"
        )
    config = dict(read_card(directories[0]).config)
    config["blend"] = {"trust_extractor": trust_extractor}
    with _opened(workdir) as opened:
        best = opened.local / "best_model"
        _check_free(opened, blend_fingerprint(directories))
        distributed.on_first(
            lambda: write_blend(best, directories, config, trained_on=trained_on)
        )
        _share(opened)
        return _evaluate_checkpoint(
            best, opened, data_dir, split, update_card=True, report=report
        )


def _share(workdir: Workdir) -> None:
    """Lets all processes see what the first process wrote into ``workdir``."""
    distributed.on_first(workdir.publish)
    workdir.refresh()


def _heads(config: ConfigDict) -> list[ConfigDict]:
    """The configuration of each head of a blend, or of the only head."""
    heads = []
    for features in (config.data.features, *config.blend.features):
        one = config.copy_and_resolve_references()
        with one.unlocked():
            one.data.features = features
            one.blend.features = ()
            one.head.layer_sum &= bool(layer_groups(feature_names(one)))
            one.blend.trust_extractor = False
        heads.append(one)
    return heads


def _check_heads(config: ConfigDict, data: Data) -> None:
    """Refuses feature sets that the store lacks, or whose outputs it lacks.

    Raises:
        ValueError: If a set, or outputs that are used, are missing; names the set.
    """
    sets = [data.store.resolve(feature_names(one)) for one in _heads(config)]
    for feature_sets in sets:
        input_dims(feature_sets, config.data.inputs)
    if config.blend.trust_extractor:
        check_trust(get_task(config.task), sets[0])


def _check_memory(config: ConfigDict, data: Data) -> None:
    """Refuses to begin what memory cannot hold.

    Raises:
        TrainingError: If a head's training cannot begin; it names the field to lower.
    """
    for one in _heads(config):
        if num_folds(one, data):
            one = one.copy_and_resolve_references()
            one.data.fold = 0  # the others are as large
        plan = plan_run(one, data, devices=jax.device_count(), evaluated=False)
        if plan.problem:
            raise TrainingError(plan.problem)
    split, resamples = config.evaluate.split, config.evaluate.num_resamples
    videos = len(data.store.split_videos(config.task, split, data.splits))
    drawn, there = resample_bytes(resamples, videos), memory_bytes()
    if drawn > there:
        raise TrainingError(
            f"config.evaluate.num_resamples is {resamples:,}, which takes {drawn:,} "
            f"bytes of memory for {videos:,} videos, and there are {there:,}; expected "
            "less: lower it"
        )


def _run_blend(config: ConfigDict, data: Data, workdir: Workdir) -> dict[str, Any]:
    """Trains a head for each entry of feature sets, and evaluates the blend of all."""
    configs = _heads(config)
    names = [name for one in configs for name in feature_names(one)]
    feature_sets = data.store.resolve(list(dict.fromkeys(names)))
    fingerprint = data.store.data_fingerprint(feature_sets)
    check_data(workdir.local, fingerprint)
    distributed.on_first(lambda: _write_environment(config, data, workdir, fingerprint))
    heads = []
    for number, one in enumerate(configs):
        folder = workdir.child(f"head_{number}")
        distributed.on_first(functools.partial(take_workdir, folder.local, one))
        _run_one(one, data, folder)
        heads.append(folder.local / "best_model")
    best = workdir.local / "best_model"
    distributed.on_first(lambda: write_blend(best, heads, to_plain(config)))
    _share(workdir)
    found = _evaluate(config, data, workdir)
    _say(found, workdir)
    return found


def _run_one(config: ConfigDict, data: Data, workdir: Workdir) -> dict[str, Any]:
    if config.blend.features:
        return _run_blend(config, data, workdir)
    local = workdir.local
    best = local / "best_model"
    feature_sets = data.store.resolve(feature_names(config))
    fingerprint = data.store.data_fingerprint(feature_sets)
    check_data(workdir.local, fingerprint)
    distributed.on_first(lambda: checkpoints.remove_leftovers(local))
    is_whole = (best / "head.json").exists() or is_joint(best)
    finished = (local / "results.json").exists() and is_whole
    if distributed.first_says(finished):
        logging.info("%s is finished: it is evaluated, not trained again", workdir.name)
    else:
        distributed.on_first(
            lambda: _write_environment(config, data, workdir, fingerprint)
        )
        train(config, data, workdir)
    found = _evaluate(config, data, workdir)

    def draw_and_say() -> None:
        card = read_card(best / JOINT_FILE if is_joint(best) else best)
        log = MetricsLog(local, tensorboard=False)
        figures.draw_learning_curves(local / "plots", log.read(), card, data.title)
        if card.sweep:
            print(sweep_table(card.sweep, get_task(config.task).criterion))

    distributed.on_first(draw_and_say)
    _say(found, workdir)
    return found


def _evaluate(config: ConfigDict, data: Data, workdir: Workdir) -> dict[str, Any]:
    """Scores of the run's ``best_model/``, kept in its card too."""
    return _scored(
        _load(workdir.local / "best_model"),
        data,
        workdir.local,
        split=config.evaluate.split,
        device_budget_gb=config.data.device_budget_gb,
        update_card=True,
        report=config.log.report,
    )


def _write_environment(
    config: ConfigDict, data: Data, workdir: Workdir, fingerprint: str
) -> None:
    """Writes ``environment.json``: versions, devices, splits and data of a run."""
    videos = {
        split: list(data.store.split_videos(config.task, split, data.splits))
        for split in SPLITS
    }
    write_json(
        workdir.local / "environment.json",
        {**environment(videos), "data_fingerprint": fingerprint},
    )


def _run_folds(config: ConfigDict, data: Data, workdir: Workdir) -> dict[str, Any]:
    """Runs all folds in turn; returns the mean and deviation of their scores."""
    task = get_task(config.task)
    folds, folders = [], []
    for fold in range(num_folds(config, data)):
        one = config.copy_and_resolve_references()
        with one.unlocked():
            one.data.fold = fold
        folder = workdir.child(f"fold_{fold}")
        distributed.on_first(functools.partial(take_workdir, folder.local, one))
        folds.append(_run_one(one, fold_data(data, one), folder))
        folders.append(folder.local)
    summary: dict[str, Any] = {
        "schema_version": results.SCHEMA_VERSION,
        "task": task.name,
        "synthetic": folds[0]["synthetic"],
        "data": folds[0]["data"],
        "split": folds[0]["split"],
        "num_folds": len(folds),
        "metrics": {},
        "folds": [found["metrics"] for found in folds],
    }
    if all("frame_rate" in found for found in folds):
        shares = [found["frame_rate"]["share_embedded"] for found in folds]
        summary["frame_rate"] = {
            "rule": folds[0]["frame_rate"]["rule"],
            "share_embedded": float(np.mean(shares)),
            "share_embedded_std": float(np.std(shares, ddof=1)),
        }
    for name, frames in (("raw", "with_crop"), ("smoothed", "with_crop")):
        values = [found["metrics"][name][frames][task.headline] for found in folds]
        summary["metrics"][name] = {
            frames: {
                task.headline: float(np.mean(values)),
                f"{task.headline}_std": float(np.std(values, ddof=1)),
            }
        }
        if distributed.is_first():
            print(
                f"{data.title}, {task.name}, {len(folds)} folds, {name}: "
                f"{task.headline} {np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"
            )
    if config.data.protocol and task.kind == "multiclass":
        distributed.on_first(lambda: _add_speakers(summary, config, data, folders))

    def write() -> None:
        write_json(workdir.local / "results.json", summary)
        (workdir.local / REPORT).unlink(missing_ok=True)
        if config.log.report:
            names = [folder.name for folder in folders]
            write_folds_report(workdir.local, summary, names)

    distributed.on_first(write)
    return summary


def _add_speakers(
    summary: dict[str, Any],
    config: ConfigDict,
    data: Data,
    folders: Sequence[pathlib.Path],
) -> None:
    """Adds to the summary of folds of speakers the scores of all; prints them."""
    task, name = get_task(config.task), config.data.protocol
    block = fold_table.folds_block(
        task,
        protocol_of(data, name),
        folders,
        data.store.sources_of(),
        num_resamples=config.evaluate.num_resamples,
    )
    summary["speaker_folds"] = {"protocol": name, **block}
    title = (
        f"{task.full_title}: {data.title}, {len(folders)} folds of speakers ({name})"
    )
    print(f"\n{fold_table.folds_table(title, block)}")


def _say(found: dict[str, Any], workdir: Workdir) -> None:
    if not distributed.is_first():
        return
    print(words_of(found))
    print(f"Written to {workdir.name}/")
