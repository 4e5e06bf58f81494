"""A task of one's own by an MLP that sees one frame at a time.

The task is the store's only one; of several, --config.task=NAME chooses one. Trains
with learning_rate 1e-3, dropout 0; features are standardised; batches and epochs follow
the number of training frames, 2,000 steps at least. The demo corpus has no such task,
so there is nothing to expect of it.

Feature sets are the argument: --config own_mlp:dinov2.
"""

from avemo_jax.config.fields import DEFAULT_FEATURES, OWN, base_config


def get_config(features: str = DEFAULT_FEATURES):
    """The experiment's configuration."""
    return base_config(OWN, "mlp", features)
