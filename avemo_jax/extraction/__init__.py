"""Crops, videos and sound -> feature files: batches across videos, resumed, sharded."""
