"""Evaluation: a model and a split -> results, intervals, predictions, plots."""
