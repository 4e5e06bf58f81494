"""The demo corpus (synthetic): a small made-up Aff-Wild2, so that all runs at once."""
