"""AU, transformer head, as the original system trained it."""

from avemo_jax.config.fields import DEFAULT_FEATURES, original_config


def get_config(features: str = DEFAULT_FEATURES):
    """The experiment's configuration."""
    return original_config("AU", "transformer", features)
