"""Scores of a whole table."""

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
}


@pytest.mark.parametrize("resident", [True, False], ids=["resident", "streamed"])
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_a_split_is_scored_by_one_program(spec, resident, monkeypatch):
    """Whatever its last batch is, and whichever variables come."""
    chex.clear_trace_counter()
    monkeypatch.setattr(Head, "apply", chex.assert_max_traces(Head.apply, n=1))
    table, mesh = made_table(), sharding.make_mesh()
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
