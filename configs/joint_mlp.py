"""EXPR, AU and VA together, mlp head; feature sets as in FILE:dinov2.

One trunk, outputs of each task; other tasks: --config.task=EXPR+VA.
"""

from avemo_jax.config import DEFAULT_FEATURES, base_config


def get_config(features: str = DEFAULT_FEATURES):
    """The experiment's configuration."""
    return base_config("EXPR+AU+VA", "mlp", features)
