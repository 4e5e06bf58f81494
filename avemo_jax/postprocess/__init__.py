"""From scores to decisions: gaps, smoothing, thresholds; all compiled."""
