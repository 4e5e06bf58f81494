"""Intervals over videos, as results.json has them."""

import jax.numpy as jnp
import numpy as np
import pytest
from made.tables import made_table, one_video

from avemo_jax.evaluation.intervals import intervals_of
from avemo_jax.metrics.bca import bca_ends
from avemo_jax.metrics.intervals import ENDS
from avemo_jax.postprocess.bootstrap import bootstrap
from avemo_jax.tasks import TASKS

SEEDS, RESAMPLES = 2, 40
SCORES = {
    "EXPR": {"f1_macro", "accuracy", "f1_per_class"},
    "AU": {"f1_mean", "f1_per_unit", "f1_mean_at_0.5"},
    "VA": {"ccc_mean", "ccc_valence", "ccc_arousal"},
}


def made(task, videos=5):
    """A table, scores of its frames by two seeds, and thresholds."""
    table = made_table(task, split="validation", videos=videos, frames=40)
    rng = np.random.default_rng(1)
    frames, outputs = len(table.dense_labels), TASKS[task].num_outputs
    dense = rng.random((SEEDS, frames, outputs)).astype(np.float32)
    limits = rng.uniform(0.2, 0.8, (SEEDS, outputs)).astype(np.float32)
    return table, jnp.asarray(dense), limits if task == "AU" else None


@pytest.mark.parametrize(
    "task",
    [
        "EXPR",
        pytest.param("AU", marks=pytest.mark.slow),
        pytest.param("VA", marks=pytest.mark.release),
    ],
)
def test_intervals_are_those_of_the_bootstrap(task):
    table, dense, limits = made(task)
    valid = table.task.valid(table.dense_labels)
    some = valid & (np.arange(len(valid)) % 3 > 0)
    masks = {"with_crop": some, "all_labelled": valid}
    found, resamples, left_out = intervals_of(table, dense, masks, limits, RESAMPLES)
    assert list(found) == list(resamples) == list(left_out) == list(masks)
    offsets = jnp.asarray(table.dense_offsets, jnp.int32)
    for name, mask in masks.items():
        arguments = (dense, jnp.asarray(table.dense_labels), jnp.asarray(mask), offsets)
        device = None if limits is None else jnp.asarray(limits)
        expected = bootstrap(task, *arguments, device, num_resamples=RESAMPLES)
        headline = expected.samples[table.task.headline]
        np.testing.assert_array_equal(resamples[name], headline)
        both = {f"{score}{end}" for score in SCORES[task] for end in ENDS}
        assert found[name].keys() == both | {"intervals"}
        assert found[name]["intervals"]["num_videos"] == 5
        jackknife = expected.left_out[table.task.headline]
        np.testing.assert_array_equal(left_out[name], jackknife)
        ends = bca_ends(
            float(expected.value[table.task.headline]),
            np.asarray(headline),
            np.asarray(jackknife),
        )
        assert found[name][f"{table.task.headline}_bca95"] == ends
        for key, low in expected.low.items():
            got, high = found[name][f"{key}_ci95"], expected.high[key]
            if low.ndim:
                assert list(got) == list(TASKS[task].columns)
                got = list(got.values())
                np.testing.assert_array_equal(got, np.stack([low, high], axis=-1))
            else:
                assert got == [float(low), float(high)]
                assert got[0] < got[1]
        if task == "AU":
            halves = bootstrap(task, *arguments, None, num_resamples=RESAMPLES)
            ends = [float(halves.low["f1_mean"]), float(halves.high["f1_mean"])]
            assert found[name]["f1_mean_at_0.5_ci95"] == ends
            assert found[name]["f1_mean_ci95"] != ends
    assert found["with_crop"] != found["all_labelled"]


def test_too_few_videos_or_none_wanted():
    table, dense, _ = made("EXPR")
    valid = table.task.valid(table.dense_labels)
    first = np.arange(len(valid)) < table.num_frames[0]
    two = np.arange(len(valid)) < table.num_frames[:2].sum()
    masks = {"one": valid & first, "two": valid & two, "none": valid & ~valid}
    found = intervals_of(table, dense, masks, None, RESAMPLES).ends
    assert found["one"] == found["none"] == {}
    assert found["two"]["f1_macro_ci95"][0] < found["two"]["f1_macro_ci95"][1]
    unwanted = intervals_of(table, dense, masks, None, 0)
    assert not unwanted.resamples
    assert unwanted.ends == {"one": {}, "two": {}, "none": {}}


def test_a_split_of_one_video_has_none():
    table, dense, _ = made("VA")
    alone = one_video(table, 0)
    frames = dense[:, : len(alone.dense_labels)]
    masks = {"all_labelled": alone.task.valid(alone.dense_labels)}
    found = intervals_of(alone, frames, masks, None, RESAMPLES)
    assert found == ({"all_labelled": {}}, {}, {})
