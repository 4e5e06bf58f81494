"""Rules that embed few frames instead of all, fitted and compared on dev."""
