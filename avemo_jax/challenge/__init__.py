"""The ABAW challenge: scores of predictions, and submission files."""
