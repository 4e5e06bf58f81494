"""How much a run trains, by the number of its training frames."""

import dataclasses

import jax
import numpy as np
import pytest
from made.tables import made_table

from avemo_jax.batches import sharding
from avemo_jax.batches.order import FrameOrder, WindowOrder
from avemo_jax.config.fields import base_config, original_config
from avemo_jax.training.amount import fitted
from avemo_jax.training.objective import make_order, make_spec

DIMS = (2,)


def table_of(frames: int):
    """One video of ``frames`` rows."""
    made = made_table(dims=DIMS, videos=1)
    label = np.zeros(frames, np.int8)
    return dataclasses.replace(
        made,
        features=np.zeros((frames, 2), np.float16),
        labels=label,
        dense_labels=label,
        valid=np.ones(frames, bool),
        has_audio=np.ones(frames, bool),
        frame=np.arange(1, frames + 1, dtype=np.int32),
        row_offsets=np.array([0, frames]),
        num_frames=np.array([frames], np.int32),
    )


def sizes_of(config, frames: int, mesh=None):
    """Batch, passes and steps of an epoch, epochs, patience."""
    mesh, table = mesh or sharding.make_mesh(), table_of(frames)
    spec = make_spec(config, DIMS)
    config = fitted(config, table, spec, mesh)
    order = make_order(config, table, spec, mesh)
    train = config.train
    return (
        *(order.batch_size, train.passes_per_epoch, order.num_steps),
        *(config.num_epochs, train.early_stop_epochs),
    )


@pytest.mark.parametrize(
    ("head", "frames", "sizes"),
    [
        ("mlp", 15_944, (1024, 1, 15, 10, 5)),
        ("mlp", 500_000, (1024, 1, 488, 10, 5)),
        ("transformer", 18_400, (2048, 1, 18, 6, 5)),
    ],
)
def test_large_tables_are_passed_over_in_large_batches(head, frames, sizes):
    assert sizes_of(base_config("EXPR", head), frames) == sizes


@pytest.mark.parametrize("frames", [40, 114, 1002, 9_000, 60_000])
@pytest.mark.parametrize(("head", "least"), [("mlp", 2000), ("transformer", 1000)])
def test_small_tables_and_own_tasks_get_their_steps(head, least, frames):
    own = base_config("own", head)
    own.task = "EXPR"
    sizes = batch, _, steps, epochs, patience = sizes_of(own, frames)
    assert least <= steps * epochs <= 1.6 * least
    assert epochs <= 20
    assert patience * steps >= 1000
    assert (4 * 128 if head == "transformer" else 32) <= batch
    assert batch < (2048 if head == "transformer" else 1024)
    official = sizes_of(base_config("EXPR", head), frames)
    assert (official == sizes) == (frames < 10_000)


def test_what_the_configuration_says_stays():
    config = base_config("EXPR", "mlp")
    config.batch_size, config.num_epochs = 100, 3
    config.train.early_stop_epochs = 0
    assert sizes_of(config, 1000) == (100, 1, 10, 3, 0)
    config.train.passes_per_epoch = 2
    assert sizes_of(config, 1050) == (100, 2, 21, 3, 0)
    assert sizes_of(original_config("AU", "mlp"), 1000) == (32, 1, 31, 8, 0)


def test_batches_can_be_divided_over_the_devices():
    devices = np.array(jax.devices()[:1] * 24)
    mesh = jax.sharding.Mesh(devices, (sharding.AXIS,))
    assert sizes_of(base_config("EXPR", "mlp"), 1000, mesh)[0] == 48
    batch = sizes_of(base_config("EXPR", "transformer"), 1000, mesh)[0]
    assert batch == 24 * 128


def test_passes_of_an_epoch_follow_each_other():
    table = made_table()
    once, thrice = FrameOrder(table, 10, 3), FrameOrder(table, 10, 3, passes=3)
    rows = thrice.epoch(1).ravel()
    assert len(rows) // 10 == thrice.num_steps == once.num_rows * 3 // 10
    for i, number in enumerate(range(3, 6)):
        one = once.epoch(number).ravel()
        here = rows[i * once.num_rows :][: len(one)]
        np.testing.assert_array_equal(here, one[: len(here)])
    several = WindowOrder(table, 64, 0, window=16, stride=8, passes=3)
    windows = several.epoch(0)
    assert windows.shape == (several.num_windows * 3 // 4, 4, 3)
    single = dataclasses.replace(several, passes=1)
    np.testing.assert_array_equal(windows[: single.num_steps], single.epoch(0))
