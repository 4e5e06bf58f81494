"""The runs behind the rows: each a configuration in a work directory of its own."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any, Literal, TypedDict

from absl import logging
from ml_collections import ConfigDict

from avemo_jax import experiment
from avemo_jax.batches.tables import Data, feature_names
from avemo_jax.config.fields import base_config, identity, original_config
from avemo_jax.config.workdir_config import check_data
from avemo_jax.postprocess.frame_rate.rules import FrameRate
from avemo_jax.results_table.rows import HeadKind, Post, RowSpec
from avemo_jax.runtime.json_files import read_json

RESULTS = "results.json"


class _Results(TypedDict):
    """What must be in a ``results.json``, beside much else: the task's name."""

    task: str


# The original's row takes every 10th entry of windows that slide.
_RULES: dict[Post, FrameRate] = {
    "fixed_stride": FrameRate("sliding", 10),
    "sequential": FrameRate("sequential"),
    "grid": FrameRate("refine"),
}


@dataclasses.dataclass(frozen=True)
class TableRun:
    """What a table is made with.

    Attributes:
        out: Folder of the runs, tables and plots.
        data_dir: Folder of the store; None: the demo corpus.
        num_seeds: Number of seeds of every model.
        protocol: "ours" or "original".
        num_epochs: Epochs of every model; None takes the configurations'.
        device_budget_gb: Memory for tables; None asks the device.
    """

    out: pathlib.Path
    data_dir: str | None = None
    num_seeds: int = 5
    protocol: Literal["ours", "original"] = "ours"
    num_epochs: int | None = None
    device_budget_gb: float | None = None


def head_config(
    table_run: TableRun, task: str, kind: HeadKind, features: str
) -> ConfigDict:
    """The configuration of one head's run, its work directory included.

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
    config.data.dir = table_run.data_dir
    config.data.device_budget_gb = table_run.device_budget_gb
    if table_run.num_epochs is not None:
        config.num_epochs = table_run.num_epochs
    name = f"{kind}-{features.replace('+', '-')}-{identity(config)}"
    config.workdir = str(table_run.out / "models" / task.lower() / name)
    return config


def row_folder(
    table_run: TableRun, data: Data, task: str, row: RowSpec
) -> pathlib.Path:
    """The folder with ``results.json`` of a row; what is missing is run.

    Rows that differ in post-processing alone share the run that trains their head.

    Raises:
        WorkdirError: If a run began with other data than the store's now.
    """
    heads = [_head_folder(table_run, data, task, row.kind, one) for one in row.heads]
    where: dict[str, Any] = {"data_dir": table_run.data_dir, "split": "validation"}
    if len(heads) > 1:
        folder = heads[0].parent / f"blend-{'_and_'.join(head.name for head in heads)}"
        best = [head / "best_model" for head in heads]
        return made(
            folder,
            lambda: experiment.blend_checkpoints(best, workdir=folder, **where),
        )
    if row.post not in _RULES:
        return heads[0]
    rule = _RULES[row.post]
    folder = heads[0] / f"evaluation-validation-{rule.rule}{rule.stride or ''}"
    return made(
        folder,
        lambda: experiment.evaluate_checkpoint(
            heads[0] / "best_model",
            workdir=folder,
            frame_rate=rule,
            device_budget_gb=table_run.device_budget_gb,
            **where,
        ),
    )


def _head_folder(
    table_run: TableRun, data: Data, task: str, kind: HeadKind, features: str
) -> pathlib.Path:
    config = head_config(table_run, task, kind, features)
    folder = pathlib.Path(config.workdir)
    sets = data.store.resolve(feature_names(config))
    check_data(folder, data.store.data_fingerprint(sets))
    return made(folder, lambda: experiment.run_experiment(config))


def made(folder: pathlib.Path, make: Callable[[], object]) -> pathlib.Path:
    """``folder``, made unless an earlier call finished it; results are written last."""
    if (folder / RESULTS).exists():
        logging.info("%s: as an earlier call left it", folder)
    else:
        make()
    return folder


def read_results(folder: pathlib.Path) -> dict[str, Any]:
    """The content of a row's ``results.json``.

    Raises:
        ValueError: If it is damaged.
    """
    remedy = "the file is damaged; remove it, and the same command makes it anew"
    found: dict[str, Any] = read_json(folder / RESULTS, _Results, remedy=remedy)
    return found
