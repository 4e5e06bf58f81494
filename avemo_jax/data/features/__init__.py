"""Feature files, one for each video and feature set: names, reading and writing."""
