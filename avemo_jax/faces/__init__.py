"""Faces in pictures: a detector, crops, and tracks over time; all pure."""
