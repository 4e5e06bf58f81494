"""Extractors: a network, its weights, and the way from files to its input."""
