"""Emotion recognition from face and voice in JAX: EXPR, AU, VA for every frame."""

__version__ = "0.1.0"
