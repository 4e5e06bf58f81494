"""Corpora that anyone may download, each told by a small file: how its names read."""
