"""Models: checkpoints, heads, blends and ensembles, and their scores of frames."""
