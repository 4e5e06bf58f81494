"""The ABAW challenge: predictions scored, and its submission files."""
