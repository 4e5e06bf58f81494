"""A store on disk -> the frame table of (task, split, feature sets)."""
