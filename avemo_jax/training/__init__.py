"""Training: from a configuration to the best head of each seed."""
