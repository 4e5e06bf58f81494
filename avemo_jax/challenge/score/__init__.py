"""Scores of predictions made anywhere, against the official annotations.

NumPy in float64 and no JAX: it starts at once, and no device is touched.
"""
