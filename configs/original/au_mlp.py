"""AU by an MLP, as the original system trained it.

Its faults that have a switch are in, so that its figures can be understood; for results
take au_mlp. Trains with learning_rate 1e-4, weight_decay 5e-5, dropout 0, batch_size
32, num_epochs 8.

Feature sets are the argument: --config original/au_mlp:enet_b2_8_best+vggish.
"""

from avemo_jax.config.fields import DEFAULT_FEATURES, original_config


def get_config(features: str = DEFAULT_FEATURES):
    """The experiment's configuration."""
    return original_config("AU", "mlp", features)
