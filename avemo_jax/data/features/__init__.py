"""Feature files: one a video and feature set."""
