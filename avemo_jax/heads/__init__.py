"""Fusion heads: features of a frame, or of a window of frames, to logits."""
