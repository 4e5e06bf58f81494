"""Scores, from states that add up over videos, batches, devices and hosts."""
