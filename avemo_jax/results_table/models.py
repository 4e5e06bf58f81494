"""The models of the results table: their configurations, and their training."""

import dataclasses
import json
import pathlib
import time
from typing import Any

from absl import logging
from ml_collections import ConfigDict

from avemo_jax.batches.tables import Data, feature_names
from avemo_jax.config.checks import check_config
from avemo_jax.config.fields import base_config, identity, original_config
from avemo_jax.config.workdir_config import check_data, take_workdir
from avemo_jax.models.blend import write_blend
from avemo_jax.runtime.atomic_files import write_json
from avemo_jax.training.train import train

_TIMES = "times.json"


@dataclasses.dataclass(frozen=True)
class TableRun:
    """What a table is made with.

    Attributes:
        data: The store.
        out: Folder of the models, cells, tables and plots.
        num_seeds: Number of seeds of every model.
        protocol: "ours" or "original".
        num_epochs: Epochs of every model; None takes the configurations'.
        device_budget_gb: Memory for tables; None asks the device.
    """

    data: Data
    out: pathlib.Path
    num_seeds: int = 5
    protocol: str = "ours"
    num_epochs: int | None = None
    device_budget_gb: float | None = None


def model_config(
    table_run: TableRun, task: str, kind: str, features: str
) -> ConfigDict:
    """The configuration of one model.

    Args:
        table_run: What the table is made with.
        task: "EXPR", "AU" or "VA".
        kind: "mlp", "transformer" (over time) or "batch_transformer" (across the
            batch, like the original).
        features: Names of feature sets, joined by "+".
    """
    head = "mlp" if kind == "mlp" else "transformer"
    if table_run.protocol == "original":
        config = original_config(task, head, features)
    else:
        config = base_config(task, head, features)
        if kind == "batch_transformer":
            config.head.attention, config.head.positions = "batch", "none"
            config.batch_size = 32  # frames that see each other, as the original
            config.learning_rate, config.num_epochs = 1e-4, 2
    config.num_seeds = table_run.num_seeds
    config.log.tensorboard = False
    if table_run.num_epochs is not None:
        config.num_epochs = table_run.num_epochs
    check_config(config)
    return config


def trained_model(
    table_run: TableRun, task: str, kind: str, features: str
) -> tuple[pathlib.Path, float | None]:
    """The head checkpoint of one model, and the seconds of its training.

    Trains it, or takes the one that an earlier call with the same configuration and
    data left. The seconds are None where the training was interrupted.
    """
    config = model_config(table_run, task, kind, features)
    name = f"{kind}-{features.replace('+', '-')}-{identity(config)}"
    workdir = table_run.out / "models" / task.lower() / name
    best, times = workdir / "best_model", workdir / _TIMES
    sets = table_run.data.store.resolve(feature_names(config))
    fingerprint = table_run.data.store.data_fingerprint(sets)
    take_workdir(workdir, config)
    check_data(workdir, fingerprint)
    if not (best / "head.json").exists() or not times.exists():
        started = workdir / "environment.json"
        interrupted = started.exists()
        write_json(started, {"data_fingerprint": fingerprint})
        logging.info("training %s, %s on %s", task, kind, features)
        began = time.perf_counter()
        train(config, table_run.data, workdir)
        seconds = None if interrupted else time.perf_counter() - began
        write_json(times, {"train_s": seconds})
    found: float | None = read_kept(times, "train_s")["train_s"]
    return best, found


def read_kept(file: pathlib.Path, *names: str) -> dict[str, Any]:
    """The content of a file that an earlier call wrote.

    Args:
        file: The JSON file.
        names: Names that the content must have.

    Raises:
        ValueError: If the file is no JSON, or lacks a name.
    """
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        stored = None
    if not isinstance(stored, dict) or not stored.keys() >= set(names):
        raise ValueError(
            f"{file} is damaged; expected JSON with {', '.join(names)}; remove it: the "
            "same command makes it anew"
        )
    return stored


def blended_model(
    table_run: TableRun, task: str, heads: tuple[str, ...]
) -> tuple[pathlib.Path, float | None]:
    """A blend of MLPs on these feature sets, and the seconds of training its heads.

    Heads that are not trained yet are trained first. The seconds are None where those
    of one head are unknown.
    """
    made = [trained_model(table_run, task, "mlp", features) for features in heads]
    name = "_and_".join(features.replace("+", "-") for features in heads)
    best = table_run.out / "models" / task.lower() / f"blend-{name}"
    write_blend(best, [path for path, _ in made])
    known = [seconds for _, seconds in made if seconds is not None]
    return best, sum(known) if len(known) == len(made) else None
