"""What a head's card says of the training, from made tables."""

import pytest
from made.tables import made_data, made_table

from avemo_jax.batches import sharding
from avemo_jax.config.fields import base_config, original_config
from avemo_jax.training.amount import fitted
from avemo_jax.training.objective import make_spec
from avemo_jax.training.trained_card import trained_card


@pytest.mark.parametrize(
    ("recipe", "head", "batch"),
    [
        (original_config, "mlp", 8192),
        (original_config, "transformer", 32),
        (base_config, "mlp", 8192),
        (base_config, "transformer", 8192),
    ],
)
def test_evaluation_batch_is_the_training_one_only_where_it_is_the_sequence(
    recipe, head, batch
):
    config, table = recipe("EXPR", head), made_table()
    spec = make_spec(config, (12, 5))
    config = fitted(config, table, spec, sharding.make_mesh())
    card = trained_card(
        *(config, spec, made_data(), table, None),
        candidates=(0, 1),
        seeds=[0],
        setting={},
        sweep=[],
        best_epochs=[1],
        dev_scores=None,
    )
    assert card.evaluation_batch_size == batch
    assert sum(card.class_counts) == card.counts["train"]["samples"]
