"""AU, mlp head; feature sets are the argument, FILE:enet_b2_8_best+vggish."""

from avemo_jax.config.fields import DEFAULT_FEATURES, base_config


def get_config(features: str = DEFAULT_FEATURES):
    """The experiment's configuration."""
    return base_config("AU", "mlp", features)
