"""The card of a head that was just trained."""

from collections.abc import Sequence

import numpy as np
from ml_collections import ConfigDict

from avemo_jax.batches.tables import Data
from avemo_jax.config.fields import to_plain
from avemo_jax.data.store.table import FrameTable
from avemo_jax.heads import HeadSpec
from avemo_jax.models.card import (
    Card,
    CardData,
    CardFeatures,
    class_counts,
    own_definition,
)
from avemo_jax.runtime.versions import VERSION


def trained_card(
    config: ConfigDict,
    spec: HeadSpec,
    data: Data,
    table: FrameTable,
    dev: FrameTable | None,
    *,
    candidates: tuple[int, int],
    seeds: Sequence[int],
    setting: dict[str, float],
    sweep: Sequence[dict[str, float]],
    best_epochs: Sequence[int],
    dev_scores: Sequence[float] | None,
) -> Card:
    """What the checkpoint of a trained head says of itself.

    Args:
        config: Configuration of the training.
        spec: The head.
        data: The store.
        table: Frames that the head was trained on.
        dev: Frames by which epochs were chosen; None where there were none.
        candidates: Where the seeds are among all that were trained: begin and end.
        seeds: The seeds.
        setting: What was swept, as it was chosen.
        sweep: Every swept setting with its scores on dev; empty without a sweep.
        best_epochs: The epoch of each seed.
        dev_scores: The criterion of each seed on dev; None where there is no dev.
    """
    counts = np.diff(table.row_offsets)
    return Card(
        task=config.task,
        head=spec.to_dict(),
        features=tuple(
            CardFeatures(one.name, one.kind, one.dim, one.fingerprint)
            for one in table.feature_sets
        ),
        data=CardData(data.name, data.store.synthetic, data.store.fingerprint),
        protocol=config.protocol,
        inputs=config.data.inputs,
        missing_audio=config.data.missing_audio,
        windows=config.evaluate.windows,
        evaluation_batch_size=spec.evaluation_batch(
            training=config.batch_size, evaluation=config.evaluate.batch_size
        ),
        train_on=config.data.train_on,
        training_videos=tuple(
            video for video, n in zip(table.videos, counts, strict=True) if n
        ),
        dev_videos=tuple(dev.videos) if dev else (),
        class_counts=class_counts(table.task, table.labels, table.valid),
        counts={t.split: t.counts() for t in (table, dev) if t is not None},
        config=to_plain(config),
        version=VERSION,
        own_task=own_definition(table.task),
        candidates=candidates,
        seeds=tuple(seeds),
        setting=setting,
        sweep=tuple(sweep),
        best_epochs=tuple(best_epochs),
        dev_scores=None if dev_scores is None else tuple(dev_scores),
    )
