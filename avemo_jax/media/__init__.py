"""Files to arrays: face crops and sound."""
