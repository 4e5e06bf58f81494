"""Features made elsewhere -> feature files, one a video."""
