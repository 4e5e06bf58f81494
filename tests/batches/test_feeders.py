"""Tables on their way to a device."""

import dataclasses

import chex
import numpy as np
import pytest
from made.tables import batches_of, made_table

from avemo_jax.batches import sharding
from avemo_jax.batches.feeders import (
    ResidentFeeder,
    StreamedFeeder,
    make_feeder,
    step_at,
    table_arrays,
)
from avemo_jax.data.store.vectors import aligned_zeros


@pytest.mark.parametrize("shape", [(3, 5), (1000, 17), (0, 4)])
def test_aligned_zeros(shape):
    array = aligned_zeros(shape, np.float16)
    assert array.shape == shape
    assert array.dtype == np.float16
    assert not array.any()
    assert not array.size or array.ctypes.data % 64 == 0


def test_a_loaded_table_is_not_copied_on_a_cpu():
    table = made_table()
    features = aligned_zeros(table.features.shape, np.float16)
    features[:] = table.features
    table = dataclasses.replace(table, features=features)
    mesh = sharding.make_mesh()
    feeder = make_feeder(table, mesh, window=0, audio_flag=False, resident=True)
    arrays, _ = next(feeder.chunks(np.zeros((1, 2), np.int32), 1))
    shard = arrays.features.addressable_shards[0].data
    assert shard.unsafe_buffer_pointer() == features.ctypes.data


@pytest.mark.parametrize("window", [0, 8])
@pytest.mark.parametrize("audio_flag", [False, True])
def test_streamed_chunks_hold_what_the_table_holds(window, audio_flag):
    table = made_table()
    mesh = sharding.make_mesh()
    arrays = table_arrays(table, windows=bool(window), audio_flag=audio_flag)
    rng = np.random.default_rng(0)
    if window:
        first = rng.integers(-4, 30, (5, 3))
        order = np.stack([first, 0 * first, 0 * first + 28], axis=-1).astype(np.int32)
    else:
        order = rng.integers(-1, table.num_rows, (5, 6)).astype(np.int32)
    resident, streamed = (
        batches_of(kind(arrays, mesh, window), order, 2)
        for kind in (ResidentFeeder, StreamedFeeder)
    )
    assert len(resident) == 5
    chex.assert_trees_all_equal(resident, streamed, strict=True)
    for batch in resident:
        assert batch.present.any()
        assert not batch.present.all() or not window


def test_rows_given_as_windows_are_refused():
    arrays = table_arrays(made_table(), windows=True, audio_flag=False)
    with pytest.raises(AssertionError, match="axis"):
        step_at(arrays, np.zeros((2, 5), np.int32), 8, np)
