"""VA, mlp head; feature sets are the argument, FILE:enet_b2_8_best+vggish."""

from avemo_jax.config import DEFAULT_FEATURES, base_config


def get_config(features: str = DEFAULT_FEATURES):
    """The experiment's configuration."""
    config = base_config("VA", "mlp", features)
    # Of 3e-4, 1e-3, 3e-3 the best on the demo corpus' dev: .571, .571, .607 (2 seeds).
    config.learning_rate = 3e-3
    return config
