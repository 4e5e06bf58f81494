"""Emotion recognition from face and voice in JAX: EXPR, AU, VA for every frame."""

from avemo_jax.runtime.versions import VERSION as __version__

__all__ = ["__version__"]
