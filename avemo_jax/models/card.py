"""The part of a head's card that says where the head comes from."""

from typing import Any

import numpy as np
from ml_collections import ConfigDict

from avemo_jax.batches.tables import Data
from avemo_jax.config.fields import to_plain
from avemo_jax.data.store.table import FrameTable
from avemo_jax.heads import HeadSpec
from avemo_jax.runtime.versions import VERSION
from avemo_jax.tasks import TASKS, Task, definition


def provenance(
    config: ConfigDict,
    spec: HeadSpec,
    data: Data,
    table: FrameTable,
    dev: FrameTable | None,
) -> dict[str, Any]:
    """The card's part on data, configuration and version.

    Args:
        config: Configuration of the training.
        spec: The head.
        data: The store.
        table: Frames that the head was trained on.
        dev: Frames by which epochs were chosen; None where there were none.
    """
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
        "evaluation_batch_size": spec.evaluation_batch(
            training=config.batch_size, evaluation=config.evaluate.batch_size
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
        "class_counts": class_counts(table.task, table.labels, table.valid),
        "counts": {t.split: t.counts() for t in (table, dev) if t is not None},
        "config": to_plain(config),
        "version": VERSION,
        **own_definition(table.task),
    }


def own_definition(task: Task) -> dict[str, Any]:
    """A task of one's own, defined so that the head can be used without its store."""
    if task.name in TASKS or task.kind == "joint":
        return {}
    return {"own_task": definition(task)}


def class_counts(task: Task, labels: Any, valid: Any) -> list[int] | None:
    """Frames of each class; None for tasks without classes.

    Args:
        task: The task of the labels.
        labels: Labels of all frames.
        valid: True where a label counts.
    """
    if task.kind != "multiclass":
        return None
    counts = np.bincount(labels[valid], minlength=task.num_outputs)
    return [int(count) for count in counts]
