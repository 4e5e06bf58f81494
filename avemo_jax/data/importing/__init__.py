"""Features made by other programs -> feature files, one for each video."""
