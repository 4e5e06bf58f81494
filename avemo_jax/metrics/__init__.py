"""Scores: states that add up over batches, devices and hosts, and sums by video."""
