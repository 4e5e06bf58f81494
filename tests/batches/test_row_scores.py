"""Scores of a whole table."""

import dataclasses
import functools
import itertools

import chex
import jax
import numpy as np
import pytest
from made.tables import made_table

from avemo_jax.batches import sharding
from avemo_jax.batches.feeders import make_feeder
from avemo_jax.batches.row_scores import Predictor
from avemo_jax.heads import Head, HeadSpec, Variables, build_head

SPECS = {
    "rows": HeadSpec("EXPR", "linear", (12, 5)),
    "windows": HeadSpec(
        *("EXPR", "transformer", (12, 5)),
        **{"window": 8, "num_layers": 1, "num_heads": 1, "head_dim": 4},
        **{"feat_dim": 4, "model_dim": 4, "ffn_dim": 4},
    ),
    "carried": HeadSpec(
        *("EXPR", "recurrent", (12, 5)),
        **{"window": 8, "num_layers": 1, "model_dim": 4, "ffn_dim": 4},
        causal=True,
    ),
}


@pytest.mark.parametrize(
    ("name", "resident"),
    [
        *(("rows", True), ("windows", False), ("carried", True)),
        *(
            pytest.param(*case, marks=pytest.mark.release)
            for case in (("rows", False), ("windows", True), ("carried", False))
        ),
    ],
)
def test_a_split_is_scored_by_one_program(name, resident, monkeypatch):
    """Whatever its last batch is, and whichever variables come."""
    chex.clear_trace_counter()
    for method in ("apply", "advance"):
        once = chex.assert_max_traces(getattr(Head, method), n=1)
        monkeypatch.setattr(Head, method, once)
    table, mesh, spec = made_table(), sharding.make_mesh(), SPECS[name]
    head = build_head(spec)
    window = spec.window if spec.takes_windows else 0
    feeder = make_feeder(
        table, mesh, window=window, audio_flag=False, resident=resident
    )
    predict = Predictor(head, table, feeder, mesh, batch_size=48)
    assert len(predict.order) > 3
    assert (predict.order[-1] == -1).any()
    init = jax.jit(jax.vmap(head.init))
    scores = []
    for seed in range(2):
        params, stats = init(jax.random.split(jax.random.key(seed), 2))
        scores.append(predict(Variables(params=params, stats=stats)))
    assert scores[0].shape == (2, table.num_rows, 8)
    np.testing.assert_allclose(scores[0].sum(axis=-1), 1, rtol=1e-5)
    assert (scores[0] != scores[1]).any(axis=-1).all()


PROGRAMS = {}  # of all tables that are scored by carried states


@functools.cache
def started(head):
    """The start of two seeds."""
    init = jax.jit(jax.vmap(head.init))
    return init(jax.random.split(jax.random.key(3), 2))


def carried(table, *, batch_size=16, states=None):
    """Scores by a head that carries a state, and its passes."""
    spec, mesh = SPECS["carried"], sharding.make_mesh()
    head = build_head(spec)
    feeder = make_feeder(
        table, mesh, window=spec.window, audio_flag=False, resident=False
    )
    predict = Predictor(
        *(head, table, feeder, mesh),
        batch_size=batch_size,
        programs=PROGRAMS,
        states=states,
    )
    params, stats = started(head)
    return predict(Variables(params=params, stats=stats)), predict.order


def test_a_carried_state_gives_the_scores_of_whole_videos():
    """In two lanes, so that videos follow each other, with a long gap in one."""
    table = made_table()
    spec = SPECS["carried"]
    head = build_head(spec)
    first = slice(*table.row_offsets[:2])
    frame, num_frames = table.frame.copy(), table.num_frames.copy()
    late = frame[first] > 20
    frame[first][late] += 100
    num_frames[0] += 100
    dense = table.task.empty_labels(int(num_frames.sum()))
    table = dataclasses.replace(
        table, frame=frame, num_frames=num_frames, dense_labels=dense
    )
    scores, order = carried(table)
    assert order.shape[1] == 2
    assert (order[..., 2] >= 0).sum() < sum(-(-num_frames // spec.window)) - 10
    params, stats = jax.tree.map(lambda leaf: np.asarray(leaf)[1], started(head))

    @jax.jit
    def run(state, x):
        logits, _ = head.advance(params, stats, state, x)
        return table.task.activate(logits)

    for begin, end in itertools.pairwise(table.row_offsets):
        x = np.zeros((1, 90, 17), np.float32)  # missing frames change nothing
        x[0, : end - begin] = table.features[begin:end]
        expected = np.asarray(run(head.first_state(1), x))[0, : end - begin]
        np.testing.assert_allclose(scores[1, begin:end], expected, rtol=1e-5, atol=1e-6)


def test_videos_go_on_from_the_states_that_were_kept():
    """Each video in three parts, one of which misses the second video."""
    whole = made_table(videos=3)
    expected, _ = carried(whole)
    states = {}
    for low, high in ((1, 30), (30, 47), (47, 91)):
        keep = (whole.frame >= low) & (whole.frame < high)
        part = dataclasses.replace(
            whole,
            **{
                name: getattr(whole, name)[keep]
                for name in ("features", "labels", "valid", "has_audio")
            },
            frame=whole.frame[keep] - low + 1,
            num_frames=np.full(3, high - low, np.int32),
            dense_labels=whole.task.empty_labels(3 * (high - low)),
            row_offsets=np.searchsorted(whole.video_of_row[keep], np.arange(4)),
        )
        scores, _ = carried(part, states=states)
        np.testing.assert_allclose(scores, expected[:, keep], rtol=1e-5, atol=1e-6)
    assert states.keys() == set(whole.videos)
