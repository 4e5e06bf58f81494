"""Files of predictions for frames, our own and those of other programs."""
