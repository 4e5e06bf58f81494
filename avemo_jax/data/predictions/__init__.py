"""Predictions of frames in files, ours and those of other programs."""
