"""How much a run trains: the sizes that a configuration leaves to the training frames.

A large table is passed over a few times in large batches. Of a small one that would be
a handful of steps, so that it gets smaller batches and more passes, until a run has
some number of steps.
"""

import dataclasses
import math

from absl import logging
from jax.sharding import Mesh
from ml_collections import ConfigDict

from avemo_jax.batches.order import FrameOrder, WindowOrder
from avemo_jax.data.store.table import FrameTable
from avemo_jax.heads import HeadSpec


@dataclasses.dataclass(frozen=True)
class _Amount:
    """What training aims at.

    Attributes:
        batch_size: Frames of a step, the most.
        smallest: Examples (frames, or windows of them) of a step, the least.
        passes: Passes over the training frames, the least.
        steps: Steps of a run on a small table, the least.
    """

    batch_size: int
    smallest: int
    passes: int
    steps: int


# Of heads that see single frames, and of heads that see windows: docs/training.md has
# what comes of fewer steps.
_FRAMES = _Amount(batch_size=1024, smallest=32, passes=10, steps=2000)
_WINDOWS = _Amount(batch_size=2048, smallest=4, passes=6, steps=1000)
# Frames below which a table is small. The demo corpus, 16,000 frames of long videos,
# scores less on dev and validation with more steps or smaller batches.
_SMALL = 10_000
_DEV_SCORES = 20  # of a run of the least steps, about
_PATIENCE_STEPS, _PATIENCE_EPOCHS = 1000, 5  # the longer of both


def fitted(
    config: ConfigDict, table: FrameTable, spec: HeadSpec, mesh: Mesh
) -> ConfigDict:
    """``config`` with the sizes that it leaves open, by the number of training frames.

    Args:
        config: The run's configuration; what it says of the sizes stays.
        table: Frames that are trained on.
        spec: The head.
        mesh: Devices that have to divide a batch.

    Returns:
        A copy in which ``batch_size``, ``num_epochs``, ``train.passes_per_epoch`` and
        ``train.early_stop_epochs`` are numbers. A batch larger than a pass stays, for
        the order to reduce.
    """
    config = config.copy_and_resolve_references()
    amount, examples, frames = _examples(config, table, spec)
    train, least = config.train, config.train.least_steps
    if least is None:
        least = amount.steps if table.valid.sum() < _SMALL else 0
    passes = (config.num_epochs or amount.passes) * (train.passes_per_epoch or 1)
    if config.batch_size is None:
        size = max(amount.batch_size // frames, 1)
        if least:
            wanted = max(examples * passes // least, amount.smallest)
            size = min(2 ** int(math.log2(wanted)), size)
        config.batch_size = -(-size // mesh.size) * mesh.size * frames
    size = max(config.batch_size // frames, 1)
    if train.passes_per_epoch is None:
        few = least // _DEV_SCORES * size
        train.passes_per_epoch = 1 if config.num_epochs else max(-(-few // examples), 1)
    steps = max(examples * train.passes_per_epoch // size, 1)
    if config.num_epochs is None:
        passes = -(-amount.passes // train.passes_per_epoch)
        config.num_epochs = max(passes, -(-least // steps))
    if train.early_stop_epochs is None:
        wanted = -(-_PATIENCE_STEPS // steps) if least else 0
        train.early_stop_epochs = max(wanted, _PATIENCE_EPOCHS)
    return config


def say_amount(config: ConfigDict, table: FrameTable, steps_per_epoch: int) -> None:
    """Logs the sizes of a run that :func:`fitted` made.

    Args:
        config: The run's configuration, without open sizes.
        table: Frames that are trained on.
        steps_per_epoch: Steps of an epoch.
    """
    logging.info(
        "%d training frames: batch_size %d, %d epochs of %d steps (passes: %d), a seed "
        "stops after %d epochs without a better score on dev",
        table.valid.sum(),
        config.batch_size,
        config.num_epochs,
        steps_per_epoch,
        config.train.passes_per_epoch,
        config.train.early_stop_epochs,
    )


def _examples(
    config: ConfigDict, table: FrameTable, spec: HeadSpec
) -> tuple[_Amount, int, int]:
    """What training aims at, examples of a pass, and the frames of an example."""
    if spec.takes_windows:
        stride = config.train.window_stride
        windows = WindowOrder(table, spec.window, 0, spec.window, stride).num_windows
        return _WINDOWS, max(windows, 1), spec.window
    per_video = config.train.frames_per_video
    return _FRAMES, max(FrameOrder(table, 1, 0, per_video).num_rows, 1), 1
