"""From annotation and feature files to tables of frames."""
