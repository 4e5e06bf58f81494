"""A task of one's own, mlp head; feature sets are the argument, FILE:dinov2.

The task is the store's only one; of several, --config.task=NAME chooses one.
"""

from avemo_jax.config.fields import DEFAULT_FEATURES, OWN, base_config


def get_config(features: str = DEFAULT_FEATURES):
    """The experiment's configuration."""
    return base_config(OWN, "mlp", features)
