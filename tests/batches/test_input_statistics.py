"""Mean and deviation of inputs, against NumPy's in float64."""

import dataclasses

import jax
import numpy as np
import pytest
from made.compiled_heads import apply, init
from made.tables import made_table

from avemo_jax.batches import input_statistics as module
from avemo_jax.batches import sharding
from avemo_jax.batches.feeders import make_feeder
from avemo_jax.batches.input_statistics import input_statistics
from avemo_jax.heads import HeadSpec, build_head

MLP = HeadSpec("EXPR", "mlp", (12, 5), standardize=True)
WINDOWS = dataclasses.replace(MLP, kind="transformer", window=8, audio_flag=True)


def shifted_table():
    """Features far from 0 against their deviation, one of which never varies."""
    table = made_table()
    features = (table.features * np.float16(0.25) + np.float16(40)).astype(np.float16)
    features[:, 3] = 7.1
    features[:, 1] *= 1000
    return dataclasses.replace(table, features=features)


def found_by(spec, *, resident, monkeypatch, block=64):
    monkeypatch.setattr(module, "_BLOCK", block)
    table, mesh = shifted_table(), sharding.make_mesh()
    feeder = make_feeder(
        *(table, mesh),
        window=spec.window if spec.takes_windows else 0,
        audio_flag=spec.audio_flag,
        resident=resident,
    )
    return input_statistics(table, feeder, spec, mesh)


@pytest.mark.parametrize("spec", [MLP, WINDOWS], ids=["rows", "windows"])
def test_they_are_those_of_the_labelled_frames(spec, monkeypatch):
    table = shifted_table()
    assert not table.valid.all()
    x = table.features[table.valid].astype(np.float64)
    found = found_by(spec, resident=True, monkeypatch=monkeypatch)
    assert {len(values) for values in found.values()} == {spec.input_dim}
    mean, deviation = found["mean"][:17], found["deviation"][:17]
    np.testing.assert_allclose(mean, x.mean(axis=0), rtol=2e-7)
    wanted = x.std(axis=0)
    wanted[3] = 1
    np.testing.assert_allclose(deviation, wanted, rtol=2e-6)
    assert (x[:, 3] - mean[3] == 0).all()
    if spec.audio_flag:
        assert (found["mean"][17], found["deviation"][17]) == (0, 1)


@pytest.mark.parametrize("spec", [MLP, WINDOWS], ids=["rows", "windows"])
def test_streamed_tables_have_the_same(spec, monkeypatch):
    resident, streamed = (
        found_by(spec, resident=resident, monkeypatch=monkeypatch)
        for resident in (True, False)
    )
    jax.tree.map(np.testing.assert_array_equal, resident, streamed)


def test_a_head_standardises_by_its_statistics():
    head, plain = (
        build_head(MLP),
        build_head(dataclasses.replace(MLP, standardize=False)),
    )
    params, stats = init(head)
    assert jax.eval_shape(plain.init, jax.random.key(0))[1] == {}
    x = np.random.default_rng(0).normal(3, 2, (6, 17)).astype(np.float16)
    identity, kept = apply(head, params, stats, x)
    np.testing.assert_array_equal(identity, apply(plain, params, {}, x)[0])
    stats = {
        "inputs": {"mean": np.full(17, 3.0, "f4"), "deviation": np.full(17, 2.0, "f4")}
    }
    logits, kept = apply(head, params, stats, x, train=True)
    by_hand = (x.astype(np.float32) - 3) / 2
    expected, _ = apply(plain, params, {}, by_hand)
    np.testing.assert_allclose(logits, expected, rtol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, kept, stats)
    assert set(stats) == {"inputs"}  # what was given is not changed
