"""Builders of TFDS stores."""
