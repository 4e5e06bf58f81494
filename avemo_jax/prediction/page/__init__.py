"""The page of an input: one file of HTML that shows its tables over the video."""
